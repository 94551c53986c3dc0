"""How much a feature tells of a label: beside scikit-learn and a slow oracle."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import mutual_info_score

from ecbehave.metrics.relevance import loss_without, mutual_information, mutual_information_of_codes

pairs = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1)), min_size=1, max_size=40)


def correction(codes: list[int], label: list[int]) -> float:
    """Miller's, of each of the three entropies."""
    n_found = len(set(codes)) + len(set(label)) - len(set(zip(codes, label, strict=True)))
    return (n_found - 1) / (2 * len(codes))


@settings(deadline=None, max_examples=50)
@given(pairs=pairs)
def test_codes_equal_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    codes, label = [c for c, _ in pairs], [y for _, y in pairs]
    expected = mutual_info_score(codes, label) + correction(codes, label)
    assert mutual_information_of_codes(codes, label) == pytest.approx(expected, abs=1e-9)


@settings(deadline=None, max_examples=50)
@given(pairs=pairs)
def test_a_number_of_few_values_has_a_bin_for_each(pairs: list[tuple[int, int]]) -> None:
    """Up to the quantiles that are looked at: with five rows per value no value can hide between two of them."""
    pairs = [pair for value in range(6) for pair in [p for p in pairs if p[0] == value][:1] * 5] or [(0, 1)]
    codes, label = [c for c, _ in pairs], [y for _, y in pairs]
    numbers = [math.nan if c == 3 else c * 1.5 for c in codes]
    expected = mutual_info_score(codes, label) + correction(codes, label)
    assert mutual_information(numbers, label) == pytest.approx(expected, abs=1e-9)


def test_what_decides_tells_all_and_what_is_random_nothing() -> None:
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 4000)
    decides, noise = label * 10 + rng.random(4000), rng.random(4000)
    assert mutual_information(decides, label) == pytest.approx(math.log(2), abs=0.03)
    assert abs(mutual_information(noise, label)) < 0.003


def test_that_a_number_is_unknown_can_tell() -> None:
    label = np.array([0, 1] * 500)
    assert mutual_information(np.where(label == 1, np.nan, 3.0), label) == pytest.approx(
        math.log(2), abs=1e-3
    )


def test_chance_of_many_categories_is_taken_out() -> None:
    rng = np.random.default_rng(0)
    codes, label = rng.integers(0, 200, 2000), rng.integers(0, 2, 2000)
    assert mutual_info_score(codes, label) > 0.04
    assert abs(mutual_information_of_codes(codes, label)) < 0.01


def test_no_rows_tell_nothing() -> None:
    assert mutual_information([], []) == 0.0


def test_loss_without_a_feature_equals_the_loss_with_its_mean() -> None:
    rng = np.random.default_rng(0)
    contributions, label = rng.normal(size=(50, 4)), rng.integers(0, 2, 50)

    def loss(columns: np.ndarray) -> float:  # type: ignore[type-arg]
        total = 0.0
        for row, y in zip(columns, label, strict=True):
            p = 1 / (1 + math.exp(-sum(row)))
            total -= math.log(p if y else 1 - p)
        return total / len(label)

    for n, rise in enumerate(loss_without(contributions, label)):
        flat = contributions.copy()
        flat[:, n] = flat[:, n].mean()
        assert rise == pytest.approx(loss(flat) - loss(contributions), abs=1e-9)


def test_a_helpful_feature_is_above_zero_a_harmful_one_below() -> None:
    label = np.array([0, 1] * 20)
    truth = np.where(label == 1, 1.0, -1.0)
    helpful, harmful, nothing = loss_without(
        np.column_stack([truth, -0.5 * truth, 0 * truth, 0 * truth]), label
    )
    assert helpful > 0 > harmful
    assert nothing == 0
