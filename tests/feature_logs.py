"""Small random logs for tests of features, and the table input of all their users at one cutoff."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, get_args
from zoneinfo import ZoneInfo

import polars as pl
from hypothesis import strategies as st

from ecbehave.buckets import user_hash
from ecbehave.config.features import FeatureGroup
from ecbehave.inputs.facts import LogFacts
from ecbehave.inputs.table import Catalogue
from ecbehave.schema import EVENT_COLUMNS, TS

Event = dict[str, Any]
Row = dict[str, Any]

DAY, MINUTE, MICROSECOND = timedelta(days=1), timedelta(minutes=1), timedelta(microseconds=1)
SESSION_GAP = 30 * MINUTE
WINDOWS = {"12h": timedelta(hours=12), "7d": 7 * DAY, "28d": 28 * DAY}
#: Clocks changed within the week before the cutoff in Berlin, within four weeks in America, never on Kiritimati.
ZONES = ["UTC", "Europe/Berlin", "America/Los_Angeles", "Pacific/Kiritimati"]
USERS = ["u1", "u2", "u3", "somebody without events"]
GROUPS = get_args(FeatureGroup)
#: Columns that a log need not have.
OPTIONAL = [
    "category",
    "brand",
    "session_id",
    "price",
    "quantity",
    "discount",
    "coupon",
    "rating",
    "dwell_seconds",
]
_NOBODY = pl.DataFrame(schema={"user_id": pl.String(), "known_from": TS})


def cutoff_in(timezone: str) -> datetime:
    return datetime(2024, 4, 2, tzinfo=ZoneInfo(timezone)).astimezone(UTC)


def start_of(cutoff: datetime, length: timedelta, timezone: str) -> datetime:
    """Go back by the shop's calendar for whole days, by the clock for hours."""
    if length < DAY:
        return cutoff - length
    local = cutoff.astimezone(ZoneInfo(timezone)).replace(tzinfo=None) - length
    return local.replace(tzinfo=ZoneInfo(timezone)).astimezone(UTC)


def as_frame(log: Sequence[Event]) -> pl.LazyFrame:
    """The log as the clean stage has it; what an event does not say is null."""
    columns = {c: d for c, d in EVENT_COLUMNS.items() if c != "received_at"}
    return pl.DataFrame(list(log), schema=columns, orient="row").lazy()


def population() -> pl.DataFrame:
    users = pl.DataFrame({"user_id": USERS})
    return users.select(user_hash(users["user_id"]), "user_id")


def known_columns(log: Sequence[Event]) -> tuple[str, ...]:
    return tuple(c for c in EVENT_COLUMNS if any(e.get(c) is not None for e in log))


def make_catalogue(facts: LogFacts, timezone: str, groups: Sequence[str] = GROUPS) -> Catalogue:
    return Catalogue(facts, tuple(groups), tuple(WINDOWS.values()), SESSION_GAP, timezone)


def tables(
    catalogue: Catalogue,
    log: Sequence[Event],
    cutoffs: Sequence[datetime],
    users: pl.DataFrame = _NOBODY,
    market: Sequence[Event] | None = None,
) -> list[pl.DataFrame]:
    """The table of all users at each cutoff; the market is the log's own unless another one is given."""
    sums = catalogue.market_sums(cutoffs)
    sums.add(sums.partial(as_frame(log if market is None else market)))
    asked = [(population(), cutoff) for cutoff in cutoffs]
    return catalogue.features(as_frame(log), asked, sums.market(), users)


def ages(timezone: str, longest: timedelta = 90 * DAY) -> st.SearchStrategy[timedelta]:
    """How long before the cutoff: anything, few values (ties, sessions), or a border to the microsecond."""
    cutoff = cutoff_in(timezone)
    borders = [cutoff - start_of(cutoff, n * length, timezone) for length in WINDOWS.values() for n in (1, 2)]
    at_border = st.builds(lambda b, d: b + d * MICROSECOND, st.sampled_from(borders), st.integers(-1, 1))
    anything = st.timedeltas(MICROSECOND, longest)
    few = st.integers(1, 6).map(lambda n: n * timedelta(hours=7))
    close = st.builds(
        lambda a, n, d: a + n * SESSION_GAP + d * MICROSECOND,
        st.sampled_from([timedelta(hours=7), 3 * DAY]),
        st.integers(0, 3),
        st.integers(-1, 1),
    )
    return st.one_of(at_border, few, anything, close)


def _maybe(*values: object) -> st.SearchStrategy[object]:
    return st.sampled_from([None, *values])


def _cents(most: int) -> st.SearchStrategy[float | None]:
    return st.none() | st.integers(0, most * 100).map(lambda cents: cents / 100)


def events(timezone: str, types: Sequence[str]) -> st.SearchStrategy[Event]:
    values = {
        "user_id": st.sampled_from(USERS[:-1]),
        "ts": ages(timezone).map(lambda age: cutoff_in(timezone) - age),
        "event_type": st.sampled_from(types),
        "item_id": _maybe("i1", "i2", "i3"),
        "category": _maybe("c", "c.d", "a"),
        "brand": _maybe("x", "y", "z", "é"),
        "order_id": _maybe("o1", "o2"),
        "session_id": _maybe("s1", "s2"),
        "price": _cents(500),
        "quantity": _maybe(0.0, 1.0, 2.5),
        "amount": _cents(10_000),
        "discount": _maybe(0.0, 0.05, 3.5),
        "coupon": _maybe(0.0, 1.0),
        "rating": _maybe(1.0, 3.5, 5.0),
        "dwell_seconds": _maybe(0.0, 2.5, 90.0),
    }
    return st.fixed_dictionaries(values)


def without(log: Sequence[Event], columns: Sequence[str]) -> list[Event]:
    return [event | dict.fromkeys(columns) for event in log]
