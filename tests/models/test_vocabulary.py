"""Names that a net over sequences knows: learned from histories only, the same whatever the log numbers them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from planted import CUTOFF, Event, event_log, known_before

from ecbehave.buckets import user_hash
from ecbehave.errors import ArtifactError
from ecbehave.inputs.types import SequenceInput, SequenceLog
from ecbehave.models.deep.vocabulary import Vocabulary, known_events, places_in

CATEGORIES = {"i1": "tea", "i2": "tea", "i9": "ink"}
EVENTS: list[Event] = [
    (0, "i2", "view", 5.0),
    (0, "i1", "purchase", 4.0),
    (0, None, "search", 3.0),
    (0, "i9", "view", -1.0),
    (1, "i2", "view", 2.0),
    (1, "i2", "cart", 1.0),
]


def known(min_events: int = 1, n_shared: int = 0, target: str = "item") -> Vocabulary:
    return Vocabulary.of(known_before(event_log(EVENTS, CATEGORIES), target=target), min_events, n_shared)


def test_knows_what_happened_before_the_cutoff_by_name():
    found = known()
    assert found.item_ids.to_list() == ["i1", "i2"]
    assert found.categories.to_list() == ["tea"]
    assert found.event_types.to_list() == ["cart", "purchase", "search", "view"]
    assert found.item_rows.tolist() == [1, 2]
    assert found.item_categories.tolist() == [1, 1]
    assert (found.n_own, found.n_shared, found.n_rows) == (2, 0, 3)
    assert not found.has_dwell


def test_which_events_are_known():
    assert known_events(known_before(event_log(EVENTS))).tolist() == [True, True, True, False, True, True]


def test_the_numbers_of_the_log_decide_nothing():
    log = event_log(EVENTS, CATEGORIES)
    turned = SequenceLog(
        log.users,
        log.offsets,
        log.items.reverse(),
        log.categories.reverse(),
        log.event_types.reverse(),
        log.ts,
        np.where(log.item < 0, -1, len(log.items) - 1 - log.item).astype(np.int32),
        np.where(log.category < 0, -1, len(log.categories) - 1 - log.category).astype(np.int32),
        (len(log.event_types) - 1 - log.event_type).astype(np.int32),
        log.price,
        log.dwell,
        log.hour,
    )
    one, other = (Vocabulary.of(known_before(each), 2, 4) for each in (log, turned))
    assert one.item_ids.equals(other.item_ids)
    assert one.item_rows.tolist() == other.item_rows.tolist()
    assert one.item_categories.tolist() == other.item_categories.tolist()


def test_an_item_of_few_events_shares_its_embedding():
    found = known(min_events=2, n_shared=3)
    shared = int(user_hash(pl.Series(["i1"]))[0] % 3)
    assert found.n_own == 1
    assert found.item_rows.tolist() == [2 + shared, 1]
    new = int(user_hash(pl.Series(["i7"]))[0] % 3)
    assert found.rows_of(pl.Series(["i7", "i2"])).tolist() == [2 + new, 1]


def test_a_new_item_has_no_embedding_where_none_are_shared():
    assert known(min_events=9).item_rows.tolist() == [1, 2]
    assert known().rows_of(pl.Series(["i7", "i2"])).tolist() == [0, 2]


def test_nothing_is_known_of_an_empty_history():
    log = event_log(EVENTS, CATEGORIES)
    empty = SequenceInput(CUTOFF, log, log.offsets[:-1], np.zeros(2, np.int64))
    found = Vocabulary.of(empty, 1, 2)
    assert (len(found.item_ids), len(found.event_types), found.price_edges.size) == (0, 0, 0)
    assert set(found.rows_of(pl.Series(["i1"])).tolist()) <= {1, 2}


def test_the_last_category_counts():
    log = event_log([(0, "i1", "view", 1.0), (1, "i1", "view", 3.0)], CATEGORIES)
    renamed = replace(log, categories=pl.Series(["new", "old"]), category=np.array([0, 1], np.int32))
    found = Vocabulary.of(known_before(renamed), 1, 0)
    assert found.categories.gather(found.item_categories - 1).to_list() == ["new"]


def test_categories_stand_as_items_where_they_are_asked():
    found = known(target="category")
    assert found.item_ids.to_list() == ["tea"]
    assert len(found.categories) == 0
    assert found.item_categories.tolist() == [0]


def test_prices_between_levels_are_those_of_the_history():
    events: list[Event] = [(0, f"i{n}", "view", 50.0 - n) for n in range(1, 41)]
    found = Vocabulary.of(known_before(event_log([*events, (0, "i999", "view", -1.0)])), 1, 0)
    price = np.arange(2, 42)
    assert found.price_edges.tolist() == np.quantile(price, np.arange(1, 10) / 10, method="lower").tolist()


def test_places_of_names():
    assert places_in(pl.Series(["a", "c"]), pl.Series(["c", "b", "a", None])).tolist() == [1, -1, 0, -1]
    assert places_in(pl.Series([], dtype=pl.String), pl.Series(["c"])).tolist() == [-1]


def test_is_stored_and_read(tmp_path: Path):
    made = known(min_events=2, n_shared=3)
    made.save(tmp_path, "names")
    found = Vocabulary.load(tmp_path, "names")
    assert found.item_ids.equals(made.item_ids)
    assert found.categories.equals(made.categories)
    assert found.event_types.equals(made.event_types)
    for name in ("item_rows", "item_categories", "price_edges"):
        assert getattr(found, name).tolist() == getattr(made, name).tolist()
    assert (found.n_own, found.n_shared, found.has_dwell) == (made.n_own, made.n_shared, made.has_dwell)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"item_rows": np.array([1])}, "there are not as many rows as items"),
        ({"item_rows": np.array([1, 99])}, "a row or a category is out of range"),
        ({"item_categories": np.array([0, 7])}, "a row or a category is out of range"),
        ({"item_rows": np.array([-1, 1])}, "it holds something else than row numbers"),
        ({"item_rows": np.array([0.5, 1])}, "it holds something else than row numbers"),
        ({"price_edges": np.array([1, 2])}, "price_edges is no array of floats"),
    ],
)
def test_refuses_arrays_that_are_not_its_own(tmp_path: Path, changes: dict[str, np.ndarray], why: str):
    known().save(tmp_path, "names")
    with np.load(tmp_path / "names.npz") as stored:
        arrays = dict(stored) | changes
    np.savez(tmp_path / "names.npz", **arrays)
    with pytest.raises(ArtifactError, match=why):
        Vocabulary.load(tmp_path, "names")


def test_refuses_names_that_lack_something(tmp_path: Path):
    known().save(tmp_path, "names")
    names = json.loads((tmp_path / "names.json").read_text())
    del names["category"]
    (tmp_path / "names.json").write_text(json.dumps(names))
    with pytest.raises(ArtifactError, match="it lacks 'category'"):
        Vocabulary.load(tmp_path, "names")
