"""User neighbours against plain Python: likeness, order, votes and ratings; one planted effect per setting."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from planted import CUTOFF, ONCE, Pair, customers, lists, matrix, shoppers, table
from polars.testing import assert_frame_equal
from pydantic import ValidationError

from ecbehave.errors import ArtifactError, DataError
from ecbehave.inputs.types import Inputs, MatrixInput
from ecbehave.models.cf import like_minded, neighbour_ratings, sessions, votes
from ecbehave.models.cf.biases import Biases, rated
from ecbehave.models.cf.user_knn import UserKnn, UserKnnConfig
from ecbehave.models.storage import load_arrays, load_json, save_arrays, save_json
from ecbehave.models.top_k import lists_of

WEIGHTS = {"view": 0.3, "purchase": 1.0}
#: Nothing but neighbours: no decay to speak of, all items alike, and nothing of the user's own.
PLAIN: dict[str, Any] = {
    "event_weights": WEIGHTS,
    "half_life": "10000000d",
    "neighbours": 100,
    "rarity": 0.0,
    "repeat_weight": 0.0,
}
ORDER = {"recency": 0.5, "distance": 0.7, "before": 0.4, "same": 0.9}
RANKING, RATING, BINARY = (replace(ONCE, output=output) for output in ("ranking", "rating", "binary"))
Vector = Mapping[int, float]


def letters(n: int) -> list[str]:
    return [chr(ord("a") + i) for i in range(n)]


def make(**settings: Any) -> UserKnn:
    return UserKnn(UserKnnConfig.model_validate({"kind": "user_knn"} | PLAIN | settings))


def fit(data: MatrixInput, **settings: Any) -> UserKnn:
    return make(**settings).fit([data], [], RANKING)


def listed(model: UserKnn, data: MatrixInput, k: int = 100) -> pl.DataFrame:
    return lists_of(data, model.scores(data), k)


def scores(scored: pl.DataFrame, user: str = "u0000") -> dict[str, float]:
    own = scored.filter(user_id=user)
    return dict(zip(own["item_id"], own["score"], strict=True))


def all_scores(model: UserKnn, data: MatrixInput) -> dict[tuple[str, str], float]:
    found = listed(model, data)
    return {(user, item): score for user, item, score in found.iter_rows()}


def bought(*baskets: str) -> list[Pair]:
    """Each user has bought the items named by letters, once, a day after the other; the last one just now."""
    return [
        (user, ord(c) - ord("a"), "purchase", 1, float(len(word) - 1 - n))
        for user, word in enumerate(baskets)
        for n, c in enumerate(word)
    ]


def strangers(data: MatrixInput) -> MatrixInput:
    """The same users under names that nobody has seen."""
    return replace(data, users=data.users.with_columns(user_id="new " + pl.col("user_id")))


def random_pairs(rng: np.random.Generator, n_users: int, n_items: int) -> list[Pair]:
    cells = [
        (u, i, e) for u in range(n_users) for i in range(n_items) for e in ("view", "purchase", "search")
    ]
    return [
        (u, i, e, int(rng.integers(1, 9)), float(rng.integers(0, 80)) / 4)
        for u, i, e in cells
        if rng.random() < 2 / (3 + i)
    ]


# ---- plain Python


def slow_histories(data: MatrixInput, settings: Mapping[str, Any]) -> dict[str, dict[int, tuple[float, int]]]:
    """By user, of each item its weight and place."""
    half_life = float(settings["half_life"].removesuffix("d"))
    users, found = data.users["user_id"].to_list(), defaultdict(dict)
    for row in data.pairs.sort("user", "item", "event_type").iter_rows(named=True):
        if row["event_type"] not in settings["event_weights"]:
            continue
        weight = settings["event_weights"][row["event_type"]] * math.log(1 + row["n_events"])
        weight *= 0.5 ** (row["days_since"] / half_life)
        own = found[users[row["user"]]]
        before, place = own.get(row["item"], (0.0, row["place"]))
        own[row["item"]] = (before + weight, min(place, row["place"]))
    return dict(found)


def rarity(histories: Mapping[str, Mapping[int, Any]], item: int, power: float) -> float:
    n_users = sum(item in own for own in histories.values())
    return math.log(max(len(histories) / max(n_users, 1), 2)) ** power


def cosine(a: Vector, b: Vector, shrink: float) -> float:
    dot = sum(a[i] * b[i] for i in a if i in b)
    norms = math.sqrt(sum(x * x for x in a.values()) * sum(x * x for x in b.values()))
    return dot / (norms + shrink)


def jaccard(a: Vector, b: Vector, shrink: float) -> float:
    return len(set(a) & set(b)) / (len(set(a) | set(b)) + shrink)


def euclidean(a: Vector, b: Vector, shrink: float) -> float:
    both = set(a) & set(b)
    off = math.sqrt(sum((a[i] - b[i]) ** 2 for i in both) / len(both)) if both else 0
    return len(both) / (len(both) + shrink) / (1 + off) if both else 0


def pearson(a: Vector, b: Vector, shrink: float) -> float:
    both = set(a) & set(b)
    mean_a, mean_b = (sum(x.values()) / len(x) for x in (a, b))
    dot = sum((a[i] - mean_a) * (b[i] - mean_b) for i in both)
    norms = math.sqrt(sum((a[i] - mean_a) ** 2 for i in both) * sum((b[i] - mean_b) ** 2 for i in both))
    return len(both) / (len(both) + shrink) * dot / norms if norms > 1e-9 else 0


LIKENESS = {"cosine": cosine, "jaccard": jaccard, "euclidean": euclidean, "pearson": pearson}


def slow_scores(
    train: MatrixInput, asked: MatrixInput, settings: dict[str, Any]
) -> dict[tuple[str, str], float]:
    settings = {"similarity": "cosine", "shrink": 0.0, "threshold": 0.0, "significance": 0} | settings
    stored, queries = slow_histories(train, settings), slow_histories(asked, settings)
    items, found = asked.items["item_id"].to_list(), {}
    telling = [rarity(stored, item, settings["rarity"]) for item in range(len(items))]
    likeness = LIKENESS[settings["similarity"]]
    for user, own in queries.items():
        a = {i: w * telling[i] for i, (w, _) in own.items()}
        near = []
        for number, (other, its) in enumerate(stored.items()):
            b = {i: w * telling[i] for i, (w, _) in its.items()}
            value = likeness(a, b, settings["shrink"])
            if settings["significance"]:
                value *= min(len(set(a) & set(b)), settings["significance"]) / settings["significance"]
            if other != user and value > 0 and value >= settings["threshold"]:
                near.append((-value, number, other))
        near = sorted(near)[: settings["neighbours"]]
        total = sum(-minus for minus, _, _ in near)
        for item, name in enumerate(items):
            score = sum(-minus * stored[v][item][0] for minus, _, v in near if item in stored[v]) / (
                total or 1
            )
            score += settings["repeat_weight"] * own.get(item, (0.0, 0))[0]
            if score > 0:
                found[user, name] = score
    return found


def slow_order(
    train: MatrixInput, asked: MatrixInput, settings: dict[str, Any]
) -> dict[tuple[str, str], float]:
    stored, queries = slow_histories(train, settings), slow_histories(asked, settings)
    order, items, found = settings["order"], asked.items["item_id"].to_list(), {}
    telling = [rarity(stored, item, settings["rarity"]) for item in range(len(items))]
    for user, own in queries.items():
        near = []
        for number, (other, its) in enumerate(stored.items()):
            shared = {
                q: w * math.exp(-order["recency"] * place) * telling[q] * its[q][0]
                for q, (w, place) in own.items()
                if q in its
            }
            if other != user and shared and sum(shared.values()) >= settings.get("threshold", 0):
                near.append((-sum(shared.values()), number, other, shared))
        near = sorted(near, key=lambda n: n[:2])[: settings["neighbours"]]
        score: dict[int, float] = defaultdict(float)
        for _, _, other, shared in near:
            for q, value in shared.items():
                for i, (weight, place) in stored[other].items():
                    later = stored[other][q][1] - place
                    counts = order["same"]
                    if later:
                        counts = abs(later) ** -order["distance"] * (1 if later > 0 else order["before"])
                    score[i] += value * counts * weight
        total = sum(-n[0] for n in near)
        for item, name in enumerate(items):
            value = score[item] / (total or 1) + settings["repeat_weight"] * own.get(item, (0.0, 0))[0]
            if value > 0:
                found[user, name] = value
    return found


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"rarity": 1.0},
        {"rarity": 2.0, "repeat_weight": 0.7},
        {"neighbours": 3},
        {"half_life": "5d"},
        {"shrink": 4.0},
        {"threshold": 0.4},
        {"significance": 4},
        {"event_weights": {"search": 2.0}},
        {"similarity": "jaccard"},
        {"similarity": "pearson", "shrink": 3.0},
        {"similarity": "euclidean", "significance": 3, "neighbours": 4},
    ],
    ids=str,
)
def test_scores_like_plain_python(changes: dict[str, Any]):
    rng, settings = np.random.default_rng(0), PLAIN | changes
    train, later = (matrix(random_pairs(rng, n, 12), n, letters(12)) for n in (30, 40))
    expected = slow_scores(train, later, settings)
    # Similarities are rounded to 32 bits.
    assert all_scores(fit(train, **changes), later) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"rarity": 1.0, "repeat_weight": 0.3},
        {"neighbours": 3},
        {"threshold": 1.0},
        {"half_life": "5d", "order": ORDER | {"distance": 0.0}},
        {"order": ORDER | {"recency": 0.0, "before": 0.0}},
        {"order": ORDER | {"same": 0.0, "distance": 3.0}},
    ],
    ids=str,
)
def test_scores_by_order_like_plain_python(changes: dict[str, Any]):
    rng, settings = np.random.default_rng(1), PLAIN | {"order": ORDER} | changes
    train, later = (matrix(random_pairs(rng, n, 12), n, letters(12)) for n in (30, 40))
    expected = slow_order(train, later, settings)
    assert all_scores(fit(train, **{"order": ORDER} | changes), later) == pytest.approx(expected, rel=1e-9)


# ---- one effect at a time


def test_a_stored_user_is_no_neighbour_of_itself():
    # a and b buy alike, and only the first of them had d; c shares nothing with anybody.
    data = matrix(bought("abd", "ab", "c"), 3, letters(4))
    for order in (None, ORDER):
        found = fit(data, order=order, neighbours=1)
        assert set(scores(listed(found, data), "u0000")) == {"a", "b"}
        assert set(scores(listed(found, data), "u0001")) == {"a", "b", "d"}
        assert scores(listed(found, data), "u0002") == {}
        # A stranger with the same history finds the user that had it.
        assert scores(listed(found, strangers(data)), "new u0002") != {}


def test_what_comes_next_counts_more_than_what_came_before():
    data = matrix(bought("abc"), 1, letters(3))
    later = strangers(matrix(bought("b"), 1, letters(3)))
    order = {"recency": 0.0, "distance": 0.0, "before": 0.5, "same": 0.0}
    found = scores(listed(fit(data, order=order), later), "new u0000")
    assert found["a"] == pytest.approx(found["c"] / 2)
    assert "b" not in found


def test_neighbours_share_the_newest_items():
    # One neighbour shares the newest item, the other one the oldest.
    data = matrix(bought("ca", "db"), 2, letters(4))
    later = strangers(matrix(bought("cd"), 1, letters(4)))
    found = scores(listed(fit(data, order=ORDER), later), "new u0000")
    assert found["b"] / found["a"] == pytest.approx(math.exp(ORDER["recency"]))


def test_a_basket_has_one_place():
    together = [(0, item, "purchase", 1, 3.0) for item in range(3)]
    later = strangers(matrix([(0, 0, "purchase", 1, 0.0)], 1, letters(3)))
    found = scores(listed(fit(matrix(together, 1, letters(3)), order=ORDER), later), "new u0000")
    assert found == pytest.approx(dict.fromkeys("abc", ORDER["same"] * math.log(2)))


def test_own_history_counts_also_without_neighbours():
    data = matrix(bought("ab"), 1, letters(2))
    new = strangers(matrix([(0, 1, "purchase", 1, 0.0)], 2, ["a", "z"]))
    for order in (None, ORDER):
        found = listed(fit(data, repeat_weight=3.0, order=order), new)
        assert found.rows() == [("new u0000", "z", pytest.approx(3 * math.log(2)))]


def test_items_that_are_gone_are_not_listed():
    data = matrix(bought("ab", "ab"), 2, letters(2))
    new = strangers(matrix([(0, 0, "purchase", 1, 0.0)], 1, ["b"]))
    found = listed(fit(data), new)
    assert lists(found) == {"new u0000": ["b"]}


@pytest.mark.parametrize("order", [None, ORDER])
def test_blocks_and_order_of_users_change_no_score(order: Any, monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(3)
    data = matrix(random_pairs(rng, 40, 10), 40, letters(10))
    settings = {"neighbours": 5, "order": order, "rarity": 1.0, "repeat_weight": 0.1}
    whole = listed(fit(data, **settings), data)
    n_users = data.users.height
    turned = replace(
        data, users=data.users.reverse(), pairs=data.pairs.with_columns(user=n_users - 1 - pl.col("user"))
    )
    same = listed(fit(turned, **settings), data)
    assert_frame_equal(same, whole, check_exact=True)
    monkeypatch.setattr(like_minded, "_BLOCK_USERS", 3)
    monkeypatch.setattr(sessions, "_BLOCK_MET", 20)
    assert_frame_equal(listed(fit(data, **settings), data), whole, check_exact=True)
    # Chunks of stored pairs are part of the model; few are kept for the next block.
    monkeypatch.setattr(sessions, "_CHUNK_PAIRS", 100)
    small = listed(fit(data, **settings), data)
    assert_frame_equal(small, whole, rel_tol=1e-9)
    monkeypatch.setattr(sessions, "_KEPT_CHUNKS", 1000)
    assert_frame_equal(listed(fit(data, **settings), data), small, check_exact=True)


def test_similar_users():
    data = matrix(bought("abc", "ab", "c", "d"), 4, letters(4))
    found = pl.concat(list(fit(data).similar_users(data, 1)))
    assert found.select("user_id", "similar_user_id").rows() == [
        ("u0000", "u0001"),
        ("u0001", "u0000"),
        ("u0002", "u0000"),
    ]
    expected = [2 / math.sqrt(6), 2 / math.sqrt(6), 1 / math.sqrt(3)]
    assert found["similarity"].to_list() == pytest.approx(expected, rel=1e-5)
    # By order, the newest item counts most: the second user shares b, which lies one place back, with a as far from it.
    ordered = pl.concat(list(fit(data, order=ORDER).similar_users(data, 2)))
    assert ordered.filter(user_id="u0000")["similar_user_id"].to_list() == ["u0002", "u0001"]
    back, one = math.exp(-ORDER["recency"]), math.log(2) ** 2
    assert ordered.filter(user_id="u0000")["similarity"].to_list() == pytest.approx(
        [one, one * (back + back**2)], rel=1e-5
    )


# ---- what is refused


def test_no_event_that_counts():
    data = matrix([(0, 0, "search", 1, 0.0)], 1, letters(1))
    with pytest.raises(DataError) as caught:
        fit(data)
    assert str(caught.value) == (
        "user_knn has no events to learn from: none of view, purchase occurs with an item; "
        "set model.event_weights to the log's event types"
    )


@pytest.mark.parametrize("other", [{"similarity": "jaccard"}, {"shrink": 1.0}, {"significance": 3}])
def test_order_has_one_similarity(other: dict[str, Any]):
    assert make(**other).config.order is None
    with pytest.raises(ValidationError) as caught:
        make(order={}, **other)
    assert f"so that {next(iter(other))} has no meaning beside it; leave out one of them" in str(caught.value)


# ---- votes


def at(days: int, seed: int = 0) -> Inputs:
    """Loyal and other users as known some days before the cutoff of `planted`."""
    cutoff = CUTOFF - timedelta(days=days)
    rows = customers(60, seed)
    frame = rows.frame.with_columns(cutoff=pl.lit(cutoff).cast(rows.frame.schema["cutoff"]))
    return Inputs(cutoff, replace(rows, frame=frame), replace(shoppers(60, seed), cutoff=cutoff))


def auroc(score: np.ndarray, label: np.ndarray) -> float:
    return float((score[label == 1][:, None] > score[label == 0][None, :]).mean())


def test_users_vote_as_those_like_them_did():
    asked = at(0, seed=2)
    model = make(neighbours=20).fit([at(28), at(14, seed=1), asked.as_history()], [], BINARY)
    scored = model.predict(asked, 0)
    assert_frame_equal(scored.drop("score"), asked.table.keys)  # type: ignore[union-attr]
    is_loyal = np.arange(60) < 36
    assert auroc(scored["score"].to_numpy(), is_loyal.astype(int)) > 0.95


def test_log_odds_by_hand():
    # Two voters with the very history of the one who is asked, labels 1 and 0, and one who shares nothing, label 1.
    same = [(user, 0, "purchase", 1, 4.0) for user in (0, 1)]
    past = Inputs(
        CUTOFF, table({"x": [1.0] * 3}, [1, 0, 1]), matrix([*same, (2, 1, "view", 9, 90.0)], 3, letters(2))
    )
    now = Inputs(CUTOFF, table({"x": [1.0] * 2}), matrix(same[:1], 2, letters(2)))
    found = make().fit([past], [], BINARY).predict(now, 0)["score"].to_list()
    mean, prior = 2 / 3, 5.0
    assert found[0] == pytest.approx(math.log((1 + prior * mean) / (1 + prior * (1 - mean))), rel=1e-6)
    assert found[1] == pytest.approx(math.log(mean / (1 - mean)))


def test_how_lately_counts_beside_what():
    # All had the same item; those of long ago stay away.
    def shop(days: Sequence[float]) -> MatrixInput:
        return matrix([(u, 0, "purchase", 2, d) for u, d in enumerate(days)], len(days), letters(1))

    past = Inputs(CUTOFF, table({"x": [1.0] * 4}, [1, 1, 0, 0]), shop([1.0, 2.0, 60.0, 80.0]))
    now = Inputs(CUTOFF, table({"x": [1.0] * 2}), shop([1.5, 70.0]))
    found = make(neighbours=2).fit([past], [], BINARY).predict(now, 0)["score"].to_list()
    assert found[0] > 0 > found[1]


def test_of_many_voters_some_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(votes, "MOST_VOTERS", 40)
    make().fit([at(28), at(14)], [], BINARY).save(tmp_path)
    stored = load_arrays(tmp_path / "stored.npz")["label"]
    kept = customers(60).label[::3]
    np.testing.assert_array_equal(stored, [*kept, *kept])


def test_votes_need_both_classes():
    only = replace(at(28), table=table({"x": [1.0] * 60}, [1] * 60))
    with pytest.raises(DataError, match=r"^the train labels have one class only: all 60 rows are 1; "):
        make().fit([only], [], BINARY)


def test_blocks_change_no_vote(monkeypatch: pytest.MonkeyPatch):
    model, asked = make(neighbours=7).fit([at(28), at(14, 1)], [], BINARY), at(0, seed=2)
    whole = model.predict(asked, 0)
    monkeypatch.setattr(votes, "_BLOCK_USERS", 7)
    assert_frame_equal(model.predict(asked, 0), whole, check_exact=True)


# ---- ratings


def shop_with_ratings(seed: int = 0, n_users: int = 25, n_items: int = 12) -> MatrixInput:
    rng = np.random.default_rng(seed)
    taste = rng.normal(size=(n_users, 2)) @ rng.normal(size=(2, n_items))
    cells = [(u, i) for u in range(n_users) for i in range(n_items) if rng.random() < 0.6]
    data = matrix([(u, i, "rating", 1, 1.0) for u, i in cells], n_users, letters(n_items))
    rating = [float(np.clip(np.round(3 + taste[u, i]), 1, 5)) for u, i in cells]
    return replace(data, pairs=data.pairs.with_columns(rating=pl.Series(rating, dtype=pl.Float32)))


def slow_rating(train: MatrixInput, data: MatrixInput, u: int, i: int, n: int, shrink: float) -> float:
    """The rating beyond the scale, of a user and an item."""
    above = []
    for known, biases in ((rated(d), Biases.of_rated(d, rated(d))) for d in (train, data)):
        own: dict[int, dict[int, float]] = defaultdict(dict)
        for user, item, rating in known.iter_rows():
            own[user][item] = rating - float(biases.of([user], [item])[0])
        above.append(own)
    stored, mine = above[0], above[1].get(u, {})
    expected = float(Biases.of_rated(data, rated(data)).of([u], [i])[0])
    near = []
    for v, its in stored.items():
        both = [j for j in mine if j in its]
        norms = math.sqrt(sum(mine[j] ** 2 for j in both) * sum(its[j] ** 2 for j in both))
        if v != u and i in its and len(both) > 1 and norms > 0:
            alike = sum(mine[j] * its[j] for j in both) / norms * (len(both) - 1) / (len(both) - 1 + shrink)
            near.append((-alike, v, its[i]))
    near = [n for n in sorted(near) if n[0] < 0][:n]
    return expected + (sum(-s * x for s, _, x in near) / sum(-s for s, _, _ in near) if near else 0)


@pytest.mark.parametrize(("neighbours", "shrink"), [(100, 0.0), (3, 10.0)])
def test_ratings_like_plain_python(neighbours: int, shrink: float, monkeypatch: pytest.MonkeyPatch):
    train, now = shop_with_ratings(), shop_with_ratings(seed=1)
    model = make(neighbours=neighbours, rating_shrink=shrink).fit([train], [], RATING)
    cells = [(u, i) for u in (24, 0, 7, 3) for i in range(12)]
    pairs = pl.DataFrame(cells, ["user", "item"], orient="row")
    slow = [slow_rating(train, now, u, i, neighbours, shrink) for u, i in cells]
    found = model.ratings(now, pairs)
    np.testing.assert_allclose(found, np.clip(slow, 1, 5), rtol=1e-9)
    monkeypatch.setattr(neighbour_ratings, "_MOST_HEARD", 30)
    monkeypatch.setattr(neighbour_ratings, "_BLOCK_USERS", 2)
    np.testing.assert_array_equal(model.ratings(now, pairs), found)
    blocks = list(model.scores(now))
    np.testing.assert_array_equal(np.concatenate([users for users, _ in blocks]), now.asked)
    grid = np.concatenate([block for _, block in blocks])
    np.testing.assert_allclose([grid[u, i] for u, i in cells], slow, rtol=1e-9)


def test_a_rating_stays_on_the_scale():
    # Everybody loves the first item, and the last user loves all the others.
    had = [(u, i) for u in range(60) for i in range(30) if (u == 59) != (i == 0) or u < 59]
    data = matrix([(u, i, "rating", 1, 1.0) for u, i in had], 60, [f"i{i:02d}" for i in range(30)])
    rating = [5.0 if u == 59 or i == 0 else 1.0 + (u + i) % 2 for u, i in had]
    data = replace(data, pairs=data.pairs.with_columns(rating=pl.Series(rating, dtype=pl.Float32)))
    model = make().fit([data], [], RATING)
    assert model.ratings(data, pl.DataFrame({"user": [59], "item": [0]})).tolist() == [5.0]
    grid = np.concatenate([block for _, block in model.scores(data)])
    assert grid[59, 0] > 5


def test_a_user_without_ratings_and_an_item_nobody_knew():
    train = shop_with_ratings()
    now = replace(train, items=train.items.with_columns(item_id=pl.col("item_id").replace("a", "new")))
    now = replace(now, pairs=now.pairs.filter(pl.col("user") != 3))
    biases = Biases.of_rated(now, rated(now))
    pairs = pl.DataFrame({"user": [3, 4], "item": [5, 0]})
    found = make().fit([train], [], RATING).ratings(now, pairs)
    np.testing.assert_allclose(found, biases.of([3, 4], [5, 0]))


# ---- stored


def stored(output: str) -> UserKnn:
    if output == "binary":
        return make().fit([at(28)], [], BINARY)
    if output == "rating":
        return make().fit([shop_with_ratings()], [], RATING)
    return fit(matrix(bought("abd", "ab", "c"), 3, letters(4)))


@pytest.mark.parametrize("output", ["ranking", "binary", "rating"])
def test_what_is_stored_scores_the_same(output: str, tmp_path: Path):
    model = stored(output)
    model.save(tmp_path)
    loaded = UserKnn.load(tmp_path, model.config)
    if output == "binary":
        assert_frame_equal(loaded.predict(at(0), 0), model.predict(at(0), 0), check_exact=True)
        return
    data = shop_with_ratings(seed=4) if output == "rating" else matrix(bought("ab", "c"), 2, letters(4))
    assert_frame_equal(listed(loaded, data), listed(model, data), check_exact=True)
    assert listed(model, data).height > 0


@pytest.mark.parametrize("output", ["ranking", "binary", "rating"])
def test_an_index_out_of_bounds_is_refused(output: str, tmp_path: Path):
    stored(output).save(tmp_path)
    arrays = load_arrays(tmp_path / "stored.npz")
    save_arrays(tmp_path / "stored.npz", **arrays | {"indices": arrays["indices"] + 10_000})
    with pytest.raises(ArtifactError, match=r"stored\.npz was refused"):
        UserKnn.load(tmp_path, make().config)


def test_a_place_for_each_weight(tmp_path: Path):
    stored("ranking").save(tmp_path)
    arrays = load_arrays(tmp_path / "stored.npz")
    save_arrays(tmp_path / "stored.npz", **arrays | {"place": arrays["place"][1:]})
    with pytest.raises(ArtifactError, match=r"was refused: there are 5 places for 6 weights; train again"):
        UserKnn.load(tmp_path, make().config)


def test_an_unknown_form_is_refused(tmp_path: Path):
    stored("ranking").save(tmp_path)
    save_json(tmp_path / "user_knn.json", load_json(tmp_path / "user_knn.json") | {"stored": "Code"})
    with pytest.raises(ArtifactError, match=r"user_knn\.json was refused"):
        UserKnn.load(tmp_path, make().config)


@pytest.mark.parametrize("output", ["ranking", "rating"])
def test_users_are_stored_in_the_order_of_their_hash(output: str, tmp_path: Path):
    data = shop_with_ratings()
    turned = replace(
        data,
        users=data.users.reverse(),
        pairs=data.pairs.with_columns(user=data.users.height - 1 - pl.col("user")),
    )
    options = replace(ONCE, output=output)
    make(event_weights={"rating": 1.0}).fit([turned], [], options).save(tmp_path)
    assert load_json(tmp_path / "stored.json")["user_id"] == data.users["user_id"].to_list()
