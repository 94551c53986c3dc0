"""Calibration against what was planted, and against plain, slow computations."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from ecbehave.metrics.chance import calibration_chance
from ecbehave.metrics.classification import auroc, calibration_error, log_loss
from ecbehave.models.calibration import METHODS, Beta, Isotonic, Platt, restored, stored
from ecbehave.models.calibration.choice import FEWEST_OF_A_CLASS, fit_calibration


def labelled(slope: float, intercept: float, n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    score = rng.normal(-1, 2, n)
    return score, (rng.random(n) < expit(slope * score + intercept)).astype(np.int8)


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (0.4, -1.5), (2.5, 1.0)])
def test_recovers_what_was_planted(slope: float, intercept: float):
    found = Platt.fit(*labelled(slope, intercept, 100_000))
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
    found = Platt.fit(score, label)
    assert (found.slope, found.intercept) == pytest.approx(tuple(best), abs=1e-3)


def test_perfect_scores_stay_short_of_certainty():
    # Without smoothing the best slope would be infinite.
    score, label = np.array([-1.0] * 8 + [1.0] * 8), np.array([0] * 8 + [1] * 8, np.int8)
    found = Platt.fit(score, label)
    assert found.apply(np.array([1.0, -1.0])) == pytest.approx([9 / 10, 1 / 10], abs=1e-4)


@settings(deadline=None, max_examples=100)
@given(
    score=st.lists(st.floats(-50, 50), min_size=2, max_size=30),
    seed=st.integers(0, 99),
    asked=st.lists(st.floats(-60, 60), min_size=2, max_size=10),
)
def test_every_method_keeps_the_order_of_scores(score: list[float], seed: int, asked: list[float]):
    label = np.random.default_rng(seed).integers(0, 2, len(score)).astype(np.int8)
    for method in METHODS.values():
        probability = method.fit(np.array(score), label).apply(np.array(sorted(asked)))
        assert (np.diff(probability) >= -1e-12).all()
        assert ((probability >= 0) & (probability <= 1)).all()


@pytest.mark.parametrize("value", [0.0, 0.1, -1.0986, -2.3, 1e5 / 3])
@pytest.mark.parametrize("n", [777, 1000])
def test_equal_scores_get_the_base_rate(value: float, n: int):
    label = (np.arange(n) % 5 == 0).astype(np.int8)
    found = Platt.fit(np.full(n, value), label)
    assert found.slope == pytest.approx(0, abs=1e-9)
    assert found.apply(np.array([value])) == pytest.approx([label.mean()], abs=2 / n)


def test_scores_that_differ_by_rounding_only_get_the_base_rate():
    label = (np.arange(1000) % 5 == 0).astype(np.int8)
    score = np.where(label == 1, np.nextafter(0.3, 1), 0.3)
    assert Platt.fit(score, label).apply(np.array([0.0, 0.3])) == pytest.approx([0.2, 0.2], abs=0.002)


def test_scores_that_point_the_wrong_way_are_not_turned_round():
    score, label = labelled(-1.0, 0.0, 5_000)
    found = Platt.fit(score, label)
    assert found.slope == 0
    assert found.apply(np.array([-9.0, 9.0])) == pytest.approx([label.mean()] * 2, abs=1e-3)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_scale_of_scores_does_not_matter(scale: float):
    score, label = labelled(1.0, -0.5, 2_000)
    near, far = Platt.fit(score, label), Platt.fit(score * scale, label)
    np.testing.assert_allclose(far.apply(score * scale), near.apply(score), atol=1e-6)


# Beta


def test_beta_is_a_logistic_regression_on_both_logarithms():
    score, label = labelled(1.0, -0.5, 20_000)
    bent = np.where(score > 0, 2 * score, score)
    found = Beta.fit(bent, label)
    s = found.platt.apply(bent)
    x = np.stack([np.log(s), -np.log(1 - s)], axis=1)
    plain = LogisticRegression(C=np.inf).fit(x, label)
    assert (found.a, found.b) == pytest.approx(plain.coef_[0], rel=0.02)
    assert found.c == pytest.approx(plain.intercept_[0], abs=0.02)
    assert found.b < 0.75 * found.a


def test_beta_is_at_least_as_likely_as_platt():
    score, label = labelled(1.0, 0.0, 3_000)
    bent = np.where(score > 0, 3 * score, score)
    losses = [log_loss(label, method.fit(bent, label).apply(bent)) for method in (Platt, Beta)]
    assert losses[1] < losses[0] - 0.001


@pytest.mark.parametrize("score", [-1e9, -800.0, 800.0, 1e9])
def test_extreme_scores_have_probabilities(score: float):
    found = Beta.fit(*labelled(1.0, 0.0, 2_000))
    assert found.apply(np.array([score]))[0] == pytest.approx(float(score > 0), abs=1e-6)


# Isotonic


def pooled_by_hand(score: list[float], label: list[int]) -> list[tuple[float, float]]:
    """Adjacent violators pooled one by one, with a positive row at the lowest score and a negative at the highest."""
    rows = sorted([*zip(score, label, strict=True), (min(score), 1), (max(score), 0)])
    blocks: list[list[float]] = []  # [rows, positives, sum of scores]
    for value in sorted(set(score)):
        labels = [y for s, y in rows if s == value]
        blocks.append([len(labels), sum(labels), value * len(labels)])
        while len(blocks) > 1 and blocks[-2][1] / blocks[-2][0] > blocks[-1][1] / blocks[-1][0]:
            last = blocks.pop()
            blocks[-1] = [a + b for a, b in zip(blocks[-1], last, strict=True)]
    return [(total / n, positive / n) for n, positive, total in blocks]


@pytest.mark.parametrize("seed", range(5))
def test_isotonic_pools_as_by_hand(seed: int):
    rng = np.random.default_rng(seed)
    score = rng.integers(0, 30, 200) / 4
    label = (rng.random(200) < expit(score - 3)).astype(np.int8)
    found = Isotonic.fit(score, label)
    expected = pooled_by_hand(score.tolist(), label.tolist())
    # Pools of equal rates may be told apart or not: it makes no difference to the curve but between them.
    asked = np.array([s for s, _ in expected])
    np.testing.assert_allclose(found.apply(asked), [rate for _, rate in expected], atol=1e-12)


def test_isotonic_is_never_certain():
    score = np.arange(200.0)
    label = (score >= 100).astype(np.int8)
    found = Isotonic.fit(score, label)
    assert found.rate == pytest.approx((1 / 101, 100 / 101))
    probability = found.apply(np.array([-1e9, 0, 199, 1e9]))
    assert probability == pytest.approx([1 / 101, 1 / 101, 100 / 101, 100 / 101])
    assert log_loss(np.array([1, 0]), np.array([probability[0], probability[-1]])) < 5


def test_isotonic_is_straight_between_the_middles_of_pools():
    found = Isotonic((0.0, 1.0, 3.0), (0.1, 0.2, 0.6))
    assert found.apply(np.array([-1, 0.5, 1, 2, 9])) == pytest.approx([0.1, 0.15, 0.2, 0.4, 0.6])


# All of them


@pytest.mark.parametrize("method", METHODS)
def test_what_was_learned_goes_through_json_to_the_last_bit(method: str):
    score, label = labelled(0.7, -0.2, 500)
    found = METHODS[method].fit(score, label)
    back = restored(json.loads(json.dumps(stored(found))))
    assert back == found
    assert (back.apply(score) == found.apply(score)).all()


@pytest.mark.parametrize("method", METHODS)
def test_equal_scores_get_the_base_rate_by_every_method(method: str):
    label = (np.arange(1000) % 5 == 0).astype(np.int8)
    found = METHODS[method].fit(np.full(1000, -2.3), label)
    assert found.apply(np.array([-2.3])) == pytest.approx([0.2], abs=0.002)


def test_two_hundred_thousand_users_are_calibrated_to_a_hundredth():
    """Scores that are no log-odds: squashed, with ties, so that Platt scaling alone is off."""
    rng = np.random.default_rng(3)
    p = rng.beta(0.8, 4, 220_000)
    score = np.round(np.sqrt(p) * 40)
    label = (rng.random(p.size) < p).astype(np.int8)
    asked, told = slice(0, 200_000), slice(200_000, None)
    found, _ = fit_calibration("auto", score[told], label[told], np.arange(20_000, dtype=np.uint64))
    assert calibration_error(label[asked], found.apply(score[asked])) < 0.01
    platt = Platt.fit(score[told], label[told])
    assert calibration_error(label[asked], platt.apply(score[asked])) > 0.01


def test_a_method_that_fits_stays_within_chance():
    score, label = labelled(0.8, -0.5, 60_000)
    probability = Platt.fit(score[30_000:], label[30_000:]).apply(score[:30_000])
    limit = calibration_chance(probability, np.random.default_rng(0))
    assert calibration_error(label[:30_000], probability) < 1.5 * limit
    assert auroc(label[:30_000], probability) == auroc(label[:30_000], score[:30_000])


# The choice


def users(n: int, per_user: int = 1) -> np.ndarray:
    return np.random.default_rng(9).permutation(np.arange(n, dtype=np.uint64) // np.uint64(per_user))


def test_a_method_that_is_asked_for_is_taken():
    score, label = labelled(1.0, 0.0, 400)
    for method in METHODS:
        found, losses = fit_calibration(method, score, label, users(400))  # type: ignore[arg-type]
        assert (found, losses) == (METHODS[method].fit(score, label), {})


@pytest.mark.parametrize("seed", range(3))
def test_auto_leaves_isotonic_where_the_curve_is_smooth(seed: int):
    score, label = labelled(1.0, -0.5, 2_000, seed)
    found, losses = fit_calibration("auto", score, label, users(2_000))
    assert list(losses) == list(METHODS)
    assert not isinstance(found, Isotonic)
    assert losses["isotonic"] > min(losses.values())


@pytest.mark.parametrize(
    ("seed", "ahead", "taken"), [(4, "isotonic", Beta), (6, "platt", Beta), (5, "platt", Platt)]
)
def test_another_method_must_be_better_by_more_than_its_error(seed: int, ahead: str, taken: type):
    """Where another method is ahead of beta by a hair, beta stays; losses of held-out folds, by hand."""
    score, label = labelled(1.0, -0.5, 2_000, seed)
    user = np.arange(2_000, dtype=np.uint64)
    found, losses = fit_calibration("auto", score, label, user)
    by_hand, of_rows = {}, {}
    for name, method in METHODS.items():
        p = np.empty(2_000)
        for fold in range(5):
            out = np.arange(2_000) % 5 == fold
            p[out] = method.fit(score[~out], label[~out]).apply(score[out])
        by_hand[name], of_rows[name] = log_loss(label, p), -np.log(np.where(label == 1, p, 1 - p))
    assert losses == pytest.approx(by_hand, rel=1e-12)
    assert min(losses, key=losses.__getitem__) == ahead
    gain = of_rows["beta"] - of_rows[ahead]
    assert (gain.mean() > gain.std() / np.sqrt(2_000)) == (taken is not Beta)
    assert isinstance(found, taken)


def test_auto_takes_isotonic_where_the_curve_has_steps():
    rng = np.random.default_rng(0)
    score = rng.uniform(0, 3, 6_000)
    label = (rng.random(6_000) < np.array([0.05, 0.5, 0.55])[score.astype(int)]).astype(np.int8)
    found, losses = fit_calibration("auto", score, label, users(6_000))
    assert found == Isotonic.fit(score, label)
    assert losses["isotonic"] < losses["platt"] - 0.002


def test_auto_is_judged_on_users_that_it_has_not_seen():
    """A thousand copies of 60 users: fitting them by heart would look best if a user stood on both sides."""
    rng = np.random.default_rng(2)
    n_users, copies = 240, 25
    score = np.repeat(rng.normal(0, 1, n_users), copies)
    label = np.repeat((rng.random(n_users) < 0.5).astype(np.int8), copies)
    user = np.repeat(np.arange(n_users, dtype=np.uint64), copies)
    found, losses = fit_calibration("auto", score, label, user)
    assert not isinstance(found, Isotonic)
    alone = fit_calibration("auto", score, label, users(score.size))[1]
    assert alone["isotonic"] < alone["platt"] < losses["isotonic"]


def test_the_order_of_rows_does_not_matter_to_the_choice():
    score, label = labelled(1.0, 0.3, 900)
    order = np.random.default_rng(4).permutation(900)
    one = fit_calibration("auto", score, label, users(900))[1]
    other = fit_calibration("auto", score[order], label[order], users(900)[order])[1]
    assert one == pytest.approx(other, rel=1e-6)


@pytest.mark.parametrize(
    ("n_positive", "n_users"), [(FEWEST_OF_A_CLASS - 1, 200), (100, 4), (200 - FEWEST_OF_A_CLASS + 1, 200)]
)
def test_too_little_to_choose_by_takes_platt(n_positive: int, n_users: int):
    rng = np.random.default_rng(0)
    label = (np.arange(200) < n_positive).astype(np.int8)
    score, user = rng.normal(size=200) + label, (np.arange(200) % n_users).astype(np.uint64)
    found, losses = fit_calibration("auto", score, label, user)
    assert (found, losses) == (Platt.fit(score, label), {})
