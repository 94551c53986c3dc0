"""A model of one kind, given its part of what is known, and asked for what the task needs."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecbehave.config import ModelConfig
from ecbehave.inputs.types import Inputs, TableInput
from ecbehave.models import model_class
from ecbehave.models.prepared import Prepared
from ecbehave.models.protocol import Explains, Options, Output


class Single:
    """A plain kind as a `Predictor`."""

    def __init__(self, config: ModelConfig, output: Output) -> None:
        kind = model_class(config.kind)
        self._reads, self._output = kind.inputs[output], output
        self._model: Any = Prepared(config) if _is_prepared(config) else kind(config)

    @property
    def explains(self) -> bool:
        """Whether the kind can say what drove a score."""
        kind = self._model.model if isinstance(self._model, Prepared) else self._model
        return isinstance(kind, Explains)

    def fit(self, train: Sequence[Inputs], valid: Sequence[Inputs], options: Options) -> Self:
        """Learn from the kind's own input; where one lacks it, such as a history without rows, it is passed over."""
        self._model.fit(self._own(train), self._own(valid), options)
        return self

    def _own(self, parts: Sequence[Inputs]) -> list[Any]:
        found = (getattr(part, self._reads) for part in parts)
        return [data for data in found if data is not None]

    def score(self, data: Inputs) -> NDArray[np.float64]:
        """Return a score for each row of the table [N]; for a kind of lists, minus infinity where it has none."""
        table = cast("TableInput", data.table)
        scored: pl.DataFrame = (
            self._model.predict(table, 0)
            if self._reads == "table"
            else table.keys.join(
                self._model.predict(data.matrix, table.n_rows),
                on=["user_id", "item_id"],
                how="left",
                maintain_order="left",
            )
        )
        return scored["score"].fill_null(-np.inf).to_numpy()

    def lists(self, data: Inputs, k: int) -> pl.DataFrame:
        """Return `user_id`, `item_id`, `score`: at most `k` rows for each user, best first."""
        if self._reads == "matrix":
            scored: pl.DataFrame = self._model.predict(data.matrix, k)
            return scored
        return best_of(cast("TableInput", data.table), self.score(data), k)

    def contributions(self, data: Inputs) -> NDArray[np.float64]:
        """Return additive contributions to the score [N, F + 1], by feature of the table; the last is the base."""
        return cast("Prepared", self._model).contributions(cast("TableInput", data.table))

    def importance(self) -> Mapping[str, float]:
        """Return a share of the total importance per feature."""
        return cast("Prepared", self._model).importance()

    def left_out(self) -> Mapping[str, Any]:
        """Return the features that the kind was not given, each with the reason."""
        if not isinstance(self._model, Prepared):
            return {}
        return {feature: asdict(reason) for feature, reason in self._model.dropped_.items()}

    def save(self, folder: Path) -> None:
        """Write the learned state into an empty folder, without pickle."""
        self._model.save(folder)

    @classmethod
    def load(cls, folder: Path, config: ModelConfig, output: Output) -> Self:
        """Read what `save` wrote.

        Raises:
            ArtifactError: the folder does not hold a model of this kind.
        """
        loaded = cls(config, output)
        stored = Prepared if _is_prepared(config) else model_class(config.kind)
        loaded._model = stored.load(folder, config)
        return loaded


def best_of(table: TableInput, score: NDArray[np.float64], k: int) -> pl.DataFrame:
    """Return each user's `k` candidates with the highest scores.

    Args:
        table: `user_id` and `item_id` of each candidate, those of a user together.
        score: [N], of its rows.
        k: length of the lists.

    Returns:
        `user_id`, `item_id`, `score`, users in the order of the table, best first; equal scores by `item_id`.
    """
    return (
        table.frame.select("user_hash", "user_id", "item_id")
        .with_columns(score=pl.Series(score, dtype=pl.Float64))
        .sort("user_hash", "user_id", "score", "item_id", descending=[False, False, True, False])
        .group_by("user_hash", "user_id", maintain_order=True)
        .head(k)
        .select("user_id", "item_id", "score")
    )


def _is_prepared(config: ModelConfig) -> bool:
    return hasattr(model_class(config.kind), "transform")
