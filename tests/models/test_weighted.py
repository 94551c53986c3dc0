"""Pairs of a user and an item over all types of events, against a loop over rows."""

from collections import defaultdict
from datetime import UTC, datetime

import numpy as np
import polars as pl
from polars.testing import assert_frame_equal

from ecbehave.inputs.types import MatrixInput
from ecbehave.models.cf.weighted import weighted_pairs

WEIGHTS = {"purchase": 1.0, "view": 0.1, "cart": 0.7}
STRENGTH = pl.col("n_events") * pl.col("days_since")


def data_of(pairs: pl.DataFrame) -> MatrixInput:
    users = pl.DataFrame({"user_id": [f"u{n}" for n in range(9)]})
    items = pl.DataFrame({"item_id": [f"i{n}" for n in range(7)]})
    return MatrixInput(datetime(2024, 1, 1, tzinfo=UTC), users, items, pairs)


def some_pairs(rng: np.random.Generator) -> pl.DataFrame:
    """Return a third of all pairs with each type; neither the last user nor the last item has any that counts."""
    rows = [
        (user, item, kind)
        for user in range(9)
        for item in range(7)
        for kind in ("view", "cart", "purchase", "search")
        if rng.random() < 1 / 3 and (kind == "search" or (user < 8 and item < 6))
    ]
    schema = {"user": pl.UInt32, "item": pl.UInt32, "event_type": pl.String}
    return pl.DataFrame(rows, schema, orient="row").with_columns(
        n_events=pl.Series(rng.integers(1, 9, len(rows)), dtype=pl.UInt32),
        days_since=pl.Series(rng.random(len(rows)), dtype=pl.Float32),
        place=pl.Series(rng.integers(0, 5, len(rows)), dtype=pl.UInt32),
    )


def test_like_a_loop_in_whatever_order():
    rng = np.random.default_rng(0)
    pairs = some_pairs(rng)
    each = defaultdict(list)
    for row in pairs.sort("event_type").rows(named=True):
        if row["event_type"] in WEIGHTS:
            strength = WEIGHTS[row["event_type"]] * (row["n_events"] * row["days_since"])
            each[row["user"], row["item"]].append((strength, WEIGHTS[row["event_type"]], row["place"]))
    expected = pl.DataFrame(
        [
            (*pair, sum(t[0] for t in told), max(t[1] for t in told), min(t[2] for t in told))
            for pair, told in sorted(each.items())
        ],
        {
            "user": pl.UInt32,
            "item": pl.UInt32,
            "weight": pl.Float64,
            "type_weight": pl.Float64,
            "place": pl.UInt32,
        },
        orient="row",
    )
    assert expected.height > 30
    found = weighted_pairs(data_of(pairs), WEIGHTS, STRENGTH)
    assert_frame_equal(found, expected)
    turned = weighted_pairs(data_of(pairs.sample(fraction=1, shuffle=True, seed=1)), WEIGHTS, STRENGTH)
    assert_frame_equal(turned, found, check_exact=True)


def test_nothing_that_counts():
    pairs = some_pairs(np.random.default_rng(1)).filter(event_type="search")
    found = weighted_pairs(data_of(pairs), WEIGHTS, STRENGTH)
    assert found.height == 0
    assert found.columns == ["user", "item", "weight", "type_weight", "place"]
