"""The next item of each user: `item_knn` on Amazon Beauty, leave-one-out, beside published figures."""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from measure import Bench
from numpy.typing import NDArray
from section import Section

from ecbehave.inputs.types import MatrixInput
from ecbehave.models.cf.item_knn import ItemKnn, ItemKnnConfig
from ecbehave.models.protocol import Options

K = 10
#: Chosen on the validation items, with weights that know neither these nor the test items; see `validation`.
SETTINGS: dict[str, Any] = {
    "event_weights": {"review": 1.0},
    "neighbours": 500,
    "min_users": 1,
    "shrink": 10.0,
    "half_life": "60d",
    "repeat_weight": 0.0,
    "place_decay": 0.6,
    "directed_weight": 0.6,
    "directed_reach": 50,
    "directed_distance": 0.5,
    "directed_damping": 0.25,
    "popularity_exponent": 0.15,
}
#: Without what knows the order: the item-item neighbours that every library has.
PLAIN = {"directed_weight": 0.0, "place_decay": 1.0, "popularity_exponent": 0.0}
PUBLISHED = (
    ("GRU4Rec", ".0283", ".0137"),
    ("Caser", ".0347", ".0176"),
    ("BERT4Rec", ".0347", ".0170"),
    ("SASRec", ".0605", ".0318"),
    ("S3-Rec", ".0647", ".0327"),
    ("SASRec with sampled softmax", ".0921", ".0531"),
    ("eSASRec", ".0928", ".0523"),
)


def sections(bench: Bench) -> Iterator[Section]:
    """Rank all items for all users, where the data are there."""
    file = bench.data / "amazon-beauty" / "Beauty.txt"
    if file.is_file():
        yield _section(read(file))


def _section(histories: pl.Series) -> Section:
    rows = []
    for name, changes, n_unknown in (
        ("item_knn", {}, 2),
        ("item_knn, refitted with the validation item", {}, 1),
        ("item_knn, cosine alone", PLAIN, 2),
        ("item_knn, cosine alone, refitted", PLAIN, 1),
    ):
        rank, seconds = judge(histories, n_unknown, 1, SETTINGS | changes)
        rows.append([name, *(f"{value:.4f}"[1:] for value in figures(*rank)), f"{seconds:.1f} s"])
    return Section(
        "Next item of a user",
        ["model", f"HR@{K}", f"NDCG@{K}", "fit and score"],
        [*rows, *([*row, ""] for row in PUBLISHED)],
        f"Amazon Beauty, 5-core, as prepared for S3-Rec: {len(histories):,} users, "
        f"{histories.list.len().sum():,} interactions",
        notes=[
            "leave-one-out: the last item is asked for, the one before it was for choosing settings; this split lets "
            "models see what other users did later",
            "all items are ranked but those that the user had; equal scores count by their mean over all orders",
            f"settings, chosen on the validation items: {SETTINGS}",
            "other rows as published (S3-Rec; the last two: transformer_benchmark of the eSASRec authors), on the same "
            "file; they are fitted without the validation item",
        ],
    )


def read(file: Path) -> pl.Series:
    """Return the items of each user in the order of time; a line has the user first."""
    return pl.read_csv(file, has_header=False, separator="\n").to_series().str.split(" ").list.slice(1)


def as_matrix(histories: pl.Series, n_unknown: int, items: pl.Series) -> MatrixInput:
    """Return what users had [U, I] without their last items.

    Args:
        histories: [U] lists of items.
        n_unknown: how many of the last ones are left out.
        items: [I] all items, sorted.
    """
    user = pl.int_range(len(histories), eager=True, dtype=pl.UInt32)
    place = pl.int_range(pl.len()).reverse().over("user") - n_unknown
    rows = pl.DataFrame({"user": user, "item_id": histories}).explode("item_id").with_columns(place=place)
    rows = rows.filter(pl.col("place") >= 0)
    pairs = rows.select(
        "user",
        pl.col("place").cast(pl.UInt32),
        item=items.search_sorted(rows["item_id"]),
        event_type=pl.lit("review"),
        n_events=pl.lit(1, pl.UInt32),
        days_since=pl.lit(0, pl.Float32),
        rating=pl.lit(None, pl.Float32),
    )
    ids = [f"{n:05d}" for n in range(len(histories))]
    users = pl.DataFrame({"user_hash": user.cast(pl.UInt64), "user_id": ids}).with_columns(
        is_asked=pl.lit(value=True)
    )
    return MatrixInput(datetime(2014, 7, 24, tzinfo=UTC), users, items.to_frame("item_id"), pairs)


def judge(
    histories: pl.Series, n_unknown: int, n_after: int, settings: dict[str, Any]
) -> tuple[tuple[NDArray[np.int64], NDArray[np.int64]], float]:
    """Fit without some of the last items of each user, and ask for one.

    Args:
        histories: [U] lists of items.
        n_unknown: how many of the last items the weights do not know.
        n_after: the item asked for is the last but so many less one; all before it are known when it is asked for.
        settings: of the model.

    Returns:
        For each user who has a score for the item [n], how many items score higher, and how many the same, itself
        among them, as two arrays; and the seconds that it took.
    """
    items = histories.explode().unique().sort()
    fitted, asked = (as_matrix(histories, n, items) for n in (n_unknown, n_after))
    target = items.search_sorted(histories.list.get(-n_after)).to_numpy().astype(np.int64)
    started = time.perf_counter()
    model = ItemKnn(ItemKnnConfig.model_validate({"kind": "item_knn"} | settings))
    model.fit([fitted], [], Options(seed=0, threads=1, output="ranking"))
    higher, tied = [], []
    had = asked.csr(asked.pairs, np.ones(asked.pairs.height))
    for users, scores in model.scores(asked):
        dense = scores.toarray()
        dense[had[users].toarray() > 0] = 0
        own = dense[np.arange(users.size), target[users], None]
        has_score = own[:, 0] > 0
        higher.append((dense > own).sum(axis=1)[has_score])
        tied.append((dense == own).sum(axis=1)[has_score])
    return (np.concatenate(higher), np.concatenate(tied)), time.perf_counter() - started


def figures(higher: NDArray[np.int64], tied: NDArray[np.int64], n_users: int = 22_363) -> tuple[float, float]:
    """Return HR@10 and NDCG@10, the mean over all orders of equal scores."""
    gain = np.append(0, np.cumsum(1 / np.log2(np.arange(K) + 2)))
    first, last = np.minimum(higher, K), np.minimum(higher + tied, K)
    hits, gains = (last - first) / tied, (gain[last] - gain[first]) / tied
    return float(hits.sum() / n_users), float(gains.sum() / n_users)


def validation(histories: pl.Series, grid: dict[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    """Yield settings with the figures of the validation items, the weights being fitted without these."""
    for values in product(*grid.values()):
        changes = dict(zip(grid, values, strict=True))
        hit_rate, ndcg = figures(*judge(histories, 2, 2, SETTINGS | changes)[0])
        yield changes | {"hit_rate": round(hit_rate, 5), "ndcg": round(ndcg, 5)}


def main() -> None:
    """Try settings on the validation items: `beauty.py FILE '{"shrink": [5, 10, 20]}'`."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("grid", type=json.loads)
    asked = parser.parse_args()
    for line in validation(read(asked.file), asked.grid):
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
