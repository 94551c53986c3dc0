"""The most similar rows of a matrix among themselves, where the similarity of a to b is that of b to a."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack

from ecbehave.models.best import best_per_row
from ecbehave.models.cf.products import UnitRows, product, products_of, with_room
from ecbehave.parallel import in_order

Floats = NDArray[np.float64]
#: From products of rows and what is known of each of the two rows, the similarities.
Formula = Callable[[NDArray[np.floating], Floats, Floats], NDArray[np.float32]]

#: Similarities of one block, at most: with what is computed from them, 60 bytes each.
_BLOCK = 500_000
#: Similarities that wait, at least, until the best are chosen from them.
_WAITING = 2_000_000
#: Blocks that may wait while the best are chosen, or columns are cut, beside one for each thread.
_AHEAD = 2
#: The columns are cut anew when so much of them belongs to rows that are done.
_DONE = 0.15


def mutual(
    matrix: csr_array,
    sizes: Floats,
    formula: Formula,
    neighbours: int,
    floor: np.float32,
    threads: int,
) -> csr_array:
    """Return the rows that are most similar to each row, other than itself.

    Each product is computed once, and offered to both of its rows: every row is compared with those behind it. What
    lies below the worst that a row keeps already is not offered. Rows with the fewest entries come first: they are
    most alike, so that this leaves out much (a quarter as much is offered as the other way round). The product of two
    rows of length 1 is a bound: of what lies below it, no similarity is computed.

    Args:
        matrix: [R, C].
        sizes: [R] what the formula needs to know of each row.
        formula: similarities, none above the cosine, from products and sizes; may overwrite the last argument.
        neighbours: most that are kept.
        floor: the lowest similarity that is kept, above 0.
        threads: blocks that are worked on at once.

    Returns:
        [R, R], the rows of a row ascending.
    """
    order = np.argsort(np.diff(matrix.indptr), kind="stable")
    rows = UnitRows.of(csr_array(matrix[order]))
    kept = _Kept(order, neighbours, floor, threads)
    work = _Work(rows, sizes[order], formula, kept)
    for block in in_order(work.compare, _blocks(rows.unit), threads, _AHEAD):
        kept.offer(block)
    kept.choose()
    found = csr_array(vstack([csr_array((0, order.size), dtype=np.float32), *kept.done], format="csr"))
    back = np.empty_like(order)
    back[order] = np.arange(order.size)
    found = csr_array(found[back])
    found.sort_indices()
    return found


@dataclass(frozen=True)
class _Rows:
    """Rows to compare with all those behind them."""

    first: int
    last: int
    columns: csr_array
    """[C, R - behind]: what rows from `behind` on have in each column."""
    behind: int


@dataclass(frozen=True)
class _Block:
    """Similarities between some rows and rows behind them, for either side those that may be among its best."""

    first: int
    own: csr_array
    """[B, R]: for the rows."""
    others: csr_array
    """[B, R]: for the rows behind."""


def _blocks(ranked: csr_array) -> Iterator[_Rows]:
    """Yield rows in order, so few at once that the block bounds memory."""
    columns, behind = csr_array(ranked.T), 0
    rows = np.arange(ranked.shape[0])
    ends = np.repeat(columns.indptr[1:], np.diff(columns.indptr))
    products = np.bincount(
        columns.indices, ends - np.arange(columns.nnz, dtype=ends.dtype), minlength=rows.size
    )
    block = np.cumsum(np.minimum(products, rows.size - rows)) // _BLOCK
    firsts = np.flatnonzero(np.diff(block, prepend=-1)).tolist()
    for first, last in pairwise([*firsts, rows.size]):
        left = ranked.nnz - ranked.indptr[first]
        if left < (1 - _DONE) * columns.nnz:
            columns, behind = csr_array(columns[:, first - behind :]), first
        yield _Rows(first, last, columns, behind)


@dataclass(frozen=True)
class _Work:
    rows: UnitRows
    sizes: Floats
    formula: Formula
    kept: "_Kept"

    def compare(self, rows: _Rows) -> _Block:
        """Return what a block of rows has to offer."""
        found = product(self.rows.unit[rows.first : rows.last], rows.columns)
        own = np.arange(rows.first, rows.last)
        bound = self.kept.bound
        # Clipping, of which there is none to do, takes half the time of looking for what is out of bounds.
        least = bound[rows.behind :].take(found.indices, mode="clip")
        np.minimum(least, np.repeat(bound[own], np.diff(found.indptr)), out=least)
        at = np.flatnonzero(found.data >= least)
        ends = np.searchsorted(at, found.indptr)
        row, col = np.repeat(own, np.diff(ends)), found.indices[at] + rows.behind
        products = products_of(found.data[at], self.rows, row, self.rows, col)
        values = self.formula(products, self.sizes[row], self.sizes[col])
        values[col <= row] = 0
        worst = self.kept.worst
        shape = (own.size, self.sizes.size)

        def those(is_in: NDArray[np.bool_], columns: NDArray[np.integer]) -> csr_array:
            chosen = np.flatnonzero(is_in)
            return csr_array((values[chosen], columns[chosen], np.searchsorted(chosen, ends)), shape=shape)

        better = those(values >= worst[row], col)
        better.indices = self.kept.order[better.indices]
        return _Block(
            rows.first,
            best_per_row(better, self.kept.neighbours, ordered=False),
            those(values >= worst[col], col),
        )


class _Kept:
    """The most similar rows of each row, of what was offered until now.

    Rows stand by rank; similar rows by their number in the matrix, by which ties are broken.
    """

    def __init__(self, order: NDArray[np.int64], neighbours: int, floor: np.float32, threads: int) -> None:
        self.threads = threads
        self.order, self.neighbours = order.astype(np.int32 if order.size < 2**31 else np.int64), neighbours
        self.worst = np.full(order.size, floor, np.float32)
        """[R] what is below it is not among the most similar ones of a row."""
        self.bound = with_room(self.worst)
        """[R] the same, for products of rows of length 1."""
        self.done: list[csr_array] = []
        self._n_done = 0
        self._best = csr_array((order.size, order.size), dtype=np.float32)
        """Of the rows that are not done."""
        self._waiting: list[_Block] = []
        self._n_waiting = 0

    def offer(self, block: _Block) -> None:
        """Take what may be among the best; choose from it when it has become much."""
        self._waiting.append(block)
        self._n_waiting += block.own.nnz + block.others.nnz
        if self._n_waiting > max(_WAITING, self._best.nnz):
            self.choose()

    def choose(self) -> None:
        """Keep the best of what waits; rows that were compared with all behind them are done."""
        if not self._waiting:
            return
        first, n_rows = self._n_done, sum(b.own.shape[0] for b in self._waiting)
        own = csr_array(vstack([b.own for b in self._waiting], format="csr"))
        others = csr_array(vstack([b.others for b in self._waiting], format="csr"))
        self._waiting, self._n_waiting = [], 0
        offered = others.T.tocsr()[first:]
        shape = (offered.shape[0], self.order.size)
        offered = csr_array((offered.data, self.order[first + offered.indices], offered.indptr), shape=shape)
        own.resize(shape)
        best = self._best_of(self._best, offered, own)
        self.done.append(csr_array(best[:n_rows]))
        self._best, self._n_done = csr_array(best[n_rows:]), first + n_rows
        lengths = np.diff(best.indptr)
        is_full = lengths == self.neighbours
        of_full = best.data[np.repeat(is_full, lengths)].reshape(-1, self.neighbours)
        self.worst[first:][is_full] = of_full.min(axis=1)
        self.bound = with_room(self.worst)

    def _best_of(self, *parts: csr_array) -> csr_array:
        """Return the best of several matrices of the same rows, a span of rows in each thread."""
        ends = np.sum([part.indptr for part in parts], axis=0)
        cuts = np.searchsorted(ends, np.linspace(0, ends[-1], self.threads + 1)[1:-1])
        spans = pairwise([0, *cuts.tolist(), ends.size - 1])

        def best(span: tuple[int, int]) -> csr_array:
            beside = _beside(*(csr_array(part[slice(*span)]) for part in parts))
            return best_per_row(beside, self.neighbours, ordered=False)

        return csr_array(vstack(list(in_order(best, spans, self.threads)), format="csr"))


def _beside(*parts: csr_array) -> csr_array:
    """Return the values of several matrices of the same columns [R, C] in one, row by row."""
    lengths = sum(np.diff(part.indptr) for part in parts)
    ends = np.append(0, np.cumsum(lengths))
    data = np.empty(ends[-1], np.float32)
    indices = np.empty(ends[-1], parts[0].indices.dtype)
    starts = ends[:-1].copy()
    for part in parts:
        own = np.diff(part.indptr)
        at = np.repeat(starts - part.indptr[:-1], own) + np.arange(part.nnz)
        data[at], indices[at] = part.data, part.indices
        starts += own
    return csr_array((data, indices, ends), shape=parts[0].shape)
