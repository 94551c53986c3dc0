"""The containers: what is unknown, cutoffs below one another, and who is where in a log."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import polars as pl
from planted import sequences, walkers

from ecbehave.inputs.types import Inputs, TableInput
from ecbehave.schema import TABLE_KEYS


def table(day: int, users: list[str], values: list[float | None]) -> TableInput:
    n = len(users)
    frame = pl.DataFrame(
        {
            "user_hash": range(n),
            "user_id": users,
            "cutoff": [datetime(2024, 1, day, tzinfo=UTC)] * n,
            "label": [1] * n,
            "not_a_feature": values,
            "recency": values,
            "count": [2.0] * n,
        },
        schema=TABLE_KEYS
        | {"label": pl.Int8(), "not_a_feature": pl.Float32(), "recency": pl.Float32(), "count": pl.Float32()},
    )
    return TableInput(frame, ("count", "recency"))


def test_values_are_the_features_in_their_order_and_nan_where_unknown() -> None:
    data = table(1, ["a", "b"], [3.5, None])
    assert data.values.dtype == np.float32
    np.testing.assert_array_equal(data.values, [[2, 3.5], [2, np.nan]])
    assert data.values.flags["C_CONTIGUOUS"]
    assert data.label.dtype == np.int8
    assert data.label.tolist() == [1, 1]
    assert data.n_rows == 2


def test_cutoffs_are_put_below_one_another() -> None:
    both = TableInput.concat([table(1, ["a", "b"], [1, 2]), table(2, ["a"], [3])])
    assert both.features == ("count", "recency")
    assert both.keys.columns == list(TABLE_KEYS)
    assert both.keys.select("user_id", pl.col("cutoff").dt.day()).rows() == [("a", 1), ("b", 1), ("a", 2)]


def test_a_table_without_rows_has_the_shape_of_its_features() -> None:
    assert table(1, [], []).values.shape == (0, 2)


def test_a_pair_is_known_by_its_target_too() -> None:
    users = table(1, ["a", "a"], [1, 2])
    pairs = TableInput(users.frame.with_columns(category=pl.Series(["x", "y"])), users.features)
    assert pairs.key_names == (*TABLE_KEYS, "category")
    assert pairs.keys.select("user_id", "category").rows() == [("a", "x"), ("a", "y")]
    assert pairs.categorical == ()


def test_users_are_found_in_a_log_by_their_ids() -> None:
    data = sequences([(2, "i1", "view", 3.0), (5, "i2", "view", -1.0)], 6, ["i1", "i2"]).sequence
    assert data is not None
    assert data.rows(pl.Series(["u0005", "nobody", "u0002", "u0005"])).tolist() == [1, -1, 0, 1]
    assert data.rows(pl.Series([], dtype=pl.String)).tolist() == []
    assert data.starts.tolist() == [0, 1]
    assert data.ends.tolist() == [1, 1]


def test_a_history_keeps_what_needs_no_future() -> None:
    data = walkers(4)
    whole = replace(data, table=table(1, ["a"], [1.0]))
    assert data.matrix is not None
    assert data.matrix.labels is not None
    past = whole.as_history()
    assert past.sequence is data.sequence
    assert past.matrix == replace(data.matrix, labels=None)
    assert past.table is None
    assert Inputs(data.cutoff).as_history() == Inputs(data.cutoff)
