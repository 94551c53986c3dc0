"""Who is targeted, and what it brings: plain functions on arrays, one row per score.

Everywhere: `score` and `probability` are float64 [N], `label` is int8 or bool [N], `is_targeted` is bool [N].
Money is in the shop's currency.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from ecbehave.metrics.tally import Floats, Groups

MAX_POINTS = 200
#: Rows that are given their places at once.
_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Money:
    """What it costs to target a row, and what that brings where the row is positive."""

    gain: float
    """Value of a positive row times the rate at which targeting wins it."""
    cost: float
    """Cost of targeting a row."""

    @property
    def threshold(self) -> float:
        """Probability from which targeting a row pays: where `probability x gain = cost`."""
        return self.cost / self.gain

    def of_rows(self, positive: ArrayLike, is_targeted: ArrayLike) -> Floats:
        """Return what each row brings, 0 where it is not targeted: [N].

        Args:
            positive: [N] labels, for what came of it, or probabilities, for what is expected.
            is_targeted: [N].
        """
        brought: Floats = np.where(
            np.asarray(is_targeted, bool), np.asarray(positive, np.float64) * self.gain - self.cost, 0.0
        )
        return brought

    def curve(self, label: ArrayLike, score: ArrayLike, max_points: int = MAX_POINTS) -> pl.DataFrame:
        """Return what targeting the highest scores brings, by the share of rows that are targeted.

        Within a tie the curve is straight, which is the expectation over all orders of its rows.

        Returns:
            share (from 0 to 1), profit; at most `max_points` rows, none without rows to target.
        """
        tally = Groups.of_scores(label, score).tally()
        share = np.linspace(0, 1, max_points) if tally.n else np.empty(0)
        profit = tally.captured(share) * self.gain - share * tally.n * self.cost
        return pl.DataFrame({"share": share, "profit": profit})


def places(score: ArrayLike, group: ArrayLike | None = None) -> NDArray[np.int64]:
    """Return each row's place by descending score, from 0 on [N]; of equal scores, the earlier row stands first.

    Args:
        score: [N].
        group: [N] whole numbers from 0 on; rows are placed among those of their own group. By default all rows are
            one.
    """
    values = np.asarray(score, dtype=np.float64)
    if group is None:
        # Rows may be tens of millions: beside the scores, this holds 20 bytes for each.
        order = np.argsort(-values, kind="stable")
        place = np.empty(values.size, dtype=np.int64)
        for first in range(0, values.size, _AT_ONCE):
            own = order[first : first + _AT_ONCE]
            place[own] = np.arange(first, first + own.size)
        return place
    place = np.empty(values.size, dtype=np.int64)
    groups = np.asarray(group, np.int64)
    order = np.lexsort((-values, groups))  # stable
    start = np.append(0, np.cumsum(np.bincount(groups)))
    place[order] = np.arange(values.size) - start[groups[order]]
    return place
