"""Stored tables: the same bytes for the same rows, in bounded row groups."""

import threading
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from ecbehave.tables import (
    CHUNKS_PER_FILE,
    ROW_GROUP,
    TableWriter,
    TableWriters,
    count_rows,
    read_groups,
    write_table,
)

SCHEMA = {
    "user_id": pl.String(),
    "ts": pl.Datetime("us", "UTC"),
    "price": pl.Float64(),
    "n": pl.UInt32(),
    "is_asked": pl.Boolean(),
    "day": pl.Date(),
}


def rows(n: int, start: int = 0) -> pl.DataFrame:
    """Return rows with nulls, repeats, NaN and both zeros."""
    index = pl.int_range(start, start + n, eager=True)
    return pl.select(
        n=index.cast(pl.UInt32),
        user_id=pl.when(index % 5 != 0).then("ü" + (index % 7).cast(pl.String)),
        ts=pl.when(index % 3 != 0).then(index.cast(pl.Datetime("us", "UTC"))),
        price=pl.when(index % 4 == 0).then(float("nan")).when(index % 4 == 1).then(-0.0).otherwise(index / 3),
        is_asked=pl.when(index % 6 != 0).then(index % 2 == 0),
        day=index.cast(pl.Int32).cast(pl.Date),
    )


def written(path: Path, frames: list[pl.DataFrame], row_group: int = 10) -> bytes:
    with TableWriter(path, SCHEMA, row_group) as writer:
        for frame in frames:
            writer.write(frame)
    return path.read_bytes()


def group_sizes(path: Path) -> list[int]:
    meta = pq.read_metadata(path)
    return [meta.row_group(i).num_rows for i in range(meta.num_row_groups)]


@given(st.lists(st.integers(0, 35), max_size=8))
def test_the_bytes_do_not_depend_on_how_rows_are_cut(
    tmp_path_factory: pytest.TempPathFactory, heights: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("tables")
    n_rows = sum(heights)
    whole = written(folder / "whole.parquet", [rows(n_rows)])
    ends = [sum(heights[: i + 1]) for i in range(len(heights))]
    cut = [rows(n_rows).slice(end - height, height) for end, height in zip(ends, heights, strict=True)]
    rebuilt = [
        rows(height, end - height).select(*reversed(SCHEMA))
        for end, height in zip(ends, heights, strict=True)
    ]
    assert written(folder / "cut.parquet", cut) == whole
    assert written(folder / "rebuilt.parquet", rebuilt) == whole
    expected = [10] * (n_rows // 10) + [n_rows % 10] * (n_rows % 10 > 0)
    assert group_sizes(folder / "cut.parquet") == expected
    stored = pl.read_parquet(folder / "cut.parquet")
    assert stored.schema == SCHEMA
    assert_frame_equal(stored, rows(n_rows).select(*SCHEMA))
    groups = list(read_groups(folder / "cut.parquet"))
    assert [g.height for g in groups] == expected
    assert_frame_equal(pl.concat([stored.clear(), *groups]), stored)


@pytest.mark.parametrize("heights", [[], [7], [20], [40], [35, 0, 1, 28], [4] * 16])
@pytest.mark.parametrize("chunks", [1, 6, 13, 24])
def test_a_table_is_split_into_files_of_so_many_chunks(
    tmp_path: Path, heights: list[int], chunks: int
) -> None:
    """Six columns a row group, of which a file has at least one; the rows and their groups are as in one file."""
    n_rows = sum(heights)
    written(tmp_path / "whole.parquet", [rows(n_rows)])
    with TableWriter(tmp_path / "t.parquet", SCHEMA, 10, chunks) as writer:
        for end, height in zip(np.cumsum(heights).tolist(), heights, strict=True):
            writer.write(rows(height, end - height))
    whole, split = list(read_groups(tmp_path / "whole.parquet")), list(read_groups(tmp_path / "t.parquet"))
    assert len(split) == len(whole)
    assert count_rows(tmp_path / "whole.parquet") == count_rows(tmp_path / "t.parquet") == n_rows
    for found, expected in zip(split, whole, strict=True):
        assert_frame_equal(found, expected)
    per_file, n_groups = max(chunks // 6, 1), len(whole)
    n_files = max(-(-n_groups // per_file), 1)
    names = ["t.parquet"] + [f"t.{n}.parquet" for n in range(1, n_files)]
    assert sorted(p.name for p in tmp_path.glob("t.*")) == sorted(names)
    in_each = [len(group_sizes(tmp_path / name)) for name in names]
    assert sum(in_each) == n_groups
    assert in_each[:-1] == [per_file] * (n_files - 1)


def test_a_group_of_writers_splits_its_tables(tmp_path: Path) -> None:
    with TableWriters(tmp_path, row_group=10, chunks_per_file=12) as writers:
        writers.open("wide.parquet", SCHEMA).write(rows(35))
        writers.open("narrow.parquet", {"n": pl.UInt32()}).write(rows(35))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["narrow.parquet", "wide.1.parquet", "wide.parquet"]
    assert group_sizes(tmp_path / "wide.1.parquet") == [10, 5]
    assert_frame_equal(pl.concat(read_groups(tmp_path / "wide.parquet")), rows(35).select(*SCHEMA))


def test_a_footer_of_a_split_table_is_bounded() -> None:
    """A kilobyte for each chunk."""
    assert CHUNKS_PER_FILE == 30_000


def test_row_groups_are_bounded_by_default(tmp_path: Path) -> None:
    assert ROW_GROUP == 131_072
    with TableWriter(tmp_path / "t.parquet", {"n": pl.UInt32()}) as writer:
        writer.write(rows(300_000).select("n"))
        writer.write(rows(5).select("n"))
    assert group_sizes(tmp_path / "t.parquet") == [131_072, 131_072, 300_005 - 2 * 131_072]


def test_rows_wait_in_memory_for_one_group_only(tmp_path: Path) -> None:
    with TableWriter(tmp_path / "t.parquet", SCHEMA, 10) as writer:
        for i in range(25):
            writer.write(rows(4, 4 * i))
            assert writer._n_pending == sum(f.height for f in writer._pending) < 10
            assert len(writer._pending) <= 4


def test_an_empty_table_has_its_schema(tmp_path: Path) -> None:
    with TableWriter(tmp_path / "new" / "folder" / "t.parquet", SCHEMA):
        pass
    assert pl.read_parquet_schema(tmp_path / "new" / "folder" / "t.parquet") == SCHEMA
    assert list(read_groups(tmp_path / "new" / "folder" / "t.parquet")) == []
    assert count_rows(tmp_path / "new" / "folder" / "t.parquet") == 0


def test_columns_are_taken_by_name_and_others_left_out(tmp_path: Path) -> None:
    frame = rows(3).with_columns(extra=1).select("extra", *reversed(SCHEMA))
    assert written(tmp_path / "a", [frame]) == written(tmp_path / "b", [rows(3)])


def test_a_missing_column_is_an_error_and_the_file_is_closed(tmp_path: Path) -> None:
    with pytest.raises(pl.exceptions.ColumnNotFoundError, match="day"):
        written(tmp_path / "t.parquet", [rows(12), rows(3).drop("day")])
    assert group_sizes(tmp_path / "t.parquet") == [10]  # what waited is not written


def test_another_dtype_is_an_error(tmp_path: Path) -> None:
    with pytest.raises((ValueError, pl.exceptions.PolarsError)):
        written(tmp_path / "t.parquet", [rows(3).with_columns(pl.col("n").cast(pl.Int64))])
    with pytest.raises((ValueError, pl.exceptions.PolarsError)):
        written(tmp_path / "t.parquet", [rows(3), rows(3).with_columns(pl.col("n").cast(pl.Int64))])


def test_an_error_closes_all_writers(tmp_path: Path) -> None:
    alive = TableWriters(tmp_path, row_group=10)  # else the end of its life would close the files

    def fail() -> None:
        with alive as writers:
            writers.open("a/1.parquet", SCHEMA).write(rows(12))
            writers.open("a/2.parquet", SCHEMA).write(rows(3))
            raise ValueError("in between")

    with pytest.raises(ValueError, match="in between"):
        fail()
    assert group_sizes(tmp_path / "a" / "1.parquet") == [10]
    assert group_sizes(tmp_path / "a" / "2.parquet") == []


def test_a_group_of_writers_appends_by_name(tmp_path: Path) -> None:
    with TableWriters(tmp_path, row_group=10) as writers:
        for i in range(6):
            writers.open(f"{i % 2}.parquet", SCHEMA).write(rows(4, 4 * i))
        assert writers.open("0.parquet", SCHEMA) is writers.open("0.parquet", SCHEMA)
    for name in (0, 1):
        expected = pl.concat([rows(4, 4 * i) for i in range(6) if i % 2 == name]).select(*SCHEMA)
        assert_frame_equal(pl.read_parquet(tmp_path / f"{name}.parquet"), expected)
        assert group_sizes(tmp_path / f"{name}.parquet") == [10, 2]


def test_what_is_finished_can_be_read_while_others_are_written(tmp_path: Path) -> None:
    rows = pl.DataFrame({"n": [1, 2]})
    with TableWriters(tmp_path) as writers:
        writers.open("a.parquet", rows.schema).write(rows)
        writers.finish()
        assert pl.read_parquet(writers.folder / "a.parquet").equals(rows)
        writers.open("b.parquet", rows.schema).write(rows)
    assert pl.read_parquet(tmp_path / "b.parquet").equals(rows)


def test_a_frame_is_written_with_its_own_schema(tmp_path: Path) -> None:
    write_table(tmp_path / "t.parquet", rows(3))
    assert_frame_equal(pl.read_parquet(tmp_path / "t.parquet"), rows(3))


def test_ids_are_stored_by_reference_and_counting_numbers_as_differences(tmp_path: Path) -> None:
    """Hashes are no counting numbers, and of two small values references are shorter."""
    schema = SCHEMA | {"user_hash": pl.UInt64(), "label": pl.Int8(), "decile": pl.UInt8(), "k": pl.Int32()}
    with TableWriter(tmp_path / "t.parquet", schema) as writer:
        writer.write(
            rows(1_000).with_columns(pl.lit(1).cast(schema[c]).alias(c) for c in schema if c not in SCHEMA)
        )  # type: ignore[arg-type]
    group = pq.read_metadata(tmp_path / "t.parquet").row_group(0)
    encodings = {group.column(i).path_in_schema: group.column(i).encodings for i in range(len(schema))}
    is_difference = {name for name, found in encodings.items() if "DELTA_BINARY_PACKED" in found}
    is_reference = {name for name, found in encodings.items() if "RLE_DICTIONARY" in found}
    assert is_difference == {"ts", "n", "day", "k"}
    assert is_reference == {"user_id", "price", "user_hash", "label", "decile"}
    assert {group.column(i).compression for i in range(len(schema))} == {"ZSTD"}


class FullError(OSError):
    pass


@pytest.mark.parametrize("heights", [[15], [5], [12, 12, 12]])
def test_an_error_of_the_encoding_thread_comes_out_and_all_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heights: list[int]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise FullError("no room")

    before = threading.active_count()
    closed = []
    close = pq.ParquetWriter.close
    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    monkeypatch.setattr(pq.ParquetWriter, "close", lambda self: (closed.append(self), close(self)))
    with pytest.raises(FullError, match="no room"):
        written(tmp_path / "t.parquet", [rows(height) for height in heights])
    assert closed
    assert threading.active_count() == before


def test_an_error_of_the_next_file_comes_out_and_all_is_closed(tmp_path: Path) -> None:
    (tmp_path / "t.1.parquet").mkdir()
    before = threading.active_count()
    with (
        pytest.raises(OSError, match=r"t\.1\.parquet"),
        TableWriter(tmp_path / "t.parquet", SCHEMA, 10, 1) as writer,
    ):
        writer.write(rows(25))
    assert group_sizes(tmp_path / "t.parquet") == [10]
    assert threading.active_count() == before


def test_groups_are_read_one_at_a_time(tmp_path: Path) -> None:
    written(tmp_path / "t.parquet", [rows(25)])
    groups = read_groups(tmp_path / "t.parquet")
    assert_frame_equal(next(groups), rows(10).select(*SCHEMA))
    assert_frame_equal(next(groups), rows(10, 10).select(*SCHEMA))
    groups.close()
