"""The second half of clean: one week after the other is sorted, judged and written."""

from collections.abc import Iterable, Mapping, Sequence, Set
from datetime import date
from pathlib import Path
from shutil import rmtree
from typing import Any

import polars as pl

from ecbehave.artifacts import Artifact
from ecbehave.buckets import bucket_of, user_hash
from ecbehave.config.clean import OutlierColumn
from ecbehave.errors import ArtifactError
from ecbehave.parallel import Closing, in_order
from ecbehave.schema import EVENTS
from ecbehave.stages import Context
from ecbehave.stages.base import Base, weeks_of
from ecbehave.stages.bots import Past, bot_like, most_of_one
from ecbehave.stages.outliers import cut_outliers, limits_of_week
from ecbehave.stages.records import BOT, WeekRecords
from ecbehave.stages.rules import split_duplicates
from ecbehave.stages.spill import Spill

#: Until when events are counted, and how many each user has.
_NOBODY = (date.min, pl.DataFrame(schema={"user_hash": pl.UInt64, "n": pl.Int64}))


def check_whole(events: pl.DataFrame, bucket: int, n: int) -> None:
    """Check that a bucket holds its own users only, so that no user is in two.

    Args:
        events: sorted by `user_hash` and, for one hash, by user.
        bucket: number of the bucket.
        n: number of buckets.

    Raises:
        ArtifactError: an event lies in another bucket than its user's hash says.
    """
    is_first = (pl.col("user_hash") != pl.col("user_hash").shift()) | (
        pl.col("user_id") != pl.col("user_id").shift()
    )
    users = events.filter(is_first.fill_null(value=True)).select("user_hash", "user_id")
    is_right = (bucket_of(n) == bucket) & (pl.col("user_hash") == user_hash(users["user_id"]))
    if not users.select(is_right.all()).item():
        raise ArtifactError(
            f"bucket {bucket} of {n} holds events of users of other buckets; nothing was published. "
            f"This is a fault of ecbehave"
        )


class Weeks:
    """The weeks of the log: what is known of each, and how it is written anew."""

    def __init__(
        self,
        context: Context,
        folder: Path,
        raw: Artifact,
        batches: Sequence[Mapping[str, Any]],
        base: Base,
        spill: Spill,
        rows: int,
    ) -> None:
        self.context, self.folder, self.batches, self.base = context, folder, batches, base
        self.raw = raw
        self.clean, self.timezone = context.config.clean, context.config.dataset.timezone
        self.spill, self.rows, self.n_buckets = spill, rows, spill.n_buckets
        self.paths = {b["id"]: b["path"] for b in batches}
        self.about: dict[date, Any] = dict(base.weeks)
        self.written: set[date] = set()
        self.limits: Mapping[OutlierColumn, pl.DataFrame] = {}
        self.counted = _NOBODY

    def with_other_limits(self) -> set[date]:
        """Return the weeks whose outlier limits are not what they were."""
        return {week for week, about in self.base.weeks.items() if self._limits_of(week) != about["limits"]}

    def sort_out_with_later(self, weeks: Set[date], batches: Sequence[Mapping[str, Any]]) -> None:
        """Write some weeks anew, and later ones whose bots hang on them; see `_sort_out`."""
        todo = set(weeks)
        while todo:
            before = dict(self.about)
            self._sort_out(todo, batches)
            later = {week for week in self.about.keys() - todo if week > min(todo)}
            reached = {week for week in later if self._is_reached(week, before)}
            # What this run has written already may hang on a week that is reached only now: fewer rounds.
            todo = reached | {week for week in self.written if reached and week > min(reached)}
            batches = self.batches

    def _sort_out(self, weeks: Iterable[date], batches: Sequence[Mapping[str, Any]]) -> None:
        """Write some weeks anew.

        Args:
            weeks: the weeks.
            batches: those whose rows of these weeks have not been spilled yet.
        """
        todo = sorted(weeks)
        self.counted = _NOBODY
        spill = self.spill.of_weeks(todo)
        overlapping = [b for b in batches if not weeks_of(b).isdisjoint(todo)]
        if overlapping:
            self.raw.verify([b["file"] for b in overlapping])
        for _ in in_order(spill.take, spill.pieces(overlapping, self.rows), self.context.threads):
            pass
        units = [(week, bucket) for week in todo for bucket in range(self.n_buckets)]
        loaded = in_order(self._load, units, self.context.threads)
        with (
            self.context.progress.track("clean: weeks", len(units)) as advance,
            Closing() as closing,
        ):
            for week in todo:
                bots = _bots_before(self.about, week)
                for folder in ("events", "quarantine"):
                    (self.folder / folder / f"{week}.parquet").unlink(missing_ok=True)
                with closing(WeekRecords(self.folder, week, self.paths, self.timezone)) as records:
                    for bucket in range(self.n_buckets):
                        events, duplicates = next(loaded)
                        check_whole(events, bucket, self.n_buckets)
                        kept, refused, clipped = self._judge_users(events, week, bots, closing)
                        records.add(kept, duplicates, refused, clipped)
                        advance(1)
                self.written.add(week)
                self.about[week] = records.about() | {"limits": self._limits_of(week)}
                rmtree(self.spill.folder / f"{week}", ignore_errors=True)

    def _load(self, unit: tuple[date, int]) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return the events of a week and bucket in their order, and the duplicates of them."""
        files = self.spill.files(*unit)
        if not files:
            return pl.DataFrame(schema=EVENTS), pl.DataFrame(schema=EVENTS)
        return split_duplicates(pl.concat([pl.read_ipc(file) for file in files]))

    def _judge_users(
        self, events: pl.DataFrame, week: date, bots: Set[int], closing: Closing
    ) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, int]]:
        """Return what stays, what is refused (bot-like events and outliers), and how many values were clipped."""
        most_before = sum(w["most_of_one_user"] for monday, w in self.about.items() if monday < week)
        could_be_full = most_before + most_of_one(events) > self.clean.max_events_per_user
        past = Past(bots, self._counts_before(week, closing) if could_be_full else None)
        is_bot = bot_like(events, past, self.clean, self.timezone)
        if not is_bot.any() and not self.limits:
            return events, events.clear(), {}
        rule = pl.when(pl.Series(is_bot)).then(pl.lit(BOT)).alias("rule")
        judged = cut_outliers(events.with_columns(rule), self.limits, self.clean.outliers, self.timezone)
        is_refused = judged["rule"].is_not_null()
        clipped: dict[str, int] = {c: int(((judged[c] < events[c]) & ~is_refused).sum()) for c in self.limits}
        return judged.filter(~is_refused).drop("rule"), judged.filter(is_refused), clipped

    def _counts_before(self, week: date, closing: Closing) -> pl.DataFrame:
        """Return how many events of each user there are before a week."""
        if self.counted[0] != week:
            closing.wait()
            weeks = [monday for monday in self.about if self.counted[0] <= monday < week]
            parts = [self.counted[1], *(self._users_of(monday).value_counts(name="n") for monday in weeks)]
            counts = pl.concat([part.cast({"n": pl.Int64}) for part in parts])
            self.counted = week, counts.group_by("user_hash").agg(pl.col("n").sum())
        return self.counted[1]

    def _users_of(self, week: date) -> pl.Series:
        """Return the user hash of every event of a week, kept or refused: as this run or the one before wrote it."""
        base = self.base.artifact.path if self.base.artifact else self.folder
        root = self.folder if week in self.written else base
        users = [pl.Series("user_hash", dtype=pl.UInt64)]
        kept, refused = (root / folder / f"{week}.parquet" for folder in ("events", "quarantine"))
        if kept.exists():
            users.append(pl.read_parquet(kept, columns=["user_hash"])["user_hash"])
        if refused.exists():
            users.append(user_hash(pl.read_parquet(refused, columns=["user_id"])["user_id"]))
        return pl.concat(users)

    def _is_reached(self, week: date, before: Mapping[date, Any]) -> bool:
        """Tell whether what has changed in earlier weeks may change who is bot-like in this one.

        Args:
            week: the week.
            before: what was known of all weeks when this one was sorted out.
        """
        most = max(
            sum(about["most_of_one_user"] for about in weeks.values()) for weeks in (before, self.about)
        )
        if most > self.clean.max_events_per_user:
            return True
        other = _bots_before(self.about, week) ^ _bots_before(before, week)
        if not other:
            return False
        return bool(self._users_of(week).is_in(pl.Series(sorted(other), dtype=pl.UInt64).implode()).any())

    def _limits_of(self, week: date) -> dict[str, dict[str, float]]:
        return {c: limits_of_week(table, week) for c, table in self.limits.items()}


def _bots_before(weeks: Mapping[date, Any], week: date) -> set[int]:
    return {user for monday, about in weeks.items() if monday < week for user in about["bots"]}
