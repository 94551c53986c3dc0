"""What chance alone does: how far rates stray from probabilities that are right, and from one another."""

import math

import numpy as np
from numpy.typing import ArrayLike

from ecbehave.metrics.classification import N_BINS
from ecbehave.metrics.tally import Groups

N_DRAWS = 1_000
LEVEL = 0.95
#: A bin's rows are drawn in so many cells of neighbours by probability. Up to `n_bins` times as many rows, each
#: distinct probability has a cell of its own, and the draws are exact; of more rows, those of a cell hardly differ.
_CELLS_PER_BIN = 400


def calibration_chance(
    probability: ArrayLike, rng: np.random.Generator, n_bins: int = N_BINS, n_draws: int = N_DRAWS
) -> float:
    """Return the calibration error that a perfectly calibrated model stays under in 95 % of all test windows.

    Labels are drawn anew with each row's own probability, one row independent of the next, and the calibration
    error of each draw is computed over the bins of `calibration_error`. Rows of one user at several cutoffs are
    alike, so that the true limit is, if anything, above this one. Once the rows are sorted, time and memory are
    O(n_draws x n_bins). No label is looked at.

    Args:
        probability: [N] in [0, 1].
        rng: source of the draws.
        n_bins: equal-mass bins.
        n_draws: test windows to simulate.

    Raises:
        ValueError: a probability is missing or outside [0, 1].
    """
    values = np.asarray(probability, dtype=np.float64)
    tally = Groups.of_probabilities(np.zeros(values.size, np.int8), values).tally()
    if not tally.n:
        return float("nan")
    # The bins of `Tally.bins`, cut finer: the floor of a finer position is the bin itself.
    p, n = tally.value[::-1], (tally.positive + tally.negative)[::-1]
    middle = 2 * np.cumsum(n) - n
    cell_of = (middle * (n_bins * _CELLS_PER_BIN) // (2 * tally.n)).astype(np.intp)
    start = np.flatnonzero(np.diff(cell_of, prepend=-1))
    size, expected = np.add.reduceat(n, start), np.add.reduceat(n * p, start)
    bin_start = np.flatnonzero(np.diff(cell_of[start] // _CELLS_PER_BIN, prepend=-1))
    rate = np.clip(expected / size, 0, 1)
    positive = rng.binomial(size.astype(np.int64), rate, size=(n_draws, size.size))
    off = np.add.reduceat(positive - expected, bin_start, axis=1)
    return float(np.quantile(np.abs(off).sum(axis=1) / tally.n, LEVEL))


def z_of_two_rates(positives: tuple[int, int], rows: tuple[int, int]) -> float:
    """Return the z-score of the second rate minus the first; 0 where neither varies.

    Args:
        positives: positive rows on both sides.
        rows: all rows on both sides, none of them 0.

    Source: the pooled two-proportion z-test, e.g. Fleiss, Levin and Paik (2003), section 3.2.
    """
    first, second = (n / of for n, of in zip(positives, rows, strict=True))
    pooled = sum(positives) / sum(rows)
    deviation = math.sqrt(pooled * (1 - pooled) * sum(1 / n for n in rows))
    return (second - first) / deviation if deviation else 0.0


def odds_ratio(positives: tuple[int, int], rows: tuple[int, int]) -> float:
    """Return the odds of the second rate over those of the first, with half a row added to each cell.

    Args:
        positives: positive rows on both sides.
        rows: all rows on both sides.

    Source: Haldane (1956) and Anscombe (1956), whose half rows keep it finite.
    """
    first, second = ((n + 0.5) / (of - n + 0.5) for n, of in zip(positives, rows, strict=True))
    return second / first
