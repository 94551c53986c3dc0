"""What clean may take over from its last run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import polars as pl

from ecbehave.artifacts import Artifact
from ecbehave.stages import Context

_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Base:
    """The last run, as far as it still holds; without an artifact there is none."""

    artifact: Artifact | None = None
    batches: Mapping[str, Any] = field(default_factory=dict)
    """By batch id."""
    weeks: Mapping[date, Any] = field(default_factory=dict)
    """By Monday."""

    def weeks_with_items(self, items: pl.DataFrame) -> set[date]:
        """Return the weeks with an item whose category or brand is not what it was.

        Args:
            items: the items as they are now.
        """
        if self.artifact is None:
            return set()
        about = ["item_id", "category", "brand"]
        before = pl.read_parquet(self.artifact.path / "items" / "items.parquet", columns=about)
        both = pl.concat([before, items.select(about)])
        changed = both.filter(~both.is_duplicated())["item_id"].unique()
        if changed.len() == 0:
            return set()
        found = (
            (file, pl.read_parquet(file, columns=["item_id"])["item_id"].is_in(changed.implode()).any())
            for folder in ("events", "quarantine")
            for file in self.artifact.files(f"{folder}/????-??-??.parquet")
        )
        return {date.fromisoformat(file.stem) for file, has_changed in found if has_changed}


def base_of(
    context: Context,
    name: str,
    version: int,
    settings: Mapping[str, Any],
    contents: Mapping[str, str],
) -> Base:
    """Return what the last run has published, if it was made in the same way and every batch of it is still there.

    Args:
        context: of this run.
        name: of the artifact.
        version: of the stage's code.
        settings: what the stage reads of the config.
        contents: SHA-256 of each batch as it was ingested, by batch id.
    """
    published = None if context.force else context.workspace.read(name, check_sizes=False)
    if published is None or published.manifest["stage_version"] != version or not published.is_whole():
        return Base()
    known = published.info["batches"]
    is_same = all(contents.get(batch) == about["sha256"] for batch, about in known.items())
    if _deciding(published.manifest["config"]) != _deciding(settings) or not is_same:
        return Base()
    weeks = {date.fromisoformat(monday): about for monday, about in published.info["weeks"].items()}
    return Base(published, known, weeks)


def _deciding(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that decide what a week holds; the limits of the quality report do not."""
    clean = dict(settings["clean"])
    late_after = clean.pop("quality")["late_after"]
    return {**settings, "clean": clean | {"late_after": late_after}}


def monday_of(day: date) -> date:
    """Return the Monday of a day's week."""
    return day - day.weekday() * _DAY


def weeks_of(batch: Mapping[str, Any]) -> set[date]:
    """Return the weeks that a batch may have rows of.

    A batch knows its days in UTC; the shop's may be one off.
    """
    days = [date.fromisoformat(day) for day in batch["days"]]
    return {monday_of(day + shift) for day in days for shift in (-_DAY, 0 * _DAY, _DAY)}
