"""What users had, weighted, in the form in which neighbours are looked for and stored."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array

from ecbehave.inputs.types import MatrixInput
from ecbehave.models.cf.weighted import weighted_pairs
from ecbehave.models.storage import load_arrays, load_json, reading, save_arrays, save_json

_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Weighing:
    """What an event counts."""

    event_weights: Mapping[str, float]
    """Weight of one event by type; types not named do not count."""
    half_life: timedelta
    """Time after which an event counts half."""

    def pairs(self, data: MatrixInput, strength: pl.Expr | None = None) -> pl.DataFrame:
        """Return `user`, `item`, `place` (Int64) and `weight` (Float64), a row per pair, sorted by the first two.

        The weight is the sum over event types of type weight x strength x decay, the place that of the newest.

        Args:
            data: who had what.
            strength: of `n_events` events of one type; by default log(1 + events).
        """
        strength = (1 + pl.col("n_events")).log() if strength is None else strength
        decay = 0.5 ** (pl.col("days_since").cast(pl.Float64) / (self.half_life / _DAY))
        return weighted_pairs(data, self.event_weights, strength * decay).select(
            pl.col("user", "item", "place").cast(pl.Int64), "weight"
        )


@dataclass(frozen=True)
class Profiles:
    """The weighted histories of V users over K items."""

    user_ids: pl.Series
    """[V]"""
    item_ids: pl.Series
    """[K]"""
    weight: csr_array
    """[V, K], columns of a row ascending."""
    place: NDArray[np.int64]
    """Of each stored weight: how many later instants its user has; 0 is the newest."""

    @classmethod
    def of(cls, data: MatrixInput, weighing: Weighing) -> Self:
        """Return the histories of all users who had anything, in the order of `user_hash`, `user_id`."""
        pairs = weighing.pairs(data)
        # A cut between equally near neighbours goes by row, which must not depend on the order of users.
        users = (
            data.users.with_row_index("user")
            .filter(pl.col("user").is_in(pairs["user"].unique().implode()))
            .sort("user_hash", "user_id")
            .select(pl.col("user").cast(pl.Int64), "user_id")
            .with_row_index("row")
        )
        rows = pairs.join(users, on="user").sort("row", "item")
        weight = by_rows(
            rows["row"], rows["item"], rows["weight"].to_numpy(), (users.height, data.items.height)
        )
        return cls(users["user_id"], data.items["item_id"], weight, rows["place"].to_numpy())

    def save(self, folder: Path, name: str) -> None:
        """Write the ids and the arrays."""
        save_json(
            folder / f"{name}.json", {"user_id": self.user_ids.to_list(), "item_id": self.item_ids.to_list()}
        )
        save_arrays(folder / f"{name}.npz", place=self.place, **parts_of(self.weight))

    @classmethod
    def load(cls, folder: Path, name: str) -> Self:
        """Read what `save` wrote.

        Raises:
            ArtifactError: the folder does not hold it.
        """
        named, stored = load_json(folder / f"{name}.json"), load_arrays(folder / f"{name}.npz")
        with reading(folder / f"{name}.json"):
            user_ids = pl.Series("user_id", named["user_id"], dtype=pl.String)
            item_ids = pl.Series("item_id", named["item_id"], dtype=pl.String)
        with reading(folder / f"{name}.npz"):
            weight = checked(stored, (user_ids.len(), item_ids.len()))
            place = stored["place"]
            if place.shape != weight.data.shape:
                raise ValueError(f"there are {place.size} places for {weight.nnz} weights")
        return cls(user_ids, item_ids, weight, place)


def by_rows(
    row: pl.Series, column: pl.Series, values: NDArray[np.float64], shape: tuple[int, int]
) -> csr_array:
    """Return values that are sorted by row and column as a sparse matrix, in the same order."""
    ends = np.append(0, np.cumsum(np.bincount(row.to_numpy(), minlength=shape[0])))
    width = np.int32 if max(values.size, *shape) < 2**31 else np.int64
    return csr_array((values, column.to_numpy().astype(width), ends.astype(width)), shape=shape)


def parts_of(matrix: csr_array) -> dict[str, NDArray[Any]]:
    """Return the arrays that `checked` makes a matrix of."""
    return {"data": matrix.data, "indices": matrix.indices, "indptr": matrix.indptr}


def checked(stored: Mapping[str, NDArray[Any]], shape: tuple[int, int]) -> csr_array:
    """Return the matrix of stored arrays.

    Raises:
        ValueError: they do not fit together.
    """
    matrix = csr_array((stored["data"], stored["indices"], stored["indptr"]), shape=shape)
    # scipy would follow an index that is out of bounds into foreign memory.
    matrix.check_format(full_check=True)
    return matrix


def places_of(ids: pl.Series, known: pl.Series) -> NDArray[np.int64]:
    """Return where each id stands among the known ones [n]; -1 where it does not."""
    numbered = pl.DataFrame({"id": known}).with_row_index("place")
    found = pl.DataFrame({"id": ids}).join(numbered, on="id", how="left", maintain_order="left")["place"]
    return found.cast(pl.Int64).fill_null(-1).to_numpy()
