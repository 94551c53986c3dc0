"""Boosted trees against a bare LightGBM call."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import polars as pl
import pytest
from planted import ONCE, RFM, customers, make, table

from ecbehave.errors import ArtifactError
from ecbehave.inputs.types import TableInput
from ecbehave.models.protocol import Options

SETTINGS: dict[str, Any] = {
    "learning_rate": 0.2,
    "max_trees": 80,
    "patience": 15,
    "leaves": 5,
    "min_rows_per_leaf": 7,
    "feature_share": 0.6,
    "row_share": 0.7,
    "l2": 2.5,
}


def bare(
    train: TableInput, valid: TableInput | None, n_trees: int, options: Options, **changes: Any
) -> lgb.Booster:
    parameters = {
        "objective": "binary",
        "metric": "binary_logloss",
        "learning_rate": 0.2,
        "num_leaves": 5,
        "min_data_in_leaf": 7,
        "feature_fraction": 0.6,
        "bagging_fraction": 0.7,
        "bagging_freq": 1,
        "lambda_l2": 2.5,
        "seed": options.seed,
        "num_threads": options.threads,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    } | changes
    data = lgb.Dataset(train.values, train.label)
    if valid is None:
        return lgb.train(parameters, data, n_trees)
    sets = [data.create_valid(valid.values, valid.label)]
    return lgb.train(parameters, data, n_trees, sets, callbacks=[lgb.early_stopping(15, verbose=False)])


def raw(booster: lgb.Booster, asked: TableInput, n_trees: int) -> np.ndarray:
    return booster.predict(asked.values, num_iteration=n_trees, raw_score=True)


def noisy(seed: int) -> TableInput:
    """Customers of whom a quarter have the label by chance, so that trees can learn too much; a tenth is unknown."""
    data, rng = customers(600, seed), np.random.default_rng(seed)
    label = np.where(rng.random(600) < 0.25, rng.integers(0, 2, 600), data.label)
    hidden = pl.Series(rng.random(600) < 0.1)
    frame = data.frame.with_columns(
        pl.Series("label", label, pl.Int8), recency_days_purchase_all=pl.when(~hidden).then(RFM[0])
    )
    return replace(data, frame=frame)


def flipped(data: TableInput) -> TableInput:
    return replace(data, frame=data.frame.with_columns(label=1 - pl.col("label")))


@pytest.mark.parametrize("options", [Options(seed=0, threads=1), Options(seed=5, threads=2)], ids=str)
def test_equals_a_bare_call(options: Options):
    parts, valid, asked = [noisy(0), noisy(1)], noisy(2), noisy(3)
    model = make("boosting", **SETTINGS).fit(parts, [valid], options)
    booster = bare(TableInput.concat(parts), valid, 80, options)
    assert model.n_trees_ == booster.best_iteration
    assert 1 < model.n_trees_ < 80 - 15
    score = model.predict(asked, 0)["score"].to_numpy()
    np.testing.assert_array_equal(score, raw(booster, asked, booster.best_iteration))


def test_all_rows_in_every_tree():
    model = make("boosting", **SETTINGS | {"row_share": 1.0}).fit([noisy(0)], [noisy(1)], ONCE)
    booster = bare(noisy(0), noisy(1), 80, ONCE, bagging_fraction=1.0, bagging_freq=0)
    score = model.predict(noisy(2), 0)["score"].to_numpy()
    np.testing.assert_array_equal(score, raw(booster, noisy(2), booster.best_iteration))


def test_the_seed_decides_which_rows_and_features_a_tree_sees():
    scores = [
        make("boosting", **SETTINGS).fit([noisy(0)], [noisy(1)], Options(seed, 1)).predict(noisy(2), 0)
        for seed in (0, 1)
    ]
    assert not scores[0].equals(scores[1])


def test_stops_where_the_validation_window_says():
    good = make("boosting", **SETTINGS).fit([noisy(0)], [noisy(1)], ONCE)
    # Against the opposite labels every tree makes the loss worse, so the first is the best.
    bad = make("boosting", **SETTINGS).fit([noisy(0)], [flipped(noisy(1))], ONCE)
    assert (bad.n_trees_, good.n_trees_ > 1) == (1, True)


def test_all_validation_cutoffs_have_a_say():
    both = make("boosting", **SETTINGS).fit([noisy(0)], [noisy(1), noisy(2)], ONCE)
    booster = bare(noisy(0), TableInput.concat([noisy(1), noisy(2)]), 80, ONCE)
    assert both.n_trees_ == booster.best_iteration
    assert both.n_trees_ != make("boosting", **SETTINGS).fit([noisy(0)], [noisy(1)], ONCE).n_trees_


def test_trees_after_the_best_one_are_not_stored(tmp_path: Path):
    model = make("boosting", **SETTINGS).fit([noisy(0)], [noisy(1)], ONCE)
    model.save(tmp_path)
    text = (tmp_path / "trees.txt").read_text(encoding="utf-8")
    assert text.count("\nTree=") == model.n_trees_ < 80


def test_a_refit_grows_as_many_trees_as_the_first_fit_kept():
    model = make("boosting", **SETTINGS).fit([noisy(0)], [noisy(1)], ONCE)
    n_trees, everything = model.n_trees_, [noisy(0), noisy(1), noisy(2)]
    score = model.fit(everything, [], ONCE).predict(noisy(3), 0)["score"].to_numpy()
    assert model.n_trees_ == model.booster_.current_iteration() == n_trees
    np.testing.assert_array_equal(
        score, raw(bare(TableInput.concat(everything), None, n_trees, ONCE), noisy(3), n_trees)
    )


def test_without_any_validation_window_it_grows_all_trees():
    model = make("boosting", **SETTINGS).fit([noisy(0)], [], ONCE)
    assert model.n_trees_ == model.booster_.current_iteration() == 80


def test_too_few_rows_for_a_split_leave_the_base_rate():
    train = noisy(0)
    model = make("boosting", **SETTINGS | {"min_rows_per_leaf": 1000}).fit([train], [noisy(1)], ONCE)
    rate = train.label.mean()
    assert set(model.predict(noisy(2), 0)["score"].round(9)) == {round(math.log(rate / (1 - rate)), 9)}
    assert model.importance() == dict.fromkeys(train.features, 0.0)
    assert not model.contributions(noisy(2))[:, :-1].any()


def test_contributions_and_importance_point_at_what_matters():
    rng = np.random.default_rng(0)
    matters, noise = rng.normal(size=800), rng.normal(size=800)
    train = table({"matters": matters.tolist(), "noise": noise.tolist()}, (matters > 0).astype(int).tolist())
    model = make("boosting", **SETTINGS | {"feature_share": 1.0}).fit([train], [train], ONCE)
    assert model.importance()["matters"] > 0.95
    drivers = model.contributions(train)
    np.testing.assert_allclose(drivers.sum(axis=1), model.predict(train, 0)["score"], rtol=0, atol=1e-6)
    assert (np.sign(drivers[:, 0]) == np.sign(matters)).all()
    assert np.abs(drivers[:, 1]).max() < np.abs(drivers[:, 0]).min()


def test_threads_are_not_part_of_the_model(tmp_path: Path):
    make("boosting", **SETTINGS).fit([noisy(0)], [noisy(1)], Options(0, 2)).save(tmp_path)
    text = (tmp_path / "trees.txt").read_text(encoding="utf-8")
    assert "[learning_rate: 0.2]" in text
    assert "num_threads" not in text


def test_text_that_holds_no_trees(tmp_path: Path):
    model = make("boosting", **SETTINGS).fit([noisy(0)], [noisy(1)], ONCE)
    model.save(tmp_path)
    (tmp_path / "trees.txt").write_text("tree\nversion=v4\n", encoding="utf-8")
    with pytest.raises(
        ArtifactError, match=rf"^model file {tmp_path}/trees\.txt was refused: .*; train again"
    ):
        type(model).load(tmp_path, model.config)
