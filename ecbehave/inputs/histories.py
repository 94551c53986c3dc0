"""Histories: the events of a bucket's users as sorted arrays, prepared once, from which any cutoff reads.

Rows are in the order of user and time, so that what a user did in a stretch of time is a slice, and a sum over
the slice the difference of two running sums. All are integers, hence exact in any order of rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecbehave.inputs.feature_names import ANY

Integers = NDArray[np.int64]

UNITS_PER_CURRENCY = 10_000
_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
_NEVER = np.iinfo(np.int64).max
_LONG_AGO = np.iinfo(np.int64).min


@dataclass(frozen=True)
class Timelines:
    """Instants of many users, in microseconds; those of one user lie together, in ascending order.

    A position is a number of rows: the rows of a user from one position up to another are what happened between.
    """

    ts: Integers
    offsets: Integers
    """Shape (n_users + 2,): user `u` has the rows from `offsets[u]` to `offsets[u + 1]`; one more has none."""

    def start(self, users: Integers) -> Integers:
        """Return the position before the first row of each user."""
        return self.offsets[users]

    def before(self, instant: datetime, users: Integers) -> Integers:
        """Return the position after the rows of each user that lie before an instant."""
        low, high, wanted = self.offsets[users], self.offsets[users + 1], microseconds(instant)
        # Bisection of all users at once.
        while (is_open := low < high).any():
            middle = (low + high) // 2
            is_before = is_open & (self.ts.take(middle, mode="clip") < wanted)
            low, high = np.where(is_before, middle + 1, low), np.where(is_before, high, middle)
        return low


@dataclass(frozen=True)
class Events(Timelines):
    """Events of one type, or of any."""

    units: Integers
    """Running sum of the amounts in 1/10,000 of the currency."""
    itemised: Integers
    """Running number of events with an item."""
    following: Mapping[str, Integers]
    """Per kind of value (`items`): when the same user's next event with the same value is.

    It may lie after a cutoff; compare it only with `>=` the cutoff, which is the same as if it never came.
    """

    def newest(self, what: str, cutoff: datetime) -> Integers:
        """Return the running number of events that are, as of the cutoff, the last with their value.

        Between two positions before the cutoff it grows by the number of distinct values.
        """
        return running(self.following[what] >= microseconds(cutoff))


@dataclass(frozen=True)
class Orders(Timelines):
    """Orders, each at the time of its first row."""

    gap: Integers
    """Whole seconds since the user's order before; 0 for the first one."""
    longest: Integers
    """The longest gap of the user so far."""


@dataclass(frozen=True)
class Histories:
    """All events of a bucket's users."""

    users: pl.DataFrame
    """`user_id`, `user`: the place of each user in the arrays."""
    events: Mapping[str, Events]
    """By event type; `any` for all together."""
    orders: Orders | None
    """None where purchases get no features."""

    def places(self, user_ids: pl.Series) -> Integers:
        """Return the place of each user in the arrays; those without events share an empty one."""
        asked = pl.DataFrame({"user_id": user_ids})
        found = asked.join(self.users, on="user_id", how="left", maintain_order="left")
        return _integers(found["user"].fill_null(self.users.height))


def prepare(events: pl.LazyFrame, groups: Sequence[str], timezone: str) -> Histories:
    """Sort the events of a bucket for every cutoff there is.

    Args:
        events: all events of some users, in any order.
        groups: event types to tell apart; `any` stands for all events together.
        timezone: the shop's calendar, for distinct days.
    """
    day = pl.col("ts").dt.convert_time_zone(timezone).dt.date().to_physical()
    rows = events.select(
        "user_id",
        "event_type",
        "ts",
        user=_code("user_id"),
        items=_code("item_id"),
        categories=_code("category"),
        days=(day - day.min()).cast(pl.Int64),
        order=_code("order_id"),
        units=(pl.col("amount").fill_null(0) * UNITS_PER_CURRENCY).round().cast(pl.Int64),
    ).collect()
    number = pl.col("user").rle_id()
    users = rows.filter(pl.col("user").is_first_distinct()).sort("user").select("user_id", number)
    rows = rows.drop("user_id").sort("user", "ts").with_columns(number)
    return Histories(
        users,
        {g: _events(_of_group(rows, g), users.height) for g in groups},
        _orders(_of_group(rows, "purchase"), users.height) if "purchase" in groups else None,
    )


def running(values: NDArray[Any]) -> Integers:
    """Return running sums: the value at a position is the sum of all rows before it."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(values, dtype=np.int64)])


def microseconds(instant: datetime) -> int:
    """Return an instant as it is stored."""
    return (instant - _EPOCH) // _MICROSECOND


def _code(column: str) -> pl.Expr:
    """Number the values of a column; null is -1. Which number a value gets means nothing."""
    return pl.col(column).cast(pl.Categorical).to_physical().cast(pl.Int64).fill_null(-1)


def _of_group(rows: pl.DataFrame, group: str) -> pl.DataFrame:
    return rows if group == ANY else rows.filter(pl.col("event_type") == group)


def _integers(values: pl.Series) -> Integers:
    return values.cast(pl.Int64).to_numpy()


def _offsets(user: Integers, n_users: int) -> Integers:
    return running(np.bincount(user, minlength=n_users + 1))


def _instants(rows: pl.DataFrame) -> Integers:
    return _integers(rows["ts"].dt.timestamp("us"))


def _events(rows: pl.DataFrame, n_users: int) -> Events:
    user, ts = _integers(rows["user"]), _instants(rows)
    return Events(
        ts,
        _offsets(user, n_users),
        units=running(_integers(rows["units"])),
        itemised=running(_integers(rows["items"]) >= 0),
        following={
            what: _following(user, _integers(rows[what]), ts) for what in ("items", "categories", "days")
        },
    )


def _following(user: Integers, value: Integers, ts: Integers) -> Integers:
    """Return when the next event with the same user and value is; for rows without a value long ago."""
    pair = user * (value.max(initial=-1) + 2) + value + 1
    # Stable, so that rows of a pair stay in the order of time.
    order = np.argsort(pair, kind="stable")
    is_same = np.diff(pair[order]) == 0
    following = np.full(ts.size, _NEVER)
    following[order[:-1][is_same]] = ts[order[1:][is_same]]
    following[value < 0] = _LONG_AGO
    return following


def _orders(purchases: pl.DataFrame, n_users: int) -> Orders:
    """Group purchases to orders: by their id, or else by their time.

    An order that a cutoff cuts in two is known by its first row, whose time is that of the order.
    """
    has_id = pl.col("order") >= 0
    with_id = purchases.filter(has_id).group_by("user", "order").agg(pl.col("ts").min())
    without_id = purchases.filter(~has_id).select("user", "ts").unique()
    orders = (
        pl.concat([with_id.select("user", "ts"), without_id])
        .sort("user", "ts")
        .with_columns(gap=pl.col("ts").diff().over("user").dt.total_seconds().fill_null(0))
        .with_columns(longest=pl.col("gap").cum_max().over("user"))
    )
    return Orders(
        _instants(orders),
        _offsets(_integers(orders["user"]), n_users),
        _integers(orders["gap"]),
        _integers(orders["longest"]),
    )
