"""Where a quadratic with an L1 penalty is lowest: what each step of a penalised regression asks."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve

Floats = NDArray[np.float64]

_MOST_ROUNDS = 2_000
#: Slope, and move of a coefficient, that are next to nothing: columns have the spread 1, and losses are means.
_FLAT, _STILL = 1e-10, 1e-8
#: Coefficients at 0 come in together where they are pulled at least so hard, next to the one that is pulled hardest.
_SHARE_OF_PULL = 0.5


@dataclass(frozen=True)
class Bowl:
    """w' `matrix` w / 2 + `slope` w + `l1` |w|, of coefficients w [C]; `matrix` [C, C] has no negative eigenvalue."""

    matrix: Floats
    slope: Floats
    l1: Floats

    def height(self, at: Floats) -> float:
        """Return its value."""
        return float(at @ (self.matrix @ at / 2 + self.slope) + self.l1 @ np.abs(at))

    def lowest(self, start: Floats) -> Floats:
        """Return where it is lowest [C]; one system of equations a round, and a few rounds from a near start.

        Where columns repeat one another, so that there is no such system, or it leads nowhere, coefficients are moved
        one after the other.

        Source: Lee, Battle, Raina and Ng (2007), Efficient sparse coding algorithms, algorithm 1 (feature-sign
        search); Friedman, Hastie and Tibshirani (2010), Regularization paths, section 3, for the moves one by one.
        """
        at, height = start, self.height(start)
        for _ in range(_MOST_ROUNDS):
            slope = self.matrix @ at + self.slope
            pull = np.where(at == 0, np.abs(slope) - self.l1, np.abs(slope + self.l1 * np.sign(at)))
            if pull.max() <= _FLAT:
                break
            comes_in = (at == 0) & (pull > _FLAT) & (pull >= _SHARE_OF_PULL * pull.max())
            there = self._downhill(at, np.where(comes_in, -np.sign(slope), np.sign(at)))
            found = self.height(there)
            if found >= height:
                there = self._swept(at)
                found = self.height(there)
                if np.abs(there - at).max() <= _STILL:
                    return there
            at, height = there, found
        return at

    def _downhill(self, at: Floats, sign: Floats) -> Floats:
        """Go to where it would be lowest with these signs, but no further than is good, once signs change [C]."""
        goal = self._with_signs(sign)
        # What was 0 must leave it to the side that it is pulled to.
        while (is_astray := (at == 0) & (goal * sign < 0)).any():
            sign = np.where(is_astray, 0, sign)
            goal = self._with_signs(sign)
        step = goal - at
        crosses = at * goal < 0
        shares = np.append(np.unique(at[crosses] / -step[crosses]), 1.0)
        share = self._best_share(at, step, shares)
        there = at + share * step if share < 1 else goal
        there[crosses & (at / np.where(crosses, -step, 1) == share)] = 0
        return there

    def _with_signs(self, sign: Floats) -> Floats:
        """Return where it is lowest, were |w| the same as `sign` w, and w 0 where that is [C]."""
        is_in = sign != 0
        matrix, right = self.matrix[np.ix_(is_in, is_in)], -(self.slope + self.l1 * sign)[is_in]
        found = np.zeros(sign.size)
        try:
            found[is_in] = cho_solve(cho_factor(matrix), right)
        except LinAlgError:
            found[is_in] = np.linalg.lstsq(matrix, right)[0]
        return found

    def _best_share(self, at: Floats, step: Floats, shares: Floats) -> float:
        """Return the share of a step after which it is lowest."""
        tilt, curve = float(step @ (self.matrix @ at + self.slope)), float(step @ self.matrix @ step)
        size = np.abs(at + shares[:, None] * step) @ self.l1
        return float(shares[np.argmin(shares * tilt + shares**2 * curve / 2 + size)])

    def _swept(self, at: Floats) -> Floats:
        """Move one coefficient after the other to where it is best [C]."""
        goal, slope, curve = at.copy(), self.matrix @ at + self.slope, self.matrix.diagonal()
        # A column of zeros has nothing to say, whatever its coefficient.
        scale = np.where(curve == 0, 1, curve)
        for n in range(goal.size):
            pull = curve[n] * goal[n] - slope[n]
            found = np.sign(pull) * max(abs(pull) - self.l1[n], 0.0) / scale[n]
            slope += self.matrix[n] * (found - goal[n])
            goal[n] = found
        return goal
