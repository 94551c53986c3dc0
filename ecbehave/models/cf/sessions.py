"""Neighbours by what was had in which order: the newest items count most, and so does what stood close to them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_array

from ecbehave.config.values import Section
from ecbehave.models.cf.profiles import Profiles

#: Stored pairs of user and item that the users of a block meet at most, unless one of them alone meets more.
_BLOCK_MET = 5_000_000
#: Pairs of items within histories whose weights are in memory at once.
_CHUNK_PAIRS = 6_000_000
#: So many chunks are kept for the next users; more are made again.
_KEPT_CHUNKS = 4


class Order(Section):
    """How the order of events weighs; what happened at one instant has one place."""

    recency: float = Field(default=0.8, ge=0)
    """An item of the user that lies n places back counts exp(-n x recency)."""
    distance: float = Field(default=0.7, ge=0)
    """An item of a neighbour that lies n places from the shared one counts 1 / n^distance."""
    before: float = Field(default=0.6, ge=0)
    """Items of a neighbour that came before the shared one count so many times as much as those after it."""
    same: float = Field(default=1.0, ge=0)
    """What the shared item itself, and what a neighbour had at the same instant, counts."""


@dataclass
class OrderedNeighbours:
    """Scores items by neighbours who had the same things, close to where they had them.

    The similarity of user u and neighbour v is the sum over shared items q of w_u(q) x_v(q); the score of item i is the
    sum over neighbours and shared items of w_u(q) x_v(q) f(place_v(q) - place_v(i)) x_v(i), divided by the sum of
    similarities. w is the weight of an item less the further back it lies, x the weight in the stored history.

    Source: Ludewig and Jannach (2018), Evaluation of session-based recommendation algorithms, section 3.3 (V-SkNN:
    recent items of the session count more); Garg et al. (2019), Sequence and time aware neighborhood for session-based
    recommendations, equations 1 to 5 (STAN: recency of the neighbour, distance from the shared item). Unlike theirs,
    every shared item lends weight to what lies around it, and what came before it counts less than what came after.
    """

    profiles: Profiles
    order: Order
    neighbours: int
    threshold: float

    def __post_init__(self) -> None:
        weight = self.profiles.weight
        n_stored = weight.nnz
        self._user = np.repeat(np.arange(weight.shape[0]), np.diff(weight.indptr))
        positions = csr_array(
            (np.arange(n_stored), weight.indices, weight.indptr), shape=weight.shape
        ).T.tocsr()
        #: [K, O]: the weight of each item in each of the O stored pairs of user and item.
        self._of_item = csr_array(
            (weight.data[positions.data], positions.data, positions.indptr), shape=(weight.shape[1], n_stored)
        )
        n_pairs = np.cumsum(np.diff(weight.indptr)[self._user])
        starts = np.flatnonzero(np.diff(n_pairs // _CHUNK_PAIRS, prepend=-1))
        self._ends = [*starts.tolist(), n_stored]
        self._kept: dict[int, csr_array] = {}

    def blocks(self, wanted: csr_array) -> Iterator[slice]:
        """Yield slices of rows of `wanted` [Q, K], each of so many rows that what they meet fits in memory."""
        met = wanted.astype(np.bool_).astype(np.int64) @ np.diff(self._of_item.indptr)
        number = (np.cumsum(met) - met) // _BLOCK_MET
        starts = np.flatnonzero(np.diff(number, prepend=-1)).tolist()
        yield from map(slice, starts, [*starts[1:], met.size])

    def similarities(self, wanted: csr_array, own: NDArray[np.int64]) -> csr_array:
        """Return the similarities of some users to their neighbours [B, V].

        Args:
            wanted: [B, K] what each user had, weighted by its place, and by how telling it is.
            own: [B] the row of the same user among the neighbours, which is left out; -1 for none.
        """
        row, stored, value = self._matched(wanted, own)
        starts = np.flatnonzero(np.diff(row * self.profiles.weight.shape[0] + self._user[stored], prepend=-1))
        total = np.add.reduceat(value, starts) if starts.size else value
        return _by_row(
            row[starts], self._user[stored[starts]], total, (wanted.shape[0], self.profiles.weight.shape[0])
        )

    def scores(self, wanted: csr_array, own: NDArray[np.int64]) -> csr_array:
        """Return the scores of some users [B, K]; not stored where no neighbour had the item; see `similarities`."""
        row, stored, value = self._matched(wanted, own)
        total = np.bincount(row, value, minlength=wanted.shape[0])
        return self._around(_by_row(row, stored, value / total[row], (wanted.shape[0], self._user.size)))

    def _matched(
        self, wanted: csr_array, own: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Return what users share with their neighbours: row of the user, stored pair, part of the similarity."""
        met = csr_array(wanted @ self._of_item)
        met.sort_indices()
        row = np.repeat(np.arange(met.shape[0]), np.diff(met.indptr))
        is_other = self._user[met.indices] != own[row]
        row, stored, value = row[is_other], met.indices[is_other], met.data[is_other]
        group = row * self.profiles.weight.shape[0] + self._user[stored]
        starts = np.flatnonzero(np.diff(group, prepend=-1))
        similarity = np.add.reduceat(value, starts) if starts.size else value
        is_near = nearest(row[starts], similarity, self.neighbours) & (similarity >= self.threshold)
        stays = np.repeat(is_near, np.diff(np.append(starts, group.size)))
        return row[stays], stored[stays], value[stays]

    def _around(self, matched: csr_array) -> csr_array:
        """Return the sum of what lies around each shared item [B, K]; chunk by chunk of the stored pairs.

        Chunks are the same for all users, so that a score does not depend on who else is asked.
        """
        found = csr_array((matched.shape[0], self.profiles.weight.shape[1]))
        for chunk, (start, end) in enumerate(zip(self._ends[:-1], self._ends[1:], strict=True)):
            part = csr_array(matched[:, start:end])
            if part.nnz:
                found = csr_array(found + part @ self._weights(chunk, start, end))
        return found

    def _weights(self, chunk: int, start: int, end: int) -> csr_array:
        if chunk not in self._kept:
            made = self._distances(start, end)
            if len(self._ends) - 1 > _KEPT_CHUNKS:
                return made
            self._kept[chunk] = made
        return self._kept[chunk]

    def _distances(self, start: int, end: int) -> csr_array:
        """Return for stored pairs what each item of the same user counts beside it [end - start, K]."""
        weight, place = self.profiles.weight, self.profiles.place
        shared = np.arange(start, end)
        n_around = np.diff(weight.indptr)[self._user[shared]]
        ends = np.append(0, np.cumsum(n_around))
        within = np.arange(ends[-1]) - np.repeat(ends[:-1], n_around)
        around = np.repeat(weight.indptr[self._user[shared]], n_around) + within
        later = np.repeat(place[shared], n_around) - place[around]
        near = np.maximum(np.abs(later), 1).astype(np.float64) ** -self.order.distance
        side = np.where(later > 0, 1.0, self.order.before)
        counts = np.where(later == 0, self.order.same, near * side) * weight.data[around]
        return csr_array((counts, weight.indices[around], ends), shape=(end - start, weight.shape[1]))


def _by_row(
    row: NDArray[np.int64], column: NDArray[np.int64], value: NDArray[np.float64], shape: tuple[int, int]
) -> csr_array:
    """Return values that come in the order of rows as a matrix."""
    ends = np.append(0, np.cumsum(np.bincount(row, minlength=shape[0])))
    return csr_array((value, column, ends), shape=shape)


def nearest(row: NDArray[np.int64], similarity: NDArray[np.float64], n: int) -> NDArray[np.bool_]:
    """Return which values are among the n highest of their row; of equal ones, the first.

    Args:
        row: [N] ascending.
        similarity: [N].
        n: most values to keep in a row.
    """
    is_near = np.ones(row.size, np.bool_)
    if row.size == 0 or np.bincount(row).max() <= n:
        return is_near
    order = np.lexsort((-similarity, row))
    starts = np.searchsorted(row, row)
    is_near[order] = np.arange(row.size) - starts < n
    return is_near
