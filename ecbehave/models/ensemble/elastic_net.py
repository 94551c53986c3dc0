"""Logistic regression with an L1 and an L2 penalty, by Newton's method: few passes over many rows.

scikit-learn has such a method for L2 alone; with L1 its solvers take hundreds of passes, or stop before they are done.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from ecbehave.models.ensemble.bowl import Bowl

Floats = NDArray[np.float64]

#: Rows of the design [B, C], labels [B], 0 or 1, and weights [B].
Block = tuple[Floats, Floats, Floats]
Blocks = Callable[[], Iterable[Block]]

_MOST_STEPS = 100
#: Change of a coefficient that is next to nothing, since columns have the spread 1.
_TOLERANCE = 1e-7
#: What the loss must fall by, of what its slope promises, and how much of it is rounding.
_ARMIJO, _ROUNDING = 1e-4, 1e-13


@dataclass(frozen=True)
class Penalty:
    """For each coefficient w: `l1` |w| + `l2` w^2 / 2, each [C]; an intercept has 0."""

    l1: Floats
    l2: Floats

    def of(self, at: Floats) -> float:
        """Return the sum over coefficients."""
        return float(self.l1 @ np.abs(at) + self.l2 @ at**2 / 2)


def fit_penalised(blocks: Blocks, penalty: Penalty, start: Floats) -> Floats:
    """Return the coefficients [C] with the least weighted mean of log losses, plus penalty.

    Each step takes a pass over the rows, and a quarter of the square of C sums for each row.

    Args:
        blocks: gives the rows, as often as asked.
        penalty: of each coefficient.
        start: coefficients to begin with; near ones save passes.

    Source: Lee, Sun and Saunders (2014), Proximal Newton-type methods, section 2, with its line search.
    """
    at, here = start, _Expansion.around(start, blocks)
    for _ in range(_MOST_STEPS):
        goal = here.lowest(at, penalty)
        step = goal - at
        if np.abs(step).max() <= _TOLERANCE:
            return goal
        value = here.loss + penalty.of(at)
        fall = float(here.gradient @ step) + penalty.of(goal) - penalty.of(at)
        share = 1.0
        there = _Expansion.around(goal, blocks)
        while there.loss + penalty.of(at + share * step) > value + _ARMIJO * share * fall + _ROUNDING * value:
            share /= 2
            there = _Expansion.around(at + share * step, blocks)
        at, here = (goal if share == 1 else at + share * step), there
    return at


@dataclass(frozen=True)
class _Expansion:
    """The loss around some coefficients: its value, slope [C] and curvature [C, C]."""

    loss: float
    gradient: Floats
    hessian: Floats

    @classmethod
    def around(cls, at: Floats, blocks: Blocks) -> "_Expansion":
        loss, total = 0.0, 0.0
        gradient, hessian = np.zeros(at.size), np.zeros((at.size, at.size))
        for x, label, weight in blocks():
            raw = x @ at
            rate = expit(raw)
            loss += float(weight @ (np.logaddexp(0, raw) - label * raw))
            gradient += x.T @ (weight * (rate - label))
            hessian += x.T @ (x * (weight * rate * (1 - rate))[:, None])
            total += float(weight.sum())
        return cls(loss / total, gradient / total, hessian / total)

    def lowest(self, at: Floats, penalty: Penalty) -> Floats:
        """Return where the quadratic that has this slope and curvature, plus penalty, is lowest [C]."""
        if not penalty.l1.any():
            slope = self.gradient + penalty.l2 * at
            step = np.linalg.solve(self.hessian + np.diag(penalty.l2), -slope)
            return np.asarray(at + step, dtype=np.float64)
        bowl = Bowl(self.hessian + np.diag(penalty.l2), self.gradient - self.hessian @ at, penalty.l1)
        return bowl.lowest(at)
