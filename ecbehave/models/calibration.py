"""Platt scaling: scores to probabilities, learned on a window later than training."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit


@dataclass(frozen=True)
class Calibration:
    """`probability = expit(slope * score + intercept)`, with slope >= 0 so that the order of scores is kept."""

    slope: float
    intercept: float

    @classmethod
    def fit(cls, score: NDArray[np.float64], label: NDArray[np.int8]) -> Self:
        """Fit by maximum likelihood with Platt's smoothed targets.

        Args:
            score: [N], on the log-odds scale.
            label: [N], 0 or 1.

        Source: Platt (1999), Probabilistic outputs for support vector machines, section 2.2.
        """
        from scipy.optimize import minimize

        n_positive = int(label.sum())
        n_negative = label.size - n_positive
        target = np.where(label == 1, (n_positive + 1) / (n_positive + 2), 1 / (n_negative + 2))
        centre, spread = float(score.mean()), float(score.std())
        if spread <= 1e-9 * max(abs(centre), 1.0):
            spread = 1.0  # equal scores deviate from their mean by rounding, which is nothing to learn from
        x = (score - centre) / spread

        def loss(theta: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            z = theta[0] * x + theta[1]
            value = np.logaddexp(0, z).sum() - (target * z).sum()
            error = expit(z) - target
            return float(value), np.array([(error * x).sum(), error.sum()])

        prior = np.log((n_positive + 1) / (n_negative + 1))
        found = minimize(
            loss, np.array([0.0, prior]), jac=True, method="L-BFGS-B", bounds=[(0, None), (None, None)]
        )
        slope = float(found.x[0]) / spread
        return cls(slope, float(found.x[1]) - slope * centre)

    def apply(self, score: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return probabilities [N]."""
        result: NDArray[np.float64] = expit(self.slope * score + self.intercept)
        return result

    def to_dict(self) -> dict[str, float]:
        """Return the two numbers, for the model's metadata."""
        return {"slope": self.slope, "intercept": self.intercept}

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Self:
        """Read what `to_dict` gave."""
        return cls(float(stored["slope"]), float(stored["intercept"]))
