"""A vote over the labels of the nearest users at earlier cutoffs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array, hstack, vstack

from ecbehave.inputs.types import Inputs, MatrixInput, TableInput
from ecbehave.models.cf.profiles import Weighing, by_rows, checked, parts_of, places_of
from ecbehave.models.cf.similarity import Similarity, similar_to
from ecbehave.models.cf.vocabulary import align
from ecbehave.models.labels import pooled
from ecbehave.models.storage import load_arrays, load_json, reading, save_arrays, save_json

#: Voters at most: of more, every n-th of each cutoff in the order of `user_hash`, which is a random order.
MOST_VOTERS = 20_000
#: Users who are asked at once.
_BLOCK_USERS = 512
#: Share of taste in the similarity; the rest is how much and how lately a user did something.
_TASTE = 0.5
#: Days within which items of a user are counted.
_LATELY = (7, 28, 91)
#: What is measured of each event type.
_MEASURES = ("n_events", "latest", "oldest", "n_instants", *(f"n_{days}d" for days in _LATELY))
#: Levels of activity: 0, 1, 3, 7 and so on, each step twice the one before; the last but one is the highest.
_LEVELS = 14
#: So many further voters are thought to vote along, each with full similarity, as all voters do together.
_PRIOR_VOTES = 5.0


@dataclass(frozen=True)
class Votes:
    """Users as they were known at train cutoffs, each with the label that came true.

    A user's vector has two parts of fixed length, so that the cosine of two vectors is a weighted mean of two cosines:
    what was had (weighted), and of each event type how much, how lately and since when, in levels whose steps double.
    A user at an earlier cutoff may vote for the same user later.

    Source: Cover and Hart (1967), Nearest neighbor pattern classification; weights as in Dudani (1976), The
    distance-weighted k-nearest-neighbor rule.
    """

    item_ids: pl.Series
    """[K]"""
    vectors: csr_array
    """[V, K + levels]: items, then the levels of each event type."""
    label: NDArray[np.int8]
    """[V], 0 or 1."""

    @classmethod
    def fit(cls, train: Sequence[Inputs], weighing: Weighing) -> Self:
        """Keep users and labels of every train cutoff that has labels.

        Raises:
            DataError: nobody is in the population, or all labels are the same.
        """
        labelled = [part for part in train if part.table is not None]
        n_rows = pooled([cast("TableInput", part.table) for part in labelled]).n_rows
        item_ids = cast("MatrixInput", labelled[-1].matrix).items["item_id"]
        step = -(-n_rows // MOST_VOTERS)
        vectors, labels = [], []
        for part in labelled:
            voters = cast("TableInput", part.table).frame.sort("user_hash", "user_id").gather_every(step)
            vectors.append(vectors_of(part, voters["user_id"], item_ids, weighing))
            labels.append(voters["label"].to_numpy())
        return cls(item_ids, _sorted(vstack(vectors, format="csr")), np.concatenate(labels))

    def predict(self, data: Inputs, weighing: Weighing, how: Similarity) -> pl.DataFrame:
        """Return the keys of the table with `score`: the log-odds of the label among the nearest voters."""
        table = cast("TableInput", data.table)
        asked = vectors_of(data, table.frame["user_id"], self.item_ids, weighing)
        scores = [np.empty(0)]
        for start in range(0, table.n_rows, _BLOCK_USERS):
            near = similar_to(csr_array(asked[start : start + _BLOCK_USERS]), self.vectors, how)
            scores.append(self._log_odds(csr_array(near, dtype=np.float64)))
        return table.keys.with_columns(score=pl.Series(np.concatenate(scores), dtype=pl.Float64))

    def _log_odds(self, near: csr_array) -> NDArray[np.float64]:
        mean = float(self.label.mean())
        yes = near @ self.label.astype(np.float64) + _PRIOR_VOTES * mean
        no = near @ (1.0 - self.label) + _PRIOR_VOTES * (1 - mean)
        odds: NDArray[np.float64] = np.log(yes) - np.log(no)
        return odds

    def save(self, folder: Path, name: str) -> None:
        """Write item ids, vectors and labels."""
        save_json(folder / f"{name}.json", {"item_id": self.item_ids.to_list()})
        n_levels = np.array(self.vectors.shape[1] - len(self.item_ids))
        save_arrays(folder / f"{name}.npz", label=self.label, n_levels=n_levels, **parts_of(self.vectors))

    @classmethod
    def load(cls, folder: Path, name: str) -> Self:
        """Read what `save` wrote.

        Raises:
            ArtifactError: the folder does not hold it.
        """
        named, stored = load_json(folder / f"{name}.json"), load_arrays(folder / f"{name}.npz")
        with reading(folder / f"{name}.json"):
            item_ids = pl.Series("item_id", [*named["item_id"]], dtype=pl.String)
        with reading(folder / f"{name}.npz"):
            label = stored["label"]
            vectors = checked(stored, (label.size, len(item_ids) + int(stored["n_levels"])))
        return cls(item_ids, vectors, label)


def vectors_of(data: Inputs, user_ids: pl.Series, item_ids: pl.Series, weighing: Weighing) -> csr_array:
    """Return what some users are like at a cutoff [n, K + levels]; see `Votes`.

    Args:
        data: the matrix of the cutoff.
        user_ids: [n] users in it.
        item_ids: [K] the items that count.
        weighing: what an event counts; the levels are those of its event types.
    """
    matrix = cast("MatrixInput", data.matrix)
    rows = places_of(user_ids, matrix.users["user_id"])
    pairs = weighing.pairs(matrix)
    shape = (matrix.users.height, matrix.items.height)
    had = by_rows(pairs["user"], pairs["item"], pairs["weight"].to_numpy(), shape)
    taste = csr_array(had @ align(item_ids, matrix.items["item_id"]))
    parts = [(taste, _TASTE), (_levels(matrix, sorted(weighing.event_weights)), 1 - _TASTE)]
    return _sorted(hstack([_of_length(part, share**0.5) for part, share in parts], format="csr")[rows])


def _levels(data: MatrixInput, event_types: Sequence[str]) -> csr_array:
    """Return how active users were [U, event types x measures x levels]: a measure lies between two levels."""
    measured = (
        data.pairs.group_by("user", "event_type")
        .agg(
            pl.col("n_events").sum().cast(pl.Float64),
            latest=pl.col("days_since").min().cast(pl.Float64),
            oldest=pl.col("days_since").max().cast(pl.Float64),
            n_instants=pl.col("place").max().cast(pl.Float64),
            **{f"n_{days}d": (pl.col("days_since") < days).sum().cast(pl.Float64) for days in _LATELY},
        )
        .join(
            pl.DataFrame({"event_type": event_types}, {"event_type": pl.String}).with_row_index("type"),
            on="event_type",
        )
        .sort("user", "type")
    )
    user = measured["user"].cast(pl.Int64).to_numpy()
    row, column, value = [], [], []
    for number, name in enumerate(_MEASURES):
        level = np.minimum(np.log2(1 + measured[name].to_numpy()), _LEVELS - 2)
        below = np.floor(level).astype(np.int64)
        first = (measured["type"].cast(pl.Int64).to_numpy() * len(_MEASURES) + number) * _LEVELS
        row += [user, user]
        column += [first + below, first + below + 1]
        value += [1 - (level - below), level - below]
    shape = (data.users.height, len(event_types) * len(_MEASURES) * _LEVELS)
    found = csr_array((np.concatenate(value), (np.concatenate(row), np.concatenate(column))), shape=shape)
    found.eliminate_zeros()
    return found


def _of_length(matrix: csr_array, length: float) -> csr_array:
    """Return rows of one length; those without a value stay without."""
    norms = np.sqrt(np.asarray(matrix.power(2).sum(axis=1)).ravel())
    data = matrix.data * (length / np.repeat(norms, np.diff(matrix.indptr)))
    return csr_array((data, matrix.indices, matrix.indptr), shape=matrix.shape)


def _sorted(matrix: csr_array) -> csr_array:
    made = csr_array(matrix)
    made.sort_indices()
    return made
