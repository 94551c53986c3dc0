"""The best k items per user from sparse scores, ties by item."""

import itertools

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array

from ecbehave.inputs.types import MatrixInput

#: Of long rows, one value in so many is looked at first.
_PART = 8


def top_k(data: MatrixInput, users: NDArray[np.int64], scores: csr_array, k: int) -> pl.DataFrame:
    """Return the k highest scores of each row.

    Args:
        data: names of users and items.
        users: [B] row numbers in `data.users`.
        scores: [B, I], B users by all items; what is not stored has no score.
        k: length of the lists.

    Returns:
        `user_id`, `item_id`, `score`, rows of one user together, best first; equal scores in the order of `item_id`.
    """
    best = best_per_row(scores, k).tocoo()
    order = np.lexsort((best.col, -best.data, best.row))
    row, col, value = best.row[order], best.col[order], best.data[order]
    return pl.DataFrame(
        {
            "user_id": data.users["user_id"].gather(users[row]),
            "item_id": data.items["item_id"].gather(col.astype(np.int64)),
            "score": value.astype(np.float64),
        }
    )


def best_per_row(matrix: csr_array, n: int) -> csr_array:
    """Keep the n highest stored values of each row; of equal ones, those of the lowest columns.

    Args:
        matrix: [R, C], each position stored at most once.
        n: most values to keep in a row.
    """
    kept: list[NDArray[np.int64]] = []
    for start, end in itertools.pairwise(matrix.indptr):
        values = matrix.data[start:end]
        positions = start + _worth_a_look(values, n)
        if positions.size > n:
            values = matrix.data[positions]
            lowest = np.partition(values, -n)[-n]
            is_higher = values > lowest
            ties = positions[values == lowest]
            ties = ties[np.argsort(matrix.indices[ties])][: n - int(is_higher.sum())]
            positions = np.concatenate([positions[is_higher], ties])
        kept.append(positions)
    chosen = np.concatenate([np.empty(0, np.int64), *kept])
    indptr = np.concatenate([[0], np.cumsum([p.size for p in kept])])
    result = csr_array((matrix.data[chosen], matrix.indices[chosen], indptr), shape=matrix.shape)
    result.sort_indices()
    return result


def _worth_a_look(values: NDArray[np.float64], n: int) -> NDArray[np.int64]:
    """Return the places of the n highest values and a few more; the n-th highest of a part bounds that of all."""
    part = values[::_PART]
    if part.size < n:
        return np.arange(values.size)
    return np.flatnonzero(values >= np.partition(part, -n)[-n])
