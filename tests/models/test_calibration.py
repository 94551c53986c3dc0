"""Platt scaling against what was planted, and against a plain optimiser."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit

from ecbehave.models.calibration import Calibration


def labelled(slope: float, intercept: float, n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    score = rng.normal(-1, 2, n)
    return score, (rng.random(n) < expit(slope * score + intercept)).astype(np.int8)


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (0.4, -1.5), (2.5, 1.0)])
def test_recovers_what_was_planted(slope: float, intercept: float):
    found = Calibration.fit(*labelled(slope, intercept, 100_000))
    assert found.slope == pytest.approx(slope, rel=0.03)
    assert found.intercept == pytest.approx(intercept, abs=0.05)


def test_targets_are_smoothed_as_in_platt():
    score, label = labelled(1.0, 0.5, 60)
    n_positive, n_negative = int(label.sum()), int((1 - label).sum())
    high, low = (n_positive + 1) / (n_positive + 2), 1 / (n_negative + 2)

    def loss(theta: np.ndarray) -> float:
        total = 0.0
        for s, y in zip(score, label, strict=True):
            p = 1 / (1 + math.exp(-(theta[0] * s + theta[1])))
            target = high if y else low
            total -= target * math.log(p) + (1 - target) * math.log(1 - p)
        return total

    best = minimize(loss, [0.5, 0.0], method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-10}).x
    found = Calibration.fit(score, label)
    assert (found.slope, found.intercept) == pytest.approx(tuple(best), abs=1e-3)


def test_perfect_scores_stay_short_of_certainty():
    # Without smoothing the best slope would be infinite.
    score, label = np.array([-1.0] * 8 + [1.0] * 8), np.array([0] * 8 + [1] * 8, np.int8)
    found = Calibration.fit(score, label)
    assert found.apply(np.array([1.0, -1.0])) == pytest.approx([9 / 10, 1 / 10], abs=1e-4)


@settings(deadline=None, max_examples=100)
@given(
    score=st.lists(st.floats(-50, 50), min_size=2, max_size=30),
    seed=st.integers(0, 99),
    asked=st.lists(st.floats(-60, 60), min_size=2, max_size=10),
)
def test_keeps_the_order_of_scores(score: list[float], seed: int, asked: list[float]):
    label = np.random.default_rng(seed).integers(0, 2, len(score)).astype(np.int8)
    found = Calibration.fit(np.array(score), label)
    assert found.slope >= 0
    probability = found.apply(np.array(sorted(asked)))
    assert (np.diff(probability) >= 0).all()
    assert ((probability >= 0) & (probability <= 1)).all()


@pytest.mark.parametrize("value", [0.0, 0.1, -1.0986, -2.3, 1e5 / 3])
@pytest.mark.parametrize("n", [777, 1000])
def test_equal_scores_get_the_base_rate(value: float, n: int):
    label = (np.arange(n) % 5 == 0).astype(np.int8)
    found = Calibration.fit(np.full(n, value), label)
    assert found.slope == pytest.approx(0, abs=1e-9)
    assert found.apply(np.array([value])) == pytest.approx([label.mean()], abs=2 / n)


def test_scores_that_differ_by_rounding_only_get_the_base_rate():
    label = (np.arange(1000) % 5 == 0).astype(np.int8)
    score = np.where(label == 1, np.nextafter(0.3, 1), 0.3)
    assert Calibration.fit(score, label).apply(np.array([0.0, 0.3])) == pytest.approx([0.2, 0.2], abs=0.002)


def test_scores_that_point_the_wrong_way_are_not_turned_round():
    score, label = labelled(-1.0, 0.0, 5_000)
    found = Calibration.fit(score, label)
    assert found.slope == 0
    assert found.apply(np.array([-9.0, 9.0])) == pytest.approx([label.mean()] * 2, abs=1e-3)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_scale_of_scores_does_not_matter(scale: float):
    score, label = labelled(1.0, -0.5, 2_000)
    near, far = Calibration.fit(score, label), Calibration.fit(score * scale, label)
    np.testing.assert_allclose(far.apply(score * scale), near.apply(score), atol=1e-6)


def test_goes_through_json():
    found = Calibration.fit(*labelled(0.7, -0.2, 500))
    assert Calibration.from_dict(json.loads(json.dumps(found.to_dict()))) == found
