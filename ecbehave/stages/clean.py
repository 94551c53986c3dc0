"""clean: `events_raw/` -> `clean/`: the canonical log by week, and every refused row with its rule.

Every rule looks at the row itself or at the user's past only: a row that comes later can never change what was
kept before it. A run takes over the weeks of the last one that new files do not touch, and ends with the very
bytes that a run from scratch would write.
"""

from collections import Counter
from collections.abc import Generator, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from shutil import rmtree
from typing import Any

import polars as pl
import pyarrow as pa

from ecbehave.artifacts import Artifact, Built, Outcome, Spec, take_over
from ecbehave.buckets import n_buckets
from ecbehave.config.clean import OutlierColumn
from ecbehave.errors import ArtifactError, DataError
from ecbehave.memory import rows_at_once
from ecbehave.parallel import in_order
from ecbehave.schema import EVENTS, ITEMS, QUARANTINE
from ecbehave.stages import Context, ingest, upstream
from ecbehave.stages.base import base_of, monday_of
from ecbehave.stages.log import read_buckets
from ecbehave.stages.outliers import monthly_limits
from ecbehave.stages.quality import check_quality, quality, write_quality
from ecbehave.stages.records import VALUES, BatchRecords, earliest
from ecbehave.stages.refused import Refused
from ecbehave.stages.rules import latest_items, latest_users
from ecbehave.stages.spill import Spill
from ecbehave.stages.weeks import Weeks
from ecbehave.tables import write_table
from ecbehave.windows import log_end

NAME = "clean"
#: Folder of the workspace with the data quality report of a log that has failed.
FAILED = "quality-failed"
VERSION = 2

_SPILL = ".spill"
#: Measured resident bytes per event while a week is sorted out.
_BYTES_PER_ROW = 900


def check_sum(counts: Mapping[str, int]) -> None:
    """Check that raw = clean + quarantined + duplicates.

    Raises:
        ArtifactError: the sum does not close.
    """
    accounted = counts["clean"] + counts["quarantined"] + counts["duplicates"]
    if counts["raw"] != accounted:
        raise ArtifactError(
            f"the rows do not add up: {counts['raw']:,} raw, but {counts['clean']:,} clean + "
            f"{counts['quarantined']:,} quarantined + {counts['duplicates']:,} duplicates = {accounted:,}; "
            f"nothing was published. This is a fault of ecbehave"
        )


def settings(context: Context) -> dict[str, Any]:
    """Return the part of the config that the stage reads."""
    return {"clean": context.public["clean"], "dataset": {"timezone": context.config.dataset.timezone}}


def spec(context: Context) -> Spec:
    """Return what the clean log is made from."""
    raw = upstream(context, "ingest", ingest.NAME, ingest.spec)
    return Spec("clean", VERSION, settings(context), {ingest.NAME: raw.fingerprint})


def run(context: Context) -> Outcome:
    """Clean what has been ingested."""
    raw = upstream(context, "ingest", ingest.NAME, ingest.spec)
    return context.workspace.produce(
        NAME, spec(context), lambda folder: _Cleaning(context, raw, folder).build(), force=context.force
    )


class _Cleaning:
    """One run of the stage: rows are spilled by week and bucket, then each week is sorted out by itself."""

    def __init__(self, context: Context, raw: Artifact, folder: Path) -> None:
        self.context, self.raw, self.folder = context, raw, folder
        self.clean, self.timezone = context.config.clean, context.config.dataset.timezone
        self.batches = [b for b, _ in ingest.scan(raw, "events")]
        self.paths = {b["id"]: b["path"] for b in self.batches}
        self.contents = {b["id"]: raw.manifest["files"][b["file"]]["sha256"] for b in self.batches}
        self.base = base_of(context, NAME, VERSION, settings(context), self.contents)
        side_tables = [b["file"] for table in ("items", "users") for b, _ in ingest.scan(raw, table)]
        new = [b["file"] for b in self.batches if b["id"] not in self.base.batches]
        raw.verify([*side_tables, *new])
        self.items = latest_items([rows for _, rows in ingest.scan(raw, "items")]).collect()
        n_rows, held = sum(b["rows"] for b in self.batches), self.items.estimated_size()
        self.rows = rows_at_once(
            "clean", context.memory_bytes, context.threads, _BYTES_PER_ROW, n_rows, int(held)
        )
        n = n_buckets(_fullest_week(self.batches), self.rows)
        self.spill = Spill(raw.path, folder / _SPILL, self.items, self.clean, self.timezone, n)
        self.weeks = Weeks(context, folder, raw, self.batches, self.base, self.spill, self.rows)
        self.spilled: set[date] = set()
        self.about_batches: dict[str, Any] = dict(self.base.batches)
        self.kept: dict[str, str] = {}

    def build(self) -> Built:
        try:
            return self._build()
        except (pl.exceptions.PolarsError, pa.ArrowException):
            # What cannot be read is what the last run has written, and somebody else has changed.
            if self.base.artifact:
                self.base.artifact.verify()
            raise

    def _build(self) -> Built:
        users = latest_users([rows for _, rows in ingest.scan(self.raw, "users")]).collect()
        write_table(self.folder / "items" / "items.parquet", self.items)
        write_table(self.folder / "users" / "users.parquet", users)
        self._clean_log()
        rmtree(self.folder / _SPILL, ignore_errors=True)
        batches = {b["id"]: self.about_batches[b["id"]] for b in self.batches}
        weeks = {f"{week}": self.weeks.about[week] for week in sorted(self.weeks.about)}
        parts = [*batches.values(), *weeks.values()]
        refused = Refused.merged(self.paths, [part["refused"] for part in parts])
        counts = self._counts(weeks.values(), refused) | {"items": self.items.height, "users": users.height}
        check_sum(counts)
        self._report(counts, refused)
        self._judge_quality(batches, weeks, refused)
        info = _facts(weeks.values()) | {"batches": batches, "weeks": weeks}
        schemas = {"events/*.parquet": EVENTS, "quarantine/*.parquet": QUARANTINE, "items/*.parquet": ITEMS}
        return Built(counts, info, schemas, self.kept)

    def _clean_log(self) -> None:
        """Sort out the weeks that have changed, and take over the others."""
        new = [b for b in self.batches if b["id"] not in self.base.batches]
        old = [b for b in self.batches if b["id"] in self.base.batches]
        self._read_new(new)
        for batch in old:
            self._take_over(f"quarantine/batch-{batch['id']}.parquet", f"{VALUES}/batch-{batch['id']}.arrow")
        self.weeks.limits = self._outlier_limits()
        changed = self.spilled | self.base.weeks_with_items(self.items) | self.weeks.with_other_limits()
        self.weeks.sort_out_with_later(changed, old)
        for week in sorted(self.base.weeks.keys() - self.weeks.written):
            self._take_over(f"events/{week}.parquet", f"quarantine/{week}.parquet")

    def _take_over(self, *files: str) -> None:
        for file in files:
            if self.base.artifact and file in self.base.artifact.manifest["files"]:
                self.kept[file] = take_over(self.base.artifact, file, self.folder)

    def _read_new(self, batches: Sequence[Mapping[str, Any]]) -> None:
        """Refuse what a row alone condemns, count values, and spill what may stay."""
        pieces = list(self.spill.pieces(batches, self.rows))
        with (
            self.context.progress.track("clean: read", len(pieces)) as advance,
            BatchRecords(self.folder, self.paths) as records,
        ):
            for taken in in_order(self.spill.take, pieces, self.context.threads):
                self.spilled |= taken.weeks
                for judged in taken.judged:
                    records.add(judged)
                advance(1)
        for batch, about in records.about.items():
            self.about_batches[batch] = about | {"sha256": self.contents[batch]}

    def _outlier_limits(self) -> dict[OutlierColumn, pl.DataFrame]:
        """Return the limits per month, from what all batches have counted."""
        counted = [pl.read_ipc(file) for file in sorted((self.folder / VALUES).glob("*.arrow"))]
        if not counted:
            return {}
        values = pl.concat(counted)
        return {
            column: monthly_limits(values.filter(pl.col("column") == column).drop("column"), outlier.quantile)
            for column, outlier in self.clean.outliers.items()
        }

    def _counts(self, weeks: Iterable[Mapping[str, Any]], refused: Refused) -> dict[str, int]:
        about = list(weeks)
        return {
            "raw": sum(b["rows"] for b in self.batches),
            "clean": sum(week["clean"] for week in about),
            "quarantined": refused.counts.total(),
            "duplicates": sum(week["duplicates"] for week in about),
        } | {f"quarantined.{rule}": n for rule, n in sorted(refused.counts.items())}

    def _judge_quality(
        self, about_batches: Mapping[str, Any], about_weeks: Mapping[str, Any], refused: Refused
    ) -> None:
        """Write the data quality report; what fails leaves it in the workspace, and publishes nothing else."""
        dataset, public = self.context.config.dataset, self.context.public["dataset"]["sources"]
        sources = [
            (ingest.settings_hash(public[i], self.timezone), self.context.masked(source.path))
            for i, source in enumerate(dataset.sources)
        ]
        profiles = [(b, about_batches[b["id"]]["profile"]) for b in self.batches]
        weeks = [week["profile"] for week in about_weeks.values()]
        report = quality(profiles, weeks, refused, sources, self.clean.quality, self.timezone)
        failed = self.context.workspace.root / FAILED
        if report.failures:
            check_quality(report, write_quality(failed, report))
        write_quality(self.folder, report)
        rmtree(failed, ignore_errors=True)

    def _report(self, counts: Mapping[str, int], refused: Refused) -> None:
        n_refused, n_raw = counts["quarantined"], counts["raw"]
        if n_raw == 0:
            files = ", ".join([b["path"] for b, _ in ingest.scan(self.raw, "events")][:3])
            raise DataError(
                f"the log has no event: no row follows the header in {files}; bring files with events"
            )
        if n_refused > self.clean.max_refused_share * n_raw:
            share = f"clean.max_refused_share ({self.clean.max_refused_share:g})"
            raise DataError(
                refused.complaint(f"{n_refused:,} of {n_raw:,} rows are refused, more than {share}")
            )
        if counts["clean"] == 0:
            raise DataError(refused.complaint(f"no event is left: all {n_raw:,} rows are refused"))
        self.context.progress.say(
            f"clean: {counts['clean']:,} events kept of {n_raw:,}, {n_refused:,} refused, "
            f"{counts['duplicates']:,} exact duplicates"
        )
        for line in refused.lines():
            self.context.progress.say(f"  refused {line}")


def _fullest_week(batches: Sequence[Mapping[str, Any]]) -> int:
    """Return about how many rows the week with the most has."""
    n_rows: Counter[date] = Counter()
    for batch in batches:
        for day, n in batch["days"].items():
            n_rows[monday_of(date.fromisoformat(day))] += n
    return max(n_rows.values(), default=0)


def _facts(weeks: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what later stages must know about the clean log."""
    full = [week for week in weeks if week["clean"]]
    return {
        "start": min(week["start"] for week in full),
        "end": max(week["end"] for week in full),
        "received": max(week["received"] for week in full),
        "first_seen": earliest(week["first_seen"] for week in full),
        "first_value": earliest(week["first_value"] for week in full),
        "n_events": sum(week["clean"] for week in full),
    }


def read_log(log: Artifact, columns: Sequence[str], rows: int) -> tuple[int, Generator[pl.DataFrame]]:
    """Return the number of buckets of about so many rows, and their events."""
    n = n_buckets(log.info["n_events"], rows)
    return n, read_buckets(log.files("events/*.parquet"), columns, n)


def instant(text: str) -> datetime:
    """Read an instant of the manifest."""
    return datetime.fromisoformat(text).astimezone(UTC)


def end_of(artifact: Artifact, timezone: str) -> datetime:
    """Return the end (exclusive) of the log's last complete day."""
    return log_end(instant(artifact.info["end"]), instant(artifact.info["received"]), timezone)
