"""Several models on the same users: which differences are real, when every model is compared with every other.

Among many comparisons some look large by chance, and the best of many models is best partly by luck. So all
differences share one interval of 95 %: the chance that any of them is called real without being so is 5 % at most.

Source: Romano and Wolf (2005), "Exact and Approximate Stepdown Methods for Multiple Hypothesis Testing", JASA 100,
single step: the quantile of the largest studentised difference over bootstrap draws.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import ndtr, stdtrit

from ecbehave.metrics.bootstrap import Interval, Measure, by_user, interval, mean_measure, mean_of, resampled
from ecbehave.metrics.keyed import KEYS, reject_duplicates, reject_nulls
from ecbehave.metrics.tally import Floats, Groups

_LEVEL = 0.95


@dataclass(frozen=True)
class Contest:
    """M models, judged by one metric of which more is better."""

    models: tuple[Interval, ...]
    """Each with its own 95 % interval."""
    difference: Floats
    """[M, M] value of the row's model minus that of the column's."""
    margin: Floats
    """[M, M] half the width of the interval around a difference, wide enough for all pairs together."""
    n_users: int

    @property
    def best(self) -> int:
        """The model with the highest value; of equal ones the first."""
        return int(self.difference.min(axis=1).argmax())

    def negated(self) -> "Contest":
        """Return the same models by the metric with the other sign, of which less is better; `best` has no meaning."""
        models = tuple(_negated(model) for model in self.models)
        return Contest(models, -self.difference, self.margin, self.n_users)

    def is_real(self, least: float) -> NDArray[np.bool_]:
        """Tell which differences [M, M] are at least so large, with an interval that leaves out zero."""
        size: Floats = np.abs(self.difference)
        return (size > self.margin) & (size >= least)


def _negated(found: Interval) -> Interval:
    value, low, high = (
        None if bound is None else -bound for bound in (found["value"], found["low"], found["high"])
    )
    return {"value": value, "low": high, "high": low}


def contest_of_scores(
    frame: pl.DataFrame,
    names: Sequence[str],
    n_resamples: int,
    rng: np.random.Generator,
    keys: Sequence[str] = KEYS,
    *,
    by_cutoff: bool = False,
) -> Contest:
    """Compare models by AUROC.

    Takes O(models x n_resamples x rows) time.

    Args:
        frame: the keys, `label` with both classes, and a column of scores per model; one row per key, in any order.
        names: columns of the models.
        n_resamples: draws of users.
        rng: source of the draws.
        keys: `user_id` first, and what else a row is told by.
        by_cutoff: a fit of its own has scored each cutoff. Their scores have no common scale, so AUROC is the mean
            over the cutoffs that have both classes.

    Raises:
        ValueError: a key appears twice, or a value is missing.
    """
    ordered = _ordered(frame, ["label", *names], keys)
    ordered = ordered.with_columns(user=ordered["user_id"].rle_id())
    parts = ordered.partition_by("cutoff") if by_cutoff else [ordered]
    measures = [mean_of([_auroc_measure(part, name) for part in parts]) for name in names]
    return contest_of_measures(measures, ordered["user"].n_unique(), n_resamples, rng)


def contest_of_means(
    frame: pl.DataFrame, names: Sequence[str], n_resamples: int, rng: np.random.Generator
) -> Contest:
    """Compare models by the mean over rows, such as the NDCG of each user's list.

    Args:
        frame: `user_id`, `cutoff`, and a column of values per model, in any order.
        names: columns of the models.
        n_resamples: draws of users.
        rng: source of the draws.

    Raises:
        ValueError: a key appears twice, or a value is missing.
    """
    ordered = _ordered(frame, names, KEYS)
    sums = by_user(ordered.select("user_id", *names), pl.col(names).sum())
    counts = by_user(ordered.select("user_id", *names), pl.col(names).count())
    return contest_of_measures([mean_measure(sums, counts)], sums.shape[1], n_resamples, rng)


def _ordered(frame: pl.DataFrame, values: Sequence[str], keys: Sequence[str]) -> pl.DataFrame:
    reject_duplicates(frame, keys, "rows to judge")
    reject_nulls(frame, [*keys, *values], "rows to judge")
    return frame.sort(keys)


def _auroc_measure(rows: pl.DataFrame, name: str) -> Measure:
    groups, user = Groups.of_scores(rows["label"], rows[name]), rows["user"].to_numpy()
    return lambda user_weight: np.array([groups.tally(user_weight[user]).auroc()])


def contest_of_measures(
    measures: Sequence[Measure], n_users: int, n_resamples: int, rng: np.random.Generator
) -> Contest:
    """Compare models by what takes a metric, of which more is better, from weights of users.

    Args:
        measures: one for each model, or one that returns the metric of each.
        n_users: U.
        n_resamples: draws of users.
        rng: source of the draws.
    """
    found = resampled(measures, n_users, n_resamples, rng)
    values, draws = found[0].ravel(), found[1].reshape(n_resamples, -1)  # [M], [B, M]
    difference, drawn = _pairs(values), _pairs(draws)
    margin = _margin(drawn[~np.isnan(draws).any(axis=1)] - difference, n_users)
    models = tuple(interval(value, draws[:, i]) for i, value in enumerate(values))
    return Contest(models, difference, margin, n_users)


def _pairs(values: Floats) -> Floats:
    """Return row minus column [..., M, M] of values [..., M]."""
    return values[..., :, None] - values[..., None, :]


def _margin(errors: Floats, n_users: int) -> Floats:
    """Return how far each difference [M, M] may be off, for 95 % of all draws [B, M, M] in no pair further."""
    spread = errors.std(axis=0)
    in_spreads = np.divide(np.abs(errors), spread, out=np.zeros_like(errors), where=spread > 0)
    largest = np.quantile(in_spreads.max(axis=(1, 2)), _LEVEL)
    # Draws of few users spread less than samples of users would: Student's t in place of the normal distribution.
    margin: Floats = spread * stdtrit(max(n_users - 1, 1), ndtr(largest))
    return margin
