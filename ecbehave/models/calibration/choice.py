"""Which calibration suits the scores: each method judged on users that it has not learned from."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy

from ecbehave.metrics.tally import CLIP
from ecbehave.models.calibration import METHODS, Calibration

#: What `auto` takes unless another one is clearly better: the best one on real logs where models are good.
USUAL = "beta"
N_FOLDS = 5
#: With fewer rows of a class, the methods cannot be told apart, and the plainest one is taken.
FEWEST_OF_A_CLASS = 50


def fit_calibration(
    method: Literal["auto", "platt", "beta", "isotonic"],
    score: NDArray[np.float64],
    label: NDArray[np.int8],
    user_hash: NDArray[np.uint64],
) -> tuple[Calibration, dict[str, float]]:
    """Fit a calibration; `auto` chooses the method.

    It is `beta`, unless another one has a lower log loss by more than its standard error, cross-fitted: isotonic pays
    where the curve has steps and rows are many, and costs elsewhere. The rows of a user stay in one fold and count as
    one in the error, since a user at several cutoffs, or with several items, says nearly the same thing again.

    Args:
        method: one of `METHODS`, or `auto`.
        score: [N], any real numbers.
        label: [N], 0 or 1.
        user_hash: [N].

    Returns:
        The calibration, and the log loss of each method that was tried; empty where there was nothing to choose.

    Source: Breiman, Friedman, Olshen and Stone (1984), section 3.4.3, for the rule of one standard error.
    """
    from threadpoolctl import threadpool_limits

    # Threads would wait for each other at every step of the search, for products of two or three numbers.
    with threadpool_limits(1, "blas"):
        tried = _losses(score, label, user_hash) if method == "auto" else {}
        name = (_best(tried) if tried else "platt") if method == "auto" else method
        calibration = METHODS[name].fit(score, label)
    return calibration, {n: float(loss.sum() / label.size) for n, loss in tried.items()}


def _best(losses: dict[str, NDArray[np.float64]]) -> str:
    gains = {name: losses[USUAL] - loss for name, loss in losses.items() if name != USUAL}
    name, gain = max(gains.items(), key=lambda item: item[1].sum())
    return name if gain.sum() > gain.std() * np.sqrt(gain.size) else USUAL


def _losses(
    score: NDArray[np.float64], label: NDArray[np.int8], user_hash: NDArray[np.uint64]
) -> dict[str, NDArray[np.float64]]:
    """Return each user's cross-fitted loss [U] by method, in nats; nothing where there is too little to tell."""
    n_positive = int(label.sum())
    users, user = np.unique(user_hash, return_inverse=True)
    if min(n_positive, label.size - n_positive) < FEWEST_OF_A_CLASS or users.size < N_FOLDS:
        return {}
    fold = user % N_FOLDS
    losses = {}
    for name, method in METHODS.items():
        probability = np.empty(score.size)
        for held_out in range(N_FOLDS):
            out = fold == held_out
            probability[out] = method.fit(score[~out], label[~out]).apply(score[out])
        p = np.clip(probability, CLIP, 1 - CLIP)
        loss = -(xlogy(label, p) + xlogy(1 - label, 1 - p))
        losses[name] = np.bincount(user, loss).astype(np.float64)
    return losses
