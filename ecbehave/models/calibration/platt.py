"""Platt scaling: a logistic curve over the score."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit


@dataclass(frozen=True)
class Platt:
    """`probability = expit(slope * score + intercept)`, with slope >= 0 so that the order of scores is kept."""

    method: ClassVar[str] = "platt"
    slope: float
    intercept: float

    @classmethod
    def fit(cls, score: NDArray[np.float64], label: NDArray[np.int8]) -> Self:
        """Fit by maximum likelihood with Platt's smoothed targets.

        Args:
            score: [N], any real numbers.
            label: [N], 0 or 1.

        Source: Platt (1999), Probabilistic outputs for support vector machines, section 2.2.
        """
        centre, spread = float(score.mean()), float(score.std())
        if spread <= 1e-9 * max(abs(centre), 1.0):
            spread = 1.0  # equal scores deviate from their mean by rounding, which is nothing to learn from
        slope, intercept = fit_logistic(((score - centre) / spread)[:, None], label, np.zeros(1))
        slope /= spread
        return cls(float(slope), float(intercept - slope * centre))

    def apply(self, score: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return probabilities [N]."""
        result: NDArray[np.float64] = expit(self.log_odds(score))
        return result

    def log_odds(self, score: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the logarithm of the odds [N]."""
        return self.slope * score + self.intercept

    def to_dict(self) -> dict[str, float]:
        """Return the two numbers, for the model's metadata."""
        return {"slope": self.slope, "intercept": self.intercept}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Read what `to_dict` gave."""
        return cls(float(content["slope"]), float(content["intercept"]))


def fit_logistic(
    x: NDArray[np.float64], label: NDArray[np.int8], start: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return weights [K], none below 0, and an intercept: the likeliest ones under Platt's smoothed targets.

    With a positive row's target short of 1 and a negative one's above 0, separable scores get finite weights.

    Args:
        x: [N, K].
        label: [N], 0 or 1.
        start: [K], weights to begin with.
    """
    from scipy.optimize import minimize

    n_positive = int(label.sum())
    n_negative = label.size - n_positive
    target = np.where(label == 1, (n_positive + 1) / (n_positive + 2), 1 / (n_negative + 2))

    def loss(theta: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        # Sums of numpy, never BLAS, whose order changes with the number of threads.
        z = (x * theta[:-1]).sum(axis=1) + theta[-1]
        value = np.logaddexp(0, z).sum() - (target * z).sum()
        error = expit(z) - target
        return float(value), np.append((x * error[:, None]).sum(axis=0), error.sum())

    prior = np.log((n_positive + 1) / (n_negative + 1)) if not start.any() else 0.0
    bounds = [(0, None)] * x.shape[1] + [(None, None)]
    found = minimize(loss, np.append(start, prior), jac=True, method="L-BFGS-B", bounds=bounds)
    weights: NDArray[np.float64] = found.x
    return weights
