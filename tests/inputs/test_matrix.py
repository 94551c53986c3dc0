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
SCHEMA |= {"category": pl.String(), "ts": pl.Datetime("us", "UTC"), "rating": pl.Float64()}  # type: ignore[dict-item]
#: Few instants, so that several events of a user share one.
INSTANTS = [CUTOFF - timedelta(days=age) for age in (0.25, 1.5, 30, 399)]

EVENTS = st.lists(
    st.fixed_dictionaries(
        {
            "user_id": st.sampled_from(["u1", "u2", "u3"]),
            "item_id": st.sampled_from(["i1", "i2", None]),
            "event_type": st.sampled_from(["view", "purchase"]),
            "ts": st.one_of(
                st.sampled_from(INSTANTS),
                st.timedeltas(timedelta(microseconds=1), timedelta(days=400)).map(lambda age: CUTOFF - age),
            ),
            "category": st.sampled_from(["c1", "c2", None]),
            "rating": st.sampled_from([1.0, 4.5, None]),
        }
    ),
    max_size=20,
)


def with_hash(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.select(user_hash(frame["user_id"]), pl.all())


def built(log: list[dict[str, Any]]) -> pl.DataFrame:
    return pairs(with_hash(pl.DataFrame(log, schema=SCHEMA)).lazy(), CUTOFF).collect()


Known = tuple[str | None, int, float, int, float | None]


def oracle(log: list[dict[str, Any]], target: str = "item_id") -> dict[tuple[str, str, str], Known]:
    """Pair to category, number of events, age and place of the last one, and rating."""

    def key(event: dict[str, Any]) -> tuple[str, str, str]:
        return event["user_id"], event[target], event["event_type"]

    log = [event for event in log if event.get(target) is not None]
    found: dict[tuple[str, str, str], Known] = {}
    for pair in {key(event) for event in log}:
        own = [event for event in log if key(event) == pair]
        last = max(event["ts"] for event in own)
        later = {event["ts"] for event in log if event["user_id"] == pair[0] and event["ts"] > last}
        # The newest one; of several at once, the last by item, category and rating.
        ordered = sorted(
            own, key=lambda e: (e["ts"], e["item_id"] or "", e.get("category") or "", e.get("rating") or 0.0)
        )
        category, rating = (
            next((e[name] for e in reversed(ordered) if e.get(name) is not None), None)
            for name in ("category", "rating")
        )
        age = (CUTOFF - last).total_seconds() / 86_400
        found[pair] = (category, len(own), pytest.approx(age, rel=1e-6), len(later), rating)
    return found


@settings(max_examples=60, deadline=None, derandomize=True)
@given(log=EVENTS, seed=st.integers(0, 9))
def test_pairs_are_those_of_the_oracle_in_any_order_of_rows(log: list[dict[str, Any]], seed: int) -> None:
    frame = built(log)
    assert frame.schema == pl.Schema(PAIRS)
    found = {(u, i, e): (c, n, age, place, rating) for _, u, i, c, e, n, age, place, rating in frame.rows()}
    assert len(found) == frame.height
    assert found == oracle(log)
    keys = frame.select("user_hash", "user_id", "item_id", "event_type")
    assert keys.equals(keys.sort(keys.columns))
    assert built(random.Random(seed).sample(log, len(log))).equals(frame)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(log=EVENTS)
def test_categories_may_stand_in_the_place_of_items(log: list[dict[str, Any]]) -> None:
    frame = pairs(with_hash(pl.DataFrame(log, schema=SCHEMA)).lazy(), CUTOFF, "category").collect()
    found = {(u, i, e): (n, place) for _, u, i, _, e, n, _, place, _ in frame.rows()}
    assert found == {key: (n, place) for key, (_, n, _, place, _) in oracle(log, "category").items()}


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
    {
        "user_id": user,
        "item_id": item,
        "event_type": kind,
        "ts": CUTOFF - timedelta(days=age),
        "category": category,
    }
    for user, item, kind, age, category in [
        ("u1", "b", "view", 3.0, "dairy"),
        ("u1", "b", "view", 0.5, "sale"),
        ("u1", "b", "purchase", 2.0, "dairy"),
        ("u3", "a", "view", 1.0, None),
        ("u3", None, "search", 1.0, "dairy"),
        ("u2", "c", "view", 9.0, "dairy"),
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
        (data.users["user_id"][u], data.items["item_id"][i], kind): (n, age, place, rating)
        for u, i, kind, n, age, place, rating in data.pairs.rows()
    }
    assert named == {key: known[1:] for key, known in oracle(LOG).items()}
    assert data.pairs.columns == ["user", "item", "event_type", "n_events", "days_since", "place", "rating"]
    assert data.items.rows() == [("a", None), ("b", "sale"), ("c", "dairy")], "the last one known"
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
