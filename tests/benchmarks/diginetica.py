"""Sessions of an anonymous shop: `user_knn` by order on Diginetica, beside published figures of neural networks."""

import argparse
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from measure import Bench
from numpy.typing import NDArray
from scipy.sparse import csr_array
from section import Section

from ecbehave.inputs.types import MatrixInput
from ecbehave.models.cf.user_knn import UserKnn, UserKnnConfig
from ecbehave.models.protocol import Options

K = 20
#: Chosen on the last train sessions, which were held out; see `validation`.
SETTINGS: dict[str, Any] = {
    "event_weights": {"view": 1.0},
    "neighbours": 500,
    "half_life": "410d",
    "rarity": 2.8,
    "repeat_weight": 0.2,
    "order": {"recency": 0.7, "distance": 0.15, "before": 0.65, "same": 1.2},
}
#: The file has no times, but sessions in the order of days. So many are taken for one day's, to have an age.
SESSIONS_A_DAY = 1000
#: The last so many train sessions are held out for choosing settings.
N_HELD_OUT = 15_000
PUBLISHED = (
    ("last-item Markov chain", 33.61, 12.77),
    ("GRU4Rec", 29.45, 8.33),
    ("STAMP", 45.64, 14.32),
    ("NARM", 49.70, 16.17),
    ("SR-GNN", 50.73, 17.59),
    ("GCE-GNN", 54.22, 19.04),
)


def sections(bench: Bench) -> Iterator[Section]:
    """Score all test prefixes, where the data are there."""
    folder = bench.data / "diginetica-sessions"
    if folder.is_dir():
        yield _section(folder)


def _section(folder: Path) -> Section:
    train, test = (pl.read_parquet(folder / f"{part}.parquet") for part in ("train", "test"))
    rank, seconds = judge(train["item_ids"], test["item_ids"], test["next_item_id"], SETTINGS)
    mine = ["user_knn", *(f"{value:.2f}" for value in figures(rank)), f"{seconds:.0f} s"]
    others = [[name, f"{p:.2f}", f"{mrr:.2f}", ""] for name, p, mrr in PUBLISHED]
    return Section(
        "Next item of a session",
        ["model", "P@20", "MRR@20", "fit and score"],
        [mine, *others],
        f"Diginetica as prepared for SR-GNN: {train.height:,} train sessions, {test.height:,} test prefixes",
        notes=[
            "full ranking, each prefix counts once; equal scores share their mean rank",
            f"settings, chosen on the last {N_HELD_OUT:,} train sessions: {SETTINGS}",
            "an item that comes several times in a session has its last place only",
            "other rows as published (MGCOT, table 2), on the same files",
        ],
    )


def judge(
    sessions: pl.Series, prefixes: pl.Series, targets: pl.Series, settings: dict[str, Any]
) -> tuple[NDArray[np.float64], float]:
    """Fit on sessions and score prefixes.

    Returns:
        The rank of each target [N], infinite where it has no score; and the seconds that it took.
    """
    items = sessions.explode().unique().sort()
    age = (len(sessions) - 1 - np.arange(len(sessions))) // SESSIONS_A_DAY
    history = as_matrix(sessions, items, age, is_asked=False)
    asked = as_matrix(prefixes, items, np.zeros(len(prefixes)), is_asked=True)
    target = items.search_sorted(targets).to_numpy().astype(np.int64)
    started = time.perf_counter()
    model = UserKnn(UserKnnConfig.model_validate({"kind": "user_knn"} | settings))
    model.fit([history], [], Options(seed=0, threads=1, output="ranking"))
    ranks = [_ranks(scores, target[users]) for users, scores in model.scores(asked)]
    return np.concatenate(ranks), time.perf_counter() - started


def as_matrix(sessions: pl.Series, items: pl.Series, age: NDArray[Any], *, is_asked: bool) -> MatrixInput:
    """Return sessions as users.

    Args:
        sessions: [U] lists of items, in order.
        items: [I] the catalogue, sorted.
        age: [U] days since each session.
        is_asked: whether these are the sessions to go on from.
    """
    number = np.arange(len(sessions))
    name = "asked" if is_asked else "past"
    users = pl.DataFrame(
        {
            "user_hash": number.astype(np.uint64),
            "user_id": [f"{name} {n}" for n in number],
            "is_asked": np.full(number.size, is_asked),
        }
    )
    last = pl.int_range(pl.len()).over("user")
    pairs = (
        pl.DataFrame({"user": number, "item": sessions, "days_since": age})
        .explode("item")
        .with_columns(place=pl.len().over("user") - 1 - last)
        .group_by("user", "item", "days_since")
        .agg(n_events=pl.len(), place=pl.col("place").min())
        .sort("user", "item")
    )
    typed = pairs.select(
        pl.col("user").cast(pl.UInt32),
        items.search_sorted(pairs["item"]).cast(pl.UInt32).alias("item"),
        pl.lit("view").alias("event_type"),
        pl.col("n_events").cast(pl.UInt32),
        pl.col("days_since").cast(pl.Float32),
        pl.col("place").cast(pl.UInt32),
        pl.lit(None, pl.Float32).alias("rating"),
    )
    catalogue = pl.DataFrame(
        {
            "item_id": items.cast(pl.String).str.zfill(6),
            "category": pl.Series([None] * len(items), dtype=pl.String),
        }
    )
    return MatrixInput(datetime(2016, 6, 1, tzinfo=UTC), users, catalogue, typed)


def _ranks(scores: csr_array, target: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the rank of each row's target [B]: one more than the higher scores and half of the equal ones."""
    row = np.repeat(np.arange(target.size), np.diff(scores.indptr))
    is_target = scores.indices == target[row]
    own = np.full(target.size, -np.inf)
    own[row[is_target]] = scores.data[is_target]
    higher = np.bincount(row[scores.data > own[row]], minlength=target.size)
    equal = np.bincount(row[(scores.data == own[row]) & ~is_target], minlength=target.size)
    return np.where(own > -np.inf, 1 + higher + equal / 2, np.inf)


def figures(rank: NDArray[np.float64]) -> tuple[float, float]:
    """Return P@20 and MRR@20 in percent."""
    is_in = rank <= K
    return 100 * float(is_in.mean()), 100 * float(np.where(is_in, 1 / rank, 0).mean())


def validation(folder: Path, every: int) -> tuple[pl.Series, pl.Series, pl.Series]:
    """Return sessions to fit on, and prefixes and targets of every n-th of the sessions held out, without new items."""
    sessions = pl.read_parquet(folder / "train.parquet")["item_ids"]
    kept, held = sessions[:-N_HELD_OUT], sessions[-N_HELD_OUT:]
    known = kept.explode().unique()
    items = (
        pl.DataFrame({"session": np.arange(len(held)), "item": held})
        .gather_every(every)
        .explode("item")
        .filter(pl.col("item").is_in(known.implode()))
        .group_by("session", maintain_order=True)
        .agg("item")
    )
    ends = items.with_columns(n=pl.int_ranges(1, pl.col("item").list.len())).explode("n").drop_nulls("n")
    prefixes = ends.select(pl.col("item").list.head(pl.col("n")), target=pl.col("item").list.get(pl.col("n")))
    return kept, prefixes["item"], prefixes["target"]


def main() -> None:
    """Try settings on the sessions held out: `diginetica.py FOLDER EVERY '{"neighbours": 500}' ...`."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("every", type=int)
    parser.add_argument("settings", type=json.loads, nargs="*")
    asked = parser.parse_args()
    parts = validation(asked.folder, asked.every)
    for tried in asked.settings or [{}]:
        rank, seconds = judge(*parts, SETTINGS | tried)
        print(tried, *(f"{value:.2f}" for value in figures(rank)), f"{seconds:.1f} s", flush=True)


if __name__ == "__main__":
    main()
