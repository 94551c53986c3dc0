"""Products of sparse matrices, quicker than those that scipy makes by itself."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import _sparsetools, csr_array

Floats = NDArray[np.float64]
#: More than rounding takes of a product.
_SLACK = 1e-6
#: Values that are looked at together.
_PART = 65_536


def narrow(matrix: csr_array) -> csr_array:
    """Return a matrix in the smallest types that change no sum of its products, which makes these quicker.

    Whole numbers have 24 bits in a float of 32.
    """
    width = np.int32 if max(matrix.nnz, *matrix.shape) < 2**31 else np.int64
    parts = (
        matrix.data.astype(np.float32 if _has_whole_products(matrix) else np.float64, copy=False),
        matrix.indices.astype(width, copy=False),
        matrix.indptr.astype(width, copy=False),
    )
    made = csr_array(parts, shape=matrix.shape)
    return made if made.has_sorted_indices else made.sorted_indices()


def _has_whole_products(matrix: csr_array) -> bool:
    """Return whether all products of rows are whole numbers that a float of 32 bits can hold."""
    largest = max(float(matrix.data.max(initial=0)), -float(matrix.data.min(initial=0)))
    is_small = largest**2 * max(np.diff(matrix.indptr).max(initial=0), 1) < 2**24
    # Where some are not whole, the first part mostly tells.
    parts = (matrix.data[start : start + _PART] for start in range(0, matrix.nnz, _PART))
    return is_small and all(bool((part == np.rint(part)).all()) for part in parts)


def product(left: csr_array, right: csr_array) -> csr_array:
    """Return a product of two matrices [A, B] and [B, C], whose columns are in no order.

    scipy goes through all multiplications twice, the first time only to learn how many values it will store. Here,
    there is room for as many as there may be: one for each multiplication, and in a row no more than C.
    """
    n_rows, n_columns = left.shape[0], right.shape[1]
    n_products = np.append(0, np.cumsum(np.diff(right.indptr)[left.indices]))
    room = int(np.minimum(np.diff(n_products[left.indptr]), n_columns).sum())
    width = np.result_type(left.indices, right.indices)
    data = np.empty(room, np.result_type(left, right))
    indices, indptr = np.empty(room, width), np.empty(n_rows + 1, width)
    lefts, rights = ((m.indptr, m.indices, m.data) for m in (left, right))
    _sparsetools.csr_matmat(n_rows, n_columns, *lefts, *rights, indptr, indices, data)
    n = indptr[-1]
    return csr_array((data[:n], indices[:n], indptr), shape=(n_rows, n_columns))


@dataclass(frozen=True)
class UnitRows:
    """Rows of length 1: their products are cosines, and bound the similarities that are below these."""

    unit: csr_array
    """[R, C]; an empty row, or one of zeros, is as it was."""
    lengths: Floats
    """[R] which the rows had."""
    is_whole: bool
    """Whether the products of the rows as they were are whole numbers, up to 24 bits."""

    @classmethod
    def of(cls, matrix: csr_array) -> Self:
        """Divide each row by its length."""
        lengths = np.sqrt(row_sums(matrix, matrix.data.astype(np.float64) ** 2))
        by = np.where(lengths > 0, lengths, 1)
        values = matrix.data / np.repeat(by, np.diff(matrix.indptr))
        unit = narrow(csr_array((values, matrix.indices, matrix.indptr), shape=matrix.shape))
        return cls(unit, lengths, _has_whole_products(matrix))


def products_of(
    cosines: NDArray[np.floating],
    own: UnitRows,
    row: NDArray[np.integer],
    other: UnitRows,
    col: NDArray[np.integer],
) -> Floats:
    """Return what the products of some rows were before they had length 1 [n], from those since; whole ones exactly.

    Args:
        cosines: [n].
        own: has the left row of each product.
        row: [n] its number there.
        other: has the right one.
        col: [n] its number there.
    """
    products: Floats = cosines * (own.lengths[row] * other.lengths[col])
    if own.is_whole and other.is_whole:
        np.rint(products, out=products)
    return products


def with_room(bound: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return bounds above 0 for products of rows of length 1, which are rounded."""
    return bound * np.float32(1 - _SLACK)


def row_sums(matrix: csr_array, values: Floats) -> Floats:
    """Return the sum over each row [R] of what belongs to the stored values."""
    alike = csr_array(
        (values.astype(np.float64, copy=False), matrix.indices, matrix.indptr), shape=matrix.shape
    )
    sums: Floats = alike @ np.ones(matrix.shape[1])
    return sums
