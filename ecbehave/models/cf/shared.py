"""Sums over the columns that two rows of sparse matrices share."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from ecbehave.models.cf.products import product

Floats = NDArray[np.float64]


def positive(*matrices: csr_array) -> tuple[float, csr_array, csr_array]:
    """Return by how much values are raised so that all are at least 1, and the two matrices with such values."""
    one, other = matrices
    lowest = min(one.data.min(initial=0), other.data.min(initial=0))
    raised = (
        csr_array((m.data.astype(np.float64) + (1 - lowest), m.indices, m.indptr), shape=m.shape)
        for m in matrices
    )
    return (1 - lowest, *raised)


@dataclass(frozen=True)
class Sums:
    """Sums over the columns that row a of the first matrix shares with row b of the second, for pairs that do [n]."""

    indptr: NDArray[np.integer]
    indices: NDArray[np.integer]
    """Row numbers b, of one row a after the other."""
    n: Floats
    """Columns that are shared."""
    product: Floats
    own_squares: Floats
    other_squares: Floats


class Shared:
    """Products of two matrices with all that is needed of the columns that are shared.

    A product of sparse matrices leaves out sums that are 0, so that two of them may not store the same positions. With
    values above 0 no sum is 0: they are raised, and the sums corrected. A complex number carries two values, and so
    three products give all six sums.
    """

    def __init__(self, raised_by: float, queries: csr_array, base: csr_array) -> None:
        self.raised_by = raised_by
        self.queries, self.base = queries, csr_array(base.T)
        self.base.sort_indices()

    def sums(self, first: int, last: int) -> Sums:
        """Return the sums for some rows of the first matrix."""
        a, b, up = self.queries[first:last], self.base, self.raised_by
        a1, b1 = np.ones_like(a.data), np.ones_like(b.data)
        with_products = product(_with(a, a.data + 1j * a1), b)
        products, other = with_products.data.real, with_products.data.imag
        of_own = product(_with(a, a.data + 1j * a.data**2), _with(b, b1)).data
        of_other = product(_with(a, a1), _with(b, b1 + 1j * b.data**2)).data
        n, own = of_other.real, of_own.real
        return Sums(
            with_products.indptr,
            with_products.indices,
            n,
            products - up * (own + other) + up * up * n,
            of_own.imag - 2 * up * own + up * up * n,
            of_other.imag - 2 * up * other + up * up * n,
        )


def _with(matrix: csr_array, values: NDArray[np.number]) -> csr_array:
    return csr_array((values, matrix.indices, matrix.indptr), shape=matrix.shape)
