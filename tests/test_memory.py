"""--memory: how many rows it allows, the message where it is too little, and giving back what is free."""

import ctypes
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecbehave.errors import ConfigError
from ecbehave.memory import FEWEST_ROWS, MOST_ROWS, give_back, in_words, rows_at_once

MB = 10**6
GB = 10**9
MANY = 10**9
LEAST = 350 * MB + 50_000 * 1_000 * 3


def test_the_rows_that_the_memory_has_room_for() -> None:
    """350 MB for the process, and 1 kB for each row of two threads and of what waits to be written."""
    assert rows_at_once("clean", 650 * MB, 2, 1_000, MANY) == 100_000
    assert rows_at_once("clean", 650 * MB, 2, 1_000, MANY, held_bytes=75 * MB) == 75_000
    assert rows_at_once("clean", 650 * MB, 1, 1_000, MANY) == 150_000


def test_there_are_no_more_rows_than_bring_speed() -> None:
    assert rows_at_once("clean", 100 * GB, 2, 1_000, MANY) == MOST_ROWS == 500_000


def test_the_least_memory_is_enough_and_a_byte_less_is_not() -> None:
    assert rows_at_once("clean", LEAST, 2, 1_000, MANY) == FEWEST_ROWS == 50_000
    with pytest.raises(ConfigError) as error:
        rows_at_once("clean", LEAST - 1, 2, 1_000, MANY)
    assert str(error.value) == (
        "--memory 500MB is too little for clean on this log with 2 threads: it takes 500MB; allow that or fewer "
        "threads with --threads"
    )


def test_a_small_log_takes_no_more_than_its_own_rows() -> None:
    assert rows_at_once("clean", 353 * MB, 2, 1_000, 1_000) == 1_000
    with pytest.raises(ConfigError, match="it takes 353MB"):
        rows_at_once("clean", 352 * MB, 2, 1_000, 1_000)


def test_fewer_rows_are_worth_it_where_each_is_much_work() -> None:
    assert rows_at_once("features", LEAST - 1, 2, 1_000, MANY, work=2) == 49_999
    least = 350 * MB + 25_000 * 1_000 * 3
    assert rows_at_once("features", least, 2, 1_000, MANY, work=2) == 25_000
    with pytest.raises(ConfigError, match="it takes 425MB"):
        rows_at_once("features", least - 1, 2, 1_000, MANY, work=2)
    with pytest.raises(ConfigError, match="it takes 365MB"):
        rows_at_once("features", 300 * MB, 2, 1_000, MANY, work=1_000_000)


def test_with_one_thread_there_are_no_fewer() -> None:
    with pytest.raises(ConfigError) as error:
        rows_at_once("features", GB, 1, 1_000, MANY, held_bytes=3 * GB)
    assert str(error.value) == (
        "--memory 1000MB is too little for features on this log with 1 thread: it takes 3450MB; allow that"
    )


@settings(deadline=None)
@given(
    memory=st.integers(0, 10**12),
    threads=st.integers(1, 64),
    per_row=st.integers(1, 10_000),
    held=st.integers(0, 10**11),
    n_rows=st.integers(0, 10**6),
)
def test_the_memory_that_the_message_names_is_enough(
    memory: int, threads: int, per_row: int, held: int, n_rows: int
) -> None:
    least = max(min(FEWEST_ROWS, n_rows), 1)
    try:
        rows = rows_at_once("clean", memory, threads, per_row, n_rows, held)
    except ConfigError as error:
        named = str(error).split("it takes ")[1].split("MB")[0]
        assert int(named) * MB >= memory
        assert least <= rows_at_once("clean", int(named) * MB, threads, per_row, n_rows, held) <= MOST_ROWS
    else:
        assert least <= rows <= MOST_ROWS
        assert 350 * MB + held + min(rows, n_rows) * per_row * (threads + 1) <= memory


@pytest.mark.parametrize(("n", "words"), [(0, "0MB"), (1, "1MB"), (10**6, "1MB"), (10**6 + 1, "2MB")])
def test_sizes_are_rounded_up(n: int, words: str) -> None:
    assert in_words(n) == words


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.skipif(not hasattr(ctypes.pythonapi, "malloc_trim"), reason="another C library than glibc")
def test_what_is_free_between_what_is_used_goes_back_to_the_system() -> None:
    arrays = [np.ones(8_000) for _ in range(1_000)]
    kept = arrays[::100]
    del arrays
    before = resident()
    give_back()
    assert resident() < before - 40 * MB  # of 64 MB
    assert all(array.sum() == 8_000 for array in kept)


def test_another_c_library_keeps_what_it_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ecbehave.memory.ctypes.pythonapi", object())
    give_back()
