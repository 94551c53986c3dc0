"""What every model kind offers, and what a run gives it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self, runtime_checkable

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecbehave.config import Features, ModelConfig
from ecbehave.inputs.types import Inputs

InputType = Literal["table", "matrix"]
Output = Literal["binary", "ranking"]


@dataclass(frozen=True)
class Options:
    """What the run decides, not the model."""

    seed: int
    threads: int
    output: Output = "binary"
    """`binary`: rows are labelled by themselves; `ranking`: rows are a user's candidates, and the best come first."""
    features: Features = field(default_factory=Features)
    """How a table is made ready for a kind that does not read it by name."""
    ends: Mapping[datetime, datetime] = field(default_factory=dict)
    """Cutoff to the end of its label window: when its labels are known."""


class Model(Protocol):
    """A kind of model. Learned state ends in `_`; nothing is learned outside `fit`.

    A kind with a class attribute `transform` (a `Transform`: what suits it) learns from selected and transformed
    features of the table, as the config's `features` has it; any other finds the table as it is stored.
    """

    config_class: ClassVar[type[ModelConfig]]
    inputs: ClassVar[Mapping[str, InputType]]
    """Task output (`binary`, `ranking`) to the input that is read for it; empty for a kind that is made of others."""

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
            Of a table, for either output: its keys, in its order, with `score` (Float64).
            Of a matrix: `user_id`, `item_id`, `score`, at most `k` rows for each user of the population.
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
class Explains(Protocol):
    """A table model that can say what drove a score."""

    def contributions(self, data: Any) -> NDArray[np.float64]:
        """Return additive contributions to the score [N, F + 1]; the last column is the base value."""

    def importance(self) -> Mapping[str, float]:
        """Return a share of the total importance per feature."""


class Predictor(Protocol):
    """What the stages handle: a model of any kind, one or made of several, on all that is known at a cutoff."""

    @property
    def explains(self) -> bool:
        """Whether it can say what drove a score."""

    def fit(self, train: Sequence[Inputs], valid: Sequence[Inputs], options: Options) -> Self:
        """Learn; see `Model.fit`."""

    def score(self, data: Inputs) -> NDArray[np.float64]:
        """Return a score for each row of the table [N]; higher is likelier."""

    def lists(self, data: Inputs, k: int) -> pl.DataFrame:
        """Return `user_id`, `item_id`, `score`: at most `k` rows for each user of the population, best first."""

    def contributions(self, data: Inputs) -> NDArray[np.float64]:
        """Return additive contributions to the score [N, F + 1], by feature of the table; the last is the base."""

    def importance(self) -> Mapping[str, float]:
        """Return a share of the total importance per feature."""

    def left_out(self) -> Mapping[str, Any]:
        """Return the features that it was not given, each with the reason."""

    def save(self, folder: Path) -> None:
        """Write the learned state into an empty folder, without pickle."""
