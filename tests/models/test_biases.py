"""Means of users and items, and what counts as a rating."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from planted import CUTOFF, matrix

from ecbehave.errors import DataError
from ecbehave.inputs.types import MatrixInput
from ecbehave.models.cf.biases import EPOCHS, ITEM_DAMPING, USER_DAMPING, Biases, clipped, rated


def of_ratings(rows: list[tuple[int, int, float]], n_users: int, n_items: int) -> Biases:
    user, item, rating = zip(*rows, strict=True)
    return Biases.fit(user, item, rating, n_users, n_items)


def with_ratings(
    pairs: list[tuple[int, int, str, float, float | None]], n_users: int, n_items: int
) -> MatrixInput:
    """Pairs of user, item, event type, days since, rating."""
    data = matrix(
        [(u, i, event, 1, days) for u, i, event, days, _ in pairs], n_users, [f"i{n}" for n in range(n_items)]
    )
    ratings = pl.Series("rating", [r for *_, r in pairs], pl.Float32)
    return replace(data, pairs=data.pairs.with_columns(ratings))


def written_out(
    rows: list[tuple[int, int, float]], n_users: int, n_items: int
) -> tuple[float, list[float], list[float]]:
    """The same means, rating by rating: items with users held fixed, then users with items held fixed."""
    mean = sum(r for *_, r in rows) / len(rows)
    by_user, by_item = [0.0] * n_users, [0.0] * n_items
    for _ in range(EPOCHS):
        for item in range(n_items):
            off = [r - mean - by_user[u] for u, i, r in rows if i == item]
            by_item[item] = sum(off) / (ITEM_DAMPING + len(off))
        for user in range(n_users):
            off = [r - mean - by_item[i] for u, i, r in rows if u == user]
            by_user[user] = sum(off) / (USER_DAMPING + len(off))
    return mean, by_user, by_item


def test_biases_are_those_written_out():
    rng = np.random.default_rng(0)
    cells = rng.permutation(12 * 9)[:60]
    rows = [(int(c // 9), int(c % 9), float(rng.integers(1, 6))) for c in cells]
    found, (mean, by_user, by_item) = of_ratings(rows, 14, 10), written_out(rows, 14, 10)
    assert found.mean == pytest.approx(mean)
    assert found.user == pytest.approx(by_user)
    assert found.item == pytest.approx(by_item)
    # Nobody rated the last item, and the last users rated nothing.
    assert found.item[9] == found.user[12] == found.user[13] == 0


def test_a_planted_grid_is_found_again_where_there_is_much_to_learn_from():
    users, items = np.linspace(-1, 1, 400), np.linspace(-1.5, 1.5, 300)
    user, item = (a.ravel() for a in np.meshgrid(np.arange(400), np.arange(300), indexing="ij"))
    found = Biases.fit(user, item, 3 + users[user] + items[item], 400, 300)
    assert found.mean == pytest.approx(3)
    np.testing.assert_allclose(found.user, users, atol=0.06)
    np.testing.assert_allclose(found.item, items, atol=0.06)


def test_few_ratings_stay_near_the_mean():
    found = of_ratings(
        [(0, 0, 5.0), *[(u, 1, 5.0) for u in range(40)], *[(u, 2, 1.0) for u in range(40)]], 40, 3
    )
    assert 0 < found.item[0] < found.item[1] / 4


def test_pairs_and_the_grid_say_the_same():
    found = of_ratings([(0, 0, 5.0), (1, 1, 2.0), (1, 2, 4.0)], 3, 4)
    grid = found.grid(np.array([2, 0]))
    assert grid.shape == (2, 4)
    assert found.of([2] * 4, range(4)).tolist() == grid[0].tolist()
    assert found.of(pl.Series([0], dtype=pl.UInt32), pl.Series([1], dtype=pl.UInt32))[0] == grid[1, 1]
    assert grid[0, 3] == found.mean


def test_without_a_rating_everything_is_zero():
    found = Biases.fit([], [], [], 2, 1)
    assert (found.mean, found.user.tolist(), found.item.tolist()) == (0.0, [0.0, 0.0], [0.0])


def test_the_last_rating_counts_whatever_its_type():
    pairs = [
        (1, 0, "review", 2.0, 4.0),
        (1, 0, "rating", 9.0, 1.0),
        (0, 1, "rating", 3.0, 2.0),
        (0, 1, "review", 3.0, 5.0),
        (0, 1, "purchase", 1.0, None),
        (0, 0, "view", 1.0, None),
    ]
    found = rated(with_ratings(pairs, 2, 2))
    assert found.rows() == [(0, 1, 5.0), (1, 0, 4.0)]
    assert found.schema == {"user": pl.Int64, "item": pl.Int64, "rating": pl.Float64}
    backwards = rated(with_ratings(pairs[::-1], 2, 2))
    assert backwards.equals(found)


def test_biases_of_an_input_cover_all_its_users_and_items():
    data = with_ratings([(0, 1, "rating", 3.0, 2.0), (2, 1, "rating", 3.0, 4.0)], 4, 3)
    found = Biases.of_rated(data, rated(data))
    assert (found.mean, found.user.size, found.item.size) == (3.0, 4, 3)
    assert found.user[0] == -found.user[2] == pytest.approx(-1 / (USER_DAMPING + 1))


def test_a_history_without_ratings():
    message = (
        "no item was rated before 2024-03-01 00:00 UTC, so there are no ratings to learn from; map rating in "
        "dataset.sources[].columns, lower split.train, or bring a longer log"
    )
    data = with_ratings([(0, 0, "purchase", 1.0, None)], 1, 1)
    assert data.cutoff == CUTOFF
    with pytest.raises(DataError) as refused:
        rated(data)
    assert str(refused.value) == message


def test_predictions_stay_within_the_scale():
    known = pl.DataFrame({"rating": [2.0, 4.5, 3.0]})
    assert clipped(np.array([1.0, 3.3, 6.0]), known).tolist() == [2.0, 3.3, 4.5]
