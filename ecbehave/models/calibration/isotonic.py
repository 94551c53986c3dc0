"""Isotonic calibration: whatever rising curve fits best, for logs that are large enough to show one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Isotonic:
    """A rising line through points (score, rate), flat before the first and after the last.

    Attributes:
        score: [B] mean scores of blocks, strictly ascending.
        rate: [B] rates of positives of the blocks, ascending, all of them above 0 and below 1.
    """

    method: ClassVar[str] = "isotonic"
    score: tuple[float, ...]
    rate: tuple[float, ...]

    @classmethod
    def fit(cls, score: NDArray[np.float64], label: NDArray[np.int8]) -> Self:
        """Pool neighbours until the rates rise, and join the middles of the pools.

        Two made-up rows stand at the ends: a positive one with the lowest score, a negative one with the highest.
        A lowest pool of n negatives has the rate 1 / (n + 1) then, and nobody's probability is 0 or 1, so that the
        log loss stays finite. Joining middles, in place of steps, keeps most scores apart.

        Args:
            score: [N], any real numbers.
            label: [N], 0 or 1.

        Source: Zadrozny and Elkan (2002), Transforming classifier scores into accurate multiclass probability
        estimates, section 3; Oron and Flournoy (2017), Centered isotonic regression, section 2, for the line.
        """
        from scipy.optimize import isotonic_regression

        value, group = np.unique(score, return_inverse=True)
        n = np.bincount(group).astype(np.float64)
        positive = np.bincount(group, label)
        n[0] += 1
        n[-1] += 1
        positive[0] += 1
        fitted = isotonic_regression(positive / n, weights=n)
        start = fitted.blocks[:-1]
        middle = np.add.reduceat(n * value, start) / np.add.reduceat(n, start)
        return cls(tuple(middle.tolist()), tuple(fitted.x[start].tolist()))

    def apply(self, score: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return probabilities [N]."""
        result: NDArray[np.float64] = np.interp(score, self.score, self.rate)
        return result

    def to_dict(self) -> dict[str, list[float]]:
        """Return the points, for the model's metadata."""
        return {"score": list(self.score), "rate": list(self.rate)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Read what `to_dict` gave."""
        return cls(*(tuple(map(float, content[name])) for name in ("score", "rate")))
