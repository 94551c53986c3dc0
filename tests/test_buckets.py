"""Buckets: a hash for ever, ranges of it, and how many of them."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecbehave.buckets import bucket_of, n_buckets, user_hash

#: Stored logs rely on these: they may never change.
GOLDEN = {
    "": 17280346270528514342,
    "0": 13971339156589058860,
    "42": 9298553800152202476,
    "u001": 5829932054530768035,
    "U001": 1227144634236270051,
    "user@example.com": 11016093194696575294,
    "Jürgen": 834718852416519655,
    "用户": 4162371456079368713,
    "👩‍🚀": 3644788414418515900,
    " ": 5756814179432351914,
    "a\0b": 12355895974393876011,
    "x" * 10_000: 13989573600295688435,
}


def oracle(text: str) -> int:
    """FNV-1a of 64 bits, then the mixer of MurmurHash3, as their authors write them."""
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = (value ^ byte) * 0x100000001B3 % 2**64
    value = (value ^ value >> 33) * 0xFF51AFD7ED558CCD % 2**64
    value = (value ^ value >> 33) * 0xC4CEB9FE1A85EC53 % 2**64
    return value ^ value >> 33


def hashes(texts: list[str]) -> list[int]:
    return user_hash(pl.Series("user_id", texts, dtype=pl.String)).to_list()


def test_hashes_are_the_same_for_ever() -> None:
    assert dict(zip(GOLDEN, hashes(list(GOLDEN)), strict=True)) == GOLDEN


def test_the_oracle_is_fnv_1a() -> None:
    """The published test vector of FNV-1a: 85944171f73967e8 for foobar."""
    value = 0xCBF29CE484222325
    for byte in b"foobar":
        value = (value ^ byte) * 0x100000001B3 % 2**64
    assert value == 0x85944171F73967E8


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=30), max_size=30))
def test_hashes_equal_the_oracle(texts: list[str]) -> None:
    assert hashes(texts) == [oracle(text) for text in texts]


def test_hashes_do_not_depend_on_neighbours_chunks_or_slices() -> None:
    texts = ["longest of them all", "", "b", "b", "ü", "middling"]
    together = pl.Series("user_id", texts)
    expected = [oracle(t) for t in texts]
    chunked = pl.concat([together[:2], together[2:]], rechunk=False)
    assert user_hash(chunked).to_list() == expected
    assert user_hash(together[3:]).to_list() == expected[3:]
    assert user_hash(together.sort()).sort().to_list() == sorted(expected)
    assert user_hash(together[:0]).to_list() == []
    nobody = pl.Series("user_id", [], dtype=pl.String)
    assert user_hash(nobody).dtype == pl.UInt64
    hashed = user_hash(together)
    assert (hashed.name, hashed.dtype) == ("user_hash", pl.UInt64)


def test_one_long_id_does_not_hold_up_the_others() -> None:
    """A broken row can make an id of a megabyte; the cost is one step a byte, not one step a byte and user."""
    texts = ["y" * 300_000, *(str(i) for i in range(100_000))]
    hashed = hashes(texts)
    assert hashed[0] == oracle(texts[0])
    assert hashed[1::9_999] == [oracle(text) for text in texts[1::9_999]]


IDS = pl.Series("user_id", [f"{kind}{i}" for kind in ("", "u", "customer-") for i in range(7_000)])


@pytest.fixture(scope="module")
def hashed() -> pl.DataFrame:
    return pl.DataFrame({"user_id": IDS, "user_hash": user_hash(IDS)})


@pytest.mark.parametrize("n", [1, 2, 4, 64, 1024])
def test_buckets_are_ranges_in_hash_order_and_evenly_filled(hashed: pl.DataFrame, n: int) -> None:
    bucketed = hashed.sort("user_hash").with_columns(bucket=bucket_of(n))
    assert bucketed["bucket"].dtype == pl.UInt32
    assert bucketed["bucket"].to_list() == [h * n // 2**64 for h in bucketed["user_hash"]]
    assert bucketed["bucket"].is_sorted()
    assert set(bucketed["bucket"]) == set(range(n))
    sizes = bucketed.group_by("bucket").len()["len"]
    mean = len(IDS) / n
    assert ((sizes - mean).abs() <= 6 * mean**0.5).all()  # six standard deviations of a fair draw


@pytest.mark.parametrize("kind", ["", "u", "customer-"])
def test_ids_of_one_kind_spread_evenly_too(hashed: pl.DataFrame, kind: str) -> None:
    """Short ids that differ in the last digits only are what the mixer is for."""
    own = hashed.filter(pl.col("user_id").str.contains(f"^{kind}[0-9]+$")).with_columns(bucket=bucket_of(16))
    assert own.height == 7_000
    sizes = own.group_by("bucket").len()["len"]
    chi_squared = float(((sizes - 437.5) ** 2 / 437.5).sum())
    assert len(sizes) == 16
    assert chi_squared < 45  # the 99.99 % point of chi-squared with 15 degrees of freedom


def test_the_ends_of_the_hash_fall_into_the_first_and_last_bucket() -> None:
    ends = pl.DataFrame({"user_hash": [0, 2**62 - 1, 2**62, 2**64 - 1]}, schema={"user_hash": pl.UInt64})
    assert ends.select(bucket_of(4)).to_series().to_list() == [0, 0, 1, 3]


@pytest.mark.parametrize(
    ("n_rows", "rows_at_once", "expected"),
    [(0, 50_000, 1), (1, 50_000, 1), (500_000, 500_000, 1), (500_001, 500_000, 2), (1_000_000, 500_000, 2),
     (1_000_001, 500_000, 4), (50_000_000, 500_000, 128), (1_000_000, 312_500, 4), (3, 1, 4)],
)  # fmt: skip
def test_as_many_buckets_as_have_few_enough_rows(n_rows: int, rows_at_once: int, expected: int) -> None:
    assert n_buckets(n_rows, rows_at_once) == expected


@given(st.integers(0, 10**11), st.integers(1, 10**6))
def test_the_number_is_the_smallest_power_of_two_that_fits(n_rows: int, rows_at_once: int) -> None:
    n = n_buckets(n_rows, rows_at_once)
    assert n & (n - 1) == 0
    assert n * rows_at_once >= n_rows * (1 - 1e-12)
    assert n == 1 or n // 2 * rows_at_once < n_rows * (1 + 1e-12)
