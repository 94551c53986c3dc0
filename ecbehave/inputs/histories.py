"""Histories: the events of a bucket's users as sorted arrays, prepared once, from which any cutoff reads.

Rows are in the order of user and time, so that what a user did in a stretch of time is a slice. All arrays hold
integers, hence sums are exact in any order of rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from ecbehave.inputs.facts import LogFacts
from ecbehave.inputs.ordering import Flags, Integers, grouped_order, running

UNITS_PER_CURRENCY = 10_000
#: Ratings, and other numbers that are not money, are kept in thousandths.
THOUSAND = 1_000
MICROSECONDS_PER_DAY = 86_400_000_000
#: Stands for an unknown number.
UNKNOWN = np.iinfo(np.int64).min
_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)

#: Columns of which every distinct value gets a number.
_CODED = ("item_id", "category", "brand", "session_id", "order_id")
#: Of these the numbers are in the order of the alphabet, so that they decide ties.
_ALPHABETICAL = ("category", "brand")
#: What features read of the log, besides what `LogFacts` says that it has not.
_ALWAYS = ("user_id", "ts", "event_type", "item_id", "category", "order_id", "amount")


@dataclass(frozen=True)
class Timelines:
    """Instants of many users, in microseconds; those of one user lie together, in ascending order.

    A position is a number of rows: the rows of a user from one position up to another are what happened between.
    """

    ts: Integers
    offsets: Integers
    """Shape (n_users + 2,): user `u` has the rows from `offsets[u]` to `offsets[u + 1]`; one more has none."""

    def before(self, instant: datetime, users: Integers) -> Integers:
        """Return the position after the rows of each user that lie before an instant."""
        n_before = running(self.ts < microseconds(instant))
        start, end = self.offsets[users], self.offsets[users + 1]
        return np.asarray(start + (n_before[end] - n_before[start]))


@dataclass(frozen=True)
class Histories(Timelines):
    """All events of a bucket's users: n rows."""

    users: pl.DataFrame
    """`user_id`, `user`: the place of each user in the arrays."""
    user: Integers
    """[n] place of the user."""
    event_types: pl.Series
    kind: Integers
    """[n] number of the event's type in `event_types`."""
    local: Integers
    """[n] time on the shop's clock, in microseconds from midnight of 1970-01-01 on."""
    columns: Mapping[str, NDArray[Any]]
    """[n] by name: numbers of distinct values (-1 for none), money in 1/10,000 of the currency (0 for none),
    `unit_price` (likewise), `rating` in 1/1,000, `dwell` in milliseconds (`UNKNOWN` for none)."""
    names: Mapping[str, pl.Series]
    """The distinct values that the numbers stand for."""

    @property
    def day(self) -> Integers:
        """[n] day of the shop's calendar."""
        return np.asarray(self.local // MICROSECONDS_PER_DAY)

    @property
    def tie_end(self) -> Integers:
        """[n] position after the last row of the same user and instant."""
        is_last = np.ones(self.ts.size, np.bool_)
        is_last[:-1] = (self.ts[1:] != self.ts[:-1]) | (self.user[1:] != self.user[:-1])
        ends = np.flatnonzero(is_last) + 1
        return np.asarray(ends[running(is_last)[:-1]])

    def is_of(self, event_type: str) -> Flags:
        """Mark the rows of one event type."""
        found = self.event_types.index_of(event_type)
        return np.asarray(self.kind == (-2 if found is None else found))

    def places(self, user_ids: pl.Series) -> Integers:
        """Return the place of each user in the arrays; those without events share an empty one."""
        asked = pl.DataFrame({"user_id": user_ids})
        found = asked.join(self.users, on="user_id", how="left", maintain_order="left")
        return found["user"].fill_null(self.users.height).cast(pl.Int64).to_numpy()


def prepare(events: pl.LazyFrame, facts: LogFacts, timezone: str) -> Histories:
    """Sort the events of a bucket for every cutoff there is.

    Args:
        events: all events of some users, in any order.
        facts: what the log has.
        timezone: the shop's calendar.
    """
    frame = events.select(*_texts(facts), "ts", *_numbers(facts, timezone)).collect()
    user, user_ids = encoded(frame["user_id"])
    ts = frame["ts"].dt.timestamp("us").to_numpy()
    arrays: dict[str, NDArray[Any]] = {"user": user, "ts": ts}
    names: dict[str, pl.Series] = {}
    for column in (c for c in ("event_type", *_CODED) if c in frame.columns):
        arrays[column], names[column] = encoded(frame[column], alphabetical=column in _ALPHABETICAL)
    for column in ("local", *_MEASURED):
        if column in frame.columns:
            arrays[column] = frame[column].to_numpy()
    order = _order(user, ts)
    if order is not None:
        arrays = {name: array[order] for name, array in arrays.items()}
    n_users = user_ids.len()
    fixed = ("user", "ts", "event_type", "local")
    return Histories(
        arrays["ts"],
        running(np.bincount(user, minlength=n_users + 1)),
        pl.DataFrame({"user_id": user_ids, "user": np.arange(n_users)}),
        arrays["user"],
        names["event_type"],
        arrays["event_type"],
        arrays["local"],
        {name: array for name, array in arrays.items() if name not in fixed},
        names,
    )


def columns_of(facts: LogFacts) -> list[str]:
    """Return the columns of the log that `prepare` reads."""
    wanted = {*_CODED, "discount", "coupon", "rating", "dwell_seconds", "price", "quantity"}
    return [*_ALWAYS, *sorted((wanted & set(facts.columns)) - set(_ALWAYS))]


def microseconds(instant: datetime) -> int:
    """Return an instant as it is stored."""
    return (instant - _EPOCH) // _MICROSECOND


def money(column: str) -> pl.Expr:
    """Return money in whole units; null stays."""
    return (pl.col(column) * UNITS_PER_CURRENCY).round().cast(pl.Int64)


def thousandths(column: str) -> pl.Expr:
    """Return a number in thousandths; null stays."""
    return (pl.col(column) * THOUSAND).round().cast(pl.Int64)


def unit_price(facts: LogFacts) -> pl.Expr:
    """Return what one piece costs, in whole units of money: the price, or else amount over quantity."""
    price = pl.col("price") if facts.has("price") else pl.lit(None, pl.Float64)
    if facts.has("amount", "quantity"):
        per_piece = pl.when(pl.col("quantity") > 0).then(pl.col("amount") / pl.col("quantity"))
        price = pl.coalesce(price, per_piece)
    return (price * UNITS_PER_CURRENCY).round().cast(pl.Int64)


def local_time(timezone: str) -> pl.Expr:
    """Return the time on the shop's clock."""
    return pl.col("ts").dt.convert_time_zone(timezone).dt.replace_time_zone(None)


def encoded(values: pl.Series, *, alphabetical: bool = False) -> tuple[Integers, pl.Series]:
    """Number distinct values; null is -1.

    Returns:
        The number of each value, and the values by number: as they come, or in the order of the alphabet.
    """
    found = values.rechunk().to_arrow(compat_level=pl.CompatLevel.newest()).dictionary_encode()
    found = found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found
    codes = found.indices.fill_null(-1).to_numpy()
    names = pl.Series(found.dictionary, dtype=values.dtype)
    if not alphabetical:
        return codes, names
    order = names.arg_sort().to_numpy()
    ranks = np.empty(order.size + 1, np.int32)
    ranks[order], ranks[-1] = np.arange(order.size), -1
    return ranks[codes], names[order]


_MEASURED = ("amount", "discount", "coupon", "unit_price", "rating", "dwell")


def _texts(facts: LogFacts) -> list[str]:
    optional = [c for c in _CODED if c in facts.columns and c not in _ALWAYS]
    return ["user_id", "event_type", "item_id", "category", "order_id", *optional]


def _numbers(facts: LogFacts, timezone: str) -> list[pl.Expr]:
    numbers = [local_time(timezone).dt.timestamp("us").alias("local"), money("amount").fill_null(0)]
    numbers += [money(c).fill_null(0) for c in ("discount", "coupon") if facts.has(c)]
    if facts.has("price") or facts.has("amount", "quantity"):
        numbers.append(unit_price(facts).fill_null(UNKNOWN).alias("unit_price"))
    if facts.has("rating"):
        numbers.append(thousandths("rating").fill_null(UNKNOWN))
    if facts.has("dwell_seconds"):
        numbers.append(thousandths("dwell_seconds").fill_null(0).alias("dwell"))
    return numbers


def _order(user: Integers, ts: Integers) -> Integers | None:
    """Return the order by user and time, None where the rows are in it already."""
    order = None
    if (user[1:] < user[:-1]).any():
        # Rows of a log that is cut by periods are in the order of time within each user.
        order = grouped_order(user)
        user, ts = user[order], ts[order]
    if ((ts[1:] < ts[:-1]) & (user[1:] == user[:-1])).any():
        again = np.lexsort((ts, user))
        return again if order is None else order[again]
    return order
