"""How much is worked on at once, so that a run keeps within the memory that it is given."""

import ctypes

from ecbehave.errors import ConfigError

#: Rows at most, however much memory there is: more brings no speed.
MOST_ROWS = 500_000
#: Rows at least: with fewer, the parts become too many to be worth it.
FEWEST_ROWS = 50_000
#: And at least so many, however much work each of them is.
_FEWEST_OF_ALL = 5_000
#: Resident size of the process with all libraries loaded.
_BASE_BYTES = 350_000_000


def rows_at_once(
    stage: str,
    memory_bytes: int,
    threads: int,
    bytes_per_row: int,
    n_rows: int,
    held_bytes: int = 0,
    work: int = 1,
) -> int:
    """Return how many rows each thread may work on.

    Args:
        stage: for the message.
        memory_bytes: what the process may take, from `--memory`.
        threads: how many parts are worked on at once; one more waits to be written.
        bytes_per_row: measured resident bytes of a row while it is worked on.
        n_rows: rows that there are.
        held_bytes: what is in memory all the time.
        work: a row is so many times as much work as usual, so that fewer at once are worth it.

    Raises:
        ConfigError: the memory is too little; the message names what is enough.
    """
    per_row = bytes_per_row * (threads + 1)
    fewest = min(max(FEWEST_ROWS // work, _FEWEST_OF_ALL), FEWEST_ROWS)
    needed = _BASE_BYTES + held_bytes + min(fewest, n_rows) * per_row
    if memory_bytes < needed:
        fewer = " or fewer threads with --threads" if threads > 1 else ""
        raise ConfigError(
            f"--memory {in_words(memory_bytes)} is too little for {stage} on this log with {threads} "
            f"thread{'s' * (threads != 1)}: it takes {in_words(needed)}; allow that{fewer}"
        )
    return max(min((memory_bytes - _BASE_BYTES - held_bytes) // per_row, MOST_ROWS), 1)


def give_back() -> None:
    """Give memory that is no longer used back to the system, where the C library keeps it (glibc does).

    For the end of a part of a stage: all that the threads of a bucket have freed would count as used until the stage
    ends, beside what the next part needs. What is used stays as it is.
    """
    trim = getattr(ctypes.pythonapi, "malloc_trim", None)
    if trim is not None:
        trim(0)


def in_words(n_bytes: int) -> str:
    """Write a size the way `--memory` takes it, rounded up: `620MB`."""
    return f"{-(-n_bytes // 10**6)}MB"
