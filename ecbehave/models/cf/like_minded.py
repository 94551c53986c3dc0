"""Neighbours by what was had, in whatever order."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array

from ecbehave.models.best import best_per_row
from ecbehave.models.cf.profiles import Profiles
from ecbehave.models.cf.similarity import Similarity, similar_to

#: Users whose neighbours are looked for at once.
_BLOCK_USERS = 512


@dataclass
class AlikeNeighbours:
    """Scores items by the mean of what the most similar users had, weighted by similarity.

    Source: Herlocker et al. (1999), An algorithmic framework for performing collaborative filtering, section 5; Breese
    et al. (1998), Empirical analysis of predictive algorithms for collaborative filtering, section 2.1 (rarity).
    """

    profiles: Profiles
    how: Similarity
    rarity: NDArray[np.float64]
    """[K]: how telling it is to share an item."""

    def __post_init__(self) -> None:
        self._base = csr_array(self.profiles.weight @ diags_array(self.rarity))

    def blocks(self, wanted: csr_array) -> Iterator[slice]:
        """Yield slices of rows of `wanted`, each of so many rows that its neighbours fit in memory."""
        for start in range(0, wanted.shape[0], _BLOCK_USERS):
            yield slice(start, min(start + _BLOCK_USERS, wanted.shape[0]))

    def similarities(self, wanted: csr_array, own: NDArray[np.int64]) -> csr_array:
        """Return the similarities of some users to their neighbours [B, V].

        Args:
            wanted: [B, K] what each user had, weighted by how telling it is.
            own: [B] the row of the same user among the neighbours, which is left out; -1 for none.
        """
        # The user may be among the stored ones: one more is asked for, and the user dropped.
        how = Similarity(
            self.how.kind,
            self.how.neighbours + 1,
            self.how.shrink,
            self.how.threshold,
            self.how.significance,
        )
        near = csr_array(similar_to(wanted, self._base, how), dtype=np.float64)
        near.data[near.indices == np.repeat(own, np.diff(near.indptr))] = 0
        near.eliminate_zeros()
        return best_per_row(near, self.how.neighbours)

    def scores(self, wanted: csr_array, own: NDArray[np.int64]) -> csr_array:
        """Return the scores of some users [B, K]; not stored where no neighbour had the item; see `similarities`."""
        near = self.similarities(wanted, own)
        total = np.asarray(near.sum(axis=1)).ravel()
        near.data /= np.repeat(total, np.diff(near.indptr))
        return csr_array(near @ self.profiles.weight)
