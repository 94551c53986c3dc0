"""Peer: AutoGluon: `peer_autogluon.py SECONDS TRAIN.parquet TEST.parquet OUT.parquet`; prints its models.

A table has `user_id` and `cutoff`, which no model sees, `label`, and features: numbers, or texts for categories.
"""

import json
import sys
import tempfile
from pathlib import Path

import pandas as pd
from autogluon.tabular import TabularPredictor

KEYS = ["user_id", "cutoff"]


def main(seconds: int, train: Path, test: Path, out: Path) -> None:
    """Fit within the time, with the preset that its documentation recommends for accuracy; write `probability`."""
    rows, asked = pd.read_parquet(train), pd.read_parquet(test)
    with tempfile.TemporaryDirectory() as folder:
        predictor = TabularPredictor("label", eval_metric="roc_auc", path=folder, verbosity=0)
        predictor.fit(rows.drop(columns=KEYS), presets="best_quality", time_limit=seconds)
        probability = predictor.predict_proba(asked.drop(columns=[*KEYS, "label"]))[1]
        print(json.dumps({"best": predictor.model_best, "models": predictor.model_names()}))
    asked[KEYS].assign(probability=probability.to_numpy()).to_parquet(out)


if __name__ == "__main__":
    main(int(sys.argv[1]), *map(Path, sys.argv[2:]))
