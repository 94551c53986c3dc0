"""A scene: all that the groups of features see of a bucket, computed once and shared by them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecbehave.inputs.facts import ANY, LogFacts
from ecbehave.inputs.feature_names import FeatureName
from ecbehave.inputs.histories import MICROSECONDS_PER_DAY, Histories, microseconds
from ecbehave.inputs.market import Market
from ecbehave.inputs.ordering import Integers, Visits, following, grouped_order, paired, visits
from ecbehave.inputs.timeline import Asked, Timeline, Totals

#: A feature: its name, and a value per asked user [R]: numbers (NaN is unknown) or texts.
Column = tuple[FeatureName, NDArray[Any] | pl.Series]
Columns = Iterator[Column]

_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Sessions:
    """Visits to the shop: by their id where a row has one, else by the gaps between events."""

    visits: Visits
    starts: Timeline
    """The first row of each session."""


@dataclass(frozen=True)
class Orders:
    """Orders: by their id where a row has one, else by their time; each at the time of its first row.

    An order that a cutoff cuts in two is known by what came before the cutoff.
    """

    rows: Timeline
    """The rows of purchases."""
    visits: Visits
    """The orders among these rows."""
    starts: Timeline
    """The first row of each order."""


@dataclass
class Scene:
    """A bucket, and what is asked about it."""

    facts: LogFacts
    histories: Histories
    everything: Timeline
    user_ids: pl.Series
    """[R] the asked users."""
    market: Market
    attributes: pl.DataFrame
    """`user_id`, `known_from`, and attributes as text; the later row of a user and instant counts."""
    timezone: str
    session_gap: timedelta
    _timelines: dict[str, Timeline] = field(default_factory=dict)
    _orders: dict[str, tuple[Integers, Integers]] = field(default_factory=dict)

    @property
    def asked(self) -> Asked:
        """The users of all requests."""
        return self.everything.asked

    def of(self, event: str) -> Timeline:
        """Return the rows of an event type; `any` for all."""
        if event not in self._timelines:
            is_all = event == ANY
            self._timelines[event] = (
                self.everything if is_all else self.everything.where(self.histories.is_of(event))
            )
        return self._timelines[event]

    def column(self, name: str, rows: Timeline) -> NDArray[Any]:
        """Return a column of the histories at the rows of a timeline."""
        return rows.take(self.histories.columns[name])

    def with_value(self, column: str, event: str) -> Timeline:
        """Return the rows of an event type that have a value in a column of numbered values."""
        rows = self.of(event)
        return rows.where(self.column(column, rows) >= 0)

    @cached_property
    def sessions(self) -> Sessions:
        """The sessions of all users."""
        h = self.histories
        code = h.columns.get("session_id", np.full(h.ts.size, -1, np.int32))
        found = visits(h.user, h.ts, code, self.session_gap // _MICROSECOND)
        return Sessions(found, self.everything.where(found.is_first))

    @cached_property
    def orders(self) -> Orders:
        """The orders of all users."""
        rows, h = self.of("purchase"), self.histories
        found = visits(rows.take(h.user), rows.take(h.ts), self.column("order_id", rows), 0)
        return Orders(rows, found, rows.where(found.is_first))

    def by_value(self, column: str, event: str) -> tuple[Integers, Integers]:
        """Return the rows of an event type that have a value, by user, value and time; and the key of every row."""
        if column not in self._orders:
            key = paired(self.histories.user, self.histories.columns[column])
            has_value = np.flatnonzero(self.histories.columns[column] >= 0)
            self._orders[column] = (has_value[grouped_order(key[has_value])].astype(np.int32), key)
        order, key = self._orders[column]
        return (order if event == ANY else order[self.histories.is_of(event)[order]]), key

    def distinct(self, column: str, event: str) -> Totals:
        """Return the number of distinct values per window."""
        rows = self.of(event)
        order, key = self.by_value(column, event)
        return rows.distinct(rows.take(following(order, key, self.histories.ts)))


def share(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    """Divide; NaN where the whole is 0."""
    result = np.full(part.shape, np.nan)
    np.divide(part, whole, out=result, where=whole != 0)
    return result


def trend(now: NDArray[Any], before: NDArray[Any]) -> NDArray[np.float64]:
    """Return (now - before) / (now + before), between -1 and 1; NaN where both are 0."""
    return share(now - before, now + before)


def days_since(asked: Asked, ts: Integers) -> NDArray[np.float64]:
    """Return the elapsed days (24 hours each) from instants to the cutoff [R]."""
    return (asked.each(microseconds) - ts) / MICROSECONDS_PER_DAY
