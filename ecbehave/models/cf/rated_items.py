"""Ratings predicted from those that a user gave to similar items."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array

from ecbehave.inputs.types import MatrixInput
from ecbehave.models.best import best_per_row
from ecbehave.models.cf.biases import Biases, clipped, rated

Floats = NDArray[np.float64]

#: Ratings that are predicted at once: 32 MB; and similarities that are weighed for it, 40 bytes each.
_BLOCK_RATINGS, _BLOCK_WEIGHED = 4_000_000, 4_000_000


@dataclass(frozen=True)
class Rated:
    """Ratings, and what biases leave of them."""

    known: pl.DataFrame
    biases: Biases
    residuals: csr_array
    """[U, I]; what is exactly as expected is stored as 0."""

    @classmethod
    def of(cls, data: MatrixInput) -> Self:
        """Return those of a history; see `rated` for what it raises."""
        known = rated(data)
        biases = Biases.of_rated(data, known)
        left = known["rating"].to_numpy() - biases.of(known["user"], known["item"])
        residuals = data.csr(known, left)
        residuals.sort_indices()
        return cls(known, biases, residuals)

    def values(self, data: MatrixInput) -> csr_array:
        """Return the ratings themselves [U, I]."""
        return data.csr(self.known, self.known["rating"].to_numpy())


@dataclass(frozen=True)
class RatedItems:
    """The biases, and the mean of what they leave of the ratings of similar items, weighted by similarity.

    Source: Koren (2010), Factor in the neighbors: scalable and accurate collaborative filtering, equation 4: of the
    items that the user rated, the `neighbours` that are most similar to the one in question. The damping in the
    denominator draws a mean towards 0 where similarities are weak.
    """

    similarity: csr_array
    """[I, I]."""
    neighbours: int
    damping: float

    def blocks(self, told: Rated, users: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], Floats]]:
        """Yield some of the users after the others with the rating of every item that is expected of them [B, I]."""
        of_neighbour = csr_array(self.similarity.T)
        weighed = np.diff(of_neighbour.indptr)[told.residuals.indices]
        per_user = np.diff(np.append(0, np.cumsum(weighed))[told.residuals.indptr])[users]
        n_items = self.similarity.shape[0]
        block = np.maximum(
            np.cumsum(per_user) // _BLOCK_WEIGHED,
            np.arange(users.size) // max(_BLOCK_RATINGS // max(n_items, 1), 1),
        )
        for own in np.split(users, np.flatnonzero(np.diff(block)) + 1):
            yield own, told.biases.grid(own) + self._off(csr_array(told.residuals[own]), of_neighbour)

    def _off(self, residuals: csr_array, of_neighbour: csr_array) -> Floats:
        """Return how far each user is expected to be off the biases with every item [B, I].

        Args:
            residuals: [B, I].
            of_neighbour: [I, I] the similarities, neighbours in the rows.
        """
        n_users, n_items = residuals.shape
        user = np.repeat(np.arange(n_users), np.diff(residuals.indptr))
        each = csr_array(of_neighbour[residuals.indices])  # a row for each rating
        cell = each.indices + np.repeat(user * n_items, np.diff(each.indptr))
        # A row for each user and item, in it the ratings of that user for its neighbours.
        shape = (residuals.nnz, n_users * n_items)
        near = best_per_row(csr_array((each.data, cell, each.indptr), shape=shape).T.tocsr(), self.neighbours)
        row = np.repeat(np.arange(shape[1]), np.diff(near.indptr))
        top = np.bincount(row, near.data * residuals.data[near.indices], minlength=shape[1])
        bottom = np.bincount(row, near.data, minlength=shape[1]) + self.damping
        off: Floats = np.divide(top, bottom, out=np.zeros(shape[1]), where=bottom > 0)
        return off.reshape(n_users, n_items)

    def ratings(self, told: Rated, pairs: pl.DataFrame) -> Floats:
        """Return the rating that is expected of each pair of user and item [n], within the range of the known ones.

        Args:
            told: what is known.
            pairs: [n] `user`, `item`: row numbers.
        """
        user, item = (pairs[name].to_numpy().astype(np.int64) for name in ("user", "item"))
        order = np.argsort(user, kind="stable")
        found = np.empty(user.size)
        for users, expected in self.blocks(told, np.unique(user)):
            if not users.size:
                continue
            own = order[slice(*np.searchsorted(user[order], [users[0], users[-1] + 1]))]
            found[own] = expected[np.searchsorted(users, user[own]), item[own]]
        return clipped(found, told.known)
