"""Item-based nearest neighbours on implicit events: shrunk cosine, and decay of what lies long ago."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
import polars as pl
from pydantic import Field
from scipy.sparse import csr_array, diags_array, vstack

from ecbehave.config import Duration, ModelConfig, parse_duration
from ecbehave.errors import DataError
from ecbehave.inputs.types import MatrixInput
from ecbehave.models.protocol import InputType, Options
from ecbehave.models.storage import load_arrays, load_json, reading, save_arrays, save_json
from ecbehave.models.top_k import best_per_row, top_k

#: Products of one block of the similarity: bounds its memory to about 16 bytes each.
_BLOCK_PRODUCTS = 4_000_000


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
        del valid, options
        newest = train[-1]
        weighted = self._weighted(newest, (1 + pl.col("n_events")).log())
        if weighted.height == 0:
            raise DataError(
                f"item_knn has no events to learn from: none of {', '.join(self.config.event_weights)} "
                f"occurs with an item; set model.event_weights to the log's event types"
            )
        self.items_ = newest.items["item_id"]
        matrix = newest.csr(weighted, weighted["weight"].to_numpy())
        matrix = _without_rare(matrix, self.config.min_users)
        blocks = [
            best_per_row(block, self.config.neighbours)
            for block in _cosine_blocks(matrix, self.config.shrink)
        ]
        self.similarity_ = csr_array(vstack(blocks, format="csr"))
        self.similarity_.eliminate_zeros()
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
        half_life_days = self.config.half_life.total_seconds() / 86_400
        decay = 0.5 ** (pl.col("days_since").cast(pl.Float64) / half_life_days)
        weighted = self._weighted(data, pl.col("n_events") * decay)
        history = data.csr(weighted, weighted["weight"].to_numpy())
        similarity = self._aligned(data.items["item_id"])
        users = data.asked
        lists = [
            top_k(data, block, csr_array(history[block] @ similarity), k)
            for block in np.array_split(users, max(users.size // 512, 1))
        ]
        return pl.concat(lists)

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


def _without_rare(matrix: csr_array, min_users: int) -> csr_array:
    """Empty the columns of items that fewer users had."""
    n_users = np.bincount(matrix.indices, minlength=matrix.shape[1])
    kept = csr_array(matrix @ diags_array((n_users >= min_users).astype(np.float64), format="csr"))
    kept.eliminate_zeros()
    return kept


def _cosine_blocks(matrix: csr_array, shrink: float) -> Iterator[csr_array]:
    """Yield rows of the item-item similarity, 0 on its diagonal, as many at a time as memory allows."""
    norms = np.sqrt(np.asarray(matrix.power(2).sum(axis=0)).ravel())
    by_item = csr_array(matrix.T)
    per_user = np.diff(matrix.indptr)
    products = np.cumsum(np.add.reduceat(np.append(per_user[by_item.indices], 0), by_item.indptr[:-1]))
    starts = np.searchsorted(products, np.arange(0, products[-1], _BLOCK_PRODUCTS), side="left")
    bounds = np.unique([0, *starts, by_item.shape[0]])
    for start, end in pairwise(bounds):
        block = by_item[start:end] @ matrix
        row = np.repeat(np.arange(start, end), np.diff(block.indptr))
        block.data /= norms[row] * norms[block.indices] + shrink
        block.data[row == block.indices] = 0
        yield block
