"""EASE against a few lines of numpy, and one planted effect per setting."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from planted import ONCE, Pair, lists, make, matrix, predict
from polars.testing import assert_frame_equal
from pydantic import ValidationError

from ecbehave.errors import ArtifactError, ConfigError, DataError
from ecbehave.inputs.types import MatrixInput
from ecbehave.models.cf import ease, symmetric
from ecbehave.models.protocol import Model
from ecbehave.models.storage import load_arrays, save_arrays

PLAIN: dict[str, Any] = {
    "event_weights": {"view": 0.3, "purchase": 1.0},
    "min_users": 1,
    "ridge": 2.0,
    "half_life": "10000d",
    "repeat_weight": 0.0,
}


def letters(n: int) -> list[str]:
    return [chr(ord("a") + i) for i in range(n)]


def fit(data: MatrixInput, threads: int = 1, **settings: Any) -> Model:
    return make("ease", **PLAIN | settings).fit([data], [], replace(ONCE, threads=threads))


def bought(*baskets: str) -> list[Pair]:
    """Each user has bought the items named by letters, once, just now."""
    return [(user, ord(c) - ord("a"), "purchase", 1, 0.0) for user, word in enumerate(baskets) for c in word]


def random_pairs(seed: int, n_users: int, n_items: int) -> list[Pair]:
    rng = np.random.default_rng(seed)
    return [
        (u, i, event, int(rng.integers(1, 9)), float(rng.integers(0, 80)) / 4)
        for u in range(n_users)
        for i in range(n_items)
        for event in ("view", "purchase", "search")
        if rng.random() < 1.5 / (2 + i)
    ]


def all_scores(model: Any, data: MatrixInput) -> NDArray[np.float64]:
    """Return the scores of everybody who is asked [U, I]."""
    users, scores = zip(*model.scores(data), strict=True)
    assert np.concatenate(users).tolist() == data.asked.tolist()
    return np.concatenate(scores)


# ---- against numpy


def learned(
    pairs: Sequence[Pair], n_users: int, n_items: int, settings: dict[str, Any]
) -> NDArray[np.float64]:
    found = np.zeros((n_users, n_items))
    for user, item, event, n, _ in pairs:
        found[user, item] += settings["event_weights"].get(event, 0.0) * math.log(1 + n)
    return found


def weights(
    pairs: Sequence[Pair], n_users: int, n_items: int, settings: dict[str, Any]
) -> NDArray[np.float64]:
    found = np.zeros((n_users, n_items))
    for user, item, event, n, days in pairs:
        decay = 0.5 ** (days / float(settings["half_life"].removesuffix("d")))
        found[user, item] += settings["event_weights"].get(event, 0.0) * n * decay
    return found


def straightforward(
    train: NDArray[np.float64], asked: NDArray[np.float64], settings: dict[str, Any]
) -> NDArray[np.float64]:
    kept = (train > 0).sum(axis=0) >= settings["min_users"]
    x = train[:, kept]
    inverse = np.linalg.inv(x.T @ x + settings["ridge"] * np.eye(x.shape[1]))
    b = np.eye(x.shape[1]) - inverse / np.diag(inverse)
    scores = np.full(asked.shape, -np.inf)
    scores[np.ix_(asked[:, kept].any(axis=1), kept)] = (asked[:, kept] @ b)[asked[:, kept].any(axis=1)]
    if settings["repeat_weight"]:
        had = asked > 0
        scores[had] = np.where(scores[had] > -np.inf, scores[had], 0) + settings["repeat_weight"] * asked[had]
    return scores


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"ridge": 50.0},
        {"min_users": 9},
        {"half_life": "3d"},
        {"repeat_weight": 1.5},
        {"event_weights": {"search": 2.0}},
        {"ridge": 5.0, "min_users": 5, "half_life": "10d", "repeat_weight": 0.4},
    ],
    ids=str,
)
def test_scores_like_numpy(changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(symmetric, "_BLOCK", 4)
    monkeypatch.setattr(ease, "_PRODUCT_USERS", 7)
    monkeypatch.setattr(ease, "_BLOCK_SCORES", 30)
    settings = PLAIN | changes
    train, asked = random_pairs(0, 30, 12), random_pairs(1, 20, 12)
    # Users without any event that counts, and with one of a rare item only.
    asked = [pair for pair in asked if pair[0] not in (3, 4)] + [(4, 11, "view", 1, 0.0)]
    expected = straightforward(learned(train, 30, 12, settings), weights(asked, 20, 12, settings), settings)
    found = all_scores(fit(matrix(train, 30, letters(12)), **changes), matrix(asked, 20, letters(12)))
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-6)


def test_fewer_users_than_items_like_numpy(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(symmetric, "_BLOCK", 4)
    train, asked = random_pairs(0, 8, 20), random_pairs(1, 6, 20)
    expected = straightforward(learned(train, 8, 20, PLAIN), weights(asked, 6, 20, PLAIN), PLAIN)
    found = all_scores(fit(matrix(train, 8, letters(20))), matrix(asked, 6, letters(20)))
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-6)


def test_checkerboard():
    # Even users have all even items, odd users all odd ones, each but one: user n lacks item n.
    had = {user: set(range(user % 2, 20, 2)) - {user} for user in range(16)}
    board = [(user, item, "purchase", 1, 1.0) for user, own in had.items() for item in own]
    data = matrix(board, 16, letters(20))
    found = lists(predict(fit(data), data, 20))
    for user, own in enumerate(found.values()):
        assert letters(20).index(next(i for i in own if letters(20).index(i) not in had[user])) == user


# ---- one setting at a time


def test_an_item_is_not_told_from_itself():
    data = matrix(bought("ab", "ab", "abc", "c"), 4, letters(3))
    found = all_scores(fit(data), data)
    # User 3 has c alone, which tells itself nothing; what it says of a and b is the same.
    assert found[3, 2] == 0
    assert found[3, 0] == found[3, 1] > 0
    assert found[0, 2] > 0


def test_what_was_had_before_is_recommended_again():
    data = matrix(bought("ab", "ab", "abc", "c"), 4, letters(3))
    without, again = (all_scores(fit(data, repeat_weight=w), data) for w in (0.0, 3.0))
    had = weights(bought("ab", "ab", "abc", "c"), 4, 3, PLAIN)
    np.testing.assert_allclose(again, without + 3 * had, rtol=1e-12)


def test_an_event_counts_half_after_the_half_life():
    train = matrix(bought("ab", "ab"), 2, letters(2))
    asked = matrix([(0, 0, "purchase", 1, 0.0), (1, 0, "purchase", 1, 6.0)], 2, letters(2))
    found = all_scores(fit(train, half_life="6d"), asked)
    assert found[0, 1] == pytest.approx(2 * found[1, 1])


@pytest.mark.parametrize(("min_users", "expected"), [(2, ["b", "a"]), (3, ["b"])])
def test_an_item_of_too_few_users_is_told_to_nobody(min_users: int, expected: list[str]):
    train = matrix(bought("abc", "abc", "bc"), 3, letters(3))
    asked = matrix(bought("c"), 1, letters(3))
    model = fit(train, min_users=min_users)
    assert [item for item in lists(predict(model, asked, 3))["u0000"] if item != "c"] == expected


def test_an_item_of_too_few_users_is_recommended_again():
    train = matrix(bought("abc", "abc", "bc"), 3, letters(3))
    asked = matrix(bought("a"), 1, letters(3))
    assert predict(fit(train, min_users=3), asked, 3).height == 0
    found = predict(fit(train, min_users=3, repeat_weight=2.0), asked, 3)
    assert found.rows() == [("u0000", "a", 2.0)]


def test_a_later_catalogue():
    data = matrix(bought("ab", "ab", "bc", "abc"), 4, letters(3))
    model = fit(data)
    expected = all_scores(model, matrix(bought("ac"), 1, letters(3)))
    # `aa` is new, b is gone.
    pairs = [(0, item, "purchase", 1, 0.0) for item in (0, 2, 1)]
    found = all_scores(model, matrix(pairs, 1, ["a", "aa", "c"]))
    np.testing.assert_array_equal(found, [[expected[0, 0], -np.inf, expected[0, 2]]])


def test_nothing_is_told_where_every_item_is_rare(tmp_path: Path):
    data = matrix(bought("ab", "bc"), 2, letters(3))
    model = fit(data, min_users=3, repeat_weight=1.0)
    assert lists(predict(model, data, 9)) == {"u0000": ["a", "b"], "u0001": ["b", "c"]}
    model.save(tmp_path)
    loaded = type(model).load(tmp_path, model.config)  # type: ignore[attr-defined]
    assert_frame_equal(predict(loaded, data, 9), predict(model, data, 9))


def test_age_does_not_change_what_is_learned(tmp_path: Path):
    old = [(user, item, event, n, 500.0) for user, item, event, n, _ in bought("ab", "abc", "ac")]
    for name, pairs in {"new": bought("ab", "abc", "ac"), "old": old}.items():
        (tmp_path / name).mkdir()
        fit(matrix(pairs, 3, letters(3)), half_life="1d").save(tmp_path / name)
    assert (tmp_path / "new/ease.npz").read_bytes() == (tmp_path / "old/ease.npz").read_bytes()


def test_learns_from_the_newest_history_only():
    older, newest = matrix(bought("ab", "ab"), 2, letters(3)), matrix(bought("ac", "ac"), 2, letters(3))
    asked = matrix(bought("a"), 1, letters(3))
    model = make("ease", **PLAIN).fit([older, newest], [], ONCE)
    assert lists(predict(model, asked, 1)) == {"u0000": ["c"]}


# ---- size


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_change_no_byte(threads: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(symmetric, "_BLOCK", 5)
    data = matrix(random_pairs(1, 30, 14), 30, letters(14))
    for name, n in (("one", 1), ("many", threads)):
        (tmp_path / name).mkdir()
        fit(data, n).save(tmp_path / name)
    one, many = ((tmp_path / name / "ease.npz").read_bytes() for name in ("one", "many"))
    assert len(load_arrays(tmp_path / "one" / "ease.npz")) == 1 + 3
    assert one == many


def test_many_users_get_the_scores_that_each_would_get_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(symmetric, "_BLOCK", 5)
    model = fit(matrix(random_pairs(1, 30, 12), 30, letters(12)), repeat_weight=1.0)
    many = matrix(random_pairs(2, 600, 12), 600, letters(12))
    together = all_scores(model, many)
    for user in (0, 511, 512, 599):
        alone = replace(many, users=many.users.with_columns(is_asked=pl.int_range(pl.len()) == user))
        assert all_scores(model, alone).tobytes() == together[user].tobytes()


# ---- refusals


@pytest.mark.parametrize("pairs", [[], [(0, 0, "search", 3, 1.0)]])
def test_no_event_to_learn_from(pairs: list[Pair]):
    with pytest.raises(DataError) as caught:
        fit(matrix(pairs, 1, letters(1)))
    assert str(caught.value) == (
        "ease has no events to learn from: none of view, purchase occurs with an item; "
        "set model.event_weights to the log's event types"
    )


def test_too_many_items_for_the_memory():
    # A hundred items each were had by one user, by two, and so on.
    items = [f"i{n:04d}" for n in range(1_000)]
    n_users = np.arange(1_000) // 100 + 1
    pairs = [(user, item, "purchase", 1, 0.0) for item in range(1_000) for user in range(n_users[item])]
    data = matrix(pairs, 10, items)
    assert [symmetric.n_bytes(10, n, 1) > 5_000_000 for n in (991, 992)] == [False, True]
    fit(data, max_memory="6MB")
    with pytest.raises(ConfigError) as caught:
        fit(data, max_memory="5MB")
    assert str(caught.value) == (
        "ease needs 6MB for the 1,000 items that at least 1 users had, and model.max_memory allows 5MB: allow that, "
        "set model.min_users to 2, which leaves 900 items, or take the kind item_knn"
    )


@pytest.mark.parametrize("size", ["2", "2 GB", "0GB", "1.5GB", "2gb"])
def test_a_size_of_another_form(size: str):
    with pytest.raises(ValidationError, match="should match pattern"):
        make("ease", max_memory=size)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda stored: {"diagonal": stored["diagonal"][1:]}, "it has a diagonal of 1 for 2 items"),
        (lambda stored: {"band_00000": stored["band_00000"][:1]}, r"a band of shape \(1, 2\) does not begin"),
        (lambda stored: {"band_00001": stored["band_00000"]}, r"a band of shape \(2, 2\) does not begin"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(change: Any, reason: str, tmp_path: Path):
    model = fit(matrix(bought("ab", "ab"), 2, letters(2)))
    model.save(tmp_path)
    stored = load_arrays(tmp_path / "ease.npz")
    save_arrays(tmp_path / "ease.npz", **stored | change(stored))
    with pytest.raises(ArtifactError, match=rf"ease\.npz was refused: {reason}.*; train again, or take"):
        type(model).load(tmp_path, model.config)  # type: ignore[attr-defined]
