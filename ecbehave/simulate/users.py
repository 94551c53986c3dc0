"""Who the shop's users are: their rates, their tastes, and when they join and drop out."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecbehave.schema import TS
from ecbehave.simulate.season import Floats, Season
from ecbehave.simulate.settings import DAY, Settings

Ints = NDArray[np.integer[Any]]

_ALREADY_THERE = 0.6
_OLDEST_DAYS = 3 * 365
_VISITS_SHAPE = 1.2
_CONVERSION = (0.9, 8.0)
_DROP_OUT_SHAPE = 1.5
_LIFETIME_DAYS = 240.0
#: Channel to share of users and factor of the drop-out rate.
_CHANNELS = {"search": (0.45, 1.0), "ads": (0.35, 1.7), "friend": (0.2, 0.5)}
_REGIONS = ("north", "south", "east", "west")
_DEVICES = ("mobile", "desktop", "tablet")
_AGES = ("18-29", "30-44", "45-59", "60+")
N_TASTES = 3


@dataclass(frozen=True)
class Users:
    """One array element per user, in the order of ids."""

    visit_rate: Floats
    """Visits per day of average business, while the user is there."""
    conversion: Floats
    """Probability that a visit ends in a purchase."""
    drop_out_rate: Floats
    """Hazard of dropping out, per day."""
    signed_up: Floats
    """Instant of joining; before the log's start for those who were there already."""
    dropped: Floats
    """Instant of dropping out, at any time."""
    tastes: Ints
    """Preferred categories [users, 3], the best one first."""
    tier: Ints
    """Preferred price level: 0 cheap, 1, 2 expensive."""
    attributes: dict[str, Ints]
    """Codes into ATTRIBUTES."""

    def present_from(self, start: int) -> Floats:
        """Return from when on there can be visits in a log that starts at `start`."""
        return np.maximum(self.signed_up, start)


ATTRIBUTES = {
    "channel": tuple(_CHANNELS),
    "region": _REGIONS,
    "device": _DEVICES,
    "age_group": _AGES,
}


def draw_users(
    settings: Settings, season: Season, n_categories: int, rows_of_visit: Callable[[Floats], Floats]
) -> Users:
    """Draw everybody; visit rates are scaled so that the log is expected to have the size asked for.

    Args:
        settings: the shop.
        season: of the log's days.
        n_categories: of the catalogue.
        rows_of_visit: mean rows of a visit, by the conversion of the user.
    """
    rng = np.random.default_rng([settings.seed, 0])
    n = settings.users
    shares, hazards = np.array(list(_CHANNELS.values())).T
    channel = rng.choice(len(_CHANNELS), n, p=shares).astype(np.int8)
    drop_out_rate = rng.gamma(_DROP_OUT_SHAPE, 1 / (_LIFETIME_DAYS * _DROP_OUT_SHAPE), n) * hazards[channel]
    is_old = rng.random(n) < _ALREADY_THERE
    age = rng.random(n)
    signed_up = settings.start + np.where(is_old, -age * _OLDEST_DAYS, age * settings.days) * DAY
    present = np.maximum(signed_up, settings.start)
    dropped = present + rng.standard_exponential(n) / drop_out_rate * DAY
    rate, conversion = rng.gamma(_VISITS_SHAPE, 1.0, n), rng.beta(*_CONVERSION, n)
    exposure = season.elapsed(dropped) - season.elapsed(present)
    expected = float(rate * exposure @ rows_of_visit(conversion))
    codes: dict[str, Ints] = {
        name: rng.integers(0, len(values), n, dtype=np.int8) for name, values in ATTRIBUTES.items()
    }
    return Users(
        visit_rate=rate * (n * settings.events_per_user / expected),
        conversion=conversion,
        drop_out_rate=drop_out_rate,
        signed_up=signed_up,
        dropped=dropped,
        tastes=rng.integers(0, n_categories, (n, N_TASTES), dtype=np.int16),
        tier=rng.choice(3, n, p=(0.35, 0.45, 0.2)).astype(np.int8),
        attributes=codes | {"channel": channel},
    )


def ids(prefix: str, n: int) -> pl.Series:
    """Return `n` ids: the prefix and a number with at least six digits, all of one length."""
    width = max(6, len(str(n - 1)))
    numbers = pl.int_range(n, eager=True).cast(pl.String).str.zfill(width)
    return (prefix + numbers).alias("id")


def users_table(users: Users, user_ids: pl.Series) -> pl.DataFrame:
    """Return the `users` table: `user_id`, `signed_up_at`, and attributes as text."""
    attributes = {
        name: pl.Series(values).gather(users.attributes[name]) for name, values in ATTRIBUTES.items()
    }
    return pl.DataFrame({"user_id": user_ids, "signed_up_at": instants(users.signed_up)} | attributes)


def instants(seconds: Floats) -> pl.Series:
    """Return instants in seconds since 1970 as UTC timestamps."""
    return pl.Series((np.floor(seconds) * 1_000_000).astype(np.int64)).cast(TS)
