"""The inverse of a large symmetric matrix, of which half is stored, in the memory of the matrix itself.

A symmetric matrix [N, N] is a list of bands: one for each block of rows, with its columns from the first one to the end
of the block on the diagonal. What is above the diagonal blocks is not stored.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array, csr_array

from ecbehave.parallel import in_order

#: Rows of a band. Sums run block by block, so that another size gives other last digits.
_BLOCK = 256
#: Columns of a band that are worked on at once, so that they stay in the processor's cache.
_CHUNK = 512

Bands = list[NDArray[np.floating]]


def n_bytes(n_rows: int, n_columns: int, threads: int) -> int:
    """Return the memory that `gram_inverse` takes for a matrix [n_rows, n_columns], with its result."""
    if _is_wide(n_rows, n_columns):
        solved = threads * 4 * _BLOCK * n_rows
        return _stored(n_columns) + max(8 * solved + _stored(n_rows), _in_work(n_rows, threads))
    return _stored(n_columns) + _in_work(n_columns, threads)


def _stored(n: int) -> int:
    return 8 * sum((end - start) * end for start, end in _spans(n))


def _in_work(n: int, threads: int) -> int:
    """Return what `gram` and `invert` take besides what is stored."""
    return 8 * _BLOCK * (n + threads * (n + 2 * min(n, _CHUNK)))


def _spans(n: int) -> Iterator[tuple[int, int]]:
    return pairwise([*range(0, n, _BLOCK), n])


def gram_inverse(matrix: csr_array, ridge: float, threads: int) -> Bands:
    """Return -(X'X + ridge I)^-1 in bands [N, N].

    Costs N^3 multiplications; for U rows, less than half as many as columns, U^3 and N for each stored value.

    Args:
        matrix: X [U, N].
        ridge: added to the diagonal; positive.
        threads: bands that are worked on at once; it changes no digit.
    """
    if _is_wide(*matrix.shape):
        return _through_rows(matrix, ridge, threads)
    bands = gram(matrix, ridge, threads)
    invert(bands, threads)
    return bands


def _is_wide(n_rows: int, n_columns: int) -> bool:
    return 2 * n_rows < n_columns


def _through_rows(matrix: csr_array, ridge: float, threads: int) -> Bands:
    """Return the same from the inverse of the other product: (X' (XX' + ridge I)^-1 X - I) / ridge.

    Source: Woodbury (1950), Inverting modified matrices.
    """
    columns = csr_array(matrix.T)
    rows = gram(columns, ridge, threads)
    invert(rows, threads)
    bands: Bands = [np.empty((end - start, end)) for start, end in _spans(matrix.shape[1])]

    def fill(k: int) -> None:
        start, end = _span(bands[k])
        solved = np.ascontiguousarray(product(columns[start:end], rows).T)
        for band in bands[k:]:
            band[:, start:end] = (columns[slice(*_span(band))] @ solved) / -ridge
        own = bands[k][:, start:]
        np.fill_diagonal(own, own.diagonal() - 1 / ridge)

    for _ in in_order(fill, range(len(bands)), threads):
        pass
    return bands


def gram(matrix: csr_array, ridge: float, threads: int) -> Bands:
    """Return X'X + ridge I in bands.

    Args:
        matrix: X [U, N].
        ridge: added to the diagonal.
        threads: bands that are made at once; it changes no digit.
    """
    columns = csr_array(matrix.T)

    def band(span: tuple[int, int]) -> NDArray[np.float64]:
        start, end = span
        made: NDArray[np.float64] = (columns[start:end] @ matrix[:, :end]).toarray()
        np.fill_diagonal(made[:, start:], made[:, start:].diagonal() + ridge)
        return made

    return list(in_order(band, _spans(matrix.shape[1]), threads))


def invert(bands: Bands, threads: int) -> None:
    """Turn a positive definite matrix into its inverse times -1, in place; costs N^3 multiplications and additions.

    Source: the sweep operator on blocks; Goodnight (1979), A tutorial on the sweep operator, section 3. One block after
    the other is swept: for its rows k, A_ij - A_ik A_kk^-1 A_kj elsewhere, A_ik A_kk^-1 beside, -A_kk^-1 itself.

    Args:
        bands: the matrix.
        threads: bands that are worked on at once; it changes no digit, since each one is worked on by one thread.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, "blas"):
        for k in range(len(bands)):
            _sweep(bands, k, threads)


def _sweep(bands: Bands, k: int, threads: int) -> None:
    own = bands[k]
    start, end = _span(own)
    pivot = np.linalg.inv(own[:, start:])
    pivot = (pivot + pivot.T) / 2
    below = [band[:, start:end] for band in bands[k + 1 :]]
    # Zeros in the place of the block itself, so that its rows and columns stay as they are until all others are done.
    column = np.concatenate([own[:, :start].T, np.zeros_like(pivot), *below])

    def update(i: int) -> None:
        band = bands[i]
        first, last = _span(band)
        scaled = column[first:last] @ pivot
        for left in range(0, last, _CHUNK):
            right = min(left + _CHUNK, last)
            band[:, left:right] -= scaled @ column[left:right].T
        if i > k:
            band[:, start:end] = scaled

    for _ in in_order(update, (i for i in range(len(bands)) if i != k), threads):
        pass
    own[:, :start] = pivot @ column[:start].T
    own[:, start:] = -pivot


def _span(band: NDArray[np.floating]) -> tuple[int, int]:
    """Return the first row of a band, and the one after its last."""
    n_rows, end = band.shape
    return end - n_rows, end


def take_diagonal(bands: Bands) -> NDArray[np.float64]:
    """Return the diagonal [N], and leave zeros in its place."""
    taken: list[NDArray[np.floating]] = [np.empty(0)]
    for band in bands:
        block = band[:, band.shape[1] - band.shape[0] :]
        taken.append(block.diagonal().copy())
        np.fill_diagonal(block, 0)
    return np.concatenate(taken)


def product(matrix: csr_array, bands: Bands) -> NDArray[np.floating]:
    """Return a sparse matrix [B, N] times a symmetric one [B, N]; a row does not depend on the others."""
    columns = csc_array(matrix)
    found = np.zeros(matrix.shape, columns.dtype)
    for band in bands:
        start, end = _span(band)
        found[:, :end] += columns[:, start:end] @ band
        found[:, start:end] += columns[:, :start] @ band[:, :start].T
    return found


def check(bands: Bands, n: int) -> None:
    """Refuse bands that are not those of a matrix [n, n].

    Raises:
        ValueError: a shape does not fit.
    """
    ends = [0, *(band.shape[1] for band in bands)]
    for band, (start, end) in zip(bands, pairwise(ends), strict=True):
        if band.shape[0] != end - start or end <= start:
            raise ValueError(f"a band of shape {band.shape} does not begin at row {start}")
    if ends[-1] != n:
        raise ValueError(f"it has {ends[-1]} rows for {n} items")
