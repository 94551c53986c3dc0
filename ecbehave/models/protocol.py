"""What every model kind offers, and what a run gives it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self, runtime_checkable

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecbehave.config import ModelConfig
from ecbehave.inputs.types import Transform

InputType = Literal["table", "matrix"]


@dataclass(frozen=True)
class Options:
    """What the run decides, not the model."""

    seed: int
    threads: int


class Scorer(Protocol):
    """What scores, in whatever way it has learned to."""

    def predict(self, data: Any, k: int) -> pl.DataFrame:
        """Return scores; see `Model.predict`."""


class Model(Scorer, Protocol):
    """A kind of model. Learned state ends in `_`; nothing is learned outside `fit`."""

    config_class: ClassVar[type[ModelConfig]]
    inputs: ClassVar[Mapping[str, InputType]]
    """Task output (`binary`, `ranking`) to the input that is read for it."""

    def __init__(self, config: Any) -> None: ...

    def fit(self, train: Sequence[Any], valid: Sequence[Any], options: Options) -> Self:
        """Learn from the train cutoffs; `valid` may choose when to stop, and is empty in a refit.

        A matrix model finds the newest history that is known at the time of fitting as the last element of
        `train`; it may have no labels. A refit keeps the settings that the first fit has chosen.

        Raises:
            DataError: the train cutoffs cannot teach the question, e.g. only one class.
        """

    def predict(self, data: Any, k: int) -> pl.DataFrame:
        """Return scores; higher is likelier.

        Returns:
            `binary`: the keys of the table, in its order, with `score` (Float64, on the log-odds scale).
            `ranking`: `user_id`, `item_id`, `score`, at most `k` rows for each user of the population.
        """

    def save(self, folder: Path) -> None:
        """Write the learned state into an empty folder, without pickle."""

    @classmethod
    def load(cls, folder: Path, config: Any) -> Self:
        """Read what `save` wrote; nothing in the folder can run code.

        Raises:
            ArtifactError: the folder does not hold a model of this kind.
        """


@runtime_checkable
class Transforms(Protocol):
    """A table model that learns from selected and transformed features; any other finds the table as it is stored."""

    transform: ClassVar[Transform]
    """What suits the kind; the config's `features` may say otherwise."""


@runtime_checkable
class Explains(Protocol):
    """A table model that can say what drove a score."""

    def contributions(self, data: Any) -> NDArray[np.float64]:
        """Return additive contributions to the score [N, F + 1]; the last column is the base value."""

    def importance(self) -> Mapping[str, float]:
        """Return a share of the total importance per feature."""
