"""AdaBoost against scikit-learn's."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest
from planted import ONCE, customers, make, table
from sklearn.ensemble import AdaBoostClassifier
from sklearn.metrics import roc_auc_score
from sklearn.tree import DecisionTreeClassifier

from ecbehave.inputs.types import TableInput
from ecbehave.models.protocol import Options

EVERYTHING: dict[str, Any] = {"feature_share": 1.0, "positive_weight": 1.0, "min_rows_per_leaf": 5}


def coarse(seed: int = 0, n_rows: int = 600) -> TableInput:
    """Three features of ten values each, so that bins hold one value; half of the labels are by chance."""
    rng = np.random.default_rng(seed)
    x = rng.integers(1, 11, (3, n_rows))
    label = (x[0] * x[1] > 25) ^ (x[2] > 7.5)
    label = np.where(rng.random(n_rows) < 0.5, rng.integers(0, 2, n_rows), label)
    return table({name: x[n].tolist() for n, name in enumerate("abc")}, label.astype(int).tolist())


def sklearn(
    train: TableInput, n_trees: int, depth: int, rate: float, weight: Any = None
) -> AdaBoostClassifier:
    tree = DecisionTreeClassifier(max_depth=depth, min_samples_leaf=5)
    peer = AdaBoostClassifier(tree, n_estimators=n_trees, learning_rate=rate, random_state=0)
    return peer.fit(train.values.astype(float), train.label, sample_weight=weight)


def votes(peer: AdaBoostClassifier, asked: TableInput) -> np.ndarray:
    """Return the weighted sum of the votes, which scikit-learn divides by half the sum of the weights."""
    return peer.decision_function(asked.values.astype(float)) * peer.estimator_weights_.sum() / 2


def score(model: Any, asked: TableInput) -> np.ndarray:
    return model.predict(asked, 0)["score"].to_numpy()


@pytest.mark.parametrize(("depth", "rate"), [(1, 1.0), (1, 0.3), (2, 0.5), (3, 0.1)])
def test_votes_like_scikit_learn(depth: int, rate: float):
    train, asked = coarse(), coarse(1)
    peer = sklearn(train, 25, depth, rate)
    settings = EVERYTHING | {"max_trees": 25, "depth": depth, "learning_rate": rate}
    model: Any = make("adaboost", **settings).fit([train], [], ONCE)
    assert model.trees_.n_trees == len(peer.estimators_) == 25
    np.testing.assert_allclose(score(model, asked), votes(peer, asked), rtol=0, atol=1e-9)
    assert np.unique(score(model, asked)).size > 5


@pytest.mark.parametrize(("setting", "weight"), [(3.0, 3.0), ("balanced", None)])
def test_positive_rows_weigh_more_at_the_start(setting: Any, weight: float | None):
    train, asked = coarse(3), coarse(1)
    if weight is None:
        weight = int((train.label == 0).sum()) / int((train.label == 1).sum())
    peer = sklearn(train, 25, 2, 0.5, np.where(train.label == 1, weight, 1.0))
    settings = EVERYTHING | {"max_trees": 25, "depth": 2, "learning_rate": 0.5, "positive_weight": setting}
    model = make("adaboost", **settings).fit([train], [], ONCE)
    np.testing.assert_allclose(score(model, asked), votes(peer, asked), rtol=0, atol=1e-9)


def test_keeps_the_trees_with_the_best_auroc_of_the_validation_window():
    train, valid = coarse(), coarse(10)
    settings = EVERYTHING | {"depth": 2, "learning_rate": 1.0, "max_trees": 30}
    model: Any = make("adaboost", **settings | {"patience": 30}).fit([train], [valid], ONCE)
    peer = sklearn(train, 30, 2, 1.0)
    asked = valid.values.astype(float)
    staged = [roc_auc_score(valid.label, s) for s in peer.staged_decision_function(asked)]
    best = int(np.argmax(staged)) + 1
    assert 10 < best < 30
    assert model.trees_.n_trees == best
    cut = sklearn(train, best, 2, 1.0)
    np.testing.assert_allclose(score(model, valid), votes(cut, valid), rtol=0, atol=1e-9)
    impatient: Any = make("adaboost", **settings | {"patience": 3}).fit([train], [valid], ONCE)
    assert impatient.trees_.n_trees == best_so_far(staged, 3) < best


def best_so_far(staged: Sequence[float], patience: int) -> int:
    """Return the number of trees that nothing has beaten in the next few."""
    kept = 1
    for n, reached in enumerate(staged, start=1):
        if n > kept + patience:
            break
        if reached > staged[kept - 1]:
            kept = n
    return kept


def test_a_refit_grows_as_many_trees_as_the_first_fit_kept():
    settings = EVERYTHING | {"depth": 2, "learning_rate": 1.0, "max_trees": 30, "patience": 3}
    model: Any = make("adaboost", **settings).fit([coarse()], [coarse(10)], ONCE)
    kept = model.trees_.n_trees
    model.fit([coarse(), coarse(10)], [], ONCE)
    assert model.trees_.n_trees == kept < 30
    peer = sklearn(TableInput.concat([coarse(), coarse(10)]), kept, 2, 1.0)
    np.testing.assert_allclose(score(model, coarse(2)), votes(peer, coarse(2)), rtol=0, atol=1e-9)


def test_unknown_numbers_go_where_they_did_in_training():
    rng = np.random.default_rng(0)
    x = np.where(rng.random(600) < 0.4, np.nan, rng.uniform(0, 1, 600))
    train = table({"x": pl.Series(x).fill_nan(None).to_list()}, np.isnan(x).astype(int).tolist())
    model = make("adaboost", max_trees=5, depth=1).fit([train], [], ONCE)
    assert (score(model, table({"x": [None, 0.3]})) > 0).tolist() == [True, False]


def test_trees_without_a_mistake_have_the_power_one():
    train = table({"x": [1.0] * 50 + [2.0] * 50}, [0] * 50 + [1] * 50)
    model: Any = make("adaboost", max_trees=3, min_rows_per_leaf=5).fit([train], [], ONCE)
    assert score(model, train).tolist() == [-3.0] * 50 + [3.0] * 50


@pytest.mark.parametrize("n_others", [0, 3, 10])
def test_rows_that_cannot_be_told_apart_all_score_zero(n_others: int):
    """Where there is another value, it is too rare for a leaf."""
    train = table({"x": [1.0] * (100 - n_others) + [2.0] * n_others}, [0, 1] * 50)
    for valid in ([], [train]):
        model: Any = make("adaboost", max_trees=20, min_rows_per_leaf=20).fit([train], valid, ONCE)
        assert model.trees_.n_trees == 1
        assert set(score(model, train)) == {0.0}
        assert model.contributions(train).tolist() == [[0.0] * 2] * 100
        assert model.importance() == {"x": 0.0}


def test_stops_when_no_tree_is_better_than_chance():
    """Each value has as many of one label as of the other, so that the second tree finds nothing to tell them by."""
    train = table({"x": [1.0] * 80 + [2.0] * 80}, ([1] * 60 + [0] * 20) + ([0] * 60 + [1] * 20))
    settings = EVERYTHING | {"max_trees": 20, "depth": 1, "learning_rate": 1.0}
    model: Any = make("adaboost", **settings).fit([train], [], ONCE)
    assert model.trees_.n_trees == 1
    np.testing.assert_allclose(score(model, train), np.repeat([np.log(3), -np.log(3)], 80))


def test_every_score_is_a_sum_of_votes_and_contributions_add_up():
    model: Any = make("adaboost", max_trees=7, learning_rate=0.4).fit([customers()], [], ONCE)
    parts = model.contributions(customers(seed=1))
    np.testing.assert_allclose(parts.sum(axis=1), score(model, customers(seed=1)), rtol=0, atol=1e-9)
    stored = re.findall("leaf_value=(.*)", model.trees_.booster.model_to_string())
    powers = [{abs(float(value)) for value in leaves.split()} for leaves in stored]
    assert [len(found) for found in powers] == [1] * 7


def test_the_seed_decides_which_features_a_tree_sees():
    scores = [
        score(
            make("adaboost", feature_share=0.4, max_trees=10).fit([coarse()], [], Options(seed, 1)), coarse(1)
        )
        for seed in (0, 1)
    ]
    assert scores[0].tolist() != scores[1].tolist()
