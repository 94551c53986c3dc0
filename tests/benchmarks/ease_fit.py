"""Fit EASE, ours or a few lines of numpy: `ease_fit.py WHO MATRIX.npz SCORES.npy`.

Both read the same matrix of users and items, and score its first users. Prints the seconds of the fit and of the score.
"""

import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, load_npz

THREADS, RIDGE, N_SCORED = 2, 100.0, 512

Fitted = tuple[float, float, NDArray[np.float64]]


def ours(matrix: csr_array) -> Fitted:
    """Fit the kind `ease`, from the input that the pipeline hands to it."""
    import polars as pl

    from ecbehave.inputs.types import MatrixInput
    from ecbehave.models.cf.ease import Ease, EaseConfig
    from ecbehave.models.protocol import Options

    n_users, n_items = matrix.shape
    users = {
        "user_hash": range(n_users),
        "user_id": range(n_users),
        "is_asked": np.arange(n_users) < N_SCORED,
    }
    pairs = {
        "user": np.repeat(np.arange(n_users), np.diff(matrix.indptr)),
        "item": matrix.indices,
        "event_type": "purchase",
        "n_events": matrix.data.astype(np.uint32),
        "days_since": np.zeros(matrix.nnz, np.float32),
        "place": np.zeros(matrix.nnz, np.uint32),
    }
    data = MatrixInput(
        datetime(2024, 1, 1, tzinfo=UTC),
        pl.DataFrame(users).cast({"user_id": pl.String}),
        pl.DataFrame({"item_id": range(n_items)}).cast(pl.String),
        pl.DataFrame(pairs),
    )
    config = EaseConfig(kind="ease", ridge=RIDGE, min_users=1, repeat_weight=0, max_memory="16GB")
    started = time.perf_counter()
    model = Ease(config).fit([data], [], Options(0, THREADS))
    fitted = time.perf_counter()
    scores = np.concatenate([np.asarray(block) for _, block in model.scores(data)])
    return fitted - started, time.perf_counter() - fitted, scores


def straightforward(matrix: csr_array) -> Fitted:
    """Write the paper's equations down in numpy, which uses as many threads as it likes."""
    started = time.perf_counter()
    had = csr_array(matrix.astype(np.float64))
    x = had.copy()
    x.data = np.log1p(x.data)
    gram = (x.T @ x).toarray()
    gram[np.diag_indices_from(gram)] += RIDGE
    inverse = np.linalg.inv(gram)
    weights = inverse / -np.diag(inverse)
    np.fill_diagonal(weights, 0)
    fitted = time.perf_counter()
    scores = had[:N_SCORED] @ weights
    return fitted - started, time.perf_counter() - fitted, scores


WHO: dict[str, Callable[[csr_array], Fitted]] = {"ecbehave": ours, "numpy": straightforward}


def main(who: str, matrix: str, scores: str) -> None:
    """Fit, and write the scores."""
    fit_seconds, score_seconds, found = WHO[who](csr_array(load_npz(matrix)))
    np.save(scores, found)
    print(json.dumps({"fit": fit_seconds, "score": score_seconds}))


if __name__ == "__main__":
    main(*sys.argv[1:])
