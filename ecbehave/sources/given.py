"""Files that the config names beside the log: lists of items, and sessions that somebody asks about."""

import hashlib
from pathlib import Path

import polars as pl

from ecbehave.errors import DataError

_FORMATS = {".parquet": "Parquet", ".csv": "CSV", ".jsonl": "JSON lines", ".ndjson": "JSON lines"}
#: What polars raises for a file that is not of its format.
_BROKEN = (pl.exceptions.PolarsError, UnicodeDecodeError, ValueError)


def fingerprint(path: Path, key: str) -> str:
    """Return the SHA-256 of a file's content.

    Args:
        path: the file.
        key: dotted key that names it, for messages.

    Raises:
        DataError: it cannot be read.
    """
    return hashlib.sha256(_content(path, key)).hexdigest()


def read_item_ids(path: Path, key: str) -> pl.Series:
    """Return the distinct item ids of a file, sorted; blanks around them and empty lines do not count.

    Args:
        path: Parquet or CSV with a column `item_id`; any other file has one id per line.
        key: dotted key that names it, for messages.

    Raises:
        DataError: the file cannot be read, or lacks the column.
    """
    if path.suffix.lower() in _FORMATS:
        frame = read_frame(path, key)
        require(frame, ["item_id"], path, key)
        ids = text(frame["item_id"], path, key)
    else:
        try:
            lines = _content(path, key).decode("utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise DataError(f"{key}: {path} is not UTF-8; save it with that encoding") from error
        ids = pl.Series("item_id", lines, dtype=pl.String)
    ids = ids.drop_nulls().str.strip_chars()
    return ids.filter(ids != "").unique().sort()


def read_frame(path: Path, key: str) -> pl.DataFrame:
    """Return all rows of a Parquet, CSV or JSON-lines file, told by its suffix; the values of CSV are text.

    Raises:
        DataError: the file cannot be read, or its suffix names none of these.
    """
    name = _FORMATS.get(path.suffix.lower())
    if name is None:
        raise DataError(
            f"{key}: the suffix of {path} does not tell its format; call it .parquet, .csv or .jsonl"
        )
    content = _content(path, key)
    try:
        if name == "Parquet":
            return pl.read_parquet(content)
        if name == "CSV":
            return pl.read_csv(content.removeprefix(b"\xef\xbb\xbf"), infer_schema=False)
        return pl.read_ndjson(content, infer_schema_length=None)
    except _BROKEN as error:
        why = "it is empty" if not content.strip() else str(error).splitlines()[0]
        raise DataError(f"{key}: {path} cannot be read as {name} ({why}); write it again") from error


def require(frame: pl.DataFrame, columns: list[str], path: Path, key: str) -> None:
    """Check that a file has some columns.

    Raises:
        DataError: it lacks one of them.
    """
    lacks = [name for name in columns if name not in frame.columns]
    if lacks:
        raise DataError(
            f"{key}: {path} has no column {', '.join(lacks)}; it has {', '.join(frame.columns[:10])}. "
            f"Call the right one {lacks[0]}"
        )


def text(ids: pl.Series, path: Path, key: str) -> pl.Series:
    """Return ids as text, as the log has them.

    Raises:
        DataError: they are neither text nor whole numbers.
    """
    if not (ids.dtype.is_integer() or ids.dtype in (pl.String, pl.Categorical, pl.Null)):
        raise DataError(
            f"{key}: column {ids.name} of {path} has type {ids.dtype}; ids must be text or whole numbers"
        )
    return ids.cast(pl.String)


def _content(path: Path, key: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{key}: there is no file {path}; correct the path, or bring the file") from error
    except OSError as error:
        raise DataError(f"{key}: {path} cannot be read: {error.strerror}; give the path of a file") from error
