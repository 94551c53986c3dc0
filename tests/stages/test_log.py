"""Reading the clean log: each bucket has whole users, and every row comes once."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from ecbehave.buckets import bucket_of, user_hash
from ecbehave.stages.log import read_buckets
from ecbehave.tables import TableWriter

COLUMNS = ["user_hash", "user_id", "ts", "price"]
SCHEMA = {
    "user_hash": pl.UInt64(),
    "user_id": pl.String(),
    "ts": pl.Datetime("us", "UTC"),
    "price": pl.Float64(),
}


def week(seed: int, n_rows: int, n_users: int = 200) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    users = pl.Series("user_id", [f"u{i}" for i in rng.integers(0, n_users, n_rows)], dtype=pl.String)
    rows = pl.DataFrame(
        {"user_id": users, "ts": pl.int_range(n_rows, eager=True), "price": rng.random(n_rows)}
    )
    return rows.with_columns(user_hash(users)).sort("user_hash", "ts").cast(SCHEMA).select(*SCHEMA)  # type: ignore[arg-type]


def write(path: Path, rows: pl.DataFrame, row_group: int) -> Path:
    with TableWriter(path, SCHEMA, row_group) as writer:
        writer.write(rows)
    return path


@pytest.fixture(scope="module", params=[7, 50, 100_000])
def log(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[Path], pl.DataFrame]:
    """Weeks of different sizes, one empty; a user has more events than a row group."""
    folder = tmp_path_factory.mktemp("log")
    weeks = [week(0, 1_500, 900), week(1, 0), week(2, 3), week(3, 400, n_users=1), week(4, 700)]
    files = [write(folder / f"{n}.parquet", rows, request.param) for n, rows in enumerate(weeks)]
    return files, pl.concat(weeks)


@pytest.mark.parametrize("n", [1, 2, 4, 8, 16, 32, 64])
def test_each_bucket_has_its_users_whole_and_every_row_comes_once(
    log: tuple[list[Path], pl.DataFrame], n: int
) -> None:
    files, whole = log
    buckets = list(read_buckets(files, COLUMNS, n))
    assert len(buckets) == n
    for number, bucket in enumerate(buckets):
        expected = whole.filter(bucket_of(n) == number)
        assert expected.height
        assert_frame_equal(bucket, expected)  # by week, and in the order of the file


def test_only_the_columns_that_are_asked_for_are_read(log: tuple[list[Path], pl.DataFrame]) -> None:
    files, whole = log
    for n in (1, 2):
        read = pl.concat(read_buckets(files, ["user_hash", "price"], n))
        assert read.columns == ["user_hash", "price"]
        assert read.height == whole.height


def test_hashes_at_the_borders_of_buckets_and_at_the_ends(tmp_path: Path) -> None:
    """Half of all hashes are above what a signed number holds."""
    hashes = [0, 2**62 - 1, 2**62, 2**62, 2**63 - 1, 2**63, 2**64 - 1]
    rows = pl.DataFrame({"user_hash": hashes}, schema={"user_hash": pl.UInt64()}).with_columns(
        user_id=pl.lit("u"), ts=pl.lit(0).cast(SCHEMA["ts"]), price=pl.lit(1.0)
    )
    for row_group in (1, 2, 3, 10):
        file = write(tmp_path / f"{row_group}.parquet", rows, row_group)
        buckets = [b["user_hash"].to_list() for b in read_buckets([file], COLUMNS, 4)]
        assert buckets == [hashes[:2], hashes[2:5], [2**63], [2**64 - 1]]


def test_buckets_may_be_empty(tmp_path: Path) -> None:
    file = write(tmp_path / "t.parquet", week(0, 1, n_users=1), 10)
    buckets = list(read_buckets([file], COLUMNS, 8))
    assert [b.height for b in buckets].count(0) == 7
    assert {tuple(b.schema.items()) for b in buckets} == {tuple(pl.Schema(SCHEMA).items())}


def test_no_more_of_a_file_is_read_than_the_bucket_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = week(0, 6_400)
    file = write(tmp_path / "t.parquet", rows, 100)
    read: list[int] = []
    of_file = pl.DataFrame

    def note(table: object) -> pl.DataFrame:
        frame = of_file(table)  # type: ignore[arg-type]
        read.append(frame.height)
        return frame

    monkeypatch.setattr("ecbehave.stages.log.pl.DataFrame", note)
    for bucket in read_buckets([file], COLUMNS, 16):
        assert bucket.height > 100
    assert sum(read) == 6_400
    assert len(read) == 16
    assert max(read) < 900


def test_files_are_closed_when_the_reader_stops_early(log: tuple[list[Path], pl.DataFrame]) -> None:
    files, _ = log
    descriptors = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0
    buckets = read_buckets(files, COLUMNS, 4)
    next(buckets)
    buckets.close()  # type: ignore[attr-defined]
    if descriptors:
        assert len(list(Path("/proc/self/fd").iterdir())) == descriptors
