"""What kinds have in common that are nothing but trees once they are fitted."""

from collections.abc import Mapping
from pathlib import Path
from typing import Generic, Self, TypeVar

import polars as pl

from ecbehave.config.model import ModelConfig
from ecbehave.inputs.types import TableInput
from ecbehave.models.ensemble.tree_text import Floats, Trees

C = TypeVar("C", bound=ModelConfig)


class TreeModel(Generic[C]):
    """Scores, explains and stores what `fit` has left in `trees_`."""

    def __init__(self, config: C) -> None:
        self.config = config
        self.trees_ = Trees(None, (), 0)

    def predict(self, data: TableInput, k: int = 0) -> pl.DataFrame:
        """Return the keys with what the trees say as `score`."""
        del k
        return data.keys.with_columns(score=pl.Series(self.scores_of_rows(data), dtype=pl.Float64))

    def scores_of_rows(self, data: TableInput) -> Floats:
        """Return the sum over trees [N]."""
        return self.trees_.predict(data)

    def contributions(self, data: TableInput) -> Floats:
        """Return additive contributions to the score [N, F + 1], about a hundred times as slow as `predict`."""
        return self.trees_.contributions(data)

    def importance(self) -> Mapping[str, float]:
        """Return each feature's share of what all splits have gained."""
        return self.trees_.importance()

    def save(self, folder: Path) -> None:
        """Write the trees as LightGBM's text."""
        self.trees_.save(folder, self.config.kind)

    @classmethod
    def load(cls, folder: Path, config: C) -> Self:
        """Read what `save` wrote."""
        model = cls(config)
        model.trees_ = Trees.load(folder, config.kind)
        return model
