"""What happens in a visit, and what follows a purchase: rows of the log, as numbers.

A visit looks at items of one shelf, one after the other. It may begin with a search; a step may be a click on a
result, may end with a question, or puts the item into the cart; carts may be emptied. A visit that converts buys what
its cart holds: the last item it looked at for sure.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecbehave.schema import EVENT_TYPES
from ecbehave.simulate.catalogue import N_TIERS, Catalogue, favourites, on_shelf, unit_price
from ecbehave.simulate.season import Floats
from ecbehave.simulate.settings import DAY, Settings
from ecbehave.simulate.users import N_TASTES, Ints, Users
from ecbehave.simulate.visits import Stretch, Visits

#: A visit and its block in one number: no block has so many visits.
_VISITS_PER_BLOCK = 65_536
_MOST_STEPS = 30
_LONGEST_DWELL = 200
_CHECKOUT = 30
#: No visit is longer, in seconds.
LONGEST_VISIT = _MOST_STEPS * _LONGEST_DWELL + _CHECKOUT + 1
_STEPS_SCALE = 4.0
_SEARCH = 0.3
_CLICK = 0.5
_QUESTION = 0.003
_CART_CONVERTING = 0.25
#: Of a visit that does not convert: who buys more often leaves more in the cart, too.
_CART, _CART_SLOPE = 0.02, 0.4
_REMOVE = 0.2
_RATING, _REVIEW, _RETURN = 0.1, 0.05, 0.06
_COUPON = 0.12
_TASTE = np.array([0.5, 0.75, 0.9])
_OWN_TIER = 0.7
_FAVOURITE = 0.3
_N_FAVOURITES = 4
_ERA = 14 * DAY
_MEAN_DELAY, _LONGEST_DELAY = 9.0, 45.0

Bools = NDArray[np.bool_]

#: Rows before they are written: instants in seconds, money in cents, `at` is where the row stands in the log.
NUMBERS: dict[str, Any] = {
    "at": pl.Int64,
    "ts": pl.Int64,
    "user": pl.Int32,
    "item": pl.Int32,
    "type": pl.UInt8,
    "session_id": pl.String,
    "order_id": pl.String,
    "price": pl.Int32,
    "quantity": pl.Int32,
    "amount": pl.Int32,
    "discount": pl.Int32,
    "coupon": pl.Int32,
    "rating": pl.Int32,
    "dwell_seconds": pl.Int32,
    "flaw": pl.UInt8,
}


def rows_of_visit(conversion: Floats) -> Floats:
    """Return the mean number of rows of a visit of users with a conversion, all that follows it included [users].

    An item that comes twice into one cart counts twice here, and once in the log.
    """
    steps = float(np.exp(-np.arange(_MOST_STEPS) / _STEPS_SCALE).sum())
    carts = 1 + (steps - 1) * _CART_CONVERTING
    bought = carts - (steps - 1) * _CART_CONVERTING * _REMOVE
    converting = 2 * carts + bought * (_RATING + _REVIEW + _RETURN)
    left = steps * (_CART + _CART_SLOPE * conversion) * (1 + _REMOVE)
    looked = _SEARCH + steps * (1 + _SEARCH * _CLICK + _QUESTION)
    return looked + conversion * converting + (1 - conversion) * left


@dataclass(frozen=True)
class _Steps:
    """One array element per item looked at, visit after visit."""

    visit: Ints
    is_last: Bools
    item: Ints
    at: Ints
    dwell: Ints
    price: Ints


def draw_rows(
    settings: Settings, users: Users, catalogue: Catalogue, block: Stretch, visits: Visits
) -> pl.DataFrame:
    """Return all rows of a block's visits, in no order, with what follows them days later.

    Returns:
        The columns NUMBERS; `flaw` is 0.
    """
    rng = np.random.default_rng([settings.seed, 3, block.number])
    n_visits = len(visits.user)
    if n_visits == 0:
        return pl.DataFrame(schema=NUMBERS)
    steps = _draw_steps(rng, users, catalogue, visits)
    visit, n = steps.visit, len(steps.visit)
    converts = visits.converts[visit]

    def chance(probability: float | Floats) -> Bools:
        return rng.random(n, np.float32) < probability

    searches = rng.random(n_visits, np.float32) < _SEARCH
    is_sure = converts & steps.is_last
    hesitant = _CART + _CART_SLOPE * users.conversion[visits.user]
    cart = np.where(visits.converts, _CART_CONVERTING, hesitant)[visit]
    is_cart = _last_of_item(steps, is_sure | chance(cart))
    is_removed = is_cart & chance(_REMOVE) & ~is_sure
    quantity = 1 + chance(0.2) + chance(0.05)
    amount = steps.price * quantity
    has_coupon = (rng.random(n_visits, np.float32) < _COUPON)[visit]
    numbers = pl.Series(block.number * _VISITS_PER_BLOCK + np.arange(n_visits)).cast(pl.String)
    sessions, left = "s" + numbers, visits.at[visit]
    of_step: dict[str, Ints] = {
        "user": visits.user[visit],
        "item": steps.item,
        "price": steps.price,
        "quantity": quantity,
        "amount": amount,
        "discount": catalogue.price[steps.item] * quantity - amount,
        "coupon": np.where(has_coupon, amount // 10, 0),
        "dwell_seconds": steps.dwell,
    }

    def rows(kind: str, chosen: Bools, ts: Ints, *columns: str) -> pl.DataFrame:
        """Return a row per chosen step, with some of its columns."""
        of = np.flatnonzero(chosen)
        values = {name: of_step[name][of] for name in ("user", "item", *columns)}
        return _frame(kind, values | {"ts": ts[of], "session_id": sessions.gather(visit[of])})

    is_bought = is_cart & converts & ~is_removed
    money = ("price", "quantity", "amount", "discount", "coupon")
    order_ids = "o" + numbers.gather(visit[is_bought])
    purchases = rows("purchase", is_bought, left, *money).with_columns(order_id=order_ids)
    first = np.flatnonzero(np.diff(visit, prepend=-1))
    search = {"ts": steps.at[first] - 1, "user": visits.user, "session_id": sessions}
    parts = [
        _frame("search", search).filter(searches),
        rows("click", searches[visit] & chance(_CLICK), steps.at),
        rows("view", np.ones(n, np.bool_), steps.at, "price", "dwell_seconds"),
        rows("question", chance(_QUESTION), steps.at + steps.dwell),
        rows("cart", is_cart, steps.at + steps.dwell, "price", "quantity"),
        rows("remove", is_removed, left - _CHECKOUT // 2, "price", "quantity"),
        purchases,
        *_later(rng, catalogue, purchases),
    ]
    whole = pl.concat(parts, how="diagonal").with_columns(at="ts", flaw=pl.lit(0, pl.UInt8))
    return whole.select(NUMBERS.keys())


def _draw_steps(rng: np.random.Generator, users: Users, catalogue: Catalogue, visits: Visits) -> _Steps:
    n_visits = len(visits.user)
    extra = (rng.standard_exponential(n_visits, np.float32) * _STEPS_SCALE).astype(np.int64)
    counts = 1 + np.minimum(extra, _MOST_STEPS - 1)
    visit = np.repeat(np.arange(n_visits), counts)
    n, last = len(visit), np.cumsum(counts) - 1
    # In double precision, so that processors whose last digits differ still draw whole numbers that agree.
    spread = rng.standard_normal(n, np.float32).astype(np.float64)
    dwell = np.exp(3.0 + 0.9 * spread).clip(1, _LONGEST_DWELL).astype(np.int64)
    # Looking ends at the checkout, and each item is looked at until the next one is.
    looked = np.cumsum(dwell)
    at = visits.at[visit] - _CHECKOUT - looked[last][visit] + looked - dwell
    shelf = _draw_shelves(rng, users, catalogue, visits)[visit]
    picked = on_shelf(catalogue, shelf, rng.random(n), visits.at[visit] // _ERA)
    slot = rng.integers(0, _N_FAVOURITES, n, dtype=np.int32)
    own = favourites(catalogue, shelf, visits.user[visit], slot)
    item = np.where(rng.random(n, np.float32) < _FAVOURITE, own, picked)
    is_last = np.zeros(n, np.bool_)
    is_last[last] = True
    return _Steps(visit, is_last, item, at, dwell, unit_price(catalogue, item, visits.at[visit]))


def _draw_shelves(rng: np.random.Generator, users: Users, catalogue: Catalogue, visits: Visits) -> Ints:
    """Draw the shelf of each visit: mostly of a preferred category, at the user's price level [visits]."""
    n = len(visits.user)
    place = np.searchsorted(_TASTE, rng.random(n), side="right")
    other = rng.integers(0, len(catalogue.paths), n)
    preferred = users.tastes[visits.user, np.minimum(place, N_TASTES - 1)]
    category = np.where(place < N_TASTES, preferred, other)
    tier = np.where(rng.random(n) < _OWN_TIER, users.tier[visits.user], rng.integers(0, N_TIERS, n))
    return category * N_TIERS + tier


def _last_of_item(steps: _Steps, chosen: Bools) -> Bools:
    """Keep the last of the chosen steps with each item of a visit."""
    at = np.flatnonzero(chosen)[::-1]
    _, first = np.unique((steps.visit[at] << 32) + steps.item[at], return_index=True)
    kept = np.zeros(len(chosen), np.bool_)
    kept[at[first]] = True
    return kept


def _later(rng: np.random.Generator, catalogue: Catalogue, purchases: pl.DataFrame) -> list[pl.DataFrame]:
    """Return ratings, reviews and returns of what was bought, a day to some weeks after."""
    parts = []
    for kind, share in (("rating", _RATING), ("review", _REVIEW), ("return", _RETURN)):
        chosen = purchases.filter(pl.Series(rng.random(purchases.height) < share))
        delay = np.minimum(1 + rng.standard_exponential(chosen.height) * _MEAN_DELAY, _LONGEST_DELAY) * DAY
        stars = rng.normal(catalogue.quality[chosen["item"]], 0.9).round().clip(1, 5).astype(np.int32)
        columns = ["user", "item", "order_id"]
        columns += ["price", "quantity", "amount"] if kind == "return" else []
        told = {} if kind == "return" else {"rating": pl.Series(stars)}
        ts = chosen["ts"] + pl.Series(delay.astype(np.int64))
        later = chosen.select(columns).with_columns(ts=ts, **told)
        parts.append(_frame(kind, later.to_dict()))
    return parts


def _frame(kind: str, columns: Mapping[str, Any]) -> pl.DataFrame:
    """Return rows of one event type; numbers take the dtypes of NUMBERS."""
    code = pl.lit(EVENT_TYPES.index(kind), pl.UInt8)
    return pl.DataFrame(
        {name: pl.Series(values).cast(NUMBERS[name]) for name, values in columns.items()}
    ).with_columns(type=code)
