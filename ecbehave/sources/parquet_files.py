"""Parquet as chunks of plain columns."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as arrow_parquet

from ecbehave.errors import DataError
from ecbehave.sources.chunk import Chunk, check_columns
from ecbehave.sources.text import unreadable

_BATCH_ROWS = 125_000
_BUFFER_BYTES = 1 << 20

_READABLE = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_decimal,
    pa.types.is_boolean,
    pa.types.is_date,
    pa.types.is_timestamp,
    pa.types.is_null,
)


def read_parquet(path: Path, wanted: Mapping[str, str], key: str) -> Iterator[Chunk]:
    """Read a Parquet file in batches; types stay, but dictionaries are decoded and zoned times become UTC.

    Args:
        path: the file.
        wanted: dotted key of the config to the column it names.
        key: dotted key of the source, for messages.

    Raises:
        DataError: the file is empty, damaged, not Parquet, without a wanted column, or a wanted column has a
            type that holds neither text nor number nor time.
    """
    columns = list(dict.fromkeys(wanted.values()))
    n_read = 0
    try:
        # The buffer makes pyarrow read pages, not whole row groups.
        with arrow_parquet.ParquetFile(path, buffer_size=_BUFFER_BYTES) as file:
            schema = file.schema_arrow
            check_columns(path, wanted, schema.names)
            plain = pa.schema([_plain(path, schema.field(column), wanted) for column in columns])
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=columns):
                frame = pl.DataFrame(pl.from_arrow(batch.select(columns).cast(plain, safe=False)))
                row = pl.int_range(n_read + 1, n_read + frame.height + 1, dtype=pl.UInt32, eager=True)
                yield Chunk(frame, row)
                n_read += frame.height
    except pa.ArrowException as error:
        if not path.stat().st_size:
            raise DataError(f"{path}: the file is empty; expected Parquet") from error
        raise DataError(
            f"{path}: the file is cut off, damaged or not Parquet ({error}); "
            f"bring it again from where it came from, or set {key}.format"
        ) from error
    except OSError as error:
        raise unreadable(path, error) from error


def _plain(path: Path, field: pa.Field, wanted: Mapping[str, str]) -> pa.Field:
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    if not any(is_kind(kind) for is_kind in _READABLE):
        key = next(key for key, column in wanted.items() if column == field.name)
        raise DataError(
            f"{path}: column {field.name!r} ({key}) has type {field.type}; "
            f"it must be text, a number, a boolean, a date or a timestamp"
        )
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        kind = pa.timestamp("us", "UTC")
    return pa.field(field.name, kind)
