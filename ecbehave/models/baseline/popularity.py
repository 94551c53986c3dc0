"""The items that most users have had, lately or ever: to everybody the same, or by the categories of a user's own."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array

from ecbehave.config.model import ModelConfig
from ecbehave.config.values import Duration, parse_duration
from ecbehave.inputs.types import MatrixInput
from ecbehave.models.protocol import Block, Options, Reads
from ecbehave.models.storage import load_json, save_json

#: Scores that are given at once.
_BLOCK_SCORES = 4_000_000
#: Events at which a user's own categories count for as much as everybody's. Chosen on windows of Complete Journey:
#: 100 to 300 serve users of one basket best; with few, rare categories crowd out what everybody buys.
_PRIOR_EVENTS = 100.0


class PopularityConfig(ModelConfig):
    """Items by the number of users who had them."""

    kind: Literal["popularity"]
    window: Duration | Literal["all"] = parse_duration("28d")
    """Users whose last event with the item lies in this time before the cutoff count; `all` for ever."""
    within: Literal["all", "category"] = "all"
    """`all`: the same list for everybody; `category`: the categories of what a user had count for more."""


class Popularity:
    """Needs no fitting: the list is counted on the history that it is asked about."""

    config_class: ClassVar[type[ModelConfig]] = PopularityConfig
    inputs: ClassVar[Mapping[str, Reads]] = {"pairs": "matrix", "ranking": "matrix"}
    counts_at_scoring: ClassVar[bool] = True
    """Scores depend on all users of what it is asked about."""

    def __init__(self, config: PopularityConfig) -> None:
        self.config = config

    def fit(self, train: Sequence[MatrixInput], valid: Sequence[MatrixInput], options: Options) -> Self:
        """Learn nothing."""
        del train, valid, options
        return self

    def scores(self, data: MatrixInput) -> Iterator[Block]:
        """Yield the number of users of each item, times what the user's own categories make of it."""
        popular = Popular.of(data, self.config.window)
        if self.config.within == "all":
            popular = popular.to_anybody()
        n_blocks = -(-data.asked.size * data.items.height // _BLOCK_SCORES)
        for users in np.array_split(data.asked, max(n_blocks, 1)):
            yield users, popular.scores(users)

    def save(self, folder: Path) -> None:
        """Write that there is nothing to write."""
        save_json(folder / "popularity.json", {})

    @classmethod
    def load(cls, folder: Path, config: PopularityConfig) -> Self:
        """Read what `save` wrote."""
        load_json(folder / "popularity.json")
        return cls(config)


@dataclass(frozen=True)
class Popular:
    """How likely each item is had next by each user, as far as popularity and the user's categories tell.

    Within a category it is the share of the item in what all users had lately; for the category, what the user had in
    it, smoothed by what all users had: (n_uc + m p_c) / (n_u + m), which is n_users_i (1 + n_uc / (m p_c)) times what
    is the same for all items of a user. So who had nothing gets what most users had.

    Source: Zhai and Lafferty (2004), A study of smoothing methods for language models, equation 6 (Dirichlet prior).
    """

    n_users: NDArray[np.float64]
    """[I] distinct users of each item in the window."""
    category: NDArray[np.int64]
    """[I] number of its category; -1 where it has none."""
    lift: csr_array
    """[U, C] n_uc / (m p_c) of the categories that a user of the population had anything in; other rows are empty."""

    @classmethod
    def of(cls, data: MatrixInput, window: object) -> Self:
        """Count.

        Args:
            data: history of all users.
            window: see `n_users_of`.
        """
        counted = n_users_of(data, window)
        n_users = np.zeros(data.items.height)
        n_users[counted["item"].to_numpy()] = counted["score"].to_numpy()
        names = data.items["category"].unique().drop_nulls().sort().to_frame().with_row_index("number")
        numbered = data.items.join(names, on="category", how="left", maintain_order="left")["number"]
        category = numbered.cast(pl.Int64).fill_null(-1).to_numpy()
        return cls(n_users, category, _lift(data, n_users, category, names.height))

    def to_anybody(self) -> "Popular":
        """Return the same without anybody's own categories."""
        return Popular(self.n_users, self.category, csr_array(self.lift.shape))

    def without(self, items: NDArray[np.bool_] | None) -> "Popular":
        """Return the same without some items [I]."""
        if items is None:
            return self
        return Popular(np.where(items, 0, self.n_users), self.category, self.lift)

    def scores(self, users: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the score of every item for some users [B, I]; minus infinity where nobody had it in the window."""
        shape = (users.size, self.n_users.size)
        had = np.where(self.n_users > 0, self.n_users, -np.inf)
        if self.lift.nnz == 0:
            return np.broadcast_to(had, shape)
        # The last column stands for what has no category.
        lift = np.zeros((users.size, self.lift.shape[1] + 1))
        lift[:, :-1] = self.lift[users].toarray()
        found: NDArray[np.float64] = had * (1 + lift[:, self.category])
        return found

    def best(self, users: NDArray[np.int64], n: int) -> csr_array:
        """Return the same scores [B, I], of the n best items of each user and of some others.

        Within a category all items follow one another by their users: the n first ones of each category that a user
        had, and of all items, are enough.
        """
        order = np.lexsort((np.arange(self.n_users.size), -self.n_users))
        order = order[self.n_users[order] > 0]
        n_touched = np.diff(self.lift.indptr)[users]
        own = csr_array(self.lift[users])
        own.data = own.data + 1
        in_own = own @ self._first_of_categories(order, n)
        first = np.sort(order[:n])
        tiled = (np.tile(self.n_users[first], users.size), np.tile(first, users.size))
        in_all = csr_array(
            (*tiled, np.arange(users.size + 1) * first.size), shape=(users.size, self.n_users.size)
        )
        return csr_array(in_all if n_touched.sum() == 0 else in_own.maximum(in_all))

    def _first_of_categories(self, order: NDArray[np.int64], n: int) -> csr_array:
        """Return the users [C, I] of the n first items of each category."""
        category = self.category[order]
        by_category = np.argsort(category, kind="stable")
        items, category = order[by_category], category[by_category]
        starts = np.searchsorted(category, category)
        is_first = (np.arange(items.size) - starts < n) & (category >= 0)
        items, category = items[is_first], category[is_first]
        shape = (self.lift.shape[1], self.n_users.size)
        return csr_array((self.n_users[items], (category, items)), shape=shape)


def n_users_of(data: MatrixInput, window: object) -> pl.DataFrame:
    """Return `item` (row number), `score`: how many users had it in a window, sorted by item.

    Args:
        data: history of all users.
        window: a timedelta before the cutoff, or `all`; a user counts whose last event with the item lies in it.
    """
    recent = data.pairs
    if window != "all":
        days = parse_duration(window).total_seconds() / 86_400
        recent = recent.filter(pl.col("days_since") <= days)
    return recent.group_by("item").agg(score=pl.col("user").n_unique().cast(pl.Float64)).sort("item")


def _lift(
    data: MatrixInput, n_users: NDArray[np.float64], category: NDArray[np.int64], n_categories: int
) -> csr_array:
    """Return how much likelier each category is for who had something in it [U, C]."""
    pairs = data.pairs.filter(data.users["is_asked"].gather(data.pairs["user"]))
    item = pairs["item"].to_numpy()
    had = category[item] >= 0
    events = pairs["n_events"].to_numpy().astype(np.float64)[had]
    where = pairs["user"].to_numpy()[had], category[item][had]
    counted = csr_array((events, where), shape=(data.users.height, n_categories))
    in_category = np.bincount(category[category >= 0], n_users[category >= 0], minlength=n_categories)
    share = in_category / max(n_users.sum(), 1)
    # Of a category that nobody had in the window, there is no item to be lifted.
    factor = np.divide(1, _PRIOR_EVENTS * share, out=np.zeros(n_categories), where=share > 0)
    return csr_array(counted * factor)
