"""Files that the config names beside the log: lists of items, and tables by suffix."""

import hashlib
from pathlib import Path

import polars as pl
import pytest

from ecbehave.errors import DataError
from ecbehave.sources.given import fingerprint, read_frame, read_item_ids

KEY = "task.items.allow"
IDS = ["10", "a b", "é"]


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("ids.txt", "é\n10\n\n  a b \n10\n"),
        ("ids", "\ufeffé\r\n10\r\na b\r\n"),
        ("ids.csv", "price,item_id\n1,é\n2,10\n3,a b\n4,\n5,10\n"),
        ("IDS.CSV", '\ufeffitem_id\né\n10\n" a b"\n'),
        ("ids.jsonl", '{"item_id": "é"}\n{"item_id": "10"}\n{"item_id": "a b"}\n'),
    ],
)
def test_item_ids_of_every_form(tmp_path: Path, name: str, content: str) -> None:
    found = read_item_ids(written(tmp_path, name, content), KEY)
    assert found.to_list() == IDS
    assert found.dtype == pl.String


@pytest.mark.parametrize("dtype", [pl.Int64, pl.UInt16, pl.String, pl.Categorical])
def test_item_ids_of_parquet_are_text_as_in_the_log(tmp_path: Path, dtype: type[pl.DataType]) -> None:
    ids = pl.Series("item_id", ["7", "10", None, "7"]).cast(pl.Int64 if dtype.is_integer() else pl.String)
    pl.DataFrame({"item_id": ids.cast(dtype)}).write_parquet(tmp_path / "ids.parquet")
    assert read_item_ids(tmp_path / "ids.parquet", KEY).to_list() == ["10", "7"]


def test_a_list_without_items_is_empty(tmp_path: Path) -> None:
    assert read_item_ids(written(tmp_path, "ids.txt", " \n"), KEY).to_list() == []
    assert read_item_ids(written(tmp_path, "ids.csv", "item_id\n"), KEY).to_list() == []


def test_a_file_is_known_by_its_content(tmp_path: Path) -> None:
    path = written(tmp_path, "ids.txt", "a\n")
    assert fingerprint(path, KEY) == hashlib.sha256(b"a\n").hexdigest()
    assert fingerprint(written(tmp_path, "other.txt", "a\n"), KEY) == fingerprint(path, KEY)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    missing = tmp_path / "ids.txt"
    expected = f"task.items.allow: there is no file {missing}; correct the path, or bring the file"
    for read in (fingerprint, read_item_ids):
        with pytest.raises(DataError) as error:
            read(missing, KEY)
        assert str(error.value) == expected


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        read_item_ids(tmp_path, KEY)
    assert str(error.value) == (
        f"task.items.allow: {tmp_path} cannot be read: Is a directory; give the path of a file"
    )


def test_a_table_without_the_column(tmp_path: Path) -> None:
    path = written(tmp_path, "ids.csv", "sku,price\n1,2\n")
    with pytest.raises(DataError) as error:
        read_item_ids(path, KEY)
    assert str(error.value) == (
        f"task.items.allow: {path} has no column item_id; it has sku, price. Call the right one item_id"
    )


def test_ids_that_are_neither_text_nor_whole_numbers(tmp_path: Path) -> None:
    path = tmp_path / "ids.parquet"
    pl.DataFrame({"item_id": [1.5, 2.0]}).write_parquet(path)
    with pytest.raises(DataError) as error:
        read_item_ids(path, KEY)
    assert str(error.value) == (
        f"task.items.allow: column item_id of {path} has type Float64; ids must be text or whole numbers"
    )


def test_text_in_another_encoding(tmp_path: Path) -> None:
    path = written(tmp_path, "ids.txt", "é\n".encode("latin-1"))
    with pytest.raises(DataError) as error:
        read_item_ids(path, KEY)
    assert str(error.value) == f"task.items.allow: {path} is not UTF-8; save it with that encoding"


@pytest.mark.parametrize(
    ("name", "format_name"), [("ids.csv", "CSV"), ("ids.parquet", "Parquet"), ("ids.ndjson", "JSON lines")]
)
def test_an_empty_file(tmp_path: Path, name: str, format_name: str) -> None:
    path = written(tmp_path, name, b"")
    with pytest.raises(DataError) as error:
        read_item_ids(path, KEY)
    assert str(error.value) == (
        f"task.items.allow: {path} cannot be read as {format_name} (it is empty); write it again"
    )


@pytest.mark.parametrize(
    ("name", "format_name", "content"),
    [
        ("ids.parquet", "Parquet", b"item_id\n1\n"),
        ("ids.jsonl", "JSON lines", b"item_id\n1\n"),
        ("ids.csv", "CSV", "item_id\né\n".encode("latin-1")),
    ],
)
def test_a_file_of_another_format(tmp_path: Path, name: str, format_name: str, content: bytes) -> None:
    path = written(tmp_path, name, content)
    with pytest.raises(DataError) as error:
        read_item_ids(path, KEY)
    message = str(error.value)
    assert message.startswith(f"task.items.allow: {path} cannot be read as {format_name} (")
    assert message.endswith("); write it again")
    assert "\n" not in message


def test_a_suffix_that_tells_no_format(tmp_path: Path) -> None:
    path = written(tmp_path, "sessions.txt", "x")
    with pytest.raises(DataError) as error:
        read_frame(path, "predict.sessions")
    assert str(error.value) == (
        f"predict.sessions: the suffix of {path} does not tell its format; call it .parquet, .csv or .jsonl"
    )
