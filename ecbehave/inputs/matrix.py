"""The matrix input: who had which item how often before a cutoff."""

from datetime import datetime
from pathlib import Path

import polars as pl

from ecbehave.inputs.barred import bar
from ecbehave.inputs.types import MatrixInput
from ecbehave.schema import PAIRS
from ecbehave.windows import days_until

#: What is read of the log.
COLUMNS = ("user_hash", "user_id", "ts", "event_type", "item_id", "category", "rating")

_USER = ("user_hash", "user_id")
#: What must not be listed, beside the matrix where there is anything.
RULES = "barred.parquet"

#: What a model reads of a pair, besides who and what.
_MEASURED = ("event_type", "n_events", "days_since", "place", "rating")


def pairs(history: pl.LazyFrame, cutoff: datetime, target: str = "item_id") -> pl.LazyFrame:
    """Return one row per user, item and event type, sorted by these.

    Args:
        history: events before the cutoff.
        cutoff: the instant at which the counts are known.
        target: column of what a user is paired with; it is called `item_id` from here on.
    """
    is_new = pl.any_horizontal(pl.col(c) != pl.col(c).shift() for c in (*_USER, "ts")).fill_null(value=False)
    return (
        history.filter(pl.col(target).is_not_null())
        .select(*_USER, "ts", "event_type", "category", "rating", item_id=pl.col(target))
        # By every column, so that the order of the rows decides nothing.
        .sort(*_USER, "ts", "event_type", "item_id", "category", "rating")
        .with_columns(instant=is_new.cum_sum())
        .with_columns(place=pl.col("instant").max().over(_USER) - pl.col("instant"))
        .group_by(*_USER, "item_id", "event_type")
        .agg(
            category=pl.col("category").drop_nulls().last(),
            n_events=pl.len().cast(pl.UInt32),
            days_since=days_until(cutoff, pl.col("ts").max()),
            place=pl.col("place").min().cast(pl.UInt32),
            rating=pl.col("rating").drop_nulls().last().cast(pl.Float32),
        )
        .select(*PAIRS)
        .sort(*_USER, "item_id", "event_type")
    )


def read_matrix(folder: Path, cutoff: datetime, *, has_labels: bool) -> MatrixInput:
    """Read what the features stage stored for one cutoff."""
    users = pl.read_parquet(folder / "users.parquet")
    stored = pl.scan_parquet(folder / "pairs.parquet")
    items = items_of(stored)
    indexed = (
        stored.select("user_id", "item_id", *_MEASURED)
        .collect()
        .join(_numbered(users, "user_id", "user"), on="user_id", maintain_order="left")
        .join(_numbered(items, "item_id", "item"), on="item_id", maintain_order="left")
        .select("user", "item", *_MEASURED)
    )
    labels = pl.read_parquet(folder / "labels.parquet") if has_labels else None
    data, rules = MatrixInput(cutoff, users, items, indexed, labels), read_rules(folder)
    return data if rules is None else bar(data, rules)


def read_rules(folder: Path) -> pl.DataFrame | None:
    """Return what must not be listed (`MATRIX_RULES`); None where the task has no filters."""
    return pl.read_parquet(folder / RULES) if (folder / RULES).exists() else None


def items_of(stored: pl.LazyFrame) -> pl.DataFrame:
    """Return every item of some pairs, with its last known category; of several at one instant, the last by name."""
    newest = pl.col("days_since").filter(pl.col("category").is_not_null()).min()
    return (
        stored.group_by("item_id")
        .agg(pl.col("category").filter(pl.col("days_since") == newest).max())
        .sort("item_id")
        .collect()
    )


def _numbered(frame: pl.DataFrame, key: str, name: str) -> pl.DataFrame:
    return frame.select(key).with_row_index(name)
