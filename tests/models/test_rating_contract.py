"""What holds of every kind that predicts ratings."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from planted import ONCE, make, matrix, raters, visitors

from ecbehave.errors import ConfigError, DataError
from ecbehave.inputs.types import Inputs, MatrixInput
from ecbehave.metrics.rating import errors_of
from ecbehave.models import COMPOSITE, PLAIN, input_types, making, model_class
from ecbehave.models.cf.biases import rated
from ecbehave.models.rating_lists import rating_lists, without_rated

KINDS = [kind for kind in PLAIN if "rating" in model_class(kind).inputs]
BY_TASTE = [kind for kind in KINDS if kind != "mean_rating"]
OPTIONS = replace(ONCE, output="rating")

every_kind = pytest.mark.parametrize("kind", KINDS)


def fitted(kind: str, data: MatrixInput, threads: int = 1):
    return make(kind).fit([data], [], replace(OPTIONS, threads=threads))


def grid(data: MatrixInput) -> pl.DataFrame:
    """Every pair of a user and an item."""
    users, items = (
        pl.DataFrame({name: range(frame.height)}, {name: pl.UInt32}) for name, frame in _sides(data)
    )
    return users.join(items, how="cross")


def _sides(data: MatrixInput):
    return (("user", data.users), ("item", data.items))


@every_kind
def test_ratings_are_within_the_scale_and_in_the_order_of_the_pairs(kind: str):
    data, asked = raters(), raters(seed=2)
    model, pairs = fitted(kind, data), grid(asked)
    found = model.ratings(asked, pairs)
    assert found.dtype == np.float64
    assert np.isfinite(found).all()
    assert (found.min(), found.max()) >= (1, 1)
    assert found.max() <= 5
    order = np.random.default_rng(0).permutation(pairs.height)
    np.testing.assert_allclose(model.ratings(asked, pairs[order]), found[order], rtol=1e-12)
    some = pairs[order[:7]].cast(pl.Int64)
    np.testing.assert_allclose(model.ratings(asked, some), found[order[:7]], rtol=1e-12)
    assert model.ratings(asked, pairs.clear()).shape == (0,)


@every_kind
def test_scores_of_all_items_are_the_ratings_beyond_the_scale_too(kind: str):
    data = raters()
    asked = replace(raters(seed=2), users=data.users.with_columns(is_asked=pl.int_range(pl.len()) % 3 == 0))
    model = fitted(kind, data)
    blocks = list(model.scores(asked))
    assert np.concatenate([users for users, _ in blocks]).tolist() == asked.asked.tolist()
    scores = np.concatenate([block for _, block in blocks])
    assert scores.shape == (asked.asked.size, asked.items.height)
    pairs = grid(asked).filter(pl.col("user").is_in(asked.asked.tolist()))
    np.testing.assert_allclose(np.clip(scores.ravel(), 1, 5), model.ratings(asked, pairs), rtol=1e-9)


@every_kind
def test_lists_leave_out_what_was_rated_and_what_is_barred(kind: str):
    data = raters()
    model, k = fitted(kind, data), 3
    open_ = without_rated(data)
    listed = pl.concat(rating_lists(open_, model.scores(data), k))
    numbered = listed.join(data.users.with_row_index("user"), on="user_id").join(
        data.items.with_row_index("item"), on="item_id"
    )
    known = rated(data)
    assert numbered.select("user", "item").cast(pl.Int64).join(known, on=["user", "item"]).is_empty()
    assert numbered.group_by("user").len()["len"].to_list() == [k] * data.users.height
    expected = model.ratings(data, numbered.select("user", "item"))
    np.testing.assert_allclose(numbered["score"].to_numpy(), expected, rtol=1e-9)
    falls = numbered.select(pl.col("score").diff().over("user")).drop_nulls().to_series()
    assert (falls <= 0).all()
    # What is barred for another reason stays so.
    no_first = replace(
        data, barred=data.csr(pl.DataFrame({"user": range(24), "item": [0] * 24}), np.ones(24))
    )
    assert "i00" not in pl.concat(rating_lists(without_rated(no_first), model.scores(data), 9))["item_id"]


@every_kind
def test_through_the_one_way_for_stages(kind: str, tmp_path: Path):
    data = raters()
    config = make(kind).config
    model = making.make(config, "rating").fit([Inputs(data.cutoff, matrix=data)], [], OPTIONS)
    inputs, pairs = Inputs(data.cutoff, matrix=without_rated(data)), grid(data)
    plain = fitted(kind, data)
    np.testing.assert_array_equal(model.ratings(inputs, pairs), plain.ratings(data, pairs))
    lists = model.lists(inputs, 3)
    assert lists.equals(pl.concat(rating_lists(without_rated(data), plain.scores(data), 3)))
    model.save(tmp_path)
    loaded = making.load(tmp_path, config, "rating")
    np.testing.assert_array_equal(loaded.ratings(inputs, pairs), model.ratings(inputs, pairs))
    assert loaded.lists(inputs, 3).equals(lists)


@every_kind
def test_order_of_rows_and_threads_change_nothing(kind: str):
    data = raters()
    shuffled = replace(data, pairs=data.pairs.sample(fraction=1, shuffle=True, seed=3))
    assert not shuffled.pairs.equals(data.pairs)
    first = fitted(kind, data).ratings(data, grid(data))
    np.testing.assert_array_equal(fitted(kind, shuffled).ratings(shuffled, grid(data)), first)
    np.testing.assert_array_equal(fitted(kind, data, threads=2).ratings(data, grid(data)), first)


@every_kind
def test_users_and_items_without_a_rating_get_the_usual_one(kind: str):
    bought = matrix(
        [(0, 0, "rating", 1, 3.0), (1, 1, "purchase", 1, 2.0)], n_users=2, items=["brand new", "i03"]
    )
    asked = replace(bought, pairs=bought.pairs.with_columns(pl.Series("rating", [4.0, None], pl.Float32)))
    found = fitted(kind, raters()).ratings(asked, grid(asked))
    assert found[3] == 4.0  # neither has a rating: the mean of all


@pytest.mark.parametrize("kind", BY_TASTE)
def test_taste_is_learned_beyond_the_means(kind: str):
    data = raters(n_users=80, n_items=16)
    known = rated(data).with_columns(part=pl.int_range(pl.len()) % 4)
    hidden = known.filter(part=0)
    pairs = data.pairs.join(
        hidden.select(pl.col("user", "item").cast(pl.UInt32)),
        on=["user", "item"],
        how="anti",
        maintain_order="left",
    )
    left = replace(data, pairs=pairs)
    errors = {
        k: errors_of(
            hidden.with_columns(predicted=fitted(k, left).ratings(left, hidden.select("user", "item")))
        )
        for k in (kind, "mean_rating")
    }
    assert errors[kind]["rmse"] < 0.8 * errors["mean_rating"]["rmse"]
    assert errors[kind]["mae"] < 0.8 * errors["mean_rating"]["mae"]


@every_kind
def test_a_history_without_ratings_cannot_teach(kind: str):
    with pytest.raises(
        DataError, match=r"^no item was rated before 2024-03-01 00:00 UTC, so there are no ratings"
    ):
        fitted(kind, visitors())


@pytest.mark.parametrize("kind", ["rfm", "popularity", *COMPOSITE])
def test_who_predicts_no_ratings_is_told_who_does(kind: str):
    config = model_class(kind).config_class.model_validate(
        {"kind": kind}
        | (
            {"members": [{"kind": "boosting"}, {"kind": "logistic"}]}
            if kind in ("voting", "stacking")
            else {}
        )
    )
    with pytest.raises(ConfigError) as caught:
        input_types(config, "preference with feedback: explicit", "rating", "model")
    assert str(caught.value) == (
        f"model.kind: {kind} does not serve the task preference with feedback: explicit; these do: {', '.join(KINDS)}"
    )
