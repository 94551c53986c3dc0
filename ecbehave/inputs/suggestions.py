"""Candidates of a ranking: what is worth a place on a user's list, and what each source says of it.

The sources are what the user had, what goes with it, and what is popular. All of it is known from the matrix of one
cutoff, hence point in time; what goes with what is computed by a model, and comes in as scores.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array

from ecbehave.config.task import RankedCandidates
from ecbehave.config.values import format_duration
from ecbehave.inputs.facts import ANY
from ecbehave.inputs.feature_names import FeatureName
from ecbehave.inputs.types import MatrixInput
from ecbehave.windows import shift

KEYS: dict[str, pl.DataType] = {"user_hash": pl.UInt64(), "user_id": pl.String(), "item_id": pl.String()}

_SIMILARITY, _SIMILARITY_RANK = FeatureName("item_similar_score", ANY), FeatureName("item_similar_rank", ANY)
_AFFINITY, _AFFINITY_RANK = FeatureName("item_affinity_score", ANY), FeatureName("item_affinity_rank", ANY)
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Sources:
    """Where candidates come from."""

    candidates: RankedCandidates
    events: tuple[str, ...]
    """The events that show what is popular, that of the task first; `any` for every event."""
    windows: tuple[timedelta, ...]
    """What is popular is counted in each of these times before the cutoff."""
    timezone: str
    """The shop's calendar."""

    @property
    def features(self) -> list[str]:
        """Return the names of what the sources say, in their stored order."""
        names = [_SIMILARITY, _SIMILARITY_RANK, _AFFINITY, _AFFINITY_RANK]
        return [*map(str, names), *self._popularities()]

    def _popularities(self) -> dict[str, tuple[str, timedelta]]:
        """Return event and window of each rank by popularity, by the name of the feature."""
        pairs = [(event, window) for event in self.events for window in self.windows]
        return {
            str(FeatureName("item_popular_rank", event, format_duration(window))): (event, window)
            for event, window in pairs
        }

    def schema(self) -> dict[str, pl.DataType]:
        """Return the columns of candidates."""
        return KEYS | dict.fromkeys(self.features, pl.Float32())

    def at(self, data: MatrixInput) -> "Known":
        """Return what the sources know at one cutoff.

        Args:
            data: the history of all users before it.
        """
        had = data.pairs
        recent = self.candidates.recent
        if recent is not None:
            had = had.filter(pl.col("days_since") <= self._days(data.cutoff, recent))
        own = had.select("user", "item").unique()
        own_items = data.csr(own, np.ones(own.height))
        ranks = {name: self._popular(data, *what) for name, what in self._popularities().items()}
        best = [_first(rank, self.candidates.popular, data.barred_items) for rank in ranks.values()]
        return Known(data, own_items, ranks, np.unique(np.concatenate(best)))

    def _popular(self, data: MatrixInput, event: str, window: timedelta) -> NDArray[np.float64]:
        """Return the place of each item [I] by its users in a window, of equals by id; NaN for none at all."""
        is_event = pl.lit(value=True) if event == ANY else pl.col("event_type") == event
        counted = (
            data.pairs.filter(is_event, pl.col("days_since") <= self._days(data.cutoff, window))
            .group_by("item")
            .agg(n=pl.col("user").n_unique())
            .sort("n", "item", descending=[True, False])
        )
        rank = np.full(data.items.height, np.nan)
        rank[counted["item"].to_numpy()] = np.arange(counted.height) + 1
        return rank

    def _days(self, cutoff: datetime, window: timedelta) -> float:
        return (cutoff - shift(cutoff, -window, self.timezone)) / _DAY


@dataclass(frozen=True)
class Known:
    """What sources know at one cutoff, but for what goes with what."""

    data: MatrixInput
    own: csr_array
    """[U, I] marks what each user had lately."""
    popularity: Mapping[str, NDArray[np.float64]]
    """Name of the feature to the place of each item [I]; NaN for items that nobody had."""
    popular: NDArray[np.int64]
    """Items that are candidates of everybody."""

    def of(
        self, users: NDArray[np.int64], similar: csr_array, most_similar: csr_array, again: csr_array
    ) -> pl.DataFrame:
        """Return the candidates of some users, each once, and what the sources say.

        Args:
            users: [B] row numbers, ascending.
            similar: [B, I] how well items go with what the users had.
            most_similar: [B, I] the best of these, which become candidates.
            again: [B, I] what is to be added for items that the user had.

        Returns:
            One row per pair in the order of user and item: `KEYS`, and the features (Float32).
        """
        wanted = self._wanted(users, most_similar)
        row = np.repeat(np.arange(users.size), np.diff(wanted.indptr))
        item = wanted.indices.astype(np.int64)
        similarity = values_at(similar, wanted)
        affinity = similarity + values_at(again, wanted)
        found = {
            str(_SIMILARITY): similarity,
            str(_SIMILARITY_RANK): _ranks(row, similarity),
            str(_AFFINITY): affinity,
            str(_AFFINITY_RANK): _ranks(row, affinity),
        }
        found |= {name: rank[item] for name, rank in self.popularity.items()}
        keys = {
            "user_hash": self.data.users["user_hash"].gather(users[row]),
            "user_id": self.data.users["user_id"].gather(users[row]),
            "item_id": self.data.items["item_id"].gather(item),
        }
        return pl.DataFrame(keys).with_columns(
            pl.Series(name, values.astype(np.float32), nan_to_null=True) for name, values in found.items()
        )

    def _wanted(self, users: NDArray[np.int64], most_similar: csr_array) -> csr_array:
        """Mark the candidates [B, I], of what may be listed; columns ascend within each row."""
        own = self.own[users]
        n_items = own.shape[1]
        rows = [np.repeat(np.arange(users.size), np.diff(m.indptr)) for m in (own, most_similar)]
        rows.append(np.repeat(np.arange(users.size), self.popular.size))
        items = [own.indices, most_similar.indices, np.tile(self.popular, users.size)]
        key = np.unique(np.concatenate(rows) * n_items + np.concatenate(items))
        if self.data.barred_items is not None:
            key = key[~self.data.barred_items[key % max(n_items, 1)]]
        if self.data.barred is not None:
            had = csr_array(self.data.barred[users])
            barred = np.repeat(np.arange(users.size), np.diff(had.indptr)) * n_items + had.indices
            key = key[~np.isin(key, barred)]
        counts = np.bincount(key // max(n_items, 1), minlength=users.size)
        ends = np.append(0, np.cumsum(counts))
        return csr_array((np.ones(key.size), key % max(n_items, 1), ends), shape=own.shape)


def _first(rank: NDArray[np.float64], n: int, barred: NDArray[np.bool_] | None) -> NDArray[np.int64]:
    """Return the items with the n lowest ranks, of those that have one and may be listed."""
    found = np.flatnonzero(~np.isnan(rank) if barred is None else ~np.isnan(rank) & ~barred)
    return found[np.argsort(rank[found])[:n]]


def values_at(values: csr_array, wanted: csr_array) -> NDArray[np.float64]:
    """Return the values of one matrix at the stored positions of another, in their order; 0 where it stores none."""
    board = np.zeros(values.shape[1])
    found = np.empty(wanted.nnz)
    for row in range(values.shape[0]):
        here = slice(values.indptr[row], values.indptr[row + 1])
        asked = slice(wanted.indptr[row], wanted.indptr[row + 1])
        board[values.indices[here]] = values.data[here]
        found[asked] = board[wanted.indices[asked]]
        board[values.indices[here]] = 0
    return found


def _ranks(row: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the place of each value among those of its row, the highest first; equal ones share the best."""
    ranked = pl.DataFrame({"row": row, "value": values}).select(
        pl.col("value").rank("min", descending=True).over("row").cast(pl.Float64)
    )
    return ranked.to_series().to_numpy()
