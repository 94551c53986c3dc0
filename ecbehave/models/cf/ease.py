"""EASE: a linear model that tells each item from all others, in closed form."""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_array

from ecbehave.config.model import ModelConfig
from ecbehave.config.values import Duration, parse_duration
from ecbehave.errors import ConfigError, DataError
from ecbehave.inputs.types import MatrixInput
from ecbehave.memory import in_words
from ecbehave.models.cf import symmetric
from ecbehave.models.cf.alike import most_alike
from ecbehave.models.cf.dense import with_repeats
from ecbehave.models.cf.vocabulary import align
from ecbehave.models.cf.weighted import weighted_pairs
from ecbehave.models.protocol import Block, Options, Reads
from ecbehave.models.search import Domain, Real
from ecbehave.models.storage import load_arrays, load_json, reading, save_arrays, save_json

#: Users whose products are computed at once, and scores that are handed on at once.
_PRODUCT_USERS, _BLOCK_SCORES = 512, 4_000_000
_UNITS = {"MB": 10**6, "GB": 10**9}


class EaseConfig(ModelConfig):
    """Each item told from all the others that the user had, by a ridge regression without the item itself."""

    kind: Literal["ease"]
    event_weights: dict[str, Annotated[float, Field(gt=0)]] = Field(
        default={"view": 0.2, "click": 0.2, "cart": 0.5, "purchase": 1.0}
    )
    """Weight of one event by type; types not named do not count."""
    half_life: Duration = parse_duration("60d")
    """Time after which a user's event counts half in the score."""
    min_users: Annotated[int, Field(gt=0)] = 10
    """An item that fewer users had takes no part; it is recommended again to those who had it."""
    ridge: Annotated[float, Field(gt=0)] = 300.0
    """Penalty on the squared weights between items."""
    repeat_weight: Annotated[float, Field(ge=0)] = 3.0
    """Weight of an item for itself: how strongly what was had before is recommended again."""
    max_memory: Annotated[str, Field(pattern=r"^[1-9][0-9]*(MB|GB)$")] = "2GB"
    """Memory that learning may take, such as 500MB or 4GB; it grows with the square of the number of items."""


class Ease:
    """Weights between items learned once; a user's history at any cutoff is scored with them.

    Learning takes N^3 multiplications for N items, far fewer where users are less than half as many, and about 4 N^2
    bytes; the model file has 2 N^2 bytes.

    Source: Steck (2019), Embarrassingly shallow autoencoders for sparse data, equation 8:
    B = I - P diag(1 / diag P) with P = (X'X + ridge I)^-1. Of P, which is symmetric, half is kept, and scores are
    divided.
    """

    config_class: ClassVar[type[ModelConfig]] = EaseConfig
    inputs: ClassVar[Mapping[str, Reads]] = {"pairs": "matrix", "ranking": "matrix"}
    search: ClassVar[Mapping[str, Domain]] = {
        "ridge": Real(10.0, 3000.0, log=True),
        "repeat_weight": Real(0.0, 6.0),
    }

    def __init__(self, config: EaseConfig) -> None:
        self.config = config
        self.items_ = pl.Series("item_id", [], dtype=pl.String)
        self.bands_: symmetric.Bands = []
        self.diagonal_ = np.empty(0)

    def fit(self, train: Sequence[MatrixInput], valid: Sequence[MatrixInput], options: Options) -> Self:
        """Learn the weights on the newest history.

        Raises:
            DataError: it has none of the events with an item.
            ConfigError: there are too many items for the memory.
        """
        del valid
        newest = train[-1]
        had = self._weighted(newest, (1 + pl.col("n_events")).log())
        if had.nnz == 0:
            raise DataError(
                f"ease has no events to learn from: none of {', '.join(self.config.event_weights)} "
                f"occurs with an item; set model.event_weights to the log's event types"
            )
        n_users = np.bincount(had.indices, minlength=had.shape[1])
        kept = np.flatnonzero(n_users >= self.config.min_users)
        had = csr_array(had[:, kept])
        self._check_memory(n_users[kept], had.shape[0], options.threads)
        self.items_ = newest.items["item_id"].gather(kept)
        bands = symmetric.gram_inverse(had, self.config.ridge, options.threads)
        self.diagonal_ = -symmetric.take_diagonal(bands)
        for i, band in enumerate(bands):  # one by one, so that they are not in memory twice
            bands[i] = band.astype(np.float32)
        self.bands_ = bands
        return self

    def _check_memory(self, n_users: NDArray[np.int64], n_all: int, threads: int) -> None:
        """Refuse more items than the memory allows.

        Args:
            n_users: [N] of each item that takes part.
            n_all: all users.
            threads: that learning uses.
        """
        allowed, needed = _size(self.config.max_memory), symmetric.n_bytes(n_all, n_users.size, threads)
        if needed <= allowed:
            return
        sizes = range(n_users.size)
        most = max(bisect_right(sizes, allowed, key=lambda n: symmetric.n_bytes(n_all, n, threads)) - 1, 0)
        enough = int(np.sort(n_users)[::-1][most]) + 1
        raise ConfigError(
            f"ease needs {in_words(needed)} for the {n_users.size:,} items that at least {self.config.min_users} users "
            f"had, and model.max_memory allows {self.config.max_memory}: allow that, set model.min_users to {enough}, "
            f"which leaves {int((n_users >= enough).sum()):,} items, or take the kind item_knn"
        )

    def history(self, data: MatrixInput) -> csr_array:
        """Return what each user had [U, I]: the number of events by weight, less the longer ago the last one is."""
        half_life_days = self.config.half_life.total_seconds() / 86_400
        decay = 0.5 ** (pl.col("days_since").cast(pl.Float64) / half_life_days)
        return self._weighted(data, pl.col("n_events") * decay)

    def _weighted(self, data: MatrixInput, strength: pl.Expr) -> csr_array:
        """Return the strength of a user's events with an item times their type's weight [U, I]."""
        weighted = weighted_pairs(data, self.config.event_weights, strength)
        return data.csr(weighted, weighted["weight"].to_numpy())

    def scores(self, data: MatrixInput) -> Iterator[Block]:
        """Yield the scores of some users of the population after the others.

        An item that takes no part has a score for those only who had it; a user who had only such items has no other
        scores.
        """
        history, select = self.history(data), align(self.items_, data.items["item_id"]).tocoo()
        known = csr_array(history @ select).astype(np.float32)
        for group in _parts(data.asked, _PRODUCT_USERS):
            told = symmetric.product(csr_array(known[group]), self.bands_) / self.diagonal_
            told[np.diff(known.indptr)[group] == 0] = -np.inf
            for part in _parts(np.arange(group.size), _BLOCK_SCORES // max(data.items.height, 1) + 1):
                scores = np.full((part.size, data.items.height), -np.inf)
                scores[:, select.row] = told[part][:, select.col]
                yield group[part], with_repeats(scores, history[group[part]], self.config.repeat_weight)

    def similar_items(self, n: int, listed: pl.Series) -> Iterator[pl.DataFrame]:
        """Yield the items with the highest weight for each item: what it adds to their score; see `most_alike`."""

        def weights(rows: NDArray[np.int64]) -> NDArray[np.floating]:
            parts = (np.ones(rows.size, np.float32), rows, np.arange(rows.size + 1))
            told = symmetric.product(csr_array(parts, shape=(rows.size, self.items_.len())), self.bands_)
            found: NDArray[np.floating] = told / self.diagonal_
            return found

        return most_alike(self.items_, weights, n, listed)

    def save(self, folder: Path) -> None:
        """Write item ids, and half of the symmetric matrix."""
        save_json(folder / "items.json", {"item_id": self.items_.to_list()})
        bands = {f"band_{i:05}": band for i, band in enumerate(self.bands_)}
        save_arrays(folder / "ease.npz", diagonal=self.diagonal_, **bands)

    @classmethod
    def load(cls, folder: Path, config: EaseConfig) -> Self:
        """Read what `save` wrote."""
        model = cls(config)
        named, stored = load_json(folder / "items.json"), load_arrays(folder / "ease.npz")
        with reading(folder / "items.json"):
            model.items_ = pl.Series("item_id", named["item_id"], dtype=pl.String)
        with reading(folder / "ease.npz"):
            model.diagonal_ = stored.pop("diagonal")
            model.bands_ = [stored[name] for name in sorted(stored)]
            symmetric.check(model.bands_, model.items_.len())
            if model.diagonal_.shape != (model.items_.len(),):
                raise ValueError(
                    f"it has a diagonal of {model.diagonal_.size} for {model.items_.len()} items"
                )
        return model


def _parts(rows: NDArray[np.int64], n: int) -> Iterator[NDArray[np.int64]]:
    for start in range(0, rows.size, n):
        yield rows[start : start + n]


def _size(text: str) -> int:
    """Return a size such as 4GB in bytes."""
    return int(text[:-2]) * _UNITS[text[-2:]]
