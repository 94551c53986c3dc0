"""Peer: a plain classifier, set by hand: `peer_classifiers.py NAME TRAIN.parquet TEST.parquet OUT.parquet`.

A table has `user_id` and `cutoff`, which no model sees, `label`, and features: numbers, or texts for categories.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler

KEYS = ["user_id", "cutoff"]
#: Set by hand before anything was measured; the boosted trees are those of `synthesis.py`.
FOREST = {
    "n_estimators": 500,
    "min_samples_leaf": 10,
    "max_features": "sqrt",
    "n_jobs": -1,
    "random_state": 0,
}


def lightgbm(numbers: Sequence[str], texts: Sequence[str]) -> Any:
    """Return boosted trees; they take unknown numbers, and codes for categories."""
    from lightgbm import LGBMClassifier
    from synthesis import TREES

    return _with_codes(LGBMClassifier(random_state=0, verbosity=-1, **TREES), numbers, texts)


def random_forest(numbers: Sequence[str], texts: Sequence[str]) -> Any:
    """Return a random forest."""
    return _with_codes(RandomForestClassifier(**FOREST), numbers, texts)


def extra_trees(numbers: Sequence[str], texts: Sequence[str]) -> Any:
    """Return extremely randomised trees."""
    return _with_codes(ExtraTreesClassifier(**FOREST), numbers, texts)


def logistic(numbers: Sequence[str], texts: Sequence[str]) -> Any:
    """Return L2 logistic regression on the logarithms of all numbers, unknown ones at the median and flagged."""
    prepared = make_pipeline(
        FunctionTransformer(_signed_log),
        SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
        StandardScaler(),
    )
    codes = OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=20)
    table = ColumnTransformer([("numbers", prepared, list(numbers)), ("texts", codes, list(texts))])
    return make_pipeline(table, LogisticRegression(C=0.01, max_iter=2_000))


PEERS: dict[str, Callable[[Sequence[str], Sequence[str]], Any]] = {
    "LightGBM": lightgbm,
    "random forest": random_forest,
    "extra trees": extra_trees,
    "logistic regression": logistic,
}


def _with_codes(model: Any, numbers: Sequence[str], texts: Sequence[str]) -> Any:
    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-1)
    table = ColumnTransformer([("numbers", "passthrough", list(numbers)), ("texts", codes, list(texts))])
    return make_pipeline(table, model)


def _signed_log(values: Any) -> Any:
    numbers = np.asarray(values, dtype=np.float64)
    return np.sign(numbers) * np.log1p(np.abs(numbers))


def main(name: str, train: Path, test: Path, out: Path) -> None:
    """Fit on one table and score the other; writes `probability` of every test row."""
    rows, asked = (_without_nulls(pl.read_parquet(file)) for file in (train, test))
    features = [c for c in rows.columns if c not in (*KEYS, "label")]
    texts = [f for f in features if rows.schema[f] == pl.String]
    model = PEERS[name]([f for f in features if f not in texts], texts)
    model.fit(rows.select(features).to_pandas(), rows["label"].to_numpy())
    probability = model.predict_proba(asked.select(features).to_pandas())[:, 1]
    asked.select(*KEYS, probability=pl.Series(probability)).write_parquet(out)


def _without_nulls(rows: pl.DataFrame) -> pl.DataFrame:
    """Return an unknown number as NaN, and an unknown category as one of its own."""
    return rows.with_columns(pl.col(pl.Float32).fill_null(np.nan), pl.col(pl.String).fill_null("unknown"))


if __name__ == "__main__":
    main(sys.argv[1], *map(Path, sys.argv[2:]))
