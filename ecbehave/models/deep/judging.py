"""How good the lists of a net are, after each epoch: on the labels of the validation window. No torch."""

from collections.abc import Iterator
from dataclasses import replace
from typing import cast

import polars as pl

from ecbehave.inputs.types import Inputs, MatrixInput
from ecbehave.metrics.ranking import expected_per_user
from ecbehave.models.places import lists_and_places
from ecbehave.models.protocol import Block

#: Length of the lists that are judged after each epoch.
_K = 10
#: So many scores are computed for them at about most, which is what it costs; and for these users, however many items
#: there are: the fewer users, the more does chance decide about when to stop.
_SCORES, _FEWEST, _MOST = 100_000_000, 2_000, 20_000
METRIC = f"ndcg@{_K}"


def later_lists(valid: Inputs | None) -> Inputs | None:
    """Return the validation window, asked about the users that are judged; None where nobody has a true item."""
    matrix = None if valid is None else valid.matrix
    if valid is None or matrix is None or matrix.labels is None or not matrix.labels.height:
        return None
    return replace(valid, matrix=judged(matrix))


def judged(later: MatrixInput) -> MatrixInput:
    """Return the same, asked about no more users than are judged after each epoch, all of them with true items."""
    most = min(max(_SCORES // max(later.items.height, 1), _FEWEST), _MOST)
    labels = cast("pl.DataFrame", later.labels)
    has_labels = pl.col("user_id").is_in(labels["user_id"].unique().implode())
    chosen = later.users.filter(pl.col("is_asked") & has_labels).sort("user_hash", "user_id").head(most)
    is_chosen = pl.col("user_id").is_in(chosen["user_id"].implode())
    users = later.users.with_columns(is_asked=is_chosen)
    return replace(later, users=users, labels=labels.filter(is_chosen))


def ndcg(data: MatrixInput, blocks: Iterator[Block]) -> float:
    """Return the mean NDCG@10 of the users with true items; 0 without any."""
    wanted = cast("pl.DataFrame", data.labels).select("user_id", "item_id")
    placed = lists_and_places(data, blocks, wanted, _K)[1].with_columns(cutoff=pl.lit(data.cutoff))
    mean = expected_per_user(placed, [_K], {})[METRIC].mean()
    return 0.0 if mean is None else float(cast("float", mean))
