"""The table input: point-in-time features per user.

Every aggregate is a sum, count, minimum or maximum of integers (instants in microseconds, money in 1/10,000 of
the currency): exact, so that neither the order of rows nor threads nor buckets can change a value.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecbehave.inputs import catalogue
from ecbehave.inputs.facts import LogFacts
from ecbehave.inputs.histories import columns_of, prepare
from ecbehave.inputs.market import Market, MarketSums
from ecbehave.inputs.scene import Scene
from ecbehave.inputs.timeline import Moment, lay_out
from ecbehave.schema import EVENTS, TABLE_KEYS, TARGETS, USERS_KEY
from ecbehave.windows import spans


@dataclass(frozen=True)
class Catalogue:
    """The features of one log: which there are, and how they are made. Training and scoring share it."""

    facts: LogFacts
    groups: tuple[str, ...]
    """Groups that are asked for; those that the log does not support are left out."""
    windows: tuple[timedelta, ...]
    session_gap: timedelta
    timezone: str
    """The shop's calendar."""

    def moment(self, cutoff: datetime) -> Moment:
        """Return a cutoff with the windows before it."""
        return Moment(cutoff, spans(cutoff, self.windows, self.timezone))

    def left_out(self) -> dict[str, str]:
        """Return why groups are not built, by name."""
        return catalogue.left_out(self.facts, self.groups)

    def columns(self) -> list[str]:
        """Return the columns of the log that features are made of."""
        return columns_of(self.facts)

    def schema(self) -> dict[str, pl.DataType]:
        """Return the features in their stored order, with their types: those that come of an empty log."""
        nothing = pl.DataFrame(schema=EVENTS)
        nobody = pl.DataFrame(schema=dict.fromkeys(("user_hash", "user_id"), pl.String()))
        users = pl.DataFrame(schema=USERS_KEY | dict.fromkeys(self.facts.attributes, pl.String()))
        some_day = datetime(2000, 1, 1, tzinfo=UTC)
        market = self.market_sums([some_day]).market()
        (built,) = self.features(nothing.lazy(), [(nobody, some_day)], market, users)
        return {name: dtype for name, dtype in built.schema.items() if name not in nobody.columns}

    def market_sums(self, cutoffs: Iterable[datetime]) -> MarketSums:
        """Return what collects the sums over all users; it reads no column where no group needs any."""
        wanted = [g.market for g in catalogue.chosen(self.facts, self.groups) if g.market is not None]
        moments = [self.moment(cutoff) for cutoff in dict.fromkeys(cutoffs)]
        return MarketSums(self.facts, moments, self.timezone, frozenset(wanted))

    def features(
        self,
        events: pl.LazyFrame,
        asked: Sequence[tuple[pl.DataFrame, datetime]],
        market: Market,
        users: pl.DataFrame,
    ) -> list[pl.DataFrame]:
        """Return populations with their features.

        Args:
            events: all events of at least these users, in any order.
            asked: populations (`user_hash`, `user_id`, and what else is to be kept), each with the cutoff at which
                its features are known; no event at or after it counts.
            market: sums over the events of all users, collected for these cutoffs.
            users: `user_id`, `known_from`, and attributes.

        Returns:
            One row per row of each population in the order of (`user_hash`, `user_id`). Counts and sums are 0
            where there was nothing; averages, recencies and shares are null where they are unknown.
        """
        populations = [population.sort("user_hash", "user_id") for population, _ in asked]
        histories = prepare(events, self.facts, self.timezone)
        everything = lay_out(
            histories.before,
            histories.offsets,
            [histories.places(population["user_id"]) for population in populations],
            [self.moment(cutoff) for _, cutoff in asked],
        )
        scene = Scene(
            self.facts,
            histories,
            everything,
            pl.concat([population["user_id"] for population in populations]),
            market,
            users,
            self.timezone,
            self.session_gap,
        )
        built = pl.DataFrame(
            [
                _stored(str(name), values)
                for group in catalogue.chosen(self.facts, self.groups)
                for name, values in group.build(scene)
            ]
        )
        parts = [part for _, part in everything.asked.moments]
        return [p.hstack(built[part]) for p, part in zip(populations, parts, strict=True)]


def table_schema(
    features: dict[str, pl.DataType], target: str | None = None, *, is_labelled: bool
) -> dict[str, Any]:
    """Return the columns of a stored table input; a table of pairs has a target."""
    keys = TABLE_KEYS if target is None else TABLE_KEYS | {target: TARGETS[target]}
    labels: dict[str, Any] = {"label": pl.Int8()} if is_labelled else {}
    return keys | labels | features


def _stored(name: str, values: NDArray[Any] | pl.Series) -> pl.Series:
    """Return a feature as it is stored: Float32, or text; what is unknown is null."""
    if isinstance(values, pl.Series):
        return values.alias(name)
    return pl.Series(name, values.astype(np.float32), nan_to_null=True)
