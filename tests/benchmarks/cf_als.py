"""`als` beside implicit's alternating least squares: NDCG of held-out items, seconds, memory."""

import json
import statistics
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from cf_als_fit import LENGTH
from measure import HERE, Bench, Measured, measure
from numpy.typing import NDArray
from scipy.sparse import csr_array
from section import Section, gigabytes

SEED = 0
#: Users whose lists are made and judged.
N_ASKED = 20_000
SMALL = 2_000_000
HEADER = ["", "NDCG@10", "NDCG@100", "fit", "lists", "peak memory"]
Settings = Mapping[str, Mapping[str, Any]]

_IMPLICIT_SESSIONS = {"factors": 64, "alpha": 1000.0, "regularization": 30.0}
_IMPLICIT_SIMULATED = {"factors": 64, "alpha": 7.0, "regularization": 20.0}
#: Set by hand, on another draw of users (some are the same) or another seed; implicit once with its own number of
#: iterations, once with ours.
SESSIONS: Settings = {
    "ecbehave": {
        "factors": 64,
        "iterations": 5,
        "unobserved_weight": 0.001,
        "reg": 0.03,
        "reg_exponent": 0.5,
    },
    "implicit": {"iterations": 15} | _IMPLICIT_SESSIONS,
    "implicit, as few iterations": {"iterations": 5} | _IMPLICIT_SESSIONS,
}
SIMULATED: Settings = {
    "ecbehave": {
        "factors": 64,
        "iterations": 6,
        "unobserved_weight": 0.15,
        "reg": 0.003,
        "reg_exponent": 0.8,
    },
    "implicit": {"iterations": 15} | _IMPLICIT_SIMULATED,
    "implicit, as few iterations": {"iterations": 6} | _IMPLICIT_SIMULATED,
}


@dataclass(frozen=True)
class Split:
    """What was observed of users, and what was held out of it."""

    observed: csr_array
    """[U, I]."""
    held_out: csr_array
    """[U, I]."""


def sections(bench: Bench) -> Iterator[Section]:
    """Compare on Diginetica's sessions, and on simulated interactions."""
    folder = bench.scratch / "als"
    folder.mkdir()
    sessions = bench.data / "diginetica-sessions" / "train.parquet"
    if sessions.is_file():
        split = last_items(pl.read_parquet(sessions)["item_ids"])
        text = f"{_size(split)}; Diginetica's train sessions of two items or more; the last item is held out"
        yield _section("sessions as users", split, SESSIONS, text, folder, bench.repeats)
    split = interactions(max(bench.n_events or (SMALL,)), np.random.default_rng(SEED))
    text = f"{_size(split)}; simulated, a fifth of each user's items is held out; seed {SEED}"
    yield _section("simulated shop", split, SIMULATED, text, folder, bench.repeats)


def _size(split: Split) -> str:
    n_users, n_items = split.observed.shape
    return f"{n_users:,} users, {n_items:,} items, {split.observed.nnz:,} pairs"


def _section(title: str, split: Split, settings: Settings, text: str, folder: Path, repeats: int) -> Section:
    asked = np.sort(np.random.default_rng(SEED).permutation(split.observed.shape[0])[:N_ASKED])
    matrix = folder / "matrix.npz"
    observed = split.observed
    np.savez(matrix, indices=observed.indices, indptr=observed.indptr, shape=observed.shape, asked=asked)
    runs: dict[str, list[Measured]] = {who: [] for who in settings}
    lists: dict[str, NDArray[np.int64]] = {}
    for _ in range(repeats):
        for who, done in runs.items():
            kind = who.split(",", maxsplit=1)[0]
            given, out = folder / f"{who}.json", folder / f"{who}.npy"
            given.write_text(json.dumps(settings[who]), encoding="utf-8")
            print(f"  cf_als_fit.py {who}", file=sys.stderr, flush=True)
            done.append(
                measure(
                    [sys.executable, str(HERE / "cf_als_fit.py"), kind, str(matrix), str(given), str(out)]
                )
            )
            lists[who] = np.load(out)
    held_out = csr_array(split.held_out[asked])
    rows = [
        [who, *(f"{ndcg(lists[who], held_out, k):.4f}" for k in (10, LENGTH)), *_cost(done)]
        for who, done in runs.items()
    ]
    notes = [
        *(
            f"{who}: {', '.join(f'{key} {value}' for key, value in given.items())}"
            for who, given in settings.items()
        ),
        "fit: from the stored pairs (ours), or a sparse matrix (implicit), to factors; lists: the best 100 items of "
        f"{asked.size:,} users without what they had, ours folded in from their history; all cores, median of "
        f"{repeats}",
        "NDCG over the same users and held-out items, the whole catalogue ranked, one function for both",
    ]
    return Section(f"Alternating least squares: {title}", HEADER, rows, text, [], notes)


def _cost(done: list[Measured]) -> list[str]:
    told = [json.loads(run.stdout) for run in done]
    seconds = [f"{statistics.median(t[part] for t in told):.1f} s" for part in ("fit", "lists")]
    return [*seconds, gigabytes(statistics.median(run.peak_bytes for run in done))]


def ndcg(lists: NDArray[np.int64], held_out: csr_array, k: int) -> float:
    """Return the mean over users of DCG at k, divided by the best one possible.

    Args:
        lists: [U, at least k] items, best first; -1 is none.
        held_out: [U, I] the true items, at least one for each user that counts.
        k: length of the lists.
    """
    n_true = np.diff(held_out.indptr)
    true = np.repeat(np.arange(n_true.size), n_true) * held_out.shape[1] + held_out.indices
    listed = np.arange(lists.shape[0])[:, None] * held_out.shape[1] + lists[:, :k]
    is_hit = np.isin(listed, true) & (lists[:, :k] >= 0)
    discount = 1 / np.log2(np.arange(2, k + 2))
    ideal = np.append(0, np.cumsum(discount))[np.minimum(n_true, k)]
    counts = n_true > 0
    return float(((is_hit @ discount)[counts] / ideal[counts]).mean())


def last_items(sessions: pl.Series) -> Split:
    """Hold out the last item of each session of two or more; an item is numbered by its place in their order."""
    table = pl.DataFrame({"item": sessions}).filter(pl.col("item").list.len() > 1).with_row_index("user")
    rows = table.explode("item").with_columns(pl.col("item").rank("dense") - 1)
    is_last = pl.col("user") != pl.col("user").shift(-1, fill_value=table.height)
    last = rows.filter(is_last)
    before = rows.filter(~is_last).unique(maintain_order=True)
    shape = (table.height, int(rows["item"].max()) + 1)  # type: ignore[arg-type]
    observed, held_out = _csr(before, shape), _csr(last, shape)
    # What comes again at the end had been there before, and cannot be listed.
    held_out = csr_array(held_out - held_out.multiply(observed))
    held_out.eliminate_zeros()
    return Split(observed, held_out)


def _csr(rows: pl.DataFrame, shape: tuple[int, int]) -> csr_array:
    user, item = rows["user"].to_numpy().astype(np.int64), rows["item"].to_numpy().astype(np.int64)
    return csr_array((np.ones(user.size, np.float32), (user, item)), shape=shape)


def interactions(n: int, rng: np.random.Generator) -> Split:
    """Draw about n pairs of n / 40 users and n / 200 items; a fifth of them is held out.

    A user has some tastes out of 200, which weigh differently; a taste has its own bestsellers, some of which are
    shared with other tastes, and one draw in ten follows the bestsellers of all. How much users do and how often
    items are drawn is as skewed as in shops.
    """
    n_users, n_items, n_tastes, n_own = n // 40, n // 200, 200, 5
    amount = np.clip(rng.lognormal(3.3, 0.9, n_users), 5, 500)
    user = np.repeat(np.arange(n_users), rng.poisson(amount * 1.4 * n / n_users / 40))
    # Items by taste: each taste has its own order of a part of the catalogue.
    size = max(n_items // 60, 20)
    catalogue = np.concatenate([rng.permutation(n_items)[:size] for _ in range(n_tastes)])
    chance = np.cumsum(1 / (5 + np.arange(size)) ** 0.9)
    tastes = rng.integers(n_tastes, size=(n_users, n_own))
    # The first taste of a user counts for half of what is drawn, the second for a quarter, and so on.
    which = np.minimum(rng.geometric(0.5, user.size) - 1, n_own - 1)
    place = np.searchsorted(chance, rng.random(user.size) * chance[-1])
    item = catalogue[tastes[user, which] * size + place]
    everywhere = rng.random(user.size) < 0.1
    skewed = (n_items * rng.random(int(everywhere.sum())) ** 3).astype(np.int64)
    item[everywhere] = skewed
    pair = np.unique(user * n_items + item)
    is_out = rng.random(pair.size) < 0.2
    shape = (n_users, n_items)
    parts = [(pair[mask] // n_items, pair[mask] % n_items) for mask in (~is_out, is_out)]
    observed, held_out = (csr_array((np.ones(u.size, np.float32), (u, i)), shape=shape) for u, i in parts)
    return Split(observed, held_out)
