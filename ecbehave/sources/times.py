"""Written times as instants in UTC.

Nothing is guessed: what has more than one reading (`01/02/2017`, `20170102`) is not read without a pattern.
"""

from datetime import UTC, datetime

import polars as pl

from ecbehave.schema import TS

# All whole numbers here are microseconds, unless said otherwise.
_SECOND = 1_000_000
_MINUTE = 60 * _SECOND
_EPOCH_UNIT = {"epoch_s": _SECOND, "epoch_ms": 1_000}

# The years that Python's datetime has, less a day at each end as room for offsets.
_FIRST = int(datetime(1, 1, 2, tzinfo=UTC).timestamp()) * _SECOND
_LAST = int(datetime(9999, 12, 30, tzinfo=UTC).timestamp()) * _SECOND

_ISO = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"(?:[T ](?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{1,9})?)?"
    r"(?:Z| ?UTC| ?[+-](?:0[0-9]|1[0-4])(?::?[0-5][0-9])?)?)?$"
)
# From nine digits on (March 1973): eight could be a date such as 20170102.
_EPOCH = r"^[0-9]{9,19}(?:\.[0-9]+)?$"
_EPOCH_FROM = 100_000_000


def to_utc(values: pl.Series, time_format: str, timezone: str) -> pl.Series:
    """Read times; what cannot be read is null.

    Args:
        values: stripped text, numbers, dates or timestamps.
        time_format: `auto`, `epoch_s`, `epoch_ms` or a strptime pattern; dates and timestamps need none.
            `auto` reads each value by itself: ISO 8601 dates and date-times, and numbers since 1970 in
            seconds, milliseconds, microseconds or nanoseconds by their magnitude.
        timezone: zone of times that carry none. Where clocks go back, the earlier of the two instants is
            taken; times that clocks skip do not exist and are null.

    Returns:
        Instants, UTC, microseconds.
    """
    if values.dtype.is_temporal():
        return _from_native(values, timezone)
    if time_format in _EPOCH_UNIT:
        return _from_epoch(values, _EPOCH_UNIT[time_format])
    if time_format != "auto":
        # Python writes fractions as .%f, polars as %.f; its own %f would drop them.
        pattern = time_format.replace(".%f", "%.f")
        texts = values.cast(pl.String)
        return _from_native(texts.str.to_datetime(pattern, time_unit="us", strict=False), timezone)
    if values.dtype.is_numeric():
        return _from_epoch_by_magnitude(values)
    times = _from_iso(values, timezone)
    if times.null_count() == values.null_count():
        return times
    numbers = values.set(~values.str.contains(_EPOCH), None)
    return times.zip_with(times.is_not_null(), _from_epoch_by_magnitude(numbers))


def _from_native(times: pl.Series, timezone: str) -> pl.Series:
    """Place dates and timestamps, naive or in UTC, in UTC."""
    if isinstance(times.dtype, pl.Datetime) and times.dtype.time_zone:
        return _instants(times.dt.cast_time_unit("us").cast(pl.Int64))
    return _localise(times.cast(pl.Datetime("us")).cast(pl.Int64), timezone)


def _from_epoch(values: pl.Series, unit: int) -> pl.Series:
    return _instants(_whole(values.cast(pl.Float64, strict=False) * unit))


def _from_epoch_by_magnitude(values: pl.Series) -> pl.Series:
    number = values.cast(pl.Float64, strict=False).alias("number")
    micros = (
        pl.when(pl.col("number") < _EPOCH_FROM)
        .then(None)
        .when(pl.col("number") < 1e11)
        .then(pl.col("number") * _SECOND)
        .when(pl.col("number") < 1e14)
        .then(pl.col("number") * 1_000)
        .when(pl.col("number") < 1e17)
        .then(pl.col("number"))
        .otherwise(pl.col("number") / 1_000)
    )
    return _instants(_whole(number.to_frame().select(micros).to_series()))


def _from_iso(texts: pl.Series, timezone: str) -> pl.Series:
    """Read ISO 8601 by position, which is several times faster than by groups of a pattern."""
    texts = texts.set(~texts.str.contains(_ISO), None)
    text, has_seconds = pl.col("text"), pl.col("has_seconds")
    day = text.str.slice(0, 10).str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("us")).cast(pl.Int64)
    minutes = _number(text.str.slice(11, 2)) * 60 + _number(text.str.slice(14, 2))
    seconds = pl.when(has_seconds).then(_number(text.str.slice(17, 2))).otherwise(0)
    parts = texts.alias("text").to_frame().with_columns((text.str.slice(16, 1) == ":").alias("has_seconds"))
    parts = parts.select(
        (day + minutes * _MINUTE + seconds * _SECOND).alias("wall"),
        pl.when(has_seconds).then(text.str.slice(19)).otherwise(text.str.slice(16)).alias("tail"),
    )
    wall, tail = parts
    if tail.str.len_bytes().max() in (0, None):
        return _localise(wall, timezone)
    wall += _fractions(tail)
    is_zoned = tail.str.contains("[ZC+-]")  # Z, UTC or an offset
    local = _localise(wall.set(is_zoned, None), timezone)
    return _instants(wall - _offsets(tail)).zip_with(is_zoned, local)


def _fractions(tail: pl.Series) -> pl.Series:
    """Return the decimals of the second, cut to microseconds."""
    if not tail.str.starts_with(".").any():
        return pl.repeat(0, tail.len(), dtype=pl.Int64, eager=True)
    digits = tail.str.extract(r"^\.([0-9]+)")
    return digits.str.slice(0, 6).str.pad_end(6, "0").cast(pl.Int64).fill_null(0)


def _offsets(tail: pl.Series) -> pl.Series:
    """Return how far the wall clock is ahead of UTC."""
    if not tail.str.contains("[+-]").any():
        return pl.repeat(0, tail.len(), dtype=pl.Int64, eager=True)
    parts = tail.str.extract_groups(r"([+-])([0-9]{2}):?([0-9]{2})?$").struct.unnest()
    sign, hours, minutes = (pl.col(name) for name in parts.columns)
    ahead = (_number(hours) * 60 + _number(minutes)) * _MINUTE
    return parts.select(pl.when(sign == "-").then(-ahead).otherwise(ahead)).to_series()


def _number(digits: pl.Expr) -> pl.Expr:
    return digits.cast(pl.Int64, strict=False).fill_null(0)


def _whole(micros: pl.Series) -> pl.Series:
    return micros.round().cast(pl.Int64, strict=False)


def _instants(micros: pl.Series) -> pl.Series:
    """Take microseconds since 1970 in UTC; years that a calendar does not have are null."""
    return micros.set(~micros.is_between(_FIRST, _LAST), None).cast(TS)


def _localise(wall: pl.Series, timezone: str) -> pl.Series:
    """Turn wall clock times (microseconds since 1970 in the zone) into instants."""
    if timezone == "UTC":
        return _instants(wall)
    local = wall.set(~wall.is_between(_FIRST, _LAST), None).cast(pl.Datetime("us"))
    return local.dt.replace_time_zone(
        timezone, ambiguous="earliest", non_existent="null"
    ).dt.convert_time_zone("UTC")
