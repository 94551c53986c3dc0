"""Metrics of predicted ratings, on keyed tables; a smaller error is better.

Rows have user_id, cutoff, item_id, `rating` (the true one) and a column of predicted ratings per model.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from ecbehave.metrics.bootstrap import Comparison, Measure, by_user, compare_measures
from ecbehave.metrics.contest import Contest, contest_of_measures
from ecbehave.metrics.keyed import KEYS, reject_duplicates, reject_nulls
from ecbehave.metrics.tally import Floats

RATING_METRICS = ("rmse", "mae")

RATING_KEYS = (*KEYS, "item_id")


def errors_of(frame: pl.DataFrame, predicted: str = "predicted") -> dict[str, float]:
    """Return RATING_METRICS over all rows; nan where there is none.

    Returns:
        rmse: the root of the mean squared difference of predicted and true rating.
        mae: the mean absolute difference.

    Source: Herlocker, Konstan, Terveen and Riedl (2004), Evaluating collaborative filtering recommender systems,
    section 4.1.
    """
    off = (frame[predicted] - frame["rating"]).to_numpy()
    if not off.size:
        return dict.fromkeys(RATING_METRICS, np.nan)
    return {"rmse": float(np.sqrt(np.mean(off**2))), "mae": float(np.mean(np.abs(off)))}


def compare_ratings(frame: pl.DataFrame, n_resamples: int, rng: np.random.Generator) -> Comparison:
    """Compare the errors of a model with those of its baseline, by RATING_METRICS.

    A user is drawn with all of their ratings, and each rating counts as much as any other.

    Args:
        frame: RATING_KEYS, `rating`, `predicted`, `baseline_predicted`; one row per key, in any order.
        n_resamples: draws of users behind each interval.
        rng: source of the draws.

    Raises:
        ValueError: no rows, a key appears twice, or a value is missing.
    """
    columns = ("predicted", "baseline_predicted")
    ordered = _ordered(frame, columns)
    measures = tuple(_measure(ordered, column) for column in columns)
    n_users = ordered["user_id"].n_unique()
    return compare_measures(RATING_METRICS, (measures[0], measures[1]), n_users, n_resamples, rng)


def contest_of_errors(
    frame: pl.DataFrame, names: Sequence[str], n_resamples: int, rng: np.random.Generator
) -> Contest:
    """Compare several models by minus their RMSE, of which more is better.

    Args:
        frame: RATING_KEYS, `rating`, and a column of predicted ratings per model, in any order.
        names: columns of the models.
        n_resamples: draws of users.
        rng: source of the draws.

    Raises:
        ValueError: no rows, a key appears twice, or a value is missing.
    """
    ordered = _ordered(frame, names)
    measures = [_minus_rmse(_measure(ordered, name)) for name in names]
    return contest_of_measures(measures, ordered["user_id"].n_unique(), n_resamples, rng)


def _minus_rmse(measure: Measure) -> Measure:
    return lambda user_weight: -measure(user_weight)[:1]


def _ordered(frame: pl.DataFrame, predicted: Sequence[str]) -> pl.DataFrame:
    if frame.is_empty():
        raise ValueError("rated pairs: no rows, so there is nothing to compare")
    reject_duplicates(frame, RATING_KEYS, "rated pairs")
    reject_nulls(frame, [*RATING_KEYS, "rating", *predicted], "rated pairs")
    return frame.sort(RATING_KEYS)


def _measure(ordered: pl.DataFrame, predicted: str) -> Measure:
    off = pl.col(predicted) - pl.col("rating")
    errors = ordered.select("user_id", squared=off**2, absolute=off.abs())
    sums = by_user(errors, pl.col("squared", "absolute").sum())  # [2, U]
    n_rows = by_user(errors, pl.col("squared").count())[0]  # [U]

    def measure(user_weight: Floats) -> Floats:
        # einsum, not `@`: BLAS sums in an order that changes with the number of threads.
        total = np.einsum("mu,u->m", sums, user_weight)
        squared, absolute = total / np.einsum("u,u->", n_rows, user_weight)
        return np.array([np.sqrt(squared), absolute])

    return measure
