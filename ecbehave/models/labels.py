"""The labels of several cutoffs."""

from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from ecbehave.errors import DataError
from ecbehave.inputs.types import Inputs, TableInput


def labels_of(parts: Sequence[Inputs]) -> NDArray[np.int8]:
    """Return the labels of all rows of the tables, one cutoff after the other [N]."""
    return np.concatenate([cast("TableInput", part.table).label for part in parts])


def pooled(train: Sequence[TableInput]) -> TableInput:
    """Put the train cutoffs together.

    Raises:
        DataError: nobody is in the population, or all labels are the same.
    """
    table = TableInput.concat(train)
    n_positive = int(table.label.sum())
    if n_positive in (0, table.n_rows):
        same = "1" if n_positive else "0"
        raise DataError(
            f"the train labels have one class only: all {table.n_rows} rows are {same}; "
            f"change task.horizon or task.active_within so that both classes occur"
            if table.n_rows
            else "the train population is empty: no user was active before any train cutoff; "
            "lengthen task.active_within or bring more data"
        )
    return table
