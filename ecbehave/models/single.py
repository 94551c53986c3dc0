"""A model of one kind, given its part of what is known, and asked for what the task needs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecbehave.config.model import ModelConfig
from ecbehave.inputs.types import Inputs, MatrixInput, TableInput
from ecbehave.models import model_class, reads
from ecbehave.models.candidate_scores import candidate_scores
from ecbehave.models.prepared import Prepared
from ecbehave.models.protocol import DRIVERS, Block, Explains, Options, Output, TellsEvents
from ecbehave.models.rating_lists import rating_lists
from ecbehave.models.top_k import LIST, list_blocks, pair_scores


class Single:
    """A plain kind as a `Predictor`."""

    def __init__(self, config: ModelConfig, output: Output) -> None:
        kind = model_class(config.kind)
        self._reads, self._output = reads(kind, output), output
        self._model: Any = Prepared(config) if _is_prepared(config) else kind(config)

    @property
    def explains(self) -> bool:
        """Whether the kind can say what drove a score."""
        return isinstance(self.kind, Explains)

    @property
    def reads_table(self) -> bool:
        """Whether any feature of the table has a say in the scores."""
        return self._reads == "table"

    def fit(self, train: Sequence[Inputs], valid: Sequence[Inputs], options: Options) -> Self:
        """Learn from the kind's own input; where one lacks it, such as a history without rows, it is passed over."""
        self._model.fit(self._own(train), self._own(valid), options)
        return self

    def _own(self, parts: Sequence[Inputs]) -> list[Any]:
        if self._reads in ("all", "sequence"):
            return list(parts)
        found = (getattr(part, cast("str", self._reads)) for part in parts)
        return [data for data in found if data is not None]

    def score(self, data: Inputs) -> NDArray[np.float64]:
        """Return a score for each row of the table [N].

        Of a kind that scores items, a score is looked up. Where it has none, that is minus infinity in a ranking, and 0
        elsewhere; and there scores, which may be of any size, are drawn together to sign(s) log(1 + |s|).
        """
        table = cast("TableInput", data.table)
        if not self._scores_items:
            scored: pl.DataFrame = self._model.predict(table if self._reads == "table" else data, 0)
            return scored["score"].to_numpy()
        matrix, target = _asking_of(cast("MatrixInput", data.matrix), table), table.key_names[-1]
        found = pair_scores(matrix, self._scores(replace(data, matrix=matrix)), table, target)
        if self._output == "ranking":
            return found
        found[found == -np.inf] = 0
        small: NDArray[np.float64] = np.sign(found) * np.log1p(np.abs(found))
        return small

    @property
    def _scores_items(self) -> bool:
        """Whether the kind scores items for users, rather than rows of the table."""
        return self._reads == "matrix" or (self._reads == "sequence" and self._output != "binary")

    def _scores(self, data: Inputs) -> Iterator[Block]:
        """Return the scores of items, of a kind that has them."""
        blocks: Iterator[Block] = self._model.scores(data if self._reads == "sequence" else data.matrix)
        return blocks

    @property
    def kind(self) -> Any:
        """The kind itself, for what only some kinds can tell."""
        return self._model.model if isinstance(self._model, Prepared) else self._model

    def lists(self, data: Inputs, k: int) -> pl.DataFrame:
        """Return `user_id`, `item_id`, `score`: at most `k` rows for each user, best first."""
        if self._scores_items:
            return pl.concat([pl.DataFrame(schema=LIST), *self.list_blocks(data, k)])
        return best_of(cast("TableInput", data.table), self.score(data), k)

    def ratings(self, data: Inputs, pairs: pl.DataFrame) -> NDArray[np.float64]:
        """Return the rating [n] expected of each pair of `user` and `item`, row numbers in the matrix."""
        predicted: NDArray[np.float64] = self._model.ratings(data.matrix, pairs)
        return predicted

    def list_blocks(self, data: Inputs, k: int) -> Iterator[pl.DataFrame]:
        """Yield `lists` by blocks of users."""
        if not self._scores_items:
            yield self.lists(data, k)
            return
        matrix = cast("MatrixInput", data.matrix)
        blocks = self._scores(data)
        if self._output == "rating":
            yield from rating_lists(matrix, blocks, k)
        else:
            yield from list_blocks(matrix, blocks, k)

    def item_scores(self, data: Inputs) -> Iterator[Block]:
        """Yield the scores of items by blocks of users: of a kind that reads a table, those of the candidates."""
        if not self._scores_items:
            yield candidate_scores(
                cast("MatrixInput", data.matrix), cast("TableInput", data.table), self.score(data)
            )
            return
        yield from self._scores(data)

    def contributions(self, data: Inputs) -> NDArray[np.float64]:
        """Return additive contributions to the score [N, F + 1], by feature of the table; the last is the base."""
        return cast("Prepared", self._model).contributions(cast("TableInput", data.table))

    def event_drivers(self, data: Inputs, rows: NDArray[np.int64], n: int) -> pl.DataFrame:
        """Return what drove the scores of some rows, of a kind that reads events one after the other."""
        if self._scores_items or not isinstance(self._model, TellsEvents):
            return pl.DataFrame(schema=DRIVERS)
        return self._model.event_drivers(data, rows, n)

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


def _asking_of(matrix: MatrixInput, table: TableInput) -> MatrixInput:
    """Return the matrix, asked about no one but the users of a table, which may be a part of the population."""
    users = table.frame.select("user_id").unique().with_columns(is_asked=pl.lit(value=True))
    asked = matrix.users.drop("is_asked").join(users, on="user_id", how="left", maintain_order="left")
    return replace(matrix, users=asked.with_columns(pl.col("is_asked").fill_null(value=False)))


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
