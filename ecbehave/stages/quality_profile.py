"""What one batch and one period of the log look like: small counts, stored as plain data and added up later.

A batch and a period are profiled once. `quality.py` adds the profiles up and judges the whole.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from functools import reduce
from typing import Any, Self

import polars as pl

from ecbehave.schema import EVENT_COLUMNS, EVENT_TYPES, TS

#: A column with more values than this, or longer ones, is not listed by value.
MOST_VALUES = 20
_LONGEST_VALUE = 40
_FIRST_ROWS = 1_000
#: The rule that refuses rows of bot-like users.
BOT = "bot_like"
#: With more event types than this, those without a meaning of their own are counted as one.
MOST_EVENT_TYPES = 30
OTHER_TYPES = "(other)"
#: Every zone's midnight has been the start of a quarter hour since 1972, so a day is a sum of quarter hours.
_QUARTER_HOUR = 15 * 60 * 1_000_000


@dataclass(frozen=True)
class ColumnProfile:
    """One column of some rows."""

    nulls: int = 0
    """Rows without a value that could be read."""
    unparsed: int = 0
    """Of those, rows with a value that could not."""
    low: float | None = None
    """Smallest number, earliest time (microseconds since 1970), or fewest characters of a text."""
    high: float | None = None
    values: list[str] | None = None
    """Every value of a text column, sorted; None where they are too many or too long, and for other columns."""

    @classmethod
    def absent(cls, n_rows: int) -> Self:
        """Return the profile of rows that lack the column."""
        return cls(nulls=n_rows, values=[])

    def merge(self, other: "ColumnProfile") -> "ColumnProfile":
        """Return the profile of both's rows."""
        values = None if self.values is None or other.values is None else {*self.values, *other.values}
        return ColumnProfile(
            self.nulls + other.nulls,
            self.unparsed + other.unparsed,
            min((v for v in (self.low, other.low) if v is not None), default=None),
            max((v for v in (self.high, other.high) if v is not None), default=None),
            None if values is None or len(values) > MOST_VALUES else sorted(values),
        )


@dataclass(frozen=True)
class BatchProfile:
    """Some rows of one batch of events."""

    rows: int
    accepted: int
    columns: dict[str, ColumnProfile]
    days: Counter[date]
    """Accepted rows by local day."""
    late: int | None
    """Accepted rows that came too long after their time; None where the source maps no `received_at`."""

    def merge(self, other: "BatchProfile") -> "BatchProfile":
        """Return the profile of both's rows, of the same batch."""
        return BatchProfile(
            self.rows + other.rows,
            self.accepted + other.accepted,
            {name: column.merge(other.columns[name]) for name, column in self.columns.items()},
            self.days + other.days,
            None if self.late is None or other.late is None else self.late + other.late,
        )

    def to_facts(self, mapped: Iterable[str]) -> dict[str, Any]:
        """Return the profile as plain data, for `merge_columns` and `quality`.

        Args:
            mapped: columns that the source maps. Of the others, those with a value are kept too: they follow from
                the mapped ones.
        """
        kept = {*mapped, "event_type"}
        columns = {n: asdict(c) for n, c in self.columns.items() if n in kept or c.nulls < self.rows}
        return {
            "rows": self.rows,
            "accepted": self.accepted,
            "columns": columns,
            "days": _isoformat(self.days),
            "late": self.late,
        }


def batch_profile(
    rows: pl.DataFrame, mapped: Collection[str], timezone: str, late_after: timedelta
) -> BatchProfile:
    """Profile some rows of a batch; cut in any way, the merged profiles of the parts are that of the whole.

    Args:
        rows: columns EVENTS_RAW, and `rule`, null for an accepted row.
        mapped: columns that the source maps.
        timezone: the shop's calendar.
        late_after: how long after its time a row is late, where the source maps `received_at`.
    """
    accepted = rows.lazy().filter(pl.col("rule").is_null()).select("ts", "received_at").collect()
    late = None
    if "received_at" in mapped:
        late = int(accepted.select((pl.col("received_at") - pl.col("ts") > late_after).sum()).item())
    days = Counter(dict(_by_day(accepted, timezone).rows()))
    return BatchProfile(rows.height, accepted.height, _columns(rows), days, late)


@dataclass(frozen=True)
class PeriodProfile:
    """Some rows of one period of the log; its rows may be cut by user."""

    rows: int = 0
    """Clean rows."""
    days: dict[str, Counter[date]] = field(default_factory=dict)
    """Clean rows by event type and local day."""
    duplicates: Counter[str] = field(default_factory=Counter)
    """Dropped rows by their batch."""
    refused: Counter[str] = field(default_factory=Counter)
    """Rows refused as bot-like or outliers, by their batch."""
    bots: Counter[str] = field(default_factory=Counter)
    """Rows refused as bot-like, by user."""
    clipped: Counter[str] = field(default_factory=Counter)
    """Values lowered to a limit, by column."""

    def merge(self, other: "PeriodProfile") -> "PeriodProfile":
        """Return the profile of both's rows."""
        return PeriodProfile(
            self.rows + other.rows,
            {
                name: self.days.get(name, Counter()) + other.days.get(name, Counter())
                for name in {*self.days, *other.days}
            },
            self.duplicates + other.duplicates,
            self.refused + other.refused,
            self.bots + other.bots,
            self.clipped + other.clipped,
        )

    def to_facts(self) -> dict[str, Any]:
        """Return the profile as plain data, for `quality`."""
        return {
            "rows": self.rows,
            "days": {name: _isoformat(days) for name, days in sorted(merge_types([self.days]).items())},
            **{
                name: dict(sorted(getattr(self, name).items()))
                for name in ("duplicates", "refused", "bots", "clipped")
            },
        }


def period_profile(
    kept: pl.DataFrame,
    duplicates: pl.DataFrame,
    refused: pl.DataFrame,
    clipped: Mapping[str, int],
    timezone: str,
) -> PeriodProfile:
    """Profile some rows of a period.

    Args:
        kept: clean rows, columns EVENTS.
        duplicates: dropped rows, at least `batch`.
        refused: rows refused for what others of their user or of the log are like, with `rule`.
        clipped: column to number of values lowered to a limit.
        timezone: the shop's calendar.
    """
    days: dict[str, Counter[date]] = {}
    for event_type, day, n in _by_day(kept, timezone, "event_type").rows():
        days.setdefault(event_type, Counter())[day] = n
    return PeriodProfile(
        kept.height,
        days,
        _counts(duplicates["batch"]),
        _counts(refused["batch"]),
        _counts(refused["user_id"].filter(refused["rule"] == BOT)) if refused.height else Counter(),
        +Counter(clipped),
    )


def merge_columns(parts: Sequence[tuple[int, Mapping[str, Any]]]) -> dict[str, ColumnProfile]:
    """Return the profile of each column over batches, given as number of rows and stored columns."""
    names = [name for name in EVENT_COLUMNS if any(name in columns for _, columns in parts)]

    def of(name: str, n_rows: int, columns: Mapping[str, Any]) -> ColumnProfile:
        return ColumnProfile(**columns[name]) if name in columns else ColumnProfile.absent(n_rows)

    return {
        name: reduce(ColumnProfile.merge, (of(name, n, columns) for n, columns in parts)) for name in names
    }


def _columns(rows: pl.DataFrame) -> dict[str, ColumnProfile]:
    measured = rows.select(
        pl.col(name).str.len_chars() if dtype == pl.String else pl.col(name).to_physical()
        for name, dtype in EVENT_COLUMNS.items()
    )
    bounds = measured.select(pl.all().min().name.suffix(" low"), pl.all().max().name.suffix(" high")).row(
        0, named=True
    )
    unparsed = _unparsed(rows["unparsed"].drop_nulls())
    return {
        name: ColumnProfile(
            rows[name].null_count(),
            unparsed.get(name, 0),
            _plain(bounds[f"{name} low"]),
            _plain(bounds[f"{name} high"]),
            _values(rows[name]) if dtype == pl.String else None,
        )
        for name, dtype in EVENT_COLUMNS.items()
    }


def _plain(bound: float | None) -> float | None:
    # Of 0.0 and -0.0, which are equal, the first one would otherwise be kept.
    return None if bound is None else bound + 0


def _values(column: pl.Series) -> list[str] | None:
    if column.null_count() == len(column):
        return []
    values: set[str] = set()
    # Most columns with many values have many of them in the first rows; of the others, few rows are new.
    for part in (column.head(_FIRST_ROWS), column):
        new = part.drop_nulls()
        if values:
            new = new.filter(~new.is_in(list(values)))
        values.update(new.unique())
        if len(values) > MOST_VALUES or any(len(value) > _LONGEST_VALUE for value in values):
            return None
    return sorted(values)


def _unparsed(complaints: pl.Series) -> dict[str, int]:
    """Count by column what could not be read; of a row that could not be read as a whole, nothing is known."""
    if complaints.is_empty():
        return {}
    text = pl.col(complaints.name)
    return (
        complaints.to_frame()
        .filter(~text.str.starts_with("row="))
        .select(text.str.contains(f"(^|; ){name}=").sum().alias(name) for name in EVENT_COLUMNS)
        .row(0, named=True)
    )


def _by_day(rows: pl.DataFrame, timezone: str, *keys: str) -> pl.DataFrame:
    """Count rows by keys and local day, by way of quarter hours: far faster than by day at once, and as exact."""
    quarter = (pl.col("ts").to_physical() // _QUARTER_HOUR * _QUARTER_HOUR).alias("ts")
    day = pl.col("ts").cast(TS).dt.convert_time_zone(timezone).dt.date().alias("day")
    quarters = rows.group_by(*keys, quarter).len()
    return quarters.group_by(*keys, day).agg(pl.col("len").sum()).sort(*keys, "day")


def _isoformat(days: Mapping[date, int]) -> dict[str, int]:
    return {day.isoformat(): n for day, n in sorted(days.items())}


def merge_types(parts: Sequence[Mapping[str, Mapping[date, int]]]) -> dict[str, Counter[date]]:
    """Add up rows by event type and day; with too many types, those without a meaning are taken as one."""
    names = {name for part in parts for name in part}
    is_crowded = OTHER_TYPES in names or len(names) > MOST_EVENT_TYPES
    merged: dict[str, Counter[date]] = {}
    for part in parts:
        for name, days in part.items():
            shown = OTHER_TYPES if is_crowded and name not in EVENT_TYPES else name
            merged.setdefault(shown, Counter()).update(days)
    return merged


def _counts(values: pl.Series) -> Counter[str]:
    return Counter(dict(values.value_counts().rows())) if len(values) else Counter()
