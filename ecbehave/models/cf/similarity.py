"""Which rows of a sparse matrix are most alike: the kinds of similarity, and how many similar rows are kept."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack

from ecbehave.models.best import best_per_row, nth_highest, some_of_each
from ecbehave.models.cf.mutual import mutual
from ecbehave.models.cf.products import UnitRows, product, products_of, row_sums, with_room
from ecbehave.models.cf.shared import Shared, positive
from ecbehave.parallel import in_order

Kind = Literal["cosine", "pearson", "adjusted_cosine", "shared_cosine", "euclidean", "jaccard"]
Floats = NDArray[np.float64]

#: Stored values of one block of products, at most: with what is computed from them, 60 bytes each.
_BLOCK = 500_000
#: Of sums over shared columns each block takes 250 bytes for a value.
_SHARED_BLOCK = 250_000
#: What is smaller is left of sums that are 0, in 64 bits.
_NOTHING = 1e-9


@dataclass(frozen=True)
class Similarity:
    """How alike two rows a and b are, and which of the similar rows are kept.

    - `cosine`: a . b / (|a| |b| + shrink), over all columns; what is not stored is 0. Deshpande and Karypis (2004),
      Item-based top-N recommendation algorithms, section 4.1.
    - `jaccard`: shared columns / (columns of either + shrink), whatever the values. Jaccard (1912), The distribution
      of the flora in the alpine zone.
    - `pearson`, `adjusted_cosine`: the cosine over the n columns that both have, of values less the mean of their row,
      or less that of their column. Sarwar et al. (2001), Item-based collaborative filtering recommendation
      algorithms, section 3.1, equations 2 and 3. `shared_cosine`: the same of the values as they are.
    - `euclidean`: 1 / (1 + d), d the root of the mean squared difference over the n columns that both have.

    Over shared columns, the shrinkage is times n / (n + shrink): Koren (2008), Factorization meets the neighborhood,
    equation 2. Significance weighting is times min(n, significance) / significance: Herlocker et al. (1999), An
    algorithmic framework for performing collaborative filtering, section 5.2.
    """

    kind: Kind = "cosine"
    neighbours: int = 100
    """Most similar rows that are kept of each row, at least 1; of equally similar ones, the lowest row numbers."""
    shrink: float = 0.0
    threshold: float = 0.0
    """Lower similarities are dropped; those that are not above 0 always are."""
    significance: int = 0
    """0 leaves out the weighting."""

    @property
    def floor(self) -> np.float32:
        """The lowest similarity that is kept."""
        return max(np.finfo(np.float32).tiny, np.float32(self.threshold))

    @property
    def is_over_all(self) -> bool:
        """Whether one product tells all that is needed of two rows."""
        return self.kind == "jaccard" or (self.kind == "cosine" and not self.significance)

    def sizes(self, matrix: csr_array) -> Floats:
        """Return what the kinds over all columns need to know of each row."""
        if self.kind == "jaccard":
            n_columns: Floats = np.diff(matrix.indptr).astype(np.float64)
            return n_columns
        norms: Floats = np.sqrt(row_sums(matrix, matrix.data.astype(np.float64) ** 2))
        return norms

    def over_all(self, product: NDArray[np.floating], own: Floats, other: Floats) -> NDArray[np.float32]:
        """Return `cosine` or `jaccard` of pairs of rows [n] from their product and their sizes; overwrites `other`."""
        if self.kind == "jaccard":
            other += own
            other -= product
        else:
            other *= own
        other += self.shrink
        np.divide(product, other, out=other)
        if self.significance:
            other *= np.minimum(product, self.significance) / self.significance
        return other.astype(np.float32)


def similar_rows(matrix: csr_array, how: Similarity, threads: int = 1) -> csr_array:
    """Return the rows that are most similar to each row, other than itself.

    The result is exact up to the rounding of similarities to 32 bits, by which they are compared; it depends neither
    on threads nor on blocks. Costs a multiplication for each two entries of a column, half as many for `cosine` and
    `jaccard`, and six times as many over shared columns; at its peak about 90 bytes for
    each similarity that is kept (measured for `cosine`, three copies of the matrix among them), and 70 MB for each
    thread after the first.

    Args:
        matrix: [R, C]; stored zeros count as stored.
        how: what is similar.
        threads: blocks that are worked on at once.

    Returns:
        [R, R] in 32 bits, the rows of a row ascending, nothing on the diagonal.
    """
    if how.is_over_all:
        whole = _entries(matrix, how)
        return mutual(whole, how.sizes(whole), how.over_all, how.neighbours, how.floor, threads)
    return _similar(matrix, matrix, how, threads, others=True)


def similar_to(queries: csr_array, base: csr_array, how: Similarity, threads: int = 1) -> csr_array:
    """Return the rows of one matrix that are most similar to each row of another; see `similar_rows`.

    Args:
        queries: [Q, C].
        base: [R, C]; for `adjusted_cosine`, the means of columns are those of this matrix.
        how: what is similar.
        threads: blocks that are worked on at once.

    Returns:
        [Q, R] in 32 bits, the rows of a row ascending.
    """
    return _similar(queries, base, how, threads, others=False)


def _similar(
    queries: csr_array, base: csr_array, how: Similarity, threads: int, *, others: bool
) -> csr_array:
    """Return the most similar rows; with `others`, without the row of the same number."""
    block = _Whole(queries, base, how) if how.is_over_all else _SharedColumns(queries, base, how)

    def nearest(rows: tuple[int, int]) -> csr_array:
        found = block.similarities(*rows)
        if others:
            found.data[found.indices == np.repeat(np.arange(*rows), np.diff(found.indptr))] = 0
        best = best_per_row(found, how.neighbours)
        best.data[best.data < how.floor] = 0
        best.eliminate_zeros()
        return best

    nothing = csr_array((0, base.shape[0]), dtype=np.float32)
    spans = _spans(queries, base, _BLOCK if how.is_over_all else _SHARED_BLOCK)
    return csr_array(vstack([nothing, *in_order(nearest, spans, threads)], format="csr"))


class _Whole:
    """Similarities over all columns."""

    def __init__(self, queries: csr_array, base: csr_array, how: Similarity) -> None:
        self.how = how
        queries, base = _entries(queries, how), _entries(base, how)
        self.own, self.other = how.sizes(queries), how.sizes(base)
        self.queries, self.base = UnitRows.of(queries), UnitRows.of(base)
        self.columns = csr_array(self.base.unit.T)

    def similarities(self, first: int, last: int) -> csr_array:
        """Return those of some queries to rows of the base that may be among the most similar ones of each."""
        found = product(self.queries.unit[first:last], self.columns)
        own, lengths = np.arange(first, last), np.diff(found.indptr)
        bound = np.full(own.size, self.how.floor)
        some = some_of_each(lengths, self.how.neighbours)
        if some is not None:
            at, n_looked = some
            looked = self._values(found.data[at], np.repeat(own, n_looked), found.indices[at])
            np.maximum(bound, nth_highest(looked, n_looked, self.how.neighbours), out=bound)
        at = np.flatnonzero(found.data >= np.repeat(with_room(bound), lengths))
        ends = np.searchsorted(at, found.indptr)
        values = self._values(found.data[at], np.repeat(own, np.diff(ends)), found.indices[at])
        return csr_array((values, found.indices[at], ends), shape=found.shape)

    def _values(
        self, cosines: Floats, row: NDArray[np.integer], col: NDArray[np.integer]
    ) -> NDArray[np.float32]:
        products = products_of(cosines, self.queries, row, self.base, col)
        return self.how.over_all(products, self.own[row], self.other[col])


class _SharedColumns:
    """Similarities over the columns that both rows have."""

    def __init__(self, queries: csr_array, base: csr_array, how: Similarity) -> None:
        self.how = how
        if how.kind == "adjusted_cosine":
            means = _means(csr_array(base.T))
            queries, base = (_less(m, means[m.indices]) for m in (queries, base))
        if how.kind == "pearson":
            queries, base = (_less(m, np.repeat(_means(m), np.diff(m.indptr))) for m in (queries, base))
        self.own, self.other = Similarity().sizes(queries), Similarity().sizes(base)
        self.shared = Shared(*positive(queries, base))

    def similarities(self, first: int, last: int) -> csr_array:
        """Return those of some queries to all rows of the base."""
        sums = self.shared.sums(first, last)
        if self.how.kind == "euclidean":
            off = (sums.own_squares - 2 * sums.product + sums.other_squares) / sums.n
            values = 1 / (1 + np.sqrt(np.maximum(off, 0)))
        elif self.how.kind == "cosine":
            own = np.repeat(self.own[first:last], np.diff(sums.indptr))
            bottom = own * self.other[sums.indices] + self.how.shrink
            values = _ratio(sums.product, bottom)
        else:
            values = _ratio(sums.product, np.sqrt(np.maximum(sums.own_squares * sums.other_squares, 0)))
        if self.how.kind != "cosine" and self.how.shrink:
            values *= sums.n / (sums.n + self.how.shrink)
        if self.how.significance:
            values *= np.minimum(sums.n, self.how.significance) / self.how.significance
        shape = (last - first, self.other.size)
        return csr_array((values.astype(np.float32), sums.indices, sums.indptr), shape=shape)


def _ratio(top: Floats, bottom: Floats) -> Floats:
    """Return the quotient; 0 where rounding has left something of nothing, above or below."""
    found = np.divide(top, bottom, out=np.zeros_like(top), where=bottom > _NOTHING)
    found[found < _NOTHING] = 0
    return found


def _entries(matrix: csr_array, how: Similarity) -> csr_array:
    """Return what the kind counts: values, or ones."""
    if how.kind != "jaccard":
        return matrix
    ones = np.ones(matrix.nnz, np.float32)
    return csr_array((ones, matrix.indices, matrix.indptr), shape=matrix.shape)


def _means(matrix: csr_array) -> Floats:
    """Return the mean stored value of each row; 0 of an empty one."""
    means: Floats = row_sums(matrix, matrix.data) / np.maximum(np.diff(matrix.indptr), 1)
    return means


def _less(matrix: csr_array, means: Floats) -> csr_array:
    return csr_array((matrix.data - means, matrix.indices, matrix.indptr), shape=matrix.shape)


def _spans(queries: csr_array, base: csr_array, most: int) -> Iterator[tuple[int, int]]:
    """Yield first rows of blocks and the rows after their last ones: about `most` similarities each, or one row."""
    per_column = np.bincount(base.indices, minlength=base.shape[1])
    products = np.append(0, np.cumsum(per_column[queries.indices]))
    stored = np.minimum(np.diff(products[queries.indptr]), base.shape[0])
    block = np.cumsum(stored) // most
    return pairwise([*np.flatnonzero(np.diff(block, prepend=-1)).tolist(), queries.shape[0]])
