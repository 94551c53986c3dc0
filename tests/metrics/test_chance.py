"""What chance does, against labels drawn one by one and against textbook formulas."""

import numpy as np
import polars as pl
import pytest
from scipy import stats

from ecbehave.metrics.chance import calibration_chance, odds_ratio, z_of_two_rates
from ecbehave.metrics.classification import calibration_error


def drawn_one_by_one(p: np.ndarray, n_draws: int, n_bins: int = 10) -> float:
    rng = np.random.default_rng(11)
    errors = [calibration_error(rng.random(p.size) < p, p, n_bins=n_bins) for _ in range(n_draws)]
    return float(np.quantile(errors, 0.95))


@pytest.mark.parametrize(
    "p",
    [
        np.random.default_rng(0).beta(1, 6, 60),
        np.random.default_rng(1).beta(1, 6, 2_000),
        np.random.default_rng(2).beta(3, 2, 4_500),  # more rows than cells
        np.random.default_rng(3).integers(0, 11, 1_500) / 10,  # ties, some of them certain
        np.repeat([0.02, 0.5], [900, 100]),
    ],
    ids=["few", "rare", "many", "ties", "two"],
)
def test_it_is_what_labels_drawn_one_by_one_give(p: np.ndarray) -> None:
    found = calibration_chance(p, np.random.default_rng(0), n_draws=2_000)
    assert found == pytest.approx(drawn_one_by_one(p, 600), rel=0.08)


@pytest.mark.parametrize("n_bins", [1, 5, 20])
def test_it_follows_the_bins(n_bins: int) -> None:
    p = np.random.default_rng(5).beta(2, 5, 800)
    found = calibration_chance(p, np.random.default_rng(0), n_bins, n_draws=2_000)
    assert found == pytest.approx(drawn_one_by_one(p, 600, n_bins), rel=0.08)


def test_one_bin_is_the_binomial_distribution() -> None:
    """All rows alike: |rate - p| stays under its 95 % quantile."""
    found = calibration_chance(np.full(1_000, 0.3), np.random.default_rng(0), n_draws=20_000)
    assert found == pytest.approx(1.96 * np.sqrt(0.3 * 0.7 / 1_000), rel=0.04)


def test_a_tie_beside_small_groups_stays_in_its_own_bin() -> None:
    """Half of the rows are one tie; it fills its bin alone, and so do the draws."""
    p = np.concatenate([np.linspace(0.1, 0.2, 500), np.full(1_000, 0.25), np.linspace(0.3, 0.9, 500)])
    found = calibration_chance(p, np.random.default_rng(0), n_draws=4_000)
    assert found == pytest.approx(drawn_one_by_one(p, 600), rel=0.06)


def test_it_falls_with_the_root_of_the_rows() -> None:
    p = np.random.default_rng(6).beta(1, 9, 1_000)
    small, large = (calibration_chance(np.tile(p, n), np.random.default_rng(0)) for n in (1, 100))
    assert small == pytest.approx(10 * large, rel=0.1)
    assert 0.01 < small < 0.03


def test_the_same_seed_and_any_order_give_the_same() -> None:
    p = np.random.default_rng(7).random(3_000)
    one = calibration_chance(p, np.random.default_rng(1))
    assert calibration_chance(p[::-1], np.random.default_rng(1)) == one
    assert calibration_chance(pl.Series(p), np.random.default_rng(1)) == one
    assert calibration_chance(p, np.random.default_rng(2)) != one


def test_certain_and_missing_rows() -> None:
    assert calibration_chance(np.array([0.0, 0.0, 1.0]), np.random.default_rng(0)) == 0
    assert np.isnan(calibration_chance(np.array([]), np.random.default_rng(0)))
    with pytest.raises(ValueError, match="outside"):
        calibration_chance([0.5, 1.5], np.random.default_rng(0))


def test_two_rates_are_compared_as_a_chi_squared_test_does() -> None:
    z = z_of_two_rates((40, 90), (400, 600))
    table = [[40, 360], [90, 510]]
    assert z**2 == pytest.approx(stats.chi2_contingency(table, correction=False).statistic)
    assert z > 0
    assert z_of_two_rates((90, 40), (600, 400)) == pytest.approx(-z)
    assert z_of_two_rates((0, 0), (5, 9)) == 0


def test_odds() -> None:
    assert odds_ratio((100, 200), (1_000, 1_000)) == pytest.approx((200 / 800) / (100 / 900), rel=0.01)
    assert odds_ratio((0, 5), (10, 10)) == pytest.approx((5.5 / 5.5) / (0.5 / 10.5))
    assert odds_ratio((5, 0), (10, 10)) == pytest.approx((0.5 / 10.5) / (5.5 / 5.5))
