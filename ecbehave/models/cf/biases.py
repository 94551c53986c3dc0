"""What ratings are without taste: the mean of all, how generous a user is, and how good an item."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from ecbehave.errors import DataError
from ecbehave.inputs.types import MatrixInput

Floats = NDArray[np.float64]

#: So many ratings at the mean are thought to come on top of those of each user, and of each item.
USER_DAMPING, ITEM_DAMPING = 15.0, 10.0
EPOCHS = 10


@dataclass(frozen=True)
class Biases:
    """The mean, and how far users and items lie from it.

    Source: Koren (2010), Factor in the neighbors: scalable and accurate collaborative filtering, section 2.1; damping
    and number of epochs as in the library Surprise, whose published figures they belong to.
    """

    mean: float
    """0 where there is no rating."""
    user: Floats
    """[U], 0 for a user without a rating."""
    item: Floats
    """[I], 0 for an item without a rating."""

    @classmethod
    def fit(cls, user: ArrayLike, item: ArrayLike, rating: ArrayLike, n_users: int, n_items: int) -> Self:
        """Fit by alternating least squares: items with users held fixed, then users with items held fixed.

        Sums run in the order of the ratings, so that other orders may change the last digit; see `rated`.

        Args:
            user: [n] row numbers of users.
            item: [n] row numbers of items.
            rating: [n].
            n_users: U.
            n_items: I.
        """
        users, items = np.asarray(user, np.int64), np.asarray(item, np.int64)
        off = np.asarray(rating, np.float64)
        mean = float(off.mean()) if off.size else 0.0
        off = off - mean
        by_user, by_item = np.zeros(n_users), np.zeros(n_items)
        user_weight = USER_DAMPING + np.bincount(users, minlength=n_users)
        item_weight = ITEM_DAMPING + np.bincount(items, minlength=n_items)
        for _ in range(EPOCHS):
            by_item = np.bincount(items, off - by_user[users], minlength=n_items) / item_weight
            by_user = np.bincount(users, off - by_item[items], minlength=n_users) / user_weight
        return cls(mean, by_user, by_item)

    @classmethod
    def of_rated(cls, data: MatrixInput, known: pl.DataFrame) -> Self:
        """Fit on what `rated` returned for `data`."""
        return cls.fit(known["user"], known["item"], known["rating"], data.users.height, data.items.height)

    def of(self, users: ArrayLike, items: ArrayLike) -> Floats:
        """Return the rating [n] that is expected of pairs of row numbers [n], whatever the user's taste."""
        found: Floats = (
            self.mean + self.user[np.asarray(users, np.int64)] + self.item[np.asarray(items, np.int64)]
        )
        return found

    def grid(self, users: ArrayLike) -> Floats:
        """Return the same of some users [B] with every item [B, I]."""
        found: Floats = self.mean + self.user[np.asarray(users, np.int64), None] + self.item[None, :]
        return found


def rated(data: MatrixInput) -> pl.DataFrame:
    """Return the last rating of each user for each item.

    Returns:
        `user`, `item` (Int64, row numbers), `rating` (Float64); one row per user and item, sorted by these. Of events
        of several types the latest one counts; of several at one instant, the last type in the alphabet.

    Raises:
        DataError: there is none.
    """
    known = (
        data.pairs.filter(pl.col("rating").is_not_null())
        .sort("user", "item", "days_since", "event_type", descending=[False, False, False, True])
        .unique(["user", "item"], keep="first", maintain_order=True)
        .select(pl.col("user", "item").cast(pl.Int64), pl.col("rating").cast(pl.Float64))
    )
    if known.is_empty():
        raise DataError(
            f"no item was rated before {data.cutoff:%Y-%m-%d %H:%M} UTC, so there are no ratings to learn from; map "
            f"rating in dataset.sources[].columns, lower split.train, or bring a longer log"
        )
    return known


def clipped(predicted: Floats, known: pl.DataFrame) -> Floats:
    """Return predicted ratings within the range of the known ones, which `rated` returned."""
    rating = known["rating"].to_numpy()
    bounded: Floats = np.clip(predicted, rating.min(), rating.max())
    return bounded
