"""From text to canonical columns: event types, amounts, and the record of what could not be read."""

from datetime import UTC, datetime

import polars as pl
import pytest

COLUMNS = {
    name: name
    for name in (
        "user_id",
        "ts",
        "item_id",
        "category",
        "price",
        "quantity",
        "amount",
        "rating",
        "received_at",
    )
}


@pytest.fixture
def parsed(tmp_path, read):
    """Read one-row tables: canonical columns given, all others absent."""

    def parse(*rows, **settings):
        path = tmp_path / "log.csv"
        base = {"user_id": "u", "ts": "2019-01-01"}
        names = [*COLUMNS, "kind"]
        frame = pl.DataFrame([base | row for row in rows], schema=dict.fromkeys(names, pl.String))
        frame.write_csv(path)
        return read(path, COLUMNS, **settings)

    return parse


def test_text_is_stripped_and_empty_is_null(parsed):
    rows = parsed({"user_id": " u 1\t", "item_id": "  ", "category": "\u00a0a.b\u00a0"}, {"user_id": ""})
    assert rows.select("user_id", "item_id", "category", "unparsed").rows() == [
        ("u 1", None, "a.b", None),
        (None, None, None, None),
    ]


@pytest.mark.parametrize(
    "text", ["1,5", "1.234,5", "1 000", "$5", "nan", "inf", "-Infinity", "1e999", "0x10", "five", "--1"]
)
def test_numbers_that_are_not_guessed(parsed, text):
    rows = parsed({"rating": text})
    assert rows.select("rating", "unparsed").rows() == [(None, f"rating={text}")]


def test_numbers(parsed):
    rows = parsed(*({"rating": text} for text in (" 1.5 ", "-2", "+3", "1e3", ".5", "5.", "")))
    assert rows["rating"].to_list() == [1.5, -2.0, 3.0, 1000.0, 0.5, 5.0, None]
    assert rows["unparsed"].null_count() == 7


def test_all_that_could_not_be_read_is_named_in_canonical_order(parsed):
    rows = parsed(
        {"ts": " 01/02/2017 ", "rating": "x", "price": "a;b"},
        {},
        {"received_at": "soon", "rating": "9" * 300 + "x"},
    )
    assert rows["unparsed"].to_list() == [
        "ts=01/02/2017; price=a;b; rating=x",
        None,
        "rating=" + "9" * 200 + "; received_at=soon",
    ]


def test_arrival_is_the_rows_own_or_the_batchs(parsed, received):
    rows = parsed({"received_at": "2019-02-01T10:00Z"}, {}, {"received_at": "x"})
    assert rows["received_at"].to_list() == [datetime(2019, 2, 1, 10, tzinfo=UTC), received, None]


@pytest.mark.parametrize(
    ("event_type", "money", "expected"),
    [
        ("view", ("2", "3", None), (2.0, 3.0, 6.0)),
        ("view", (None, "4", "6"), (1.5, 4.0, 6.0)),
        ("view", ("2", None, "6"), (2.0, 3.0, 6.0)),
        ("view", (None, "0", "6"), (None, 0.0, 6.0)),
        ("view", ("0", None, "6"), (0.0, None, 6.0)),
        ("return", (None, "-2", "-6"), (3.0, -2.0, -6.0)),
        ("view", ("2", "3", "7"), (2.0, 3.0, 7.0)),
        ("purchase", ("2", None, None), (2.0, None, 2.0)),
        ("return", ("2", None, None), (2.0, None, 2.0)),
        ("view", ("2", None, None), (2.0, None, None)),
        ("purchase", (None, "3", None), (None, 3.0, None)),
        ("purchase", (None, None, "7"), (None, None, 7.0)),
        ("purchase", (None, None, None), (None, None, None)),
        ("purchase", ("2", "x", None), (2.0, None, None)),
        ("purchase", ("2", "x", "6"), (2.0, None, 6.0)),
        ("purchase", ("x", "2", "6"), (None, 2.0, 6.0)),
        ("purchase", ("2", "3", "x"), (2.0, 3.0, None)),
    ],
)
def test_the_third_of_price_quantity_and_amount(parsed, event_type, money, expected):
    row = dict(zip(("price", "quantity", "amount"), money, strict=True))
    # The neighbour shows that one row's unreadable value touches no other row.
    rows = parsed(row, {"price": "2", "quantity": "3"}, event_type=event_type)
    assert rows.select("price", "quantity", "amount").rows() == [expected, (2.0, 3.0, 6.0)]


def test_event_types_from_a_column(parsed):
    kinds = [" Buy ", "BUY", "addToCart", "ADDTOCART", "View", "", None]
    rows = parsed(
        *({"kind": kind, "price": "1"} for kind in kinds),
        event_type={"column": "kind", "map": {"Buy": "purchase", "BUY": "purchase2", "addToCart": "cart"}},
    )
    assert rows["event_type"].to_list() == ["purchase", "purchase2", "cart", "cart", "view", None, None]
    assert rows["amount"].to_list() == [1.0] + [None] * 6


def test_event_types_without_a_map_and_as_a_constant(parsed):
    assert parsed({"kind": " View "}, event_type={"column": "kind"})["event_type"].to_list() == ["view"]
    assert parsed({"kind": "x"}, event_type="Wish")["event_type"].to_list() == ["Wish"]


def test_two_columns_may_read_the_same_one(tmp_path, read):
    path = tmp_path / "log.csv"
    path.write_text("user,time,basket\nu,2019-01-01,b\n")
    rows = read(path, {"user_id": "user", "ts": "time", "order_id": "basket", "session_id": "basket"})
    assert rows.select("order_id", "session_id").rows() == [("b", "b")]
