"""Lists of k items for everybody who is asked: the model's, filled up with what is popular."""

import polars as pl

from ecbehave.config import parse_duration
from ecbehave.inputs.types import MatrixInput
from ecbehave.models.baseline.popularity import most_popular

_RECENT = parse_duration("28d")


def complete_lists(lists: pl.DataFrame, data: MatrixInput, k: int) -> pl.DataFrame:
    """Return k items per user of the population, or the whole catalogue where that is smaller.

    Where the model has no more items, those follow that most users had in the last 28 days, then ever.

    Args:
        lists: the model's `user_id`, `item_id`, `score`: at most k rows per user, best first.
        data: who is asked, and what was had when.
        k: length of the lists.

    Returns:
        `user_id`, `rank` (from 1), `item_id`, `score` (null for a filled-up item), `is_cold` (the model has no
        item for the user), in the order of the population.
    """
    users = data.users.filter("is_asked").select("user_id").with_row_index("position")
    scored = lists.with_columns(place=pl.int_range(pl.len()).over("user_id"))
    n_scored = scored.group_by("user_id").agg(n=pl.len())
    short = users.join(n_scored, on="user_id", how="left").filter(pl.col("n").fill_null(0) < k)
    filler = (
        _popular_items(data, 2 * k).with_row_index("place").with_columns(pl.col("place").cast(pl.Int64) + k)
    )
    filled = short.select("user_id").join(filler, how="cross").with_columns(score=pl.lit(None, pl.Float64))
    columns = ["user_id", "item_id", "score", "place"]
    return (
        pl.concat([scored.select(columns), filled.select(columns)])
        .join(users, on="user_id")
        .sort("position", "place")
        .unique(["user_id", "item_id"], keep="first", maintain_order=True)
        .with_columns(rank=pl.int_range(1, pl.len() + 1).over("user_id").cast(pl.UInt32))
        .filter(pl.col("rank") <= k)
        .with_columns(is_cold=pl.col("score").is_null().all().over("user_id"))
        .select("user_id", "rank", "item_id", "score", "is_cold")
    )


def _popular_items(data: MatrixInput, n: int) -> pl.DataFrame:
    lists = [most_popular(data, window, n) for window in (_RECENT, "all")]
    return pl.concat(lists).unique("item_id", keep="first", maintain_order=True).head(n).select("item_id")
