"""Other people's models on the very inputs that ours read: LightGBM out of the box, and implicit's item-item lists."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy.sparse import csr_matrix

from ecbehave.artifacts import Artifact
from ecbehave.inputs.types import MatrixInput, TableInput
from ecbehave.stages.features import read_inputs

#: Length of the lists.
K = 20


def lightgbm_default(inputs: Artifact) -> pl.DataFrame:
    """Fit LGBMClassifier with its defaults on the train table, and score the test table.

    Returns:
        `user_id`, `cutoff`, `score` (log-odds) and `probability` of every test row.
    """
    from lightgbm import LGBMClassifier

    train, test = (TableInput.concat(_read(inputs, "table", split)) for split in ("train", "test"))
    model = LGBMClassifier(random_state=0, verbosity=-1).fit(train.values, train.label)
    scored = test.keys.select("user_id", "cutoff")
    return scored.with_columns(
        score=pl.Series(model.predict(test.values, raw_score=True)),
        probability=pl.Series(model.predict_proba(test.values)[:, 1]),
    )


def implicit_lists(inputs: Artifact, kind: str, event_weights: Mapping[str, float]) -> pl.DataFrame:
    """Recommend with implicit's nearest neighbours; what a user had already may come again.

    Unlike ours, they are fitted on the history up to each test cutoff itself, which is newer by a horizon.

    Args:
        inputs: with matrices of the test cutoffs.
        kind: `cosine` or `bm25`.
        event_weights: weight of one event by type; events weigh in as often as they occurred.

    Returns:
        `user_id`, `cutoff`, `rank`, `item_id`: at most 20 items per user.
    """
    return pl.concat([_lists(kind, data, event_weights) for data in _read(inputs, "matrix", "test")])


def _lists(kind: str, data: MatrixInput, event_weights: Mapping[str, float]) -> pl.DataFrame:
    from implicit.nearest_neighbours import BM25Recommender, CosineRecommender

    pairs = data.pairs.filter(pl.col("event_type").is_in(list(event_weights)))
    type_weight = pairs["event_type"].replace_strict(event_weights, return_dtype=pl.Float64)
    weight = (type_weight * pairs["n_events"]).to_numpy()
    matrix = csr_matrix(data.csr(pairs, weight))
    model = {"bm25": BM25Recommender, "cosine": CosineRecommender}[kind](K=100, num_threads=0)
    model.fit(matrix, show_progress=False)
    asked = data.asked
    items, scores = model.recommend(asked, matrix[asked], N=K, filter_already_liked_items=False)
    n_users, n = items.shape
    listed = pl.DataFrame(
        {
            "user_id": data.users["user_id"].gather(np.repeat(asked, n)),
            "rank": np.tile(np.arange(1, n + 1, dtype=np.uint32), n_users),
            "item": items.ravel().astype(np.int64),
            "score": scores.ravel(),
        }
    ).filter(pl.col("score") > 0)
    return listed.select(
        "user_id",
        pl.lit(data.cutoff).alias("cutoff"),
        "rank",
        item_id=data.items["item_id"].gather(listed["item"]),
    )


def test_matrices(inputs: Artifact) -> Sequence[MatrixInput]:
    """Return the matrices of the test cutoffs, with their true items."""
    return _read(inputs, "matrix", "test")




def _read(inputs: Artifact, kind: Any, split: str) -> list[Any]:
    return read_inputs(inputs, kind, split, inputs.manifest["config"]["dataset"]["timezone"])
