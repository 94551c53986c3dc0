"""clean: `events_raw/` -> `clean/`: the canonical log by bucket, and every refused row with its rule.

Every rule looks at the row itself or at the user's past only: a row that comes later can never change what was
kept before it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import rmtree
from typing import Any

import polars as pl

from ecbehave.artifacts import Artifact, Built, Outcome, Spec
from ecbehave.buckets import bucket_of, n_buckets, user_hash
from ecbehave.config import Clean, OutlierColumn
from ecbehave.errors import ArtifactError, DataError
from ecbehave.schema import EVENT_COLUMNS, EVENT_ORDER, EVENTS, ITEMS, QUARANTINE
from ecbehave.stages import Context, ingest, upstream
from ecbehave.stages.outliers import month_of, monthly_limits, value_counts
from ecbehave.stages.refused import Refused
from ecbehave.tables import TableWriters, read_groups, write_table
from ecbehave.windows import log_end, midnight

NAME = "clean"
VERSION = 1

#: Event types that are about an item; others (search, question) may have none.
_ITEM_EVENTS = ("view", "click", "cart", "remove", "purchase", "return", "review", "rating")
_IS_RETURN = (
    (pl.col("event_type") == "return") | ((pl.col("event_type") == "purchase") & (pl.col("quantity") < 0))
).fill_null(value=False)
_SPILL = ".spill"


def recognise_returns(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Turn purchases of a negative quantity into returns; a return's numbers are positive, as others' are."""
    positive = [
        pl.when(_IS_RETURN).then(pl.col(c).abs()).otherwise(c).alias(c)
        for c in ("price", "quantity", "amount")
    ]
    return rows.with_columns(
        pl.when(_IS_RETURN).then(pl.lit("return")).otherwise("event_type").alias("event_type"), *positive
    )


def row_rule(clean: Clean, timezone: str, *, needs_item: bool) -> pl.Expr:
    """Return the rule that refuses a row, or null: the first of them in this order."""
    earliest = midnight(clean.earliest, timezone)
    rules: dict[str, pl.Expr] = {
        "unreadable_row": pl.col("unparsed").str.starts_with("row="),
        "missing_user": pl.col("user_id").is_null(),
        "unparsable_time": pl.col("ts").is_null() & pl.col("unparsed").str.contains(r"(^|; )ts="),
        "missing_time": pl.col("ts").is_null(),
        "impossible_time": (pl.col("ts") < earliest)
        | (pl.col("ts") > pl.col("received_at") + timedelta(days=1)),
        "missing_event_type": pl.col("event_type").is_null(),
        "missing_item": pl.lit(needs_item)
        & pl.col("item_id").is_null()
        & pl.col("event_type").is_in(_ITEM_EVENTS),
        "unparsable_value": pl.col("unparsed").is_not_null(),
        "negative_price": ((pl.col("price") < 0) & (pl.col("event_type") != "return"))
        | ((pl.col("amount") < 0) & ~_IS_RETURN),
        "absurd_price": (pl.col("price").abs() > clean.max_price)
        | (pl.col("amount").abs() > clean.max_price),
        "negative_quantity": (pl.col("quantity") < 0) & ~_IS_RETURN,
        "absurd_quantity": pl.col("quantity").abs() > clean.max_quantity,
    }
    return pl.coalesce(pl.when(refused).then(pl.lit(rule)) for rule, refused in rules.items()).alias("rule")


def bot_rule(clean: Clean, timezone: str) -> pl.Expr:
    """Return `bot_like` for events from a user's first one too many on: of a day, or of all.

    The rows are sorted by user and time.
    """
    day = pl.col("ts").dt.convert_time_zone(timezone).dt.date()
    n_before_today = pl.int_range(pl.len()).over("user_id", day)
    is_bot = (n_before_today >= clean.max_events_per_user_day).cum_sum().over("user_id") > 0
    n_before = pl.int_range(pl.len()).over("user_id")
    return pl.when(is_bot | (n_before >= clean.max_events_per_user)).then(pl.lit("bot_like")).alias("rule")


def drop_duplicates(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Sort into the total order of events; of rows equal in every column, keep the one received first."""
    same = [c for c in EVENT_COLUMNS if c != "received_at"]
    return rows.sort(EVENT_ORDER).unique(same, keep="first", maintain_order=True)


def latest_items(items: Sequence[pl.LazyFrame]) -> pl.LazyFrame:
    """Return one row per item: the last one of the last file."""
    empty = pl.LazyFrame(schema=ITEMS)
    rows = pl.concat([empty, *(i.select(*ITEMS) for i in items)])
    return rows.filter(pl.col("item_id").is_not_null()).unique("item_id", keep="last").sort("item_id")


def latest_users(users: Sequence[pl.LazyFrame]) -> pl.LazyFrame:
    """Return one row per user: the last one of the last file, with the attributes of all files."""
    attributes = [u.drop("batch", "row", "unparsed") for u in users]
    rows = pl.concat([pl.LazyFrame(schema={"user_id": pl.String}), *attributes], how="diagonal")
    return rows.filter(pl.col("user_id").is_not_null()).unique("user_id", keep="last").sort("user_id")


def fill_from_items(rows: pl.LazyFrame, items: pl.LazyFrame) -> pl.LazyFrame:
    """Take category and brand from the item where the event itself does not say."""
    known = items.select("item_id", item_category="category", item_brand="brand")
    return (
        rows.join(known, on="item_id", how="left", maintain_order="left")
        .with_columns(
            category=pl.coalesce("category", "item_category"), brand=pl.coalesce("brand", "item_brand")
        )
        .drop("item_category", "item_brand")
    )


def check_whole(events: pl.DataFrame, bucket: int, n: int) -> None:
    """Check that a bucket holds its own users only, so that no user is in two.

    Raises:
        ArtifactError: an event lies in another bucket than its user's hash says.
    """
    in_place = events.select(
        ((bucket_of(n) == bucket) & (pl.col("user_hash") == user_hash(events["user_id"]))).all()
    )
    if not in_place.item():
        raise ArtifactError(
            f"bucket {bucket} of {n} holds events of users of other buckets; nothing was published. "
            f"This is a fault of ecbehave"
        )


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


@dataclass
class _Facts:
    """What later stages must know about the clean log."""

    spans: list[tuple[datetime, datetime, datetime]] = field(default_factory=list)
    """Per bucket the first and the last event, and when its newest event came in."""
    first_seen: dict[str, datetime] = field(default_factory=dict)

    def add(self, events: pl.DataFrame) -> None:
        if events.height == 0:
            return
        first, last, received = pl.col("ts").min(), pl.col("ts").max(), pl.col("received_at").max()
        self.spans += events.select(first=first, last=last, received=received).rows()
        for name, seen in events.group_by("event_type").agg(first).rows():
            self.first_seen[name] = min(seen, self.first_seen.get(name, seen))

    def to_info(self) -> dict[str, Any]:
        first, last, received = zip(*self.spans, strict=True)
        return {
            "start": min(first).isoformat(),
            "end": max(last).isoformat(),
            "received": max(received).isoformat(),
            "first_seen": {name: self.first_seen[name].isoformat() for name in sorted(self.first_seen)},
        }


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
    """One run of the stage: rows are spilled to buckets, then each bucket is sorted out by itself."""

    def __init__(self, context: Context, raw: Artifact, folder: Path) -> None:
        self.context, self.raw, self.folder = context, raw, folder
        self.clean, self.timezone = context.config.clean, context.config.dataset.timezone
        self.n_raw = sum(b["rows"] for b, _ in ingest.scan(raw, "events"))
        self.n_buckets = n_buckets(self.n_raw, context.memory_bytes)
        self.refused = Refused({b["id"]: b["path"] for b in raw.info["batches"]})
        self.facts = _Facts()

    def build(self) -> Built:
        self.raw.verify()
        items = latest_items([rows for _, rows in ingest.scan(self.raw, "items")]).collect()
        users = latest_users([rows for _, rows in ingest.scan(self.raw, "users")]).collect()
        write_table(self.folder / "items" / "items.parquet", items)
        write_table(self.folder / "users" / "users.parquet", users)
        with TableWriters(self.folder) as writers:
            self.quarantine = writers.open("quarantine/quarantine.parquet", QUARANTINE)
            limits = self._spill()
            n_clean, n_duplicates = self._clean_buckets(writers, items.lazy(), limits)
        rmtree(self.folder / _SPILL, ignore_errors=True)
        counts = self._counts(n_clean, n_duplicates)
        counts |= {"items": items.height, "users": users.height}
        check_sum(counts)
        self._report(counts)
        info = self.facts.to_info() | {"n_buckets": self.n_buckets}
        schemas = {"events/*.parquet": EVENTS, "quarantine/*.parquet": QUARANTINE, "items/*.parquet": ITEMS}
        return Built(counts, info, schemas)

    def _spill(self) -> dict[OutlierColumn, pl.DataFrame]:
        """Refuse what a row alone condemns, spread the rest over buckets, and count values for the outlier limits."""
        batches = ingest.scan(self.raw, "events")
        counted: dict[OutlierColumn, list[pl.DataFrame]] = {column: [] for column in self.clean.outliers}
        with (
            TableWriters(self.folder / _SPILL, row_group=16_384) as spill,
            self.context.progress.track("clean: read", len(batches)) as advance,
        ):
            for batch, _ in batches:
                rule = row_rule(self.clean, self.timezone, needs_item="item_id" in batch["columns"])
                for rows in read_groups(self.raw.path / batch["file"]):
                    judged = rows.with_columns(rule)
                    self._refuse(judged.filter(pl.col("rule").is_not_null()))
                    accepted = judged.lazy().filter(pl.col("rule").is_null()).drop("rule", "unparsed")
                    kept = recognise_returns(accepted).collect()
                    for column, parts in counted.items():
                        parts.append(value_counts(kept.lazy(), column, self.timezone).collect())
                    self._spread(kept, spill)
                advance(1)
        return {
            column: monthly_limits(pl.concat(parts), self.clean.outliers[column].quantile)
            if parts
            else pl.DataFrame()
            for column, parts in counted.items()
        }

    def _spread(self, rows: pl.DataFrame, spill: TableWriters) -> None:
        hashed = rows.with_columns(user_hash(rows["user_id"])).with_columns(bucket=bucket_of(self.n_buckets))
        for (bucket,), part in hashed.group_by("bucket", maintain_order=True):
            spill.open(f"{bucket}.parquet", EVENTS).write(part.drop("bucket"))

    def _refuse(self, rows: pl.DataFrame) -> None:
        self.refused.add(rows)
        self.quarantine.write(rows)

    def _clean_buckets(
        self, writers: TableWriters, items: pl.LazyFrame, limits: Mapping[OutlierColumn, pl.DataFrame]
    ) -> tuple[int, int]:
        n_clean = n_duplicates = 0
        with self.context.progress.track("clean: buckets", self.n_buckets) as advance:
            for bucket in range(self.n_buckets):
                spilled = self.folder / _SPILL / f"{bucket}.parquet"
                if spilled.exists():
                    rows = pl.read_parquet(spilled)
                    unique = drop_duplicates(fill_from_items(rows.lazy(), items)).collect()
                    n_duplicates += rows.height - unique.height
                    events = self._judge_users(unique, limits)
                    n_clean += events.height
                    check_whole(events, bucket, self.n_buckets)
                    self.facts.add(events)
                    writers.open(f"events/bucket-{bucket:05d}.parquet", EVENTS).write(events)
                    spilled.unlink()
                advance(1)
        return n_clean, n_duplicates

    def _judge_users(self, rows: pl.DataFrame, limits: Mapping[OutlierColumn, pl.DataFrame]) -> pl.DataFrame:
        """Refuse bot-like users' events and outliers; clip what is to be clipped."""
        limited = rows.lazy().with_columns(bot_rule(self.clean, self.timezone), month_of(self.timezone))
        for column, table in limits.items():
            if table.height == 0:
                continue
            limited = limited.join(table.lazy(), on="month", how="left", maintain_order="left")
            is_outlier = pl.col(column) > pl.col("limit")
            if self.clean.outliers[column].action == "clip":
                limited = limited.with_columns(
                    pl.when(is_outlier).then("limit").otherwise(column).alias(column)
                )
            else:
                rule = pl.when(is_outlier).then(pl.lit(f"outlier_{column}"))
                limited = limited.with_columns(rule=pl.coalesce("rule", rule))
            limited = limited.drop("limit")
        judged = limited.drop("month").collect()
        refused = judged.filter(pl.col("rule").is_not_null())
        self._refuse(refused.with_columns(unparsed=pl.lit(None, pl.String)))
        return judged.filter(pl.col("rule").is_null()).drop("rule")

    def _counts(self, n_clean: int, n_duplicates: int) -> dict[str, int]:
        by_rule = {f"quarantined.{rule}": n for rule, n in sorted(self.refused.counts.items())}
        n_refused = sum(by_rule.values())
        return {
            "raw": self.n_raw,
            "clean": n_clean,
            "quarantined": n_refused,
            "duplicates": n_duplicates,
        } | by_rule

    def _report(self, counts: Mapping[str, int]) -> None:
        n_refused, n_raw = counts["quarantined"], counts["raw"]
        if n_raw == 0:
            files = ", ".join([b["path"] for b, _ in ingest.scan(self.raw, "events")][:3])
            raise DataError(
                f"the log has no event: no row follows the header in {files}; bring files with events"
            )
        if n_refused > self.clean.max_refused_share * n_raw:
            share = f"clean.max_refused_share ({self.clean.max_refused_share:g})"
            raise DataError(
                self.refused.complaint(f"{n_refused:,} of {n_raw:,} rows are refused, more than {share}")
            )
        if counts["clean"] == 0:
            raise DataError(self.refused.complaint(f"no event is left: all {n_raw:,} rows are refused"))
        self.context.progress.say(
            f"clean: {counts['clean']:,} events kept of {n_raw:,}, {n_refused:,} refused, "
            f"{counts['duplicates']:,} exact duplicates"
        )
        for line in self.refused.lines():
            self.context.progress.say(f"  refused {line}")


def bucket_files(artifact: Artifact) -> list[Path]:
    """Return the clean log's files, in the order of user hashes."""
    return artifact.files("events/*.parquet")


def instant(text: str) -> datetime:
    """Read an instant of the manifest."""
    return datetime.fromisoformat(text).astimezone(UTC)


def end_of(artifact: Artifact, timezone: str) -> datetime:
    """Return the end (exclusive) of the log's last complete day."""
    return log_end(instant(artifact.info["end"]), instant(artifact.info["received"]), timezone)
