"""Sorted histories: the order of rows, positions, and values by number."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from feature_logs import as_frame, known_columns

from ecbehave.inputs.facts import LogFacts
from ecbehave.inputs.histories import UNKNOWN, Histories, columns_of, encoded, microseconds, prepare
from ecbehave.inputs.ordering import Integers

START = datetime(2024, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
FAR = datetime(9999, 1, 1, tzinfo=UTC)


def prepared(*rows: tuple[str, float, str | None], timezone: str = "UTC", **values: Any) -> Histories:
    """Histories of rows: user, hours from the start, item."""
    fixed = {"event_type": "purchase", "amount": 0.25} | values
    log = [{"user_id": u, "ts": START + h * HOUR, "item_id": i} | fixed for u, h, i in rows]
    return prepare(as_frame(log), LogFacts(("purchase",), known_columns(log)), timezone)


def of_each(histories: Histories, values: Integers, *user_ids: str) -> list[list[int]]:
    """Cut an array into the slices of some users."""
    users = histories.places(pl.Series(user_ids))
    ends = histories.before(FAR, users)
    return [values[s:e].tolist() for s, e in zip(histories.offsets[users], ends, strict=True)]


def hours(histories: Histories) -> Integers:
    return (histories.ts - microseconds(START)) // microseconds(datetime(1970, 1, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 0, 3, 4, 1], [1, 3, 0, 2, 4]])
def test_rows_of_a_user_lie_together_in_the_order_of_time(order: list[int]) -> None:
    rows = [("a", 2, "i"), ("a", 3, "j"), ("b", 1, "i"), ("b", 5, "k"), ("b", 6, None)]
    histories = prepared(*(rows[i] for i in order))
    assert of_each(histories, hours(histories), "a", "b", "nobody") == [[2, 3], [1, 5, 6], []]
    assert (np.diff(histories.user) >= 0).all()
    items = [histories.names["item_id"][int(i)] if i >= 0 else None for i in histories.columns["item_id"]]
    seen = dict(zip(hours(histories).tolist(), items, strict=True))
    assert seen == {2: "i", 3: "j", 1: "i", 5: "k", 6: None}


def test_a_position_lies_after_what_was_strictly_before() -> None:
    histories = prepared(*(("a", h, "i") for h in (1, 2, 2, 3)), ("b", 2, "i"))
    users = histories.places(pl.Series(["a", "b", "nobody"]))
    for at, n_rows in ((0, [0, 0, 0]), (1, [0, 0, 0]), (2, [1, 0, 0]), (2.5, [3, 1, 0]), (4, [4, 1, 0])):
        n_before = histories.before(START + at * HOUR, users) - histories.offsets[users]
        assert n_before.tolist() == n_rows, at


def test_ties_end_after_the_last_row_of_a_user_and_instant() -> None:
    histories = prepared(*(("a", h, "i") for h in (1, 2, 2)), ("b", 2, "i"), ("b", 3, "i"))
    assert histories.tie_end.tolist() == [1, 3, 3, 4, 5]


def test_rows_are_told_apart_by_type() -> None:
    histories = prepared(("a", 1, "i"))
    assert histories.is_of("purchase").tolist() == [True]
    assert histories.is_of("view").tolist() == [False]


def test_days_are_those_of_the_shop() -> None:
    log = [("a", 8, "i"), ("a", 12, "i")]
    assert np.diff(prepared(*log).day).tolist() == [0]
    assert np.diff(prepared(*log, timezone="Pacific/Kiritimati").day).tolist() == [1]
    assert (
        prepared(*log, timezone="America/New_York").day[0]
        == (START.date() - datetime(1970, 1, 1).date()).days
    )


def test_numbers_are_whole_units_and_unknown_money_is_none() -> None:
    columns = prepared(("a", 1, "i"), discount=0.1, rating=3.5, dwell_seconds=1.25, quantity=2.0).columns
    assert {name: columns[name].tolist() for name in ("amount", "discount", "rating", "dwell")} == {
        "amount": [2500], "discount": [1000], "rating": [3500], "dwell": [1250]
    }  # fmt: skip
    assert columns["unit_price"].tolist() == [1250]
    assert "coupon" not in columns


def test_a_price_comes_before_amount_by_quantity() -> None:
    def price(**values: float | None) -> int:
        log = [{"user_id": "a", "ts": START, "event_type": "view"} | values]
        facts = LogFacts(("view",), ("price", "amount", "quantity"))
        return int(prepare(as_frame(log), facts, "UTC").columns["unit_price"][0])

    assert price(price=2.0, amount=9.0, quantity=3.0) == 20_000
    assert price(price=None, amount=9.0, quantity=3.0) == 30_000
    assert price(amount=9.0, quantity=0.0) == price(amount=9.0) == price(quantity=1.0) == UNKNOWN


def test_no_events_are_no_trouble() -> None:
    histories = prepared()
    users = histories.places(pl.Series(["a"]))
    assert histories.before(FAR, users).tolist() == [0]
    assert histories.tie_end.tolist() == []


def test_only_columns_with_values_are_read() -> None:
    always = ["user_id", "ts", "event_type", "item_id", "category", "order_id", "amount"]
    assert columns_of(LogFacts(())) == always
    known = ("brand", "rating", "amount", "received_at", "price")
    assert columns_of(LogFacts((), known)) == [*always, "brand", "price", "rating"]


def test_values_are_numbered_by_the_alphabet_where_that_is_asked_for() -> None:
    values = pl.Series(["b", None, "é", "a", "b", "B"])
    codes, names = encoded(values)
    assert [names[int(c)] if c >= 0 else None for c in codes] == values.to_list()
    codes, names = encoded(values, alphabetical=True)
    assert names.to_list() == ["B", "a", "b", "é"]
    assert codes.tolist() == [2, -1, 3, 1, 2, 0]
    codes, names = encoded(pl.Series([None, None], dtype=pl.String), alphabetical=True)
    assert (codes.tolist(), names.to_list()) == ([-1, -1], [])
