"""Products of sparse matrices, quicker than those that scipy makes by itself."""

import numpy as np
from scipy.sparse import _sparsetools, csr_array


def narrow(matrix: csr_array) -> csr_array:
    """Return a matrix in the smallest types that change no sum of its products, which makes these quicker.

    Whole numbers have 24 bits in a float of 32.
    """
    width = np.int32 if max(matrix.nnz, *matrix.shape) < 2**31 else np.int64
    values = matrix.data
    largest = float(np.abs(values).max(initial=0))
    is_small = largest**2 * max(np.diff(matrix.indptr).max(initial=0), 1) < 2**24
    is_exact = is_small and bool((values == np.rint(values)).all())
    parts = (
        values.astype(np.float32 if is_exact else np.float64),
        matrix.indices.astype(width),
        matrix.indptr.astype(width),
    )
    made = csr_array(parts, shape=matrix.shape)
    made.sort_indices()
    return made


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
