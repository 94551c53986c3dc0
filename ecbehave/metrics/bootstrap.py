"""Intervals by a cluster bootstrap over users, and the paired difference of a model and its baseline.

A user is drawn with all of their cutoffs, since rows of one user are not independent. Model and baseline are
judged on the same draws, so that the interval of their difference holds only what differs between them.

Source: Efron and Tibshirani (1993), chapter 13 (percentile interval); Field and Welsh (2007) for clusters.
"""

from collections.abc import Callable, Sequence
from typing import TypedDict

import numpy as np
import polars as pl

from ecbehave.metrics.classification import N_BINS
from ecbehave.metrics.keyed import KEYS, reject_duplicates, reject_nulls
from ecbehave.metrics.tally import Confusion, Floats, Groups, Tally

#: Metrics of which a smaller value is better; of every other one, a larger.
LOWER_IS_BETTER = frozenset({"log_loss", "brier", "calibration_error", "rmse", "mae"})

BINARY_METRICS = (
    "auroc",
    "auprc",
    "log_loss",
    "brier",
    "calibration_error",
    "accuracy",
    "precision",
    "recall",
    "f1",
    "lift_10",
)

#: What `compare_binary` reads besides the keys.
BINARY_COLUMNS = ("label", "score", "probability", "baseline_score", "baseline_probability")
#: And what the model and its baseline would target, for `compare_fits`.
TARGETED_COLUMNS = ("is_targeted", "baseline_is_targeted")

_LEVELS = (0.025, 0.975)

#: Weight per user [U] to the value of each metric [M], nan where undefined.
Measure = Callable[[Floats], Floats]


class Interval(TypedDict):
    """A metric on all rows with its 95 % interval; None where it is undefined."""

    value: float | None
    low: float | None
    high: float | None


class Comparison(TypedDict):
    """Intervals by metric of the model, of its baseline, and of model minus baseline."""

    model: dict[str, Interval]
    baseline: dict[str, Interval]
    difference: dict[str, Interval]


def compare_binary(
    frame: pl.DataFrame,
    threshold: float,
    baseline_threshold: float,
    n_resamples: int,
    rng: np.random.Generator,
    keys: Sequence[str] = KEYS,
) -> Comparison:
    """Compare a model with its baseline on a yes-or-no task, by BINARY_METRICS.

    AUROC, AUPRC and the lift of the top 10 % read the score; the others read the probability. A resample in
    which a metric is undefined is left out of that metric's interval. Takes O(n_resamples x rows) time and
    O(rows) memory.

    Args:
        frame: the keys, label, score, probability, baseline_score, baseline_probability; one row per key, in any
            order.
        threshold: the model's probability from which a row counts as positive.
        baseline_threshold: the same of the baseline.
        n_resamples: draws of users behind each interval.
        rng: source of the draws.
        keys: `user_id` first, `cutoff`, and what else a row is told by.

    Raises:
        ValueError: no rows, a key appears twice, or a value is missing or out of range.
    """
    targeted = frame.with_columns(
        is_targeted=(pl.col("probability") >= threshold).fill_null(value=False),
        baseline_is_targeted=(pl.col("baseline_probability") >= baseline_threshold).fill_null(value=False),
    )
    return compare_fits([targeted], n_resamples, rng, keys)


def compare_fits(
    parts: Sequence[pl.DataFrame],
    n_resamples: int,
    rng: np.random.Generator,
    keys: Sequence[str] = KEYS,
) -> Comparison:
    """Compare as `compare_binary` does, where each part is scored by a fit of its own.

    Scores of different fits have no common scale, so each metric is that of the parts, averaged; every part counts
    once, but for those in which it is undefined.

    Args:
        parts: rows as for `compare_binary`, by fit, with `is_targeted` and `baseline_is_targeted`: the rows that are
            called positive. A draw of users changes who is there, and not who of them is targeted.
        n_resamples: draws of users, each with their rows of all parts.
        rng: source of the draws.
        keys: as for `compare_binary`.

    Raises:
        ValueError: no rows, a key appears twice, or a value is missing or out of range.
    """
    frame = pl.concat(part.with_columns(part=pl.lit(n)) for n, part in enumerate(parts))
    _check(frame, "rows to judge", keys)
    reject_nulls(frame, [*keys, *BINARY_COLUMNS], "rows to judge")
    reject_nulls(frame, TARGETED_COLUMNS, "rows to judge")
    ordered = frame.sort(keys)
    ordered = ordered.with_columns(user=ordered["user_id"].rle_id())
    fits = [ordered.filter(part=n) for n in range(len(parts))]
    measures = [mean_of([_binary_measure(fit, prefix) for fit in fits]) for prefix in ("", "baseline_")]
    return compare_measures(
        BINARY_METRICS, (measures[0], measures[1]), ordered["user"].n_unique(), n_resamples, rng
    )


def compare_ranking(
    model_per_user: pl.DataFrame,
    baseline_per_user: pl.DataFrame,
    n_resamples: int,
    rng: np.random.Generator,
) -> Comparison:
    """Compare the means of per-user ranking metrics of a model and its baseline.

    Args:
        model_per_user: `ranking.per_user` of the model: one row per (user_id, cutoff), a column per metric. A
            null is left out of the mean of its column.
        baseline_per_user: the same of the baseline, with the same keys in any order.
        n_resamples: draws of users behind each interval.
        rng: source of the draws.

    Raises:
        ValueError: no rows, a key appears twice, or the keys, columns or nulls of the two tables differ.
    """
    _check(model_per_user, "the model's users")
    _check(baseline_per_user, "the baseline's users")
    names = [name for name in model_per_user.columns if name not in KEYS]
    if set(model_per_user.columns) != set(baseline_per_user.columns):
        raise ValueError(
            f"model and baseline have different columns: {model_per_user.columns} "
            f"and {baseline_per_user.columns}; judge both with the same k"
        )
    model = model_per_user.sort(KEYS)
    baseline = baseline_per_user.sort(KEYS).select(model.columns)
    _check_same_rows(model, baseline)
    counts = by_user(model, pl.col(names).count())
    measures = (
        mean_measure(by_user(model, pl.col(names).sum()), counts),
        mean_measure(by_user(baseline, pl.col(names).sum()), counts),
    )
    return compare_measures(names, measures, counts.shape[1], n_resamples, rng)


def compare_sums(
    frame: pl.DataFrame, names: Sequence[str], n_resamples: int, rng: np.random.Generator
) -> Comparison:
    """Compare sums over all rows of a model and its baseline.

    Args:
        frame: `user_id`, and of each name two columns: itself, and the baseline's with the prefix `baseline_`.
        names: what is summed, e.g. `profit`.
        n_resamples: draws of users, each with all of their rows.
        rng: source of the draws.
    """
    ordered = frame.sort("user_id")
    sides = [
        by_user(ordered, pl.col(f"{prefix}{name}" for name in names).sum()) for prefix in ("", "baseline_")
    ]
    measures = (_sum_measure(sides[0]), _sum_measure(sides[1]))
    return compare_measures(names, measures, sides[0].shape[1], n_resamples, rng)


def _sum_measure(sums: Floats) -> Measure:
    return lambda user_weight: np.einsum("mu,u->m", sums, user_weight)


def _check(frame: pl.DataFrame, table: str, keys: Sequence[str] = KEYS) -> None:
    if frame.is_empty():
        raise ValueError(f"{table}: no rows, so there is nothing to compare")
    reject_duplicates(frame, keys, table)


def _check_same_rows(model: pl.DataFrame, baseline: pl.DataFrame) -> None:
    if not model.select(KEYS).equals(baseline.select(KEYS)):
        only_model = model.join(baseline, on=KEYS, how="anti").height
        only_baseline = baseline.join(model, on=KEYS, how="anti").height
        raise ValueError(
            f"model and baseline judge different users: {only_model} key(s) only in the model's table, "
            f"{only_baseline} only in the baseline's; judge both against the same truth"
        )
    nulls = pl.all().is_null()
    if not model.select(nulls).equals(baseline.select(nulls)):
        raise ValueError(
            "model and baseline have nulls in different places; judge both against the same truth"
        )


def _binary_measure(frame: pl.DataFrame, prefix: str) -> Measure:
    label, user = frame["label"].to_numpy(), frame["user"].to_numpy()
    is_targeted = frame[f"{prefix}is_targeted"].to_numpy()
    by_score = Groups.of_scores(label, frame[f"{prefix}score"].to_numpy())
    by_probability = Groups.of_probabilities(label, frame[f"{prefix}probability"].to_numpy())

    def measure(user_weight: Floats) -> Floats:
        weight = user_weight[user]
        matrix = Confusion.of(label, is_targeted, weight)
        values = binary_values(by_score.tally(weight), by_probability.tally(weight), matrix)
        return np.array([values[name] for name in BINARY_METRICS])

    return measure


def binary_values(scores: Tally, probabilities: Tally, confusion: Confusion) -> dict[str, float]:
    """Return `BINARY_METRICS` of rows that are summed up by score, probability and target; nan where undefined."""
    return {
        "auroc": scores.auroc(),
        "auprc": scores.auprc(),
        "log_loss": probabilities.log_loss(),
        "brier": probabilities.brier(),
        "calibration_error": probabilities.calibration_error(N_BINS),
        "accuracy": confusion.accuracy,
        "precision": confusion.precision,
        "recall": confusion.recall,
        "f1": confusion.f1,
        "lift_10": scores.lift(0.1),
    }


def mean_of(measures: Sequence[Measure]) -> Measure:
    """Return the mean of several measures, metric by metric, over those for which it is defined."""

    def measure(user_weight: Floats) -> Floats:
        values = np.stack([one(user_weight) for one in measures])  # [parts, M]
        is_known = ~np.isnan(values)
        n = is_known.sum(axis=0)
        total = np.where(is_known, values, 0.0).sum(axis=0)
        mean: Floats = np.divide(total, n, out=np.full_like(total, np.nan), where=n > 0)
        return mean

    return measure


def by_user(frame: pl.DataFrame, reduce: pl.Expr) -> Floats:
    """Reduce each metric over the cutoffs of a user: [M metrics, U users], users in order."""
    reduced = frame.group_by("user_id", maintain_order=True).agg(reduce).drop("user_id")
    return np.ascontiguousarray(reduced.cast(pl.Float64).to_numpy().T)


def mean_measure(sums: Floats, counts: Floats) -> Measure:
    """Return what takes the means of M metrics, from their sums and numbers of rows by user [M, U]."""

    def measure(user_weight: Floats) -> Floats:
        # einsum, not `@`: BLAS sums in an order that changes with the number of threads.
        total = np.einsum("mu,u->m", sums, user_weight)
        n = np.einsum("mu,u->m", counts, user_weight)
        mean: Floats = np.divide(total, n, out=np.full_like(total, np.nan), where=n > 0)
        return mean

    return measure


def compare_measures(
    names: Sequence[str],
    measures: tuple[Measure, Measure],
    n_users: int,
    n_resamples: int,
    rng: np.random.Generator,
) -> Comparison:
    """Compare a model with its baseline by what takes metrics from weights of users.

    Args:
        names: [M] metrics that a measure returns, in its order.
        measures: the model's, and the baseline's.
        n_users: U.
        n_resamples: draws of users behind each interval.
        rng: source of the draws.
    """
    values, draws = resampled(measures, n_users, n_resamples, rng)
    return {
        "model": _intervals(names, values[0], draws[:, 0]),
        "baseline": _intervals(names, values[1], draws[:, 1]),
        "difference": _intervals(names, values[0] - values[1], draws[:, 0] - draws[:, 1]),
    }


def resampled(
    measures: Sequence[Measure], n_users: int, n_resamples: int, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Judge several models on all users, and on the same draws of users.

    Returns:
        Values [models, M metrics], and those of each draw [n_resamples, models, M].
    """
    values = np.stack([measure(np.ones(n_users)) for measure in measures])
    draws = np.empty((n_resamples, *values.shape))
    for draw in draws:
        drawn = rng.integers(n_users, size=n_users)
        weight = np.bincount(drawn, minlength=n_users).astype(np.float64)
        draw[:] = [measure(weight) for measure in measures]
    return values, draws


def _intervals(names: Sequence[str], values: Floats, draws: Floats) -> dict[str, Interval]:
    return {name: interval(values[i], draws[:, i]) for i, name in enumerate(names)}


def interval(value: float, draws: Floats) -> Interval:
    """Return the percentile interval of the defined draws; where none is defined, neither is the interval."""
    defined = draws[~np.isnan(draws)]
    if not defined.size:
        return {"value": None if np.isnan(value) else float(value), "low": None, "high": None}
    low, high = np.quantile(defined, _LEVELS)
    return {"value": float(value), "low": float(low), "high": float(high)}
