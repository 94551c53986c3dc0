"""Reading and writing stored tables: Parquet in bounded row groups, the same bytes for the same rows."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import polars as pl
import pyarrow.parquet as pq

#: Rows per row group: bounds what a reader must hold, whoever wrote the table.
ROW_GROUP = 131_072


class TableWriter:
    """Writes frames to one Parquet file; its bytes do not depend on how the rows were cut into frames."""

    def __init__(self, path: Path, schema: Mapping[str, Any], row_group: int = ROW_GROUP) -> None:
        self._schema = pl.Schema(schema)
        self._row_group = row_group
        self._pending: list[pl.DataFrame] = []
        self._n_pending = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        arrow = self._schema.to_frame().to_arrow(compat_level=pl.CompatLevel.oldest()).schema
        self._writer = pq.ParquetWriter(path, arrow, compression="zstd")

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
        for start in range(0, n_whole, self._row_group):
            group = rows.slice(start, min(self._row_group, n_whole - start))
            table = group.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
            self._writer.write_table(table, row_group_size=self._row_group)
        self._pending = [rows.slice(n_whole)]
        self._n_pending = rows.height - n_whole

    def close(self) -> None:
        """Write what is pending, and the footer."""
        if self._n_pending:
            self._flush(is_last=True)
        self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._writer.close()


class TableWriters:
    """A group of writers, opened on first use and closed together."""

    def __init__(self, folder: Path, row_group: int = ROW_GROUP) -> None:
        self._folder = folder
        self._row_group = row_group
        self._writers: dict[str, TableWriter] = {}
        self._stack = ExitStack()

    def open(self, name: str, schema: Mapping[str, Any]) -> TableWriter:
        """Return the writer of the file `name` in the folder."""
        if name not in self._writers:
            writer = TableWriter(self._folder / name, schema, self._row_group)
            self._writers[name] = self._stack.enter_context(writer)
        return self._writers[name]

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
    """Yield a file's rows in order, one row group at a time."""
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            yield pl.DataFrame(file.read_row_group(group))
