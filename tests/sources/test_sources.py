"""Finding files, telling formats, and one table through every format and compression."""

import bz2
import gzip
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime

import polars as pl
import pyarrow as pa
import pytest

from ecbehave import schema
from ecbehave.config.dataset import FileSource
from ecbehave.errors import ConfigError, DataError
from ecbehave.sources import CHUNK_ROWS, find_files, read_chunks

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".zst": lambda data: pa.compress(data, codec="zstd", asbytes=True),
}
ROWS = [
    {"user": "u1", "time": "2019-10-01 00:00:00 UTC", "item": "i1", "price": 2.5},
    {"user": "u2", "time": "2019-10-01 00:00:01 UTC", "item": None, "price": None},
]
CSV = b"user,time,item,price\nu1,2019-10-01 00:00:00 UTC,i1,2.5\nu2,2019-10-01 00:00:01 UTC,,\n"
JSONL = "".join(json.dumps(row) + "\n" for row in ROWS).encode()


def source(path: object, **settings: object) -> FileSource:
    columns = {"user_id": "user", "ts": "time", "item_id": "item", "price": "price"}
    return FileSource.model_validate(
        {"path": str(path), "columns": columns, "event_type": "purchase"} | settings
    )


def check_rows(rows: pl.DataFrame, received: datetime) -> None:
    assert rows.schema == pl.Schema(schema.EVENTS_RAW)
    first = datetime(2019, 10, 1, tzinfo=UTC)
    assert rows.select("user_id", "ts", "item_id", "price", "amount", "quantity", "unparsed").rows() == [
        ("u1", first, "i1", 2.5, 2.5, None, None),
        ("u2", first.replace(second=1), None, None, None, None, None),
    ]
    assert rows["row"].to_list() == [1, 2]
    assert set(rows["batch"]) == {"b1"}
    assert set(rows["event_type"]) == {"purchase"}
    assert set(rows["received_at"]) == {received}


@pytest.mark.parametrize("suffix", COMPRESS)
@pytest.mark.parametrize("name", ["log.csv", "log.jsonl", "LOG.NDJSON"])
def test_text_formats_plain_and_compressed(tmp_path, read, received, name, suffix):
    path = tmp_path / (name + suffix)
    path.write_bytes(COMPRESS[suffix](CSV if name == "log.csv" else JSONL))
    check_rows(read(path), received)


@pytest.mark.parametrize("codec", ["zstd", "snappy", "gzip", "uncompressed"])
def test_parquet_with_any_codec(tmp_path, read, received, codec):
    path = tmp_path / "log.parquet"
    pl.DataFrame(ROWS).write_parquet(path, compression=codec)
    check_rows(read(path), received)


def test_format_can_be_named_where_the_suffix_is_none(tmp_path, read, received):
    path = tmp_path / "ml.inter"
    path.write_bytes(CSV)
    check_rows(read(path, format="csv"), received)
    with pytest.raises(
        ConfigError,
        match=re.escape(
            f"{path}: its suffix does not tell the format; "
            "set dataset.sources[0].format to csv, jsonl or parquet"
        ),
    ):
        read(path)


def test_several_compressed_members_are_one_file(tmp_path, read):
    path = tmp_path / "log.csv.gz"
    header, _, rows = CSV.partition(b"\n")
    members = [header + b"\n", rows, b"u3,2019-10-02,i3,1\n"]
    path.write_bytes(b"".join(map(gzip.compress, members)))
    assert read(path)["user_id"].to_list() == ["u1", "u2", "u3"]


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".zst"])
@pytest.mark.parametrize("name", ["log.csv", "log.jsonl"])
def test_cut_off_compressed_file(tmp_path, read, suffix, name):
    path = tmp_path / (name + suffix)
    data = CSV + b"".join(b"u%d,2019-10-02,i%d,1\n" % (i, i * 7919 % 10_007) for i in range(300_000))
    if name == "log.jsonl":
        data = b"".join(
            b'{"user":"u%d","time":"2019-10-02","item":1,"price":1}\n' % i for i in range(300_000)
        )
    path.write_bytes(COMPRESS[suffix](data)[:-9])
    with pytest.raises(
        DataError,
        match=re.escape(
            f"{path}: the file is cut off or damaged (Truncated compressed stream); "
            "bring it again from where it came from"
        ),
    ):
        read(path)


def test_damaged_compressed_file(tmp_path, read):
    path = tmp_path / "log.csv.gz"
    path.write_bytes(CSV)
    with pytest.raises(
        DataError, match=r"log\.csv\.gz: the file is cut off or damaged \(zlib inflate failed"
    ):
        read(path)


@pytest.mark.parametrize("name", ["log.csv", "log.jsonl", "log.parquet"])
def test_missing_file(tmp_path, read, name):
    path = tmp_path / name
    with pytest.raises(DataError, match=re.escape(f"{path}: cannot be read: No such file or directory")):
        read(path)


@pytest.mark.parametrize("name", ["log.csv", "log.jsonl"])
def test_unknown_encoding(tmp_path, read, name):
    path = tmp_path / name
    path.write_bytes(CSV)
    with pytest.raises(ConfigError) as error:
        read(path, encoding="latin1l")
    assert str(error.value) == (
        "dataset.sources[0].encoding: unknown encoding 'latin1l'; use a name such as utf-8, latin-1 or cp1252"
    )


def test_side_tables_have_their_own_columns(tmp_path, read, received):
    path = tmp_path / "side.csv"
    path.write_text("id,cat,price,age\n1,a.b,2,\n,x,bad,33\n")
    items = read(path, {"item_id": "id", "category": "cat", "price": "price"}, table="items")
    assert items.schema == pl.Schema(schema.ITEMS_RAW)
    assert items.rows() == [
        ("1", "a.b", None, 2.0, None, "b1", 1, None),
        (None, "x", None, None, None, "b1", 2, "price=bad"),
    ]
    users = read(path, {"age": "age", "user_id": "id"}, table="users")
    assert users.schema == pl.Schema(
        schema.USERS_KEY | {"age": pl.String()} | schema.ORIGIN | {"unparsed": pl.String()}
    )
    assert users.rows() == [("1", received, None, "b1", 1, None), (None, received, "33", "b1", 2, None)]


def test_attributes_of_users_are_known_from_a_time_on_or_have_always_held(tmp_path, read, received):
    path = tmp_path / "side.csv"
    path.write_text("id,age,since\n1,30,2019-05-01 02:00\n2,31,\n3,32,soon\n")
    columns = {"user_id": "id", "age": "age"}
    dated = read(path, columns | {"known_from": "since"}, table="users", timezone="Europe/Berlin")
    assert dated.select("user_id", "known_from", "unparsed").rows() == [
        ("1", datetime(2019, 5, 1, tzinfo=UTC), None),
        ("2", received, None),
        ("3", received, "known_from=soon"),
    ]
    timeless = read(path, columns, table="users", timeless=True)
    assert timeless["known_from"].to_list() == [None] * 3
    assert timeless.schema == dated.schema


def test_chunks_are_bounded_and_the_source_zone_wins(tmp_path, received):
    path = tmp_path / "log.csv"
    n = CHUNK_ROWS + 10
    path.write_text("user,time,item,price\n" + "1,2019-01-01,,\n" * n)
    chunks = list(read_chunks(path, source(path, timezone="Europe/Berlin"), "UTC", received, "b1"))
    assert max(chunk.height for chunk in chunks) <= CHUNK_ROWS
    rows = pl.concat(chunks)
    assert rows["row"].to_list() == list(range(1, n + 1))
    assert rows["ts"].unique().to_list() == [datetime(2018, 12, 31, 23, tzinfo=UTC)]


def test_find_files_sorts_descends_and_takes_only_files(tmp_path):
    for name in ("b.csv", "a.csv", "deep/er/c.csv", ".hidden.csv", "d.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.csv").mkdir()
    assert find_files(source(tmp_path / "*.csv")) == [tmp_path / "a.csv", tmp_path / "b.csv"]
    assert find_files(source(tmp_path / "**" / "*.csv")) == [
        tmp_path / "a.csv",
        tmp_path / "b.csv",
        tmp_path / "deep/er/c.csv",
    ]
    assert find_files(source(tmp_path / "d.txt")) == [tmp_path / "d.txt"]


def test_find_files_says_where_it_looked(tmp_path, monkeypatch):
    (tmp_path / "shop").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as error:
        find_files(source("shop/2019/*.csv"), "dataset.sources[1]")
    assert str(error.value) == (
        f"dataset.sources[1].path: no file matches {tmp_path}/shop/2019/*.csv; "
        f"the nearest folder that exists is {tmp_path}/shop; correct the path, or bring the files"
    )
