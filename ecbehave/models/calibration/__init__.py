"""Scores to probabilities, learned on windows later than training; a new method is one file, and one line here."""

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from ecbehave.models.calibration.beta import Beta
from ecbehave.models.calibration.isotonic import Isotonic
from ecbehave.models.calibration.platt import Platt


class Calibration(Protocol):
    """What turns scores into probabilities; a higher score never gets a lower probability."""

    method: ClassVar[str]
    """Its name in the config and in the model's metadata."""

    def apply(self, score: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return probabilities [N] in [0, 1] of scores [N]."""

    def to_dict(self) -> dict[str, Any]:
        """Return the learned numbers, for JSON."""


#: From the plainest to the freest.
METHODS: Mapping[str, type[Platt] | type[Beta] | type[Isotonic]] = {
    c.method: c for c in (Platt, Beta, Isotonic)
}


def stored(calibration: Calibration) -> dict[str, Any]:
    """Return a calibration for the model's metadata; `restored` reads it."""
    return {"method": calibration.method} | calibration.to_dict()


def restored(content: Mapping[str, Any]) -> Calibration:
    """Read what `stored` gave: the same numbers to the last bit."""
    return METHODS[content["method"]].from_dict(content)


__all__ = ["METHODS", "Beta", "Calibration", "Isotonic", "Platt", "restored", "stored"]
