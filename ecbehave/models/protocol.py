"""What every model kind offers, and what a run gives it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self, runtime_checkable

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array

from ecbehave.config.features import Features
from ecbehave.config.model import ModelConfig
from ecbehave.inputs.types import Inputs, MatrixInput
from ecbehave.models.deep.watching import Watcher

InputType = Literal["table", "matrix", "sequence"]
#: What a kind is handed: one form, or all that is known (`Inputs`): `all` is the table and the matrix, `sequence` is
#: the sequences beside the form that says what is asked. That is the table, or of a ranking the matrix, and of pairs
#: both.
Reads = Literal["table", "matrix", "sequence", "all"]
#: What is asked: a number per user (`binary`), or per user and target (`pairs`), or lists, or a rating per user and
#: item.
Output = Literal["binary", "pairs", "ranking", "rating"]


#: The folder that the config names, and a time, to the folder of a model of that run which knows nothing from then on.
StoredModels = Callable[[str, datetime], Path]


@dataclass(frozen=True)
class Options:
    """What the run decides, not the model."""

    seed: int
    threads: int
    output: Output = "binary"
    """`binary`, `pairs`: rows are labelled by themselves; `ranking`: rows are a user's candidates, best come first;
    `rating`: the matrix has ratings, and those of other pairs are to be predicted."""
    features: Features = field(default_factory=Features)
    """How a table is made ready for a kind that does not read it by name."""
    ends: Mapping[datetime, datetime] = field(default_factory=dict)
    """Cutoff to the end of its label window: when its labels are known."""
    checkpoints: Path | None = None
    """Folder in which a long fit keeps what it has come to, for the case that it is killed; None keeps nothing."""
    watcher: Watcher | None = None
    """Who is told how a long fit goes."""
    stored: StoredModels | None = None
    """Where models of earlier runs are, for kinds that begin with one."""


class Model(Protocol):
    """A kind of model. Learned state ends in `_`; nothing is learned outside `fit`.

    A kind with a class attribute `transform` (a `Transform`: what suits it) learns from selected and transformed
    features of the table, as the config's `features` has it; any other finds the table as it is stored.
    """

    config_class: ClassVar[type[ModelConfig]]
    inputs: ClassVar[Mapping[str, Reads]]
    """What is asked to what is read for it; empty for a kind that is made of others. Who answers `binary` from the
    table answers `pairs` likewise."""

    def __init__(self, config: Any) -> None: ...

    def fit(self, train: Sequence[Any], valid: Sequence[Any], options: Options) -> Self:
        """Learn from the train cutoffs; `valid` may choose when to stop, and is empty in a refit.

        A matrix model finds the newest history that is known at the time of fitting as the last element of
        `train`; it may have no labels. A refit keeps the settings that the first fit has chosen.

        Raises:
            DataError: the train cutoffs cannot teach the question, e.g. only one class.
        """

    def save(self, folder: Path) -> None:
        """Write the learned state into an empty folder, without pickle."""

    @classmethod
    def load(cls, folder: Path, config: Any) -> Self:
        """Read what `save` wrote; nothing in the folder can run code.

        Raises:
            ArtifactError: the folder does not hold a model of this kind.
        """


class ScoresRows(Protocol):
    """A kind that answers for the rows of a table, which it reads, or finds in all that is known."""

    def predict(self, data: Any, k: int) -> pl.DataFrame:
        """Return the keys of the rows, in their order, with `score` (Float64): higher is likelier."""


#: Row numbers of users [B], ascending, and the scores of every item [B, I]. What a sparse block does not store has no
#: score; in a dense one, that is minus infinity.
Block = tuple[NDArray[np.int64], csr_array | NDArray[np.floating]]


class ScoresItems(Protocol):
    """A kind that scores every item for a user."""

    def scores(self, data: Any) -> Iterator[Block]:
        """Yield the scores of some users of the population after the others, each user once; higher is likelier.

        A kind that reads the matrix is given that, and one that reads sequences `Inputs`; users and items are those of
        the matrix.

        Of a model that was fitted to predict ratings, these are the ratings, which may lie beyond the scale: cut to it,
        the best of them could not be told apart.
        """


class PredictsRatings(ScoresItems, Protocol):
    """A kind that reads the matrix, and predicts which rating a user would give an item."""

    def ratings(self, data: MatrixInput, pairs: pl.DataFrame) -> NDArray[np.float64]:
        """Return the rating [n] expected of each pair of `user` and `item` (row numbers), within the known scale."""


class SimilarItems(Protocol):
    """A kind that knows which items are alike."""

    def similar_items(self, n: int, listed: pl.Series) -> Iterator[pl.DataFrame]:
        """Yield `item_id`, `similar_item_id`, `similarity`: at most `n` of `listed` for each item that it knows.

        Items come in the order of their ids, all rows of one in one frame, the most similar first, equal ones by id;
        never the item itself, nor a similarity that is not above 0.
        """


class SimilarUsers(Protocol):
    """A kind that knows which users are alike."""

    def similar_users(self, data: MatrixInput, n: int) -> Iterator[pl.DataFrame]:
        """Yield `user_id`, `similar_user_id`, `similarity`: at most `n` for each user of the population.

        Users come in the order of the population; see `SimilarItems`.
        """


class UserVectors(Protocol):
    """A kind that has a vector for each user."""

    def user_vectors(self, data: Inputs, users: pl.Series) -> NDArray[np.float32]:
        """Return a vector for each of some users [N, D], by their ids; zeros for one of whom nothing is known."""


class LearnsVectors(UserVectors, Protocol):
    """A kind that learns these vectors without any labels."""

    def fit_vectors(self, history: Inputs, options: Options) -> Self:
        """Learn from what is known at a cutoff.

        Raises:
            DataError: there is nothing to learn from.
        """


@runtime_checkable
class Explains(Protocol):
    """A table model that can say what drove a score."""

    def contributions(self, data: Any) -> NDArray[np.float64]:
        """Return additive contributions to the score [N, F + 1]; the last column is the base value."""

    def importance(self) -> Mapping[str, float]:
        """Return a share of the total importance per feature."""


#: What drove the score of a row, as a kind tells it that reads events one after the other: what was done at an instant,
#: or, without an event type, the whole history.
DRIVERS = {
    "row": pl.Int64(),
    "effect": pl.Float64(),
    "event_type": pl.String(),
    "item_id": pl.String(),
    "category": pl.String(),
    "n_events": pl.Int64(),
    "days": pl.Float64(),
    "since_days": pl.Float64(),
}


@runtime_checkable
class TellsEvents(Protocol):
    """A kind over sequences that can say which events drove a score."""

    def event_drivers(self, data: Inputs, rows: NDArray[np.int64], n: int) -> pl.DataFrame:
        """Return what drove the scores of some rows of the table; see `Predictor.event_drivers`."""


class Predictor(Protocol):
    """What the stages handle: a model of any kind, one or made of several, on all that is known at a cutoff."""

    @property
    def explains(self) -> bool:
        """Whether it can say what drove a score."""

    @property
    def reads_table(self) -> bool:
        """Whether any feature of the table has a say in the scores."""

    def fit(self, train: Sequence[Inputs], valid: Sequence[Inputs], options: Options) -> Self:
        """Learn; see `Model.fit`."""

    def score(self, data: Inputs) -> NDArray[np.float64]:
        """Return a score for each row of the table [N]; higher is likelier."""

    def lists(self, data: Inputs, k: int) -> pl.DataFrame:
        """Return `user_id`, `item_id`, `score`: at most `k` rows for each user of the population, best first."""

    def list_blocks(self, data: Inputs, k: int) -> Iterator[pl.DataFrame]:
        """Yield `lists` by blocks of users, in the order of the population."""

    def item_scores(self, data: Inputs) -> Iterator[Block]:
        """Yield the scores that `lists` ranks by, of items or of the candidates among them, by blocks of users.

        The users come in the order of the population; one without any score may be left out.
        """

    def ratings(self, data: Inputs, pairs: pl.DataFrame) -> NDArray[np.float64]:
        """Return the rating [n] expected of each pair of `user` and `item`, row numbers in the matrix."""

    def contributions(self, data: Inputs) -> NDArray[np.float64]:
        """Return additive contributions to the score [N, F + 1], by feature of the table; the last is the base."""

    def event_drivers(self, data: Inputs, rows: NDArray[np.int64], n: int) -> pl.DataFrame:
        """Return what drove the scores of some rows of the table: `DRIVERS`, at most `n` of each, the strongest first.

        `row` counts the rows that are asked about. Empty where the model does not read events one after the other.
        """

    def importance(self) -> Mapping[str, float]:
        """Return a share of the total importance per feature."""

    def left_out(self) -> Mapping[str, Any]:
        """Return the features that it was not given, each with the reason."""

    def save(self, folder: Path) -> None:
        """Write the learned state into an empty folder, without pickle."""
