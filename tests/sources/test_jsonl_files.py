"""JSON lines: values as text, broken and blank lines, and what each kind of broken file says."""

import json

import polars as pl
import pytest

from ecbehave.errors import DataError
from ecbehave.sources import jsonl_files

GOOD = '{"user": 1, "time": "2019-01-01", "item": "a", "price": 2}\n'


@pytest.fixture
def path(tmp_path):
    return tmp_path / "log.jsonl"


def test_values_are_text_whatever_their_type(path, read):
    path.write_text(
        '{"user": 5, "time": 1569888000, "item": 123.0, "price": 1.25, "more": {"x": [1]}}\n'
        '{"user": true, "time": "2019-10-01T00:00:00Z", "item": null, "price": "2"}\n'
        '{"time": 1569888000123, "user": "é \\u00e9", "item": {"x": 1}}\n'
    )
    rows = read(path)
    assert rows.select("user_id", "item_id", "price").rows() == [
        ("5", "123", 1.25),
        ("true", None, 2.0),
        ("é é", '{"x": 1}', None),
    ]
    assert rows["ts"].dt.epoch("ms").to_list() == [1569888000000, 1569888000000, 1569888000123]


def test_broken_lines_are_kept_and_blank_lines_count(path, read):
    path.write_bytes(
        b'\xef\xbb\xbf\n{"user": 1, "time": "2019-01-01", "item": "a", "price": 2}\r\n  \n'
        b'{"user": 2, "time"\r\n'
        b'[1, 2]\n{"user": "\\ud800", "time": "2019-01-01", "price": NaN, "item": 3.5}\n7\n'
        b'{"user": 123456789012345678901234, "time": "2019-01-01", "item": 4.0, "price": false}'
    )
    rows = read(path)
    assert rows.select("row", "user_id", "item_id", "price", "unparsed").rows() == [
        (2, "1", "a", 2.0, None),
        (4, None, None, None, 'row={"user": 2, "time"'),
        (5, None, None, None, "row=[1, 2]"),
        (6, "?", "3.5", None, "price=NaN"),
        (7, None, None, None, "row=7"),
        (8, "123456789012345678901234", "4", None, "price=false"),
    ]


def test_deeply_nested_line_is_a_broken_line(path, read):
    path.write_text(GOOD + "[" * 100_000 + "\n")
    assert read(path)["unparsed"].to_list() == [None, "row=" + "[" * 200]


@pytest.mark.parametrize("block_bytes", [100, 333, 1 << 20])
def test_row_numbers_hold_across_blocks(path, read, monkeypatch, block_bytes):
    monkeypatch.setattr(jsonl_files, "BLOCK_BYTES", block_bytes)
    lines = [
        ""
        if i % 11 == 10
        else "broken"
        if i % 7 == 6
        else json.dumps({"user": i, "time": "2019-01-01", "item": 0, "price": 0})
        for i in range(1, 201)
    ]
    path.write_text("\n".join(lines) + "\n")
    rows = read(path)
    numbered = [(i, line) for i, line in enumerate(lines, 1) if line]
    assert rows["row"].to_list() == [i for i, _ in numbered]
    assert rows["user_id"].to_list() == [None if line == "broken" else str(i) for i, line in numbered]


def test_fast_and_slow_path_agree(path, read):
    values = [5, -5, 1.5, 0.1, 1e15, 12345678.9, True, "x", "", None, "a\nb", 2**53, [1, "é"], {"k": None}]
    lines = "".join(
        json.dumps({"user": v, "time": "2019-01-01", "item": "i", "price": 1}, ensure_ascii=False) + "\n"
        for v in values
    )
    path.write_text(lines)
    fast = read(path)
    path.write_text(lines + "broken\n")
    assert read(path).head(len(values)).equals(fast)


def test_latin_1_and_wrong_encoding(path, read):
    path.write_bytes(GOOD.replace('"a"', '"Käse"').encode("latin-1"))
    assert read(path, encoding="latin-1")["item_id"].to_list() == ["Käse"]
    with pytest.raises(DataError, match="byte 0xe4 in line 1 is not utf-8"):
        read(path)


def test_key_that_no_row_has(path, read):
    path.write_text('{"user": 1, "tiem": "2019-01-01"}\n{"user": 1, "price": null, "item": 3}\n')
    with pytest.raises(DataError) as error:
        read(path)
    assert str(error.value) == (
        f"{path}: 1 column is missing: 'time' (dataset.sources[0].columns.ts: did you mean 'tiem'?); "
        "the file has user, tiem, price, item"
    )


def test_key_that_is_always_null_is_fine(path, read):
    path.write_text('{"user": 1, "time": "2019-01-01", "item": null, "price": null}\nbroken\n')
    assert read(path)["item_id"].to_list() == [None, None]


@pytest.mark.parametrize("text", ["", "\n \n", "\ufeff"])
def test_empty_file(path, read, text):
    path.write_text(text)
    with pytest.raises(DataError) as error:
        read(path)
    assert str(error.value) == f"{path}: the file is empty; expected one JSON object per line"


def test_json_that_is_not_lines(path, read):
    path.write_text(json.dumps([{"user": 1}, {"user": 2}], indent=1))
    with pytest.raises(DataError) as error:
        read(path)
    assert str(error.value) == (
        f"{path}: none of the first 8 lines is a JSON object, first line 1: '['; "
        "write one object per line, or set dataset.sources[0].format"
    )


def test_line_that_never_ends(path, read, monkeypatch):
    monkeypatch.setattr(jsonl_files, "BLOCK_BYTES", 1 << 20)
    path.write_text("[" + GOOD.strip() * 100_000)
    with pytest.raises(DataError) as error:
        read(path)
    assert str(error.value) == (
        f"{path}: a line is longer than 1 MB; write one JSON object per line, "
        "or set dataset.sources[0].format"
    )


def test_blank_blocks_before_the_first_row(path, read, monkeypatch):
    monkeypatch.setattr(jsonl_files, "BLOCK_BYTES", 64)
    path.write_text("\n" * 200 + GOOD)
    assert read(path).select("row", "user_id").rows() == [(201, "1")]


def test_frames_have_text_columns_only(path):
    path.write_text(GOOD)
    chunk = next(jsonl_files.read_jsonl(path, {"k": "user", "l": "user", "m": "price"}, "utf-8", "k"))
    assert chunk.frame.schema == pl.Schema({"user": pl.String(), "price": pl.String()})
