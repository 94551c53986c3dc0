"""Reading the clean log: a file per week, each in the order of user hashes, as buckets of whole users."""

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq

_HASH = "user_hash"


def read_buckets(files: Sequence[Path], columns: Sequence[str], n: int) -> Generator[pl.DataFrame]:
    """Yield the log's events bucket by bucket, with all events of the bucket's users; every row is read once.

    Args:
        files: the log's files.
        columns: what is read; `user_hash` is the first.
        n: number of buckets, a power of two. A bucket may be empty.
    """
    if n == 1:
        yield pl.concat([pl.read_parquet(file, columns=list(columns)) for file in files])
        return
    readers = [_Reader(file, columns) for file in files]
    try:
        for bucket in range(n):
            end = (bucket + 1) * 2**64 // n
            yield pl.concat([reader.until(end) for reader in readers])
    finally:
        for reader in readers:
            reader.close()


class _Reader:
    """Reads one file forwards, up to a hash."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self._file = pq.ParquetFile(path)
        self._columns = list(columns)
        metadata = self._file.metadata
        self._first = [_first_hash(metadata.row_group(g)) for g in range(metadata.num_row_groups)]
        self._next = 0
        self._left: pl.DataFrame | None = None

    def until(self, end: int) -> pl.DataFrame:
        """Return the rows that have not been read yet and whose hash is smaller."""
        start = self._next
        while self._next < len(self._first) and self._first[self._next] < end:
            self._next += 1
        groups = list(range(start, self._next))
        read = pl.DataFrame(self._file.read_row_groups(groups, columns=self._columns))
        rows = read if self._left is None else pl.concat([self._left, read])
        hashes = rows[_HASH].to_numpy()
        n = rows.height if end == 2**64 else int(np.searchsorted(hashes, np.uint64(end)))
        self._left = rows.slice(n)
        return rows.head(n)

    def close(self) -> None:
        self._file.close()


def _first_hash(group: Any) -> int:
    """Return the smallest hash of a row group, which is that of its first row."""
    return int(group.column(0).statistics.min)
