"""How popular and how dear items or categories are as of a cutoff: the only thing that pairs know of other users.

A small reduce, like `market.py`: users are whole in one bucket, so that buyers add up.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecbehave.inputs.facts import ANY, LogFacts
from ecbehave.inputs.histories import UNKNOWN, encoded, microseconds, unit_price
from ecbehave.inputs.ordering import Integers, changes, grouped_order, paired, running
from ecbehave.inputs.timeline import Moment

#: Partial sums are put together when they have this many rows in all.
_MOST_PENDING = 2_000_000


@dataclass(frozen=True)
class PairMarket:
    """What is known of items or categories."""

    numbers: ClassVar[tuple[str, ...]] = ("buyers", "before", "price", "n_prices")
    target: str
    sums: pl.DataFrame
    """`cutoff` (microseconds), the target; `buyers` in the longest window and `before` in the one before that, sum
    and number of unit prices in the longest window (1/10,000 of the currency)."""

    def at(self, cutoff: datetime) -> pl.DataFrame:
        """Return what is known at one cutoff: the target, and the four numbers (Int64)."""
        return self.sums.filter(pl.col("cutoff") == microseconds(cutoff)).drop("cutoff")

    def popular(self, cutoff: datetime, n: int) -> pl.DataFrame:
        """Return the items or categories with the most buyers; of equals the first by the alphabet."""
        bought = self.at(cutoff).filter(pl.col("buyers") > 0)
        return bought.sort("buyers", self.target, descending=[True, False]).head(n).select(self.target)


@dataclass
class PairMarketSums:
    """Collects the sums of one bucket after the other."""

    facts: LogFacts
    target: str
    moments: Sequence[Moment]
    _pending: list[pl.DataFrame] = field(default_factory=list)

    def columns(self) -> list[str]:
        """Return the columns of the log that the sums are made of."""
        optional = {"price", "amount", "quantity"} & set(self.facts.columns)
        return sorted({"user_id", "ts", "event_type", self.target} | optional)

    def partial(self, events: pl.LazyFrame) -> pl.DataFrame:
        """Return the sums of all events of some users."""
        is_main = pl.lit(value=True) if self.facts.main == ANY else pl.col("event_type") == self.facts.main
        rows = _Rows.of(
            events.filter(is_main & pl.col(self.target).is_not_null())
            .select("user_id", "ts", name=self.target, price=unit_price(self.facts).fill_null(UNKNOWN))
            .collect()
        )
        parts = [
            pl.DataFrame({self.target: rows.names} | rows.counted(moment)).select(
                pl.lit(microseconds(moment.cutoff), pl.Int64).alias("cutoff"), pl.all()
            )
            for moment in self.moments
        ]
        return _merged(self.target, parts)

    def add(self, partial: pl.DataFrame) -> None:
        """Take in the sums of a bucket."""
        self._pending.append(partial)
        if len(self._pending) > 1 and sum(p.height for p in self._pending) > _MOST_PENDING:
            self._pending = [_merged(self.target, self._pending)]

    def market(self) -> PairMarket:
        """Return what came of it."""
        return PairMarket(self.target, _merged(self.target, self._pending))


@dataclass(frozen=True)
class _Rows:
    """Events in the order of item or category, and user."""

    ts: Integers
    price: Integers
    """`UNKNOWN` for none."""
    names: pl.Series
    """[T] items or categories."""
    users: Integers
    """Where the rows of each user of an item start, and the number of rows."""
    things: Integers
    """[T + 1] where the users of each item start, and the number of users."""

    @classmethod
    def of(cls, rows: pl.DataFrame) -> "_Rows":
        """Put `user_id`, `ts`, `name`, `price` in order."""
        user, _ = encoded(rows["user_id"])
        thing, names = encoded(rows["name"])
        key = paired(thing, user)
        order = grouped_order(key)
        users = np.flatnonzero(changes(key[order]))
        thing_of = thing[order][users]
        things = np.flatnonzero(changes(thing_of))
        return cls(
            rows["ts"].dt.timestamp("us").to_numpy()[order],
            rows["price"].to_numpy()[order],
            names.gather(thing_of[things]),
            np.append(users, order.size),
            np.append(things, users.size),
        )

    def counted(self, moment: Moment) -> dict[str, Integers]:
        """Return the four numbers [T]."""
        longest = moment.spans[-1]
        start, before = microseconds(longest.start), microseconds(longest.before)
        is_recent = (self.ts >= start) & (self.ts < microseconds(moment.cutoff))
        has_price = is_recent & (self.price != UNKNOWN)
        rows_of_things = self.users[self.things]
        return {
            "buyers": self._users(is_recent),
            "before": self._users((self.ts >= before) & (self.ts < start)),
            "price": _summed(np.where(has_price, self.price, 0), rows_of_things),
            "n_prices": _summed(has_price, rows_of_things),
        }

    def _users(self, chosen: NDArray[np.bool_]) -> Integers:
        """Count the users of each item who have any of the chosen rows."""
        return _summed(_summed(chosen, self.users) > 0, self.things)


def _summed(values: NDArray[Any], bounds: Integers) -> Integers:
    return np.diff(running(values)[bounds]).astype(np.int64)


def _merged(target: str, parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    numbers = PairMarket.numbers
    empty = pl.DataFrame(
        schema={"cutoff": pl.Int64(), target: pl.String()} | dict.fromkeys(numbers, pl.Int64())
    )
    summed = pl.concat([empty, *parts]).group_by("cutoff", target).agg(pl.col(numbers).sum())
    return summed.filter(pl.any_horizontal(pl.col(numbers) != 0))
