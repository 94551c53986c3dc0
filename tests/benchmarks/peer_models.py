"""Other people's models on the very inputs that ours read: LightGBM out of the box, and implicit's item-item lists."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from scipy.sparse import csr_matrix

from ecbehave.artifacts import Artifact
from ecbehave.inputs.types import MatrixInput, TableInput
from ecbehave.models.protocol import InputType
from ecbehave.stages.features import read_inputs

#: Length of the lists.
K = 20


def read(inputs: Artifact, kind: InputType, split: str) -> list[Any]:
    """Return what our models are given of a split, one input per cutoff."""
    return read_inputs(inputs, kind, split, inputs.manifest["config"]["dataset"]["timezone"])


def lightgbm_default(inputs: Artifact) -> pl.DataFrame:
    """Fit LGBMClassifier with its default parameters on the train table, and score the test table.

    Returns:
        `user_id`, `cutoff`, `score` (log-odds) and `probability` of every test row.
    """
    train, test = (TableInput.concat(read(inputs, "table", split)) for split in ("train", "test"))
    return lightgbm_scores(train.frame, test.frame, train.features)


def lightgbm_scores(
    train: pl.DataFrame, test: pl.DataFrame, features: Sequence[str], **settings: Any
) -> pl.DataFrame:
    """Fit LGBMClassifier on some rows, and score others; texts are categories, which it knows how to split.

    Returns:
        `user_id`, `cutoff`, `score` (log-odds) and `probability` of every test row.
    """
    from lightgbm import LGBMClassifier

    texts = {f: train[f].drop_nulls().unique().sort() for f in features if train.schema[f] == pl.String}
    model = LGBMClassifier(random_state=0, verbosity=-1, **settings)
    categories = [features.index(f) for f in texts]
    model.fit(_numbers(train, features, texts), train["label"].to_numpy(), categorical_feature=categories)
    asked = _numbers(test, features, texts)
    return test.select("user_id", "cutoff").with_columns(
        score=pl.Series(model.booster_.predict(asked, raw_score=True)),
        probability=pl.Series(model.booster_.predict(asked)),
    )


def _numbers(rows: pl.DataFrame, features: Sequence[str], texts: Mapping[str, pl.Series]) -> Any:
    """Return features as a matrix [N, F]; NaN is unknown, and so is a text that is not among the known ones."""

    def numbers(feature: str) -> pl.Series:
        if feature not in texts:
            return rows[feature]
        known = texts[feature]
        return rows[feature].replace_strict(known, range(known.len()), default=None, return_dtype=pl.Float64)

    return np.column_stack([numbers(f).cast(pl.Float64).fill_null(np.nan).to_numpy() for f in features])


def implicit_lists(inputs: Artifact, kind: str, event_weights: Mapping[str, float]) -> pl.DataFrame:
    """Recommend with implicit's nearest neighbours, default parameters; what a user had already may come again.

    It is fitted on all history before the test cutoff; ours has learned before the validation cutoff only.

    Args:
        inputs: with matrices of the test cutoffs.
        kind: `BM25` or `cosine`.
        event_weights: weight of one event by type; an event counts as often as it occurred.

    Returns:
        `user_id`, `cutoff`, `rank`, `item_id`: at most 20 items per user.
    """
    return pl.concat([_lists(kind, data, event_weights) for data in read(inputs, "matrix", "test")])


def _lists(kind: str, data: MatrixInput, event_weights: Mapping[str, float]) -> pl.DataFrame:
    from implicit.nearest_neighbours import BM25Recommender, CosineRecommender

    pairs = data.pairs.filter(pl.col("event_type").is_in(list(event_weights)))
    type_weight = pairs["event_type"].replace_strict(event_weights, return_dtype=pl.Float64)
    matrix = csr_matrix(data.csr(pairs, (type_weight * pairs["n_events"]).to_numpy()))
    model = BM25Recommender() if kind == "BM25" else CosineRecommender()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # implicit warns of a conversion that it makes itself
        model.fit(matrix, show_progress=False)
    items, scores = model.recommend(data.asked, matrix[data.asked], N=K, filter_already_liked_items=False)
    n_users, n_items = items.shape
    listed = pl.DataFrame(
        {
            "user_id": data.users["user_id"].gather(np.repeat(data.asked, n_items)),
            "rank": np.tile(np.arange(1, n_items + 1, dtype=np.uint32), n_users),
            "item_id": data.items["item_id"].gather(np.maximum(items.ravel(), 0).astype(np.int64)),
            "score": scores.ravel(),
        }
    )
    # A list that is too short is padded with scores of zero or less.
    return listed.filter(pl.col("score") > 0).select(
        "user_id", pl.lit(data.cutoff).alias("cutoff"), "rank", "item_id"
    )
