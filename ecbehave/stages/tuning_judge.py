"""How well settings of a model would have done at cutoffs of the past, before the test windows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Self, cast

import numpy as np
import polars as pl

from ecbehave.artifacts import Artifact
from ecbehave.config.model import ModelConfig, Tune
from ecbehave.errors import DataError
from ecbehave.inputs.types import Inputs, MatrixInput, TableInput
from ecbehave.metrics.classification import auroc
from ecbehave.metrics.ranking import expected_per_user
from ecbehave.metrics.rating import errors_of
from ecbehave.models import making
from ecbehave.models.protocol import Options, Output
from ecbehave.stages import Context, features
from ecbehave.stages.judge_ranking import list_and_place
from ecbehave.stages.judge_rating import true_ratings
from ecbehave.tasks import make_task
from ecbehave.windows import Splits, chain


@dataclass(frozen=True)
class Judge:
    """Fits a model on what was known at a cutoff, and tells how well it predicts there."""

    output: Output
    k: int
    """Length of the lists, in a ranking."""
    options: Options
    known: Mapping[datetime, Inputs]
    """All that is known at each cutoff, with labels."""
    origins: Sequence[Splits]
    """The latest first."""

    @classmethod
    def read(cls, context: Context, tune: Tune, inputs: Artifact, options: Options) -> Self:
        """Read the train and validation cutoffs, and choose the origins among them.

        Raises:
            DataError: no cutoff can be predicted from earlier ones.
        """
        split, task = context.config.split, make_task(context.config.task)
        kinds, timezone = features.input_types(context), context.config.dataset.timezone
        # Of the first fit: nothing may be chosen by what a test window tells.
        before = {part: features.windows_of(inputs, part, 0) for part in ("train", "validation")}
        known = {
            data.cutoff: data
            for part in before
            for data in features.read_all(inputs, kinds, part, timezone, 0)
        }
        windows = [*before["train"], *before["validation"]]
        chained = chain(windows, split.validation)
        origins = [o for o in chained if _has_answer(known[o.test[0].cutoff], task.output)][: tune.origins]
        if not origins:
            fewest = -(-task.horizon // split.step) + split.validation
            raise DataError(
                f"tune: no cutoff can be judged by a fit on what was known before it: among {split.train} train and "
                f"{split.validation} validation cutoffs, none has labels to judge by, and earlier ones to train and "
                f"to validate on whose labels were known; set split.train to at least {fewest}, or take tune out"
            )
        return cls(task.question, context.config.evaluate.deciding_k, options, known, origins)

    @property
    def metric(self) -> str:
        """The one that the evaluation decides by too, and of an error minus it: higher is better."""
        return {"ranking": f"ndcg@{self.k}", "rating": "minus rmse"}.get(self.output, "auroc")

    @property
    def n_rows(self) -> int:
        """Rows that a fit at the latest origin learns from; 0 where no table is read."""
        tables = [self.known[window.cutoff].table for window in self.origins[0].train]
        return sum(table.n_rows for table in tables if table is not None)

    def __call__(self, config: ModelConfig, origin: Splits) -> float:
        """Return the metric at an origin of a fit with some settings; it has not seen anything after the origin."""
        train, valid, (asked,) = (
            [self.known[w.cutoff] for w in windows] for windows in origin.named().values()
        )
        model = making.make(config, self.output)
        model.fit([*train, valid[-1].as_history()], valid, self.options)
        if self.output == "rating":
            pairs = true_ratings(cast("MatrixInput", asked.matrix))
            predicted = model.ratings(asked, pairs.select("user", "item"))
            return -errors_of(pairs.with_columns(predicted=predicted))["rmse"]
        if self.output != "ranking":
            return auroc(cast("TableInput", asked.table).label, model.score(asked))
        truth = cast("pl.DataFrame", cast("MatrixInput", asked.matrix).labels).select("user_id", "item_id")
        placed = list_and_place(model, asked, truth, self.k).placed
        return float(cast("float", expected_per_user(placed, [self.k], {})[self.metric].mean()))


def _has_answer(data: Inputs, output: Output) -> bool:
    """Say whether there is anything to judge by: rows of both classes, a true item, or a rating to learn from and one
    to predict."""
    if output == "rating":
        matrix = cast("MatrixInput", data.matrix)
        return matrix.pairs["rating"].count() > 0 and not true_ratings(matrix).is_empty()
    if output == "ranking":
        return not cast("pl.DataFrame", cast("MatrixInput", data.matrix).labels).is_empty()
    return len(np.unique(cast("TableInput", data.table).label)) == 2
