"""Money and places, against sums by hand."""

import numpy as np
import polars as pl
import pytest
from sklearn import metrics as reference

from ecbehave.metrics import decision
from ecbehave.metrics.bootstrap import compare_sums
from ecbehave.metrics.decision import Money, places
from ecbehave.metrics.tally import Confusion

RNG = np.random.default_rng(0)


def test_a_row_pays_from_the_threshold_on() -> None:
    money = Money(gain=4.0, cost=1.0)
    assert money.threshold == 0.25
    assert money.of_rows([0.25], [True]) == 0
    assert money.of_rows([0.26], [True]) > 0


def test_only_targeted_rows_bring_and_cost() -> None:
    brought = Money(gain=10.0, cost=3.0).of_rows([1, 1, 0, 0], [True, False, True, False])
    assert brought.tolist() == [7.0, 0.0, -3.0, 0.0]


def test_no_other_threshold_is_expected_to_bring_more() -> None:
    money, p = Money(gain=7.0, cost=2.0), RNG.random(500)
    chosen = money.of_rows(p, p >= money.threshold).sum()
    assert all(chosen >= money.of_rows(p, p >= t).sum() for t in np.linspace(0, 1, 101))


def test_the_curve_is_the_sum_over_the_highest_scores() -> None:
    score, label = RNG.normal(size=199), RNG.integers(0, 2, 199)
    money = Money(gain=5.0, cost=2.0)
    curve = money.curve(label, score, max_points=200)
    assert curve.columns == ["share", "profit"]
    order = np.argsort(-score)
    by_hand = np.concatenate([[0], np.cumsum(label[order] * 5.0 - 2.0)])
    np.testing.assert_allclose(curve["share"], np.arange(200) / 199, atol=1e-12)
    np.testing.assert_allclose(curve["profit"], by_hand, atol=1e-9)


def test_the_curve_ends_where_all_rows_are_targeted() -> None:
    label = RNG.integers(0, 2, 5_000)
    curve = Money(gain=3.0, cost=1.0).curve(label, RNG.normal(size=5_000))
    assert curve.height == 200
    assert curve["profit"][0] == 0
    assert curve["profit"][-1] == pytest.approx(label.sum() * 3.0 - 5_000)


def test_a_tie_is_shared_out() -> None:
    curve = Money(gain=10.0, cost=1.0).curve([1, 0], [0.5, 0.5], max_points=3)
    assert curve["profit"].to_list() == [0.0, 4.0, 8.0]


def test_no_rows_have_no_curve() -> None:
    assert Money(1.0, 0.5).curve([], []).height == 0


def test_places_by_descending_score_and_of_equal_ones_the_earlier_row_first() -> None:
    assert places([0.1, 0.9, 0.5, 0.9]).tolist() == [3, 0, 2, 1]
    assert places([]).tolist() == []


def test_places_of_many_rows_are_given_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    score = np.random.default_rng(0).integers(5, size=23).astype(np.float64)
    whole = places(score).tolist()
    monkeypatch.setattr(decision, "_AT_ONCE", 4)
    assert places(score).tolist() == whole
    assert places([]).dtype == places([0.5]).dtype == np.int64


def test_places_among_all_rows_are_those_among_the_rows_of_one_group() -> None:
    """Ties, both zeros and both infinities; what is no number comes last."""
    score = RNG.choice([0.0, -0.0, 1.5, -2.5, np.inf, -np.inf, np.nan], 500)
    found, before = places(score), score.copy()
    assert found.tolist() == places(score, np.zeros(500)).tolist()
    value = np.where(np.isnan(score), -np.inf, score)
    by_hand = sorted(range(500), key=lambda row: (np.isnan(score[row]), -value[row], row))
    assert [by_hand.index(row) for row in range(500)] == found.tolist()
    np.testing.assert_array_equal(score, before)


def test_places_among_the_rows_of_a_group() -> None:
    score, group = RNG.integers(0, 5, 300) / 4, RNG.integers(0, 4, 300)
    found = places(score, group)
    for g in range(4):
        assert found[group == g].tolist() == places(score[group == g]).tolist()
    assert places([1, 2, 3], [0, 2, 2]).tolist() == [0, 1, 0]


# Confusion and sums


def test_rows_are_counted_by_what_they_were_called_and_are() -> None:
    label, called, weight = RNG.integers(0, 2, 300), RNG.random(300) < 0.3, RNG.integers(0, 4, 300)
    (tn, fp), (fn, tp) = reference.confusion_matrix(label, called).tolist()
    assert Confusion.of(label, called) == Confusion(tp=tp, fp=fp, fn=fn, tn=tn)
    (tn, fp), (fn, tp) = reference.confusion_matrix(label, called, sample_weight=weight).tolist()
    assert Confusion.of(pl.Series(label), pl.Series(called), weight) == Confusion(tp=tp, fp=fp, fn=fn, tn=tn)
    assert Confusion.of([], []) == Confusion(0, 0, 0, 0)


def test_sums_are_compared_over_drawn_users() -> None:
    frame = pl.DataFrame(
        {
            "user_id": [f"u{i // 2:02d}" for i in range(80)],
            "profit": RNG.normal(1, 2, 80),
            "baseline_profit": RNG.normal(0, 2, 80),
        }
    )
    found = compare_sums(
        frame.sample(fraction=1, shuffle=True, seed=1), ["profit"], 50, np.random.default_rng(3)
    )
    by_user = frame.group_by("user_id").agg(pl.all().sum()).sort("user_id")
    rng = np.random.default_rng(3)
    draws = np.array(
        [
            [by_user[c].to_numpy()[drawn].sum() for c in ("profit", "baseline_profit")]
            for drawn in rng.integers(40, size=(50, 40))
        ]
    )
    sides = {"model": draws[:, 0], "baseline": draws[:, 1], "difference": draws[:, 0] - draws[:, 1]}
    whole = frame["profit"].sum(), frame["baseline_profit"].sum()
    values = {"model": whole[0], "baseline": whole[1], "difference": whole[0] - whole[1]}
    for side, of_side in sides.items():
        low, high = np.quantile(of_side, [0.025, 0.975])
        expected = {"value": values[side], "low": low, "high": high}
        assert found[side]["profit"] == pytest.approx(expected)  # type: ignore[literal-required]
