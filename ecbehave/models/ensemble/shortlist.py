"""Candidates of a ranking where no table has any: the best items of each member."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import cast

import polars as pl

from ecbehave.inputs.types import Inputs, MatrixInput, TableInput
from ecbehave.models.protocol import Predictor
from ecbehave.schema import TABLE_KEYS

#: Of each member so many items are weighed against one another, or as many as a list is long.
LENGTH = 100
#: Users whose candidates are held at once, and those whose true items teach weights.
USERS, TAUGHT = 10_000, 10_000


def shortlist(members: Sequence[Predictor], data: Inputs, k: int) -> Inputs:
    """Return the same with a table: for each user of the population, the best items by any member.

    Args:
        members: each ranks all items.
        data: what is known at a cutoff; where true items are known, rows have labels.
        k: length of the lists that are made of it.
    """
    matrix = cast("MatrixInput", data.matrix)
    listed = [member.lists(data, max(k, LENGTH)).select("user_id", "item_id") for member in members]
    rows = (
        pl.concat(listed)
        .unique()
        .join(matrix.users.select("user_hash", "user_id"), on="user_id")
        .with_columns(cutoff=pl.lit(data.cutoff, TABLE_KEYS["cutoff"]))
        .sort("user_hash", "user_id", "item_id")
        .select(*TABLE_KEYS, "item_id")
    )
    if matrix.labels is not None:
        true = matrix.labels.select("user_id", "item_id", label=pl.lit(1, pl.Int8)).unique()
        rows = rows.join(true, on=("user_id", "item_id"), how="left", maintain_order="left")
        rows = rows.with_columns(pl.col("label").fill_null(0))
    return replace(data, table=TableInput(rows, ()))


def in_parts(data: Inputs) -> Iterator[Inputs]:
    """Yield the same, asked about some users of the population after the others."""
    matrix = cast("MatrixInput", data.matrix)
    number = pl.when("is_asked").then(pl.col("is_asked").cum_sum() - 1)
    for start in range(0, matrix.asked.size, USERS):
        is_asked = number.is_between(start, start + USERS - 1).fill_null(value=False)
        yield replace(data, matrix=replace(matrix, users=matrix.users.with_columns(is_asked=is_asked)))


def teaching(data: Inputs) -> Inputs:
    """Return the same, asked about users with true items only, and about no more than are needed to weigh members."""
    matrix = cast("MatrixInput", data.matrix)
    labels = cast("pl.DataFrame", matrix.labels)
    has_labels = pl.col("is_asked") & pl.col("user_id").is_in(labels["user_id"].unique().implode())
    users = matrix.users.with_columns(is_asked=has_labels & (has_labels.cum_sum() <= TAUGHT))
    return replace(data, matrix=replace(matrix, users=users))
