"""Judges predicted ratings: what the model and its baseline say of the ratings of the test windows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
import polars as pl

from ecbehave.errors import DataError
from ecbehave.inputs.types import Inputs, MatrixInput
from ecbehave.metrics.bootstrap import Comparison
from ecbehave.metrics.rating import RATING_KEYS, compare_ratings, errors_of
from ecbehave.models.cf.biases import rated
from ecbehave.models.protocol import Predictor
from ecbehave.stages.over_cutoffs import over_time_facts, per_cutoff

#: The model's predictions, and the baseline's.
SIDES = ("predicted", "baseline_predicted")
HEADLINE = "rmse"

#: With more values of a rating than this, they are cut to a tenth of the scale.
_MOST_VALUES = 12


@dataclass(frozen=True)
class RatingFit:
    """A fit of the model and one of its baseline, and the test windows that both are judged on."""

    tests: Sequence[Inputs]
    models: Sequence[Predictor]
    """The model, then the baseline."""


class JudgedRatings(NamedTuple):
    """The model beside its baseline on the ratings of all test windows."""

    comparison: Comparison
    rows: pl.DataFrame
    """RATING_KEYS, `rating`, and SIDES; a row per rating."""
    per_cutoff: list[dict[str, Any]]
    facts: dict[str, Any]


def judge_ratings(fits: Sequence[RatingFit], n_resamples: int, rng: np.random.Generator) -> JudgedRatings:
    """Predict the ratings of the test windows with the model and its baseline, and compare.

    Raises:
        DataError: there is no rating to judge by.
    """
    tests = [cast("MatrixInput", data.matrix) for fit in fits for data in fit.tests]
    found = pl.concat([_predicted(fit, data) for fit in fits for data in fit.tests]).sort(RATING_KEYS)
    n_true = sum(cast("pl.DataFrame", data.labels).height for data in tests)
    if found.is_empty():
        raise DataError(
            f"no user of the test population rates an item that was known before, so nothing can be judged: the test "
            f"windows have {n_true:,} ratings, all of new items; lengthen task.horizon, or bring more data"
            if n_true
            else "no user of the test population rates an item in the test window, so nothing can be judged; check "
            "task.event, lengthen task.horizon, or bring more data"
        )
    rows = found.drop("is_cold")
    cutoffs = {
        cutoff: part for (cutoff,), part in rows.sort("cutoff").group_by("cutoff", maintain_order=True)
    }
    sides = [[errors_of(part, side) for part in cutoffs.values()] for side in SIDES]
    facts = {
        "n_ratings": rows.height,
        "n_of_new_items": n_true - rows.height,
        "n_of_new_raters": int(found["is_cold"].sum()),
        "n_items": pl.concat([data.items for data in tests])["item_id"].n_unique(),
        "by_rating": _by_rating(rows),
    } | over_time_facts(len(fits), sides)
    comparison = compare_ratings(rows, n_resamples, rng)
    return JudgedRatings(comparison, rows, per_cutoff(cutoffs, sides, HEADLINE), facts)


def _predicted(fit: RatingFit, data: Inputs) -> pl.DataFrame:
    """Return the true ratings of one test cutoff beside what was predicted."""
    pairs = true_ratings(cast("MatrixInput", data.matrix))
    predicted = [
        pl.Series(side, model.ratings(data, pairs.select("user", "item")), pl.Float64)
        for side, model in zip(SIDES, fit.models, strict=True)
    ]
    return pairs.with_columns(pl.lit(data.cutoff).alias("cutoff"), *predicted).select(
        *RATING_KEYS, "rating", *SIDES, "is_cold"
    )


def true_ratings(data: MatrixInput) -> pl.DataFrame:
    """Return the ratings of the label window, but for those of items that nobody had an event with before.

    Returns:
        `user_id`, `item_id`, `rating`, `user`, `item` (row numbers), `is_cold`: the user had rated nothing before.

    Raises:
        DataError: nobody had.
    """
    raters = (
        rated(data).select(pl.col("user").cast(pl.UInt32)).unique().with_columns(is_cold=pl.lit(value=False))
    )
    return (
        cast("pl.DataFrame", data.labels)
        .join(data.users.select("user_id").with_row_index("user"), on="user_id")
        .join(data.items.select("item_id").with_row_index("item"), on="item_id")
        .join(raters, on="user", how="left")
        .with_columns(pl.col("is_cold").fill_null(value=True))
        .sort("user", "item")
    )


def _by_rating(rows: pl.DataFrame) -> list[dict[str, Any]]:
    """Return what was predicted where the true rating is 1, 2 and so on; see `report.rating_content.RatingRow`."""
    rating = rows["rating"]
    if rating.n_unique() > _MOST_VALUES:
        step = (cast("float", rating.max()) - cast("float", rating.min())) / 10
        rating = (rating / step).round() * step
    grouped = rows.with_columns(rating=rating, true=rows["rating"]).sort("rating", *RATING_KEYS)
    return [
        {"rating": value, "n": part.height}
        | {f"{side}_mean": part[side].mean() for side in SIDES}
        | {f"{side}_rmse": errors_of(part.with_columns(rating="true"), side)["rmse"] for side in SIDES}
        for (value,), part in grouped.group_by("rating", maintain_order=True)
    ]
