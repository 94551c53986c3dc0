"""Where raw events come from: files, read as a stream of chunks, never whole."""

import glob
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import polars as pl

from ecbehave.config.dataset import FileSource
from ecbehave.errors import ConfigError, DataError
from ecbehave.sources.chunk import Chunk
from ecbehave.sources.csv_files import read_csv
from ecbehave.sources.jsonl_files import read_jsonl
from ecbehave.sources.parquet_files import read_parquet
from ecbehave.sources.parse import parse, wanted_columns
from ecbehave.sources.text import is_compressed

__all__ = ["CHUNK_ROWS", "find_files", "read_chunks"]

#: Most rows of a chunk.
CHUNK_ROWS = 250_000

_FORMATS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}


def find_files(source: FileSource, key: str = "dataset.sources") -> list[Path]:
    """Return the files that a source's glob names, sorted; `**` spans folders, hidden files are left out.

    Args:
        source: the source.
        key: its dotted key, such as `dataset.sources[0]`, for messages.

    Raises:
        DataError: no file matches.
    """
    pattern = Path(source.path).absolute()
    # Not Path.glob: it takes hidden files too, such as those that a copy under way has.
    matches = glob.glob(str(pattern), recursive=True)  # noqa: PTH207
    files = sorted(path for path in map(Path, matches) if path.is_file())
    if files:
        return files
    nearest = next(parent for parent in pattern.parents if parent.is_dir())
    raise DataError(
        f"{key}.path: no file matches {pattern}; the nearest folder that exists is {nearest}; "
        f"correct the path, or bring the files"
    )


def read_chunks(
    path: Path,
    source: FileSource,
    timezone: str,
    received_at: datetime,
    batch: str,
    *,
    key: str = "dataset.sources",
) -> Iterator[pl.DataFrame]:
    """Read a file as rows of the raw schema, in bounded memory.

    Args:
        path: one of the source's files.
        source: format, columns and their meaning.
        timezone: zone of times that carry none, where the source does not name its own.
        received_at: when the file came in, for rows that do not say it themselves.
        batch: id of the batch.
        key: dotted key of the source, such as `dataset.sources[0]`, for messages.

    Yields:
        Frames of at most `CHUNK_ROWS` rows in file order, with the columns of EVENTS_RAW or ITEMS_RAW; for
        users `user_id` and the mapped attributes as text, ORIGIN and `unparsed`. A row that could not be read
        has `unparsed = "row=<its text>"` and null in every canonical column.

    Raises:
        ConfigError: the format cannot be told, or the encoding is unknown.
        DataError: the file cannot be read as its format, or lacks a column.
    """
    for chunk in _read(path, source, key):
        rows = parse(chunk, source, source.timezone or timezone, received_at, batch)
        yield from rows.iter_slices(CHUNK_ROWS)


def _read(path: Path, source: FileSource, key: str) -> Iterator[Chunk]:
    wanted = wanted_columns(source, key)
    file_format = source.format or _format(path, key)
    if file_format == "csv":
        return read_csv(path, wanted, source.delimiter, source.encoding, key)
    if file_format == "jsonl":
        return read_jsonl(path, wanted, source.encoding, key)
    return read_parquet(path, wanted, key)


def _format(path: Path, key: str) -> str:
    suffix = Path(path.stem).suffix if is_compressed(path) else path.suffix
    if suffix.lower() in _FORMATS:
        return _FORMATS[suffix.lower()]
    raise ConfigError(
        f"{path}: its suffix does not tell the format; set {key}.format to csv, jsonl or parquet"
    )
