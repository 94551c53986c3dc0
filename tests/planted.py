"""Small model inputs with a planted answer, built by hand."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from ecbehave.inputs.types import MatrixInput, TableInput
from ecbehave.models import model_class
from ecbehave.models.protocol import Model, Options
from ecbehave.models.top_k import lists_of
from ecbehave.schema import MATRIX_USERS, TABLE_KEYS

CUTOFF = datetime(2024, 3, 1, tzinfo=UTC)
ONCE = Options(seed=0, threads=1, ends={CUTOFF: CUTOFF + timedelta(days=28)})
RFM = ("recency_days_purchase_all", "days_purchase_all", "amount_purchase_all")
TENURE = "tenure_days_purchase_all"

#: Settings that let a kind learn from a few hundred rows; every other kind takes its defaults.
SETTINGS: dict[str, dict[str, Any]] = {
    "random_forest": {"trees": 40, "min_rows_per_leaf": 5},
    "adaboost": {"max_trees": 40, "patience": 10, "min_rows_per_leaf": 5},
    "boosting": {"max_trees": 60, "patience": 10, "min_rows_per_leaf": 5, "learning_rate": 0.1},
}


def make(kind: str, **settings: Any) -> Model:
    """Return an unfitted model; the settings come on top of `SETTINGS`."""
    found = model_class(kind)
    return found(found.config_class(kind=kind, **SETTINGS.get(kind, {}) | settings))


def table(features: Mapping[str, Sequence[float | None]], label: Sequence[int] | None = None) -> TableInput:
    """Return a table input; row n is user `u000n`."""
    n_rows = len(next(iter(features.values())))
    keys = {
        "user_hash": range(n_rows),
        "user_id": [f"u{n:04d}" for n in range(n_rows)],
        "cutoff": [CUTOFF] * n_rows,
    }
    frame = pl.DataFrame(keys, TABLE_KEYS)
    if label is not None:
        frame = frame.with_columns(pl.Series("label", label, pl.Int8))
    return TableInput(
        frame.with_columns(pl.Series(name, values, pl.Float32) for name, values in features.items()),
        tuple(features),
    )


def customers(n_rows: int = 300, seed: int = 0) -> TableInput:
    """The first 60 % of the rows are loyal, nine in ten of them with label 1; of the others it is one in ten."""
    rng = np.random.default_rng(seed)
    is_loyal = np.arange(n_rows) < n_rows * 0.6
    features = {
        RFM[0]: np.where(is_loyal, rng.uniform(0, 10, n_rows), rng.uniform(40, 90, n_rows)),
        RFM[1]: np.where(is_loyal, rng.integers(8, 20, n_rows), rng.integers(1, 4, n_rows)),
        RFM[2]: np.where(is_loyal, rng.uniform(200, 500, n_rows), rng.uniform(5, 60, n_rows)),
        "count_view_7d": rng.integers(0, 9, n_rows),
    }
    # A week from each day with a purchase to the next.
    features[TENURE] = features[RFM[0]] + 7 * (features[RFM[1]] - 1)
    label = rng.random(n_rows) < np.where(is_loyal, 0.9, 0.1)
    return table({name: values.tolist() for name, values in features.items()}, label.astype(int).tolist())


def candidates(n_users: int = 60, seed: int = 0) -> TableInput:
    """Five candidates for each user, those of `visitors`; everybody takes `i03`, bought time and again and lately."""
    rng = np.random.default_rng(seed)
    items = np.tile(["i01", "i03", "i05", "i07", "i09"], n_users)
    is_best, n_rows = items == "i03", items.size
    features = {
        f"item_{RFM[0]}": np.where(is_best, rng.uniform(0, 5, n_rows), rng.uniform(30, 90, n_rows)),
        f"item_{RFM[1]}": np.where(is_best, rng.integers(6, 12, n_rows), rng.integers(0, 3, n_rows)),
        f"item_{RFM[2]}": np.where(is_best, rng.uniform(50, 90, n_rows), rng.uniform(0, 20, n_rows)),
    }
    made = table({name: values.tolist() for name, values in features.items()}, is_best.astype(int).tolist())
    user = np.repeat(np.arange(n_users), 5)
    frame = made.frame.with_columns(
        pl.Series("user_hash", user, TABLE_KEYS["user_hash"]),
        pl.Series("user_id", [f"u{n:04d}" for n in user]),
        pl.Series("item_id", items),
    )
    return TableInput(frame.select(*TABLE_KEYS, "item_id", "label", *features), made.features)


#: One row of pairs: user, item, event type, number of events, days since the last one.
Pair = tuple[int, int, str, int, float]


def matrix(
    pairs: Iterable[Pair], n_users: int, items: Sequence[str], asked: Iterable[int] | None = None
) -> MatrixInput:
    """Return a matrix input; user n is `u000n`, and everybody is asked unless told otherwise."""
    chosen = set(range(n_users) if asked is None else asked)
    users = {
        "user_hash": range(n_users),
        "user_id": [f"u{n:04d}" for n in range(n_users)],
        "is_asked": [n in chosen for n in range(n_users)],
    }
    schema = {
        "user": pl.UInt32,
        "item": pl.UInt32,
        "event_type": pl.String,
        "n_events": pl.UInt32,
        "days_since": pl.Float32,
    }
    had = pl.DataFrame(list(pairs), schema, orient="row")
    return MatrixInput(
        CUTOFF,
        pl.DataFrame(users, MATRIX_USERS),
        pl.DataFrame({"item_id": items, "category": None}, {"item_id": pl.String, "category": pl.String}),
        had.with_columns(
            place=(pl.col("days_since").rank("dense").over("user") - 1).cast(pl.UInt32),
            rating=pl.lit(None, pl.Float32),
        ),
    )


def predict(model: Any, data: Any, k: int) -> pl.DataFrame:
    """Return the scores of rows; of a kind that scores items, the lists."""
    if isinstance(data, MatrixInput):
        return lists_of(data, model.scores(data), k)
    scored: pl.DataFrame = model.predict(data, k)
    return scored


def visitors(n_users: int = 24, n_items: int = 10, seed: int = 0) -> MatrixInput:
    """Everybody has bought item `i03` time and again, lately; the other items seldom, and long ago."""
    rng = np.random.default_rng(seed)
    pairs: list[Pair] = [(user, 3, "purchase", 9, 1.0) for user in range(n_users)]
    for user in range(n_users):
        for item in rng.choice([i for i in range(n_items) if i != 3], 3, replace=False):
            # Several types, whose weights add up to another last digit in another order.
            for event in ("view", "click", "cart", "purchase"):
                pairs.append((user, int(item), event, int(rng.integers(1, 3)), float(rng.uniform(60, 90))))
    return matrix(pairs, n_users, [f"i{n:02d}" for n in range(n_items)])


def shoppers(n_rows: int = 300, seed: int = 0) -> MatrixInput:
    """Items of the users of `customers`: the loyal ones had those from `i00` to `i04`, the others those after."""
    rng = np.random.default_rng(seed)
    pairs: list[Pair] = []
    for user in range(n_rows):
        first = 0 if user < n_rows * 0.6 else 5
        for item in rng.choice(5, 3, replace=False):
            pairs.append(
                (user, first + int(item), "purchase", int(rng.integers(1, 4)), float(rng.uniform(1, 60)))
            )
    return matrix(pairs, n_rows, [f"i{n:02d}" for n in range(10)])


def raters(n_users: int = 24, n_items: int = 10, seed: int = 0) -> MatrixInput:
    """Ratings from 1 to 5: users differ in how generous they are, items in how good, and one half of the users likes
    the one half of the items, the other half the others. Some of the items were bought, too."""
    rng = np.random.default_rng(seed)
    generous, good = np.linspace(-0.7, 0.7, n_users), np.linspace(-0.5, 0.5, n_items)
    pairs: list[Pair] = []
    ratings: list[float | None] = []
    for user in range(n_users):
        for item in rng.choice(n_items, n_items * 6 // 10, replace=False).tolist():
            taste = 1.0 if user % 2 == item % 2 else -1.0
            rating = round(3 + float(generous[user] + good[item]) + taste + float(rng.normal(0, 0.3)))
            pairs.append((user, item, "rating", 1, float(rng.uniform(1, 90))))
            ratings.append(float(min(max(rating, 1), 5)))
            if rng.random() < 0.3:
                pairs.append((user, item, "purchase", 1, float(rng.uniform(90, 99))))
                ratings.append(None)
    data = matrix(pairs, n_users, [f"i{n:02d}" for n in range(n_items)])
    return replace(data, pairs=data.pairs.with_columns(pl.Series("rating", ratings, pl.Float32)))


def lists(scored: pl.DataFrame) -> dict[str, list[str]]:
    """Return the items of each user, in the order of the rows."""
    found = scored.group_by("user_id", maintain_order=True).agg("item_id")
    return dict(zip(found["user_id"], found["item_id"].to_list(), strict=True))
