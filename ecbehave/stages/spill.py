"""The first half of clean: rows that may stay go to the disk by week and bucket, the others to the quarantine."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from ecbehave.buckets import bucket_of, user_hash
from ecbehave.config.clean import Clean
from ecbehave.schema import EVENTS, EVENTS_RAW
from ecbehave.stages.outliers import value_counts
from ecbehave.stages.quality_profile import BatchProfile, batch_profile
from ecbehave.stages.rules import fill_from_items, recognise_returns, row_rule
from ecbehave.tables import ROW_GROUP
from ecbehave.windows import week


@dataclass(frozen=True)
class Piece:
    """Some row groups of one batch."""

    batch: Mapping[str, Any]
    groups: range


@dataclass(frozen=True)
class Judged:
    """What became of a batch's rows in one piece."""

    batch: Mapping[str, Any]
    refused: pl.DataFrame
    profile: BatchProfile | None
    """Of new batches."""
    values: Mapping[str, pl.DataFrame]
    """Per outlier column how often each value came in each month."""
    is_last: bool
    """Whether the batch ends here."""


@dataclass(frozen=True)
class Taken:
    """What became of some pieces."""

    judged: Sequence[Judged]
    weeks: Set[date]
    """Weeks of the rows that were written."""


@dataclass
class Spill:
    """Reads batches and spreads their rows over files by week and bucket."""

    raw: Path
    folder: Path
    items: pl.DataFrame
    clean: Clean
    timezone: str
    n_buckets: int
    weeks: frozenset[date] | None = None
    """Weeks to keep, of batches that have been read before; None for all weeks of new batches."""
    _number: Iterator[int] = field(default_factory=itertools.count)

    def of_weeks(self, weeks: Iterable[date]) -> "Spill":
        """Return the same, for some weeks only."""
        return Spill(
            self.raw,
            self.folder,
            self.items,
            self.clean,
            self.timezone,
            self.n_buckets,
            frozenset(weeks),
            self._number,
        )

    def pieces(self, batches: Iterable[Mapping[str, Any]], rows: int) -> Iterator[tuple[int, list[Piece]]]:
        """Cut batches into pieces of about so many rows, several small batches together; number them."""
        most = max(rows // ROW_GROUP, 1)
        taken: list[Piece] = []
        n_taken = 0
        for batch in batches:
            n_groups = max(-(-batch["rows"] // ROW_GROUP), 1)
            for start in range(0, n_groups, most):
                piece = Piece(batch, range(start, min(start + most, n_groups)))
                if taken and n_taken + piece_rows(piece) > rows:
                    yield next(self._number), taken
                    taken, n_taken = [], 0
                taken.append(piece)
                n_taken += piece_rows(piece)
        if taken:
            yield next(self._number), taken

    def take(self, numbered: tuple[int, Sequence[Piece]]) -> Taken:
        """Judge the rows of some pieces, and write those that may stay."""
        number, pieces = numbered
        accepted: list[pl.DataFrame] = []
        judged: list[Judged] = []
        for piece in pieces:
            rows = self._read(piece)
            rule = row_rule(self.clean, self.timezone, needs_item="item_id" in piece.batch["columns"])
            rows = rows.with_columns(rule)
            is_refused = rows["rule"].is_not_null()
            refused = rows.filter(is_refused) if is_refused.any() else rows.clear()
            kept = rows.filter(~is_refused) if is_refused.any() else rows
            kept = recognise_returns(kept.lazy().drop("rule", "unparsed")).collect()
            accepted.append(kept)
            values: dict[str, pl.DataFrame] = {
                column: value_counts(kept.lazy(), column, self.timezone).collect()
                for column in self.clean.outliers
            }
            is_last = piece.groups.stop * ROW_GROUP >= piece.batch["rows"]
            judged.append(Judged(piece.batch, refused, self._profile(piece, rows), values, is_last))
        return Taken(judged, self._write(pl.concat(accepted), number))

    def _profile(self, piece: Piece, judged: pl.DataFrame) -> BatchProfile | None:
        """Describe the rows of a batch that is read for the first time."""
        if self.weeks is not None:
            return None
        late_after = self.clean.quality.late_after
        return batch_profile(judged, piece.batch["columns"], self.timezone, late_after)

    def _read(self, piece: Piece) -> pl.DataFrame:
        if piece.batch["rows"] == 0:
            return pl.DataFrame(schema=EVENTS_RAW)
        first, n = piece.groups.start * ROW_GROUP, len(piece.groups) * ROW_GROUP
        return pl.scan_parquet(self.raw / piece.batch["file"]).slice(first, n).collect()

    def _write(self, rows: pl.DataFrame, number: int) -> set[date]:
        rows = rows.with_columns(week(self.timezone))
        if self.weeks is not None:
            rows = rows.filter(pl.col("week").is_in(self.weeks))
        weeks: set[date] = set()
        if self.items.height:
            rows = fill_from_items(rows.lazy(), self.items.lazy()).collect()
        rows = rows.with_columns(user_hash(rows["user_id"])).with_columns(bucket=bucket_of(self.n_buckets))
        for part in rows.partition_by("week", "bucket"):
            monday = part["week"][0]
            folder = self.folder / f"{monday}" / f"{part['bucket'][0]}"
            folder.mkdir(parents=True, exist_ok=True)
            part.select(*EVENTS).write_ipc(folder / f"{number:06d}.arrow", compression="lz4")
            weeks.add(monday)
        return weeks

    def files(self, of_week: date, bucket: int) -> list[Path]:
        """Return the files of one week and bucket, in the order in which their rows came in."""
        return sorted((self.folder / f"{of_week}" / f"{bucket}").glob("*.arrow"))


def piece_rows(piece: Piece) -> int:
    """Return the number of rows of a piece, the last group counted whole."""
    return min(len(piece.groups) * ROW_GROUP, int(piece.batch["rows"]))
