"""A few rows of the last test cutoff with their reasons, so that a reader can see how the model thinks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from ecbehave.inputs.types import Inputs
from ecbehave.models.protocol import Predictor
from ecbehave.report.content import ExampleRow, Examples
from ecbehave.schema import TARGETS
from ecbehave.stages.reasons import COLUMNS, reasons
from ecbehave.tasks import Task

#: Which rows are shown: their places by descending score, as a share of all rows.
_PLACES = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0)


def examples(model: Predictor, data: Inputs, rows: pl.DataFrame, task: Task, cutoff: str) -> Examples | None:
    """Return rows from the highest score to the lowest; None where the model cannot explain itself.

    Args:
        model: the judged model.
        data: what was known at the cutoff.
        rows: keys, `label`, `score` and `probability` of the rows of its table, in the same order.
        task: the question.
        cutoff: the cutoff's label.
    """
    if not model.explains or rows.height == 0:
        return None
    order = np.argsort(-rows["score"].to_numpy(), kind="stable")
    chosen = order[np.unique([round(share * (rows.height - 1)) for share in _PLACES])]
    keys = ["user_id", *(key for key in TARGETS if key in rows.columns)]
    shown = rows[chosen].hstack(reasons(model, data, chosen, task, len(COLUMNS))[chosen])
    outcome = "Churned?" if task.name == "churn" else "Bought?"
    return Examples(cutoff, keys, outcome, [_row(row, keys) for row in shown.to_dicts()])


def _row(row: Mapping[str, Any], keys: Sequence[str]) -> ExampleRow:
    said = [row[column] for column in COLUMNS if row[column] is not None]
    return ExampleRow(
        [row[key] for key in keys],
        row["score"],
        row["probability"],
        said,
        is_positive=row["label"] == 1,
    )
