"""Fit boosted trees, ours or LightGBM alone: `boosting_fit.py WHO TRAIN.parquet,... VALID.parquet SCORES.npy`.

Both read the same files and grow the same trees. Prints the seconds that the call to fit has taken.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

THREADS, SEED = 2, 0
N_TREES = 200
KEYS = ["user_hash", "user_id", "cutoff", "label"]

Fitted = tuple[float, NDArray[np.float64]]


def ours(train: Sequence[Path], valid: Path) -> Fitted:
    """Fit the kind `boosting` the way `train` does, features selected and transformed as by default."""
    from ecbehave.inputs.types import Inputs, TableInput
    from ecbehave.models.ensemble.boosting import BoostingConfig
    from ecbehave.models.making import make
    from ecbehave.models.protocol import Options

    def read(file: Path) -> Inputs:
        frame = pl.read_parquet(file)
        features = tuple(c for c in frame.columns if c not in KEYS)
        return Inputs(frame["cutoff"][0], table=TableInput(frame, features))

    later = read(valid)
    parts = [read(file) for file in train]
    config = BoostingConfig(kind="boosting", max_trees=N_TREES, patience=N_TREES)
    started = time.perf_counter()
    model = make(config, "binary").fit(parts, [later], Options(SEED, THREADS))
    return time.perf_counter() - started, model.score(later)


def lightgbm(train: Sequence[Path], valid: Path) -> Fitted:
    """Call LightGBM with the parameters that ours are the defaults of."""
    import lightgbm as lgb

    def read(files: Sequence[Path]) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
        frame = pl.read_parquet(list(files))
        values = frame.select(pl.exclude(KEYS).fill_null(np.nan)).to_numpy(order="c")
        return values, frame["label"].to_numpy()

    x, y = read(train)
    later_x, later_y = read([valid])
    parameters = {
        "objective": "binary",
        "metric": "binary_logloss",
        "learning_rate": 0.03,
        "num_leaves": 7,
        "min_data_in_leaf": 100,
        "feature_fraction": 0.2,
        "bagging_fraction": 0.7,
        "bagging_freq": 1,
        "lambda_l2": 5.0,
        "seed": SEED,
        "num_threads": THREADS,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }
    started = time.perf_counter()
    data = lgb.Dataset(x, y)
    later = data.create_valid(later_x, later_y)
    stop = lgb.early_stopping(N_TREES, verbose=False)
    model = lgb.train(parameters, data, N_TREES, valid_sets=[later], callbacks=[stop])
    seconds = time.perf_counter() - started
    return seconds, np.asarray(model.predict(later_x, raw_score=True), dtype=np.float64)


WHO: dict[str, Callable[[Sequence[Path], Path], Fitted]] = {"ecbehave": ours, "LightGBM": lightgbm}


def main(who: str, train: str, valid: str, scores: str) -> None:
    """Fit, and write the scores of the validation rows."""
    seconds, score = WHO[who]([Path(file) for file in train.split(",")], Path(valid))
    np.save(scores, score)
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main(*sys.argv[1:])
