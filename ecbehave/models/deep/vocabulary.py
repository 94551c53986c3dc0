"""What a net over sequences knows by name: items, categories and event types, and levels of price. No torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecbehave.buckets import user_hash
from ecbehave.inputs.types import SequenceInput
from ecbehave.models.storage import load_arrays, load_json, reading, save_arrays, save_json

Ints = NDArray[np.int64]

_N_PRICE_LEVELS = 10


@dataclass(frozen=True)
class Vocabulary:
    """Names that occurred in a history, sorted; numbers begin at 1, and 0 stands for none or an unknown one.

    An item with few events shares its embedding with others of the same hash, so that a long tail takes no memory, and
    a new item has one as well.

    Source: Weinberger et al. (2009), Feature hashing for large scale multitask learning.
    """

    item_ids: pl.Series
    """[K]; of a task that asks for categories, these are categories."""
    item_rows: Ints
    """[K] row of the item's embedding: from 1 on, those that it has to itself; then `n_shared` shared ones."""
    n_own: int
    n_shared: int
    item_categories: Ints
    """[K] number of the last known category."""
    categories: pl.Series
    event_types: pl.Series
    price_edges: NDArray[np.float64]
    """Prices between the levels, ascending."""
    has_dwell: bool

    @classmethod
    def of(cls, data: SequenceInput, min_events: int, n_shared: int) -> Self:
        """Return the names and prices in the histories of all users.

        Args:
            data: histories.
            min_events: an item with fewer has a shared embedding.
            n_shared: number of shared embeddings.
        """
        log, is_known = data.log, known_events(data)
        codes = log.item if data.target == "item" else log.category
        names = log.items if data.target == "item" else log.categories
        counts = np.bincount(codes[is_known & (codes >= 0)], minlength=len(names))
        item_ids, order = _sorted_names(names, counts)
        is_own = counts[order] >= min_events if n_shared else np.ones(order.size, bool)
        n_own = int(is_own.sum())
        rows = np.where(is_own, np.cumsum(is_own), 1 + n_own + _shared(item_ids, n_shared))
        used = np.bincount(log.category[is_known & (log.category >= 0)], minlength=len(log.categories))
        if data.target == "category":
            used = np.zeros_like(used)
        categories, kept = _sorted_names(log.categories, used)
        number = np.zeros(len(log.categories) + 1, np.int64)
        number[kept] = 1 + np.arange(kept.size)
        last = np.full(len(names), -1, np.int64)
        if data.target == "item":
            has_both = np.flatnonzero(is_known & (log.item >= 0) & (log.category >= 0))
            has_both = has_both[np.argsort(log.ts[has_both], kind="stable")]
            last[log.item[has_both]] = log.category[has_both]
        types = np.bincount(log.event_type[is_known], minlength=len(log.event_types))
        price = log.price[is_known & ~np.isnan(log.price)].astype(np.float64)
        shares = np.arange(1, _N_PRICE_LEVELS) / _N_PRICE_LEVELS
        edges = np.unique(np.quantile(price, shares, method="lower")) if price.size else np.empty(0)
        return cls(
            item_ids,
            rows.astype(np.int64),
            n_own,
            n_shared,
            number[last[order]],
            categories,
            _sorted_names(log.event_types, types)[0],
            edges,
            bool((~np.isnan(log.dwell[is_known])).any()),
        )

    @property
    def n_rows(self) -> int:
        """Number of item embeddings, with the one of no item."""
        return 1 + self.n_own + self.n_shared

    def rows_of(self, items: pl.Series) -> Ints:
        """Return the embedding row of each item [I]: of a new one a shared row, or 0 where there are none."""
        place = places_in(self.item_ids, items)
        new = (
            1 + self.n_own + _shared(items, self.n_shared)
            if self.n_shared
            else np.zeros(len(items), np.int64)
        )
        return np.where(place >= 0, self.item_rows[place] if self.item_rows.size else 0, new)

    def numbers_of(self, known: pl.Series, names: pl.Series) -> Ints:
        """Return the number of each name, 0 for one that is not known."""
        return places_in(known, names) + 1

    def save(self, folder: Path, name: str) -> None:
        """Write names as JSON and the rest as arrays."""
        names = {
            "item_id": self.item_ids.to_list(),
            "category": self.categories.to_list(),
            "event_type": self.event_types.to_list(),
            "n_own": self.n_own,
            "n_shared": self.n_shared,
            "has_dwell": self.has_dwell,
        }
        save_json(folder / f"{name}.json", names)
        save_arrays(
            folder / f"{name}.npz",
            item_rows=self.item_rows,
            item_categories=self.item_categories,
            price_edges=self.price_edges,
        )

    @classmethod
    def load(cls, folder: Path, name: str) -> Self:
        """Read what `save` wrote.

        Raises:
            ArtifactError: the folder does not hold a vocabulary.
        """
        named, stored = load_json(folder / f"{name}.json"), load_arrays(folder / f"{name}.npz")
        with reading(folder / f"{name}.json"):
            items, categories, types = (
                pl.Series(key, [*named[key]], pl.String) for key in ("item_id", "category", "event_type")
            )
            n_own, n_shared = int(named["n_own"]), int(named["n_shared"])
            has_dwell = named["has_dwell"]
            if not isinstance(has_dwell, bool):
                raise TypeError("has_dwell is neither true nor false")
        with reading(folder / f"{name}.npz"):
            rows, numbers = _checked(stored["item_rows"]), _checked(stored["item_categories"])
            edges = stored["price_edges"]
            if not rows.size == numbers.size == len(items):
                raise ValueError("there are not as many rows as items")
            if rows.size and (rows.max() > n_own + n_shared or numbers.max() > len(categories)):
                raise ValueError("a row or a category is out of range")
            if edges.dtype.kind != "f" or edges.ndim != 1:
                raise ValueError("price_edges is no array of floats")
        return cls(items, rows, n_own, n_shared, numbers, categories, types, edges, has_dwell)


def known_events(data: SequenceInput) -> NDArray[np.bool_]:
    """Tell of each event of the log [E] whether it lies in a history."""
    lengths = np.column_stack([data.ends - data.starts, data.log.offsets[1:] - data.ends]).ravel()
    return np.repeat(np.tile([True, False], data.ends.size), lengths)


def places_in(known: pl.Series, names: pl.Series) -> Ints:
    """Return where each name stands among known ones [N]; -1 for one that is not there."""
    numbered = pl.DataFrame({"name": known}).with_row_index("place")
    found = names.alias("name").to_frame().join(numbered, on="name", how="left", maintain_order="left")
    return found["place"].cast(pl.Int64).fill_null(-1).to_numpy()


def _sorted_names(names: pl.Series, counts: NDArray[np.integer]) -> tuple[pl.Series, Ints]:
    """Return the names that occur, sorted, and their numbers in the log."""
    used = np.flatnonzero(counts)
    order = used[names.gather(used).arg_sort().to_numpy()]
    return names.gather(order), order


def _shared(items: pl.Series, n_shared: int) -> Ints:
    hashed = user_hash(items).to_numpy()
    return (hashed % np.uint64(max(n_shared, 1))).astype(np.int64)


def _checked(numbers: NDArray[np.generic]) -> Ints:
    if numbers.dtype != np.int64 or numbers.ndim != 1 or (numbers.size and int(numbers.min()) < 0):
        raise ValueError("it holds something else than row numbers")
    return numbers.astype(np.int64)
