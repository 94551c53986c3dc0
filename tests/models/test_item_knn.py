"""Item neighbours against plain Python, and one planted effect per setting."""

import math
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from planted import ONCE, Pair, lists, make, matrix
from polars.testing import assert_frame_equal

from ecbehave.errors import ArtifactError, DataError
from ecbehave.inputs.types import MatrixInput
from ecbehave.models.cf import item_knn
from ecbehave.models.protocol import Model
from ecbehave.models.storage import load_arrays, save_arrays

WEIGHTS = {"view": 0.3, "purchase": 1.0}
#: Nothing but neighbours: no decay to speak of, and what the user had is not recommended again.
PLAIN: dict[str, Any] = {
    "event_weights": WEIGHTS,
    "neighbours": 100,
    "min_users": 1,
    "shrink": 0.0,
    "half_life": "10000d",
    "repeat_weight": 0.0,
}
Similarity = dict[tuple[int, int], float]


def letters(n: int) -> list[str]:
    return [chr(ord("a") + i) for i in range(n)]


def fit(data: MatrixInput, **settings: Any) -> Model:
    return make("item_knn", **PLAIN | settings).fit([data], [], ONCE)


def scores(scored: pl.DataFrame, user: str = "u0000") -> dict[str, float]:
    own = scored.filter(user_id=user)
    return dict(zip(own["item_id"], own["score"], strict=True))


def bought(*baskets: str) -> list[Pair]:
    """Each user has bought the items named by letters, once, just now."""
    return [(user, ord(c) - ord("a"), "purchase", 1, 0.0) for user, word in enumerate(baskets) for c in word]


# ---- against plain Python


def slow_similarity(pairs: list[Pair], settings: dict[str, Any]) -> Similarity:
    column: dict[int, dict[int, float]] = defaultdict(lambda: defaultdict(float))
    for user, item, event, n, _ in pairs:
        if event in settings["event_weights"]:
            column[item][user] += settings["event_weights"][event] * math.log(1 + n)
    column = {i: users for i, users in column.items() if len(users) >= settings["min_users"]}
    found: Similarity = {}
    for i, a in column.items():
        near = []
        for j, b in column.items():
            dot = sum(a[u] * b[u] for u in a if u in b)
            norms = math.sqrt(sum(x * x for x in a.values()) * sum(x * x for x in b.values()))
            if i != j and dot > 0:
                near.append((-dot / (norms + settings["shrink"]), j))
        found |= {(i, j): -minus for minus, j in sorted(near)[: settings["neighbours"]]}
    return found


def slow_scores(
    pairs: list[Pair], similarity: Similarity, settings: dict[str, Any]
) -> dict[tuple[int, int], float]:
    found: dict[tuple[int, int], float] = defaultdict(float)
    half_life_days = float(settings["half_life"].removesuffix("d"))
    for user, item, event, n, days in pairs:
        if event in settings["event_weights"]:
            weight = settings["event_weights"][event] * n * 0.5 ** (days / half_life_days)
            found[user, item] += settings["repeat_weight"] * weight
            for (i, j), value in similarity.items():
                if i == item:
                    found[user, j] += weight * value
    return {key: value for key, value in found.items() if value > 0}


def random_pairs(rng: np.random.Generator, n_users: int, n_items: int) -> list[Pair]:
    cells = [
        (u, i, e) for u in range(n_users) for i in range(n_items) for e in ("view", "purchase", "search")
    ]
    popular = 1 / (2 + np.arange(n_items))
    return [
        (u, i, e, int(rng.integers(1, 9)), float(rng.integers(0, 80)) / 4)
        for u, i, e in cells
        if rng.random() < popular[i]
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"shrink": 7.5},
        {"neighbours": 2},
        {"min_users": 6},
        {"half_life": "3d"},
        {"repeat_weight": 1.5},
        {"event_weights": {"search": 2.0}},
        {"shrink": 3.0, "neighbours": 3, "min_users": 4, "half_life": "10d", "repeat_weight": 0.4},
    ],
    ids=str,
)
def test_scores_like_plain_python(changes: dict[str, Any]):
    rng = np.random.default_rng(0)
    settings = PLAIN | changes
    train, asked = random_pairs(rng, 30, 12), random_pairs(rng, 20, 12)
    items = letters(12)
    expected = slow_scores(asked, slow_similarity(train, settings), settings)
    scored = fit(matrix(train, 30, items), **changes).predict(matrix(asked, 20, items), 12)
    found = {
        (int(user[1:]), items.index(item)): score
        for user, item, score in scored.select("user_id", "item_id", "score").iter_rows()
    }
    assert found == pytest.approx(expected, rel=1e-12)
    for own in scored.partition_by("user_id"):
        assert own["score"].is_sorted(descending=True)


def test_checkerboard():
    # Even users have all even items, odd users all odd ones, each but one: user n lacks item n.
    had = {user: set(range(user % 2, 20, 2)) - {user} for user in range(16)}
    board = [(user, item, "purchase", 1, 1.0) for user, own in had.items() for item in own]
    data = matrix(board, 16, letters(20))
    found = lists(fit(data).predict(data, 20))
    for user, own in enumerate(found.values()):
        assert {letters(20).index(item) for item in own} - had[user] == {user}


# ---- one setting at a time


def test_cosine_by_hand():
    # a and b share one of two buyers each: cosine 1/2; the shrinkage adds 2 to norms whose product is 2 log(2)^2.
    data = matrix(bought("ab", "a", "b"), 3, letters(2))
    assert scores(fit(data).predict(data, 2)) == pytest.approx({"a": 0.5, "b": 0.5})
    one = math.log(2) ** 2
    assert scores(fit(data, shrink=2.0).predict(data, 2)) == pytest.approx(
        dict.fromkeys("ab", one / (2 * one + 2))
    )


def test_shrinkage_prefers_what_many_users_support():
    # b goes with a for five users, and once without it; c goes with a always, but for one user only.
    data = matrix(bought("a", "ab", "ab", "ab", "ab", "ab", "b", "ac"), 8, letters(3))
    alone = matrix(bought("c", "b"), 2, letters(3))
    one = fit(data, neighbours=1)
    assert scores(one.predict(alone, 3), "u0000") == pytest.approx({"a": math.sqrt(1 / 7)})
    asked = matrix(bought("a"), 1, letters(3))
    assert lists(fit(data, shrink=0.0).predict(asked, 3)) == {"u0000": ["b", "c"]}
    similar = scores(fit(data, shrink=0.0).predict(asked, 3))
    shrunk = scores(fit(data, shrink=50.0).predict(asked, 3))
    assert shrunk["b"] / shrunk["c"] > 1.5 * similar["b"] / similar["c"]


def test_an_event_counts_half_after_the_half_life():
    pairs = [(0, 0, "purchase", 1, 0.0), (0, 1, "purchase", 1, 6.0), (0, 2, "purchase", 1, 12.0)]
    asked = matrix(pairs, 1, ["new", "older", "oldest"])
    model = fit(matrix(bought("ab"), 1, letters(2)), half_life="6d", repeat_weight=1.0)
    assert scores(model.predict(asked, 3)) == pytest.approx({"new": 1, "older": 1 / 2, "oldest": 1 / 4})


def test_age_does_not_change_what_is_similar(tmp_path: Path):
    old = [(user, item, event, n, 500.0) for user, item, event, n, _ in bought("ab", "abc", "ac")]
    for name, pairs in {"new": bought("ab", "abc", "ac"), "old": old}.items():
        (tmp_path / name).mkdir()
        fit(matrix(pairs, 3, letters(3)), half_life="1d").save(tmp_path / name)
    assert (tmp_path / "new/item_knn.npz").read_bytes() == (tmp_path / "old/item_knn.npz").read_bytes()


def test_event_weights_and_counts():
    pairs = [
        (0, 0, "view", 1, 0.0),
        (0, 1, "purchase", 1, 0.0),
        (0, 2, "purchase", 3, 0.0),
        (0, 3, "gaze", 9, 0.0),
    ]
    asked = matrix([*pairs, (0, 1, "view", 2, 0.0)], 1, ["viewed", "both", "thrice", "gazed"])
    model = fit(matrix(bought("ab"), 1, letters(2)), repeat_weight=2.0)
    assert scores(model.predict(asked, 9)) == pytest.approx({"viewed": 0.6, "both": 3.2, "thrice": 6.0})


@pytest.mark.parametrize(("min_users", "expected"), [(2, ["a", "b"]), (3, ["a"])])
def test_an_item_of_too_few_users_is_not_recommended_to_others(min_users: int, expected: list[str]):
    train = matrix(bought("ac", "abc", "abc"), 3, letters(3))
    asked = matrix(bought("c"), 1, letters(3))
    assert sorted(lists(fit(train, min_users=min_users).predict(asked, 3))["u0000"]) == expected


def test_an_item_of_too_few_users_is_recommended_again():
    train = matrix(bought("ac", "abc", "abc"), 3, letters(3))
    asked = matrix(bought("b"), 1, letters(3))
    assert lists(fit(train, min_users=3, repeat_weight=1.0).predict(asked, 3)) == {"u0000": ["b"]}


def test_nothing_is_similar_where_every_item_is_rare(tmp_path: Path):
    data = matrix(bought("ab", "bc"), 2, letters(3))
    model = fit(data, min_users=3, repeat_weight=1.0)
    assert lists(model.predict(data, 9)) == {"u0000": ["a", "b"], "u0001": ["b", "c"]}
    model.save(tmp_path)
    assert load_arrays(tmp_path / "item_knn.npz")["data"].size == 0
    assert_frame_equal(type(model).load(tmp_path, model.config).predict(data, 9), model.predict(data, 9))


def test_without_repeats_a_user_of_unknown_items_gets_no_list():
    model = fit(matrix(bought("ab", "ab"), 2, letters(2)))
    asked = matrix([(0, 0, "purchase", 1, 0.0), (1, 1, "purchase", 1, 0.0)], 2, ["a", "unheard"])
    # `b`, the only item like `a`, is not in this catalogue.
    assert model.predict(asked, 9).height == 0


def test_equal_scores_stand_in_the_order_of_item_ids():
    data = matrix(bought("dacb", "dacb", "dacb"), 3, letters(4))
    assert lists(fit(data).predict(matrix(bought("c"), 1, letters(4)), 2)) == {"u0000": ["a", "b"]}
    unheard = matrix(bought("dbc"), 1, ["w", "x", "y", "z"])
    assert lists(fit(data, repeat_weight=1.0).predict(unheard, 2)) == {"u0000": ["x", "y"]}


def test_learns_from_the_newest_history_only():
    older, newest = matrix(bought("ab", "ab"), 2, letters(3)), matrix(bought("ac", "ac"), 2, letters(3))
    asked = matrix(bought("a"), 1, letters(3))
    settings = make("item_knn", **PLAIN)
    assert lists(settings.fit([older, newest], [], ONCE).predict(asked, 3)) == {"u0000": ["c"]}
    assert lists(settings.fit([newest, older], [], ONCE).predict(asked, 3)) == {"u0000": ["b"]}


# ---- size


@pytest.mark.parametrize("products", [1, 7, 40, 200])
@pytest.mark.parametrize("threads", [1, 3])
def test_neither_block_size_nor_threads_change_anything(
    products: int, threads: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    data = matrix(random_pairs(np.random.default_rng(1), 30, 12), 30, letters(14))
    names = ("whole", "blocks")
    for name, options in zip(names, (ONCE, replace(ONCE, threads=threads)), strict=True):
        (tmp_path / name).mkdir()
        settings = PLAIN | {"neighbours": 4, "min_users": 3}
        make("item_knn", **settings).fit([data], [], options).save(tmp_path / name)
        monkeypatch.setattr(item_knn, "_BLOCK_PRODUCTS", products)
    whole, blocks = ((tmp_path / name / "item_knn.npz").read_bytes() for name in names)
    assert load_arrays(tmp_path / "whole" / "item_knn.npz")["data"].size > 20
    assert blocks == whole


def test_many_users_get_the_lists_that_each_would_get_alone():
    rng = np.random.default_rng(2)
    train = matrix(random_pairs(rng, 30, 12), 30, letters(12))
    model = fit(train, repeat_weight=1.0)
    many = matrix(random_pairs(rng, 1_100, 12), 1_100, letters(12))
    together = model.predict(many, 3)
    for user in (0, 511, 512, 550, 1_099):
        alone = replace(many, users=many.users.with_columns(is_asked=pl.int_range(pl.len()) == user))
        assert_frame_equal(model.predict(alone, 3), together.filter(user_id=f"u{user:04d}"), check_exact=True)


# ---- refusals


@pytest.mark.parametrize("pairs", [[], [(0, 0, "search", 3, 1.0)]])
def test_no_event_to_learn_from(pairs: list[Pair]):
    with pytest.raises(DataError) as caught:
        fit(matrix(pairs, 1, letters(1)))
    assert str(caught.value) == (
        "item_knn has no events to learn from: none of view, purchase occurs with an item; "
        "set model.event_weights to the log's event types"
    )


def test_an_index_out_of_bounds_is_refused(tmp_path: Path):
    model = fit(matrix(bought("ab", "ab"), 2, letters(2)))
    model.save(tmp_path)
    stored = load_arrays(tmp_path / "item_knn.npz")
    save_arrays(tmp_path / "item_knn.npz", **stored | {"indices": stored["indices"] + 1_000_000})
    with pytest.raises(
        ArtifactError, match=r"item_knn\.npz was refused: .*; train again, or take the folder"
    ):
        type(model).load(tmp_path, model.config)
