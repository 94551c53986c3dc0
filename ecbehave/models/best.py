"""The n best of each row of a sparse matrix, without a loop over rows."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

#: Values that are looked at together: so few that they stay in the processor's cache.
_CHUNK = 250_000
#: Of rows that are much longer than n, one value in so many is looked at first.
_PART = 8

Floats = NDArray[np.floating]
Ints = NDArray[np.integer]


def best_per_row(matrix: csr_array, n: int, *, ordered: bool = True) -> csr_array:
    """Keep the n highest stored values of each row; of equal ones, those of the lowest columns.

    Args:
        matrix: [R, C], each position stored at most once, no value NaN.
        n: most values to keep in a row, at least 1.
        ordered: whether the columns of a row are to ascend; else they stay in the order in which they are stored.

    Returns:
        [R, C].
    """
    spans = pairwise(_cuts(matrix.indptr))
    places = np.concatenate([np.empty(0, np.int64), *(_best_places(matrix, *span, n) for span in spans)])
    ends = np.searchsorted(places, matrix.indptr)
    kept = csr_array((matrix.data[places], matrix.indices[places], ends), shape=matrix.shape)
    if ordered:
        kept.sort_indices()
    return kept


def _cuts(indptr: Ints) -> list[int]:
    """Return rows where chunks of about as many values begin, and the number of rows."""
    chunk = indptr[:-1] // _CHUNK
    return [*np.flatnonzero(np.diff(chunk, prepend=-1)).tolist(), indptr.size - 1]


def _best_places(matrix: csr_array, first: int, last: int, n: int) -> NDArray[np.int64]:
    """Return where the best values of some rows are stored, ascending."""
    start, end = matrix.indptr[first], matrix.indptr[last]
    values, lengths = matrix.data[start:end], np.diff(matrix.indptr[first : last + 1])
    rough = _worth_a_look(values, lengths, n)
    if rough is not None:
        values = values[rough]
        lengths = np.diff(np.searchsorted(rough, np.append(0, np.cumsum(lengths))))
    bound = nth_highest(values, lengths, n)
    places = np.flatnonzero(values >= np.repeat(bound, lengths))
    row = np.searchsorted(np.cumsum(lengths), places, side="right")
    at = places if rough is None else rough[places]
    goes = _surplus(matrix.indices[start + at], values[places] == bound[row], row, n)
    found: NDArray[np.int64] = start + np.delete(at, goes)
    return found


def _surplus(columns: Ints, is_tied: NDArray[np.bool_], row: Ints, n: int) -> Ints:
    """Return which values are too many: of those that tie with the n-th highest of their row, the highest columns.

    Args:
        columns: [m] of the values that are left.
        is_tied: [m] whether the value is the n-th highest.
        row: [m] ascending.
        n: most values of a row.
    """
    surplus = np.bincount(row, minlength=1) - n
    tied = np.flatnonzero((surplus[row] > 0) & is_tied)
    tied = tied[np.lexsort((-columns[tied], row[tied]))]
    own = row[tied]
    rank = np.arange(tied.size) - np.searchsorted(own, own)
    return tied[rank < surplus[own]]


def nth_highest(values: Floats, lengths: Ints, n: int) -> Floats:
    """Return the n-th highest value of each row [R]; minus infinity where a row has fewer than n values.

    Args:
        values: those of all rows, one row after the other.
        lengths: [R] how many of them are in each row.
        n: at least 1.
    """
    bound = np.full(lengths.size, -np.inf, values.dtype)
    # Rows of about the same length are put side by side.
    size = np.where(lengths >= n, np.frexp(lengths)[1], 0)
    for alike in np.unique(size[size > 0]):
        is_alike = size == alike
        own = lengths[is_alike]
        padded = np.full((own.size, own.max()), -np.inf, values.dtype)
        of_them = values if is_alike.all() else values[np.repeat(is_alike, lengths)]
        padded[np.arange(own.max()) < own[:, None]] = of_them
        padded.partition(-n, axis=1)
        bound[is_alike] = padded[:, -n]
    return bound


def _worth_a_look(values: Floats, lengths: Ints, n: int) -> NDArray[np.int64] | None:
    """Return the places of values that may be among the n highest of their row; None where few can be left out.

    The n-th highest of every eighth value bounds that of all.
    """
    some = some_of_each(lengths, n)
    if some is None:
        return None
    places, n_looked = some
    bound = nth_highest(values[places], n_looked, n)
    return np.flatnonzero(values >= np.repeat(bound, lengths))


def some_of_each(lengths: Ints, n: int) -> tuple[Ints, Ints] | None:
    """Return the places of some values of rows that are much longer than n; None where few could be left out.

    The n-th highest of them bounds that of all.

    Args:
        lengths: [R] how many values are in each row, one row after the other.
        n: at least 1.

    Returns:
        The places, and how many there are of each row [R].
    """
    long = np.where(lengths > 2 * _PART * n, lengths, 0)
    if 2 * long.sum() < lengths.sum():
        return None
    n_looked = -(-long // _PART)
    starts = np.cumsum(lengths) - lengths
    step = np.arange(n_looked.sum()) - np.repeat(np.cumsum(n_looked) - n_looked, n_looked)
    return np.repeat(starts, n_looked) + _PART * step, n_looked
