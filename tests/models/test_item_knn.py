"""Item neighbours against plain Python, and one planted effect per setting."""

import math
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from planted import ONCE, Pair, lists, make, matrix, predict
from polars.testing import assert_frame_equal

from ecbehave.errors import ArtifactError, DataError
from ecbehave.inputs.types import MatrixInput
from ecbehave.models.cf import directed, mutual, rated_items
from ecbehave.models.cf.biases import Biases
from ecbehave.models.protocol import Model
from ecbehave.models.storage import load_arrays, load_json, save_arrays, save_json

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
    scored = predict(fit(matrix(train, 30, items), **changes), matrix(asked, 20, items), 12)
    found = {
        (int(user[1:]), items.index(item)): score
        for user, item, score in scored.select("user_id", "item_id", "score").iter_rows()
    }
    # Similarities have 32 bits.
    assert found == pytest.approx(expected, rel=1e-6)
    for own in scored.partition_by("user_id"):
        assert own["score"].is_sorted(descending=True)


def test_checkerboard():
    # Even users have all even items, odd users all odd ones, each but one: user n lacks item n.
    had = {user: set(range(user % 2, 20, 2)) - {user} for user in range(16)}
    board = [(user, item, "purchase", 1, 1.0) for user, own in had.items() for item in own]
    data = matrix(board, 16, letters(20))
    found = lists(predict(fit(data), data, 20))
    for user, own in enumerate(found.values()):
        assert {letters(20).index(item) for item in own} - had[user] == {user}


# ---- one setting at a time


def test_cosine_by_hand():
    # a and b share one of two buyers each: cosine 1/2; the shrinkage adds 2 to norms whose product is 2 log(2)^2.
    data = matrix(bought("ab", "a", "b"), 3, letters(2))
    assert scores(predict(fit(data), data, 2)) == pytest.approx({"a": 0.5, "b": 0.5})
    one = math.log(2) ** 2
    assert scores(predict(fit(data, shrink=2.0), data, 2)) == pytest.approx(
        dict.fromkeys("ab", one / (2 * one + 2))
    )


def test_shrinkage_prefers_what_many_users_support():
    # b goes with a for five users, and once without it; c goes with a always, but for one user only.
    data = matrix(bought("a", "ab", "ab", "ab", "ab", "ab", "b", "ac"), 8, letters(3))
    alone = matrix(bought("c", "b"), 2, letters(3))
    one = fit(data, neighbours=1)
    assert scores(predict(one, alone, 3), "u0000") == pytest.approx({"a": math.sqrt(1 / 7)})
    asked = matrix(bought("a"), 1, letters(3))
    assert lists(predict(fit(data, shrink=0.0), asked, 3)) == {"u0000": ["b", "c"]}
    similar = scores(predict(fit(data, shrink=0.0), asked, 3))
    shrunk = scores(predict(fit(data, shrink=50.0), asked, 3))
    assert shrunk["b"] / shrunk["c"] > 1.5 * similar["b"] / similar["c"]


def test_an_event_counts_half_after_the_half_life():
    pairs = [(0, 0, "purchase", 1, 0.0), (0, 1, "purchase", 1, 6.0), (0, 2, "purchase", 1, 12.0)]
    asked = matrix(pairs, 1, ["new", "older", "oldest"])
    model = fit(matrix(bought("ab"), 1, letters(2)), half_life="6d", repeat_weight=1.0)
    assert scores(predict(model, asked, 3)) == pytest.approx({"new": 1, "older": 1 / 2, "oldest": 1 / 4})


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
    assert scores(predict(model, asked, 9)) == pytest.approx({"viewed": 0.6, "both": 3.2, "thrice": 6.0})


@pytest.mark.parametrize(("min_users", "expected"), [(2, ["a", "b"]), (3, ["a"])])
def test_an_item_of_too_few_users_is_not_recommended_to_others(min_users: int, expected: list[str]):
    train = matrix(bought("ac", "abc", "abc"), 3, letters(3))
    asked = matrix(bought("c"), 1, letters(3))
    assert sorted(lists(predict(fit(train, min_users=min_users), asked, 3))["u0000"]) == expected


def test_an_item_of_too_few_users_is_recommended_again():
    train = matrix(bought("ac", "abc", "abc"), 3, letters(3))
    asked = matrix(bought("b"), 1, letters(3))
    assert lists(predict(fit(train, min_users=3, repeat_weight=1.0), asked, 3)) == {"u0000": ["b"]}


def test_nothing_is_similar_where_every_item_is_rare(tmp_path: Path):
    data = matrix(bought("ab", "bc"), 2, letters(3))
    model = fit(data, min_users=3, repeat_weight=1.0)
    assert lists(predict(model, data, 9)) == {"u0000": ["a", "b"], "u0001": ["b", "c"]}
    model.save(tmp_path)
    assert load_arrays(tmp_path / "item_knn.npz")["data"].size == 0
    assert_frame_equal(predict(type(model).load(tmp_path, model.config), data, 9), predict(model, data, 9))


def test_without_repeats_a_user_of_unknown_items_gets_no_list():
    model = fit(matrix(bought("ab", "ab"), 2, letters(2)))
    asked = matrix([(0, 0, "purchase", 1, 0.0), (1, 1, "purchase", 1, 0.0)], 2, ["a", "unheard"])
    # `b`, the only item like `a`, is not in this catalogue.
    assert predict(model, asked, 9).height == 0


def test_equal_scores_stand_in_the_order_of_item_ids():
    data = matrix(bought("dacb", "dacb", "dacb"), 3, letters(4))
    assert lists(predict(fit(data), matrix(bought("c"), 1, letters(4)), 2)) == {"u0000": ["a", "b"]}
    unheard = matrix(bought("dbc"), 1, ["w", "x", "y", "z"])
    assert lists(predict(fit(data, repeat_weight=1.0), unheard, 2)) == {"u0000": ["x", "y"]}


def test_learns_from_the_newest_history_only():
    older, newest = matrix(bought("ab", "ab"), 2, letters(3)), matrix(bought("ac", "ac"), 2, letters(3))
    asked = matrix(bought("a"), 1, letters(3))
    settings = make("item_knn", **PLAIN)
    assert lists(predict(settings.fit([older, newest], [], ONCE), asked, 3)) == {"u0000": ["c"]}
    assert lists(predict(settings.fit([newest, older], [], ONCE), asked, 3)) == {"u0000": ["b"]}


# ---- the order of events


def one_a_day(*words: str) -> list[Pair]:
    """Each user has bought the items named by letters, one a day, the last one today."""
    return [
        (user, ord(c) - ord("a"), "purchase", 1, float(days))
        for user, word in enumerate(words)
        for days, c in enumerate(reversed(word))
    ]


def slow_followers(
    pairs: list[Pair], reach: int, power: float, damping: float, neighbours: int
) -> Similarity:
    place: dict[int, dict[int, int]] = defaultdict(dict)
    for user, days in {(user, days) for user, _, _, _, days in pairs}:
        place[user][days] = sum(d < days for d in {p[4] for p in pairs if p[0] == user})  # type: ignore[index]
    found: Similarity = defaultdict(float)
    users: dict[int, set[int]] = defaultdict(set)
    for user, item, _, _, days in pairs:
        users[item].add(user)
        for other, later, _, _, later_days in pairs:
            distance = place[user][days] - place[other][later_days] if other == user else 0  # type: ignore[index]
            if 0 < distance <= reach:
                found[item, later] += distance**-power
    damped = {(i, j): v / (len(users[i]) * len(users[j])) ** damping for (i, j), v in found.items()}
    best: Similarity = {}
    for i in users:
        near = sorted((-np.float32(v), j) for (own, j), v in damped.items() if own == i)[:neighbours]
        best |= {(i, j): float(-minus) for minus, j in near}
    return best


@pytest.mark.parametrize(
    ("reach", "power", "damping", "neighbours"),
    [(1, 1.0, 0.0, 9), (2, 1.0, 0.5, 9), (9, 0.5, 0.3, 9), (9, 0.0, 0.0, 9), (3, 2.0, 0.25, 2)],
)
def test_what_comes_after_like_plain_python(reach: int, power: float, damping: float, neighbours: int):
    rng = np.random.default_rng(5)
    # Some things happen on the same day, and count for none of them.
    pairs = [
        (user, item, "purchase", 1, float(rng.integers(0, 5)))
        for user in range(15)
        for item in range(8)
        if rng.random() < 0.5
    ]
    model = fit(
        matrix(pairs, 15, letters(8)),
        directed_weight=1.0,
        directed_reach=reach,
        directed_distance=power,
        directed_damping=damping,
        neighbours=neighbours,
    )
    expected = slow_followers(pairs, reach, power, damping, neighbours)
    assert len(expected) > 15
    assert stored_similarity(model) == pytest.approx(expected, rel=1e-6)


def stored_similarity(model: Any) -> Similarity:
    stored = model.similarity_.tocoo()
    cells = zip(stored.row.tolist(), stored.col.tolist(), strict=True)
    return dict(zip(cells, stored.data.tolist(), strict=True))


def test_a_blend_of_what_goes_with_and_what_comes_after():
    data = matrix(one_a_day("abc", "ab", "cb"), 3, letters(3))
    parts = [
        stored_similarity(fit(data, directed_weight=weight, directed_reach=1, shrink=1.0))
        for weight in (0.0, 1.0, 0.25)
    ]
    cosine, after, both = parts
    assert cosine.keys() > after.keys() == {(0, 1), (1, 2), (2, 1)}
    assert both == pytest.approx({c: 0.75 * cosine[c] + 0.25 * after.get(c, 0) for c in cosine}, rel=1e-6)


def test_events_that_lie_further_back_in_order_count_less():
    data = matrix(one_a_day("ax", "ax", "by", "by"), 4, letters(25))
    asked = matrix(one_a_day("abd"), 1, letters(25))
    found = scores(predict(fit(data, place_decay=0.5), asked, 9))
    assert found == pytest.approx({"x": 0.25, "y": 0.5}, rel=1e-3)


@pytest.mark.parametrize(("exponent", "first"), [(-1.0, "c"), (1.0, "b")])
def test_popular_items_are_held_down_or_lifted(exponent: float, first: str):
    data = matrix(bought("ab", "ac", "b"), 3, letters(3))
    plain = stored_similarity(fit(data, shrink=20.0))
    found = stored_similarity(fit(data, shrink=20.0, popularity_exponent=exponent))
    assert found == pytest.approx(
        {(i, j): v * (2, 2, 1)[j] ** exponent for (i, j), v in plain.items()}, rel=1e-6
    )
    asked = matrix(bought("a"), 1, letters(3))
    assert lists(predict(fit(data, shrink=20.0, popularity_exponent=exponent), asked, 1)) == {
        "u0000": [first]
    }


# ---- other similarities


def test_kind_of_similarity_threshold_and_significance_are_heeded():
    data = matrix(bought("ab", "ab", "ac", "b"), 4, letters(3))
    assert stored_similarity(fit(data, similarity="jaccard")) == pytest.approx(
        {(0, 1): 0.5, (1, 0): 0.5, (0, 2): 1 / 3, (2, 0): 1 / 3}
    )
    few = fit(data, similarity="jaccard", threshold=0.4, significance=2, shrink=0.0)
    assert stored_similarity(few) == pytest.approx({(0, 1): 0.5, (1, 0): 0.5})
    assert stored_similarity(fit(data, similarity="jaccard", significance=4)) == pytest.approx(
        {(0, 1): 0.25, (1, 0): 0.25, (0, 2): 1 / 12, (2, 0): 1 / 12}
    )


def test_similar_items_are_listed_by_similarity():
    model = fit(matrix(bought("ab", "ab", "ac", "bd"), 4, letters(5)))
    listed = pl.Series("item_id", ["a", "b", "c", "e"])
    found = pl.concat(model.similar_items(2, listed))  # type: ignore[attr-defined]
    assert found.schema == {"item_id": pl.String, "similar_item_id": pl.String, "similarity": pl.Float64}
    assert found.select("item_id", "similar_item_id").rows() == [
        ("a", "b"),
        ("a", "c"),
        ("b", "a"),
        ("c", "a"),
        ("d", "b"),
    ]
    assert found["similarity"].to_list() == pytest.approx([2 / 3, 3**-0.5, 2 / 3, 3**-0.5, 3**-0.5], rel=1e-6)
    one = pl.concat(model.similar_items(1, listed))  # type: ignore[attr-defined]
    assert one.rows() == found.filter(pl.col("similar_item_id") != "c").rows()


# ---- ratings

RATED: dict[str, Any] = {"rating_shrink": 3.0, "rating_neighbours": 4, "rating_damping": 0.2}
Ratings = dict[tuple[int, int], float]


def rated(given: Ratings, n_users: int, n_items: int) -> MatrixInput:
    pairs = [(user, item, "rating", 1, 1.0) for user, item in given]
    data = matrix(pairs, n_users, letters(n_items))
    return replace(
        data, pairs=data.pairs.with_columns(rating=pl.Series(list(given.values()), dtype=pl.Float32))
    )


def random_ratings(rng: np.random.Generator, n_users: int, n_items: int) -> Ratings:
    return {
        (u, i): float(np.clip(np.round(3 + rng.normal() + (u + i) % 3 - 1), 1, 5))
        for u in range(n_users)
        for i in range(n_items)
        if rng.random() < 0.6
    }


def slow_ratings(given: Ratings, n_users: int, n_items: int) -> NDArray[np.float64]:
    cells = np.array(list(given))
    biases = Biases.fit(cells[:, 0], cells[:, 1], list(given.values()), n_users, n_items)
    left = {(u, i): r - float(biases.of([u], [i])[0]) for (u, i), r in given.items()}
    similarity: Similarity = {}
    for i in range(n_items):
        for j in range(n_items):
            both = [u for u in range(n_users) if (u, i) in left and (u, j) in left]
            top = sum(left[u, i] * left[u, j] for u in both)
            bottom = math.sqrt(sum(left[u, i] ** 2 for u in both) * sum(left[u, j] ** 2 for u in both))
            if i != j and top > 0:
                similarity[i, j] = top / bottom * len(both) / (len(both) + 3.0)
    expected = biases.grid(np.arange(n_users))
    for u in range(n_users):
        for i in range(n_items):
            near = sorted(
                (-similarity[i, j], j) for j in range(n_items) if (i, j) in similarity and (u, j) in left
            )[:4]
            expected[u, i] += sum(-s * left[u, j] for s, j in near) / (sum(-s for s, _ in near) + 0.2)
    return expected


@pytest.mark.parametrize("block", [1, 60, 10**6])
def test_ratings_like_plain_python(block: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rated_items, "_BLOCK_WEIGHED", block)
    monkeypatch.setattr(rated_items, "_BLOCK_RATINGS", block)
    given = random_ratings(np.random.default_rng(6), 20, 9)
    data = rated(given, 21, 9)
    model: Any = make("item_knn", **PLAIN | RATED).fit([data], [], replace(ONCE, output="rating"))
    expected = slow_ratings(given, 21, 9)
    blocks = list(model.scores(data))
    np.testing.assert_array_equal(np.concatenate([users for users, _ in blocks]), np.arange(21))
    np.testing.assert_allclose(np.concatenate([block for _, block in blocks]), expected, rtol=1e-6)
    pairs = pl.DataFrame({"user": [20, 3, 3, 0], "item": [1, 8, 0, 5]})
    np.testing.assert_allclose(
        model.ratings(data, pairs), np.clip(expected[[20, 3, 3, 0], [1, 8, 0, 5]], 1, 5), rtol=1e-6
    )
    assert model.ratings(data, pairs.clear()).shape == (0,)


def test_similarity_of_ratings_is_chosen():
    given = {(0, 0): 1.0, (0, 1): 2.0, (1, 0): 4.0, (1, 1): 5.0, (2, 0): 2.0, (2, 1): 1.0}
    settings = PLAIN | RATED | {"rating_similarity": "euclidean", "rating_shrink": 0.0}
    model = make("item_knn", **settings).fit([rated(given, 3, 2)], [], replace(ONCE, output="rating"))
    assert stored_similarity(model) == pytest.approx({(0, 1): 0.5, (1, 0): 0.5})


def test_what_it_was_fitted_for_is_stored(tmp_path: Path):
    data = rated(random_ratings(np.random.default_rng(7), 9, 5), 9, 5)
    model: Any = make("item_knn", **PLAIN).fit([data], [], replace(ONCE, output="rating"))
    model.save(tmp_path)
    loaded = type(model).load(tmp_path, model.config)
    for mine, stored in zip(model.scores(data), loaded.scores(data), strict=True):
        np.testing.assert_array_equal(mine[1], stored[1])
    save_json(tmp_path / "items.json", load_json(tmp_path / "items.json") | {"is_rated": 1})
    with pytest.raises(
        ArtifactError, match=r"items\.json was refused: is_rated is neither true nor false; train"
    ):
        type(model).load(tmp_path, model.config)


# ---- size


@pytest.mark.parametrize("block", [1, 7, 200])
@pytest.mark.parametrize("threads", [1, 3])
def test_neither_block_size_nor_threads_change_anything(
    block: int, threads: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    data = matrix(random_pairs(np.random.default_rng(1), 30, 12), 30, letters(14))
    names = ("whole", "blocks")
    for name, options in zip(names, (ONCE, replace(ONCE, threads=threads)), strict=True):
        (tmp_path / name).mkdir()
        settings = PLAIN | {"neighbours": 4, "min_users": 3, "directed_weight": 0.4}
        make("item_knn", **settings).fit([data], [], options).save(tmp_path / name)
        for module in (mutual, directed):
            monkeypatch.setattr(module, "_BLOCK", block)
    whole, blocks = ((tmp_path / name / "item_knn.npz").read_bytes() for name in names)
    assert load_arrays(tmp_path / "whole" / "item_knn.npz")["data"].size > 20
    assert blocks == whole


def test_many_users_get_the_lists_that_each_would_get_alone():
    rng = np.random.default_rng(2)
    train = matrix(random_pairs(rng, 30, 12), 30, letters(12))
    model = fit(train, repeat_weight=1.0)
    many = matrix(random_pairs(rng, 1_100, 12), 1_100, letters(12))
    together = predict(model, many, 3)
    for user in (0, 511, 512, 550, 1_099):
        alone = replace(many, users=many.users.with_columns(is_asked=pl.int_range(pl.len()) == user))
        assert_frame_equal(
            predict(model, alone, 3), together.filter(user_id=f"u{user:04d}"), check_exact=True
        )


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
