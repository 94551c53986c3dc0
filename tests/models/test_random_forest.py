"""The random forest against a bare LightGBM call, and against scikit-learn's forests."""

import math
from dataclasses import replace
from typing import Any

import lightgbm as lgb
import numpy as np
import polars as pl
import pytest
from planted import ONCE, RFM, customers, make, table
from scipy.special import expit, logit
from scipy.stats import spearmanr
from sklearn.ensemble import RandomForestClassifier

from ecbehave.inputs.types import TableInput
from ecbehave.models.ensemble import forest
from ecbehave.models.protocol import Options

SETTINGS: dict[str, Any] = {
    "trees": 60,
    "leaves": 20,
    "min_rows_per_leaf": 7,
    "feature_share": 0.5,
    "row_share": 0.6,
}


def noisy(seed: int, n_rows: int = 600) -> TableInput:
    """Customers of whom a third have the label by chance; a tenth is unknown."""
    data, rng = customers(n_rows, seed), np.random.default_rng(seed)
    label = np.where(rng.random(n_rows) < 0.33, rng.integers(0, 2, n_rows), data.label)
    hidden = pl.Series(rng.random(n_rows) < 0.1)
    frame = data.frame.with_columns(
        pl.Series("label", label, pl.Int8), recency_days_purchase_all=pl.when(~hidden).then(RFM[0])
    )
    return replace(data, frame=frame)


def bare(
    train: TableInput, options: Options = ONCE, positive_weight: float = 1.0, **changes: Any
) -> lgb.Booster:
    parameters = {
        "objective": "regression",
        "boosting": "rf",
        "num_leaves": 20,
        "min_data_in_leaf": 7,
        "min_sum_hessian_in_leaf": 0,
        "feature_fraction_bynode": 0.5,
        "bagging_fraction": 0.6,
        "bagging_freq": 1,
        "lambda_l2": 1.0,
        "seed": options.seed,
        "num_threads": options.threads,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    } | changes
    weight = np.where(train.label == 1, positive_weight, 1.0)
    return lgb.train(parameters, lgb.Dataset(train.values, train.label, weight=weight), 60)


def score(model: Any, asked: TableInput) -> np.ndarray:
    return model.predict(asked, 0)["score"].to_numpy()


@pytest.mark.parametrize("options", [Options(0, 1), Options(5, 2)], ids=["seed 0", "seed 5"])
@pytest.mark.parametrize(
    ("settings", "changes"),
    [
        ({}, {}),
        ({"splits": "random"}, {"extra_trees": True}),
        ({"row_share": 0.3}, {"bagging_fraction": 0.3}),
    ],
)
def test_the_score_is_the_log_odds_of_the_mean_share(
    options: Options, settings: dict[str, Any], changes: dict[str, Any]
):
    model = make("random_forest", **SETTINGS | settings).fit([noisy(0), noisy(1)], [noisy(2)], options)
    booster = bare(TableInput.concat([noisy(0), noisy(1)]), options, **changes)
    share = booster.predict(noisy(3).values)
    assert 0 < share.min() < 0.3
    assert 0.7 < share.max() < 1
    np.testing.assert_allclose(expit(score(model, noisy(3))), share, rtol=1e-12)


def test_votes_like_a_forest_of_scikit_learn():
    """Not to the last tree: random draws differ, and so does where a bin ends."""
    train, asked = noisy(0, 2_000), noisy(1, 1_000)
    peer = RandomForestClassifier(300, min_samples_leaf=10, max_features=2, random_state=0)
    expected = peer.fit(train.values, train.label).predict_proba(asked.values)[:, 1]
    model = make("random_forest", trees=300, min_rows_per_leaf=6, feature_share=0.4).fit([train], [], ONCE)
    share = expit(score(model, asked))
    assert np.abs(share - expected).mean() < 0.03
    assert spearmanr(share, expected).statistic > 0.95


def test_pure_leaves_do_not_make_certain():
    x = np.arange(200.0)
    train = table({"x": x.tolist(), "y": (-x).tolist()}, (x >= 100).astype(int).tolist())
    model = make("random_forest", trees=10, min_rows_per_leaf=1).fit([train], [], ONCE)
    found = score(model, train)
    assert np.isfinite(found).all()
    assert (np.sign(found) == np.where(x >= 100, 1, -1)).all()
    parts = model.contributions(train)  # type: ignore[attr-defined]
    np.testing.assert_allclose(parts.sum(axis=1), found, rtol=0, atol=1e-9)


@pytest.mark.parametrize("weight", [1.0, 3.0])
def test_too_few_rows_for_a_split_leave_the_base_rate(weight: float):
    train, settings = noisy(0), {"trees": 5, "min_rows_per_leaf": 1000, "positive_weight": weight}
    model: Any = make("random_forest", **settings).fit([train], [], ONCE)
    rate = train.label.mean()
    assert set(score(model, noisy(2)).round(6)) == {round(math.log(weight * rate / (1 - rate)), 6)}
    assert model.importance() == dict.fromkeys(train.features, 0.0)
    parts = model.contributions(noisy(2))
    assert not parts[:, :-1].any()
    np.testing.assert_allclose(parts.sum(axis=1), score(model, noisy(2)), rtol=0, atol=1e-9)


@pytest.mark.parametrize(("setting", "weight"), [(4.0, 4.0), ("balanced", None)])
def test_positive_rows_weigh_more(setting: Any, weight: float | None):
    train = noisy(0)
    if weight is None:
        weight = int((train.label == 0).sum()) / int((train.label == 1).sum())
    model = make("random_forest", **SETTINGS, positive_weight=setting).fit([train], [], ONCE)
    expected = bare(train, positive_weight=weight).predict(noisy(1).values)
    np.testing.assert_allclose(expit(score(model, noisy(1))), expected, rtol=1e-12)
    assert not np.allclose(expected, bare(train).predict(noisy(1).values), rtol=1e-3)


def test_contributions_are_those_to_the_share_on_the_scale_of_the_score():
    model: Any = make("random_forest", **SETTINGS).fit([noisy(0)], [], ONCE)
    asked, n_trees = noisy(1), 60
    of_share = bare(noisy(0)).predict(asked.values, pred_contrib=True) / n_trees
    parts = model.contributions(asked)
    np.testing.assert_allclose(parts[:, -1], logit(of_share[:, -1]), rtol=1e-12)
    np.testing.assert_allclose(parts.sum(axis=1), score(model, asked), rtol=0, atol=1e-9)
    stretch = parts[:, :-1].sum(axis=1) / of_share[:, :-1].sum(axis=1)
    np.testing.assert_allclose(parts[:, :-1], of_share[:, :-1] * stretch[:, None], rtol=1e-9, atol=1e-12)
    assert stretch.min() >= 4  # the log-odds move at least so much for each point of the share
    amount = asked.features.index("amount_purchase_all")
    assert parts[:360, amount].mean() > 0.3  # the loyal
    assert parts[360:, amount].mean() < -0.3


def test_next_to_the_base_the_log_odds_move_as_their_tangent(monkeypatch: pytest.MonkeyPatch):
    model: Any = make("random_forest", **SETTINGS).fit([noisy(0)], [], ONCE)
    of_share = bare(noisy(0)).predict(noisy(1).values, pred_contrib=True) / 60
    monkeypatch.setattr(forest, "_NEAR", 1.0)  # everything is near
    parts, base = model.contributions(noisy(1)), of_share[0, -1]
    np.testing.assert_allclose(parts[:, :-1], of_share[:, :-1] / (base * (1 - base)), rtol=1e-9)


def test_a_row_at_the_base_has_small_contributions_that_cancel():
    """Two features that pull as strongly, to either side."""
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 2, (2, 4_000))
    label = (rng.random(4_000) < 0.5 + 0.3 * (a - b)).astype(int)
    train = table({"a": a.tolist(), "b": b.tolist()}, label.tolist())
    model: Any = make("random_forest", trees=50, feature_share=1.0).fit([train], [], ONCE)
    parts = model.contributions(table({"a": [0.0, 0.0, 1.0, 1.0], "b": [0.0, 1.0, 0.0, 1.0]}))
    assert np.abs(parts[[0, 3], :-1].sum(axis=1)).max() < 0.1
    np.testing.assert_allclose(np.abs(parts[[0, 3], :-1]), 0.6, rtol=0.3)
    assert (np.sign(parts[:, :-1]) == [[-1, 1], [-1, -1], [1, 1], [1, -1]]).all()


def test_the_seed_decides_which_rows_and_features_a_tree_sees():
    scores = [
        score(make("random_forest", **SETTINGS).fit([noisy(0)], [], Options(seed, 1)), noisy(2)).tolist()
        for seed in (0, 1)
    ]
    assert scores[0] != scores[1]


def test_a_validation_window_does_not_matter():
    models = [make("random_forest", **SETTINGS).fit([noisy(0)], valid, ONCE) for valid in ([], [noisy(1)])]
    assert score(models[0], noisy(2)).tolist() == score(models[1], noisy(2)).tolist()
