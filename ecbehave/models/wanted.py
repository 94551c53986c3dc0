"""Pairs of a user and an item that are looked up in blocks of scores."""

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecbehave.inputs.types import MatrixInput

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Wanted:
    """N pairs, in any order."""

    user: Ints
    """[N] row number in the users of a matrix; -1 for one that it does not know."""
    item: Ints
    """[N] likewise, in its items."""

    @classmethod
    def of(cls, data: MatrixInput, pairs: pl.DataFrame) -> Self:
        """Find the row numbers of `user_id` and `item_id`."""
        found = [
            pairs.select(key)
            .join(names.select(key).with_row_index("row"), on=key, how="left", maintain_order="left")["row"]
            .cast(pl.Int64)
            .fill_null(-1)
            .to_numpy()
            for key, names in (("user_id", data.users), ("item_id", data.items))
        ]
        return cls(*found)

    @cached_property
    def _by_user(self) -> Ints:
        return np.argsort(self.user, kind="stable")

    def within(self, users: Ints) -> tuple[Ints, Ints, Ints]:
        """Return which pairs a block has, and where.

        Args:
            users: [B] row numbers of the block's users, ascending.

        Returns:
            The numbers of the pairs, and the rows and columns of the block that they are at, all of one length.
        """
        if not users.size:
            nothing = np.empty(0, np.int64)
            return nothing, nothing, nothing
        start, end = np.searchsorted(self.user[self._by_user], [users[0], users[-1] + 1])
        pairs = self._by_user[start:end]
        pairs = pairs[(self.item[pairs] >= 0) & np.isin(self.user[pairs], users)]
        return pairs, np.searchsorted(users, self.user[pairs]), self.item[pairs]
