"""Lists of k items for everybody who is asked: the model's, filled up with what is popular."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array

from ecbehave.config.values import parse_duration
from ecbehave.inputs.types import MatrixInput
from ecbehave.models.baseline.popularity import Popular
from ecbehave.models.top_k import LIST, top_k

_RECENT = parse_duration("28d")
#: Scores of popular items that are compared at once.
_BLOCK_SCORES = 2_000_000


def complete_lists(lists: pl.DataFrame, data: MatrixInput, k: int) -> pl.DataFrame:
    """Return k items per user of the population, or all that may be listed where that is less.

    Where the model has no more items, those follow that most users had in the last 28 days, then ever; items of the
    categories that the user had something in come before the others, as `Popular` says. Nothing that is barred is
    filled in.

    Args:
        lists: the model's `user_id`, `item_id`, `score`: at most k rows per user, best first.
        data: who is asked, what was had when, and what is barred.
        k: length of the lists.

    Returns:
        `user_id`, `rank` (from 1), `item_id`, `score` (null for a filled-up item), `is_cold` (the model has no
        item for the user), in the order of the population.
    """
    position = data.users.filter("is_asked").select("user_id").with_row_index("position")
    full = lists.select("user_id", "item_id", "score")
    for window in (_RECENT, "all"):
        full = pl.concat([full, *_popular(full, data, k, window)])
    return (
        full.with_columns(rank=pl.int_range(1, pl.len() + 1).over("user_id").cast(pl.UInt32))
        .filter(pl.col("rank") <= k)
        .join(position, on="user_id")
        .sort("position", "rank")
        .with_columns(is_cold=pl.col("score").is_null().all().over("user_id"))
        .select("user_id", "rank", "item_id", "score", "is_cold")
    )


def _popular(lists: pl.DataFrame, data: MatrixInput, k: int, window: object) -> Iterator[pl.DataFrame]:
    """Yield further rows of lists that are too short, without a score; at least as many as there is room for."""
    listed = _listed(lists, data)
    short = data.asked[np.diff(listed.indptr)[data.asked] < k]
    if not short.size:
        return
    # What is in the list already is barred as well.
    barred = listed if data.barred is None else csr_array(listed + data.barred)
    n_barred = np.diff(barred.indptr)[short]
    popular = Popular.of(data, window).without(data.barred_items)
    n_own = np.diff(popular.lift.indptr)[short]
    by_need = np.argsort(n_barred, kind="stable")
    # So many of the best that k are left when what is barred has gone.
    for part in _parts((n_own + 1) * (k + n_barred), by_need):
        best = popular.best(short[part], k + int(n_barred[part].max()))
        found = top_k(replace(data, barred=barred), short[part], best, k)
        yield found.with_columns(score=pl.lit(None, LIST["score"]))


def _listed(lists: pl.DataFrame, data: MatrixInput) -> csr_array:
    """Mark what is in the lists [U, I]."""
    rows = (
        lists.join(data.users.select("user_id").with_row_index("user"), on="user_id")
        .join(data.items.select("item_id").with_row_index("item"), on="item_id")
        .select("user", "item")
    )
    return data.csr(rows, np.ones(rows.height)).astype(np.bool_)


def _parts(sizes: NDArray[np.int64], order: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Cut an order into parts of about equal size, ascending in themselves."""
    number = np.cumsum(sizes[order]) // _BLOCK_SCORES
    for part in np.split(order, np.flatnonzero(np.diff(number)) + 1):
        yield np.sort(part)
