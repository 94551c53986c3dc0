"""Where given items stand among the scores of all items, and how many share their score."""

from collections.abc import Iterable

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array

from ecbehave.inputs.types import MatrixInput
from ecbehave.models.best import best_per_row
from ecbehave.models.protocol import Block
from ecbehave.models.top_k import LIST, block_threads, listable, named, values_at
from ecbehave.models.wanted import Ints, Wanted
from ecbehave.parallel import in_order


def lists_and_places(
    data: MatrixInput, blocks: Iterable[Block], wanted: pl.DataFrame, k: int
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """List the best k items of every user that has scores, and find out where the wanted items stand.

    Args:
        data: names of users and items, and what is barred.
        blocks: scores of everybody who is asked.
        wanted: `user_id`, `item_id` and any other columns, each pair once.
        k: length of the lists.

    Returns:
        The lists, as by `top_k`; and `wanted` with `n_higher` (items with a higher score) and `n_tied` (items with the
        same one, itself included), of all items that may be listed, whether or not they are in the list. Both are null
        where the item has no score, is barred, or k items or more have a higher score.
    """
    pairs = Wanted.of(data, wanted)
    n_higher, n_tied = (np.full(wanted.height, -1, np.int64) for _ in range(2))
    lists = [pl.DataFrame(schema=LIST)]

    def rank(block: Block) -> tuple[pl.DataFrame, Ints, tuple[Ints, Ints]]:
        users, scores = block
        ranked = listable(data, users, scores, k)
        best = best_per_row(ranked, k)
        found, row, col = pairs.within(users)
        return named(data, users, best), found, places(ranked, best, row, col, k)

    for listed, found, counted in in_order(rank, blocks, block_threads()):
        lists.append(listed)
        n_higher[found], n_tied[found] = counted
    placed = wanted.with_columns(n_higher=pl.Series(n_higher), n_tied=pl.Series(n_tied))
    is_in = pl.col("n_higher") >= 0
    return pl.concat(lists), placed.with_columns(pl.when(is_in).then(pl.col("n_higher", "n_tied")))


def places(block: csr_array, best: csr_array, row: Ints, col: Ints, k: int) -> tuple[Ints, Ints]:
    """Return how many values of its row are higher than that of a position, and how many equal it, itself included.

    Args:
        block: [B, I].
        best: the k highest values of each row of `block`; see `best_per_row`.
        row: [N] rows of the positions.
        col: [N] their columns.
        k: as in `best`.

    Returns:
        Both [N]; -1 and -1 where nothing is stored, or k values or more are higher.
    """
    value = values_at(block, row, col)
    n_best, lowest = np.diff(best.indptr), _lowest(best, k)
    is_in = (value > -np.inf) & (value >= lowest[row])
    # Whatever is higher than one of the best is itself one of them.
    length = np.where(is_in, n_best[row], 0)
    start = best.indptr[row] - (np.cumsum(length) - length)
    others = best.data[np.repeat(start, length) + np.arange(length.sum())]
    position = np.repeat(np.arange(row.size), length)
    n_higher = np.bincount(position[others > value[position]], minlength=row.size)
    n_tied = np.bincount(position[others == value[position]], minlength=row.size)
    # Only with the lowest of them, others may tie that are left out.
    at_lowest = is_in & (value == lowest[row])
    if at_lowest.any():
        n_tied[at_lowest] = _n_equal(block, lowest)[row[at_lowest]]
    return np.where(is_in, n_higher, -1), np.where(is_in, n_tied, -1)


def _lowest(best: csr_array, k: int) -> NDArray[np.float64]:
    """Return the lowest of the k highest values of each row; minus infinity where there are fewer."""
    length = np.diff(best.indptr)
    is_full = length == k
    lowest = np.full(length.size, -np.inf)
    lowest[is_full] = best.data[np.repeat(is_full, length)].reshape(-1, k).min(axis=1)
    return lowest


def _n_equal(block: csr_array, value: NDArray[np.float64]) -> Ints:
    """Count the values of each row that equal one value per row."""
    length = np.diff(block.indptr)
    row = np.repeat(np.arange(length.size), length)
    counted: Ints = np.bincount(row[block.data == value[row]], minlength=length.size)
    return counted
