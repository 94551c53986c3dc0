"""How much more a row with label 1 counts than one with label 0 while a model learns."""

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

PositiveWeight = Literal["balanced"] | Annotated[float, Field(gt=0)]


def positive_factor(setting: PositiveWeight, label: NDArray[np.int8]) -> float:
    """Return the weight of a positive row; `balanced` gives both classes the same total weight."""
    if setting != "balanced":
        return setting
    n_positive = int(label.sum())
    return (label.size - n_positive) / n_positive


def row_weights(label: NDArray[np.int8], factor: float) -> NDArray[np.float64] | None:
    """Return the weight of each row [N]; None where all rows count the same."""
    return None if factor == 1 else np.where(label == 1, factor, 1.0)
