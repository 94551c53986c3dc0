"""Metrics of a yes-or-no task, on plain arrays.

Everywhere: `label` is int8 or bool [N]; `score` is float64 [N], higher is more likely positive; `probability`
is float64 [N] in [0, 1]; `weight` is float64 [N], not negative, and a row of weight w counts as w equal rows.
What is undefined is nan: everything without rows, AUROC and AUPRC with one class only, ratios without a
denominator. No result depends on the order of rows, and a tie is never split by it. Wrong arrays raise
ValueError.
"""

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from ecbehave.metrics.tally import Confusion, Floats, Groups, Tally

N_BINS = 10
N_DECILES = 10
MAX_POINTS = 200


def auroc(label: ArrayLike, score: ArrayLike, weight: ArrayLike | None = None) -> float:
    """Area under the ROC curve; ties count half.

    Source: Hanley and McNeil (1982), the Mann-Whitney form.
    """
    return Groups.of_scores(label, score).tally(weight).auroc()


def auprc(label: ArrayLike, score: ArrayLike, weight: ArrayLike | None = None) -> float:
    """Average precision, the step-wise area under the precision-recall curve: sum of (R_n - R_{n-1}) P_n.

    Source: scikit-learn, `average_precision_score`.
    """
    return Groups.of_scores(label, score).tally(weight).auprc()


def log_loss(label: ArrayLike, probability: ArrayLike, weight: ArrayLike | None = None) -> float:
    """Mean negative log-likelihood in nats; probabilities are clipped to [eps, 1 - eps], eps = 2.2e-16."""
    return Groups.of_probabilities(label, probability).tally(weight).log_loss()


def brier(label: ArrayLike, probability: ArrayLike, weight: ArrayLike | None = None) -> float:
    """Mean squared difference of probability and label.

    Source: Brier (1950), in its one-class form (0 best, 1 worst).
    """
    return Groups.of_probabilities(label, probability).tally(weight).brier()


def calibration_error(
    label: ArrayLike, probability: ArrayLike, weight: ArrayLike | None = None, n_bins: int = N_BINS
) -> float:
    """Expected calibration error over equal-mass bins: sum of n_b / N x |mean probability - rate|.

    Equal probabilities stay in one bin, the one that holds the middle of their weight.

    Source: Naeini, Cooper and Hauskrecht (2015), with the equal-mass bins of Nguyen and O'Connor (2015).
    """
    return Groups.of_probabilities(label, probability).tally(weight).calibration_error(n_bins)


def confusion(
    label: ArrayLike, probability: ArrayLike, threshold: float, weight: ArrayLike | None = None
) -> Confusion:
    """Confusion matrix (with accuracy, precision, recall, f1); probability >= threshold means positive."""
    return Groups.of_probabilities(label, probability).tally(weight).confusion(threshold)


def lift(label: ArrayLike, score: ArrayLike, weight: ArrayLike | None = None, share: float = 0.1) -> float:
    """Rate of positives in the top `share` of rows over the overall rate.

    The top is exactly `share` of the weight, with a fraction of a row where that is no whole number; a tie at
    its boundary counts with the expectation over all orders.

    Raises:
        ValueError: `share` is not in (0, 1], or the arrays are wrong.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must be above 0 and at most 1, not {share}")
    return Groups.of_scores(label, score).tally(weight).lift(share)


def best_f1_threshold(label: ArrayLike, probability: ArrayLike) -> float:
    """Return the probability at which F1 is highest; the highest such one where several are best.

    Raises:
        ValueError: no row is positive, so that F1 is 0 at every threshold, or the arrays are wrong.
    """
    tally = Groups.of_probabilities(label, probability).tally()
    if not tally.positive.any():
        raise ValueError("no row is positive: F1 cannot choose a threshold; set the threshold to a number")
    called = np.cumsum(tally.positive + tally.negative)
    f1 = 2 * np.cumsum(tally.positive) / (called + tally.positive.sum())
    return float(tally.value[np.argmax(f1)])


def gains(label: ArrayLike, score: ArrayLike) -> pl.DataFrame:
    """Return the gains table, the highest scores first.

    Each decile holds exactly a tenth of the rows, so `n` and `positives` are fractional where a row or a tie
    is shared between two deciles (then by expectation, as in `lift`).

    Returns:
        decile (1 to 10), n, positives, rate, lift (rate over the overall rate), cumulative_gain (share of all
        positives down to this decile). What is undefined is null; no rows, no deciles.
    """
    tally = Groups.of_scores(label, score).tally()
    decile = np.arange(1, N_DECILES + 1) if tally.n else np.arange(0)
    captured = tally.captured(decile / N_DECILES)
    table = pl.DataFrame(
        {"decile": decile, "positives": np.diff(captured, prepend=0.0), "captured": captured}
    )
    n_positive = float(tally.positive.sum()) or None
    rate = pl.col("positives") * N_DECILES / tally.n
    return table.select(
        "decile",
        n=pl.lit(tally.n / N_DECILES),
        positives="positives",
        rate=rate,
        lift=pl.col("positives") * N_DECILES / pl.lit(n_positive, pl.Float64),
        cumulative_gain=pl.col("captured") / pl.lit(n_positive, pl.Float64),
    )


def reliability(label: ArrayLike, probability: ArrayLike, n_bins: int = N_BINS) -> pl.DataFrame:
    """Return the equal-mass bins behind `calibration_error`, ascending, without empty ones.

    Returns:
        bin (from 1 on), mean_probability, rate, n.
    """
    bins = Groups.of_probabilities(label, probability).tally().bins(n_bins)
    return pl.DataFrame(
        {
            "bin": np.arange(1, len(bins.n) + 1),
            "mean_probability": bins.mean_probability,
            "rate": bins.rate,
            "n": bins.n.astype(np.int64),
        }
    )


def roc_curve(label: ArrayLike, score: ArrayLike, max_points: int = MAX_POINTS) -> pl.DataFrame:
    """Return points of the ROC curve from (0, 0) to (1, 1), at most `max_points`; none with one class only.

    Returns:
        false_positive_rate, true_positive_rate.
    """
    tally = Groups.of_scores(label, score).tally()
    recall, false_positive_rate = _rates(tally)
    kept = _thin(recall + false_positive_rate, max_points - 1)
    return pl.DataFrame(
        {
            "false_positive_rate": _from_zero(false_positive_rate[kept]),
            "true_positive_rate": _from_zero(recall[kept]),
        }
    )


def precision_recall_curve(label: ArrayLike, score: ArrayLike, max_points: int = MAX_POINTS) -> pl.DataFrame:
    """Return points of the precision-recall curve by rising recall, at most `max_points`.

    With one class only there are none.

    Returns:
        recall, precision.
    """
    tally = Groups.of_scores(label, score).tally()
    recall, false_positive_rate = _rates(tally)
    kept = _thin(recall + false_positive_rate, max_points)
    precision = np.cumsum(tally.positive) / np.cumsum(tally.positive + tally.negative)
    return pl.DataFrame({"recall": recall[kept], "precision": precision[kept]})


def _rates(tally: Tally) -> tuple[Floats, Floats]:
    """Return recall and false positive rate at each distinct score; empty with one class only."""
    if not tally.has_both_classes:
        return np.empty(0), np.empty(0)
    return (
        np.cumsum(tally.positive) / tally.positive.sum(),
        np.cumsum(tally.negative) / tally.negative.sum(),
    )


def _thin(travelled: Floats, max_points: int) -> NDArray[np.intp]:
    """Choose points at even steps along the curve, with its first and last.

    Even steps by row would leave hardly any point where positives are rare and the model is good.
    """
    if len(travelled) <= max_points:
        return np.arange(len(travelled))
    steps = np.linspace(travelled[0], travelled[-1], max_points)
    return np.unique(np.searchsorted(travelled, steps))


def _from_zero(rates: Floats) -> Floats:
    return np.append(0.0, rates) if len(rates) else rates
