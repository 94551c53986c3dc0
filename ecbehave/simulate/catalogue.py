"""What the shop sells. A shelf is a category at one price level: a stretch of neighbouring items."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecbehave.simulate.season import Floats
from ecbehave.simulate.settings import DAY, Settings
from ecbehave.simulate.users import Ints

N_TIERS = 3
_TIER_FACTORS = np.array([0.55, 1.0, 1.9])
_DEPARTMENTS: dict[str, tuple[str, ...]] = {
    "home": ("kitchen", "bedding", "lighting", "storage", "decor", "bath"),
    "garden": ("plants", "tools", "furniture", "grill", "pots", "water"),
    "sport": ("running", "cycling", "yoga", "football", "hiking", "swim"),
    "fashion": ("shirts", "jeans", "shoes", "bags", "jackets", "socks"),
    "beauty": ("hair", "skin", "make-up", "scent", "nails", "shaving"),
    "toys": ("bricks", "dolls", "puzzles", "games", "cars", "craft"),
    "books": ("crime", "travel", "cooking", "kids", "history", "comics"),
    "tech": ("phones", "audio", "cables", "watches", "cameras", "keyboards"),
}
_PATHS = [f"{department}.{kind}" for department, kinds in _DEPARTMENTS.items() for kind in kinds]
_ITEMS_PER_CATEGORY = 12
_BRANDS_PER_DEPARTMENT = 9
_SALE_WEEKS = 10
_MIXERS = (np.uint32(2_654_435_761), np.uint32(2_246_822_519))


@dataclass(frozen=True)
class Catalogue:
    """Items in the order of ids, shelf after shelf."""

    category: Ints
    """Of each item, a code into `paths`."""
    price: Ints
    """List price of each item, in cents."""
    quality: Floats
    """Mean rating of each item, in stars."""
    brand: Ints
    """Of each item, a number."""
    first: Ints
    """First item of each shelf (category x 3 + tier)."""
    size: Ints
    """Number of items of each shelf, at least one."""
    paths: list[str]
    """Category paths."""


def n_categories(n_items: int) -> int:
    """Return how many categories a shop with so many items has."""
    return max(1, min(len(_PATHS), n_items // _ITEMS_PER_CATEGORY))


def draw_catalogue(settings: Settings) -> Catalogue:
    """Draw categories of unequal size, prices by category and level, and how much items are liked."""
    rng = np.random.default_rng([settings.seed, 1])
    n = settings.items
    categories = n_categories(n)
    shelf_weights = np.repeat(rng.gamma(2.0, 1.0, categories) + 0.2, N_TIERS)
    bounds = np.floor(np.concatenate(([0.0], np.cumsum(shelf_weights) / shelf_weights.sum())) * n).astype(int)
    bounds[-1] = n
    # A shop with a handful of items has shelves that share one.
    first = np.minimum(bounds[:-1], n - 1)
    size = np.maximum(np.diff(bounds), 1)
    shelf = np.searchsorted(bounds[1:], np.arange(n), side="right")
    category = shelf // N_TIERS
    level = np.exp(rng.normal(np.log(25), 0.7, categories))[category] * _TIER_FACTORS[shelf % N_TIERS]
    department = category // len(next(iter(_DEPARTMENTS.values())))
    return Catalogue(
        category=category.astype(np.int16),
        price=np.maximum(level * np.exp(rng.normal(0, 0.25, n)) * 100, 50).astype(np.int32),
        quality=np.clip(rng.normal(3.9, 0.5, n), 1, 5),
        brand=(department * _BRANDS_PER_DEPARTMENT + rng.integers(0, _BRANDS_PER_DEPARTMENT, n)).astype(
            np.int16
        ),
        first=first.astype(np.int32),
        size=size.astype(np.int32),
        paths=_PATHS[:categories],
    )


def items_table(catalogue: Catalogue, item_ids: pl.Series) -> pl.DataFrame:
    """Return the `items` table: `item_id`, `category`, `brand`, `price`, `title`."""
    columns = {
        "item_id": item_ids,
        "category": pl.Series(catalogue.paths).gather(catalogue.category),
        "brand": pl.Series(catalogue.brand).cast(pl.String),
        "price": pl.Series(catalogue.price),
    }
    kind = pl.col("category").str.split(".").list.last().str.to_titlecase()
    return pl.DataFrame(columns).with_columns(
        brand="brand " + pl.col("brand"),
        price=(pl.col("price") / 100).round(2),
        title=pl.format("{} {}", kind, pl.col("item_id").str.slice(1).cast(pl.Int64)),
    )


def on_shelf(catalogue: Catalogue, shelf: Ints, uniform: Floats, era: Ints | int) -> Ints:
    """Pick an item of each shelf by popularity; the ranks move on with the era.

    The item at rank k = 0, 1, ... has probability log((k + 2) / (k + 1)) / log(n + 1), close to Zipf's 1 / (k + 1).
    With each era every item falls by one rank, and the last one comes up on top.

    Args:
        catalogue: the shop's items.
        shelf: int [picks].
        uniform: float [picks], in [0, 1).
        era: whole number [picks], or one for all.
    """
    size = catalogue.size[shelf]
    rank = np.exp(uniform * np.log1p(size)).astype(np.int32) - 1
    place: Ints = np.mod(np.minimum(rank, size - 1) - era, size)
    return catalogue.first[shelf] + place


def favourites(catalogue: Catalogue, shelf: Ints, users: Ints, slot: Ints) -> Ints:
    """Return an item of each shelf that is always the same for a user and slot."""
    mixed = mix(users * 4 + slot, shelf)
    return catalogue.first[shelf] + (mixed % catalogue.size[shelf].astype(np.uint32)).astype(np.int32)


def unit_price(catalogue: Catalogue, items: Ints, instants: Ints) -> Ints:
    """Return the price of each item at each instant, in cents: a fifth off in one week out of ten."""
    is_sale = mix(items, instants // (7 * DAY)) % np.uint32(_SALE_WEEKS) == 0
    price = catalogue.price[items]
    return np.where(is_sale, price * 4 // 5, price)


def mix(a: Ints, b: Ints) -> NDArray[np.uint32]:
    """Return a number that looks random, and is the same for the same pair."""
    both: NDArray[np.uint32] = a.astype(np.uint32) * _MIXERS[0] ^ b.astype(np.uint32) * _MIXERS[1]
    return (both ^ (both >> np.uint32(15))) * _MIXERS[0] >> np.uint32(8)
