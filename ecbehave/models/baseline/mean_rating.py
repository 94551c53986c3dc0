"""The rating that is usual: of the user, and for the item."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecbehave.config.model import ModelConfig
from ecbehave.inputs.types import MatrixInput
from ecbehave.models.cf.biases import Biases, clipped, rated
from ecbehave.models.protocol import Block, Options, Reads
from ecbehave.models.storage import load_json, save_json

#: Scores that are in memory at once.
_BLOCK_VALUES = 4_000_000


class MeanRatingConfig(ModelConfig):
    """The mean of all ratings, and how far the user and the item usually lie from it."""

    kind: Literal["mean_rating"]


class MeanRating:
    """Needs no fitting: means are taken over the history that it is asked about; see `Biases`."""

    config_class: ClassVar[type[ModelConfig]] = MeanRatingConfig
    inputs: ClassVar[Mapping[str, Reads]] = {"rating": "matrix"}

    def __init__(self, config: MeanRatingConfig) -> None:
        self.config = config

    def fit(self, train: Sequence[MatrixInput], valid: Sequence[MatrixInput], options: Options) -> Self:
        """Learn nothing, but check that there is something to take the mean of.

        Raises:
            DataError: the newest history has no rating.
        """
        del valid, options
        rated(train[-1])
        return self

    def ratings(self, data: MatrixInput, pairs: pl.DataFrame) -> NDArray[np.float64]:
        """Return the rating expected of each pair [n] of a `user` and an `item` (row numbers)."""
        known = rated(data)
        return clipped(Biases.of_rated(data, known).of(pairs["user"], pairs["item"]), known)

    def scores(self, data: MatrixInput) -> Iterator[Block]:
        """Yield the rating expected of each user for every item."""
        biases = Biases.of_rated(data, rated(data))
        n_blocks = -(-data.asked.size * data.items.height // _BLOCK_VALUES) or 1
        for users in np.array_split(data.asked, n_blocks):
            yield users, biases.grid(users)

    def save(self, folder: Path) -> None:
        """Write that there is nothing to write."""
        save_json(folder / "mean_rating.json", {})

    @classmethod
    def load(cls, folder: Path, config: MeanRatingConfig) -> Self:
        """Read what `save` wrote."""
        load_json(folder / "mean_rating.json")
        return cls(config)
