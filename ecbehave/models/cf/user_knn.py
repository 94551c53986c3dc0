"""User-based nearest neighbours: what users had who are like the user, and what became of such users before."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field, model_validator
from scipy.sparse import csr_array, diags_array

from ecbehave.config.model import ModelConfig
from ecbehave.config.values import Duration, parse_duration
from ecbehave.errors import DataError
from ecbehave.inputs.types import Inputs, MatrixInput
from ecbehave.models.cf.like_minded import AlikeNeighbours
from ecbehave.models.cf.neighbour_ratings import NeighbourRatings
from ecbehave.models.cf.profiles import Profiles, Weighing, by_rows, places_of
from ecbehave.models.cf.sessions import Order, OrderedNeighbours
from ecbehave.models.cf.similarity import Similarity
from ecbehave.models.cf.vocabulary import align
from ecbehave.models.cf.votes import Votes
from ecbehave.models.protocol import Options, Reads
from ecbehave.models.search import Domain, Real, Whole
from ecbehave.models.storage import load_json, reading, save_json

_FILE = "user_knn"


class UserKnnConfig(ModelConfig):
    """Users who had the same items; for churn and purchase of anything, a vote of such users at earlier cutoffs."""

    kind: Literal["user_knn"]
    event_weights: dict[str, Annotated[float, Field(gt=0)]] = Field(
        default={"view": 0.2, "click": 0.2, "cart": 0.5, "purchase": 1.0}
    )
    """Weight of one event by type; types not named do not count."""
    half_life: Duration = parse_duration("60d")
    """Time after which an event counts half, of the user and of neighbours."""
    similarity: Literal["cosine", "pearson", "euclidean", "jaccard"] = "cosine"
    """How alike two weighted histories are; ratings always take Pearson's correlation of what biases leave."""
    neighbours: Annotated[int, Field(gt=0)] = 100
    """Most similar users who are heard."""
    threshold: Annotated[float, Field(ge=0)] = 0.0
    """Users who are less similar than this are not heard."""
    shrink: Annotated[float, Field(ge=0)] = 0.0
    """Pulls similarities that few shared items support to zero; of cosine and Jaccard, added to the denominator."""
    significance: Annotated[int, Field(ge=0)] = 0
    """Similarity grows in proportion with the number of shared items up to so many; 0: the number does not matter."""
    rating_shrink: Annotated[float, Field(ge=0)] = 100.0
    """As `shrink`, for ratings."""
    rarity: Annotated[float, Field(ge=0)] = 1.0
    """Power of the inverse frequency log(users / users of the item), by which a shared item counts; 0: all alike."""
    repeat_weight: Annotated[float, Field(ge=0)] = 3.0
    """How much the user's own history counts, beside the mean of the neighbours."""
    order: Order | None = None
    """Neighbours by the order of events, as for sessions; `{}` takes the defaults. By default order does not count."""

    @model_validator(mode="after")
    def _has_one_similarity(self) -> Self:
        if self.order is not None:
            fixed = {"similarity": "cosine", "shrink": 0.0, "significance": 0}
            if others := [key for key, value in fixed.items() if getattr(self, key) != value]:
                raise ValueError(
                    f"order has a similarity of its own, so that {others[0]} has no meaning beside it; "
                    f"leave out one of them"
                )
        return self


@dataclass(frozen=True)
class _Asked:
    """Users whose neighbours are wanted: Q users, I items of theirs, K stored items."""

    users: NDArray[np.int64]
    """[Q] row numbers, ascending."""
    history: csr_array
    """[Q, I] what they had, weighted."""
    wanted: csr_array
    """[Q, K] the same, weighted by how much it is worth to share it."""
    own_row: NDArray[np.int64]
    """[Q] the row of the same user among the stored ones; -1 for none."""


class UserKnn:
    """Nearest users of the stored histories; the scores of an item are the weighted mean of what they had.

    Source: Herlocker et al. (1999), An algorithmic framework for performing collaborative filtering, section 5
    (significance, number of neighbours, weighted mean); Breese et al. (1998), Empirical analysis of predictive
    algorithms for collaborative filtering, section 2.1 (inverse user frequency).
    """

    config_class: ClassVar[type[ModelConfig]] = UserKnnConfig
    inputs: ClassVar[Mapping[str, Reads]] = {
        "binary": "all",
        "pairs": "matrix",
        "ranking": "matrix",
        "rating": "matrix",
    }
    search: ClassVar[Mapping[str, Domain]] = {
        "neighbours": Whole(20, 500, log=True),
        "shrink": Real(0.0, 50.0),
        "rarity": Real(0.0, 2.0),
        "repeat_weight": Real(0.0, 6.0),
    }

    def __init__(self, config: UserKnnConfig) -> None:
        self.config = config
        self.state_: Profiles | Votes | NeighbourRatings | None = None

    @property
    def _weighing(self) -> Weighing:
        return Weighing(self.config.event_weights, self.config.half_life)

    def fit(self, train: Sequence[Any], valid: Sequence[Any], options: Options) -> Self:
        """Store the newest history; of a vote, the histories and labels of each train cutoff.

        Raises:
            DataError: no event counts, or the labels cannot teach the question, or nothing was rated.
        """
        del valid
        if options.output == "rating":
            self.state_ = NeighbourRatings.fit(train[-1])
        elif isinstance(train[-1], Inputs):
            self.state_ = Votes.fit(train, self._weighing)
        else:
            self.state_ = Profiles.of(train[-1], self._weighing)
            if self.state_.weight.nnz == 0:
                raise DataError(
                    f"user_knn has no events to learn from: none of {', '.join(self.config.event_weights)} "
                    f"occurs with an item; set model.event_weights to the log's event types"
                )
        return self

    def predict(self, data: Inputs, k: int) -> pl.DataFrame:
        """Return the keys of the table with `score`: the log-odds of the label among the nearest users."""
        del k
        return cast("Votes", self.state_).predict(data, self._weighing, self._how(self.config.neighbours))

    def ratings(self, data: MatrixInput, pairs: pl.DataFrame) -> NDArray[np.float64]:
        """Return the rating [n] expected of each pair of `user` and `item`, within the known scale."""
        stored = cast("NeighbourRatings", self.state_)
        return stored.of_pairs(data, pairs, self.config.neighbours, self.config.rating_shrink)

    def scores(
        self, data: MatrixInput
    ) -> Iterator[tuple[NDArray[np.int64], csr_array | NDArray[np.float64]]]:
        """Yield the scores of some users of the population after the others; of ratings, those of every item."""
        if isinstance(self.state_, NeighbourRatings):
            yield from self.state_.of_all(data, self.config.neighbours, self.config.rating_shrink)
            return
        stored, near = cast("Profiles", self.state_), self._neighbours(self.config.neighbours)
        asked = self._asked(data)
        back = align(stored.item_ids, data.items["item_id"]).T
        for block in near.blocks(asked.wanted):
            mine = asked.history[block] * self.config.repeat_weight
            scores = csr_array(
                near.scores(csr_array(asked.wanted[block]), asked.own_row[block]) @ back + mine
            )
            scores.eliminate_zeros()
            yield asked.users[block], scores

    def similar_users(self, data: MatrixInput, n: int) -> Iterator[pl.DataFrame]:
        """Yield `user_id`, `similar_user_id`, `similarity`: at most `n` stored users for each one who is asked."""
        stored, near, asked = cast("Profiles", self.state_), self._neighbours(n), self._asked(data)
        for block in near.blocks(asked.wanted):
            found = near.similarities(csr_array(asked.wanted[block]), asked.own_row[block]).tocoo()
            alike = pl.DataFrame(
                {
                    "row": asked.users[block][found.row],
                    "similar_user_id": stored.user_ids.gather(found.col),
                    "similarity": found.data,
                }
            ).sort("row", "similarity", "similar_user_id", descending=[False, True, False])
            yield alike.select(
                data.users["user_id"].gather(alike["row"]).alias("user_id"), "similar_user_id", "similarity"
            )

    def _neighbours(self, n: int) -> AlikeNeighbours | OrderedNeighbours:
        stored, config = cast("Profiles", self.state_), self.config
        if config.order is not None:
            return OrderedNeighbours(stored, config.order, n, config.threshold)
        return AlikeNeighbours(stored, self._how(n), self._rarity)

    def _asked(self, data: MatrixInput) -> _Asked:
        stored, users = cast("Profiles", self.state_), data.asked
        pairs = self._weighing.pairs(data).filter(pl.col("user").is_in(pl.Series(users).implode()))
        row = pl.Series(np.searchsorted(users, pairs["user"].to_numpy()), dtype=pl.Int64)
        shape = (users.size, data.items.height)
        weight = pairs["weight"].to_numpy()
        recency = 0.0 if self.config.order is None else self.config.order.recency
        recent = weight * np.exp(-recency * pairs["place"].to_numpy())
        known = align(stored.item_ids, data.items["item_id"])
        wanted = by_rows(row, pairs["item"], recent, shape) @ known @ diags_array(self._rarity)
        own_row = places_of(data.users["user_id"].gather(users), stored.user_ids)
        return _Asked(users, by_rows(row, pairs["item"], weight, shape), csr_array(wanted), own_row)

    @property
    def _rarity(self) -> NDArray[np.float64]:
        """How telling each item is [K]: log(users / users of the item), at least that of one that half of them had.

        An item that everybody had tells nothing; but were that zero, who had nothing else would have no neighbours.
        """
        weight = cast("Profiles", self.state_).weight
        n_users = np.bincount(weight.indices, minlength=weight.shape[1])
        rare: NDArray[np.float64] = np.log(np.maximum(weight.shape[0] / np.maximum(n_users, 1), 2.0))
        return rare**self.config.rarity

    def _how(self, neighbours: int) -> Similarity:
        config = self.config
        return Similarity(config.similarity, neighbours, config.shrink, config.threshold, config.significance)

    def save(self, folder: Path) -> None:
        """Write what is stored, and for which question."""
        state = cast("Profiles | Votes | NeighbourRatings", self.state_)
        save_json(folder / f"{_FILE}.json", {"stored": type(state).__name__})
        state.save(folder, "stored")

    @classmethod
    def load(cls, folder: Path, config: UserKnnConfig) -> Self:
        """Read what `save` wrote.

        Raises:
            ArtifactError: the folder does not hold a model of this kind.
        """
        model = cls(config)
        named = load_json(folder / f"{_FILE}.json")
        with reading(folder / f"{_FILE}.json"):
            state = {found.__name__: found for found in (Profiles, Votes, NeighbourRatings)}[named["stored"]]
        model.state_ = state.load(folder, "stored")
        return model
