"""How much each user's events with an item count, over all types of events."""

from collections.abc import Mapping

import numpy as np
import polars as pl

from ecbehave.inputs.types import MatrixInput


def weighted_pairs(data: MatrixInput, event_weights: Mapping[str, float], strength: pl.Expr) -> pl.DataFrame:
    """Return one row per user and item who had an event of a type that counts, sorted by both.

    Args:
        data: the pairs, in any order.
        event_weights: weight of one event by type; types not named do not count.
        strength: of the events of one type, from the columns of `data.pairs`.

    Returns:
        `user`, `item`, `weight` (Float64, the sum over types of type weight x strength), `type_weight` (the highest
        one), `place` (of the newest).
    """
    # A few comparisons take a tenth of the time of a join.
    found = pl.coalesce(
        pl.lit(None, pl.Float64),
        *(pl.when(event_type=name).then(pl.lit(weight)) for name, weight in event_weights.items()),
    )
    rows = (
        data.pairs.with_columns(type_weight=found)
        .filter(pl.col("type_weight").is_not_null())
        .with_columns(weight=pl.col("type_weight") * strength)
    )
    if _ascend(rows):
        return rows.select("user", "item", "weight", "type_weight", "place")
    rows = rows.sort("user", "item", "event_type")
    # Sorted rows are added up run by run, in a tenth of the time that grouping them takes.
    user, item = (np.diff(rows[name].to_numpy(), prepend=-1) for name in ("user", "item"))
    first = np.flatnonzero((user != 0) | (item != 0))
    return rows[first].select(
        "user",
        "item",
        weight=np.add.reduceat(rows["weight"].to_numpy(), first),
        type_weight=np.maximum.reduceat(rows["type_weight"].to_numpy(), first),
        place=np.minimum.reduceat(rows["place"].to_numpy(), first),
    )


def _ascend(rows: pl.DataFrame) -> bool:
    """Return whether rows are sorted by user and item, none of which come twice together."""
    user, item = (rows[name].to_numpy() for name in ("user", "item"))
    is_next = (user[1:] > user[:-1]) | ((user[1:] == user[:-1]) & (item[1:] > item[:-1]))
    return bool(is_next.all())
