"""What anybody did with an item or in a category: the only thing that features know of other users.

A small reduce: each bucket gives partial sums, which add up to the same whatever the buckets are. What is known
at a cutoff, or in a month, comes from before it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecbehave.inputs.facts import ANY, LogFacts
from ecbehave.inputs.histories import local_time, microseconds, thousandths, unit_price
from ecbehave.inputs.ordering import Integers
from ecbehave.inputs.timeline import Moment

#: Partial sums are put together when they have this many rows in all.
_MOST_PENDING = 2_000_000
_MONTHS_PER_YEAR = 12


def month_of(ts: pl.Expr) -> pl.Expr:
    """Number the calendar months of local times."""
    return ts.dt.year().cast(pl.Int64) * _MONTHS_PER_YEAR + ts.dt.month()


@dataclass(frozen=True)
class MonthlyMeans:
    """The mean of a value by item or category, over all earlier months."""

    names: pl.DataFrame
    """`name`, `number`."""
    keys: Integers
    """`number * n_months + month - first_month`, ascending."""
    total: Integers
    """Sum of all earlier months, per key."""
    n: Integers
    first_month: int
    n_months: int

    @classmethod
    def of(cls, sums: pl.DataFrame) -> "MonthlyMeans":
        """Sum up the months.

        Args:
            sums: `name`, `month`, `total`, `n`, each name and month once.
        """
        names = sums.select(pl.col("name").unique().sort()).with_row_index("number")
        rows = sums.join(names, on="name").sort("number", "month")
        months = rows["month"].to_numpy()
        first, last = (int(months.min()), int(months.max())) if months.size else (0, 0)
        n_months = last - first + 1
        earlier = rows.select(
            key=pl.col("number").cast(pl.Int64) * n_months + pl.col("month") - first,
            total=(pl.col("total").cum_sum() - pl.col("total")).over("number"),
            n=(pl.col("n").cum_sum() - pl.col("n")).over("number"),
        )
        keys, total, n = (earlier[c].cast(pl.Int64).to_numpy() for c in ("key", "total", "n"))
        return cls(names, keys, total, n, first, n_months)

    def known(self, names: pl.Series, codes: Integers, months: Integers) -> NDArray[np.float64]:
        """Return the mean of each row's item or category before the row's month; NaN where nothing was known.

        Args:
            names: the bucket's items or categories.
            codes: [n] the row's place in `names`.
            months: [n] the row's month.
        """
        found = pl.DataFrame({"name": names}).join(self.names, on="name", how="left", maintain_order="left")
        if self.keys.size == 0:
            return np.full(codes.size, np.nan)
        # A row without item or category has the place -1, which is the last one.
        number = np.append(found["number"].cast(pl.Int64).fill_null(-1).to_numpy(), -1)[codes]
        wanted = number * self.n_months + months - self.first_month
        place = np.minimum(np.searchsorted(self.keys, wanted), self.keys.size - 1)
        is_known = (self.keys[place] == wanted) & (self.n[place] > 0) & (number >= 0)
        means = np.full(codes.size, np.nan)
        np.divide(self.total[place], self.n[place], out=means, where=is_known)
        return means


@dataclass(frozen=True)
class Market:
    """What is known of items and categories; empty where no feature needs it."""

    items: pl.DataFrame
    """`item_id`, and per cutoff `n_<cutoff>` and `before_<cutoff>`: events in the longest window, and in the one
    before."""
    prices: MonthlyMeans
    """Unit prices by category."""
    ratings: MonthlyMeans
    """Ratings by item."""

    def counts(self, items: pl.Series, cutoff: datetime) -> tuple[Integers, Integers]:
        """Return the events of each item in the longest window before a cutoff, and in the one before that."""
        name = microseconds(cutoff)
        found = pl.DataFrame({"item_id": items}).join(
            self.items.select("item_id", n=f"n_{name}", before=f"before_{name}"),
            on="item_id",
            how="left",
            maintain_order="left",
        )
        n, before = (found[c].fill_null(0).cast(pl.Int64).to_numpy() for c in ("n", "before"))
        return n, before


@dataclass
class MarketSums:
    """Collects the sums of one bucket after the other."""

    facts: LogFacts
    moments: Sequence[Moment]
    timezone: str
    wanted: frozenset[str]
    """Which sums features need: `items`, `prices`, `ratings`."""
    _pending: dict[str, list[pl.DataFrame]] = field(default_factory=dict)

    def columns(self) -> list[str]:
        """Return the columns of the log that the sums are made of; none where no sum is wanted."""
        needed = {
            "items": ("ts", "item_id"),
            "prices": ("ts", "event_type", "category", "price", "amount", "quantity"),
            "ratings": ("ts", "item_id", "rating"),
        }
        found = {c for name in self.wanted for c in needed[name]}
        optional = {"price", "amount", "quantity"} - set(self.facts.columns)
        return sorted(found - optional)

    def add(self, partial: Mapping[str, pl.DataFrame]) -> None:
        """Take in the sums of a bucket."""
        for name, part in partial.items():
            pending = self._pending.setdefault(name, [])
            pending.append(part)
            if len(pending) > 1 and sum(p.height for p in pending) > _MOST_PENDING:
                self._pending[name] = [_merged(pending)]

    def partial(self, events: pl.LazyFrame) -> dict[str, pl.DataFrame]:
        """Return the sums of some events, which may be any."""
        made = {"items": self._items, "prices": self._prices, "ratings": self._ratings}
        names = [name for name in made if name in self.wanted]
        frames = pl.collect_all([made[name](events) for name in names])
        return dict(zip(names, frames, strict=True))

    def market(self) -> Market:
        """Return what came of it."""
        sums = {name: _merged(parts) for name, parts in self._pending.items()}
        no_items = self._items(pl.LazyFrame(schema=_SCHEMA)).collect()
        return Market(
            sums.get("items", no_items),
            *(MonthlyMeans.of(sums.get(name, _NO_MONTHS)) for name in ("prices", "ratings")),
        )

    def _items(self, events: pl.LazyFrame) -> pl.LazyFrame:
        counted, ts = [], pl.col("ts")
        for moment in self.moments:
            longest, name = moment.spans[-1], microseconds(moment.cutoff)
            recent = (ts >= longest.start) & (ts < moment.cutoff)
            earlier = (ts >= longest.before) & (ts < longest.start)
            counted += [recent.sum().alias(f"n_{name}"), earlier.sum().alias(f"before_{name}")]
        return events.filter(pl.col("item_id").is_not_null()).group_by("item_id").agg(counted)

    def _prices(self, events: pl.LazyFrame) -> pl.LazyFrame:
        is_main = pl.lit(value=True) if self.facts.main == ANY else pl.col("event_type") == self.facts.main
        rows = events.filter(is_main).select("ts", name="category", value=unit_price(self.facts))
        return self._monthly(rows)

    def _ratings(self, events: pl.LazyFrame) -> pl.LazyFrame:
        return self._monthly(events.select("ts", name="item_id", value=thousandths("rating")))

    def _monthly(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        return (
            rows.filter(pl.col("name").is_not_null() & pl.col("value").is_not_null())
            .group_by("name", month=month_of(local_time(self.timezone)))
            .agg(total=pl.col("value").sum(), n=pl.len().cast(pl.Int64))
        )


def _merged(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    keys = [c for c in ("item_id", "name", "month") if c in parts[0].columns]
    return pl.concat(parts).group_by(keys).agg(pl.all().sum())


_SCHEMA = {"item_id": pl.String(), "ts": pl.Datetime("us", "UTC")}
_NO_MONTHS = pl.DataFrame(
    schema={"name": pl.String(), "month": pl.Int64(), "total": pl.Int64(), "n": pl.Int64()}
)
