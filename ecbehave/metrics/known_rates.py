"""What probabilities would say if the base rate of each cutoff had been known: drift apart from shape."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import expit, logit

Floats = NDArray[np.float64]

#: Log-odds further than this from each other are 0 and 1 to one another.
_FAR = 100.0


def at_known_rates(label: ArrayLike, probability: ArrayLike, group: ArrayLike) -> Floats:
    """Return probabilities [N] whose mean in each group is the group's share of label 1.

    To the log-odds of a group's rows one number is added. What is wrong with probabilities then is their shape; what
    was wrong before and is not any more is the level, which no method knows in advance.

    Args:
        label: [N], 0 or 1.
        probability: [N] in [0, 1]; a 0 or 1 stays.
        group: [N], such as the cutoff.

    Source: Steyerberg et al. (2004), Validation and updating of predictive logistic regression models, method 1.
    """
    y, raw = np.asarray(label, dtype=np.float64), logit(np.asarray(probability, dtype=np.float64))
    found = np.empty(y.size)
    groups, place = np.unique(np.asarray(group), return_inverse=True)
    for n in range(groups.size):
        rows = place == n
        found[rows] = _at_rate(raw[rows], float(y[rows].mean()))
    return found


def _at_rate(raw: Floats, rate: float) -> Floats:
    """Return probabilities [n] with this mean, from log-odds; as near to it as they come."""

    def excess(shift: float) -> float:
        return float(expit(raw + shift).mean()) - rate

    if excess(-_FAR) >= 0:
        return np.asarray(expit(raw - _FAR))
    if excess(_FAR) <= 0:
        return np.asarray(expit(raw + _FAR))
    return np.asarray(expit(raw + brentq(excess, -_FAR, _FAR, xtol=1e-12)))
