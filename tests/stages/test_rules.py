"""The rules that need no other part of the log: every one just inside and just outside; and exact duplicates."""

import math
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from desks import GOOD, NEW_YORK, NOON, Desk, events, raw
from hypothesis import given, settings
from hypothesis import strategies as st

from ecbehave.buckets import user_hash
from ecbehave.config.clean import Clean
from ecbehave.schema import EVENT_COLUMNS, EVENT_ORDER, EVENTS, EVENTS_RAW, USERS_KEY
from ecbehave.stages import rules
from ecbehave.stages.refused import REMEDIES

INSTANT = timedelta(microseconds=1)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "shop")


def rule(
    settings: Clean | None = None, timezone: str = "UTC", needs_item: bool = True, **row: Any
) -> str | None:
    judged = raw(row).select(rules.row_rule(settings or Clean(), timezone, needs_item=needs_item))
    return judged["rule"].to_list()[0]


EARLIEST = datetime(2000, 1, 1, 5, tzinfo=UTC)
BOUNDS = Clean(earliest=date(2000, 1, 1), max_price=100, max_quantity=10)
OVER_100 = math.nextafter(100, 101)
OVER_10 = math.nextafter(10, 11)
BUY = {"event_type": "purchase"}


CASES: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"unparsed": "row=u1"}, {}, "unreadable_row"),
    ({"user_id": None}, {"user_id": "0"}, "missing_user"),
    ({"ts": None, "unparsed": "ts=x"}, {}, "unparsable_time"),
    ({"ts": None, "unparsed": "price=a; ts=x"}, {}, "unparsable_time"),
    ({"ts": None}, {}, "missing_time"),
    ({"ts": EARLIEST - INSTANT}, {"ts": EARLIEST}, "impossible_time"),
    (
        {"ts": NOON + timedelta(days=1) + INSTANT},
        {"ts": NOON + timedelta(days=1)},
        "impossible_time",
    ),
    ({"event_type": None}, {"event_type": "wishlist"}, "missing_event_type"),
    ({"item_id": None}, {"item_id": None, "event_type": "search"}, "missing_item"),
    ({"unparsed": "dwell_seconds=x"}, {}, "unparsable_value"),
    ({"price": -0.01}, {"price": 0.0}, "negative_price"),
    ({"amount": -0.01} | BUY, {"amount": 0.0} | BUY, "negative_price"),
    ({"price": -1.0, "quantity": -1.0, "amount": 1.0} | BUY, {"quantity": -1.0} | BUY, "negative_price"),
    ({"price": OVER_100}, {"price": 100.0}, "absurd_price"),
    ({"amount": OVER_100}, {"amount": 100.0}, "absurd_price"),
    (
        {"amount": -OVER_100, "quantity": -1.0} | BUY,
        {"amount": -100.0, "quantity": -1.0} | BUY,
        "absurd_price",
    ),
    (
        {"price": -OVER_100, "event_type": "return"},
        {"price": -100.0, "event_type": "return"},
        "absurd_price",
    ),
    ({"quantity": -1.0}, {"quantity": 0.0}, "negative_quantity"),
    ({"quantity": -1.0, "event_type": "cart"}, {"quantity": -1.0} | BUY, "negative_quantity"),
    ({"quantity": OVER_10}, {"quantity": 10.0}, "absurd_quantity"),
    ({"quantity": -OVER_10} | BUY, {"quantity": -10.0} | BUY, "absurd_quantity"),
]


@pytest.mark.parametrize(("outside", "inside", "expected"), CASES)
def test_each_rule_refuses_just_outside_and_not_just_inside(
    outside: dict[str, Any], inside: dict[str, Any], expected: str
) -> None:
    assert rule(BOUNDS, NEW_YORK, **outside) == expected
    assert rule(BOUNDS, NEW_YORK, **inside) is None


@pytest.mark.parametrize(
    ("event_type", "is_about_an_item"),
    [
        *((e, True) for e in ("view", "click", "cart", "remove", "purchase", "return", "review", "rating")),
        *((e, False) for e in ("search", "question", "wishlist")),
    ],
)
def test_an_item_is_missed_only_where_the_event_is_about_one(event_type: str, is_about_an_item: bool) -> None:
    row = {"event_type": event_type, "item_id": None}
    assert rule(**row) == ("missing_item" if is_about_an_item else None)
    assert rule(**row, needs_item=False) is None


def test_the_first_rule_in_order_names_the_row() -> None:
    """A row with every fault, mended one fault after the other."""
    row: dict[str, Any] = {
        "user_id": None,
        "ts": None,
        "unparsed": "row=, ts=x",
        "event_type": None,
        "item_id": None,
        "price": -1e9,
        "quantity": -1e9,
        "amount": -1e9,
    }
    mending: list[dict[str, Any]] = [
        {"unparsed": "ts=x; price=x"},
        {"user_id": "u"},
        {"unparsed": "price=x"},
        {"ts": datetime(1980, 1, 1, tzinfo=UTC)},
        {"ts": GOOD["ts"]},
        {"event_type": "view"},
        {"item_id": "i"},
        {"unparsed": None},
        {"price": 1e9, "amount": 1.0},
        {"price": 1.0},
        {"quantity": 1e9},
        {"quantity": 1.0},
    ]
    found = [rule(**row)]
    for step in mending:
        row |= step
        found.append(rule(**row))
    assert found == [
        "unreadable_row",
        "missing_user",
        "unparsable_time",
        "missing_time",
        "impossible_time",
        "missing_event_type",
        "missing_item",
        "unparsable_value",
        "negative_price",
        "absurd_price",
        "negative_quantity",
        "absurd_quantity",
        None,
    ]


def test_returns_are_purchases_of_a_negative_quantity_or_a_mapped_event() -> None:
    rows = raw(
        {"event_type": "purchase", "quantity": -2.0, "price": 3.0, "amount": -6.0},
        {"event_type": "return", "quantity": -2.0, "price": 3.0, "amount": -6.0},
        {"event_type": "return", "quantity": 2.0, "price": -3.0, "amount": -6.0},
        {"event_type": "return", "quantity": 2.0, "price": 3.0, "amount": 6.0},
        {"event_type": "purchase", "quantity": 2.0, "price": 3.0, "amount": 6.0},
        {"event_type": "purchase", "quantity": 0.0},
        {"event_type": None, "quantity": -1.0},
    )
    found = rules.recognise_returns(rows.lazy()).collect()
    assert found.columns == rows.columns
    assert found.select("event_type", "quantity", "price", "amount").rows() == [
        *[("return", 2.0, 3.0, 6.0)] * 4,
        ("purchase", 2.0, 3.0, 6.0),
        ("purchase", 0.0, None, None),
        (None, -1.0, None, None),
    ]


def test_every_rule_has_a_remedy() -> None:
    of_users = {"bot_like", "outlier_price", "outlier_quantity", "outlier_amount"}
    assert {rule for *_, rule in CASES} | of_users == set(REMEDIES)


# Duplicates


def test_of_equal_rows_the_one_that_came_first_stays(desk: Desk) -> None:
    row = {"kind": "purchase", "price": "2", "quantity": "1", "order": "o1"}
    desk.put(row, row, name="events-b.csv", at=NOON)
    desk.put(row, row | {"order": "o2"}, name="events-a.csv", at=NOON + timedelta(days=1))
    artifact = desk.clean().artifact
    assert artifact.counts["duplicates"] == 2
    kept = events(artifact).sort("order_id").select("order_id", "row", "received_at").rows()
    assert kept == [("o1", 1, NOON), ("o2", 2, NOON + timedelta(days=1))]


@pytest.mark.parametrize(
    "other",
    [
        {"time": "2024-04-01 10:00:00.000001"},
        {"item": "i2"},
        {"kind": "click"},
        {"price": "1"},
        {"quantity": "1"},
        {"order": "o1"},
        {"category": "a"},
        {"user": "U1"},
    ],
)
def test_rows_that_differ_in_one_column_are_two_events(desk: Desk, other: dict[str, str]) -> None:
    desk.put({}, other)
    counts = desk.clean().artifact.counts
    assert (counts["clean"], counts["duplicates"]) == (2, 0)


INSTANTS = [datetime(2024, 4, 1, 10, tzinfo=UTC) + INSTANT * n for n in (0, 1)]
SAME = [c for c in EVENT_COLUMNS if c != "received_at"]


def without_duplicates(rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return events in their total order, null first, and the duplicates, by comparing plain values."""

    def place(row: dict[str, Any]) -> list[tuple[bool, Any]]:
        return [(row[c] is not None, row[c]) for c in EVENT_ORDER]

    kept, dropped, seen = [], [], set()
    for row in sorted(rows, key=place):
        content = tuple(row[c] for c in SAME)
        (dropped if content in seen else kept).append(row)
        seen.add(content)
    return kept, dropped


def event_rows(rows: list[dict[str, Any]]) -> pl.DataFrame:
    frame = pl.DataFrame(
        [GOOD | row | {"batch": f"b{n % 2}", "row": n} for n, row in enumerate(rows)],
        schema=EVENTS_RAW,
    )
    return frame.with_columns(user_hash(frame["user_id"])).select(*EVENTS)


few_values = st.fixed_dictionaries(
    {
        "user_id": st.sampled_from(["u1", "u2"]),
        "ts": st.sampled_from(INSTANTS),
        "item_id": st.sampled_from([None, "i1", "i2"]),
        "order_id": st.sampled_from([None, "o1"]),
        "price": st.sampled_from([None, 0.0, 1.0, 2.5]),
        "dwell_seconds": st.sampled_from([None, 1.0]),
        "received_at": st.sampled_from([NOON, NOON + INSTANT]),
    }
)


@settings(deadline=None)
@given(rows=st.lists(few_values, max_size=25), has_prices=st.booleans(), cut=st.integers(0, 25))
def test_duplicates_and_order_are_those_of_comparing_row_by_row(
    rows: list[dict[str, Any]], has_prices: bool, cut: int
) -> None:
    """With ties on everything, and columns that have no value at all."""
    frame = event_rows([row if has_prices else row | {"price": None} for row in rows])
    frame = pl.concat([frame[cut:], frame[:cut]])
    kept, dropped = rules.split_duplicates(frame)
    expected_kept, expected_dropped = without_duplicates(frame.to_dicts())
    assert kept.schema == dropped.schema == pl.Schema(EVENTS)
    assert kept.to_dicts() == expected_kept
    assert dropped.to_dicts() == expected_dropped


@pytest.mark.parametrize("column", [c for c in SAME if c != "user_id"])
def test_each_column_tells_two_events_apart(column: str) -> None:
    other = INSTANTS[1] if column == "ts" else "x" if EVENT_COLUMNS[column] == pl.String else 7.0
    kept, dropped = rules.split_duplicates(event_rows([{}, {column: other}, {}]))
    assert (kept.height, dropped.height) == (2, 1)


def test_users_whose_hashes_are_equal_are_two_users() -> None:
    rows = event_rows([{"user_id": "a"}, {"user_id": "b"}]).with_columns(user_hash=pl.lit(5, pl.UInt64))
    kept, dropped = rules.split_duplicates(rows)
    assert (kept["user_id"].to_list(), dropped.height) == (["a", "b"], 0)


def test_users_tables_are_laid_one_over_the_other() -> None:
    """Attributes of all files are there; of one user and instant the last row of the last file counts."""

    def side(rows: list[tuple[Any, ...]], attribute: str) -> pl.LazyFrame:
        schema = USERS_KEY | {
            attribute: pl.String(),
            "batch": pl.String(),
            "row": pl.UInt32(),
            "unparsed": pl.String(),
        }
        return pl.LazyFrame([(*row, "b", 1, None) for row in rows], schema=schema, orient="row")

    towns = side([("u1", None, "A"), ("u1", NOON, "B"), ("u1", NOON, "C"), (None, NOON, "D")], "town")
    moved = side([("u1", None, "E"), ("u0", NOON, "F")], "town")
    years = side([("u1", NOON + INSTANT, "1980")], "year")
    found = rules.latest_users([towns, moved, years]).collect()
    assert found.rows() == [
        ("u0", NOON, "F", None),
        ("u1", None, "E", None),
        ("u1", NOON, "C", None),
        ("u1", NOON + INSTANT, None, "1980"),
    ]
    assert dict(rules.latest_users([]).collect().schema) == USERS_KEY


def test_items_fill_what_the_event_leaves_open_and_add_nothing() -> None:
    events_ = event_rows(
        [{"item_id": "i1"}, {"item_id": "i2", "brand": "own"}, {"item_id": None}, {"item_id": "i1"}]
    )
    items = pl.LazyFrame(
        {
            "item_id": ["i1", "i2", "i3"],
            "category": ["a", "b", "c"],
            "brand": ["x", "y", "z"],
            "price": [1.0] * 3,
        }
    )
    filled = rules.fill_from_items(events_.lazy(), items).collect().sort("row")
    assert dict(filled.schema) == EVENTS
    assert filled.select("category", "brand").rows() == [("a", "x"), ("b", "own"), (None, None), ("a", "x")]
