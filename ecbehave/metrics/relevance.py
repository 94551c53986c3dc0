"""How much a feature tells of a label of 0 and 1."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

_MOST_BINS = 20


def mutual_information(values: ArrayLike, label: ArrayLike) -> float:
    """Return the information in nats that a number has of the label.

    Known values fall into up to 20 bins of about equal size that split no tie; unknown ones have a bin of their own.

    Args:
        values: float [N], NaN is unknown.
        label: [N], 0 or 1.
    """
    numbers = np.asarray(values, dtype=np.float64)
    is_known = ~np.isnan(numbers)
    known = numbers[is_known]
    code = np.zeros(numbers.size, dtype=np.int64)
    if known.size:
        edges = np.unique(np.quantile(known, np.arange(1, _MOST_BINS) / _MOST_BINS, method="inverted_cdf"))
        code[is_known] = 1 + np.searchsorted(edges, known)
    return mutual_information_of_codes(code, label)


def mutual_information_of_codes(code: ArrayLike, label: ArrayLike) -> float:
    """Return the information in nats that a category has of the label, corrected for what chance alone gives.

    It is 0 without rows, and may be below 0 where the two have nothing to do with one another.

    Source: Miller (1955), Note on the bias of information estimates.

    Args:
        code: int [N], not negative.
        label: [N], 0 or 1.
    """
    codes, y = np.asarray(code, dtype=np.int64), np.asarray(label, dtype=np.int64)
    if codes.size == 0:
        return 0.0
    joint = np.bincount(2 * codes + y, minlength=2 * int(codes.max()) + 2).reshape(-1, 2)
    return _entropy(joint.sum(axis=1)) + _entropy(joint.sum(axis=0)) - _entropy(joint)


def _entropy(n: NDArray[np.int64]) -> float:
    found = n[n > 0]
    share = found / found.sum()
    return float(-(share * np.log(share)).sum() + (found.size - 1) / (2 * found.sum()))


def loss_without(contributions: NDArray[np.float64], label: ArrayLike) -> NDArray[np.float64]:
    """Return the rise [F] of the log loss when a feature's contribution gives way to its mean.

    Below 0, the rows would be better off without the feature.

    Args:
        contributions: [N, F + 1] to the log-odds; the last column is the base value.
        label: [N], 0 or 1.
    """
    sign = np.where(np.asarray(label) == 1, -1.0, 1.0)
    score = contributions.sum(axis=1)
    loss = np.logaddexp(0, sign * score).mean()
    drivers = contributions[:, :-1]
    rises = [np.logaddexp(0, sign * (score - driver + driver.mean())).mean() - loss for driver in drivers.T]
    return np.array(rises)
