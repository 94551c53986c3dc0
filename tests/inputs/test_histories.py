"""Sorted histories: positions, running sums, and when a value comes again."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from ecbehave.inputs.histories import Histories, Integers, Timelines, microseconds, prepare

START = datetime(2024, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
FAR = datetime(9999, 1, 1, tzinfo=UTC)
SCHEMA = {
    "user_id": pl.String(),
    "event_type": pl.String(),
    "ts": pl.Datetime("us", "UTC"),
    "item_id": pl.String(),
    "category": pl.String(),
    "order_id": pl.String(),
    "amount": pl.Float64(),
}


def prepared(*rows: tuple[str, float, str | None], groups: tuple[str, ...] = ("any",)) -> Histories:
    """Histories of rows: user, hours from the start, item."""
    rest: dict[str, Any] = {"event_type": "purchase", "category": None, "order_id": None, "amount": 0.25}
    log = [{"user_id": u, "ts": START + h * HOUR, "item_id": i} | rest for u, h, i in rows]
    return prepare(pl.LazyFrame(log, schema=SCHEMA), groups, "UTC")


def of_each(histories: Histories, rows: Timelines, values: Integers, *user_ids: str) -> list[list[int]]:
    """Cut an array into the slices of some users."""
    users = histories.places(pl.Series(user_ids))
    return [values[s:e].tolist() for s, e in zip(rows.start(users), rows.before(FAR, users), strict=True)]


def test_rows_of_a_user_lie_together_in_the_order_of_time() -> None:
    histories = prepared(("b", 5, "i"), ("a", 3, "i"), ("b", 1, "i"), ("a", 2, "i"))
    events = histories.events["any"]
    hours = (events.ts - microseconds(START)) // microseconds(datetime(1970, 1, 1, 1, tzinfo=UTC))
    assert of_each(histories, events, hours, "a", "b", "nobody") == [[2, 3], [1, 5], []]


def test_a_position_lies_after_what_was_strictly_before() -> None:
    histories = prepared(*(("a", h, "i") for h in (1, 2, 2, 3)), ("b", 2, "i"))
    events, users = histories.events["any"], histories.places(pl.Series(["a", "b", "nobody"]))
    for hours, n_rows in ((0, [0, 0, 0]), (1, [0, 0, 0]), (2, [1, 0, 0]), (2.5, [3, 1, 0]), (4, [4, 1, 0])):
        n_before = events.before(START + hours * HOUR, users) - events.start(users)
        assert n_before.tolist() == n_rows, hours


def test_only_the_last_event_with_a_value_before_the_cutoff_is_the_newest() -> None:
    events = prepared(*(("a", h, i) for h, i in enumerate(["i", "j", "i", None, "i"]))).events["any"]
    newest = [np.diff(events.newest("items", START + h * HOUR))[:h].tolist() for h in range(6)]
    assert newest == [[], [1], [1, 1], [0, 1, 1], [0, 1, 1, 0], [0, 1, 0, 0, 1]]
    assert events.itemised.tolist() == [0, 1, 2, 3, 3, 4]
    assert events.units.tolist() == [0, 2500, 5000, 7500, 10000, 12500]


def test_a_value_of_another_user_does_not_come_again() -> None:
    histories = prepared(("a", 1, "i"), ("a", 2, None), ("b", 2, "i"), ("b", 3, None))
    events = histories.events["any"]
    assert of_each(histories, events, np.diff(events.newest("items", FAR)), "a", "b") == [[1, 0], [1, 0]]


def test_gaps_start_anew_with_each_user() -> None:
    rows = [("a", h, "i") for h in (0, 5, 6)] + [("b", h, "i") for h in (1, 3)]
    histories = prepared(*rows, groups=("purchase",))
    orders = histories.orders
    assert orders is not None
    assert of_each(histories, orders, orders.gap // 3600, "a", "b") == [[0, 5, 1], [0, 2]]
    assert of_each(histories, orders, orders.longest // 3600, "a", "b") == [[0, 5, 5], [0, 2]]


def test_no_events_are_no_trouble_and_orders_are_only_of_purchases() -> None:
    histories = prepared()
    assert histories.orders is None
    users = histories.places(pl.Series(["a"]))
    assert histories.events["any"].before(FAR, users).tolist() == [0]
    assert prepared(groups=("purchase", "any")).orders is not None
