"""Events as arrays: their order, their numbers, and what they tell of each event."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest

from ecbehave.inputs.facts import LogFacts
from ecbehave.inputs.sequence_events import ARRAYS, COLUMNS, UserEvents, user_events

EVERYTHING = LogFacts((), tuple(COLUMNS))


def at(day: int, hour: int = 0) -> datetime:
    return datetime(2024, 1, day, hour, tzinfo=UTC)


def log(*rows: dict[str, Any]) -> pl.DataFrame:
    """Each row is a view by `u` of the first of January, unless it says otherwise."""
    usual = {"user_hash": 1, "user_id": "u", "ts": at(1), "event_type": "view"}
    return pl.DataFrame([dict.fromkeys(COLUMNS) | usual | row for row in rows], COLUMNS)


def sorted_events(*rows: dict[str, Any], facts: LogFacts = EVERYTHING, timezone: str = "UTC") -> UserEvents:
    return user_events(log(*rows).lazy(), facts, timezone)


def named(events: UserEvents, name: str) -> list[str | None]:
    names = [*events.names[name].to_list(), None]
    return [names[number] for number in events.arrays[name]]


def test_events_are_in_the_order_of_users_and_time() -> None:
    rows = [
        {"user_hash": 9, "user_id": "a", "ts": at(2), "item_id": "late"},
        # Two users of one hash.
        {"user_hash": 5, "user_id": "z", "ts": at(1), "item_id": "z"},
        {"user_hash": 9, "user_id": "a", "ts": at(1), "item_id": "early"},
        {"user_hash": 5, "user_id": "b", "ts": at(3), "item_id": "b"},
    ]
    events = sorted_events(*rows)
    assert events.users.rows() == [(5, "b"), (5, "z"), (9, "a")]
    assert events.offsets.tolist() == [0, 1, 2, 4]
    assert named(events, "item") == ["b", "z", "early", "late"]
    assert events.arrays["ts"].tolist() == [int(at(day).timestamp() * 1e6) for day in (3, 1, 1, 2)]
    assert {name: array.dtype.type for name, array in events.arrays.items()} == ARRAYS


TIES = [
    {"event_type": "cart", "item_id": "b", "price": 2.0},
    {"event_type": "view", "item_id": None},
    {"event_type": "view", "item_id": "a", "category": "y", "price": 1.0},
    {"event_type": "view", "item_id": "a", "category": "y", "price": 1.0, "dwell_seconds": 3.0},
    {"event_type": "view", "item_id": "a", "category": "x", "price": 9.0},
    {"event_type": "view", "item_id": "a", "category": "y", "price": None},
]


@pytest.mark.parametrize("seed", range(3))
def test_of_one_instant_the_content_decides_and_not_the_order_of_the_rows(seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(TIES))
    events = sorted_events(*(TIES[n] for n in order))
    assert named(events, "event_type") == ["cart", "view", "view", "view", "view", "view"]
    assert named(events, "item") == ["b", None, "a", "a", "a", "a"]
    assert named(events, "category") == [None, None, "x", "y", "y", "y"]
    np.testing.assert_array_equal(events.arrays["price"], [2, np.nan, 9, np.nan, 1, 1])
    np.testing.assert_array_equal(events.arrays["dwell"], [np.nan] * 5 + [3])


def test_names_are_numbered_as_they_first_appear() -> None:
    items = ["m", "b", None, "m", "a"]
    events = sorted_events(*({"ts": at(day + 1), "item_id": item} for day, item in enumerate(items)))
    assert events.names["item"].to_list() == ["m", "b", "a"]
    assert events.arrays["item"].tolist() == [0, 1, -1, 0, 2]


@pytest.mark.parametrize(
    ("row", "known", "price"),
    [
        ({"price": 2.5, "amount": 9.0, "quantity": 3.0}, ("price", "amount", "quantity"), 2.5),
        ({"amount": 9.0, "quantity": 3.0}, ("price", "amount", "quantity"), 3.0),
        ({"amount": 9.0, "quantity": 0.0}, ("price", "amount", "quantity"), np.nan),
        ({"amount": 9.0}, ("price", "amount", "quantity"), np.nan),
        # Training has not seen the column.
        ({"price": 2.5}, ("amount",), np.nan),
    ],
)
def test_the_price_is_that_of_one_piece(row: dict[str, Any], known: tuple[str, ...], price: float) -> None:
    found = sorted_events(row, facts=LogFacts((), known)).arrays["price"]
    np.testing.assert_array_equal(found, np.array([price], np.float32))


def test_dwell_times_that_training_has_not_seen_are_unknown() -> None:
    row = {"dwell_seconds": 7.5}
    assert sorted_events(row).arrays["dwell"].tolist() == [7.5]
    assert np.isnan(sorted_events(row, facts=LogFacts(())).arrays["dwell"]).all()


@pytest.mark.parametrize(
    ("ts", "timezone", "hour"),
    [
        # The first of January 2024 is a Monday.
        (at(1, 0), "UTC", 0),
        (at(7, 23), "UTC", 167),
        (at(1, 0), "America/New_York", 6 * 24 + 19),
        (at(1, 23), "Asia/Kolkata", 24 + 4),
    ],
)
def test_the_hour_is_that_of_the_week_on_the_shops_clock(ts: datetime, timezone: str, hour: int) -> None:
    assert sorted_events({"ts": ts}, timezone=timezone).arrays["hour"].tolist() == [hour]


def test_no_events_are_no_users() -> None:
    events = sorted_events()
    assert (events.users.height, events.offsets.tolist()) == (0, [0])
    assert all(array.size == 0 for array in events.arrays.values())
