"""Alternating least squares: users and items as short vectors, whose product is what a user wants."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_array

from ecbehave.config.model import ModelConfig
from ecbehave.config.values import Duration, parse_duration
from ecbehave.errors import DataError
from ecbehave.inputs.types import MatrixInput
from ecbehave.models.cf.alike import alike, items_alike
from ecbehave.models.cf.biases import clipped
from ecbehave.models.cf.dense import in_blocks, product, with_repeats
from ecbehave.models.cf.least_squares import Floats, Known, rotated, solve, turned
from ecbehave.models.cf.rated_items import Rated
from ecbehave.models.cf.vocabulary import align
from ecbehave.models.protocol import Block, Options, Reads
from ecbehave.models.search import Domain, Real, Whole
from ecbehave.models.storage import load_arrays, load_json, reading, save_arrays, save_json

#: Standard deviation of the first factors, times the root of their number (Rendle et al. 2022, section 4.2).
_FIRST = 0.1


class AlsConfig(ModelConfig):
    """Users and items as short vectors, fitted in turn by least squares; predicts ratings, too."""

    kind: Literal["als"]
    event_weights: dict[str, Annotated[float, Field(gt=0)]] = Field(
        default={"view": 0.2, "click": 0.2, "cart": 0.5, "purchase": 1.0}
    )
    """Weight of one event by type; types not named do not count, and neither does any where ratings are predicted."""
    half_life: Duration = parse_duration("60d")
    """Time after which a user's event counts half."""
    factors: Annotated[int, Field(gt=0, le=1024)] = 64
    """Length of the vectors."""
    iterations: Annotated[int, Field(gt=0)] = 10
    """How often all users and all items are fitted."""
    unobserved_weight: Annotated[float, Field(gt=0)] = 0.1
    """Weight of every pair of a user and an item, whether there was an event or not: how surely nothing means no."""
    reg: Annotated[float, Field(gt=0)] = 0.003
    """Penalty on squared factors."""
    reg_exponent: Annotated[float, Field(ge=0)] = 1.0
    """How the penalty grows with what is known: times (number of observed pairs of the user or item +
    unobserved_weight x number of all its pairs) to this power. At 0 it is the same for all, at 1 who has more
    is held as tightly as others."""
    rating_reg: Annotated[float, Field(gt=0)] = 0.1
    """Penalty where ratings are predicted, times the number of ratings of the user or item."""
    repeat_weight: Annotated[float, Field(ge=0)] = 1.0
    """Added to the score of what the user had before, times the weight of those events."""


class Als:
    """Factors of items learned once; a user at any cutoff is folded in from the history: one least squares step.

    Events: minimises the sum over observed pairs of c (1 - x . y)^2, plus `unobserved_weight` times the sum over all
    pairs of (x . y)^2, plus the penalty. The confidence c is the sum over event types of weight x log2(1 + number of
    events) x decay since the last one. Ratings: minimises the sum over rated pairs of (r - b - x . y)^2 plus the
    penalty, where b is the mean with the biases of user and item.

    Takes 4 bytes for each factor of each user and item, and 20 for each pair, besides some MB for each thread.

    Source: Hu, Koren and Volinsky (2008), Collaborative filtering for implicit feedback datasets, equations 3 to 6, in
    the form of Rendle, Krichene, Zhang and Koren (2022), Revisiting the performance of iALS on item recommendation
    benchmarks, equations 1 to 5; for ratings, Zhou, Wilkinson, Schreiber and Pan (2008), Large-scale parallel
    collaborative filtering for the Netflix prize, section 3, on what Koren's baseline leaves over.
    """

    config_class: ClassVar[type[ModelConfig]] = AlsConfig
    inputs: ClassVar[Mapping[str, Reads]] = {"pairs": "matrix", "ranking": "matrix", "rating": "matrix"}
    search: ClassVar[Mapping[str, Domain]] = {
        "factors": Whole(16, 128, log=True),
        "unobserved_weight": Real(0.001, 1.0, log=True),
        "reg": Real(0.001, 0.1, log=True),
        "repeat_weight": Real(0.0, 3.0),
    }

    def __init__(self, config: AlsConfig) -> None:
        self.config = config
        self.items_ = pl.Series("item_id", [], dtype=pl.String)
        self.known_ = Known(np.empty((0, 0), np.float32), np.empty(0))
        self.is_rated_ = False
        """Whether it predicts ratings."""

    def fit(self, train: Sequence[MatrixInput], valid: Sequence[MatrixInput], options: Options) -> Self:
        """Learn the items' factors from the newest history; an iteration costs about F^2 for each pair, once with
        users and once with items, and at most F^3 for each user and item.

        Raises:
            DataError: it has none of the events with an item, or no rating.
        """
        del valid
        newest = _sorted(train[-1])
        self.is_rated_ = options.output == "rating"
        observed = Rated.of(newest).residuals if self.is_rated_ else self.confidences(newest)
        if observed.nnz == 0:
            raise DataError(
                f"als has no events to learn from: none of {', '.join(self.config.event_weights)} "
                f"occurs with an item; set model.event_weights to the log's event types"
            )
        kept = np.flatnonzero(np.bincount(observed.indices, minlength=observed.shape[1]))
        self.items_ = newest.items["item_id"].gather(kept)
        self._alternate(csr_array(observed[:, kept]), options)
        return self

    def _alternate(self, observed: csr_array, options: Options) -> None:
        """Fit users and items in turn.

        Args:
            observed: [U, K] confidences of the items that occur, or what biases leave of their ratings.
            options: seed and threads.
        """
        from threadpoolctl import threadpool_limits

        by_user, by_item = _Side.of(observed, self.is_rated_), _Side.of(csr_array(observed.T), self.is_rated_)
        rng, n_factors = np.random.default_rng(options.seed), self.config.factors
        first = rng.normal(0, _FIRST / np.sqrt(n_factors), (observed.shape[1], n_factors))
        fixed = first.astype(np.float64 if self.is_rated_ else np.float32)
        free = np.zeros((observed.shape[0], n_factors), fixed.dtype)
        with threadpool_limits(1, "blas"):
            for half in range(2 * self.config.iterations):
                known, basis = turned(fixed, self._unobserved)
                # Ratings are few: solve them.
                start = None if self.is_rated_ else rotated(free, basis)
                fixed = self._solve(known, by_item if half % 2 else by_user, options.threads, start)
                free = known.factors
            self.known_ = turned(fixed, self._unobserved)[0]

    def _solve(self, known: Known, side: "_Side", threads: int, start: Floats | None = None) -> Floats:
        n_pairs = np.diff(side.weights.indptr) + self._unobserved * known.factors.shape[0]
        reg = (
            self.config.rating_reg * n_pairs
            if self.is_rated_
            else self.config.reg * n_pairs**self.config.reg_exponent
        )
        return solve(known, side.weights, reg, side.targets, threads, start)

    @property
    def _unobserved(self) -> float:
        return 0.0 if self.is_rated_ else self.config.unobserved_weight

    def confidences(self, data: MatrixInput) -> csr_array:
        """Return how surely each user wanted what there were events with [U, I], Float64."""
        half_life_days = self.config.half_life.total_seconds() / 86_400
        decay = 0.5 ** (pl.col("days_since").cast(pl.Float64) / half_life_days)
        strength = (1 + pl.col("n_events")).log(2) * decay
        total = csr_array((data.users.height, data.items.height))
        # One type after the other: in each, a pair occurs once, so that the order of rows decides no last digit.
        for event_type, weight in self.config.event_weights.items():
            own = data.pairs.filter(event_type=event_type).select("user", "item", weight=strength * weight)
            total = csr_array(total + data.csr(own, own["weight"].to_numpy()))
        total.eliminate_zeros()
        total.sort_indices()
        return total

    def scores(self, data: MatrixInput) -> Iterator[Block]:
        """Yield the scores of every item for some users of the population after the others, dense.

        Events: an item that the model does not know has a score for those only who had it, and a user who had only
        such items has no other scores. Ratings: what is not known adds nothing to the biases.
        """
        users, old = data.asked, _old(self.items_, data.items["item_id"])
        is_new = old < 0
        items = np.zeros((old.size, self.known_.spectrum.size))
        items[~is_new] = self.known_.factors[old[~is_new]]
        told = Rated.of(data) if self.is_rated_ else None
        observed = csr_array((told.residuals if told else self.confidences(data))[users])
        weights, factors = self._fold_in(observed, old)

        def score(rows: slice) -> Block:
            found = product(factors[rows], items, rows.stop - rows.start)
            if told:
                return users[rows], found + told.biases.grid(users[rows])
            found[:, is_new] = -np.inf
            found[np.diff(weights.indptr)[rows] == 0] = -np.inf
            return users[rows], with_repeats(found, csr_array(observed[rows]), self.config.repeat_weight)

        yield from in_blocks(score, users.size, old.size)

    def _fold_in(self, observed: csr_array, old: NDArray[np.int64]) -> tuple[csr_array, Floats]:
        """Return what users [B] have observed of known items [B, K], and their factors [B, F].

        Args:
            observed: [B, I].
            old: [I] see `_old`.
        """
        from threadpoolctl import threadpool_limits

        is_known = old[observed.indices] >= 0
        row = np.repeat(np.arange(observed.shape[0]), np.diff(observed.indptr))[is_known]
        known = observed.data[is_known], (row, old[observed.indices[is_known]])
        side = _Side.of(csr_array(known, shape=(observed.shape[0], self.items_.len())), self.is_rated_)
        with threadpool_limits(1, "blas"):
            return side.weights, self._solve(self.known_, side, pl.thread_pool_size())

    def ratings(self, data: MatrixInput, pairs: pl.DataFrame) -> NDArray[np.float64]:
        """Return the rating that each user is expected to give [n], within the range of those in `data`.

        Args:
            data: who has given which ratings.
            pairs: [n] `user`, `item`: row numbers in `data`.
        """
        told, old = Rated.of(data), _old(self.items_, data.items["item_id"])
        user, item = pairs["user"].to_numpy().astype(np.int64), pairs["item"].to_numpy().astype(np.int64)
        asked, place = np.unique(user, return_inverse=True)
        factors = self._fold_in(csr_array(told.residuals[asked]), old)[1]
        predicted = told.biases.of(user, item)
        is_known = old[item] >= 0
        mine, theirs = factors[place[is_known]], self.known_.factors[old[item[is_known]]]
        predicted[is_known] += np.einsum("nf,nf->n", mine, theirs)
        return clipped(predicted, told.known)

    def similar_items(self, n: int, listed: pl.Series) -> Iterator[pl.DataFrame]:
        """Yield the items whose factors point most nearly the same way: the cosine of the two."""
        yield from items_alike(self.items_, self.known_.factors, n, listed)

    def similar_users(self, data: MatrixInput, n: int) -> Iterator[pl.DataFrame]:
        """Yield the users whose factors, folded in from their histories, point most nearly the same way."""
        observed = Rated.of(data).residuals if self.is_rated_ else self.confidences(data)
        factors = self._fold_in(observed, _old(self.items_, data.items["item_id"]))[1]
        names, asked = data.users["user_id"], data.asked
        for user, other, similarity in alike(factors[asked], factors, asked, n):
            yield pl.DataFrame(
                {
                    "user_id": names.gather(asked[user]),
                    "similar_user_id": names.gather(other),
                    "similarity": similarity,
                }
            )

    def save(self, folder: Path) -> None:
        """Write item ids and their factors."""
        save_json(folder / "als.json", {"item_id": self.items_.to_list(), "is_rated": self.is_rated_})
        save_arrays(folder / "als.npz", factors=self.known_.factors, spectrum=self.known_.spectrum)

    @classmethod
    def load(cls, folder: Path, config: AlsConfig) -> Self:
        """Read what `save` wrote."""
        model = cls(config)
        named, stored = load_json(folder / "als.json"), load_arrays(folder / "als.npz")
        with reading(folder / "als.json"):
            model.items_ = pl.Series("item_id", named["item_id"], dtype=pl.String)
            model.is_rated_ = named["is_rated"]
            if not isinstance(model.is_rated_, bool):
                raise TypeError("is_rated is neither true nor false")
        with reading(folder / "als.npz"):
            model.known_ = Known(stored["factors"], stored["spectrum"])
            shapes = {"factors": (model.items_.len(), config.factors), "spectrum": (config.factors,)}
            for name, shape in shapes.items():
                if stored[name].shape != shape or stored[name].dtype.kind != "f":
                    raise ValueError(f"{name} is no array of floats of the shape {shape}")
        return model


@dataclass(frozen=True)
class _Side:
    """What is observed of users, or of items."""

    weights: csr_array
    targets: Floats | None
    """In the order of the weights; None for 1 everywhere."""

    @classmethod
    def of(cls, observed: csr_array, is_rated: bool) -> Self:
        """Return confidences as weights; ratings, which may be 0, as targets, each of weight 1."""
        observed.sort_indices()
        if not is_rated:
            return cls(observed.astype(np.float32), None)
        parts = (np.ones_like(observed.data), observed.indices, observed.indptr)
        return cls(csr_array(parts, shape=observed.shape), observed.data)


def _sorted(data: MatrixInput) -> MatrixInput:
    """Return the same with users by hash and id, so that another order of theirs changes no last digit."""
    order = data.users.select(pl.arg_sort_by("user_hash", "user_id")).to_series()
    if order.is_sorted():
        return data
    place = order.arg_sort()
    pairs = data.pairs.with_columns(user=place.gather(data.pairs["user"]))
    return replace(data, users=data.users[order], pairs=pairs)


def _old(known: pl.Series, items: pl.Series) -> NDArray[np.int64]:
    """Return the place of each item among the known ones [I]; -1 for a new one."""
    select = align(known, items).tocoo()
    old = np.full(len(items), -1)
    old[select.row] = select.col
    return old
