import numpy as np
import pytest

from ecbehave.report.binary_content import BinaryDetail, ScoreHistogram
from ecbehave.report.compared import Interval, MetricRow, Verdict, verdict


def row(model, baseline, low, high, **options) -> MetricRow:
    options = {"name": "auroc", "label": "AUROC"} | options
    difference = None if model is None or baseline is None else model - baseline
    return MetricRow(
        model=Interval(model),
        baseline=Interval(baseline),
        difference=Interval(difference, low, high),
        **options,
    )


def log_loss(model, baseline, low, high) -> MetricRow:
    return row(model, baseline, low, high, name="log_loss", label="log loss", lower_is_better=True)


BEATS, UNCLEAR, WORSE = (
    "The model beats the baseline rfm: ",
    "The model does NOT clearly beat the baseline rfm: ",
    "The model is worse than the baseline rfm: ",
)


@pytest.mark.parametrize(
    ("metric", "standing", "text"),
    [
        (
            row(0.851, 0.831, 0.008, 0.033),
            "better",
            BEATS + "AUROC 0.851 against 0.831, better by 0.020 (95 % interval 0.008 to 0.033).",
        ),
        (
            row(0.851, 0.845, -0.004, 0.016),
            "unclear",
            UNCLEAR + "AUROC 0.851 against 0.845, better by 0.006 "
            "(95 % interval -0.004 to 0.016, which contains zero).",
        ),
        (
            row(0.84, 0.845, -0.016, 0.004),
            "unclear",
            UNCLEAR + "AUROC 0.840 against 0.845, worse by 0.005 "
            "(95 % interval -0.004 to 0.016, which contains zero).",
        ),
        (
            row(0.811, 0.831, -0.033, -0.008),
            "worse",
            WORSE + "AUROC 0.811 against 0.831, worse by 0.020 (95 % interval 0.008 to 0.033).",
        ),
        (
            log_loss(0.371, 0.389, -0.03, -0.006),
            "better",
            BEATS + "log loss 0.371 against 0.389, better by 0.018 (95 % interval 0.006 to 0.030).",
        ),
        (
            log_loss(0.389, 0.371, 0.006, 0.03),
            "worse",
            WORSE + "log loss 0.389 against 0.371, worse by 0.018 (95 % interval 0.006 to 0.030).",
        ),
        (
            log_loss(0.38, 0.389, -0.03, 0.006),
            "unclear",
            UNCLEAR + "log loss 0.380 against 0.389, better by 0.009 "
            "(95 % interval -0.006 to 0.030, which contains zero).",
        ),
        (
            row(0.831, 0.831, 0.0, 0.0),
            "unclear",
            UNCLEAR + "AUROC 0.831 against 0.831, no difference "
            "(95 % interval 0.000 to 0.000, which contains zero).",
        ),
        (
            row(0.851, 0.831, None, None),
            "unclear",
            UNCLEAR + "AUROC 0.851 against 0.831, better by 0.020 (without an interval).",
        ),
        (
            row(0.85, 0.83, 0.008, 0.033, label="accuracy", unit="percent"),
            "better",
            BEATS + "accuracy 85.0 % against 83.0 %, better by 2.0 points (95 % interval 0.8 to 3.3).",
        ),
        (
            row(0.8514, 0.851, 0.0001, 0.0007),
            "better",
            BEATS + "AUROC 0.85140 against 0.85100, better by 0.00040 (95 % interval 0.00010 to 0.00070).",
        ),
    ],
)
def test_verdict(metric, standing, text):
    assert verdict(metric, "rfm") == Verdict(standing, text)


@pytest.mark.parametrize(
    "metric",
    [row(None, None, None, None), row(0.8, None, None, None), row(float("nan"), 0.8, float("nan"), 0.1)],
)
def test_verdict_of_an_undefined_metric(metric):
    assert verdict(metric, "rfm") == Verdict(
        "undefined",
        "The model cannot be compared with the baseline rfm: AUROC is not defined, because the test rows "
        "hold one class only.",
    )


def test_verdict_names_another_reason():
    found = verdict(row(None, None, None, None, label="NDCG@10"), "popularity", "no user has a true item")
    assert found.text == (
        "The model cannot be compared with the baseline popularity: NDCG@10 is not defined, because no user "
        "has a true item."
    )


def test_a_bound_at_zero_is_not_clear():
    assert row(0.85, 0.83, 0.0, 0.04).standing == "unclear"
    assert row(0.83, 0.85, -0.04, 0.0).standing == "unclear"


def test_an_interval_takes_nan_and_infinity_as_not_defined():
    assert Interval(float("nan"), float("-inf"), 1.0) == Interval(None, None, 1.0)
    assert Interval(0.5, None, 1.0).width is None
    assert Interval(0.5, 0.25, 1.0).width == 0.75


def test_base_rate():
    assert BinaryDetail("churners", "others", n_rows=8, n_positive=2).base_rate == 0.25
    assert BinaryDetail("churners", "others", n_rows=0, n_positive=0).base_rate == 0


def test_histogram_counts_each_class_from_zero_to_the_highest_score():
    histogram = ScoreHistogram.of(
        np.array([0.1, 0.2, 0.3, 0.8]), np.array([False, False, True, True]), n_bins=4
    )
    assert histogram == ScoreHistogram([0.0, 0.2, 0.4, 0.6000000000000001, 0.8], [0, 1, 0, 1], [1, 1, 0, 0])


def test_histogram_of_scores_below_zero_of_equal_scores_and_of_none():
    below = ScoreHistogram.of(np.array([-2.0, 2.0]), np.array([True, False]), n_bins=2)
    assert below == ScoreHistogram([-2.0, 0.0, 2.0], [1, 0], [0, 1])
    zeros = ScoreHistogram.of(np.zeros(3), np.array([True, False, False]), n_bins=2)
    assert (sum(zeros.positives), sum(zeros.negatives)) == (1, 2)
    none = ScoreHistogram.of(np.array([]), np.array([], dtype=bool), n_bins=2)
    assert (none.positives, none.negatives) == ([0, 0], [0, 0])
