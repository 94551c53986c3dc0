"""Item-based nearest neighbours on implicit events: shrunk cosine, and decay of what lies long ago."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_array, diags_array, vstack

from ecbehave.config import Duration, ModelConfig, parse_duration
from ecbehave.errors import DataError
from ecbehave.inputs.types import MatrixInput
from ecbehave.models.protocol import InputType, Options
from ecbehave.models.storage import load_arrays, load_json, reading, save_arrays, save_json
from ecbehave.models.top_k import best_per_row, top_k
from ecbehave.parallel import in_order

#: Products of one block of the similarity: so few that they stay in the processor's cache.
_BLOCK_PRODUCTS = 500_000
#: Users whose lists are made at once.
_BLOCK_USERS = 512


class ItemKnnConfig(ModelConfig):
    """Items like those that the user had."""

    kind: Literal["item_knn"]
    event_weights: dict[str, Annotated[float, Field(gt=0)]] = Field(
        default={"view": 0.2, "click": 0.2, "cart": 0.5, "purchase": 1.0}
    )
    """Weight of one event by type; types not named do not count."""
    neighbours: Annotated[int, Field(gt=0)] = 100
    """Most similar items kept for each item."""
    min_users: Annotated[int, Field(gt=0)] = 3
    """An item that fewer users had is similar to itself only."""
    shrink: Annotated[float, Field(ge=0)] = 20.0
    """Added to the denominator of the cosine: pulls similarities that few users support towards zero."""
    half_life: Duration = parse_duration("60d")
    """Time after which a user's event counts half in the score."""
    repeat_weight: Annotated[float, Field(ge=0)] = 20.0
    """Similarity of an item to itself: how strongly what was had before is recommended again."""


class ItemKnn:
    """Similarities learned once; a user's history at any cutoff is scored with them.

    Source: Deshpande and Karypis (2004), Item-based top-N recommendation algorithms, section 4; the shrinkage is
    that of Koren (2008), Factorization meets the neighborhood, equation 2, on the cosine.
    """

    config_class: ClassVar[type[ModelConfig]] = ItemKnnConfig
    inputs: ClassVar[Mapping[str, InputType]] = {"ranking": "matrix"}

    def __init__(self, config: ItemKnnConfig) -> None:
        self.config = config
        self.items_ = pl.Series("item_id", [], dtype=pl.String)
        self.similarity_ = csr_array((0, 0))

    def fit(self, train: Sequence[MatrixInput], valid: Sequence[MatrixInput], options: Options) -> Self:
        """Compute similarities on the newest history; costs the sum of squared items per user."""
        del valid
        newest = train[-1]
        weighted = self._weighted(newest, (1 + pl.col("n_events")).log())
        if weighted.height == 0:
            raise DataError(
                f"item_knn has no events to learn from: none of {', '.join(self.config.event_weights)} "
                f"occurs with an item; set model.event_weights to the log's event types"
            )
        self.items_ = newest.items["item_id"]
        matrix = newest.csr(weighted, weighted["weight"].to_numpy())
        self.similarity_ = _similarity(matrix, self.config, options.threads)
        return self

    def _weighted(self, data: MatrixInput, strength: pl.Expr) -> pl.DataFrame:
        """Return `user`, `item`, `weight`, one row per pair: the strength of its events times their type's weight."""
        types = pl.DataFrame(
            {
                "event_type": list(self.config.event_weights),
                "type_weight": list(self.config.event_weights.values()),
            },
            schema={"event_type": pl.String, "type_weight": pl.Float64},
        )
        return (
            data.pairs.join(types, on="event_type")
            .with_columns(weight=pl.col("type_weight") * strength)
            .sort("user", "item", "event_type")
            .group_by("user", "item", maintain_order=True)
            .agg(pl.col("weight").sum())
        )

    def predict(self, data: MatrixInput, k: int) -> pl.DataFrame:
        """Return the best `k` items per user, from the whole catalogue; none for users without such events."""
        return pl.concat([top_k(data, users, scores, k) for users, scores in self.scores(data)])

    def scores(self, data: MatrixInput) -> Iterator[tuple[NDArray[np.int64], csr_array]]:
        """Yield the scores of some users of the population after the others.

        Returns:
            Row numbers in `data.users`, and the scores of every item that has one [users, I].
        """
        history, similarity = self.history(data), self._aligned(data.items["item_id"])
        users = data.asked
        for block in np.array_split(users, max(users.size // _BLOCK_USERS, 1)):
            yield block, csr_array(history[block] @ similarity)

    def history(self, data: MatrixInput) -> csr_array:
        """Return what each user had [U, I]: the number of events by weight, less the longer ago the last one is."""
        half_life_days = self.config.half_life.total_seconds() / 86_400
        decay = 0.5 ** (pl.col("days_since").cast(pl.Float64) / half_life_days)
        weighted = self._weighted(data, pl.col("n_events") * decay)
        return data.csr(weighted, weighted["weight"].to_numpy())

    def _aligned(self, item_ids: pl.Series) -> csr_array:
        """Return similarities between the items of another catalogue; unseen items are similar to themselves only."""
        known = pl.DataFrame({"item_id": self.items_}).with_row_index("old")
        old = item_ids.to_frame("item_id").join(known, on="item_id", how="left", maintain_order="left")["old"]
        new_rows = old.is_not_null().arg_true().to_numpy()
        old_rows = old.drop_nulls().to_numpy()
        shape = (len(item_ids), self.items_.len())
        select = csr_array((np.ones(new_rows.size), (new_rows, old_rows)), shape=shape)
        others = select @ self.similarity_ @ select.T
        itself = diags_array(np.full(len(item_ids), self.config.repeat_weight), format="csr")
        return csr_array(others + itself)

    def save(self, folder: Path) -> None:
        """Write item ids and the sparse similarities."""
        save_json(folder / "items.json", {"item_id": self.items_.to_list()})
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
        with reading(folder / "item_knn.npz"):
            parts = (stored["data"], stored["indices"], stored["indptr"])
            model.similarity_ = csr_array(parts, shape=(model.items_.len(), model.items_.len()))
            # scipy would follow an index that is out of bounds into foreign memory.
            model.similarity_.check_format(full_check=True)
        return model


def _similarity(matrix: csr_array, config: ItemKnnConfig, threads: int) -> csr_array:
    """Return the most similar items of each item [I, I].

    Args:
        matrix: [U, I] who had what, how strongly.
        config: which similarities are kept.
        threads: blocks that are worked on at once.
    """
    n_items = matrix.shape[1]
    kept = np.flatnonzero(np.bincount(matrix.indices, minlength=n_items) >= config.min_users)
    by_user = _narrow(csr_array(matrix[:, kept]))
    by_item = _narrow(csr_array(by_user.T))
    norms = np.sqrt(np.asarray(by_user.power(2).sum(axis=0)).ravel())

    def nearest(rows: tuple[int, int]) -> csr_array:
        block = csr_array(by_item[slice(*rows)] @ by_user)
        item = np.repeat(np.arange(*rows), np.diff(block.indptr))
        block.data /= norms[item] * norms[block.indices] + config.shrink
        block.data[item == block.indices] = 0
        return best_per_row(block, config.neighbours)

    parts = [csr_array((0, kept.size)), *in_order(nearest, _blocks(by_user, by_item), threads)]
    near = csr_array(vstack(parts, format="csr"))
    near.eliminate_zeros()
    n_near = np.zeros(n_items, np.int64)
    n_near[kept] = np.diff(near.indptr)
    ends = np.append(0, np.cumsum(n_near))
    return csr_array((near.data, kept[near.indices], ends), shape=(n_items, n_items))


def _narrow(matrix: csr_array) -> csr_array:
    """Return a matrix with positions of 32 bits where they suffice, which makes products quicker."""
    width = np.int32 if max(matrix.nnz, *matrix.shape) < 2**31 else np.int64
    parts = (matrix.data, matrix.indices.astype(width), matrix.indptr.astype(width))
    return csr_array(parts, shape=matrix.shape)


def _blocks(by_user: csr_array, by_item: csr_array) -> Iterator[tuple[int, int]]:
    """Yield where blocks of items start and end, so that each takes about as many products."""
    products = by_item.astype(np.bool_).astype(np.int64) @ np.diff(by_user.indptr)
    number = np.cumsum(products) // _BLOCK_PRODUCTS
    starts = np.flatnonzero(np.diff(number, prepend=-1))
    return pairwise([*starts.tolist(), products.size])
