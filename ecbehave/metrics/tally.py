"""The one form behind every classification metric: the weight of each class at each distinct value.

Rows that share a value cannot be told apart, so a metric that only sees the tally cannot split ties by row
order. Grouping the rows costs a sort once; a further set of weights costs O(N), which is what a bootstrap
needs. Sums use numpy's own order and never BLAS, whose result changes with the number of threads.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

#: Probabilities are clipped to [CLIP, 1 - CLIP] before the logarithm, as scikit-learn does for float64.
CLIP = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Confusion:
    """Rows (or weight) by predicted and true class; a ratio without a denominator is nan."""

    tp: float
    fp: float
    fn: float
    tn: float

    @classmethod
    def of(cls, label: ArrayLike, is_positive: ArrayLike, weight: ArrayLike | None = None) -> "Confusion":
        """Count rows, or their weight, by what they were called and what they are.

        Args:
            label: [N] 0 or 1.
            is_positive: [N] who is called positive.
            weight: [N], by default 1.
        """
        cell = 2 * np.asarray(is_positive, np.intp) + np.asarray(label, np.intp)
        tn, fn, fp, tp = np.bincount(cell, weight, 4).astype(np.float64).tolist()
        return cls(tp=tp, fp=fp, fn=fn, tn=tn)

    @property
    def accuracy(self) -> float:
        """Share of rows that are classified right."""
        return _ratio(self.tp + self.tn, self.tp + self.fp + self.fn + self.tn)

    @property
    def precision(self) -> float:
        """Share of true positives among the rows called positive; nan where none is called so."""
        return _ratio(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float:
        """Share of the positive rows that are called positive; nan where there is none."""
        return _ratio(self.tp, self.tp + self.fn)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall: 2 tp / (2 tp + fp + fn)."""
        return _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)


@dataclass(frozen=True)
class Bins:
    """Equal-mass bins of probability, ascending, without empty ones; all arrays are [n bins]."""

    n: Floats
    mean_probability: Floats
    rate: Floats


@dataclass(frozen=True)
class Tally:
    """Weight of positive and of negative rows at each distinct value.

    Attributes:
        value: [G] scores or probabilities, strictly descending.
        positive: [G] weight of the rows with label 1 at that value.
        negative: [G] weight of the rows with label 0; positive + negative > 0 in every group.
    """

    value: Floats
    positive: Floats
    negative: Floats

    @property
    def n(self) -> float:
        """Total weight: the number of rows where weights are 1."""
        return float(self.positive.sum() + self.negative.sum())

    @property
    def has_both_classes(self) -> bool:
        """Whether rows of both labels carry weight."""
        return bool(self.positive.any() and self.negative.any())

    def auroc(self) -> float:
        """Chance that a positive row has a higher value than a negative one; a tie counts half."""
        if not self.has_both_classes:
            return float("nan")
        n_negative = self.negative.sum()
        below = n_negative - np.cumsum(self.negative)
        wins = (self.positive * (below + self.negative / 2)).sum()
        return float(wins / (self.positive.sum() * n_negative))

    def auprc(self) -> float:
        """Average precision: precision at each distinct value, weighted by the recall gained there."""
        if not self.has_both_classes:
            return float("nan")
        precision = np.cumsum(self.positive) / np.cumsum(self.positive + self.negative)
        return float((self.positive * precision).sum() / self.positive.sum())

    def lift(self, share: float) -> float:
        """Rate of positives in the top `share` of the weight over the overall rate."""
        return _ratio(float(self.captured(np.array([share]))[0]), share * float(self.positive.sum()))

    def captured(self, shares: Floats) -> Floats:
        """Return the weight of positives within each top share of the rows.

        Between two distinct values the curve is linear, which is the expectation over all orders of the tie.
        """
        ends = np.cumsum(self.positive + self.negative)
        found = np.cumsum(self.positive)
        captured: Floats = np.interp(shares * self.n, np.append(0.0, ends), np.append(0.0, found))
        return captured

    def log_loss(self) -> float:
        """Mean negative log-likelihood of the labels, in nats; values are probabilities, clipped by CLIP."""
        p = np.clip(self.value, CLIP, 1 - CLIP)
        return _ratio(float(-(self.positive * np.log(p) + self.negative * np.log1p(-p)).sum()), self.n)

    def brier(self) -> float:
        """Mean squared difference of probability and label."""
        squares = self.positive * (1 - self.value) ** 2 + self.negative * self.value**2
        return _ratio(float(squares.sum()), self.n)

    def confusion(self, threshold: float) -> Confusion:
        """Count the classes where value >= threshold means positive."""
        called = self.value >= threshold
        return Confusion(
            tp=float(self.positive[called].sum()),
            fp=float(self.negative[called].sum()),
            fn=float(self.positive[~called].sum()),
            tn=float(self.negative[~called].sum()),
        )

    def bins(self, n_bins: int) -> Bins:
        """Cut the rows into at most `n_bins` bins of equal weight, ascending in probability.

        A tied group goes whole to the bin that holds its middle, so a bin may be heavier, and one that is
        left empty is dropped.
        """
        value, positive = self.value[::-1], self.positive[::-1]
        weight = positive + self.negative[::-1]
        middle = 2 * np.cumsum(weight) - weight  # doubled, so that whole weights stay exact
        bin_of = (middle * n_bins // (2 * self.n)).astype(np.intp)
        n: Floats = np.bincount(bin_of, weight, n_bins).astype(np.float64)
        kept = n > 0
        return Bins(
            n=n[kept],
            mean_probability=np.bincount(bin_of, weight * value, n_bins)[kept] / n[kept],
            rate=np.bincount(bin_of, positive, n_bins)[kept] / n[kept],
        )

    def calibration_error(self, n_bins: int) -> float:
        """Mean over equal-mass bins, by weight, of |mean probability - rate|."""
        bins = self.bins(n_bins)
        return _ratio(float((bins.n * np.abs(bins.mean_probability - bins.rate)).sum()), self.n)


@dataclass(frozen=True)
class Groups:
    """Rows grouped by equal value, so that any number of weightings share one sort.

    Attributes:
        value: [G] distinct values, strictly descending.
        cell: [N] of each row, its group g if the label is 0, G + g if it is 1.
    """

    value: Floats
    cell: NDArray[np.intp]

    @classmethod
    def of_scores(cls, label: ArrayLike, score: ArrayLike) -> "Groups":
        """Group rows by score.

        Args:
            label: [N] 0 or 1.
            score: [N] any number, higher is more likely positive.

        Raises:
            ValueError: lengths differ, a label is not 0 or 1, or a score is nan.
        """
        labels, scores = np.asarray(label), np.asarray(score, dtype=np.float64)
        if labels.shape != scores.shape or labels.ndim != 1:
            raise ValueError(f"labels {labels.shape} and scores {scores.shape} must be columns of one length")
        wrong = ~np.isin(labels, (0, 1))
        if wrong.any():
            raise ValueError(f"{wrong.sum()} label(s) are neither 0 nor 1, e.g. {labels[wrong][0]}")
        if np.isnan(scores).any():
            raise ValueError(f"{np.isnan(scores).sum()} score(s) are nan; every row needs a score")
        ascending, group = np.unique(scores, return_inverse=True)
        n_groups = len(ascending)
        return cls(ascending[::-1], (n_groups - 1 - group) + n_groups * labels.astype(np.intp))

    @classmethod
    def of_probabilities(cls, label: ArrayLike, probability: ArrayLike) -> "Groups":
        """Group rows by probability.

        Raises:
            ValueError: as `of_scores`, or a probability is outside [0, 1].
        """
        groups = cls.of_scores(label, probability)
        outside = (groups.value < 0) | (groups.value > 1)
        if outside.any():
            raise ValueError(
                f"{outside.sum()} distinct probability value(s) outside [0, 1], "
                f"e.g. {groups.value[outside][0]}; calibrate the scores first"
            )
        return groups

    def tally(self, weight: ArrayLike | None = None) -> Tally:
        """Sum the weights by value and class; rows count 1 where no weight is given, and 0 leaves a row out.

        Args:
            weight: [N] not negative.

        Raises:
            ValueError: the length differs from the rows, or a weight is negative or not finite.
        """
        n_groups = len(self.value)
        weights = None if weight is None else _checked_weight(weight, len(self.cell))
        sums = np.bincount(self.cell, weights, 2 * n_groups).astype(np.float64)
        negative, positive = sums[:n_groups], sums[n_groups:]
        kept = negative + positive > 0
        return Tally(self.value[kept], positive[kept], negative[kept])


def _checked_weight(weight: ArrayLike, n_rows: int) -> Floats:
    weights = np.asarray(weight, dtype=np.float64)
    if weights.shape != (n_rows,):
        raise ValueError(f"weights {weights.shape} do not match {n_rows} rows")
    if n_rows and not (weights.min() >= 0 and weights.max() < np.inf):
        raise ValueError("weights must be finite and not negative")
    return weights


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else float("nan")
