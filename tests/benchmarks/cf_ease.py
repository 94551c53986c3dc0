"""EASE in half of a symmetric matrix, beside the paper's equations in numpy: scores, time and memory."""

import json
import shutil
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ease_fit import N_SCORED, RIDGE, THREADS, WHO
from measure import HERE, Bench, Measured, measure
from scipy.sparse import csr_array, save_npz
from section import Section, gigabytes

N_USERS, N_ITEMS, ITEMS_PER_USER = 50_000, (4_000, 10_000), 25


def sections(bench: Bench) -> Iterator[Section]:
    """Fit on matrices of several sizes."""
    folder = bench.scratch / "ease"
    folder.mkdir()
    rows = [row for n_items in N_ITEMS for row in _rows(folder, n_items, bench.repeats)]
    shutil.rmtree(folder)
    header = ["items", "who", f"fit, median of {bench.repeats}", "score", "peak memory", "fit / numpy's"]
    header += ["memory / numpy's", "scores apart"]
    data = f"simulated: {N_USERS:,} users with about {ITEMS_PER_USER} items each, popular ones more often; seed 0"
    notes = [
        f"in processes of their own that read the same matrix; ours with {THREADS} threads, numpy's inverse with all "
        "cores: tests/benchmarks/ease_fit.py",
        f"score: of all items for {N_SCORED} users; ridge {RIDGE:g}",
        "peak memory: of the whole process, with its libraries and its copy of the data",
        "scores apart: the largest difference, as a share of the largest score",
    ]
    yield Section("EASE beside numpy", header, rows, data, [], notes)


def _rows(folder: Path, n_items: int, repeats: int) -> Iterator[list[str]]:
    """Yield a row for each of the two."""
    file = folder / f"{n_items}.npz"
    save_npz(file, _matrix(n_items))
    runs: dict[str, list[Measured]] = {who: [] for who in WHO}
    scores: dict[str, np.ndarray] = {}
    for _ in range(repeats):
        for who, done in runs.items():
            measured, scores[who] = _run(who, file, folder)
            done.append(measured)
    apart = np.abs(scores["ecbehave"] - scores["numpy"]).max() / np.abs(scores["numpy"]).max()
    cost = {who: _cost(done) for who, done in runs.items()}
    bare = cost["numpy"]
    for who, (fit, score, peak) in cost.items():
        cells = [
            f"{n_items:,}",
            who,
            f"{fit:.1f} s",
            f"{score:.2f} s",
            gigabytes(peak),
            f"{fit / bare[0]:.2f}",
        ]
        yield [*cells, f"{peak / bare[2]:.2f}", f"{apart:.1e}"]


def _run(who: str, file: Path, folder: Path) -> tuple[Measured, np.ndarray]:
    out = folder / f"{who}.npy"
    print(f"  ease_fit.py {who} {file.name}", file=sys.stderr, flush=True)
    measured = measure([sys.executable, str(HERE / "ease_fit.py"), who, str(file), str(out)])
    return measured, np.load(out)


def _cost(runs: list[Measured]) -> tuple[float, float, float]:
    """Return the medians of the seconds of the fit and of the score, and of the bytes at the peak."""
    printed = [json.loads(r.stdout) for r in runs]
    fit, score = (statistics.median(p[name] for p in printed) for name in ("fit", "score"))
    return fit, score, statistics.median(r.peak_bytes for r in runs)


def _matrix(n_items: int) -> csr_array:
    """Return how often who had what; the items of a user are drawn by popularity, most from one of twenty groups."""
    rng = np.random.default_rng(0)
    n_had = rng.poisson(ITEMS_PER_USER, N_USERS)
    user = np.repeat(np.arange(N_USERS), n_had)
    by_popularity = (n_items * rng.random(user.size) ** 2).astype(np.int64)
    own_group = by_popularity // 20 * 20 + user % 20
    item = np.where(rng.random(user.size) < 0.7, np.minimum(own_group, n_items - 1), by_popularity)
    matrix = csr_array((np.ones(user.size), (user, item)), shape=(N_USERS, n_items))
    matrix.sum_duplicates()
    return matrix
