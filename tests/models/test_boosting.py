"""Boosted trees against a bare LightGBM call."""

import math
from dataclasses import replace
from datetime import timedelta
from typing import Any

import lightgbm as lgb
import numpy as np
import polars as pl
import pytest
from planted import CUTOFF, ONCE, RFM, customers, make, table
from pydantic import ValidationError

from ecbehave.errors import ConfigError, DataError
from ecbehave.inputs.types import TableInput
from ecbehave.models.ensemble import tree_text
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
    train: TableInput,
    valid: TableInput | None,
    n_trees: int,
    options: Options,
    positive_weight: float = 1.0,
    **changes: Any,
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
    data = lgb.Dataset(train.values, train.label, weight=np.where(train.label == 1, positive_weight, 1.0))
    if valid is None:
        return lgb.train(parameters, data, n_trees)
    weight = np.where(valid.label == 1, positive_weight, 1.0)
    sets = [data.create_valid(valid.values, valid.label, weight=weight)]
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


@pytest.mark.parametrize(
    "options", [Options(seed=0, threads=1), Options(seed=5, threads=2)], ids=["seed 0", "seed 5"]
)
def test_equals_a_bare_call(options: Options):
    parts, valid, asked = [noisy(0), noisy(1)], noisy(2), noisy(3)
    model = make("boosting", **SETTINGS).fit(parts, [valid], options)
    booster = bare(TableInput.concat(parts), valid, 80, options)
    assert model.trees_.n_trees == booster.best_iteration
    assert 1 < model.trees_.n_trees < 80 - 15
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
    assert (bad.trees_.n_trees, good.trees_.n_trees > 1) == (1, True)


def test_all_validation_cutoffs_have_a_say():
    windows = [noisy(2), noisy(3)]
    both = make("boosting", **SETTINGS).fit([noisy(0)], windows, ONCE).trees_.n_trees
    assert both == bare(noisy(0), TableInput.concat(windows), 80, ONCE).best_iteration
    assert both != make("boosting", **SETTINGS).fit([noisy(0)], windows[:1], ONCE).trees_.n_trees


def test_a_refit_grows_as_many_trees_as_the_first_fit_kept():
    model = make("boosting", **SETTINGS).fit([noisy(0)], [noisy(1)], ONCE)
    n_trees, everything = model.trees_.n_trees, [noisy(0), noisy(1), noisy(2)]
    score = model.fit(everything, [], ONCE).predict(noisy(3), 0)["score"].to_numpy()
    assert model.trees_.n_trees == model.trees_.booster.current_iteration() == n_trees
    np.testing.assert_array_equal(
        score, raw(bare(TableInput.concat(everything), None, n_trees, ONCE), noisy(3), n_trees)
    )


def test_without_any_validation_window_it_grows_all_trees():
    model = make("boosting", **SETTINGS).fit([noisy(0)], [], ONCE)
    assert model.trees_.n_trees == model.trees_.booster.current_iteration() == 80


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


# ---- class weights


@pytest.mark.parametrize(("setting", "weight"), [(4.0, 4.0), (0.5, 0.5), ("balanced", None)])
def test_positive_rows_weigh_more_in_train_and_validation(setting: Any, weight: float | None):
    train, valid, asked = noisy(0), noisy(1), noisy(2)
    if weight is None:
        weight = int((train.label == 0).sum()) / int((train.label == 1).sum())
        assert weight != 1
    model = make("boosting", **SETTINGS, positive_weight=setting).fit([train], [valid], ONCE)
    booster = bare(train, valid, 80, ONCE, weight)
    assert model.trees_.n_trees == booster.best_iteration
    score = model.predict(asked, 0)["score"].to_numpy()
    np.testing.assert_array_equal(score, raw(booster, asked, booster.best_iteration))
    assert not np.array_equal(score, raw(bare(train, valid, 80, ONCE), asked, booster.best_iteration))


# ---- monotone constraints


def wavy(n_rows: int = 600, seed: int = 0) -> TableInput:
    """The label follows each of two features up and down again."""
    rng = np.random.default_rng(seed)
    up, down, free = rng.uniform(0, 6, (3, n_rows))
    label = rng.random(n_rows) < 1 / (1 + np.exp(-np.sin(up) - np.sin(down) - np.sin(free)))
    features = {"up": up.tolist(), "down": down.tolist(), "free": free.tolist()}
    return table(features, label.astype(int).tolist())


def along(model: Any, feature: str) -> np.ndarray:
    """Return how the score moves from step to step, while the feature rises and the others stay as they are."""
    steps = np.linspace(0, 6, 200)
    others = {name: [3.0] * 200 for name in ("up", "down", "free")}
    return np.diff(model.predict(table(others | {feature: steps.tolist()}), 0)["score"].to_numpy())


def test_the_score_follows_a_feature_in_the_direction_that_is_set():
    settings = SETTINGS | {"feature_share": 1.0, "min_rows_per_leaf": 20}
    free = make("boosting", **settings).fit([wavy()], [], ONCE)
    for feature in ("up", "down", "free"):
        moves = along(free, feature)
        assert (moves.max() > 0, moves.min() < 0) == (True, True)
    monotone = {"down": "decreasing", "up": "increasing"}
    model = make("boosting", **settings, monotone=monotone).fit([wavy()], [], ONCE)
    assert along(model, "up").min() == 0 < along(model, "up").max()
    assert along(model, "down").max() == 0 > along(model, "down").min()
    moves = along(model, "free")
    assert (moves.max() > 0, moves.min() < 0) == (True, True)


@pytest.mark.parametrize(("name", "hint"), [("frei", "; did you mean 'free'?"), ("amount_purchase_all", ".")])
def test_a_constraint_on_a_feature_that_there_is_not(name: str, hint: str):
    with pytest.raises(ConfigError) as caught:
        make("boosting", monotone={"up": "increasing", name: "increasing"}).fit([wavy()], [], ONCE)
    assert str(caught.value) == (
        f"model.monotone.{name}: the model is given no feature of this name{hint} "
        f"It may have been left out by features.select, or made into other columns; take it out"
    )


# ---- ranking

RANKED = Options(seed=0, threads=1, output="ranking")


def candidates(n_users: int = 60, seed: int = 0, n_candidates: int | None = None) -> TableInput:
    """Each user's candidates at two cutoffs, between 3 and 11 of them; who is nearest is mostly the one chosen.

    Users differ in `level`, which says nothing of the order within one.
    """
    rng = np.random.default_rng(seed)
    cutoffs, users, distance, level, label = [], [], [], [], []
    for cutoff in (CUTOFF, CUTOFF + timedelta(days=14)):
        for user in range(n_users):
            n = n_candidates or int(rng.integers(3, 12))
            near, own = rng.uniform(0, 1, n), rng.uniform(0, 1)
            cutoffs += [cutoff] * n
            users += [user] * n
            distance += (near + own).tolist()
            level += [own] * n
            label += (np.arange(n) == np.argmin(near + rng.normal(0, 0.1, n))).astype(int).tolist()
    plain = table({"distance": distance, "level": level, "noise": rng.uniform(size=len(users))}, label)
    frame = plain.frame.with_columns(
        pl.Series("cutoff", cutoffs, pl.Datetime("us", "UTC")),
        pl.Series("user_hash", users, pl.UInt64),
        user_id=pl.format("u{}", pl.Series(users)),
        item_id=pl.format("i{}", pl.int_range(pl.len()).over(pl.Series(cutoffs), pl.Series(users))),
    )
    return replace(plain, frame=frame)


def sizes(data: TableInput) -> list[int]:
    return data.frame.group_by("cutoff", "user_id", maintain_order=True).len()["len"].to_list()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"rank_depth": 3, "rank_norm": False},
        {"ranking_loss": "xendcg"},
        {"ranking_loss": "xendcg", "rank_depth": 3},
    ],
)
def test_candidates_are_ranked_like_a_bare_call(changes: dict[str, Any]):
    train, valid, asked = candidates(), candidates(seed=1), candidates(seed=2)
    model = make("boosting", **SETTINGS, positive_weight=9.0, **changes).fit([train], [valid], RANKED)
    depth, norm = changes.get("rank_depth", 20), changes.get("rank_norm", True)
    losses: dict[str, dict[str, Any]] = {
        "lambdarank": {
            "objective": "lambdarank",
            "lambdarank_truncation_level": depth,
            "lambdarank_norm": norm,
        },
        "xendcg": {"objective": "rank_xendcg"},
    }
    parameters = losses[changes.get("ranking_loss", "lambdarank")] | {
        "metric": "ndcg",
        "eval_at": [depth],
        "learning_rate": 0.2,
        "num_leaves": 5,
        "min_data_in_leaf": 7,
        "feature_fraction": 0.6,
        "bagging_fraction": 0.7,
        "bagging_freq": 1,
        "lambda_l2": 2.5,
        "seed": 0,
        "num_threads": 1,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }
    data = lgb.Dataset(train.values, train.label, group=sizes(train))
    later = data.create_valid(valid.values, valid.label, group=sizes(valid))
    booster = lgb.train(parameters, data, 80, [later], callbacks=[lgb.early_stopping(15, verbose=False)])
    assert model.trees_.n_trees == booster.best_iteration
    score = model.predict(asked, 0)["score"].to_numpy()
    np.testing.assert_array_equal(score, raw(booster, asked, booster.best_iteration))


@pytest.mark.parametrize("loss", ["lambdarank", "xendcg"])
def test_the_chosen_candidate_comes_first_and_what_users_differ_in_does_not_matter(loss: str):
    model = make("boosting", **SETTINGS | {"feature_share": 1.0, "ranking_loss": loss}).fit(
        [candidates()], [candidates(seed=1)], RANKED
    )
    scored = model.predict(candidates(seed=2), 0)
    best = scored.with_columns(label=candidates(seed=2).frame["label"]).sort("score", descending=True)
    first = best.group_by("cutoff", "user_id").first()
    assert first["label"].mean() > 0.6
    assert candidates(seed=2).frame["label"].mean() < 0.2
    with_level = model.importance()["level"]
    pointwise = make("boosting", **SETTINGS).fit([candidates()], [candidates(seed=1)], ONCE)
    assert with_level < pointwise.importance()["level"]


@pytest.mark.parametrize("loss", ["lambdarank", "xendcg"])
def test_rankings_are_the_same_with_any_number_of_threads(loss: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tree_text, "_ROWS_PER_THREAD", 1)
    texts = set()
    for threads in (1, 2, 4):
        options = replace(RANKED, threads=threads)
        model = make("boosting", **SETTINGS, ranking_loss=loss).fit(
            [candidates(400)], [candidates(seed=1)], options
        )
        assert f"[num_threads: {threads}]" in model.trees_.booster.model_to_string()
        texts.add(model.trees_.booster.model_to_string().replace(f"[num_threads: {threads}]", ""))
    assert len(texts) == 1


def test_lists_of_equal_weight_are_only_for_pairs_of_candidates():
    make("boosting", rank_norm=False)
    with pytest.raises(
        ValidationError, match="rank_norm is for ranking_loss: lambdarank; take it out, or set ranking_loss"
    ):
        make("boosting", ranking_loss="xendcg", rank_norm=False)


def test_a_refit_of_a_ranking_keeps_the_number_of_trees():
    model = make("boosting", **SETTINGS).fit([candidates()], [candidates(seed=1)], RANKED)
    kept = model.trees_.n_trees
    assert 1 < kept < 80
    assert model.fit([candidates(), candidates(seed=1)], [], RANKED).trees_.n_trees == kept


@pytest.mark.parametrize("is_too_many", [False, True])
def test_more_candidates_than_lightgbm_can_rank(is_too_many: bool):
    data = candidates(n_users=1, n_candidates=10_000 + is_too_many)
    model = make("boosting", **SETTINGS | {"max_trees": 1})
    if not is_too_many:
        assert model.fit([data], [], RANKED).trees_.n_trees == 1
        return
    with pytest.raises(DataError) as caught:
        model.fit([data], [], RANKED)
    assert str(caught.value) == (
        "a user has 10,001 candidates at one cutoff, but boosting ranks at most 10,000; lower task.candidates"
    )
