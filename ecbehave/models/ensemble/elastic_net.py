"""Logistic regression with an L1 and an L2 penalty, by Newton's method: few passes over many rows.

scikit-learn has such a method for L2 alone; with L1 its solvers take hundreds of passes, or stop before they are done.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

Floats = NDArray[np.float64]

#: Rows of the design [B, C], labels [B], 0 or 1, and weights [B].
Block = tuple[Floats, Floats, Floats]
Blocks = Callable[[], Iterable[Block]]

_MOST_STEPS = 100
_MOST_SWEEPS = 2_000
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

    Source: Friedman, Hastie and Tibshirani (2010), Regularization paths for generalized linear models, section 3; with
    the line search of Lee, Sun and Saunders (2014), Proximal Newton-type methods, section 2.
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
        return self._by_coordinates(at, penalty)

    def _by_coordinates(self, at: Floats, penalty: Penalty) -> Floats:
        """Move one coefficient after another until nothing moves; once their signs stay, all at a time."""
        goal, curve = at.copy(), self.hessian.diagonal()
        scale = curve + penalty.l2
        scale[scale == 0] = 1  # a column of zeros has nothing to say, whatever its coefficient
        origin = self.gradient - self.hessian @ at
        for _ in range(_MOST_SWEEPS):
            before, slope = goal.copy(), origin + self.hessian @ goal
            for n in range(goal.size):
                pull = curve[n] * goal[n] - slope[n]
                found = np.sign(pull) * max(abs(pull) - penalty.l1[n], 0.0) / scale[n]
                slope += self.hessian[n] * (found - goal[n])
                goal[n] = found
            if np.abs(goal - before).max() <= _TOLERANCE / 10:
                break
            if (np.sign(goal) == np.sign(before)).all():
                goal = self._with_signs(goal, origin, penalty)
        return goal

    def _with_signs(self, goal: Floats, origin: Floats, penalty: Penalty) -> Floats:
        """Return the lowest place with these signs, or the same one again where it has others.

        Of columns that nearly repeat one another, moves one by one would take thousands of rounds.
        """
        sign = np.sign(goal)
        is_in = sign != 0
        matrix = (self.hessian + np.diag(penalty.l2))[np.ix_(is_in, is_in)]
        found = np.zeros(goal.size)
        found[is_in] = np.linalg.lstsq(matrix, -(origin + penalty.l1 * sign)[is_in])[0]
        return found if (np.sign(found) == sign).all() else goal
