"""Reading and writing stored tables: Parquet in bounded row groups, the same bytes for the same rows."""

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from itertools import count, takewhile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import polars as pl
import pyarrow.parquet as pq

#: Rows per row group of a log: bounds what a reader must hold, whoever wrote the table.
ROW_GROUP = 131_072
#: Values per row group of tables with many columns.
_VALUES = ROW_GROUP * 32
#: Columns times row groups of one file of a table that is split: its footer tells of each of them, and takes about a
#: kilobyte for it while the file is written, and again while it is read.
CHUNKS_PER_FILE = 30_000


class TableWriter:
    """Writes frames to one Parquet file; its bytes do not depend on how the rows were cut into frames.

    Row groups are encoded in a thread of the writer's own, one at a time, while the next one is computed.

    Args:
        path: the file.
        schema: its columns.
        row_group: rows per row group; by default what suits the number of columns.
        chunks_per_file: split the table into files of at most so many columns times row groups: after `t.parquet`
            come `t.1.parquet`, `t.2.parquet`, ... By default there is one file, whatever its size.
    """

    def __init__(
        self,
        path: Path,
        schema: Mapping[str, Any],
        row_group: int | None = None,
        chunks_per_file: int | None = None,
    ) -> None:
        self._schema = pl.Schema(schema)
        self._row_group = row_group or min(ROW_GROUP, _VALUES // len(schema))
        self._groups_per_file = chunks_per_file and max(chunks_per_file // len(schema), 1)
        self._pending: list[pl.DataFrame] = []
        self._n_pending = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._files = _files(path)
        self._n_groups = 0
        self._writer = self._next_file()
        self._thread = ThreadPoolExecutor(1)
        self._encoding: Future[None] | None = None

    def _next_file(self) -> pq.ParquetWriter:
        arrow = self._schema.to_frame().to_arrow(compat_level=pl.CompatLevel.oldest()).schema
        return pq.ParquetWriter(next(self._files), arrow, compression="zstd", **_encodings(self._schema))

    def write(self, frame: pl.DataFrame) -> None:
        """Append a frame; columns are taken by name."""
        frame = frame.select(self._schema.names())
        self._pending.append(frame)
        self._n_pending += frame.height
        if self._n_pending >= self._row_group:
            self._flush(is_last=False)

    def _flush(self, *, is_last: bool) -> None:
        rows = pl.concat(self._pending)
        n_whole = rows.height if is_last else rows.height // self._row_group * self._row_group
        self._wait()
        self._encoding = self._thread.submit(self._encode, rows.head(n_whole))
        self._pending = [rows.slice(n_whole)]
        self._n_pending = rows.height - n_whole

    def _encode(self, rows: pl.DataFrame) -> None:
        for group in rows.iter_slices(self._row_group):
            if self._n_groups == self._groups_per_file:
                self._writer.close()
                self._writer, self._n_groups = self._next_file(), 0
            table = group.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
            self._writer.write_table(table, row_group_size=self._row_group)
            self._n_groups += 1

    def _wait(self) -> None:
        """Wait for the rows that are being encoded; what went wrong with them is raised here."""
        running, self._encoding = self._encoding, None
        if running:
            running.result()

    def close(self) -> None:
        """Write what is pending, and the footer."""
        try:
            if self._n_pending:
                self._flush(is_last=True)
            self._wait()
        finally:
            self._close()

    def _close(self) -> None:
        self._thread.shutdown()
        self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._close()


def _encodings(schema: pl.Schema) -> dict[str, Any]:
    """Store counting numbers as differences, and everything else as references to its distinct values.

    Hashes come sorted, with repeats: differences would be as long as they are.
    """
    is_counting = {name: dtype.is_integer() or dtype.is_temporal() for name, dtype in schema.items()}
    counting = [name for name, dtype in schema.items() if is_counting[name] and dtype != pl.UInt64]
    counting = [name for name in counting if schema[name] not in (pl.Int8, pl.UInt8)]
    return {
        "use_dictionary": [name for name in schema if name not in counting],
        "column_encoding": dict.fromkeys(counting, "DELTA_BINARY_PACKED"),
    }


class TableWriters:
    """A group of writers, opened on first use and closed together; options are those of `TableWriter`."""

    def __init__(
        self, folder: Path, row_group: int | None = None, chunks_per_file: int | None = None
    ) -> None:
        self.folder = folder
        self._row_group, self._chunks_per_file = row_group, chunks_per_file
        self._writers: dict[str, TableWriter] = {}
        self._stack = ExitStack()

    def open(self, name: str, schema: Mapping[str, Any]) -> TableWriter:
        """Return the writer of the file `name` in the folder."""
        if name not in self._writers:
            writer = TableWriter(self.folder / name, schema, self._row_group, self._chunks_per_file)
            self._writers[name] = self._stack.enter_context(writer)
        return self._writers[name]

    def finish(self) -> None:
        """Close the files there are, so that they can be read; others may be opened."""
        self._stack.close()
        self._writers.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)


def write_table(path: Path, frame: pl.DataFrame) -> None:
    """Write one frame as one file."""
    with TableWriter(path, frame.schema) as writer:
        writer.write(frame)


def read_groups(path: Path) -> Iterator[pl.DataFrame]:
    """Yield a table's rows in order, one row group at a time; of one that is split, file after file."""
    for n, part in enumerate(_files(path)):
        if n > 0 and not part.exists():
            return
        with pq.ParquetFile(part) as file:
            for group in range(file.num_row_groups):
                yield pl.DataFrame(file.read_row_group(group))


def count_rows(path: Path) -> int:
    """Return how many rows a table has, be it split or not, from its footers."""
    parts = takewhile(lambda part: part.exists(), _files(path))
    return sum(pq.read_metadata(part).num_rows for part in parts)


def _files(path: Path) -> Iterator[Path]:
    """Yield the names of the files of a table."""
    yield path
    for n in count(1):
        yield path.with_suffix(f".{n}{path.suffix}")
