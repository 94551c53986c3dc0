"""Judges ranked lists: the model's and the baseline's, on the test windows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import polars as pl

from ecbehave.config.split import Split
from ecbehave.errors import DataError
from ecbehave.inputs.types import Inputs, MatrixInput
from ecbehave.metrics.bootstrap import compare_ranking
from ecbehave.metrics.keyed import KEYS
from ecbehave.metrics.ranking import PARTS, expected_per_user, n_without_truth
from ecbehave.metrics.spread import ranking_at
from ecbehave.models.places import lists_and_places
from ecbehave.models.protocol import Predictor
from ecbehave.stages import Context
from ecbehave.stages.judged import Fitted, Judged
from ecbehave.stages.list_character import character
from ecbehave.stages.lists import complete_lists
from ecbehave.stages.over_cutoffs import over_time_facts, per_cutoff
from ecbehave.tasks import Task

#: Judged apart where there is anything cold: users by whether they had an item, items by whether the fit knew them.
_COLD = {
    "item": {"warm_item": ~pl.col("is_cold_item"), "cold_item": pl.col("is_cold_item")},
    "user": {"warm_user": ~pl.col("is_cold_user"), "cold_user": pl.col("is_cold_user")},
}


@dataclass(frozen=True)
class Side:
    """The lists of the model, or of its baseline, at all test cutoffs."""

    lists: pl.DataFrame
    """`user_id`, `cutoff`, `rank`, `item_id`, `score`, `is_cold`; equal scores in the order of `item_id`."""
    placed: pl.DataFrame
    """Every true item with `n_higher` and `n_tied`; see `expected_per_user`."""


def judge_ranking(context: Context, task: Task, fits: Sequence[Fitted], rng: np.random.Generator) -> Judged:
    """Compare the lists of a model with those of its baseline.

    Raises:
        DataError: there is no true item at all.
    """
    ks, headline = context.config.evaluate.k, f"ndcg@{context.config.evaluate.deciding_k}"
    tests = [cast("MatrixInput", data.matrix) for fit in fits for data in fit.tests]
    truth = [
        true_items(cast("MatrixInput", data.matrix), fit.known_items) for fit in fits for data in fit.tests
    ]
    if not sum(part.height for part in truth):
        raise DataError(
            "no user of the test population has a true item in the test window, so nothing can be judged; "
            "check task.event, lengthen task.horizon, or bring more data"
        )
    sides = [_side(fits, side, truth, max(ks)) for side in (0, 1)]
    parts = _parts(sides[0].placed)
    judged = [expected_per_user(side.placed, ks, parts) for side in sides]
    comparison = compare_ranking(judged[0], judged[1], context.config.evaluate.bootstrap, rng)
    cutoffs = {
        cutoff: part for (cutoff,), part in judged[0].sort("cutoff").group_by("cutoff", maintain_order=True)
    }
    at_cutoffs = [[ranking_at(side.filter(cutoff=cutoff)) for cutoff in cutoffs] for side in judged]
    facts = _facts(sides, tests, ks) | over_time_facts(len(fits), at_cutoffs)
    rows = judged[0].join(
        judged[1].select(*KEYS, pl.exclude(KEYS).name.prefix("baseline_")), on=KEYS, maintain_order="left"
    )
    return Judged(task, headline, comparison, rows, per_cutoff(cutoffs, at_cutoffs, headline), facts)


def _parts(placed: pl.DataFrame) -> Mapping[str, pl.Expr]:
    parts = dict(PARTS)
    for what, both in _COLD.items():
        if placed[f"is_cold_{what}"].any():
            parts |= both
    return parts


def _side(fits: Sequence[Fitted], side: int, truth: Sequence[pl.DataFrame], k: int) -> Side:
    asked = [(fit.sides[side][0], data) for fit in fits for data in fit.tests]
    found = [list_and_place(model, data, own, k) for (model, data), own in zip(asked, truth, strict=True)]
    return Side(
        *(pl.concat(parts) for parts in zip(*((one.lists, one.placed) for one in found), strict=True))
    )


def list_and_place(model: Predictor, data: Inputs, truth: pl.DataFrame, k: int) -> Side:
    """Return the lists of a model at one cutoff, and where the true items stand.

    Where the model has no more items, those follow that the lists are filled up with, in their fixed order.

    Args:
        model: what ranks.
        data: what is known at the cutoff.
        truth: `user_id`, `item_id` of the true items, and any other columns.
        k: length of the lists.
    """
    matrix, cutoff = cast("MatrixInput", data.matrix), pl.lit(data.cutoff).alias("cutoff")
    own, placed = lists_and_places(matrix, model.item_scores(data), truth, k)
    lists = complete_lists(own, matrix, k).with_columns(cutoff)
    filled = lists.filter(pl.col("score").is_null()).select("user_id", "item_id", filled="rank")
    place = pl.col("filled").cast(pl.Int64) - 1
    placed = placed.join(filled, on=["user_id", "item_id"], how="left", maintain_order="left").with_columns(
        pl.coalesce("n_higher", place),
        n_tied=pl.coalesce("n_tied", pl.when(place.is_not_null()).then(pl.lit(1, pl.Int64))),
    )
    return Side(lists, placed.drop("filled").with_columns(cutoff))


def true_items(data: MatrixInput, known_items: pl.Series) -> pl.DataFrame:
    """Return the true items of one cutoff: `user_id`, `item_id`, `is_repeat`, `is_cold_item`, `is_cold_user`.

    A repeat is an item that the user had any event with before; a cold user had none with any item; a cold item is one
    that was not there when the model was fitted.
    """
    labels = cast("pl.DataFrame", data.labels).select("user_id", "item_id")
    before = data.pairs.select("user", "item").unique()
    had = before.select(
        user_id=data.users["user_id"].gather(before["user"]),
        item_id=data.items["item_id"].gather(before["item"]),
        is_repeat=pl.lit(value=True),
    )
    found = labels.join(had, on=["user_id", "item_id"], how="left", maintain_order="left")
    return found.with_columns(
        pl.col("is_repeat").fill_null(value=False),
        is_cold_item=~pl.col("item_id").is_in(known_items.implode()),
        is_cold_user=~pl.col("user_id").is_in(had["user_id"].unique().implode()),
    )


def _facts(sides: Sequence[Side], tests: Sequence[MatrixInput], ks: Sequence[int]) -> dict[str, Any]:
    """Return what the metrics do not say: who is left out, who is cold, and what the lists are like."""
    lists, placed = sides[0].lists, sides[0].placed
    n_items = pl.concat([_may_be_listed(data) for data in tests]).n_unique()
    facts: dict[str, Any] = {
        "n_without_truth": n_without_truth(lists, placed),
        "n_items": n_items,
        "n_cold": int(lists.filter(pl.col("rank") == 1)["is_cold"].sum()),
        "n_cold_users": placed.filter("is_cold_user").select(KEYS).n_unique(),
        "n_true": placed.height,
        "n_cold_items": int(placed["is_cold_item"].sum()),
        "tied_share": _tied_share(placed),
        "baseline_tied_share": _tied_share(sides[1].placed),
    }
    for side, prefix in zip(sides, ("", "baseline_"), strict=True):
        of_lists = character(side.lists, tests, n_items, ks)
        facts |= {f"{prefix}{measure}": values for measure, values in of_lists.items()}
    return facts


def leak_facts(split: Split) -> dict[str, Any]:
    """Return how the rows were split, whether that leaks time, and the warning if it does."""
    facts: dict[str, Any] = {"split": split.kind, "leaks_time": split.kind == "leave_one_out"}
    if not facts["leaks_time"]:
        return facts
    learned = "with the validation items too" if split.fit_on_validation else "without the validation items"
    return facts | {
        "warnings": [
            "leave-one-out leaks time: the fit has seen what other users did later, so these figures are for comparing "
            f"with published ones, and no shop will see them; the fit was made {learned}"
        ]
    }


def _tied_share(placed: pl.DataFrame) -> float | None:
    """Return the share of the true items in reach of a list that share their score with another item."""
    found = placed["n_tied"].drop_nulls()
    return int((found > 1).sum()) / found.len() if found.len() else None


def _may_be_listed(data: MatrixInput) -> pl.Series:
    items = data.items["item_id"]
    return items if data.barred_items is None else items.filter(~pl.Series(data.barred_items))
