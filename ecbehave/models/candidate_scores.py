"""Scores of candidates in the form of scores of all items."""

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array

from ecbehave.inputs.types import MatrixInput, TableInput
from ecbehave.models.protocol import Block


def candidate_scores(data: MatrixInput, table: TableInput, score: NDArray[np.float64]) -> Block:
    """Return the scores of a table's rows as one sparse block of its users and all items.

    Args:
        data: names of users and items, among them all of the table's.
        table: `user_id` and `item_id` of each candidate, each pair once.
        score: [N], of its rows.
    """
    numbered = (
        table.frame.select("user_id", "item_id")
        .join(data.users.select("user_id").with_row_index("user"), on="user_id", maintain_order="left")
        .join(data.items.select("item_id").with_row_index("item"), on="item_id", maintain_order="left")
        .with_columns(score=pl.Series(score, dtype=pl.Float64))
        .sort("user", "item")
    )
    users, n_rows = np.unique(numbered["user"].to_numpy().astype(np.int64), return_counts=True)
    stored = (
        numbered["score"].to_numpy(),
        numbered["item"].to_numpy().astype(np.int64),
        np.append(0, np.cumsum(n_rows)),
    )
    return users, csr_array(stored, shape=(users.size, data.items.height))
