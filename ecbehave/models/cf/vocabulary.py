"""Items of the catalogue that a model was fitted on, found again in a later one."""

import numpy as np
import polars as pl
from scipy.sparse import csr_array


def align(known: pl.Series, items: pl.Series) -> csr_array:
    """Return which known item each item is [I, K]: a 1 in its row, or nothing for an item that is new.

    Args:
        known: [K] item ids that a model has learned.
        items: [I] item ids that it is asked about.
    """
    numbered = pl.DataFrame({"item_id": known}).with_row_index("old")
    found = items.to_frame("item_id").join(numbered, on="item_id", how="left", maintain_order="left")["old"]
    new_rows, old_rows = found.is_not_null().arg_true().to_numpy(), found.drop_nulls().to_numpy()
    shape = (len(items), len(known))
    return csr_array((np.ones(new_rows.size), (new_rows, old_rows)), shape=shape)
