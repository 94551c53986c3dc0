"""The table input of pairs: a user with each item or category that is worth asking about, and features of both.

The histories of a bucket are put in the order of pair and time, so that what a user did with one item in a stretch
of time is a slice, and the same machinery reads it as reads the histories of users.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecbehave.config.task import Candidates
from ecbehave.inputs.catalogue.activity import distinct_days
from ecbehave.inputs.facts import ANY, LogFacts
from ecbehave.inputs.feature_names import ALL, FeatureName
from ecbehave.inputs.histories import (
    MICROSECONDS_PER_DAY,
    UNITS_PER_CURRENCY,
    Histories,
    columns_of,
    prepare,
)
from ecbehave.inputs.ordering import Integers, changes, grouped_order, paired
from ecbehave.inputs.pair_market import PairMarket, PairMarketSums
from ecbehave.inputs.scene import days_since, share, trend
from ecbehave.inputs.suggestions import Sources
from ecbehave.inputs.table import Catalogue
from ecbehave.inputs.timeline import Timeline, lay_out
from ecbehave.schema import EVENTS, TABLE_KEYS, TARGETS, USERS_KEY
from ecbehave.windows import shift

#: What the features are made of, besides what every log has.
_READ = ("item_id", "category", "order_id", "price", "amount", "quantity")
#: Groups of features of users, besides `activity`.
_GROUPS = ("prices",)
#: What the table tells of the user alone, over all history; counts come for all windows.
_OF_USER = (
    "days",
    "recency_days",
    "tenure_days",
    "items",
    "categories",
    "repeat_share",
    "basket_amount",
    "interval_mean_days",
    "overdue",
)
#: Users with few events have at most so many pairs of their own, on the mean.
_OWN_PAIRS = 10
#: Pairs to a row of the table of users, in memory: here one cutoff is made after the other.
_PAIRS_PER_ROW = 3
_NOBODY = pl.DataFrame(schema=USERS_KEY)

Columns = Iterator[tuple[FeatureName, NDArray[np.number]]]


class Asking(NamedTuple):
    """One cutoff of a bucket."""

    population: pl.DataFrame
    """`user_hash`, `user_id`, each once."""
    true_pairs: pl.DataFrame | None
    """`user_id` and the target, each pair once; None where labels are not known."""
    cutoff: datetime
    chosen: pl.DataFrame | None = None
    """The pairs, and what their sources say of them, where they are chosen before; see `suggestions.Known.of`."""


@dataclass(frozen=True)
class PairTable:
    """The pairs of one log and their features. Training and scoring share it."""

    facts: LogFacts
    target: str
    """`item_id` or `category`."""
    candidates: Candidates
    windows: tuple[timedelta, ...]
    session_gap: timedelta
    timezone: str
    """The shop's calendar."""
    sources: Sources | None = None
    """Where the pairs come from that are chosen before; without it, the table chooses them by itself."""

    @property
    def rows_per_user(self) -> int:
        """What a user's pairs take of memory, in rows of the table of users."""
        n_others = self.candidates.popular
        if self.sources is not None:
            n_others = self.sources.candidates.similar + n_others * len(self.windows) * len(
                self.sources.events
            )
        return math.ceil((_OWN_PAIRS + n_others) / _PAIRS_PER_ROW)

    @property
    def of_users(self) -> Catalogue:
        """The features of users that the pairs' are taken from."""
        known = tuple(c for c in self.facts.columns if c in _READ)
        facts = replace(self.facts, columns=known, attributes=())
        return Catalogue(facts, _GROUPS, self.windows, self.session_gap, self.timezone)

    def left_out(self) -> dict[str, str]:
        """Return why features are not built, by group."""
        left_out = self.of_users.left_out()
        return {group: left_out[group] for group in _GROUPS if group in left_out}

    def columns(self) -> list[str]:
        """Return the columns of the log that pairs and features are made of."""
        return columns_of(self.of_users.facts)

    def schema(self) -> dict[str, pl.DataType]:
        """Return the features in their stored order, with their types: those that come of an empty log."""
        nobody = pl.DataFrame(schema={"user_hash": pl.UInt64(), "user_id": pl.String()})
        chosen = None if self.sources is None else pl.DataFrame(schema=self.sources.schema())
        asking = Asking(nobody, None, datetime.fromisoformat("2000-01-01T00:00:00+00:00"), chosen)
        market = self.market_sums([asking.cutoff]).market()
        (built,) = self.tables(pl.LazyFrame(schema=EVENTS), [asking], market)
        return {name: dtype for name, dtype in built.schema.items() if name not in (*TABLE_KEYS, *TARGETS)}

    def market_sums(self, cutoffs: Sequence[datetime]) -> PairMarketSums:
        """Return what collects the sums over all users."""
        moments = [self.of_users.moment(cutoff) for cutoff in dict.fromkeys(cutoffs)]
        return PairMarketSums(self.of_users.facts, self.target, moments)

    def tables(self, events: pl.LazyFrame, asked: Sequence[Asking], market: PairMarket) -> list[pl.DataFrame]:
        """Return the pairs of each cutoff with their labels, where they are known, and features.

        Args:
            events: all events of at least these users, in any order.
            asked: populations and what is true of them; nothing at or after the cutoff counts for the rest.
            market: sums over the events of all users, collected for these cutoffs.

        Returns:
            One row per pair in the order of (`user_hash`, `user_id`, target): keys, `label`, features.
        """
        catalogue = self.of_users
        no_market = catalogue.market_sums([]).market()
        populations = [(asking.population, asking.cutoff) for asking in asked]
        users = catalogue.features(events, populations, no_market, _NOBODY)
        pairs = by_pair(prepare(events, catalogue.facts, self.timezone), self.target)
        return [
            self._table(pairs, asking, of_users, market)
            for asking, of_users in zip(asked, users, strict=True)
        ]

    def _table(
        self, pairs: Histories, asking: Asking, of_users: pl.DataFrame, market: PairMarket
    ) -> pl.DataFrame:
        rows = self._candidates(pairs, asking, market)
        places = rows["pair"].fill_null(pairs.users.height).cast(pl.Int64).to_numpy()
        everything = lay_out(pairs.before, pairs.offsets, [places], [self.of_users.moment(asking.cutoff)])
        known = rows.select("user_id", self.target)
        users = known.join(of_users, on="user_id", how="left", maintain_order="left")
        things = known.join(market.at(asking.cutoff), on=self.target, how="left", maintain_order="left")
        view = _View(
            self.facts, self.target.removesuffix("_id"), pairs, everything, users, things.fill_null(0)
        )
        features = [
            pl.Series(str(name), values.astype(np.float32), nan_to_null=True)
            for name, values in view.features()
        ]
        return (
            _with_labels(rows, asking, self.target)
            .with_columns(features)
            .hstack(rows.drop("pair", "user_hash", "user_id", self.target))
            .hstack(users.select(view.names_of_users()))
        )

    def _candidates(self, pairs: Histories, asking: Asking, market: PairMarket) -> pl.DataFrame:
        """Return keys of the pairs, what sources say, and `pair`: the place in the histories; null is none."""
        if asking.chosen is not None:
            return _placed(asking.chosen, pairs, self.target)
        cutoff, recent = asking.cutoff, self.candidates.recent
        everything = np.arange(pairs.users.height)
        since = pairs.offsets[everything]
        if recent is not None:
            since = pairs.before(shift(cutoff, -recent, self.timezone), everything)
        had = pairs.users.filter(pl.Series(pairs.before(cutoff, everything) > since, dtype=pl.Boolean))
        keys = ["user_hash", "user_id", self.target]
        found = had.join(asking.population, on="user_id").select(keys)
        popular = asking.population.join(market.popular(cutoff, self.candidates.popular), how="cross")
        both = pl.concat([found, popular.select(keys)]).unique().sort(keys)
        return _placed(both, pairs, self.target)


def _placed(rows: pl.DataFrame, pairs: Histories, target: str) -> pl.DataFrame:
    return rows.join(pairs.users, on=["user_id", target], how="left", maintain_order="left")


@dataclass(frozen=True)
class _View:
    """R pairs as known at one cutoff."""

    facts: LogFacts
    thing: str
    """`item` or `category`."""
    pairs: Histories
    everything: Timeline
    """The rows of the asked pairs."""
    users: pl.DataFrame
    """[R] the features of the pair's user."""
    market: pl.DataFrame
    """[R] `buyers`, `before`, `price`, `n_prices` of the item or category."""

    def features(self) -> Columns:
        """Yield the features of pairs."""
        main = self.facts.main
        for event in dict.fromkeys([main, *(t for t in self.facts.event_types if t != ANY)]):
            yield from self._of_event(event)
        yield from self._of_main(self._rows(main))
        yield from self._of_shop()

    def names_of_users(self) -> list[str]:
        """Return the names of the users' features that stand beside those of the pair, once each."""
        windows, event = self.everything.asked.windows, self._event_of_users
        names = [FeatureName("count", event, window) for window in windows]
        names += [FeatureName(measure, event) for measure in _OF_USER]
        names += [self._usual_price, FeatureName("days", ANY)]
        return [n for n in dict.fromkeys(map(str, names)) if n in self.users.columns]

    @property
    def _event_of_users(self) -> str:
        """The main event, under the name that features of users have for it."""
        return self.facts.main if self.facts.main in self.facts.groups else self.facts.groups[0]

    def _rows(self, event: str) -> Timeline:
        return self.everything if event == ANY else self.everything.where(self.pairs.is_of(event))

    @property
    def _usual_price(self) -> FeatureName:
        return FeatureName("price_mean", self.facts.main)

    def _of_user(self, name: FeatureName) -> NDArray[np.float64]:
        return self.users[str(name)].cast(pl.Float64).fill_null(np.nan).to_numpy()

    def _of_event(self, event: str) -> Columns:
        rows = self._rows(event)
        counts = rows.counts()
        for window, n in counts.items():
            yield FeatureName(f"{self.thing}_count", event, window), n
        since = days_since(rows.asked, rows.last(rows.take(self.pairs.ts)))
        yield FeatureName(f"{self.thing}_recency_days", event), np.where(counts[ALL] > 0, since, np.nan)

    def _of_main(self, rows: Timeline) -> Columns:
        thing, main = self.thing, self.facts.main
        counts, days = rows.counts(), distinct_days(self.pairs, rows)
        for window, n in counts.items():
            n_all = self._of_user(FeatureName("count", self._event_of_users, window))
            yield FeatureName(f"{thing}_user_share", main, window), share(n, n_all)
        for window, n in days.items():
            yield FeatureName(f"{thing}_days", main, window), n
        amount = rows.up_to_now(rows.take(self.pairs.columns["amount"]))
        yield FeatureName(f"{thing}_amount", main), amount / UNITS_PER_CURRENCY
        ts = rows.take(self.pairs.ts)
        first, last = rows.first(ts), rows.last(ts)
        is_known = counts[ALL] > 0
        tenure = np.where(is_known, days_since(rows.asked, first), np.nan)
        yield FeatureName(f"{thing}_tenure_days", main), tenure
        interval = share(last - first, np.maximum(days[ALL] - 1, 0)) / MICROSECONDS_PER_DAY
        yield FeatureName(f"{thing}_interval_days", main), interval
        yield FeatureName(f"{thing}_overdue", main), days_since(rows.asked, last) / interval
        yield FeatureName(f"{thing}_rank", main), np.where(is_known, self._ranks(counts[ALL]), np.nan)

    def _ranks(self, n: Integers) -> NDArray[np.float64]:
        """Return the place of each pair among those of its user, the highest number first."""
        counted = self.users.select("user_id", n=pl.Series(n))
        ranks = counted.select(pl.col("n").rank("min", descending=True).over("user_id").cast(pl.Float64))
        return ranks.to_series().to_numpy()

    def _of_shop(self) -> Columns:
        buyers, before, price, n_prices = (self.market[c].to_numpy() for c in PairMarket.numbers)
        main, longest = self.facts.main, self.everything.asked.spans[-1]
        yield FeatureName(f"{self.thing}_buyers", main, longest), buyers
        yield FeatureName(f"{self.thing}_trend", main, longest), trend(buyers, before)
        if str(self._usual_price) in self.users.columns:
            ratio = share(share(price, n_prices) / UNITS_PER_CURRENCY, self._of_user(self._usual_price))
            yield FeatureName(f"{self.thing}_price_ratio", main, longest), ratio


def _with_labels(rows: pl.DataFrame, asking: Asking, target: str) -> pl.DataFrame:
    """Return the keys of the stored table, and the label of each pair where true pairs are known."""
    keys = rows.select(
        "user_hash", "user_id", pl.lit(asking.cutoff, TABLE_KEYS["cutoff"]).alias("cutoff"), target
    )
    if asking.true_pairs is None:
        return keys
    bought = asking.true_pairs.select("user_id", target, label=pl.lit(1, pl.Int8))
    return keys.join(bought, on=["user_id", target], how="left", maintain_order="left").with_columns(
        pl.col("label").fill_null(0)
    )


def by_pair(histories: Histories, target: str) -> Histories:
    """Return the rows that have the target, in the order of pair and time; the place of a user is that of a pair.

    Returns:
        `users` has `user_id`, the target and `pair`, the place.
    """
    code = histories.columns[target]
    has_target = np.flatnonzero(code >= 0)
    key = paired(histories.user[has_target], code[has_target])
    order = grouped_order(key)
    starts = changes(key[order])
    rows = has_target[order]
    first, pair = rows[starts], np.cumsum(starts) - 1
    places = pl.DataFrame(
        {
            "user_id": histories.users["user_id"].gather(histories.user[first]),
            target: histories.names[target].gather(code[first]),
            "pair": np.arange(first.size),
        }
    )
    return replace(
        histories,
        ts=histories.ts[rows],
        offsets=np.append(np.flatnonzero(starts), [rows.size, rows.size]),
        users=places,
        user=pair,
        kind=histories.kind[rows],
        local=histories.local[rows],
        columns={"amount": histories.columns["amount"][rows]},
    )
