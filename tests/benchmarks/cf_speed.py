"""`item_knn` beside implicit's item-item neighbours: the same neighbours, seconds, memory.

As a program, `cf_speed.py WHO MATRIX.npz`, it finds 99 neighbours of each item by the cosine, and the best 100 items of
every user without those that the user had, with all cores.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import polars as pl
from cf_als import SEED, SMALL, interactions, last_items
from cf_als_fit import LENGTH
from measure import Bench, Measured, measure
from scipy.sparse import csr_array, csr_matrix, load_npz, save_npz
from section import Section, gigabytes

N_NEAR = 99
HEADER = ["", "fit", "lists", "peak memory", "similarities kept", "their sum"]
#: Seconds of fitting and listing, number of similarities and their sum.
Answer = dict[str, float]


def sections(bench: Bench) -> Iterator[Section]:
    """Compare on Diginetica's sessions, and on simulated interactions."""
    folder = bench.scratch / "item_knn"
    folder.mkdir()
    sessions = bench.data / "diginetica-sessions" / "train.parquet"
    if sessions.is_file():
        observed = last_items(pl.read_parquet(sessions)["item_ids"]).observed
        yield _section("Diginetica's train sessions as users", observed, folder, bench.repeats)
    observed = interactions(max(bench.n_events or (SMALL,)), np.random.default_rng(SEED)).observed
    yield _section(f"simulated shop, seed {SEED}", observed, folder, bench.repeats)


def _section(text: str, observed: csr_array, folder: Path, repeats: int) -> Section:
    matrix = folder / "matrix.npz"
    save_npz(matrix, csr_matrix(observed))
    runs: dict[str, list[Measured]] = {who: [] for who in WHO}
    for _ in range(repeats):
        for who, done in runs.items():
            print(f"  cf_speed.py {who}", file=sys.stderr, flush=True)
            done.append(measure([sys.executable, str(Path(__file__)), who, str(matrix)]))
    n_users, n_items = observed.shape
    return Section(
        f"Item neighbours: {text}",
        HEADER,
        [[who, *_cells(done)] for who, done in runs.items()],
        f"{n_users:,} users, {n_items:,} items, {observed.nnz:,} pairs",
        notes=[
            f"fit: {N_NEAR} neighbours of each item by the cosine, from the stored pairs (ours) or a sparse matrix "
            f"(implicit); lists: the best {LENGTH} items of all users without what they had; all cores, median of "
            f"{repeats}",
            "an item is not its own neighbour; equal similarities at the end of a list may be of other items",
        ],
    )


def _cells(done: list[Measured]) -> list[str]:
    told: list[Answer] = [json.loads(run.stdout.splitlines()[-1]) for run in done]
    seconds = [f"{statistics.median(t[part] for t in told):.1f} s" for part in ("fit", "lists")]
    peak = gigabytes(statistics.median(run.peak_bytes for run in done))
    return [*seconds, peak, f"{told[0]['kept']:,.0f}", f"{told[0]['sum']:,.2f}"]


def ours(observed: csr_array) -> Answer:
    """Fit the kind `item_knn` on the matrix input that the stage `features` would have stored."""
    from cf_als_fit import _matrix_input

    from ecbehave.models.cf.item_knn import ItemKnn, ItemKnnConfig
    from ecbehave.models.protocol import Options
    from ecbehave.models.top_k import top_k

    data = _matrix_input(observed, np.arange(observed.shape[0]))
    plain = {"neighbours": N_NEAR, "min_users": 1, "shrink": 0, "repeat_weight": 0}
    config = ItemKnnConfig.model_validate({"kind": "item_knn"} | plain)
    started = time.perf_counter()
    model = ItemKnn(config).fit([data], [], Options(0, os.cpu_count() or 1))
    fitted = time.perf_counter()
    for users, scores in model.scores(data):
        top_k(data, users, scores, LENGTH)
    ended = time.perf_counter()
    stored = model.similarity_
    return _answer(fitted - started, ended - fitted, stored)


def implicit(observed: csr_array) -> Answer:
    """Fit implicit's cosine neighbours, of which each item itself is one."""
    from implicit.nearest_neighbours import CosineRecommender

    matrix = csr_matrix((observed.data, observed.indices, observed.indptr), shape=observed.shape)
    model = CosineRecommender(K=N_NEAR + 1, num_threads=os.cpu_count() or 1)
    started = time.perf_counter()
    model.fit(matrix, show_progress=False)
    fitted = time.perf_counter()
    users = np.arange(observed.shape[0])
    model.recommend(users, matrix, N=LENGTH, filter_already_liked_items=True)
    ended = time.perf_counter()
    return _answer(fitted - started, ended - fitted, csr_array(model.similarity))


def _answer(fit: float, lists: float, similarity: csr_array) -> Answer:
    row = np.repeat(np.arange(similarity.shape[0]), np.diff(similarity.indptr))
    others = similarity.data[row != similarity.indices].astype(np.float64)
    return {"fit": fit, "lists": lists, "kept": others.size, "sum": float(others.sum())}


WHO: dict[str, Callable[[csr_array], Answer]] = {"ecbehave": ours, "implicit": implicit}


if __name__ == "__main__":
    print(json.dumps(WHO[sys.argv[1]](csr_array(load_npz(sys.argv[2])))))
