"""Alternating least squares against dense direct solves, and one planted effect per setting."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from planted import ONCE, Pair, lists, make, matrix, predict
from polars.testing import assert_frame_equal
from scipy.sparse import csr_array
from threadpoolctl import threadpool_limits

from ecbehave.errors import ArtifactError, DataError
from ecbehave.inputs.types import MatrixInput
from ecbehave.models.cf import dense, least_squares
from ecbehave.models.cf.als import Als
from ecbehave.models.cf.biases import Biases, rated
from ecbehave.models.cf.least_squares import Known, rotated, solve, turned
from ecbehave.models.storage import load_arrays, load_json, save_arrays, save_json

#: Nothing but factors: no decay to speak of, and what the user had gets nothing on top.
BARE: dict[str, Any] = {"factors": 6, "half_life": "100000d", "repeat_weight": 0.0, "reg": 0.02}
RATING = replace(ONCE, output="rating")
Dense = NDArray[np.float64]


def letters(n: int) -> list[str]:
    return [chr(ord("a") + i) for i in range(n)]


def fit(data: MatrixInput, **settings: Any) -> Als:
    model = make("als", **BARE | settings).fit([data], [], ONCE)
    assert isinstance(model, Als)
    return model


def bought(*baskets: str) -> list[Pair]:
    """Each user has bought the items named by letters, once, just now."""
    return [(user, ord(c) - ord("a"), "purchase", 1, 0.0) for user, word in enumerate(baskets) for c in word]


def grid(model: Als, data: MatrixInput) -> Dense:
    """Return all scores [U, I]."""
    blocks = list(model.scores(data))
    assert np.array_equal(np.concatenate([users for users, _ in blocks]), data.asked)
    return np.concatenate([scores for _, scores in blocks])


def seldom(rng: np.random.Generator, n_users: int, n_items: int, share: float = 0.3) -> list[Pair]:
    """Some users had much, some little; item n + 1 is had less often than item n."""
    chance = share * rng.uniform(0.2, 2, n_users)[:, None] * (0.3 + rng.random(n_items))
    had = zip(*np.nonzero(rng.random((n_users, n_items)) < chance), strict=True)
    return [(int(u), int(i), "purchase", int(rng.integers(1, 5)), 0.0) for u, i in had]


# ---- one half step


def weighted(rng: np.random.Generator, n_rows: int, n_columns: int) -> csr_array:
    """Row r has about r observations."""
    dense = rng.uniform(0.1, 3, (n_rows, n_columns)) * (
        rng.random((n_rows, n_columns)) * n_columns < np.arange(n_rows)[:, None]
    )
    return csr_array(dense)


def slow_row(known: Known, weight: Dense, target: Dense, reg: float) -> Dense:
    y = known.factors.astype(np.float64)
    left = np.diag(known.spectrum + reg) + y.T @ (weight[:, None] * y)
    return np.linalg.solve(left, y.T @ (weight * target))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("has_targets", [False, True])
def test_rows_like_a_direct_solve(dtype: type, has_targets: bool):
    rng = np.random.default_rng(0)
    known = turned(rng.normal(0, 0.5, (90, 12)).astype(dtype), 0.3)[0]
    weights, reg = weighted(rng, 80, 90).astype(dtype), rng.uniform(0.1, 2, 80)
    targets = rng.normal(3, 1, weights.nnz).astype(dtype) if has_targets else None
    found = solve(known, weights, reg, targets)
    assert found.dtype == dtype
    stored = csr_array(
        (np.ones(weights.nnz) if targets is None else targets, weights.indices, weights.indptr), weights.shape
    )
    lengths = np.diff(weights.indptr)
    assert lengths[0] == 0
    assert {0, 1} < set((lengths > 12).tolist()) | set(lengths.tolist()), "both ways to solve, and empty rows"
    expected = [
        slow_row(known, weights.toarray()[r].astype(float), stored.toarray()[r], reg[r]) for r in range(80)
    ]
    # More digits than float32 has are not to be had.
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 if dtype == np.float32 else 1e-12)
    assert np.abs(expected).max() > 0.3


@pytest.mark.parametrize("piece", [1, 7, 4096])
@pytest.mark.parametrize("numbers", [1, 500, 10**9])
def test_pieces_and_blocks_of_rows(piece: int, numbers: int, monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(1)
    known = turned(rng.normal(0, 0.5, (70, 9)), 0.3)[0]
    weights, reg = weighted(rng, 60, 70), rng.uniform(0.1, 2, 60)
    whole = solve(known, weights, reg)
    monkeypatch.setattr(least_squares, "_BLOCK_NUMBERS", numbers)
    assert solve(known, weights, reg, threads=3).tobytes() == whole.tobytes()
    monkeypatch.setattr(least_squares, "_PIECE", piece)
    np.testing.assert_allclose(solve(known, weights, reg), whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize("has_start", [False, True])
def test_a_row_alone_is_solved_to_the_same_digits(has_start: bool):
    rng = np.random.default_rng(2)
    known = turned(rng.normal(0, 0.5, (150, 32)).astype(np.float32), 0.3)[0]
    weights, reg = weighted(rng, 150, 150).astype(np.float32), rng.uniform(0.1, 2, 150)
    start = rng.normal(0, 1, (150, 32)).astype(np.float32) if has_start else None
    together = solve(known, weights, reg, threads=2, start=start)
    for row in range(150):
        own = None if start is None else start[[row]]
        alone = solve(known, csr_array(weights[[row]]), reg[[row]], start=own)
        assert alone.tobytes() == together[row].tobytes()


def test_turning_changes_no_product(monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(3)
    factors = rng.normal(0, 1, (40, 5)) * [5, 1, 1, 0.2, 0]
    monkeypatch.setattr(least_squares, "_CHUNK", 7)
    known, basis = turned(factors, 0.25)
    np.testing.assert_allclose(known.factors, factors @ basis, atol=1e-12)
    assert rotated(factors, basis).tobytes() == known.factors.tobytes()
    np.testing.assert_allclose(known.factors @ known.factors.T, factors @ factors.T, atol=1e-12)
    np.testing.assert_allclose(
        0.25 * known.factors.T @ known.factors, np.diag(known.spectrum), rtol=0, atol=1e-12
    )
    assert known.spectrum.min() >= 0


@pytest.mark.parametrize("has_targets", [False, True])
def test_steps_from_a_start_lead_to_the_solution(has_targets: bool, monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(4)
    known = turned(rng.normal(0, 0.5, (90, 12)), 0.3)[0]
    weights, reg, start = weighted(rng, 80, 90), rng.uniform(0.1, 2, 80), rng.normal(0, 1, (80, 12))
    targets = rng.normal(3, 1, weights.nnz) if has_targets else None
    exact = solve(known, weights, reg, targets)
    few = np.diff(weights.indptr) <= 12
    errors = []
    for steps in (0, 1, 2, 4, 40):
        monkeypatch.setattr(least_squares, "_STEPS", steps)
        found = solve(known, weights, reg, targets, start=start)
        # Short rows are solved at once, which costs no more.
        assert found[few].tobytes() == exact[few].tobytes()
        errors.append(np.abs(found - exact).max())
    assert errors[0] == np.abs(start - exact)[~few].max()
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-10
    # Who is there stays there.
    found = solve(known, weights, reg, targets, start=exact)
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-12)


def test_longest_rows_are_solved_also_with_a_start(monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(5)
    known = turned(rng.normal(0, 0.5, (90, 12)), 0.3)[0]
    weights, reg = weighted(rng, 80, 90), rng.uniform(0.1, 2, 80)
    monkeypatch.setattr(least_squares, "_PIECE", 40)
    exact, found = (solve(known, weights, reg, start=s) for s in (None, np.zeros((80, 12))))
    long = np.diff(weights.indptr) > 40
    assert found[long].tobytes() == exact[long].tobytes()
    assert not np.array_equal(found, exact)


# ---- the model against dense sums over all pairs


def slow_events(confidence: Dense, seed: int, iterations: int, settings: dict[str, Any]) -> Dense:
    """Return scores [U, I]: each step sums over every pair, as the papers write it."""
    n_factors, unobserved = settings["factors"], settings["unobserved_weight"]
    rng = np.random.default_rng(seed)
    items = rng.normal(0, 0.1 / np.sqrt(n_factors), (confidence.shape[1], n_factors))

    def half(known: Dense, own: Dense) -> Dense:
        rows = []
        for c in own:
            penalty = settings["reg"] * ((c > 0).sum() + unobserved * c.size) ** settings["reg_exponent"]
            left = sum(((c_i + unobserved) * np.outer(y, y) for c_i, y in zip(c, known, strict=True)))
            rows.append(np.linalg.solve(left + penalty * np.eye(n_factors), c @ known))
        return np.array(rows)

    for _ in range(iterations):
        users = half(items, confidence)
        items = half(users, confidence.T)
    scores: Dense = half(items, confidence) @ items.T
    return scores


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"reg_exponent": 0.0, "reg": 1.5},
        {"reg_exponent": 0.5, "unobserved_weight": 0.5},
        {"factors": 25, "iterations": 2},
        {"factors": 1},
    ],
    ids=str,
)
def test_scores_like_dense_sums(changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(least_squares, "_FEW", 10**9)
    settings = BARE | {"iterations": 3, "unobserved_weight": 0.2, "reg_exponent": 1.0} | changes
    data = matrix(seldom(np.random.default_rng(0), 40, 20), 40, letters(20))
    model = fit(data, **settings)
    confidence = model.confidences(data).toarray()
    assert (confidence.sum(axis=0) > 0).all()
    expected = slow_events(confidence, ONCE.seed, settings["iterations"], settings)
    is_cold = confidence.sum(axis=1) == 0
    assert 0 < is_cold.sum() < 10
    expected[is_cold] = -np.inf
    np.testing.assert_allclose(grid(model, data), expected, rtol=0, atol=2e-4)
    assert expected.max() > 0.3


def test_steps_come_to_what_solving_comes_to(monkeypatch: pytest.MonkeyPatch):
    data = matrix(seldom(np.random.default_rng(0), 60, 40, 0.6), 60, letters(40))
    confidence = fit(data).confidences(data).toarray()

    def loss(iterations: int) -> float:
        scores = grid(fit(data, iterations=iterations), data)
        return float((confidence * (1 - scores) ** 2 + 0.1 * scores**2).sum())

    near, early = loss(20), loss(1)
    monkeypatch.setattr(least_squares, "_FEW", 10**9)
    exact = loss(20)
    assert abs(near / exact - 1) < 0.02
    assert early > 1.05 * exact


def test_checkerboard():
    # Even users have all even items, odd users all odd ones, each but one: user n lacks item n.
    had = {user: set(range(user % 2, 20, 2)) - {user} for user in range(16)}
    board = [(user, item, "purchase", 1, 1.0) for user, own in had.items() for item in own]
    data = matrix(board, 16, letters(20))
    blank = np.zeros((16, 20), bool)
    for user, own in had.items():
        blank[user, list(own)] = True
    found = lists(predict(fit(data, factors=2), replace(data, barred=csr_array(blank)), 1))
    assert found == {f"u{user:04d}": [letters(20)[user]] for user in range(16)}


# ---- folding in


def test_a_new_user_is_scored_like_a_known_one_of_the_same_history():
    train = matrix(bought("abc", "abd", "cde", "ef", "bcf"), 5, letters(6))
    model = fit(train)
    new = matrix([*bought("ef", "abc"), (2, 0, "purchase", 1, 0.0)], 4, letters(6))
    known, found = grid(model, train), grid(model, new)
    assert found[[0, 1]].tobytes() == known[[3, 0]].tobytes()
    assert (found[2] != known).any(axis=1).all()
    assert (found[3] == -np.inf).all(), "nothing is known of a user without events"


def test_scores_follow_the_newest_history():
    model = fit(matrix(bought("ab", "ab", "ab", "cd", "cd", "cd"), 6, letters(4)), factors=2)
    before, after = matrix(bought("a"), 1, letters(4)), matrix(bought("acd"), 1, letters(4))
    assert lists(predict(model, before, 1)) == {"u0000": ["a"]}
    assert lists(predict(model, before, 2)) == {"u0000": ["a", "b"]}
    assert set(lists(predict(model, after, 2))["u0000"]) == {"c", "d"}


def test_another_catalogue():
    model = fit(matrix(bought("ab", "abc", "bc", "ac"), 4, letters(3)))
    plain = grid(model, matrix(bought("ab"), 1, letters(3)))
    # Items stand elsewhere, `b` has gone and `new` has come.
    found = grid(model, matrix([(0, 1, "purchase", 1, 0.0)], 1, ["0", "a", "c", "new"]))
    alone = grid(model, matrix(bought("a"), 1, letters(3)))
    assert found[0, [1, 2]].tolist() == pytest.approx(alone[0, [0, 2]].tolist(), abs=1e-12)
    assert found[0, [0, 3]].tolist() == [-np.inf, -np.inf]
    assert np.isfinite(plain).all()


def test_items_without_a_counted_event_have_no_score():
    pairs = [*bought("ab", "ab"), (0, 2, "search", 1, 0.0)]
    data = matrix(pairs, 2, letters(3))
    model = fit(data)
    assert model.items_.to_list() == ["a", "b"]
    assert (grid(model, data)[:, 2] == -np.inf).all()


def test_what_was_had_before_gets_its_weight_on_top():
    train = matrix(bought("ab", "abc", "bc", "ac"), 4, letters(3))
    pairs = [(0, 0, "purchase", 3, 0.0), (0, 3, "purchase", 1, 0.0), (1, 3, "cart", 1, 0.0)]
    asked = matrix(pairs, 2, [*letters(3), "new"])
    bare, found = grid(fit(train), asked), grid(fit(train, repeat_weight=2.0), asked)
    assert found[0, :3].tolist() == (bare[0, :3] + [4.0, 0, 0]).tolist()
    assert found[0, 3] == 2.0
    assert found[1].tolist() == [-np.inf, -np.inf, -np.inf, 1.0]


# ---- confidences


def test_confidences_by_hand():
    pairs = [
        (0, 0, "purchase", 1, 0.0),
        (0, 1, "purchase", 3, 6.0),
        (0, 1, "view", 7, 12.0),
        (1, 0, "view", 1, 0.0),
        (1, 2, "gaze", 9, 0.0),
    ]
    model = make("als", event_weights={"view": 0.4, "purchase": 1.0}, half_life="6d")
    assert isinstance(model, Als)
    found = model.confidences(matrix(pairs, 2, letters(3)))
    assert found.toarray().tolist() == [[1.0, 2 / 2 + 0.4 * 3 / 4, 0.0], [0.4, 0.0, 0.0]]


def test_events_of_ages_ago_are_none():
    data = matrix([*bought("ab", "ab"), (0, 2, "purchase", 1, 1e6)], 2, letters(3))
    assert fit(data, half_life="1d").items_.to_list() == ["a", "b"]


# ---- settings


def test_the_surer_nothing_means_no_the_lower_the_scores():
    data = matrix(seldom(np.random.default_rng(0), 40, 20), 40, letters(20))
    had = fit(data).confidences(data).toarray() > 0
    unseen = ~had & had.any(axis=1)[:, None]
    means = [grid(fit(data, unobserved_weight=w, reg_exponent=0.0), data)[unseen].mean() for w in (0.01, 1.0)]
    assert means[0] > 2 * means[1]


def test_with_the_exponent_popular_items_are_held_tighter():
    data = matrix(seldom(np.random.default_rng(0), 60, 20), 60, letters(20))
    n_users = np.bincount(fit(data).confidences(data).indices)
    popular, rare = np.argmax(n_users), np.argmin(n_users)
    lengths = []
    for exponent in (0.0, 1.0):
        # The same penalty for an item of 20 users, of 60.
        reg = 1.0 / (20 + 0.1 * 60) ** exponent
        squared = np.square(fit(data, reg=reg, reg_exponent=exponent).known_.factors).sum(axis=1)
        lengths.append(squared[popular] / squared[rare])
    assert lengths[1] < 0.8 * lengths[0]


# ---- size and order


@pytest.fixture
def in_small_blocks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(least_squares, "_BLOCK_NUMBERS", 300)
    monkeypatch.setattr(dense, "_MOST_BLOCKS", 1)
    return


@pytest.mark.usefixtures("in_small_blocks")
@pytest.mark.parametrize("options", [ONCE, RATING])
def test_neither_block_size_nor_threads_change_anything(
    options: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    data = stars(np.random.default_rng(1), 60, 25)
    found = []
    for name, threads in (("blocks", 3), ("whole", 1)):
        with threadpool_limits(2 if threads == 3 else 1):
            model = make("als", factors=8).fit([data], [], replace(options, threads=threads))
            assert isinstance(model, Als)
            (tmp_path / name).mkdir()
            model.save(tmp_path / name)
            found.append(grid(model, data))
        monkeypatch.undo()
    for file in ("als.json", "als.npz"):
        assert (tmp_path / "blocks" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()
    assert found[0].tobytes() == found[1].tobytes()


@pytest.mark.parametrize("n_items", [30, 300, 3_000])
def test_many_users_get_the_scores_that_each_would_get_alone(n_items: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(dense, "BLOCK_SCORES", 100_000)
    rng = np.random.default_rng(2)
    items = [f"i{n:04d}" for n in range(n_items)]
    many = matrix(seldom(rng, 700, n_items, 8 / n_items), 700, items)
    model = fit(many, factors=16, iterations=1)
    together = list(model.scores(many))
    assert all(scores.size <= 100_000 + n_items for _, scores in together)
    whole = dict(zip(many.asked.tolist(), np.concatenate([scores for _, scores in together]), strict=True))
    for user in (0, 1, 32, 33, 511, 512, 699):
        alone = replace(many, users=many.users.with_columns(is_asked=pl.int_range(pl.len()) == user))
        assert grid(model, alone)[0].tobytes() == whole[user].tobytes()


def test_blas_is_left_as_it_was():
    data = matrix(bought("ab", "abc"), 2, letters(3))
    from threadpoolctl import threadpool_info

    def blas() -> list[int]:
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    before = blas()
    for _ in fit(data).scores(data):
        assert blas() == before


# ---- ratings


def stars(rng: np.random.Generator, n_users: int, n_items: int, share: float = 0.4) -> MatrixInput:
    """Ratings from 2 to 4 by taste: half of the users like the first half of the items, the others the rest."""
    user, item = np.nonzero(rng.random((n_users, n_items)) < share)
    likes = (user < n_users / 2) == (item < n_items / 2)
    rating = np.clip(np.where(likes, 4, 2) + rng.normal(0, 0.5, user.size), 2, 4)
    pairs = [(int(u), int(i), "rating", 1, 0.0) for u, i in zip(user, item, strict=True)]
    data = matrix(pairs, n_users, [f"i{n:03d}" for n in range(n_items)])
    types = pl.lit("rating"), pl.lit("purchase")
    events = data.pairs.with_columns(rating=pl.Series(rating, dtype=pl.Float32))
    return replace(
        data,
        pairs=events.with_columns(
            event_type=pl.when(pl.col("user") % 2 == 0).then(types[0]).otherwise(types[1])
        ),
    )


def rater(data: MatrixInput, **settings: Any) -> Als:
    model = make("als", **{"factors": 4, "iterations": 4} | settings).fit([data], [], RATING)
    assert isinstance(model, Als)
    return model


def all_pairs(data: MatrixInput) -> pl.DataFrame:
    user, item = np.indices((data.users.height, data.items.height)).reshape(2, -1)
    return pl.DataFrame({"user": user, "item": item}, {"user": pl.UInt32, "item": pl.UInt32})


def slow_ratings(data: MatrixInput, n_factors: int, iterations: int, reg: float) -> Dense:
    known = rated(data)
    user, item = known["user"].to_numpy(), known["item"].to_numpy()
    biases = Biases.of_rated(data, known)
    shape = (data.users.height, data.items.height)
    left, is_known = np.zeros(shape), np.zeros(shape, bool)
    left[user, item], is_known[user, item] = known["rating"].to_numpy() - biases.of(user, item), True
    items = np.random.default_rng(ONCE.seed).normal(0, 0.1 / np.sqrt(n_factors), (shape[1], n_factors))

    def half(other: Dense, own: Dense, mask: NDArray[np.bool_]) -> Dense:
        rows = []
        for x, m in zip(own, mask, strict=True):
            y = other[m]
            rows.append(np.linalg.solve(y.T @ y + reg * m.sum() * np.eye(n_factors), y.T @ x[m]))
        return np.array(rows)

    for _ in range(iterations):
        users = half(items, left, is_known)
        items = half(users, left.T, is_known.T)
    scores: Dense = biases.grid(np.arange(shape[0])) + half(items, left, is_known) @ items.T
    return scores


@pytest.mark.parametrize(("n_factors", "reg"), [(3, 0.001), (20, 0.01)])
def test_ratings_like_a_direct_solve(n_factors: int, reg: float):
    data = stars(np.random.default_rng(0), 40, 30)
    assert (np.bincount(rated(data)["item"].to_numpy()) > 0).all()
    expected = slow_ratings(data, n_factors, 4, reg)
    model = rater(data, factors=n_factors, rating_reg=reg)
    np.testing.assert_allclose(grid(model, data), expected, rtol=0, atol=1e-9)
    found = model.ratings(data, all_pairs(data)).reshape(expected.shape)
    known = rated(data)["rating"]
    np.testing.assert_allclose(found, expected.clip(known.min(), known.max()), rtol=0, atol=1e-9)  # type: ignore[call-overload]
    assert (expected > known.max()).any(), "some are clipped"


def test_ratings_follow_taste():
    data = stars(np.random.default_rng(0), 80, 30)
    found = rater(data).ratings(data, all_pairs(data)).reshape(80, 30)
    assert min(found[:40, :15].mean(), found[40:, 15:].mean()) > 3.3
    assert max(found[:40, 15:].mean(), found[40:, :15].mean()) < 2.7


def test_what_is_not_known_is_left_to_the_biases():
    train = stars(np.random.default_rng(0), 40, 30)
    # Of three new users, one has rated what the model knows, one an item that is new, one nothing.
    items = [*train.items["item_id"].to_list(), "new"]
    asked = matrix([(0, 2, "rating", 1, 0.0), (1, 30, "rating", 1, 0.0)], 3, items)
    asked = replace(asked, pairs=asked.pairs.with_columns(rating=pl.Series([5.0, 2.0], dtype=pl.Float32)))
    model = rater(train)
    found = model.ratings(asked, all_pairs(asked)).reshape(3, 31)
    biases = Biases.of_rated(asked, rated(asked)).grid([0, 1, 2]).clip(2, 5)
    np.testing.assert_allclose(found[1:], biases[1:], rtol=0, atol=1e-12)
    assert found[0, 30] == pytest.approx(biases[0, 30])
    assert (np.abs(found[0, :30] - biases[0, :30]) > 1e-4).sum() > 20


def test_a_rating_as_expected_is_a_rating():
    # With one rating, the biases leave exactly nothing of it; it holds the factors at zero all the same.
    data = matrix([(0, 0, "rating", 1, 0.0)], 1, letters(1))
    data = replace(data, pairs=data.pairs.with_columns(rating=pl.lit(4.0, pl.Float32)))
    model = rater(data)
    assert model.items_.to_list() == ["a"]
    assert grid(model, data).tolist() == [[4.0]]


def test_pairs_come_back_in_their_order():
    data = stars(np.random.default_rng(0), 40, 30)
    model, pairs = rater(data), all_pairs(data)
    shuffled = pairs.with_row_index("place").sample(200, shuffle=True, seed=0)
    whole = model.ratings(data, pairs)
    assert model.ratings(data, shuffled).tolist() == whole[shuffled["place"].to_numpy()].tolist()
    assert model.ratings(data, pairs.clear()).size == 0


def test_what_was_learned_of_ratings_is_stored(tmp_path: Path):
    data = stars(np.random.default_rng(0), 40, 30)
    model = rater(data)
    model.save(tmp_path)
    loaded = Als.load(tmp_path, model.config)
    assert loaded.is_rated_
    assert loaded.ratings(data, all_pairs(data)).tobytes() == model.ratings(data, all_pairs(data)).tobytes()
    assert grid(loaded, data).tobytes() == grid(model, data).tobytes()


# ---- who is alike


def cosines(factors: Dense) -> Dense:
    exact = factors.astype(float)
    norms = np.sqrt((exact**2).sum(axis=1))
    found: Dense = exact @ exact.T / np.outer(norms, norms)
    return found


def slow_alike(similarity: Dense, names: list[str], listed: list[str], n: int) -> list[tuple[str, str]]:
    found = []
    for row, name in zip(similarity, names, strict=True):
        near = [(-value, other) for value, other in zip(row, names, strict=True) if value > 0]
        near = sorted((value, other) for value, other in near if other != name and other in listed)
        found += [(name, other) for _, other in near[:n]]
    return found


@pytest.mark.parametrize("scores", [1, 50, 10**6])
def test_similar_items(scores: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(dense, "BLOCK_SCORES", scores)
    data = matrix(seldom(np.random.default_rng(0), 60, 20), 60, letters(20))
    model = fit(data)
    listed = [*letters(15), "unheard"]
    found = pl.concat(list(model.similar_items(4, pl.Series("item_id", listed))))
    assert found.schema == {
        "item_id": pl.String,
        "similar_item_id": pl.String,
        "similarity": pl.Float64,
    }
    near = cosines(model.known_.factors)
    assert found.select("item_id", "similar_item_id").rows() == slow_alike(near, letters(20), listed, 4)
    for item, other, similarity in found.rows()[::5]:
        assert similarity == pytest.approx(near[letters(20).index(item), letters(20).index(other)], abs=1e-9)


def test_similar_users():
    # Even users buy from a to d, odd ones from e to h; the last one bought nothing.
    rng = np.random.default_rng(0)
    baskets = [
        "".join(rng.choice(list("abcd" if n % 2 == 0 else "efgh"), 3, replace=False)) for n in range(20)
    ]
    data = matrix(bought(*baskets), 21, letters(8), asked=[0, 1, 5, 20])
    model = fit(data, factors=2)
    frames = list(model.similar_users(data, 5))
    found = pl.concat(frames)
    assert found.schema == {"user_id": pl.String, "similar_user_id": pl.String, "similarity": pl.Float64}
    assert found["user_id"].unique(maintain_order=True).to_list() == ["u0000", "u0001", "u0005"]
    for user, other, similarity in found.rows():
        assert user != other
        assert int(user[1:]) % 2 == int(other[1:]) % 2
        assert 0.9 < similarity <= 1 + 1e-9
    assert found["user_id"].value_counts()["count"].to_list() == [5, 5, 5]


# ---- refusals


@pytest.mark.parametrize("pairs", [[], [(0, 0, "search", 3, 1.0)]])
def test_no_event_to_learn_from(pairs: list[Pair]):
    with pytest.raises(DataError) as caught:
        fit(matrix(pairs, 1, letters(1)), event_weights={"view": 0.2, "purchase": 1.0})
    assert str(caught.value) == (
        "als has no events to learn from: none of view, purchase occurs with an item; "
        "set model.event_weights to the log's event types"
    )


def test_no_rating_to_learn_from():
    with pytest.raises(DataError, match=r"^no item was rated before 2024-03-01 00:00 UTC"):
        rater(matrix(bought("ab"), 1, letters(2)))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"spectrum": np.zeros(5)}, r"spectrum is no array of floats of the shape \(6,\)"),
        ({"factors": np.zeros((3, 6), np.float32)}, r"factors is no array of floats of the shape \(2, 6\)"),
        ({"factors": np.zeros((2, 6), np.int64)}, r"factors is no array of floats of the shape \(2, 6\)"),
    ],
)
def test_arrays_of_another_shape_are_refused(changes: dict[str, Any], why: str, tmp_path: Path):
    model = fit(matrix(bought("ab", "ab"), 2, letters(2)))
    model.save(tmp_path)
    save_arrays(tmp_path / "als.npz", **load_arrays(tmp_path / "als.npz") | changes)
    with pytest.raises(ArtifactError, match=rf"als\.npz was refused: {why}; train again, or take the folder"):
        Als.load(tmp_path, model.config)


def test_what_is_predicted_must_be_told(tmp_path: Path):
    model = fit(matrix(bought("ab", "ab"), 2, letters(2)))
    model.save(tmp_path)
    save_json(tmp_path / "als.json", load_json(tmp_path / "als.json") | {"is_rated": 1})
    with pytest.raises(
        ArtifactError, match=r"als\.json was refused: is_rated is neither true nor false; train"
    ):
        Als.load(tmp_path, model.config)


def test_a_seed_is_a_start(tmp_path: Path):
    data = matrix(seldom(np.random.default_rng(0), 40, 20), 40, letters(20))
    one = make("als", **BARE).fit([data], [], ONCE)
    two = make("als", **BARE).fit([data], [], replace(ONCE, seed=1))
    assert isinstance(one, Als)
    assert isinstance(two, Als)
    assert not np.array_equal(np.abs(one.known_.factors), np.abs(two.known_.factors))
    assert_frame_equal(predict(one, data, 5), predict(make("als", **BARE).fit([data], [], ONCE), data, 5))
