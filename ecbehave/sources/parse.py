"""From a source's columns to typed canonical columns.

A value that is present but cannot be read becomes null and is kept as `column=text` in `unparsed`; an absent
value is just null.
"""

from collections.abc import Mapping
from datetime import datetime

import polars as pl

from ecbehave.config.dataset import EventTypeColumn, FileSource
from ecbehave.schema import EVENT_COLUMNS, ITEMS, ORIGIN, TS, USERS_KEY
from ecbehave.sources.chunk import KEPT_CHARACTERS, Chunk
from ecbehave.sources.times import to_utc

_SPACE = " \t\r\n\v\f\u00a0\u3000"
_PAID = ("purchase", "return")
#: What databases and scripts write where they have nothing.
_ABSENT = ("", "NULL", "null", "\\N", "None")


def canonical_columns(source: FileSource) -> dict[str, pl.DataType]:
    """Return the columns that a source's rows have, before origin and `unparsed`."""
    if source.table == "events":
        return dict(EVENT_COLUMNS)
    if source.table == "items":
        return dict(ITEMS)
    return USERS_KEY | {name: pl.String() for name in source.columns if name not in USERS_KEY}


def wanted_columns(source: FileSource, key: str) -> dict[str, str]:
    """Return the source's columns that are read, by the dotted key that names each."""
    wanted = {f"{key}.columns.{name}": column for name, column in source.columns.items()}
    if isinstance(source.event_type, EventTypeColumn):
        wanted[f"{key}.event_type.column"] = source.event_type.column
    return wanted


def parse(chunk: Chunk, source: FileSource, timezone: str, received_at: datetime, batch: str) -> pl.DataFrame:
    """Turn a chunk into rows of the raw schema, in row order.

    Args:
        chunk: a part of a file.
        source: what the columns mean.
        timezone: zone of times that carry none.
        received_at: when the batch came in, for rows that do not say it themselves.
        batch: id of the batch.

    Returns:
        The canonical columns of the source's table, origin and `unparsed`.
    """
    columns = canonical_columns(source)
    present = _present(chunk.frame, source, columns)
    read = present.select(_read(present[name], columns[name], source, timezone) for name in present.columns)
    unread = {
        name: present[name].is_not_null() & read[name].is_null()
        for name in present.columns
        if read[name].null_count() > present[name].null_count()
    }
    rows = read.with_columns(
        *(pl.lit(None, dtype).alias(name) for name, dtype in columns.items() if name not in read.columns),
        chunk.row.alias("row"),
        pl.lit(batch).alias("batch"),
        _unparsed(present, unread).alias("unparsed"),
    )
    if source.table == "events":
        rows = _complete(rows, unread, source.event_type, received_at)
    if source.table == "users" and not source.timeless:
        rows = rows.with_columns(pl.col("known_from").fill_null(pl.lit(received_at, TS)))
    schema = pl.Schema(columns | ORIGIN | {"unparsed": pl.String()})
    rows = rows.select(schema.names())
    return _with_bad(rows, chunk, batch, schema) if chunk.bad else rows


def _present(frame: pl.DataFrame, source: FileSource, columns: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Take what the source has for each canonical column; null where it has nothing."""
    taken = dict(source.columns)
    if isinstance(source.event_type, EventTypeColumn):
        taken["event_type"] = source.event_type.column
    stripped = frame.select(
        _stripped(taken[name], frame.schema[taken[name]], target).alias(name)
        for name, target in columns.items()
        if name in taken
    )
    return stripped.with_columns(pl.when(~pl.col(pl.String).is_in(_ABSENT)).then(pl.col(pl.String)))


def _stripped(column: str, dtype: pl.DataType, target: pl.DataType) -> pl.Expr:
    value = pl.col(column)
    if dtype.is_numeric() and target != pl.String:
        return value
    if dtype in (pl.Date, pl.Datetime) and target == TS:
        return value
    if dtype.is_float():
        # An id that passed through a float column: 123.0 is "123", NaN is a gap.
        value = value.fill_nan(None)
        whole = value.cast(pl.Int64, strict=False)
        return pl.when(whole == value).then(whole.cast(pl.String)).otherwise(value.cast(pl.String))
    return value.cast(pl.String).str.strip_chars(_SPACE)


def _read(values: pl.Series, dtype: pl.DataType, source: FileSource, timezone: str) -> pl.Series:
    if dtype == TS:
        return to_utc(values, source.time_format, timezone).alias(values.name)
    if dtype == pl.Float64:
        numbers = values.cast(pl.Float64, strict=False)
        return numbers.set(~numbers.is_finite(), None)
    if values.name == "event_type" and isinstance(source.event_type, EventTypeColumn):
        return _event_types(values, source.event_type.map)
    return values


def _event_types(values: pl.Series, names: Mapping[str, str]) -> pl.Series:
    """Map source values; a key counts as written first, then in lower case."""
    lower = values.str.to_lowercase()
    if not names:
        return lower
    by_lower = {key.lower(): name for key, name in names.items()}
    as_written = values.replace_strict(names, default=None, return_dtype=pl.String)
    return as_written.zip_with(as_written.is_not_null(), lower.replace(by_lower))


def _unparsed(present: pl.DataFrame, unread: Mapping[str, pl.Series]) -> pl.Expr:
    if not unread:
        return pl.lit(None, pl.String)
    complaints = [
        pl.when(is_unread).then(
            pl.lit(f"{name}=") + pl.lit(present[name].cast(pl.String).str.slice(0, KEPT_CHARACTERS))
        )
        for name, is_unread in unread.items()
    ]
    joined = pl.concat_str(complaints, separator="; ", ignore_nulls=True)
    return pl.when(joined != "").then(joined)


def _complete(
    rows: pl.DataFrame,
    unread: Mapping[str, pl.Series],
    event_type: str | EventTypeColumn | None,
    received_at: datetime,
) -> pl.DataFrame:
    """Fill in what follows from the source or from other columns; what could not be read stays null."""
    nothing_unread = pl.lit(False)
    arrived = pl.col("received_at").fill_null(pl.lit(received_at, TS))
    rows = rows.with_columns(
        pl.when(unread.get("received_at", nothing_unread)).then(pl.col("received_at")).otherwise(arrived),
        pl.lit(event_type).alias("event_type") if isinstance(event_type, str) else pl.col("event_type"),
    )
    # amount = price x quantity: the third follows from two, and from a price alone where money changed hands.
    price, quantity, amount = pl.col("price"), pl.col("quantity"), pl.col("amount")
    paid = quantity.is_null() & pl.col("event_type").is_in(_PAID)
    known = ~pl.any_horizontal(unread.get(c, nothing_unread) for c in ("price", "quantity", "amount"))
    return rows.with_columns(
        pl.coalesce(price, pl.when(known & (quantity != 0)).then(amount / quantity)),
        pl.coalesce(quantity, pl.when(known & (price != 0)).then(amount / price)),
        pl.coalesce(amount, pl.when(known).then(pl.coalesce(price * quantity, pl.when(paid).then(price)))),
    )


def _with_bad(rows: pl.DataFrame, chunk: Chunk, batch: str, schema: pl.Schema) -> pl.DataFrame:
    numbers, texts = zip(*chunk.bad, strict=True)
    bad = pl.DataFrame(
        {"batch": [batch] * len(numbers), "row": numbers, "unparsed": [f"row={text}" for text in texts]},
        schema={name: schema[name] for name in (*ORIGIN, "unparsed")},
    )
    return pl.concat([rows, bad], how="diagonal").sort("row")
