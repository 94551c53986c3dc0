"""The filters of a preference task: read from the config and its files, and decided at each cutoff."""

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import polars as pl

from ecbehave.config.task import PreferenceTask, TaskConfig
from ecbehave.errors import DataError
from ecbehave.inputs.barred import Filters, in_categories, may_be_listed
from ecbehave.inputs.facts import ANY
from ecbehave.inputs.matrix import RULES
from ecbehave.sources.given import fingerprint, read_item_ids
from ecbehave.tables import write_table

_ALLOW, _DENY = "task.items.allow", "task.items.deny"
_PART = ".labels.parquet"


def _files(task: TaskConfig) -> dict[str, Path]:
    """Return the files that the filters name, by their keys."""
    if not isinstance(task, PreferenceTask):
        return {}
    named = {_ALLOW: task.items.allow, _DENY: task.items.deny}
    return {key: Path(file) for key, file in named.items() if file is not None}


def filter_fingerprints(task: TaskConfig) -> dict[str, str]:
    """Return the content of the files that the filters name, by their keys: an input of what reads them.

    Raises:
        DataError: a file cannot be read.
    """
    return {key: fingerprint(path, key) for key, path in _files(task).items()}


def without_places(task: Mapping[str, Any]) -> dict[str, Any]:
    """Return the task's part of the config with whether there are such files, but not where: that decides nothing."""
    if "items" not in task:
        return dict(task)
    items = task["items"]
    has_files = {name: items[name] is not None for name in ("allow", "deny")}
    return {**task, "items": {**items, **has_files}}


def filters_of(task: TaskConfig) -> Filters:
    """Return the filters with the content of their files.

    Raises:
        DataError: a file cannot be read, or allows nothing.
    """
    if not isinstance(task, PreferenceTask):
        return Filters()
    ids = {key: read_item_ids(path, key) for key, path in _files(task).items()}
    if _ALLOW in ids and ids[_ALLOW].is_empty():
        raise DataError(
            f"{_ALLOW}: {task.items.allow} has no item, so nothing could be listed; "
            f"write the items that may be, or take the key out to allow all"
        )
    return Filters(tuple(task.exclude), ids.get(_ALLOW), ids.get(_DENY), tuple(task.items.categories))


def check_excluded(task: TaskConfig, known: list[str]) -> None:
    """Refuse to exclude what had an event that the log has not.

    Raises:
        DataError: there is no such event.
    """
    unknown = [t for t in task.exclude if t not in (ANY, *known)] if isinstance(task, PreferenceTask) else []
    if unknown:
        close = difflib.get_close_matches(unknown[0], known, 1)
        hint = f"; did you mean {close[0]}?" if close else "."
        listed = ", ".join(known[:10]) + (", ..." if len(known) > 10 else "")
        raise DataError(
            f"task.exclude: the log has no {unknown[0]} event{hint} It has {listed}. "
            f"Take it out, or say in dataset.sources[].event_type.map which word of the shop means it"
        )


def check_filters(filters: Filters, items: pl.DataFrame, say: Callable[[str], None]) -> None:
    """Compare filters with the newest catalogue.

    Args:
        filters: those of the task.
        items: `item_id`, `category`.
        say: is told of listed items that nobody had an event with.

    Raises:
        DataError: a category has no item, or no item is left to list.
    """
    for path in filters.categories:
        if not items.select(in_categories([path]).any()).item():
            raise DataError(_no_such_category(path, items["category"]))
    files = {_ALLOW: filters.allow, _DENY: filters.deny}
    for key, ids in files.items():
        if ids is None:
            continue
        missing = ids.filter(~ids.is_in(items["item_id"].implode()))
        if missing.len():
            shown = ", ".join(missing.head(3)) + (", ..." if missing.len() > 3 else "")
            say(f"{key}: {missing.len():,} of {ids.len():,} items are not in the log ({shown})")
    n_barred = filters.rules(items)["item_id"].count()
    if items.height and n_barred == items.height:
        raise DataError(
            f"task.items leaves nothing to list: all {n_barred:,} items of the log are denied, not allowed, or in "
            f"another category; loosen allow, deny or categories"
        )


def _no_such_category(path: str, known: pl.Series) -> str:
    names = known.drop_nulls().unique().sort()
    if names.is_empty():
        return (
            f"task.items.categories has {path}, but the log has no categories; map category in "
            f"dataset.sources[].columns, of the log or of a table: items"
        )
    parts = names.str.split(".").list
    deepest = names.str.count_matches(".", literal=True).max()
    above = [parts.head(n + 1).list.join(".") for n in range(cast("int", deepest) + 1)]
    every = pl.concat(above).unique().sort().to_list()
    close = difflib.get_close_matches(path, every, 1)
    hint = f"; did you mean {close[0]}?" if close else "."
    shown = ", ".join(every[:10]) + (", ..." if len(every) > 10 else "")
    return f"task.items.categories: no item of the log is in {path} or below it{hint} There are {shown}"


def apply_filters(folder: Path, known: pl.DataFrame, filters: Filters) -> tuple[pl.DataFrame, int | None]:
    """Store beside a matrix what is barred at its cutoff, and take it out of what is true.

    Args:
        folder: of the matrix; `barred.parquet` is added, and `labels.parquet` replaced.
        known: `item_id`, `category` of its items.
        filters: those of the task.

    Returns:
        What is barred (`MATRIX_RULES`), and the number of users with a true item that may be listed; None where labels
        are not known.
    """
    pairs, labels = pl.scan_parquet(folder / "pairs.parquet"), folder / "labels.parquet"
    everything = known
    if labels.exists():
        # An item that is new in the label window may be denied, too.
        new = pl.read_parquet(labels, columns=["item_id"]).unique().join(known, on="item_id", how="anti")
        everything = pl.concat([known, new], how="diagonal")
    rules = filters.rules(everything)
    write_table(folder / RULES, rules)
    if not labels.exists():
        return rules, None
    left = may_be_listed(pl.scan_parquet(labels), pairs, rules).collect()
    # Not into the file itself, which may still be in use.
    write_table(folder / _PART, left)
    (folder / _PART).replace(labels)
    return rules, left["user_id"].n_unique()
