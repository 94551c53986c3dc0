"""The nearest users of every user: ours beside scikit-learn's brute force, on the same sparse matrix.

As a program, `neighbours.py FOLDER ours|scikit-learn N`, it looks for those of the first N users, and stores them.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from measure import Bench, Measured, measure
from numpy.typing import NDArray
from scipy.sparse import csr_array, csr_matrix, load_npz, save_npz
from section import Section, gigabytes

N_USERS, N_ITEMS, N_NEAR = 100_000, 20_000, 50
#: Events per user, on average; a few items draw most of them, as in a shop.
N_EVENTS = 20
#: Brute force takes its time: it is asked about so many of the users, who are compared with all.
N_ASKED = 10_000
THREADS = 2
#: Similarities that differ by less are equal, as ours are rounded to 32 bits.
ROUNDING = 1e-5


def sections(bench: Bench) -> Iterator[Section]:
    """Search in real sessions, where they are there, and in a simulated shop whose users have more in common."""
    sessions = bench.data / "diginetica-sessions"
    if sessions.is_dir():
        yield _section(
            bench.scratch / "near_sessions", of_sessions(sessions), "the last sessions of Diginetica"
        )
    rng = np.random.default_rng(0)
    yield _section(bench.scratch / "near_simulated", simulated(rng), "simulated, few items have most events")


def _section(folder: Path, matrix: csr_array, data: str) -> Section:
    """Look for the neighbours of all users with ours, and of a part of them with both."""
    folder.mkdir()
    save_npz(folder / "matrix.npz", matrix)
    runs = [
        _Run("ecbehave user_knn, all users", "ours", N_USERS),
        _Run("ecbehave user_knn", "ours", N_ASKED),
        _Run("scikit-learn NearestNeighbors, brute", "scikit-learn", N_ASKED),
    ]
    measured = [run.measured(folder) for run in runs]
    seconds = [float(m.stdout) for m in measured]
    each = [s / run.n_asked for s, run in zip(seconds, runs, strict=True)]
    rows = [
        [
            run.name,
            f"{run.n_asked:,}",
            f"{s:.2f} s",
            f"{1e3 * one:.3f} ms",
            f"{each[-1] / one:.1f}",
            gigabytes(m.peak_bytes),
        ]
        for run, m, s, one in zip(runs, measured, seconds, each, strict=True)
    ]
    return Section(
        f"The {N_NEAR} nearest of {N_USERS:,} users by cosine",
        ["who", "users asked", "time", "per user", "times as fast", "peak memory"],
        rows,
        f"{data}: {matrix.nnz:,} pairs of {matrix.shape[0]:,} users and {matrix.shape[1]:,} items",
        notes=[
            f"the time is that of the search with {THREADS} threads, in a process of its own, reading left out",
            f"of {N_ASKED:,} users that both were asked about, {different(folder, matrix):,} have neighbours of other "
            "similarities",
        ],
    )


@dataclass(frozen=True)
class _Run:
    name: str
    who: str
    n_asked: int

    def measured(self, folder: Path) -> Measured:
        """Run this file in a process of its own."""
        print(f"  {self.name}: {self.n_asked:,} users", file=sys.stderr, flush=True)
        return measure([sys.executable, __file__, str(folder), self.who, str(self.n_asked)])


def of_sessions(folder: Path) -> csr_array:
    """Return how often the last sessions had items [U, I]."""
    items = pl.read_parquet(folder / "train.parquet")["item_ids"][-N_USERS:]
    had = (
        pl.DataFrame({"user": np.arange(N_USERS), "item": items})
        .explode("item")
        .with_columns(item=pl.col("item").rank("dense") - 1)
        .group_by("user", "item")
        .len()
        .sort("user", "item")
    )
    place = (had["user"].to_numpy(), had["item"].to_numpy())
    return csr_array((np.log1p(had["len"].to_numpy()), place), shape=(N_USERS, had["item"].n_unique()))


def simulated(rng: np.random.Generator) -> csr_array:
    """Return how often users had items [U, I]."""
    n_events = rng.poisson(N_EVENTS, N_USERS) + 1
    user = np.repeat(np.arange(N_USERS), n_events)
    popular = 1 / (10 + np.arange(N_ITEMS)) ** 0.8
    item = rng.choice(N_ITEMS, user.size, p=popular / popular.sum())
    matrix = csr_array((np.ones(user.size), (user, item)), shape=(N_USERS, N_ITEMS))
    matrix.sum_duplicates()
    matrix.data = np.log1p(matrix.data)
    return matrix


def different(folder: Path, matrix: csr_array) -> int:
    """Return how many users have neighbours that are not as near as those that the other one found."""
    unit = csr_array(matrix.multiply(1 / np.sqrt(matrix.power(2).sum(axis=1))[:, None]))
    near = [np.load(folder / f"{who}_{N_ASKED}.npy") for who in ("ours", "scikit-learn")]
    similar = [-np.sort(-_similarity(unit, rows), axis=1) for rows in near]
    return int((np.abs(similar[0] - similar[1]).max(axis=1) > ROUNDING).sum())


def _similarity(unit: csr_array, near: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the similarities of users to their neighbours [N, n]; 0 where there are fewer neighbours."""
    row = np.repeat(np.arange(near.shape[0]), near.shape[1])
    pairs = unit[row].multiply(unit[np.maximum(near.ravel(), 0)]).sum(axis=1)
    return np.where(near.ravel() >= 0, pairs, 0).reshape(near.shape)


def ours(matrix: csr_array, n_asked: int) -> NDArray[np.int64]:
    """Return the nearest users of some users, as `user_knn` looks for them [n_asked, n]; -1 where there are fewer."""
    from ecbehave.models.cf.similarity import Similarity, similar_rows, similar_to

    how = Similarity("cosine", N_NEAR)
    if n_asked == matrix.shape[0]:
        found = similar_rows(matrix, how, threads=THREADS)
    else:
        found = similar_to(matrix[:n_asked], matrix, Similarity("cosine", N_NEAR + 1), threads=THREADS)
    near = np.full((n_asked, N_NEAR), -1)
    row = np.repeat(np.arange(n_asked), np.diff(found.indptr))
    order = np.lexsort((-found.data, row))
    order = order[found.indices[order] != row[order]]
    row, other = row[order], found.indices[order]
    place = np.arange(row.size) - np.searchsorted(row, row)
    is_in = place < N_NEAR
    near[row[is_in], place[is_in]] = other[is_in]
    return near


def brute_force(matrix: csr_array, n_asked: int) -> NDArray[np.int64]:
    """Return the same from scikit-learn."""
    from sklearn.neighbors import NearestNeighbors

    model = NearestNeighbors(n_neighbors=N_NEAR + 1, algorithm="brute", metric="cosine", n_jobs=THREADS)
    found = model.fit(csr_matrix(matrix)).kneighbors(csr_matrix(matrix[:n_asked]), return_distance=False)
    is_other = found != np.arange(n_asked)[:, None]
    # Who has a twin may be missing among its own neighbours: the last one is dropped then.
    is_other[is_other.all(axis=1), -1] = False
    return found[is_other].reshape(n_asked, N_NEAR)


FINDERS = {"ours": ours, "scikit-learn": brute_force}


def main(arguments: Sequence[str]) -> None:
    """Look for neighbours, store them, and print the seconds that it took."""
    folder, who, n_asked = Path(arguments[0]), arguments[1], int(arguments[2])
    matrix = csr_array(load_npz(folder / "matrix.npz"))
    started = time.perf_counter()
    near = FINDERS[who](matrix, n_asked)
    print(time.perf_counter() - started)
    np.save(folder / f"{who}_{n_asked}.npy", near)


if __name__ == "__main__":
    main(sys.argv[1:])
