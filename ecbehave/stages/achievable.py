"""How far a model gets on a simulated log, where the true probabilities are known."""

import hashlib
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import polars as pl

from ecbehave.metrics.classification import auroc
from ecbehave.simulate.truth import SEASON_FILE, USERS_FILE, read_truth, true_probability
from ecbehave.stages import Context
from ecbehave.tasks import Task
from ecbehave.windows import shift


def truth_fingerprint(context: Context) -> dict[str, str]:
    """Return what the truth is known by, as an input of the evaluation; empty without one."""
    if context.config.evaluate.truth is None:
        return {}
    hashed = hashlib.sha256()
    for name in (USERS_FILE, SEASON_FILE):
        path = Path(context.config.evaluate.truth) / name
        # What is missing is told when it is read.
        hashed.update(path.read_bytes() if path.is_file() else b"")
    return {"truth": hashed.hexdigest()}


def reached(context: Context, task: Task, rows: pl.DataFrame) -> dict[str, Any]:
    """Return the AUROC of the true probabilities on the test rows, and the share of it that is reached.

    The share is (AUROC - 0.5) / (AUROC of the truth - 0.5): 0 for chance, 1 for the truth; None where one of them
    is not defined, or the truth is no better than chance.

    Args:
        context: `evaluate.truth` names the folder.
        task: purchase, or churn of purchases.
        rows: `user_id`, `cutoff`, `label`, `score`, `baseline_score`.

    Returns:
        `truth`: `auroc`, `share_reached`, `baseline_share_reached`; empty without `evaluate.truth`.

    Raises:
        DataError: the truth cannot be read, or is not that of these users and days.
    """
    if context.config.evaluate.truth is None:
        return {}
    truth = read_truth(Path(context.config.evaluate.truth))
    name = cast("Literal['purchase', 'churn']", task.name)
    timezone = context.config.dataset.timezone
    known, labels = [], []
    for (cutoff,), part in rows.group_by("cutoff", maintain_order=True):
        end = shift(cutoff, task.horizon, timezone)
        known.append(true_probability(truth, part["user_id"], cutoff, end, name))
        labels.append(part["label"])
    best = auroc(pl.concat(labels), np.concatenate(known))

    def share(score: str) -> float | None:
        found = (auroc(rows["label"], rows[score]) - 0.5) / (best - 0.5) if best > 0.5 else np.nan
        return None if np.isnan(found) else found

    return {
        "truth": {
            "auroc": None if np.isnan(best) else best,
            "share_reached": share("score"),
            "baseline_share_reached": share("baseline_score"),
        }
    }
