"""What lists are like apart from being right, at every length that is judged."""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array

from ecbehave.inputs.types import MatrixInput
from ecbehave.metrics.beyond_accuracy import distances, novelty
from ecbehave.metrics.ranking import coverage
from ecbehave.models.baseline.popularity import n_users_of

#: Lists of so many users of each cutoff tell how different items are within a list; users are drawn by their hash.
DIVERSITY_USERS = 10_000

#: Measure to its value at each length: `{"coverage": {"coverage@5": 0.1, ...}, "novelty": ..., "diversity": ...}`.
Character = Mapping[str, Mapping[str, float | None]]


def character(lists: pl.DataFrame, tests: Sequence[MatrixInput], n_items: int, k: Sequence[int]) -> Character:
    """Return coverage, novelty and diversity of lists, at each length.

    Args:
        lists: `user_id`, `cutoff`, `rank`, `item_id`.
        tests: what was known at each cutoff.
        n_items: items that may be listed.
        k: lengths.
    """
    had = pl.concat([_had(data) for data in tests])
    apart = {length: [_distances(lists, data, length) for data in tests] for length in k}
    return {
        "coverage": {f"coverage@{length}": coverage(lists, n_items, length) for length in k},
        "novelty": {f"novelty@{length}": novelty(lists, had, length) for length in k},
        "diversity": {f"diversity@{length}": _mean(np.concatenate(apart[length])) for length in k},
    }


def _had(data: MatrixInput) -> pl.DataFrame:
    """Return how many users had each item that anybody had before the cutoff, of how many."""
    counted = n_users_of(data, "all")
    return counted.select(
        pl.lit(data.cutoff).alias("cutoff"),
        data.items["item_id"].gather(counted["item"]),
        n_users=pl.col("score").cast(pl.Int64),
        n_all=pl.lit(data.pairs["user"].n_unique(), pl.Int64),
    )


def _distances(lists: pl.DataFrame, data: MatrixInput, k: int) -> NDArray[np.float64]:
    """Return how different the items are within the lists of a cutoff, for some users."""
    # The users of a matrix stand in the order of their hashes.
    users = data.users["user_id"].gather(data.asked[:DIVERSITY_USERS])
    shown = (
        lists.filter((pl.col("cutoff") == data.cutoff) & (pl.col("rank") <= k))
        .join(pl.DataFrame({"user_id": users}).with_row_index("list"), on="user_id")
        .join(data.items.select("item_id").with_row_index("item"), on="item_id")
    )
    pairs = data.pairs.select("user", "item").unique().sort("item", "user")
    return distances(
        _marks(shown["list"], shown["item"], (users.len(), data.items.height)),
        _marks(pairs["item"], pairs["user"], (data.items.height, data.users.height)),
    )


def _marks(row: pl.Series, col: pl.Series, shape: tuple[int, int]) -> csr_array:
    marks = csr_array((np.ones(row.len()), (row.to_numpy(), col.to_numpy())), shape=shape)
    marks.sort_indices()
    return marks


def _mean(values: NDArray[np.float64]) -> float | None:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else None
