"""The level of probabilities apart from their shape, on draws of which both are known."""

import numpy as np
import pytest
from scipy.special import expit, logit

from ecbehave.metrics.chance import calibration_chance
from ecbehave.metrics.classification import calibration_error
from ecbehave.metrics.known_rates import at_known_rates

N = 20_000


def drawn(drift: float, stretch: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels at two cutoffs, probabilities that know nothing of a drift at the second, and the cutoffs."""
    rng = np.random.default_rng(0)
    raw, cutoff = rng.normal(-1, 1, 2 * N), np.repeat([1, 2], N)
    label = (rng.random(2 * N) < expit(raw + drift * (cutoff == 2))).astype(int)
    return label, expit(stretch * raw), cutoff


def test_one_number_a_group_makes_the_mean_the_rate() -> None:
    label, probability, cutoff = drawn(0.7, 1.3)
    shuffled = np.random.default_rng(1).permutation(label.size)
    found = at_known_rates(label[shuffled], probability[shuffled], cutoff[shuffled])
    found = found[np.argsort(shuffled)]
    for group in (1, 2):
        rows = cutoff == group
        assert found[rows].mean() == pytest.approx(label[rows].mean(), abs=1e-10)
        shift = logit(found[rows]) - logit(probability[rows])
        np.testing.assert_allclose(shift, shift[0], rtol=0, atol=1e-9)


def test_drift_goes_and_a_wrong_shape_stays() -> None:
    for drift, stretch, before, after in (
        (0.7, 1.0, True, False),
        (0.0, 1.7, True, True),
        (0.0, 1.0, False, False),
    ):
        label, probability, cutoff = drawn(drift, stretch)
        found = at_known_rates(label, probability, cutoff)
        chance = calibration_chance(probability, np.random.default_rng(0))
        assert (calibration_error(label, probability) > chance) == before
        assert (calibration_error(label, found) > chance) == after


def test_a_group_of_one_class_is_certain() -> None:
    found = at_known_rates([0, 0, 1, 1, 0, 1], [0.2, 0.0, 0.3, 1.0, 0.5, 0.5], ["a", "a", "b", "b", "c", "c"])
    assert found.tolist() == pytest.approx([0, 0, 1, 1, 0.5, 0.5])


def test_certain_rows_stay_and_the_others_make_up_for_them() -> None:
    found = at_known_rates([1, 1, 0, 0], [0.0, 0.3, 0.3, 1.0], [0, 0, 0, 0])
    assert found.tolist() == pytest.approx([0, 0.5, 0.5, 1])
    # Too many are certain: as near as it can come.
    assert at_known_rates([1, 1, 1, 0], [0.0, 0.0, 0.5, 0.5], [0] * 4).tolist() == pytest.approx([0, 0, 1, 1])
    assert at_known_rates([1, 0, 0, 0], [1.0, 1.0, 0.5, 0.5], [0] * 4).tolist() == pytest.approx([1, 1, 0, 0])


def test_of_no_rows_there_are_none() -> None:
    assert at_known_rates([], [], []).tolist() == []
