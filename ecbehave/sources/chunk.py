"""What every reader yields, and the checks on columns that all formats share."""

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from ecbehave.errors import DataError

#: Characters of an unreadable row or value that are kept.
KEPT_CHARACTERS = 200

_LISTED = 30


@dataclass(frozen=True)
class Chunk:
    """A part of a source file, as read.

    `frame` holds the source's columns, `row` the 1-based data row of each of its rows (UInt32); `bad` are the
    rows of the same part of the file that could not be read: number and text.
    """

    frame: pl.DataFrame
    row: pl.Series
    bad: Sequence[tuple[int, str]] = ()


def check_columns(path: Path, wanted: Mapping[str, str], names: Sequence[str], hint: str = "") -> None:
    """Check that the file has every wanted column, each name once.

    Args:
        path: the file, for the message.
        wanted: dotted key of the config to the column it names.
        names: the columns that the file has.
        hint: a remedy that the format knows, added to the message about missing columns.

    Raises:
        DataError: a column is missing, or a name stands twice in the header.
    """
    twice = [name for name, n in Counter(names).items() if n > 1 and name]
    if twice:
        raise DataError(
            f"{path}: {_counted(len(twice), 'column name')} more than once in the header: "
            f"{_examples([repr(name) for name in twice])}; give every column a name of its own"
        )
    missing = [
        f"{column!r} ({key}{_did_you_mean(column, names)})"
        for key, column in wanted.items()
        if column not in names
    ]
    if missing:
        listed = ", ".join(name[:60] for name in names[:_LISTED]) + (", ..." if len(names) > _LISTED else "")
        raise DataError(
            f"{path}: {_counted(len(missing), 'column')} missing: {_examples(missing)}; "
            f"the file has {listed}{hint}"
        )


def _did_you_mean(column: str, names: Sequence[str]) -> str:
    by_lower = {name.lower(): name for name in names}
    close = difflib.get_close_matches(column.lower(), by_lower, n=1)
    return f": did you mean {by_lower[close[0]]!r}?" if close else ""


def _counted(n: int, noun: str) -> str:
    return f"1 {noun} is" if n == 1 else f"{n} {noun}s are"


def _examples(texts: Sequence[str]) -> str:
    return ", ".join(texts[:3]) + (", ..." if len(texts) > 3 else "")
