"""The rule to beat where ratings are predicted."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from planted import ONCE, make, matrix, raters, visitors

from ecbehave.errors import DataError
from ecbehave.models.cf.biases import Biases, rated
from ecbehave.models.rating_lists import rating_lists, without_rated
from ecbehave.models.top_k import lists_of


def test_a_rating_is_that_of_the_biases_within_the_scale():
    data = raters()
    model = make("mean_rating").fit([data], [], ONCE)
    known = rated(data)
    biases = Biases.of_rated(data, known)
    pairs = pl.DataFrame({"user": [3, 0, 3], "item": [1, 2, 0]}, {"user": pl.UInt32, "item": pl.UInt32})
    expected = [biases.mean + biases.user[u] + biases.item[i] for u, i in pairs.rows()]
    assert model.ratings(data, pairs).tolist() == pytest.approx(np.clip(expected, 1, 5).tolist())


def test_scores_of_all_items_are_those_of_the_pairs():
    data = raters()
    model = make("mean_rating").fit([data], [], ONCE)
    biases = Biases.of_rated(data, rated(data))
    blocks = list(model.scores(data))
    assert np.concatenate([users for users, _ in blocks]).tolist() == data.asked.tolist()
    np.testing.assert_array_equal(np.concatenate([scores for _, scores in blocks]), biases.grid(data.asked))


def test_scores_do_not_change_with_the_size_of_blocks(monkeypatch: pytest.MonkeyPatch):
    data = raters()
    model = make("mean_rating").fit([data], [], ONCE)
    whole = lists_of(data, model.scores(data), 5)
    monkeypatch.setattr("ecbehave.models.baseline.mean_rating._BLOCK_VALUES", 3 * data.items.height)
    assert len(list(model.scores(data))) == -(-data.asked.size // 3)
    assert lists_of(data, model.scores(data), 5).equals(whole)


def test_a_log_without_ratings_cannot_teach():
    with pytest.raises(DataError, match=r"^no item was rated before 2024-03-01 00:00 UTC"):
        make("mean_rating").fit([visitors()], [], ONCE)


def test_scores_go_beyond_the_scale_and_lists_do_not():
    """`u0000` gives everything five stars, `i00` gets five from everybody else; other ratings are ones."""
    pairs = [(0, item, "rating", 1, 9.0) for item in range(1, 30)]
    pairs += [(user, item, "rating", 1, 9.0) for user in range(1, 30) for item in range(2)]
    data = matrix(pairs, 30, [f"i{n:02d}" for n in range(30)])
    stars = [5.0 if user == 0 or item == 0 else 1.0 for user, item, *_ in pairs]
    data = replace(data, pairs=data.pairs.with_columns(pl.Series("rating", stars, pl.Float32)))
    model = make("mean_rating").fit([data], [], ONCE)
    ((_, scores),) = list(model.scores(data))
    assert scores[0, 0] == scores[0].max() > 5
    asked = without_rated(data)
    (listed,) = rating_lists(asked, model.scores(asked), 1)
    assert listed.row(0) == ("u0000", "i00", 5.0)
