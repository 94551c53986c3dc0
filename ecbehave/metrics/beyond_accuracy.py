"""What lists are like apart from being right: how far from the beaten track, and how different within themselves."""

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array

from ecbehave.metrics.keyed import KEYS, reject_nulls

#: Lists that are compared at once. Each is worked out by itself, so that this changes no number.
_LISTS_AT_ONCE = 256


def novelty(recommended: pl.DataFrame, had: pl.DataFrame, k: int) -> float | None:
    """Return how little known the recommended items are, in bits: 1 for what every other user had.

    That is the mean over all lists of the mean self-information, -log2(share of the users who had the item), of the
    first k items; an item that nobody had counts as had by one user. None without lists.

    Args:
        recommended: user_id, cutoff, rank (1-based), item_id.
        had: cutoff, item_id, `n_users` (who had the item before the cutoff) and `n_all` (all users there were).
        k: length of the lists.

    Source: Castells, Vargas and Wang (2011), Novelty and diversity metrics for recommender systems, section 3.1; Zhou
    et al. (2010), Solving the apparent diversity-accuracy dilemma, for the mean self-information.
    """
    reject_nulls(had, ["cutoff", "item_id", "n_users", "n_all"], "had")
    information = -(pl.max_horizontal("n_users", 1) / pl.col("n_all")).log(2)
    shown = recommended.filter(pl.col("rank") <= k).join(had, on=["cutoff", "item_id"])
    of_lists = shown.sort(*KEYS, "rank").group_by(KEYS, maintain_order=True).agg(bits=information.mean())
    return None if of_lists.is_empty() else float(np.mean(of_lists["bits"].to_numpy()))


def distances(lists: csr_array, had_by: csr_array) -> NDArray[np.float64]:
    """Return how different the items of each list are [L]: 0 if the same users had all of them, 1 if nobody had two.

    That is the mean of 1 - cosine over all pairs of items of the list, where an item is the users who had it; one
    that nobody had is at distance 1 from all. nan for a list of fewer than two items.

    Takes as many steps as the listed items have users.

    Args:
        lists: [L, I] marks the items of each list.
        had_by: [I, U] marks the users who had each item.

    Source: Castells, Vargas and Wang (2011), section 3.2, intra-list diversity; Ziegler et al. (2005), Improving
    recommendation lists through topic diversification, section 3.3.
    """
    n_lists = range(0, lists.shape[0], _LISTS_AT_ONCE)
    parts = [_distances(csr_array(lists[start : start + _LISTS_AT_ONCE]), had_by) for start in n_lists]
    return np.concatenate([np.empty(0), *parts])


def _distances(lists: csr_array, had_by: csr_array) -> NDArray[np.float64]:
    """Return the mean distance within each list: of vectors of length 1, the cosines of all ordered pairs add up to the
    square of the length of their sum, minus one for each vector.
    """
    n_users = np.diff(had_by.indptr)
    unit = csr_array(
        (np.repeat(1 / np.sqrt(np.maximum(n_users, 1)), n_users), had_by.indices, had_by.indptr), had_by.shape
    )
    own = csr_array((np.ones(lists.nnz), lists.indices, lists.indptr), lists.shape)
    size, n_known, total = np.diff(own.indptr), own @ (n_users > 0), csr_array(own @ unit)
    of_list = np.repeat(np.arange(size.size), np.diff(total.indptr))
    squares = np.bincount(of_list, total.data**2, minlength=size.size)
    n_pairs = size * (size - 1)
    cosine = np.divide(squares - n_known, n_pairs, out=np.full(size.size, np.nan), where=n_pairs > 0)
    apart: NDArray[np.float64] = np.clip(1 - cosine, 0, 1)
    return apart
