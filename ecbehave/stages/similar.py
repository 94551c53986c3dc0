"""Similar items and similar users, as tables beside the scores: by the model that has them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import polars as pl

from ecbehave.config.scoring import Predict
from ecbehave.errors import ConfigError
from ecbehave.inputs.types import MatrixInput
from ecbehave.models import PLAIN, model_class
from ecbehave.models.protocol import SimilarItems, SimilarUsers
from ecbehave.schema import SIMILAR_ITEMS, SIMILAR_USERS
from ecbehave.tables import TableWriter

ITEMS, USERS = "similar_items.parquet", "similar_users.parquet"


def check_similar(config: Predict, kind: str) -> None:
    """Refuse to ask a kind for what it does not have.

    Raises:
        ConfigError: it cannot tell what is similar; the message names kinds that can.
    """
    for key, n in (("similar_items", config.similar_items), ("similar_users", config.similar_users)):
        if n and not (kind in PLAIN and hasattr(model_class(kind), key)):
            able = [name for name in PLAIN if hasattr(model_class(name), key)]
            raise ConfigError(
                f"predict.{key}: {kind} knows no similar {key.removeprefix('similar_')}; these kinds do: "
                f"{', '.join(able) or 'none'}. Take the key out, or choose one of them"
            )


def write_similar(folder: Path, model: Any, matrix: MatrixInput, config: Predict) -> dict[str, int]:
    """Write the tables that are asked for.

    Args:
        folder: where they go.
        model: the kind itself; see `check_similar`.
        matrix: who is asked, and which items may be listed.
        config: how many similar ones are asked for; 0 for no table.

    Returns:
        Number of rows of each table.
    """
    counts = {}
    if config.similar_items:
        by_items: SimilarItems = model
        listed = matrix.items["item_id"]
        if matrix.barred_items is not None:
            listed = listed.filter(pl.Series(~matrix.barred_items))
        found = by_items.similar_items(config.similar_items, listed)
        counts["similar_items"] = _write(folder / ITEMS, SIMILAR_ITEMS, found)
    if config.similar_users:
        by_users: SimilarUsers = model
        found = by_users.similar_users(matrix, config.similar_users)
        counts["similar_users"] = _write(folder / USERS, SIMILAR_USERS, found)
    return counts


def _write(file: Path, schema: dict[str, pl.DataType], found: Iterable[pl.DataFrame]) -> int:
    n_rows = 0
    with TableWriter(file, schema) as writer:
        for rows in found:
            of = rows.columns[0]
            rank = pl.int_range(1, pl.len() + 1, dtype=pl.UInt32).over(of)
            writer.write(rows.with_columns(rank=rank).cast({"similarity": pl.Float64}))
            n_rows += rows.height
    return n_rows
