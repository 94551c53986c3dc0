"""Classification metrics against scikit-learn, or against slow plain Python where it has none."""

import math
from collections.abc import Callable
from itertools import permutations

import numpy as np
import polars as pl
import pytest
import sklearn.metrics as oracle
from hypothesis import given, settings
from hypothesis import strategies as st

from ecbehave.metrics.classification import (
    auprc,
    auroc,
    best_f1_threshold,
    brier,
    calibration_error,
    confusion,
    gains,
    lift,
    log_loss,
    precision_recall_curve,
    reliability,
    roc_curve,
)

# A coarse grid, so that ties and the ends 0 and 1 are common.
VALUES = st.sampled_from([0.0, 0.1, 0.25, 0.3, 0.5, 0.7, 0.75, 0.9, 1.0])
ROWS = st.lists(st.tuples(st.integers(0, 1), VALUES, st.integers(0, 3)), min_size=1, max_size=40)
SCALAR_METRICS: dict[str, Callable[..., float]] = {
    "auroc": auroc,
    "auprc": auprc,
    "log_loss": log_loss,
    "brier": brier,
    "calibration_error": calibration_error,
    "lift": lift,
    "accuracy": lambda label, p, weight=None: confusion(label, p, 0.5, weight).accuracy,
    "precision": lambda label, p, weight=None: confusion(label, p, 0.5, weight).precision,
    "recall": lambda label, p, weight=None: confusion(label, p, 0.5, weight).recall,
    "f1": lambda label, p, weight=None: confusion(label, p, 0.5, weight).f1,
}
each_metric = pytest.mark.parametrize("metric", SCALAR_METRICS.values(), ids=SCALAR_METRICS.keys())


def arrays(rows: list[tuple[int, float, int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    label, value, weight = zip(*rows, strict=True)
    return np.array(label, np.int8), np.array(value, np.float64), np.array(weight, np.float64)


def sample(n: int, seed: int, decimals: int = 2) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    probability = rng.random(n).round(decimals)
    return (rng.random(n) < probability**2).astype(np.int8), probability


@pytest.mark.parametrize("decimals", [1, 2, 12])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (auroc, oracle.roc_auc_score),
        (auprc, oracle.average_precision_score),
        (log_loss, oracle.log_loss),
        (brier, oracle.brier_score_loss),
    ],
)
def test_agrees_with_scikit_learn(ours, theirs, weighted, decimals):
    label, probability = sample(500, seed=1, decimals=decimals)
    weight = np.random.default_rng(2).integers(0, 4, 500).astype(float) if weighted else None
    expected = theirs(label, probability, sample_weight=weight)
    assert ours(label, probability, weight) == pytest.approx(expected, rel=1e-12)


def test_log_loss_of_a_certain_mistake_is_finite_and_as_scikit_learn_clips_it():
    label, probability = np.array([0, 1, 1]), np.array([1.0, 0.0, 1.0])
    assert log_loss(label, probability) == pytest.approx(oracle.log_loss(label, probability), rel=1e-12)


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 1.0])
def test_confusion_agrees_with_scikit_learn(threshold):
    label, probability = sample(200, seed=3, decimals=1)
    called = probability >= threshold
    found = confusion(label, probability, threshold)
    tn, fp, fn, tp = oracle.confusion_matrix(label, called).ravel()
    assert (found.tp, found.fp, found.fn, found.tn) == (tp, fp, fn, tn)
    assert found.accuracy == pytest.approx(oracle.accuracy_score(label, called))
    assert found.precision == pytest.approx(oracle.precision_score(label, called))
    assert found.recall == pytest.approx(oracle.recall_score(label, called))
    assert found.f1 == pytest.approx(oracle.f1_score(label, called))


def test_a_probability_equal_to_the_threshold_is_called_positive():
    assert confusion([1, 0], [0.5, 0.4], threshold=0.5).tp == 1


def slow_bins(label, probability, n_bins):
    """Yield (probabilities, labels) per bin: a tied group goes to the bin of its middle row."""
    rows = sorted(zip(probability, label, strict=True))
    bins: dict[int, list[tuple[float, int]]] = {}
    for value in sorted(set(probability)):
        before = sum(p < value for p, _ in rows)
        group = [row for row in rows if row[0] == value]
        middle = before + len(group) / 2
        bins.setdefault(math.floor(middle / len(rows) * n_bins), []).extend(group)
    return [([p for p, _ in rows], [y for _, y in rows]) for _, rows in sorted(bins.items())]


@pytest.mark.parametrize("decimals", [1, 2, 12])
@pytest.mark.parametrize("n_bins", [1, 4, 10])
def test_calibration_agrees_with_plain_python(n_bins, decimals):
    label, probability = sample(128, seed=4, decimals=decimals)
    bins = slow_bins(label.tolist(), probability.tolist(), n_bins)
    error = sum(abs(sum(p) - sum(y)) for p, y in bins) / len(label)
    assert calibration_error(label, probability, n_bins=n_bins) == pytest.approx(error, rel=1e-9)
    table = reliability(label, probability, n_bins)
    assert table.columns == ["bin", "mean_probability", "rate", "n"]
    assert table["bin"].to_list() == list(range(1, len(bins) + 1))
    assert table["n"].to_list() == [len(p) for p, _ in bins]
    assert table["mean_probability"].to_list() == pytest.approx([sum(p) / len(p) for p, _ in bins])
    assert table["rate"].to_list() == pytest.approx([sum(y) / len(y) for _, y in bins])


def test_distinct_probabilities_fill_bins_of_equal_mass():
    label, probability = sample(100, seed=5, decimals=12)
    assert reliability(label, probability)["n"].to_list() == [10] * 10


def test_calibration_error_by_hand():
    # One bin of four tied rows: 0.4 said, one of four came; one bin of four: 0.9 said, all came.
    label, probability = [1, 0, 0, 0, 1, 1, 1, 1], [0.4] * 4 + [0.9] * 4
    assert calibration_error(label, probability) == pytest.approx((0.15 + 0.1) / 2)


def slow_captured(label, score, share):
    """Mean over all orders of the ties of the positives in the top rows, the last row by its fraction."""
    totals = []
    for order in permutations(range(len(label))):
        ranked = sorted(order, key=lambda i: -score[i])  # stable: ties keep the permuted order
        top = share * len(label)
        totals.append(sum(label[i] * min(max(top - place, 0), 1) for place, i in enumerate(ranked)))
    return sum(totals) / len(totals)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("score", [[3, 3, 3, 2, 2, 1], [1, 1, 1, 1, 1, 1], [6, 5, 4, 3, 2, 1]])
def test_lift_is_the_mean_over_all_orders_of_a_tie(score, share):
    label = [0, 1, 0, 1, 0, 0]
    expected = slow_captured(label, score, share) / (share * len(label)) / (sum(label) / len(label))
    assert lift(label, score, share=share) == pytest.approx(expected)


@pytest.mark.parametrize("share", [0, -0.1, 1.1])
def test_lift_needs_a_share_of_the_rows(share):
    with pytest.raises(ValueError, match="share must be above 0 and at most 1, not"):
        lift([0, 1], [0, 1], share=share)


def test_gains_by_hand():
    label = [1] * 3 + [0] + [1] + [0] * 15  # 20 rows by falling score, two per decile
    table = gains(label, np.arange(20, 0, -1.0))
    assert table.columns == ["decile", "n", "positives", "rate", "lift", "cumulative_gain"]
    assert table["decile"].to_list() == list(range(1, 11))
    assert table["n"].to_list() == [2.0] * 10
    assert table["positives"].to_list() == pytest.approx([2, 1, 1] + [0] * 7)
    assert table["rate"].to_list() == pytest.approx([1, 0.5, 0.5] + [0] * 7)
    assert table["lift"].to_list() == pytest.approx([5, 2.5, 2.5] + [0] * 7)
    assert table["cumulative_gain"].to_list() == pytest.approx([0.5, 0.75] + [1] * 8)


def test_the_first_decile_has_the_lift_of_the_top_tenth():
    label, score = sample(123, seed=6, decimals=1)
    assert gains(label, score)["lift"][0] == pytest.approx(lift(label, score))


def test_gains_of_equal_scores_are_even():
    table = gains([1, 0, 0, 0], [0.5] * 4)
    assert table["rate"].to_list() == pytest.approx([0.25] * 10)
    assert table["cumulative_gain"].to_list() == pytest.approx(np.arange(0.1, 1.05, 0.1).tolist())


def test_gains_without_a_positive_have_a_rate_and_no_lift():
    table = gains([0, 0], [0.1, 0.2])
    assert table["rate"].to_list() == [0.0] * 10
    assert table["lift"].null_count() == table["cumulative_gain"].null_count() == 10


def test_short_curves_are_those_of_scikit_learn():
    label, score = sample(300, seed=7, decimals=2)
    fpr, tpr, _ = oracle.roc_curve(label, score, drop_intermediate=False)
    roc = roc_curve(label, score)
    assert roc.columns == ["false_positive_rate", "true_positive_rate"]
    assert roc["false_positive_rate"].to_list() == pytest.approx(fpr.tolist())
    assert roc["true_positive_rate"].to_list() == pytest.approx(tpr.tolist())
    precision, recall, _ = oracle.precision_recall_curve(label, score)
    ours = precision_recall_curve(label, score)
    assert ours.columns == ["recall", "precision"]
    # scikit-learn rises in threshold and appends the made-up point (recall 0, precision 1).
    assert ours["recall"].to_list() == pytest.approx(recall[-2::-1].tolist())
    assert ours["precision"].to_list() == pytest.approx(precision[-2::-1].tolist())


def test_long_curves_are_thinned_to_points_of_the_full_curve():
    rng = np.random.default_rng(8)
    label = (rng.random(50_000) < 0.01).astype(np.int8)
    score = rng.normal(size=50_000) + 4 * label
    roc, pr = roc_curve(label, score), precision_recall_curve(label, score)
    assert 100 < roc.height <= 200
    assert 100 < pr.height <= 200
    assert roc.row(0) == (0.0, 0.0)
    assert roc.row(-1) == (1.0, 1.0)
    full = set(roc_curve(label, score, max_points=10**6).rows())
    assert set(roc.rows()) <= full
    # Even steps along the curve keep its steep part, where a step by rows would jump from 0 to most of it.
    assert roc["true_positive_rate"].diff().max() < 0.03
    area = np.trapezoid(roc["true_positive_rate"].to_numpy(), roc["false_positive_rate"].to_numpy())
    assert area == pytest.approx(auroc(label, score), abs=1e-3)
    assert pr["recall"][-1] == 1.0


def test_best_f1_threshold_agrees_with_a_search_over_all_of_them():
    label, probability = sample(150, seed=9, decimals=2)
    by_f1 = {p: oracle.f1_score(label, probability >= p) for p in set(probability.tolist())}
    found = best_f1_threshold(label, probability)
    assert by_f1[found] == max(by_f1.values())


def test_of_equally_good_thresholds_the_highest_is_taken():
    # 0.9: tp 1, called 1, F1 2/3.  0.1: tp 2, called 4, F1 4/6.
    assert best_f1_threshold([1, 0, 0, 1], [0.9, 0.5, 0.4, 0.1]) == 0.9


def test_no_threshold_without_a_positive():
    with pytest.raises(ValueError, match="no row is positive: F1 cannot choose a threshold"):
        best_f1_threshold([0, 0], [0.1, 0.2])


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_has_no_curve_and_no_area(label):
    labels, score = [label] * 3, [0.1, 0.2, 0.3]
    assert math.isnan(auroc(labels, score))
    assert math.isnan(auprc(labels, score))
    assert roc_curve(labels, score).is_empty()
    assert precision_recall_curve(labels, score).is_empty()
    assert brier(labels, score) == pytest.approx(sum((label - s) ** 2 for s in score) / 3)


def test_ratios_without_a_denominator_are_nan():
    nothing_called = confusion([0, 1], [0.1, 0.2], threshold=0.5)
    assert math.isnan(nothing_called.precision)
    assert nothing_called.recall == nothing_called.f1 == 0
    nothing_positive = confusion([0, 0], [0.1, 0.2], threshold=0.5)
    assert math.isnan(nothing_positive.recall)
    assert math.isnan(nothing_positive.f1)
    assert math.isnan(lift([0, 0], [0.1, 0.2]))


@each_metric
def test_no_rows_and_no_weight_are_nan(metric):
    assert math.isnan(metric([], []))
    assert math.isnan(metric([0, 1], [0.2, 0.8], [0, 0]))


def test_tables_of_no_rows_are_empty_with_their_columns():
    for table in (gains([], []), reliability([], []), roc_curve([], []), precision_recall_curve([], [])):
        assert table.is_empty()
        assert table.width >= 2


@each_metric
@settings(deadline=None)
@given(rows=ROWS)
def test_a_weight_is_a_number_of_equal_rows(metric, rows):
    label, value, weight = arrays(rows)
    times = weight.astype(int)
    repeated = metric(np.repeat(label, times), np.repeat(value, times))
    assert metric(label, value, weight) == pytest.approx(repeated, rel=1e-12, nan_ok=True)


@each_metric
@settings(deadline=None)
@given(rows=ROWS, random=st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_change_a_bit(metric, rows, random):
    label, value, weight = arrays(rows)
    shuffled = list(rows)
    random.shuffle(shuffled)
    other_label, other_value, other_weight = arrays(shuffled)
    np.testing.assert_equal(metric(other_label, other_value, other_weight), metric(label, value, weight))


@each_metric
@settings(deadline=None)
@given(rows=ROWS)
def test_bounds(metric, rows):
    label, value, _ = arrays(rows)
    found = metric(label, value)
    upper = {log_loss: -math.log(np.finfo(float).eps), lift: len(label)}.get(metric, 1.0)
    assert math.isnan(found) or 0 <= found <= upper * (1 + 1e-12)


@settings(deadline=None)
@given(rows=ROWS)
def test_auroc_of_reversed_scores_is_the_complement(rows):
    label, value, weight = arrays(rows)
    found = auroc(label, value, weight)
    assert auroc(label, -value, weight) == pytest.approx(1 - found, nan_ok=True)


@settings(deadline=None)
@given(rows=ROWS)
def test_equal_scores_say_nothing(rows):
    label, _, _ = arrays(rows)
    constant = np.full(len(label), 0.5)
    if 0 < label.sum() < len(label):
        assert auroc(label, constant) == 0.5
        assert auprc(label, constant) == pytest.approx(label.mean())
        assert lift(label, constant) == pytest.approx(1)


def test_boolean_labels_and_polars_columns_are_taken():
    assert auroc(pl.Series([True, False]), pl.Series([0.9, 0.1])) == 1.0


@pytest.mark.parametrize(
    ("label", "value", "weight", "message"),
    [
        ([0, 1], [0.5], None, r"labels \(2,\) and scores \(1,\) must be columns of one length"),
        ([0, 2, 3], [0.1, 0.2, 0.3], None, r"2 label\(s\) are neither 0 nor 1, e\.g\. 2"),
        ([0, 1], [np.nan, 0.5], None, r"1 score\(s\) are nan; every row needs a score"),
        ([0, 1], [0.5, 1.5], None, r"1 distinct probability value\(s\) outside \[0, 1\], e\.g\. 1\.5"),
        ([0, 1], [-0.1, 0.5], None, r"1 distinct probability value\(s\) outside \[0, 1\], e\.g\. -0\.1"),
        ([0, 1], [0.1, 0.2], [1.0], r"weights \(1,\) do not match 2 rows"),
        ([0, 1], [0.1, 0.2], [1.0, -1.0], "weights must be finite and not negative"),
        ([0, 1], [0.1, 0.2], [1.0, np.nan], "weights must be finite and not negative"),
        ([0, 1], [0.1, 0.2], [1.0, np.inf], "weights must be finite and not negative"),
    ],
)
def test_wrong_arrays_are_refused(label, value, weight, message):
    with pytest.raises(ValueError, match=message):
        brier(label, value, weight)
