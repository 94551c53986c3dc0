"""Which features a model is given: none that is constant, none that repeats another, or only the best ones."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecbehave.inputs.transform.numbers import pooled_column
from ecbehave.inputs.types import TableInput


@dataclass(frozen=True)
class Reason:
    """Why a feature is left out."""

    rule: Literal["constant", "near-duplicate", "rank"]
    why: str
    """The rule in this case: `near-duplicate of count_purchase_7d (r = 0.9995)`."""


Dropped = dict[str, Reason]

#: Rows that are multiplied at a time.
_BLOCK = 65_536
#: Equal columns may come out just below a correlation of 1.
_ROUNDING = 1e-9


def constants(train: Sequence[TableInput], features: Sequence[str]) -> Dropped:
    """Name the features that have one value, or none, in all train rows; without rows there are none."""
    if not any(part.n_rows for part in train):
        return {}
    dropped: Dropped = {}
    for feature in features:
        column = pooled_column(train, feature)
        if column.null_count() == len(column):
            dropped[feature] = Reason("constant", "constant: unknown in all train rows")
        elif column.null_count() == 0 and column.min() == column.max():
            dropped[feature] = Reason("constant", f"constant: {_shown(column.min())} in all train rows")
    return dropped


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def near_duplicates(train: Sequence[TableInput], features: Sequence[str], max_correlation: float) -> Dropped:
    """Name the numbers that follow an earlier one, up or down, and are unknown in the same train rows.

    Cost: rows x features x features that are unknown in the same rows.
    """
    categorical = set(train[0].categorical)
    unknown_alike: dict[bytes, list[str]] = {}
    for feature in features:
        if feature not in categorical:
            is_null = pooled_column(train, feature).is_null().to_numpy()
            key = hashlib.blake2b(np.packbits(is_null).tobytes()).digest()
            unknown_alike.setdefault(key, []).append(feature)
    dropped: Dropped = {}
    for names in unknown_alike.values():
        if len(names) > 1:
            dropped |= _followers(names, _correlations(train, names), max_correlation)
    return {feature: dropped[feature] for feature in features if feature in dropped}


def _followers(names: Sequence[str], r: NDArray[np.float64], max_correlation: float) -> Dropped:
    dropped: Dropped = {}
    kept: list[int] = []
    for n, name in enumerate(names):
        near = [k for k in kept if abs(r[n, k]) >= max_correlation - _ROUNDING]
        if near:
            why = f"near-duplicate of {names[near[0]]} (r = {r[n, near[0]]:.4f})"
            dropped[name] = Reason("near-duplicate", why)
        else:
            kept.append(n)
    return dropped


def _correlations(train: Sequence[TableInput], names: Sequence[str]) -> NDArray[np.float64]:
    """Return Pearson's r [F, F] over the rows where the features, unknown in the same ones, are known.

    It is 0 for a feature that does not vary.
    """
    from threadpoolctl import threadpool_limits

    columns = [pooled_column(train, name).drop_nulls() for name in names]
    means = np.array(
        [column.to_numpy().astype(np.float64).mean() if len(column) else 0.0 for column in columns]
    )
    products = np.zeros((len(names), len(names)))
    # The last digit of a long sum depends on the number of threads that add it up.
    with threadpool_limits(1):
        for start in range(0, len(columns[0]), _BLOCK):
            block = pl.DataFrame({str(n): c.slice(start, _BLOCK) for n, c in enumerate(columns)})
            centred = block.to_numpy().astype(np.float64) - means
            products += centred.T @ centred
    spread = np.sqrt(np.diag(products))
    size = np.outer(spread, spread)
    r: NDArray[np.float64] = np.divide(products, size, out=np.zeros_like(products), where=size > 0)
    return r


def all_but_best(features: Sequence[str], worth: Sequence[float], keep: int, by: str) -> Dropped:
    """Name the features after the first `keep`, the worthiest first; of equals the earlier one is kept.

    Args:
        features: F names.
        worth: [F] the higher the better.
        keep: how many stay.
        by: what the worth is, in words.
    """
    order = np.argsort(-np.asarray(worth), kind="stable")
    rank = {int(n): place for place, n in enumerate(order, start=1)}
    return {
        feature: Reason("rank", f"rank {rank[n]} of {len(features)} by {by}")
        for n, feature in enumerate(features)
        if rank[n] > keep
    }
