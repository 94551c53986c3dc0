"""Beta calibration: a Platt curve that may bend differently at its two ends."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_expit

from ecbehave.models.calibration.platt import Platt, fit_logistic


@dataclass(frozen=True)
class Beta:
    """`log odds = a ln(s) - b ln(1 - s) + c` with s = the Platt-scaled score, and a, b >= 0 to keep the order.

    Platt scaling is the case a = b = 1, c = 0. The formula asks for s in (0, 1), and a score is any real number;
    from the log-odds of s both logarithms are finite however extreme it is.
    """

    method: ClassVar[str] = "beta"
    platt: Platt
    a: float
    b: float
    c: float

    @classmethod
    def fit(cls, score: NDArray[np.float64], label: NDArray[np.int8]) -> Self:
        """Fit by maximum likelihood with Platt's smoothed targets.

        Args:
            score: [N], any real numbers.
            label: [N], 0 or 1.

        Source: Kull, Silva Filho and Flach (2017), Beta calibration, section 4: logistic regression on ln(s) and
        -ln(1 - s).
        """
        platt = Platt.fit(score, label)
        a, b, c = fit_logistic(_logarithms(platt, score), label, np.ones(2))
        return cls(platt, float(a), float(b), float(c))

    def apply(self, score: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return probabilities [N]."""
        above, below = _logarithms(self.platt, score).T
        result: NDArray[np.float64] = expit(self.a * above + self.b * below + self.c)
        return result

    def to_dict(self) -> dict[str, float]:
        """Return the five numbers, for the model's metadata."""
        return self.platt.to_dict() | {"a": self.a, "b": self.b, "c": self.c}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Read what `to_dict` gave."""
        return cls(Platt.from_dict(content), *(float(content[name]) for name in "abc"))


def _logarithms(platt: Platt, score: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ln(s) and -ln(1 - s) of the Platt-scaled scores, both rising with the score: [N, 2]."""
    log_odds = platt.log_odds(score)
    return np.stack([log_expit(log_odds), -log_expit(-log_odds)], axis=1)
