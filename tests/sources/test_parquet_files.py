"""Parquet: every type that can hold an id, a number or a time, and what each kind of broken file says."""

import re
from datetime import UTC, date, datetime
from decimal import Decimal

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ecbehave.errors import DataError

TIME = datetime(2019, 10, 1, 12, 0, 0, 123456)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "log.parquet"


def write(path, **columns):
    base = {
        "user": pa.array(["u"]),
        "time": pa.array([TIME]),
        "item": pa.array(["i"]),
        "price": pa.array([1.0]),
    }
    pq.write_table(pa.table(base | columns), path)
    return path


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (pa.array([7], pa.int8()), "7"),
        (pa.array([2**64 - 1], pa.uint64()), "18446744073709551615"),
        (pa.array([123.0], pa.float32()), "123"),
        (pa.array([9007199254740992.0]), "9007199254740992"),
        (pa.array([1.5]), "1.5"),
        (pa.array([float("nan")]), None),
        (pa.array([Decimal("12345678901")], pa.decimal128(20, 0)), "12345678901"),
        (pa.array([" a "], pa.large_string()), "a"),
        (pa.array(["x"], pa.string_view()), "x"),
        (pa.array(["x"]).dictionary_encode(), "x"),
        (pa.array([5]).dictionary_encode(), "5"),
        (pa.array([True]), "true"),
        (pa.array([date(2019, 1, 2)]), "2019-01-02"),
        (pa.array([None], pa.null()), None),
    ],
    ids=str,
)
def test_ids_are_text(path, read, array, expected):
    rows = read(write(path, user=array))
    assert rows.select("user_id", "unparsed").rows() == [(expected, None)]


@pytest.mark.parametrize(
    ("array", "expected", "unparsed"),
    [
        (pa.array([3], pa.int16()), 3.0, None),
        (pa.array([Decimal("1.25")]), 1.25, None),
        (pa.array([" 1.25 "]), 1.25, None),
        (pa.array([float("nan")]), None, "price=NaN"),
        (pa.array([float("inf")]), None, "price=inf"),
        (pa.array([True]), None, "price=true"),
        (pa.array([None], pa.null()), None, None),
        (pa.array([date(2019, 1, 2)]), None, "price=2019-01-02"),
    ],
    ids=str,
)
def test_numbers(path, read, array, expected, unparsed):
    rows = read(write(path, price=array))
    assert rows.select("price", "unparsed").rows() == [(expected, unparsed)]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin", "+02:00"])
def test_timestamps_of_any_unit_and_zone(path, read, unit, zone):
    micros = {"s": 1_000_000, "ms": 1_000, "us": 1, "ns": 1}[unit]
    kept = TIME.replace(microsecond=TIME.microsecond // micros * micros)
    rows = read(
        write(
            path,
            time=pa.array([kept], pa.timestamp("us")).cast(pa.timestamp(unit)).cast(pa.timestamp(unit, zone)),
        ),
        timezone="America/New_York",
    )
    hours = 4 if zone is None else 0
    assert rows["ts"].to_list() == [kept.replace(hour=12 + hours, tzinfo=UTC)]
    assert rows["unparsed"].to_list() == [None]


def test_dates_epochs_and_gaps(path, read):
    assert read(write(path, time=pa.array([date(2019, 1, 2)])))["ts"].to_list() == [
        datetime(2019, 1, 2, tzinfo=UTC)
    ]
    assert read(write(path, time=pa.array([1546387200])))["ts"].to_list() == [
        datetime(2019, 1, 2, tzinfo=UTC)
    ]
    assert read(write(path, time=pa.array([None], pa.null())))["unparsed"].to_list() == [None]
    skipped = read(write(path, time=pa.array([datetime(2017, 3, 26, 2, 30)])), timezone="Europe/Berlin")
    assert skipped.select("ts", "unparsed").rows() == [(None, "ts=2017-03-26 02:30:00.000000")]


@pytest.mark.parametrize(
    "array",
    [
        pa.array([[1]], pa.list_(pa.field("element", pa.int64()))),
        pa.array([{"a": 1}]),
        pa.array([b"x"]),
        pa.array([b"x"]).dictionary_encode(),
        pa.array([datetime(2019, 1, 1).time()]),
        pa.array([TIME - datetime(2019, 1, 1)]),
    ],
    ids=str,
)
def test_types_that_hold_none_of_these(path, read, array):
    with pytest.raises(DataError) as error:
        read(write(path, item=array))
    assert str(error.value) == (
        f"{path}: column 'item' (dataset.sources[0].columns.item_id) has type {array.type}; "
        "it must be text, a number, a boolean, a date or a timestamp"
    )


def test_columns_that_are_not_read_may_have_any_type(path, read):
    assert read(write(path, more=pa.array([[1]]))).height == 1


def test_names_with_dots_and_order_of_columns(path, read):
    pq.write_table(pa.table({"p": [1.0], "t.s": [TIME], "u.id": ["a"], "u": ["b"]}), path)
    rows = read(path, {"user_id": "u.id", "ts": "t.s", "price": "p", "item_id": "u"})
    assert rows.select("user_id", "item_id", "price").rows() == [("a", "b", 1.0)]


def test_rows_are_numbered_across_row_groups(path, read):
    frame = pl.DataFrame({"user": range(300_000), "time": [TIME] * 300_000, "item": "i", "price": 1})
    frame.write_parquet(path, row_group_size=70_001)
    rows = read(path)
    assert rows["row"].to_list() == list(range(1, 300_001))
    assert rows["user_id"].to_list() == [str(i) for i in range(300_000)]


def test_no_rows(path, read):
    pq.write_table(pa.table({"user": ["u"], "time": [TIME], "item": ["i"], "price": [1.0]}).slice(1), path)
    assert read(path).is_empty()


def test_missing_column(path, read):
    with pytest.raises(DataError) as error:
        read(write(path), {"user_id": "user_id", "ts": "time"})
    assert str(error.value) == (
        f"{path}: 1 column is missing: 'user_id' (dataset.sources[0].columns.user_id: did you mean 'user'?); "
        "the file has user, time, item, price"
    )


def test_column_name_twice(path, read):
    pq.write_table(pa.Table.from_arrays([pa.array(["a"])] * 2, names=["user", "user"]), path)
    with pytest.raises(DataError, match="1 column name is more than once in the header: 'user'"):
        read(path)


def test_empty_file(path, read):
    path.touch()
    with pytest.raises(DataError) as error:
        read(path)
    assert str(error.value) == f"{path}: the file is empty; expected Parquet"


def test_cut_off_in_the_middle(path, read):
    data = write(path).read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(
        DataError,
        match=re.escape(
            f"{path}: the file is cut off, damaged or not Parquet (Parquet magic bytes not found in footer."
        ),
    ) as error:
        read(path)
    assert str(error.value).endswith(
        "; bring it again from where it came from, or set dataset.sources[0].format"
    )


def test_damaged_in_the_middle(path, read):
    frame = pl.DataFrame(
        {"user": [f"u{i * 7919}" for i in range(50_000)], "time": TIME, "item": "i", "price": 1.5}
    )
    frame.write_parquet(path, compression="zstd")
    data = bytearray(path.read_bytes())
    data[1000:60_000] = b"\xff" * 59_000
    path.write_bytes(data)
    with pytest.raises(
        DataError, match=r"log\.parquet: the file is cut off(, damaged or not Parquet| or damaged) "
    ):
        read(path)
