"""CSV as chunks of text columns."""

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.csv as arrow_csv

from ecbehave.errors import DataError
from ecbehave.sources.chunk import KEPT_CHARACTERS, Chunk, check_columns
from ecbehave.sources.text import BLOCK_BYTES, TextStream

#: Refused rows that may follow each other before the file as a whole is refused.
MAX_REFUSED_RUN = 250_000

_HEADER_BYTES = 1 << 20


def read_csv(
    path: Path, wanted: Mapping[str, str], delimiter: str, encoding: str, key: str
) -> Iterator[Chunk]:
    """Read a CSV file in blocks, every value as text.

    A data row is a record: quoted newlines do not count, and neither do blank lines. Rows with too few or too
    many fields come out in `Chunk.bad`.

    Args:
        path: the file, plain or compressed.
        wanted: dotted key of the config to the column it names.
        delimiter: one character.
        encoding: a Python codec name.
        key: dotted key of the source, for messages.

    Raises:
        DataError: the file is empty, damaged, in another encoding, without a wanted column, or not CSV.
    """
    names, has_rows = _header(path, delimiter, encoding, key)
    check_columns(path, wanted, names, _delimiter_hint(names, key))
    if not has_rows:
        return
    columns = list(dict.fromkeys(wanted.values()))
    refused = _Refused()
    try:
        with (
            TextStream(path, encoding, key) as stream,
            arrow_csv.open_csv(
                stream,
                # Without threads pyarrow numbers the rows that it refuses.
                read_options=arrow_csv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES),
                parse_options=arrow_csv.ParseOptions(
                    delimiter=delimiter, newlines_in_values=True, invalid_row_handler=refused.add
                ),
                convert_options=arrow_csv.ConvertOptions(
                    column_types=dict.fromkeys(columns, pa.string()),
                    include_columns=columns,
                    null_values=[""],
                    strings_can_be_null=True,
                    check_utf8=False,
                ),
            ) as reader,
        ):
            for batch in reader:
                if not batch.num_rows:  # a block of blank lines
                    continue
                yield refused.number(pl.DataFrame(pl.from_arrow(batch)))
    except pa.ArrowInvalid as error:
        raise _wrong(path, error, refused, len(names), key) from error
    if refused.rows:
        yield refused.rest(columns)


class _Refused:
    """The rows that pyarrow refuses, and with them the numbers of the rows it keeps."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, str]] = []
        self._next_row = 1

    def add(self, row: arrow_csv.InvalidRow) -> str:
        """Take a refused row. pyarrow counts from 1 and counts the header, so data rows begin at 2."""
        self.rows.append((row.number - 1, row.text[:KEPT_CHARACTERS]))
        return "skip" if len(self.rows) < MAX_REFUSED_RUN else "error"

    def number(self, frame: pl.DataFrame) -> Chunk:
        """Number the next kept rows: they fill the numbers that no refused row has."""
        # pyarrow parses ahead, so refused rows that come after this frame may be here already.
        numbers = np.arange(self._next_row, self._next_row + frame.height + len(self.rows), dtype=np.uint32)
        numbers = numbers[~np.isin(numbers, [n for n, _ in self.rows])][: frame.height]
        self._next_row = int(numbers[-1]) + 1
        before = [row for row in self.rows if row[0] < self._next_row]
        del self.rows[: len(before)]
        return Chunk(frame, pl.Series(numbers), before)

    def rest(self, columns: list[str]) -> Chunk:
        """Return the refused rows after the last kept one."""
        nothing = pl.DataFrame(schema=dict.fromkeys(columns, pl.String()))
        return Chunk(nothing, pl.Series(dtype=pl.UInt32), self.rows)


def _header(path: Path, delimiter: str, encoding: str, key: str) -> tuple[list[str], bool]:
    """Return the column names, and whether anything follows them."""
    with TextStream(path, encoding, key) as stream:
        start = stream.read(_HEADER_BYTES).decode("utf-8", errors="ignore")  # may end inside a character
    lines = io.StringIO(start, newline="")
    try:
        names = next((row for row in csv.reader(lines, delimiter=delimiter) if row), None)
    except csv.Error as error:
        raise DataError(f"{path}: the header cannot be read ({error}); is a quote never closed?") from error
    if names is None:
        raise DataError(f"{path}: the file is empty; expected a header and rows")
    return names, bool(lines.read().strip("\r\n"))


def _delimiter_hint(names: list[str], key: str) -> str:
    found = next((mark for mark in "\t;|," if len(names) == 1 and mark in names[0]), None)
    return f"; the header looks separated by {found!r}: set {key}.delimiter" if found else ""


def _wrong(path: Path, error: pa.ArrowInvalid, refused: _Refused, n_fields: int, key: str) -> DataError:
    if len(refused.rows) >= MAX_REFUSED_RUN:
        number, text = refused.rows[0]
        return DataError(
            f"{path}: {MAX_REFUSED_RUN} rows on end do not have the {n_fields} fields of the header, first "
            f"row {number}: {text!r}; check {key}.delimiter, and the header of the file"
        )
    return DataError(
        f"{path}: cannot be cut into rows, most likely because a quote is never closed; "
        f"close or double the quotes in the file ({error})"
    )
