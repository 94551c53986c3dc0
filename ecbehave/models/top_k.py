"""From scores of all items: the best k of each user, ties by item, and the scores of given pairs."""

from collections.abc import Iterable, Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array

from ecbehave.inputs.types import MatrixInput, TableInput
from ecbehave.models.best import best_per_row
from ecbehave.models.protocol import Block
from ecbehave.models.wanted import Wanted
from ecbehave.parallel import in_order

#: Of a dense row, one score in so many is looked at first.
_PART = 8
#: Users by items that are marked at once: a byte each, which stay in the processor's cache.
_MARKS = 4_000_000

#: Most blocks of scores that are ranked at once.
_MOST_BLOCKS = 8

#: Columns of lists.
LIST = {"user_id": pl.String(), "item_id": pl.String(), "score": pl.Float64()}


def block_threads() -> int:
    """Return how many blocks of scores are ranked at once; each may have 32 MB."""
    return min(pl.thread_pool_size(), _MOST_BLOCKS)


def lists_of(data: MatrixInput, blocks: Iterable[Block], k: int) -> pl.DataFrame:
    """Return the best items of every user that has scores; see `top_k`."""
    return pl.concat([pl.DataFrame(schema=LIST), *list_blocks(data, blocks, k)])


def list_blocks(data: MatrixInput, blocks: Iterable[Block], k: int) -> Iterator[pl.DataFrame]:
    """Yield the same by blocks of users, some of which are ranked at once."""
    return in_order(lambda block: top_k(data, *block, k), blocks, block_threads())


def top_k(
    data: MatrixInput, users: NDArray[np.int64], scores: csr_array | NDArray[np.floating], k: int
) -> pl.DataFrame:
    """Return the k highest scores of each row, of what may be listed.

    Args:
        data: names of users and items, and what is barred.
        users: [B] row numbers in `data.users`.
        scores: [B, I], B users by all items; what is not stored, or minus infinity, has no score.
        k: length of the lists.

    Returns:
        `user_id`, `item_id`, `score`, rows of one user together, best first; equal scores in the order of `item_id`.
    """
    return named(data, users, best_per_row(listable(data, users, scores, k), k))


def named(data: MatrixInput, users: NDArray[np.int64], scores: csr_array) -> pl.DataFrame:
    """Return all that is stored in a block, with the names of users and items; the order is that of `top_k`."""
    best = scores.tocoo()
    order = np.lexsort((best.col, -best.data, best.row))
    row, col, value = best.row[order], best.col[order], best.data[order]
    return pl.DataFrame(
        {
            "user_id": data.users["user_id"].gather(users[row]),
            "item_id": data.items["item_id"].gather(col.astype(np.int64)),
            "score": value.astype(np.float64),
        }
    )


def listable(
    data: MatrixInput, users: NDArray[np.int64], scores: csr_array | NDArray[np.floating], k: int
) -> csr_array:
    """Return the scores of a block as a sparse matrix [B, I], without what is barred.

    Args:
        data: what is barred.
        users: [B] row numbers in `data.users`.
        scores: [B, I].
        k: of a dense block, the k highest scores of each row and their ties are enough; a few more may come.
    """
    barred = None if data.barred is None else csr_array(data.barred[users])
    everywhere = data.barred_items
    if not isinstance(scores, csr_array):
        return _highest(scores, barred, everywhere, k)
    scores = scores if everywhere is None else _kept(scores, ~everywhere[scores.indices])
    return scores if barred is None else _without(scores, barred)


def _highest(
    scores: NDArray[np.floating],
    barred: csr_array | None,
    everywhere: NDArray[np.bool_] | None,
    k: int,
) -> csr_array:
    """Return at least the k highest scores of each row with all their ties, of what is not barred."""
    lowest = np.full((len(scores), 1), np.finfo(scores.dtype).min, scores.dtype)
    if k < scores.shape[1]:
        # The k-th highest of a part bounds that of the row from below, and takes an eighth of the time.
        step = _PART if k * _PART <= scores.shape[1] else 1
        part = scores[:, ::step].copy()
        if barred is not None:
            row, col = _positions(barred, 0, len(scores))
            is_there = col % step == 0
            part[row[is_there], col[is_there] // step] = -np.inf
        if everywhere is not None:
            part[:, everywhere[::step]] = -np.inf
        part.partition(-k, axis=1)
        np.maximum(lowest, part[:, -k, None], out=lowest)
    is_in = scores >= lowest
    if barred is not None:
        is_in[_positions(barred, 0, len(scores))] = False
    if everywhere is not None:
        is_in[:, everywhere] = False
    row, col = np.divmod(np.flatnonzero(is_in), scores.shape[1])
    ends = np.append(0, np.cumsum(np.bincount(row, minlength=len(scores))))
    return csr_array((scores[row, col], col, ends), shape=scores.shape)


def _without(scores: csr_array, barred: csr_array) -> csr_array:
    """Drop the stored positions of another matrix; what is left keeps its order."""
    n_rows, n_items = scores.shape
    step = max(_MARKS // max(n_items, 1), 1)
    marked = np.zeros((min(step, n_rows), n_items), bool)
    is_out = np.zeros(scores.nnz, bool)
    for first in range(0, n_rows, step):
        out, own = _positions(barred, first, first + step), _positions(scores, first, first + step)
        marked[out] = True
        is_out[scores.indptr[first] : scores.indptr[min(first + step, n_rows)]] = marked[own]
        marked[out] = False
    return _kept(scores, ~is_out)


def _positions(matrix: csr_array, first: int, last: int) -> tuple[NDArray[np.int64], NDArray[np.integer]]:
    """Return where values of some rows are stored: rows, counted from the first one, and columns."""
    starts = matrix.indptr[first : last + 1]
    return np.repeat(np.arange(starts.size - 1), np.diff(starts)), matrix.indices[starts[0] : starts[-1]]


def _kept(scores: csr_array, stays: NDArray[np.bool_]) -> csr_array:
    """Keep some of the stored positions, in their order."""
    n_before = np.append(0, np.cumsum(stays))
    return csr_array((scores.data[stays], scores.indices[stays], n_before[scores.indptr]), shape=scores.shape)


def pair_scores(
    data: MatrixInput, blocks: Iterable[Block], table: TableInput, target: str
) -> NDArray[np.float64]:
    """Return the score of each row of a table of pairs [N]; minus infinity where there is none.

    Args:
        data: names of users and items.
        blocks: scores of all users who are asked.
        table: pairs of a user and a target.
        target: column that holds the item.
    """
    wanted = Wanted.of(data, table.frame.select("user_id", item_id=target))
    found = np.full(table.n_rows, -np.inf)
    for users, scores in blocks:
        pairs, row, col = wanted.within(users)
        found[pairs] = values_at(scores, row, col)
    return found


def values_at(
    scores: csr_array | NDArray[np.floating], row: NDArray[np.int64], col: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the scores at some positions; minus infinity where none is stored."""
    if not isinstance(scores, csr_array):
        dense: NDArray[np.float64] = scores[row, col].astype(np.float64)
        return dense
    ordered = scores.sorted_indices()
    stored = (
        np.repeat(np.arange(scores.shape[0]), np.diff(ordered.indptr)) * scores.shape[1] + ordered.indices
    )
    wanted = row * scores.shape[1] + col
    place = np.searchsorted(stored, wanted)
    is_stored = place < stored.size
    is_stored[is_stored] = stored[place[is_stored]] == wanted[is_stored]
    found = np.full(row.size, -np.inf)
    found[is_stored] = ordered.data[place[is_stored]]
    return found
