"""Ratings from what like-minded users said of the item, beyond what the item and the user lead one to expect."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array

from ecbehave.inputs.types import MatrixInput
from ecbehave.models.cf.biases import Biases, clipped, rated
from ecbehave.models.cf.profiles import Profiles, by_rows, places_of
from ecbehave.models.cf.sessions import nearest

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

#: Users whose similarities to everybody are in memory at once.
_BLOCK_USERS = 64
#: Ratings of neighbours, and predicted ratings, that are in memory at once.
_MOST_HEARD = 4_000_000


@dataclass(frozen=True)
class NeighbourRatings:
    """What each user's ratings were above what biases lead one to expect.

    The rating of user u for item i is b_ui + sum_v s_uv x_vi / sum_v s_uv over the most similar users v who rated i,
    with x = r - b, and s_uv = (n - 1) / (n - 1 + shrink) times the correlation of x over the n items rated by both.

    Source: Koren (2010), Factor in the neighbors: scalable and accurate collaborative filtering, equations 2 and 3,
    with users in the place of items; KNNBaseline of the library Surprise.
    """

    profiles: Profiles
    """What was rated above expectation, in the place of weights."""

    @classmethod
    def fit(cls, data: MatrixInput) -> Self:
        """Store the ratings of a history, less their biases.

        Raises:
            DataError: nothing was rated.
        """
        users, above = _above(data, rated(data))[1:]
        # A cut between equally near neighbours goes by row, which must not depend on the order of users.
        order = data.users[users].with_row_index("row").sort("user_hash", "user_id")["row"].to_numpy()
        above = csr_array(above[order])
        ids = data.users["user_id"].gather(users[order])
        return cls(Profiles(ids, data.items["item_id"], above, np.zeros(above.nnz, np.int64)))

    def of_pairs(self, data: MatrixInput, pairs: pl.DataFrame, neighbours: int, shrink: float) -> Floats:
        """Return the rating [n] expected of each pair of `user` and `item`, within the known scale.

        Args:
            data: what is known now, to which the row numbers belong.
            pairs: `user` and `item`, in any order.
            neighbours: most users who are heard on an item.
            shrink: how much similarities that few items support are pulled towards zero.
        """
        known = rated(data)
        biases, users, above = _above(data, known)
        user, item = (pairs[name].cast(pl.Int64).to_numpy() for name in ("user", "item"))
        asked, number = np.unique(user, return_inverse=True)
        beyond, order = np.zeros(user.size), np.argsort(number, kind="stable")
        known_item = places_of(data.items["item_id"], self.profiles.item_ids)
        for start in range(0, asked.size, _BLOCK_USERS):
            block = asked[start : start + _BLOCK_USERS]
            own = order[slice(*np.searchsorted(number[order], [start, start + _BLOCK_USERS]))]
            similarity = self._similarity(data, block, users, above, shrink)
            beyond[own] = self._beyond(similarity, number[own] - start, known_item[item[own]], neighbours)
        return clipped(biases.of(user, item) + beyond, known)

    def of_all(
        self, data: MatrixInput, neighbours: int, shrink: float
    ) -> Iterator[tuple[NDArray[np.int64], Floats]]:
        """Yield the rating that some users of the population would give each item [B, I], beyond the scale too."""
        biases, users, above = _above(data, rated(data))
        n_items = data.items.height
        known_item = places_of(data.items["item_id"], self.profiles.item_ids)
        n_rows = min(max(_MOST_HEARD // max(n_items, 1), 1), _BLOCK_USERS)
        for start in range(0, data.asked.size, n_rows):
            block = data.asked[start : start + n_rows]
            similarity = self._similarity(data, block, users, above, shrink)
            row = np.repeat(np.arange(block.size), n_items)
            beyond = self._beyond(similarity, row, np.tile(known_item, block.size), neighbours)
            yield block, biases.grid(block) + beyond.reshape(block.size, n_items)

    def _similarity(
        self, data: MatrixInput, block: Rows, users: Rows, above: csr_array, shrink: float
    ) -> Floats:
        """Return how alike some users and all stored ones are [B, V]; 0 for the user that is the same.

        Args:
            data: names of users and items.
            block: [B] row numbers of the users.
            users: row numbers of the rows of `above`.
            above: what was rated above expectation.
            shrink: see `of_pairs`.
        """
        stored = self.profiles.weight
        place = np.searchsorted(users, block)
        has_rated = np.isin(block, users)
        select = csr_array(
            (np.ones(has_rated.sum()), (np.flatnonzero(has_rated), place[has_rated])),
            shape=(block.size, users.size),
        )
        known_item = places_of(data.items["item_id"], self.profiles.item_ids)
        new = np.flatnonzero(known_item >= 0)
        align = csr_array(
            (np.ones(new.size), (new, known_item[new])), shape=(known_item.size, stored.shape[1])
        )
        mine = csr_array(select @ above @ align)
        n_both = (_ones(mine) @ _ones(stored).T).toarray()
        norms = np.sqrt(
            (mine.power(2) @ _ones(stored).T).toarray() * (_ones(mine) @ stored.power(2).T).toarray()
        )
        found: Floats = np.divide(
            (mine @ stored.T).toarray(), norms, out=np.zeros(norms.shape), where=norms > 0
        )
        less = np.maximum(n_both - 1, 0)
        found *= np.divide(less, less + shrink, out=np.zeros(less.shape), where=less > 0)
        own_row = places_of(data.users["user_id"].gather(block), self.profiles.user_ids)
        found[np.flatnonzero(own_row >= 0), own_row[own_row >= 0]] = 0
        return found

    def _beyond(self, similarity: Floats, row: Rows, item: Rows, neighbours: int) -> Floats:
        """Return what neighbours say of pairs beyond the biases [n]; 0 where nobody like the user has rated the item.

        Args:
            similarity: [B, V].
            row: [n] row of the similarities.
            item: [n] number of the item among the stored ones; -1 for none.
            neighbours: most users who are heard.
        """
        by_item = csr_array(self.profiles.weight.T)
        n_raters = np.where(item >= 0, np.diff(by_item.indptr)[item], 0)
        beyond = np.zeros(row.size)
        before = np.cumsum(n_raters) - n_raters
        starts = np.flatnonzero(np.diff(before // _MOST_HEARD, prepend=-1)).tolist()
        for start, end in zip(starts, [*starts[1:], row.size], strict=True):
            n_heard = n_raters[start:end]
            pair = np.repeat(np.arange(start, end), n_heard)
            within = np.arange(pair.size) - np.repeat(np.cumsum(n_heard) - n_heard, n_heard)
            heard = by_item.indptr[item[pair]] + within
            alike = similarity[row[pair], by_item.indices[heard]]
            is_like = alike > 0
            pair, alike, said = pair[is_like] - start, alike[is_like], by_item.data[heard[is_like]]
            is_near = nearest(pair, alike, neighbours)
            pair, alike, said = pair[is_near], alike[is_near], said[is_near]
            total = np.bincount(pair, alike, minlength=end - start)
            spoken = np.bincount(pair, alike * said, minlength=end - start)
            beyond[start:end] = np.divide(spoken, total, out=np.zeros(end - start), where=total > 0)
        return beyond

    def save(self, folder: Path, name: str) -> None:
        """Write the stored ratings."""
        self.profiles.save(folder, name)

    @classmethod
    def load(cls, folder: Path, name: str) -> Self:
        """Read what `save` wrote.

        Raises:
            ArtifactError: the folder does not hold it.
        """
        return cls(Profiles.load(folder, name))


def _above(data: MatrixInput, known: pl.DataFrame) -> tuple[Biases, Rows, csr_array]:
    """Return the biases, the row numbers of users who rated, ascending, and their ratings less the biases."""
    biases = Biases.of_rated(data, known)
    user, item = known["user"].to_numpy(), known["item"].to_numpy()
    users, row = np.unique(user, return_inverse=True)
    beyond = known["rating"].to_numpy() - biases.of(user, item)
    return biases, users, by_rows(pl.Series(row), known["item"], beyond, (users.size, data.items.height))


def _ones(matrix: csr_array) -> csr_array:
    return csr_array((np.ones(matrix.nnz), matrix.indices, matrix.indptr), shape=matrix.shape)
