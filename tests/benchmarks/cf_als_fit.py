"""Fit alternating least squares, ours or implicit's: `cf_als_fit.py WHO MATRIX.npz SETTINGS.json LISTS.npy`.

Both read the same matrix of users and items, use all cores, and list 100 items for the same users, without those that
they had. Prints the seconds that fitting and listing have taken.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, csr_matrix

LENGTH = 100
Answer = tuple[float, float, NDArray[np.int64]]


def ours(observed: csr_array, asked: NDArray[np.int64], settings: Mapping[str, Any]) -> Answer:
    """Fit the kind `als` on the matrix input that the stage `features` would have stored."""
    import polars as pl

    from ecbehave.models.cf.als import Als, AlsConfig
    from ecbehave.models.protocol import Options
    from ecbehave.models.top_k import lists_of

    data = _matrix_input(observed, asked)
    started = time.perf_counter()
    model = Als(AlsConfig(kind="als", repeat_weight=0, **settings)).fit(
        [data], [], Options(0, os.cpu_count() or 1)
    )
    fitted = time.perf_counter()
    listed = lists_of(data, model.scores(data), LENGTH)
    ended = time.perf_counter()
    numbered = listed.with_columns(
        pl.col("user_id", "item_id").cast(pl.Int64), place=pl.int_range(pl.len()).over("user_id")
    )
    lists = np.full((asked.size, LENGTH), -1)
    row = np.searchsorted(asked, numbered["user_id"].to_numpy())
    lists[row, numbered["place"].to_numpy()] = numbered["item_id"].to_numpy()
    return fitted - started, ended - fitted, lists


def _matrix_input(observed: csr_array, asked: NDArray[np.int64]) -> Any:
    """Return one purchase, just now, for each pair; ids are row numbers, padded so that they sort like these."""
    from datetime import UTC, datetime

    import polars as pl

    from ecbehave.inputs.types import MatrixInput

    n_users, n_items = observed.shape
    is_asked = np.zeros(n_users, bool)
    is_asked[asked] = True
    user = np.repeat(np.arange(n_users, dtype=np.uint32), np.diff(observed.indptr))
    users = pl.DataFrame({"user_hash": np.arange(n_users), "is_asked": is_asked}).with_columns(
        user_id=pl.col("user_hash").cast(pl.String).str.zfill(9)
    )
    items = pl.DataFrame({"item_id": np.arange(n_items)}).select(
        pl.col("item_id").cast(pl.String).str.zfill(9)
    )
    pairs = pl.DataFrame({"user": user, "item": observed.indices.astype(np.uint32)}).with_columns(
        event_type=pl.lit("purchase"),
        n_events=pl.lit(1, pl.UInt32),
        days_since=pl.lit(0, pl.Float32),
        place=pl.lit(0, pl.UInt32),
    )
    return MatrixInput(datetime(2024, 1, 1, tzinfo=UTC), users, items, pairs, barred=observed)


def implicit(observed: csr_array, asked: NDArray[np.int64], settings: Mapping[str, Any]) -> Answer:
    """Fit implicit's model, whose steps are those of conjugate gradients."""
    from implicit.als import AlternatingLeastSquares

    parts = (observed.data.astype(np.float32), observed.indices, observed.indptr)
    matrix = csr_matrix(parts, shape=observed.shape)
    started = time.perf_counter()
    model = AlternatingLeastSquares(random_state=0, **settings)
    model.fit(matrix, show_progress=False)
    fitted = time.perf_counter()
    lists, _ = model.recommend(asked, matrix[asked], N=LENGTH, filter_already_liked_items=True)
    return fitted - started, time.perf_counter() - fitted, lists.astype(np.int64)


WHO: dict[str, Callable[[csr_array, NDArray[np.int64], Mapping[str, Any]], Answer]] = {
    "ecbehave": ours,
    "implicit": implicit,
}


def main(who: str, matrix: str, settings: str, out: str) -> None:
    """Fit, and write the lists [users asked, 100]; -1 is no item."""
    with np.load(matrix) as stored:
        parts = (np.ones(stored["indices"].size), stored["indices"], stored["indptr"])
        observed = csr_array(parts, shape=tuple(stored["shape"]))
        asked = stored["asked"]
    fit, lists, found = WHO[who](observed, asked, json.loads(Path(settings).read_text(encoding="utf-8")))
    np.save(out, found)
    print(json.dumps({"fit": fit, "lists": lists}))


if __name__ == "__main__":
    # implicit does best where BLAS leaves the threads to it, and says so; ours holds BLAS to one thread itself.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    main(*sys.argv[1:])
