"""Predicted ratings on MovieLens 100K, in the five folds of the table that the library Surprise publishes."""

import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np
import polars as pl
from measure import Bench
from numpy.typing import NDArray
from section import Section

from ecbehave.inputs.types import MatrixInput
from ecbehave.metrics.rating import errors_of
from ecbehave.models import PLAIN, model_class
from ecbehave.models.protocol import Options

N_FOLDS, SEED = 5, 0
#: RMSE of five folds in the table of Surprise.
PUBLISHED = {"Surprise: SVD": "0.934", "Surprise: k-NN with baseline": "0.931", "Surprise: SVD++": "0.92"}
OPTIONS = Options(seed=SEED, threads=2, output="rating")


def sections(bench: Bench) -> Iterator[Section]:
    """Judge every kind that predicts ratings, with its default settings, where the data are."""
    path = bench.data / "movielens-100k" / "ml-100k.inter"
    if not path.is_file():
        print(f"  movielens: left out, {path} does not exist", file=sys.stderr)
        return
    log = pl.read_csv(path, separator="\t", new_columns=["user_id", "item_id", "rating", "ts"])
    kinds = [kind for kind in PLAIN if "rating" in model_class(kind).inputs]
    yield Section(
        "Explicit ratings: MovieLens 100K, five random folds",
        ["model", "RMSE", "MAE", "fit and predict, per fold"],
        [*(_row(kind, log) for kind in kinds), *([name, rmse, "", ""] for name, rmse in PUBLISHED.items())],
        f"MovieLens 100K: {log.height:,} ratings; folds drawn as Surprise draws them (random_state=0)",
        notes=(
            "kinds with their default settings; mean of the folds, and in brackets their standard deviation",
            "published figures were not measured here; random folds know the future, as theirs do",
        ),
    )


def _row(kind: str, log: pl.DataFrame) -> list[str]:
    print(f"  {kind}", file=sys.stderr, flush=True)
    data, pairs = _whole(log), _numbered(log)
    errors, seconds = [], []
    for is_test in _folds(log.height):
        asked = pairs.filter(pl.Series(is_test))
        known = MatrixInput(data.cutoff, data.users, data.items, data.pairs.filter(pl.Series(~is_test)))
        start = time.perf_counter()
        found = model_class(kind)
        model = found(found.config_class.model_validate({"kind": kind})).fit([known], [], OPTIONS)
        predicted = model.ratings(known, asked.select("user", "item"))  # type: ignore[attr-defined]
        seconds.append(time.perf_counter() - start)
        errors.append(errors_of(asked.with_columns(predicted=pl.Series(predicted))))
    return [
        kind,
        *(_mean([e[name] for e in errors]) for name in ("rmse", "mae")),
        f"{np.median(seconds):.2f} s",
    ]


def _mean(values: list[float]) -> str:
    return f"{np.mean(values):.4f} ({np.std(values, ddof=1):.4f})"


def _folds(n_ratings: int) -> Iterator[NDArray[np.bool_]]:
    """Yield which ratings are to be predicted, fold by fold: all of them once."""
    order = np.random.RandomState(SEED).permutation(n_ratings)
    for part in np.array_split(order, N_FOLDS):
        is_test = np.zeros(n_ratings, np.bool_)
        is_test[part] = True
        yield is_test


def _numbered(log: pl.DataFrame) -> pl.DataFrame:
    """Return `user`, `item` (row numbers, in the order of ids as text), `rating`."""
    rank = (pl.col("user_id", "item_id").cast(pl.String).rank("dense") - 1).cast(pl.UInt32)
    return log.select(rank.name.map(lambda name: name.removesuffix("_id")), pl.col("rating").cast(pl.Float64))


def _whole(log: pl.DataFrame) -> MatrixInput:
    """Return all ratings as what is known at the end of the log."""
    ids = {name: log[name].cast(pl.String).unique().sort() for name in ("user_id", "item_id")}
    users = pl.DataFrame({"user_id": ids["user_id"], "is_asked": True}).with_row_index("user_hash")
    days = (pl.col("ts").max() - pl.col("ts")) / 86_400
    pairs = _numbered(log).with_columns(
        event_type=pl.lit("rating"),
        n_events=pl.lit(1, pl.UInt32),
        days_since=log.select(days.cast(pl.Float32)).to_series(),
        rating=pl.col("rating").cast(pl.Float32),
    )
    latest = (pl.col("days_since").rank("dense").over("user") - 1).cast(pl.UInt32)
    cutoff = datetime.fromtimestamp(int(log["ts"].cast(pl.Int64).max()) + 1, UTC)  # type: ignore[arg-type]
    items = pl.DataFrame(
        {"item_id": ids["item_id"], "category": None}, {"item_id": pl.String, "category": pl.String}
    )
    return MatrixInput(
        cutoff,
        users.with_columns(pl.col("user_hash").cast(pl.UInt64)),
        items,
        pairs.with_columns(place=latest),
    )
