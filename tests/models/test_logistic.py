"""Logistic regression against scikit-learn, and against the conditions that its optimum must meet."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from planted import ONCE, RFM, customers, make, table
from pydantic import ValidationError
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from threadpoolctl import threadpool_limits

from ecbehave.inputs.types import TableInput
from ecbehave.models.ensemble import logistic
from ecbehave.models.ensemble.elastic_net import Penalty, fit_penalised
from ecbehave.models.storage import load_json


def shop(seed: int = 0, n_rows: int = 700) -> TableInput:
    """Two features say something, `echo` nearly repeats the first; `noise` says nothing, `same` cannot."""
    rng = np.random.default_rng(seed)
    near, far, noise = rng.normal(size=(3, n_rows))
    label = rng.random(n_rows) < expit(1.2 * near - 0.7 * far - 1)
    features = {
        "near": 3 * near + 10,
        "far": far / 50,
        "echo": near + rng.normal(0, 0.2, n_rows),
        "noise": noise,
        "same": np.full(n_rows, 4.0),
    }
    return table({name: values.tolist() for name, values in features.items()}, label.astype(int).tolist())


def standard(data: TableInput, like: TableInput) -> np.ndarray:
    x, known = data.values.astype(float), like.values.astype(float)
    spread = known.std(axis=0)
    spread[np.ptp(known, axis=0) == 0] = 1
    return (x - known.mean(axis=0)) / spread


def at_optimum(model: Any, train: TableInput) -> tuple[np.ndarray, float]:
    """Return the coefficients of columns with the spread 1, and the intercept."""
    return model.coefficients_ * model.spreads_, model.intercept_


def score(model: Any, asked: TableInput) -> np.ndarray:
    return model.predict(asked, 0)["score"].to_numpy()


@pytest.mark.parametrize("strength", [0.3, 0.01, 1e-4])
@pytest.mark.parametrize("weight", [1.0, 4.0, "balanced"])
def test_l2_is_what_scikit_learn_finds(strength: float, weight: Any):
    train, asked = [shop(0), shop(1)], shop(2)
    pooled = TableInput.concat(train)
    model: Any = make("logistic", strength=strength, positive_weight=weight).fit(train, [], ONCE)
    n_positive = int(pooled.label.sum())
    factor = (pooled.n_rows - n_positive) / n_positive if weight == "balanced" else weight
    total = pooled.n_rows + (factor - 1) * n_positive
    peer = LogisticRegression(C=1 / (strength * total), tol=1e-10, max_iter=5000, class_weight={1: factor})
    peer.fit(standard(pooled, pooled), pooled.label)
    coefficients, intercept = at_optimum(model, pooled)
    np.testing.assert_allclose(coefficients, peer.coef_[0], rtol=0, atol=1e-5)
    assert intercept == pytest.approx(peer.intercept_[0], abs=1e-5)
    np.testing.assert_allclose(
        score(model, asked), peer.decision_function(standard(asked, pooled)), atol=1e-4
    )


@pytest.mark.parametrize(
    ("settings", "l1", "l2"),
    [
        ({"penalty": "l1", "strength": 0.02}, 0.02, 0.0),
        ({"penalty": "l1", "strength": 1e-4}, 1e-4, 0.0),
        ({"penalty": "elastic_net", "strength": 0.04}, 0.02, 0.02),
        ({"penalty": "elastic_net", "strength": 0.04, "l1_share": 0.9}, 0.036, 0.004),
        ({"penalty": "l2", "strength": 0.04}, 0.0, 0.04),
    ],
)
def test_the_slope_of_the_loss_is_met_by_the_penalty(settings: dict[str, Any], l1: float, l2: float):
    """The optimality conditions: they hold nowhere else, since the sum of loss and penalty is convex."""
    train = shop()
    model: Any = make("logistic", **settings).fit([train], [], ONCE)
    coefficients, intercept = at_optimum(model, train)
    x = standard(train, train)
    error = expit(x @ coefficients + intercept) - train.label
    slope = x.T @ error / train.n_rows + l2 * coefficients
    assert error.mean() == pytest.approx(0, abs=1e-6)
    is_out = coefficients == 0
    np.testing.assert_allclose(slope[~is_out], -l1 * np.sign(coefficients[~is_out]), rtol=0, atol=2e-6)
    assert (np.abs(slope[is_out]) <= l1 + 2e-6).all()
    assert is_out[-1]  # the same everywhere
    assert is_out[3] == (l1 > 0.01)  # noise
    assert not is_out[:2].any()


def test_a_start_far_away_leads_to_the_same_place():
    """Where the first step of Newton's method would leap to where the loss is higher."""
    x = np.column_stack([standard(shop(), shop())[:, :3], np.ones(700)])
    label = shop().label.astype(float)

    def blocks() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        yield x, label, np.ones(700)

    for l1, l2 in [(0.0, 0.01), (0.01, 0.0)]:
        on = np.array([1.0, 1.0, 1.0, 0.0])
        penalty = Penalty(l1 * on, l2 * on)
        near, far = (
            fit_penalised(blocks, penalty, start) for start in (np.zeros(4), np.array([4.0, -7.0, -6.0, 5.0]))
        )
        np.testing.assert_allclose(far, near, rtol=0, atol=1e-5)


@pytest.mark.parametrize("penalty", ["l1", "l2", "elastic_net"])
def test_takes_the_strength_with_the_least_log_loss_of_the_validation_window(penalty: str, tmp_path: Path):
    train, valid = shop(n_rows=150), shop(1)
    losses = []
    for strength in logistic._STRENGTHS:
        fixed = make("logistic", penalty=penalty, strength=strength).fit([train], [], ONCE)
        losses.append(log_loss(valid.label, expit(score(fixed, valid))))
    best = int(np.argmin(losses))
    assert 0 < best < len(losses) - 1
    model: Any = make("logistic", penalty=penalty).fit([train], [valid], ONCE)
    assert model.strength_ == logistic._STRENGTHS[best]
    fixed = make("logistic", penalty=penalty, strength=model.strength_).fit([train], [], ONCE)
    np.testing.assert_allclose(score(model, shop(2)), score(fixed, shop(2)), rtol=0, atol=1e-5)
    model.save(tmp_path)
    assert load_json(tmp_path / "logistic.json")["strength"] == model.strength_


def test_a_refit_keeps_the_strength():
    model: Any = make("logistic").fit([shop(n_rows=60)], [shop(1)], ONCE)
    chosen = model.strength_
    assert chosen != logistic._USUAL_STRENGTH
    refit = score(model.fit([shop(), shop(1)], [], ONCE), shop(2))
    assert model.strength_ == chosen
    fixed = make("logistic", strength=chosen).fit([shop(), shop(1)], [], ONCE)
    assert refit.tolist() == score(fixed, shop(2)).tolist()


def test_without_any_window_to_choose_by_it_takes_the_usual_strength():
    model: Any = make("logistic").fit([shop()], [], ONCE)
    fixed = make("logistic", strength=0.003).fit([shop()], [], ONCE)
    assert model.strength_ == 0.003
    assert score(model, shop(1)).tolist() == score(fixed, shop(1)).tolist()


def test_a_strength_that_is_set_is_not_chosen():
    model: Any = make("logistic", strength=0.2).fit([shop()], [shop(1)], ONCE)
    assert model.strength_ == 0.2


def test_class_weights_count_in_the_choice_of_strength():
    train, valid = shop(n_rows=150), shop(1)
    weight = np.where(valid.label == 1, 30.0, 1.0)
    losses = [
        log_loss(valid.label, expit(score(fixed, valid)), sample_weight=weight)
        for strength in logistic._STRENGTHS
        for fixed in [make("logistic", strength=strength, positive_weight=30.0).fit([train], [], ONCE)]
    ]
    model: Any = make("logistic", positive_weight=30.0).fit([train], [valid], ONCE)
    assert model.strength_ == logistic._STRENGTHS[int(np.argmin(losses))]


def test_the_unit_of_a_feature_does_not_matter():
    data, other = shop(), shop()
    other = replace(other, frame=other.frame.with_columns(pl.col("near") * 1000 - 7))
    models = [make("logistic", penalty="l1", strength=0.01).fit([d], [], ONCE) for d in (data, other)]
    np.testing.assert_allclose(score(models[0], data), score(models[1], other), rtol=0, atol=1e-3)


def test_terms_add_up_and_say_nothing_at_the_mean_and_of_the_unknown():
    train = shop()
    model: Any = make("logistic").fit([train], [shop(1)], ONCE)
    parts = model.contributions(train)
    np.testing.assert_allclose(parts.sum(axis=1), score(model, train), rtol=0, atol=1e-12)
    np.testing.assert_allclose(parts[:, :-1].mean(axis=0), 0, atol=1e-6)
    assert (np.sign(parts[:, 1]) == -np.sign(train.values[:, 1] - train.values[:, 1].mean())).all()
    unknown = table({name: [None] for name in train.features})
    assert model.contributions(unknown).tolist() == [[0.0] * 5 + [model.intercept_]]
    assert score(model, unknown).tolist() == [model.intercept_]


def test_the_mean_stands_in_for_the_unknown_while_it_learns():
    hidden = pl.Series(np.random.default_rng(0).random(700) < 0.3)
    data = shop()
    null = replace(data, frame=data.frame.with_columns(near=pl.when(~hidden).then("near")))
    nan = replace(null, frame=null.frame.with_columns(pl.col("near").fill_null(np.nan)))
    mean = null.frame["near"].cast(pl.Float64).mean()
    filled = replace(null, frame=null.frame.with_columns(pl.col("near").fill_null(mean)))
    models = [make("logistic", strength=0.01).fit([d], [], ONCE) for d in (null, nan, filled)]
    scores = [score(model, shop(1)) for model in models]
    assert scores[0].tolist() == scores[1].tolist()
    np.testing.assert_allclose(scores[0], scores[2], rtol=0, atol=1e-4)


def test_a_feature_that_is_nowhere_known_does_not_matter():
    data = shop()
    data = replace(data, frame=data.frame.with_columns(noise=pl.lit(None, pl.Float32)))
    model: Any = make("logistic", penalty="l1", strength=0.001).fit([data], [], ONCE)
    assert model.coefficients_[3] == 0
    assert np.isfinite(score(model, shop(1))).all()


def test_importance_is_the_size_of_a_coefficient_whatever_the_unit():
    model: Any = make("logistic", strength=0.001).fit([shop()], [], ONCE)
    coefficients = np.abs(at_optimum(model, shop())[0])
    expected = dict(zip(shop().features, (coefficients / coefficients.sum()).tolist(), strict=True))
    assert model.importance() == pytest.approx(expected)
    assert model.importance()["near"] + model.importance()["echo"] > model.importance()["far"] > 0.1
    nothing: Any = make("logistic", penalty="l1", strength=10.0).fit([shop()], [], ONCE)
    assert nothing.importance() == dict.fromkeys(shop().features, 0.0)
    rate = shop().label.mean()
    np.testing.assert_allclose(score(nothing, shop(1)), np.log(rate / (1 - rate)), rtol=1e-6)


def test_rows_are_read_a_block_at_a_time(monkeypatch: pytest.MonkeyPatch):
    whole = score(make("logistic", strength=0.01).fit([shop()], [], ONCE), shop(1))
    monkeypatch.setattr(logistic, "_ROWS_PER_BLOCK", 97)
    in_blocks = score(make("logistic", strength=0.01).fit([shop()], [], ONCE), shop(1))
    np.testing.assert_allclose(in_blocks, whole, rtol=0, atol=1e-9)


def test_number_of_threads_changes_nothing():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40_000, 40)).astype(np.float32)
    label = (rng.random(40_000) < expit(x[:, 0] - x[:, 1])).astype(int)
    data = table({f"f{n}": x[:, n] for n in range(40)}, label)  # type: ignore[arg-type, misc]
    found = []
    for threads in (1, 2, 4):
        with threadpool_limits(threads):
            model: Any = make("logistic", strength=0.001).fit([data], [], ONCE)
            found.append([*model.coefficients_.tolist(), model.intercept_])
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("penalty", ["l1", "l2"])
def test_a_share_is_only_for_the_elastic_net(penalty: str):
    with pytest.raises(
        ValidationError, match="l1_share is for penalty: elastic_net; take it out, or set penalty"
    ):
        make("logistic", penalty=penalty, l1_share=0.7)


def test_real_names_of_features_are_stored(tmp_path: Path):
    make("logistic").fit([customers()], [], ONCE).save(tmp_path)
    assert load_json(tmp_path / "logistic.json")["features"][:3] == list(RFM)
