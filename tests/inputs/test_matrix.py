"""The matrix input: pairs against a slow oracle, and what comes back from files."""

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecbehave.buckets import user_hash
from ecbehave.inputs.matrix import pairs, read_matrix
from ecbehave.schema import MATRIX_LABELS, MATRIX_USERS, PAIRS
from ecbehave.tables import write_table

CUTOFF = datetime(2024, 4, 2, tzinfo=UTC)
SCHEMA = {"user_id": pl.String(), "item_id": pl.String(), "event_type": pl.String()}
SCHEMA |= {"ts": pl.Datetime("us", "UTC")}  # type: ignore[dict-item]

EVENTS = st.lists(
    st.fixed_dictionaries(
        {
            "user_id": st.sampled_from(["u1", "u2", "u3"]),
            "item_id": st.sampled_from(["i1", "i2", None]),
            "event_type": st.sampled_from(["view", "purchase"]),
            "ts": st.timedeltas(timedelta(microseconds=1), timedelta(days=400)).map(lambda age: CUTOFF - age),
        }
    ),
    max_size=20,
)


def with_hash(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.select(user_hash(frame["user_id"]), pl.all())


def built(log: list[dict[str, Any]]) -> pl.DataFrame:
    return pairs(with_hash(pl.DataFrame(log, schema=SCHEMA)).lazy(), CUTOFF).collect()


def oracle(log: list[dict[str, Any]]) -> dict[tuple[str, str, str], tuple[int, float]]:
    found: dict[tuple[str, str, str], tuple[int, float]] = {}
    for event in log:
        if event["item_id"] is None:
            continue
        key = (event["user_id"], event["item_id"], event["event_type"])
        age = (CUTOFF - event["ts"]).total_seconds() / 86_400
        n, youngest = found.get(key, (0, age))
        found[key] = n + 1, min(age, youngest)
    return found


@settings(max_examples=60, deadline=None, derandomize=True)
@given(log=EVENTS, seed=st.integers(0, 9))
def test_pairs_are_those_of_the_oracle_in_any_order_of_rows(log: list[dict[str, Any]], seed: int) -> None:
    frame = built(log)
    assert frame.schema == pl.Schema(PAIRS)
    expected = oracle(log)
    found = {(u, i, e): (n, age) for _, u, i, e, n, age in frame.rows()}
    assert len(found) == frame.height
    assert found == {key: (n, pytest.approx(age, rel=1e-6)) for key, (n, age) in expected.items()}
    keys = frame.select("user_hash", "user_id", "item_id", "event_type")
    assert keys.equals(keys.sort(keys.columns))
    assert built(random.Random(seed).sample(log, len(log))).equals(frame)


def stored(folder: Path, log: list[dict[str, Any]], users: dict[str, bool]) -> pl.DataFrame:
    """Write what the features stage writes for one cutoff; returns the users as stored."""
    frame = pl.DataFrame({"user_id": list(users), "is_asked": list(users.values())})
    known = with_hash(frame).select(*MATRIX_USERS).sort("user_hash", "user_id")
    write_table(folder / "users.parquet", known)
    write_table(folder / "pairs.parquet", built(log))
    labels = pl.DataFrame({"user_id": ["u2"], "item_id": ["new item"]}, schema=MATRIX_LABELS)
    write_table(folder / "labels.parquet", labels)
    return known


LOG = [
    {"user_id": user, "item_id": item, "event_type": kind, "ts": CUTOFF - timedelta(days=age)}
    for user, item, kind, age in [
        ("u1", "b", "view", 3.0),
        ("u1", "b", "view", 0.5),
        ("u1", "b", "purchase", 2.0),
        ("u3", "a", "view", 1.0),
        ("u3", None, "search", 1.0),
        ("u2", "c", "view", 9.0),
    ]
]
#: Somebody who has searched only is in the population, but in no pair.
WHO = {"u1": True, "u2": False, "u3": True, "searcher": True}


def test_a_matrix_comes_back_from_files_with_names_for_numbers(tmp_path: Path) -> None:
    users = stored(tmp_path, LOG, WHO)
    data = read_matrix(tmp_path, CUTOFF, has_labels=True)
    assert data.cutoff == CUTOFF
    assert data.users.equals(users)
    assert data.items["item_id"].to_list() == ["a", "b", "c"]
    named = {
        (data.users["user_id"][u], data.items["item_id"][i], kind): (n, age)
        for u, i, kind, n, age in data.pairs.rows()
    }
    assert named == oracle(LOG)
    assert data.pairs.columns == ["user", "item", "event_type", "n_events", "days_since"]
    assert data.labels is not None
    assert data.labels.rows() == [("u2", "new item")], (
        "an item that nobody had yet is a true item all the same"
    )
    assert read_matrix(tmp_path, CUTOFF, has_labels=False).labels is None


def test_asked_are_the_rows_of_the_population(tmp_path: Path) -> None:
    users = stored(tmp_path, LOG, WHO)
    asked = read_matrix(tmp_path, CUTOFF, has_labels=False).asked
    assert asked.dtype == np.int64
    assert sorted(users["user_id"].gather(asked)) == ["searcher", "u1", "u3"]


def test_csr_adds_up_the_weights_of_equal_pairs(tmp_path: Path) -> None:
    users = stored(tmp_path, LOG, WHO)["user_id"].to_list()
    data = read_matrix(tmp_path, CUTOFF, has_labels=False)
    matrix = data.csr(data.pairs, data.pairs["n_events"].to_numpy().astype(np.float64)).toarray()
    expected = np.zeros((4, 3))
    expected[users.index("u1"), 1] = 3
    expected[users.index("u3"), 0] = 1
    expected[users.index("u2"), 2] = 1
    np.testing.assert_array_equal(matrix, expected)


def test_a_matrix_without_any_item_is_empty_and_keeps_its_users(tmp_path: Path) -> None:
    stored(tmp_path, [], WHO)
    data = read_matrix(tmp_path, CUTOFF, has_labels=False)
    assert (data.users.height, data.items.height, data.pairs.height) == (4, 0, 0)
    assert data.csr(data.pairs, np.empty(0)).shape == (4, 0)
