"""The containers that models read."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array

from ecbehave.schema import TABLE_KEYS


@dataclass(frozen=True)
class TableInput:
    """One row per population member and cutoff, sorted by cutoff and user."""

    frame: pl.DataFrame
    """`TABLE_KEYS`, `label` (Int8) where it is known, and the features (Float32; null is unknown)."""
    features: tuple[str, ...]

    @property
    def keys(self) -> pl.DataFrame:
        """`user_hash`, `user_id`, `cutoff` of every row."""
        return self.frame.select(*TABLE_KEYS)

    @property
    def n_rows(self) -> int:
        """Number of rows N."""
        return self.frame.height

    @cached_property
    def values(self) -> NDArray[np.float32]:
        """Features as a matrix [N, F]; NaN is unknown."""
        return self.frame.select(pl.col(self.features).fill_null(np.nan)).to_numpy(order="c")

    @cached_property
    def label(self) -> NDArray[np.int8]:
        """Labels [N], 0 or 1."""
        return self.frame["label"].to_numpy()

    @classmethod
    def concat(cls, parts: Sequence["TableInput"]) -> "TableInput":
        """Put several cutoffs below one another."""
        return cls(pl.concat([p.frame for p in parts]), parts[0].features)


@dataclass(frozen=True)
class MatrixInput:
    """Who had which item how often before a cutoff: U users, I items, P pairs."""

    cutoff: datetime
    users: pl.DataFrame
    """[U] `user_hash`, `user_id`, `is_asked` (member of the population), sorted by the first two."""
    items: pl.DataFrame
    """[I] `item_id`, sorted: the catalogue as known at the cutoff."""
    pairs: pl.DataFrame
    """[P] `user` and `item` (row numbers in the two above), `event_type`, `n_events`, `days_since` the last one."""
    labels: pl.DataFrame | None = None
    """`user_id`, `item_id` of the true items, where they are known."""

    @property
    def asked(self) -> NDArray[np.int64]:
        """Row numbers of the users in the population."""
        return self.users["is_asked"].arg_true().to_numpy().astype(np.int64)

    def csr(self, pairs: pl.DataFrame, weight: NDArray[np.float64]) -> csr_array:
        """Return pairs as a users x items matrix [U, I]; weights of equal pairs add up, in the order given."""
        shape = (self.users.height, self.items.height)
        return csr_array((weight, (pairs["user"].to_numpy(), pairs["item"].to_numpy())), shape=shape)
