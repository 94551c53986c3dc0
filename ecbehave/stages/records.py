"""What clean writes of one batch and of one week, and what the manifest says of them."""

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import polars as pl

from ecbehave.schema import EVENT_COLUMNS, EVENTS, QUARANTINE
from ecbehave.stages.bots import most_of_one
from ecbehave.stages.quality_profile import BatchProfile, PeriodProfile, period_profile
from ecbehave.stages.refused import Refused
from ecbehave.stages.spill import Judged
from ecbehave.tables import TableWriter, TableWriters

VALUES = "values"
BOT = "bot_like"

#: Rows per row group of a week: few enough that reading a bucket reads little more than its own.
ROW_GROUP = 16_384


class BatchRecords:
    """Writes what single rows have shown, batch after batch: the refused ones, and values for the limits."""

    def __init__(self, folder: Path, paths: Mapping[str, str]) -> None:
        self._folder, self._paths = folder, paths
        self._refused = Refused(paths)
        self._values: list[pl.DataFrame] = []
        self._profile: BatchProfile | None = None
        self._quarantine: TableWriter | None = None
        self.about: dict[str, Any] = {}

    def add(self, judged: Judged) -> None:
        """Take in the next piece; those of one batch follow one another."""
        batch = judged.batch["id"]
        if judged.profile:
            self._profile = self._profile.merge(judged.profile) if self._profile else judged.profile
        if judged.refused.height:
            self._refused.add(judged.refused)
            if self._quarantine is None:
                path = self._folder / "quarantine" / f"batch-{batch}.parquet"
                self._quarantine = TableWriter(path, QUARANTINE)
            self._quarantine.write(judged.refused)
        self._values += [
            values.select(pl.lit(column).alias("column"), "month", "value", "n")
            for column, values in judged.values.items()
        ]
        if judged.is_last:
            self._finish(judged.batch)

    def _finish(self, about: Mapping[str, Any]) -> None:
        batch = about["id"]
        if self._values:
            key = ["column", "month", "value"]
            counted = pl.concat(self._values).group_by(key).agg(pl.col("n").sum()).sort(key)
            (self._folder / VALUES).mkdir(exist_ok=True)
            counted.write_ipc(self._folder / VALUES / f"batch-{batch}.arrow")
        profile = self._profile.to_facts(about["columns"]) if self._profile else {}
        self.about[batch] = {"refused": self._refused.to_info(), "profile": profile}
        self._refused, self._values, self._profile = Refused(self._paths), [], None
        self.close()

    def close(self) -> None:
        """Close what is open."""
        if self._quarantine:
            self._quarantine.close()
        self._quarantine = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class WeekRecords:
    """Writes one week: its events, and what was refused of them."""

    def __init__(self, folder: Path, week: date, paths: Mapping[str, str], timezone: str) -> None:
        self._week, self._refused, self._timezone = week, Refused(paths), timezone
        self._profile = PeriodProfile()
        self._stack = ExitStack()
        self._writers = self._stack.enter_context(TableWriters(folder, ROW_GROUP))
        self._parts: list[_Part] = []
        self._bots: set[int] = set()
        self._n_duplicates = 0
        self._most = 0

    def add(
        self,
        events: pl.DataFrame,
        duplicates: pl.DataFrame,
        refused: pl.DataFrame,
        clipped: Mapping[str, int],
    ) -> None:
        """Take in the next bucket."""
        profile = period_profile(events, duplicates, refused, clipped, self._timezone)
        self._profile = self._profile.merge(profile)
        self._n_duplicates += duplicates.height
        users = events.select("user_hash")
        if refused.height:
            refused = refused.with_columns(unparsed=pl.lit(None, pl.String))
            self._refused.add(refused)
            is_bot = pl.col("rule") == BOT
            bots = refused.filter(is_bot).select("user_hash").unique()
            self._bots |= set(bots["user_hash"].to_list())
            # Of a bot, one event too many counts: it shows that the limit was reached.
            users = pl.concat([users, refused.filter(~is_bot).select("user_hash"), bots]).sort("user_hash")
            self._writers.open(f"quarantine/{self._week}.parquet", QUARANTINE).write(refused)
        self._most = max(self._most, most_of_one(users))
        if events.height:
            self._writers.open(f"events/{self._week}.parquet", EVENTS).write(events)
            self._parts.append(_Part.of(events))

    def about(self) -> dict[str, Any]:
        """Return what the manifest says of the week."""
        parts = self._parts
        return {
            "clean": sum(p.n for p in parts),
            "duplicates": self._n_duplicates,
            "refused": self._refused.to_info(),
            "bots": sorted(self._bots),
            "most_of_one_user": self._most,
            "start": min((p.start for p in parts), default=None),
            "end": max((p.end for p in parts), default=None),
            "received": max((p.received for p in parts), default=None),
            "first_seen": earliest(p.first_seen for p in parts),
            "first_value": earliest(p.first_value for p in parts),
            "profile": self._profile.to_facts(),
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)


@dataclass(frozen=True)
class _Part:
    """What is known of some events; instants are ISO 8601 in UTC, which sort as text."""

    n: int
    start: str
    end: str
    received: str
    first_seen: dict[str, str]
    """By event type."""
    first_value: dict[str, str]
    """By column that has a value."""

    @classmethod
    def of(cls, events: pl.DataFrame) -> "_Part":
        ts, received = events["ts"], events["received_at"]
        seen = events.group_by("event_type").agg(pl.col("ts").min())
        return cls(
            events.height,
            _text(ts.min()),
            _text(ts.max()),
            _text(received.max()),
            {event: _text(first) for event, first in seen.rows()},
            {c: _text(ts.filter(events[c].is_not_null()).min()) for c in _filled(events)},
        )


def _filled(events: pl.DataFrame) -> list[str]:
    return [c for c in EVENT_COLUMNS if events[c].null_count() < events.height]


def earliest(parts: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Return for each name the earliest instant of some parts."""
    found: dict[str, str] = {}
    for part in parts:
        for name, instant in part.items():
            found[name] = min(instant, found.get(name, instant))
    return dict(sorted(found.items()))


def _text(instant: Any) -> str:
    return f"{instant.isoformat(timespec='microseconds')}"
