"""CSV: what is read, how rows are numbered, and what each kind of broken file says."""

import gzip
import random
import re

import pytest

from ecbehave.errors import DataError
from ecbehave.sources import csv_files

HEADER = "user,time,item,price\n"


def write(path, text, encoding="utf-8"):
    path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "log.csv"


def test_rows_with_too_few_or_too_many_fields_are_kept_as_text(path, read):
    rows = read(
        write(path, HEADER + "1,2019-01-01,a,1\n2,2019-01-01\n\n3,2019-01-01,a,1,9,\n4,2019-01-01,a,\n5\n")
    )
    assert rows.select("row", "user_id", "unparsed").rows() == [
        (1, "1", None),
        (2, None, "row=2,2019-01-01"),
        (3, None, "row=3,2019-01-01,a,1,9,"),
        (4, "4", None),
        (5, None, "row=5"),
    ]
    bad = rows.filter(row=2).drop("batch", "row", "unparsed")
    assert bad.null_count().row(0) == (1,) * bad.width
    assert rows["batch"].unique().to_list() == ["b1"]


def test_long_broken_rows_are_cut(path, read):
    rows = read(write(path, HEADER + "x" * 500 + "\n"))
    assert rows["unparsed"].to_list() == ["row=" + "x" * 200]


@pytest.mark.parametrize("block_bytes", [80, 200, 1000, 1 << 20])
@pytest.mark.parametrize("seed", range(4))
def test_row_numbers_hold_across_blocks(path, read, monkeypatch, block_bytes, seed):
    monkeypatch.setattr(csv_files, "BLOCK_BYTES", block_bytes)
    rng = random.Random(seed)
    kinds = rng.choices(["good", "quoted", "short", "long"], [5, 1, 1, 1], k=150) + ["short"] * 20 + ["good"]
    text = {
        "good": "{},2019-01-01,a,1\n",
        "quoted": '{},2019-01-01,"a\nb",1\n',
        "short": "{}\n",
        "long": "{},,,,,\n",
    }
    lines = [text[kind].format(i) + "\n" * (rng.random() < 0.1) for i, kind in enumerate(kinds, 1)]
    rows = read(write(path, HEADER + "".join(lines)))
    is_good = [kind in ("good", "quoted") for kind in kinds]
    assert rows["row"].to_list() == list(range(1, len(kinds) + 1))
    assert rows["user_id"].to_list() == [str(i) if good else None for i, good in enumerate(is_good, 1)]
    assert rows["unparsed"].is_null().to_list() == is_good
    unparsed = rows.filter(~rows["unparsed"].is_null())
    assert unparsed["unparsed"].str.extract(r"row=(\d+)").to_list() == [str(n) for n in unparsed["row"]]


def test_quoted_fields_blank_lines_and_missing_last_newline(path, read):
    header = "\n\nuser,time,item,price\r\n"
    text = header + '"1","2019-01-01T00:00:00Z","a ""b"",\r\nc", 2 \r\n\r\n2,2019-01-01,5" tv,1'
    rows = read(write(path, text))
    assert rows.select("row", "user_id", "item_id", "price", "unparsed").rows() == [
        (1, "1", 'a "b",\r\nc', 2.0, None),
        (2, "2", '5" tv', 1.0, None),
    ]


def test_delimiter(tmp_path, read):
    path = write(tmp_path / "ml.inter", "user:token\ttime:float\n196\t881250949\n")
    rows = read(
        path, {"user_id": "user:token", "ts": "time:float"}, event_type="rating", format="csv", delimiter="\t"
    )
    assert rows.select("user_id", rows["ts"].dt.to_string("iso")).rows() == [
        ("196", "1997-12-04 15:55:49.000000+00:00")
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1", "cp1252"])
def test_encodings_and_byte_order_mark(path, read, encoding):
    write(path, "user,time,item,price\nJosé,2019-01-01,Käse,1\n", encoding)
    declared = "utf-8" if encoding == "utf-8-sig" else encoding
    rows = read(path, encoding=declared)
    assert rows.select("user_id", "item_id").rows() == [("José", "Käse")]


def test_text_that_grows_in_utf8_is_whole(path, read, monkeypatch):
    monkeypatch.setattr(csv_files, "BLOCK_BYTES", 256)
    write(path, HEADER + "".join(f"é{i},2019-01-01,äöüß€,1\n" for i in range(200)), "cp1252")
    rows = read(path, encoding="cp1252")
    assert rows["user_id"].to_list() == [f"é{i}" for i in range(200)]
    assert set(rows["item_id"]) == {"äöüß€"}


@pytest.mark.parametrize("line", [b"1,2019-01-01,K\xe4se,1", b"1,2019-01-01,K\xe4se", b"1,,,\xe4"])
def test_wrong_encoding(path, read, line):
    write(path, HEADER.encode() + b"1,2019-01-01,a,1\n" + line + b"\n")
    with pytest.raises(DataError) as error:
        read(path)
    assert str(error.value) == (
        f"{path}: byte 0xe4 in line 3 is not utf-8; "
        "set dataset.sources[0].encoding to latin-1, or to the right one"
    )


def test_file_that_ends_inside_a_character(path, read):
    write(path, HEADER.encode() + b"1,2019-01-01,a,\xc3")
    with pytest.raises(DataError, match="byte 0xc3 in line 2 is not utf-8"):
        read(path)


@pytest.mark.parametrize("text", ["", "\ufeff", "\n\r\n\n"])
@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_empty_file(tmp_path, read, text, compress):
    path = tmp_path / ("log.csv" if compress is bytes else "log.csv.gz")
    path.write_bytes(compress(text.encode()))
    with pytest.raises(DataError) as error:
        read(path)
    assert str(error.value) == f"{path}: the file is empty; expected a header and rows"


@pytest.mark.parametrize("header", [HEADER, HEADER.strip(), "\ufeff" + HEADER, HEADER + "\r\n\n"])
def test_header_only_is_no_rows(path, read, header):
    assert read(write(path, header)).is_empty()


def test_missing_columns(path, read):
    write(path, "User,Time,sku\n1,2019-01-01,a\n")
    with pytest.raises(DataError) as error:
        read(path, {"user_id": "User", "ts": "time", "item_id": "zzz", "price": "p", "brand": "b"})
    assert str(error.value) == (
        f"{path}: 4 columns are missing: 'time' (dataset.sources[0].columns.ts: did you mean 'Time'?), "
        "'zzz' (dataset.sources[0].columns.item_id), 'p' (dataset.sources[0].columns.price), ...; "
        "the file has User, Time, sku"
    )


def test_missing_event_type_column_and_many_columns(path, read):
    write(path, "user,time,item,price," + ",".join(f"c{i}" for i in range(40)) + "\n")
    with pytest.raises(DataError) as error:
        read(path, event_type={"column": "event"})
    assert str(error.value) == (
        f"{path}: 1 column is missing: 'event' (dataset.sources[0].event_type.column); the file has "
        "user, time, item, price, " + ", ".join(f"c{i}" for i in range(26)) + ", ..."
    )


def test_header_in_one_piece_hints_at_the_delimiter(path, read):
    write(path, "user;time;item;price\n")
    with pytest.raises(
        DataError, match=re.escape("the header looks separated by ';': set dataset.sources[0].delimiter")
    ):
        read(path)


def test_header_with_a_quote_that_is_never_closed(path, read):
    write(path, '"' + HEADER + "1,2019-01-01,a,1\n" * 10_000)
    with pytest.raises(DataError) as error:
        read(path)
    assert str(error.value) == (
        f"{path}: the header cannot be read (field larger than field limit (131072)); "
        "is a quote never closed?"
    )


def test_column_name_twice(path, read):
    write(path, "user,time,item,price,time,,\n1,2019-01-01,a,1,2020-01-01,,\n")
    with pytest.raises(DataError) as error:
        read(path)
    assert str(error.value) == (
        f"{path}: 1 column name is more than once in the header: 'time'; give every column a name of its own"
    )


def test_nameless_columns_may_repeat(path, read):
    rows = read(write(path, "user,time,item,price,,\n1,2019-01-01,a,1,,\n"))
    assert rows["user_id"].to_list() == ["1"]


def test_every_row_ragged_is_refused_at_last(path, read, monkeypatch):
    monkeypatch.setattr(csv_files, "MAX_REFUSED_RUN", 100)
    write(path, HEADER + "1,2019-01-01,a,1,\n" * 99)
    assert read(path).height == 99
    write(path, HEADER + "1,2019-01-01,a,1,\n" * 101)
    with pytest.raises(DataError) as error:
        read(path)
    assert str(error.value) == (
        f"{path}: 100 rows on end do not have the 4 fields of the header, first row 1: '1,2019-01-01,a,1,'; "
        "check dataset.sources[0].delimiter, and the header of the file"
    )


def test_quote_that_is_never_closed(path, read, monkeypatch):
    monkeypatch.setattr(csv_files, "BLOCK_BYTES", 1000)
    write(path, HEADER + '1,2019-01-01,"a,1\n' + "1,2019-01-01,a,1\n" * 500)
    with pytest.raises(DataError) as error:
        read(path)
    assert str(error.value).startswith(
        f"{path}: cannot be cut into rows, most likely because a quote is never closed; "
        "close or double the quotes in the file (straddling object"
    )


def test_blocks_of_blank_lines(path, read, monkeypatch):
    monkeypatch.setattr(csv_files, "BLOCK_BYTES", 64)
    write(path, HEADER + "1,2019-01-01,a,1\n" + "\n" * 300 + "short\n" + "\n" * 300 + "3,2019-01-01,a,1\n")
    assert read(path).select("row", "user_id").rows() == [(1, "1"), (2, None), (3, "3")]
