"""Item-based nearest neighbours: what goes with what the user had, and what comes after it; predicts ratings, too."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_array, diags_array

from ecbehave.config.model import ModelConfig
from ecbehave.config.values import Duration, parse_duration
from ecbehave.errors import DataError
from ecbehave.inputs.types import MatrixInput
from ecbehave.models.best import best_per_row
from ecbehave.models.cf.directed import Visits, followers
from ecbehave.models.cf.profiles import by_rows
from ecbehave.models.cf.rated_items import Rated, RatedItems
from ecbehave.models.cf.similarity import Similarity, similar_rows
from ecbehave.models.cf.vocabulary import align
from ecbehave.models.cf.weighted import weighted_pairs
from ecbehave.models.protocol import Block, Options, Reads
from ecbehave.models.search import Domain, Real, Whole
from ecbehave.models.storage import load_arrays, load_json, reading, save_arrays, save_json
from ecbehave.parallel import in_order

#: Users whose scores are computed at once, and items whose similar items are listed at once.
_BLOCK_USERS, _BLOCK_ITEMS = 512, 4096
#: Similar items that are stored of each item for ratings: the nearest are chosen among those that a user rated.
_RATED_NEIGHBOURS = 1000

Alike = Literal["cosine", "pearson", "adjusted_cosine", "euclidean", "jaccard"]


class ItemKnnConfig(ModelConfig):
    """Items like those that the user had; predicts ratings, too."""

    kind: Literal["item_knn"]
    event_weights: dict[str, Annotated[float, Field(gt=0)]] = Field(
        default={"view": 0.2, "click": 0.2, "cart": 0.5, "purchase": 1.0}
    )
    """Weight of one event by type; types not named do not count, and neither does any where ratings are predicted."""
    similarity: Alike = "cosine"
    """How alike items are, by who had them: cosine and jaccard over all users, the others over those who had both."""
    neighbours: Annotated[int, Field(gt=0)] = 100
    """Most similar items kept for each item; as many again that most often come after it."""
    min_users: Annotated[int, Field(gt=0)] = 3
    """An item that fewer users had is similar to itself only."""
    shrink: Annotated[float, Field(ge=0)] = 20.0
    """Pulls similarities that few users support towards zero: added to the denominator of cosine and jaccard; for the
    others, a similarity that n users support counts n / (n + shrink)."""
    threshold: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Similarities below it are dropped."""
    significance: Annotated[int, Field(ge=0)] = 0
    """A similarity that fewer users support counts less: n / significance for n users; 0 for no such weighting."""
    half_life: Duration = parse_duration("60d")
    """Time after which a user's event counts half in the score."""
    repeat_weight: Annotated[float, Field(ge=0)] = 20.0
    """Similarity of an item to itself: how strongly what was had before is recommended again."""
    place_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """A user's event counts so many times as much for each later instant with an event of the user."""
    directed_weight: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of what comes after an item in the score; the rest is what goes with it in any order."""
    directed_reach: Annotated[int, Field(gt=0)] = 20
    """How many of a user's next instants count as coming after."""
    directed_distance: Annotated[float, Field(ge=0)] = 0.5
    """What comes n instants later counts 1 / n^directed_distance."""
    directed_damping: Annotated[float, Field(ge=0)] = 0.25
    """What comes after counts 1 / (users of both items, multiplied)^directed_damping."""
    popularity_exponent: float = 0.0
    """Similarities are multiplied by (users of the similar item)^popularity_exponent: below 0 it holds popular items
    down, above 0 it lifts them."""
    rating_similarity: Alike = "pearson"
    """How alike items are by their ratings; pearson is of what mean and biases of user and item leave of them."""
    rating_neighbours: Annotated[int, Field(gt=0)] = 40
    """A rating is predicted from so many of the user's ratings, those of the most similar items."""
    rating_shrink: Annotated[float, Field(ge=0)] = 100.0
    """As `shrink`, for ratings."""
    rating_damping: Annotated[float, Field(ge=0)] = 0.1
    """Added to the sum of similarities that a predicted rating is divided by: draws it towards the biases."""


class ItemKnn:
    """Similarities learned once; a user's history at any cutoff is scored with them.

    The score of item j is the sum over the items i of the user of weight x similarity of i to j, where the weight is
    the number of events by type, less the longer ago and the more instants ago the last one is. See `similar_rows` and
    `followers` for what learning costs.

    Source: Deshpande and Karypis (2004), Item-based top-N recommendation algorithms, section 4; of what it is made up,
    `Similarity`, `followers` and `RatedItems` name theirs.
    """

    config_class: ClassVar[type[ModelConfig]] = ItemKnnConfig
    inputs: ClassVar[Mapping[str, Reads]] = {"pairs": "matrix", "ranking": "matrix", "rating": "matrix"}
    search: ClassVar[Mapping[str, Domain]] = {
        "neighbours": Whole(20, 500, log=True),
        "shrink": Real(0.0, 100.0),
        "repeat_weight": Real(0.0, 40.0),
        "place_decay": Real(0.5, 1.0),
        "directed_weight": Real(0.0, 0.9),
        "popularity_exponent": Real(-0.5, 0.5),
    }

    def __init__(self, config: ItemKnnConfig) -> None:
        self.config = config
        self.items_ = pl.Series("item_id", [], dtype=pl.String)
        self.similarity_ = csr_array((0, 0), dtype=np.float32)
        self.is_rated_ = False
        """Whether it predicts ratings."""

    def fit(self, train: Sequence[MatrixInput], valid: Sequence[MatrixInput], options: Options) -> Self:
        """Compute similarities on the newest history.

        Raises:
            DataError: it has none of the events with an item, or no rating.
        """
        del valid
        newest = train[-1]
        self.is_rated_ = options.output == "rating"
        self.items_ = newest.items["item_id"]
        self.similarity_ = (
            self._of_ratings(newest, options.threads)
            if self.is_rated_
            else self._of_events(newest, options.threads)
        )
        return self

    def _of_ratings(self, data: MatrixInput, threads: int) -> csr_array:
        told, config = Rated.of(data), self.config
        centred = config.rating_similarity == "pearson"
        how = Similarity(
            "shared_cosine" if centred else config.rating_similarity,
            _RATED_NEIGHBOURS,
            config.rating_shrink,
            config.threshold,
            config.significance,
        )
        values = told.residuals if centred else told.values(data)
        return similar_rows(csr_array(values.T), how, threads)

    def _of_events(self, data: MatrixInput, threads: int) -> csr_array:
        config = self.config
        weighted = weighted_pairs(data, config.event_weights, (1 + pl.col("n_events")).log())
        if weighted.height == 0:
            raise DataError(
                f"item_knn has no events to learn from: none of {', '.join(config.event_weights)} "
                f"occurs with an item; set model.event_weights to the log's event types"
            )
        n_users = np.bincount(weighted["item"])
        if n_users[n_users > 0].min() < config.min_users:
            weighted = weighted.filter(n_users[weighted["item"]] >= config.min_users)
        shape = (data.users.height, data.items.height)
        by_item = csr_array(
            by_rows(weighted["user"], weighted["item"], weighted["weight"].to_numpy(), shape).T
        )
        if not config.directed_weight:
            weighted = weighted.clear()
        how = Similarity(
            config.similarity, config.neighbours, config.shrink, config.threshold, config.significance
        )
        similarity = similar_rows(by_item, how, threads)
        if config.directed_weight:
            share = np.float32(config.directed_weight)
            similarity = similarity * (1 - share) + self._followers(data, weighted, threads) * share
        popular = np.maximum(np.diff(by_item.indptr), 1) ** config.popularity_exponent
        similarity.data *= popular.astype(np.float32)[similarity.indices]
        similarity.eliminate_zeros()
        similarity.sort_indices()
        return csr_array(similarity)

    def _followers(self, data: MatrixInput, weighted: pl.DataFrame, threads: int) -> csr_array:
        config = self.config
        user, item, place, weight = (
            weighted[name].to_numpy() for name in ("user", "item", "place", "type_weight")
        )
        visits = Visits(user, item, place, weight, data.items.height)
        return followers(
            visits,
            config.directed_reach,
            config.directed_distance,
            config.directed_damping,
            config.neighbours,
            threads,
        )

    def scores(self, data: MatrixInput) -> Iterator[Block]:
        """Yield the scores of some users of the population after the others.

        Returns:
            Row numbers in `data.users`, and the scores [B, I]: of events, sparse, of every item that has one; of a
            model that was fitted for ratings, dense, the rating that is expected, which may lie beyond their range.
        """
        if self.is_rated_:
            yield from self._rated_items(data).blocks(Rated.of(data), data.asked)
            return
        history, similarity = (
            self.history(data),
            self._aligned(data.items["item_id"], self.config.repeat_weight),
        )
        users = data.asked

        def score(block: NDArray[np.int64]) -> Block:
            return block, csr_array(history[block] @ similarity)

        blocks = np.array_split(users, max(users.size // _BLOCK_USERS, 1))
        yield from in_order(score, blocks, pl.thread_pool_size())

    def history(self, data: MatrixInput) -> csr_array:
        """Return what each user had [U, I]: the number of events by weight, less the longer ago the last one is."""
        half_life_days = self.config.half_life.total_seconds() / 86_400
        decay = 0.5 ** (pl.col("days_since").cast(pl.Float64) / half_life_days)
        by_place = self.config.place_decay ** pl.col("place").cast(pl.Float64)
        strength = pl.col("n_events") * decay * by_place
        weighted = weighted_pairs(data, self.config.event_weights, strength)
        return data.csr(weighted, weighted["weight"].to_numpy())

    def ratings(self, data: MatrixInput, pairs: pl.DataFrame) -> NDArray[np.float64]:
        """Return the rating that each user is expected to give [n], within the range of those in `data`.

        Args:
            data: who has given which ratings.
            pairs: [n] `user`, `item`: row numbers in `data`.
        """
        return self._rated_items(data).ratings(Rated.of(data), pairs)

    def _rated_items(self, data: MatrixInput) -> RatedItems:
        similarity = self._aligned(data.items["item_id"], 0)
        return RatedItems(similarity, self.config.rating_neighbours, self.config.rating_damping)

    def similar_items(self, n: int, listed: pl.Series) -> Iterator[pl.DataFrame]:
        """Yield the most similar items of each item that it knows.

        Args:
            n: most of each.
            listed: ids of the items that may be named.

        Returns:
            `item_id`, `similar_item_id`, `similarity`; all rows of an item in one frame, the most similar first, equal
            ones by id.
        """
        may_be = self.items_.is_in(listed.implode()).to_numpy().astype(np.float32)
        similarity = csr_array(self.similarity_ @ diags_array(may_be, format="csr"))
        similarity.eliminate_zeros()
        for start in range(0, len(self.items_), _BLOCK_ITEMS):
            best = best_per_row(similarity[start : start + _BLOCK_ITEMS], n).tocoo()
            order = np.lexsort((best.col, -best.data, best.row))
            yield pl.DataFrame(
                {
                    "item_id": self.items_.gather(start + best.row[order].astype(np.int64)),
                    "similar_item_id": self.items_.gather(best.col[order].astype(np.int64)),
                    "similarity": best.data[order].astype(np.float64),
                }
            )

    def _aligned(self, item_ids: pl.Series, itself: float) -> csr_array:
        """Return similarities between the items of another catalogue; unseen items are similar to themselves only."""
        select = align(self.items_, item_ids)
        others = select @ self.similarity_ @ select.T
        if itself:
            others = others + diags_array(np.full(len(item_ids), itself), format="csr")
        return csr_array(others)

    def save(self, folder: Path) -> None:
        """Write item ids and the sparse similarities."""
        save_json(folder / "items.json", {"item_id": self.items_.to_list(), "is_rated": self.is_rated_})
        save_arrays(
            folder / "item_knn.npz",
            data=self.similarity_.data,
            indices=self.similarity_.indices,
            indptr=self.similarity_.indptr,
        )

    @classmethod
    def load(cls, folder: Path, config: ItemKnnConfig) -> Self:
        """Read what `save` wrote."""
        model = cls(config)
        named, stored = load_json(folder / "items.json"), load_arrays(folder / "item_knn.npz")
        with reading(folder / "items.json"):
            model.items_ = pl.Series("item_id", named["item_id"], dtype=pl.String)
            model.is_rated_ = named["is_rated"]
            if not isinstance(model.is_rated_, bool):
                raise TypeError("is_rated is neither true nor false")
        with reading(folder / "item_knn.npz"):
            parts = (stored["data"], stored["indices"], stored["indptr"])
            model.similarity_ = csr_array(parts, shape=(model.items_.len(), model.items_.len()))
            # scipy would follow an index that is out of bounds into foreign memory.
            model.similarity_.check_format(full_check=True)
        return model
