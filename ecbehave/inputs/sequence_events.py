"""Events of whole users as flat arrays: in the order of users and time, with a number for each distinct name."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecbehave.inputs.facts import LogFacts
from ecbehave.inputs.histories import UNITS_PER_CURRENCY, encoded, local_time, unit_price
from ecbehave.schema import TS

#: What is read of the log.
COLUMNS: dict[str, pl.DataType] = {
    "user_hash": pl.UInt64(),
    "user_id": pl.String(),
    "ts": TS,
    "event_type": pl.String(),
    "item_id": pl.String(),
    "category": pl.String(),
    "price": pl.Float64(),
    "amount": pl.Float64(),
    "quantity": pl.Float64(),
    "dwell_seconds": pl.Float64(),
}

#: A value per event. Names are numbered; -1 stands for none, and NaN for an unknown number.
ARRAYS: dict[str, type[np.generic]] = {
    "ts": np.int64,
    "item": np.int32,
    "category": np.int32,
    "event_type": np.int32,
    "price": np.float32,
    "dwell": np.float32,
    "hour": np.uint8,
}
#: Arrays of numbered names, and the column of the log that has the names.
NAMED = {"item": "item_id", "category": "category", "event_type": "event_type"}

_USER = ("user_hash", "user_id")
#: Rows that are equal in all of this are equal in every array, so that their order decides nothing.
_ORDER = (*_USER, "ts", "event_type", "item_id", "category", "price", "dwell")


@dataclass(frozen=True)
class UserEvents:
    """All events [E] of some users [U]."""

    users: pl.DataFrame
    """[U] `user_hash`, `user_id`, sorted by both."""
    offsets: NDArray[np.int64]
    """[U + 1] user `u` has the events from `offsets[u]` up to `offsets[u + 1]`, ascending in time."""
    arrays: Mapping[str, NDArray[Any]]
    """[E] by name; see `ARRAYS`."""
    names: Mapping[str, pl.Series]
    """The names by number, for each array of `NAMED`; numbered as they first appear."""


def user_events(events: pl.LazyFrame, facts: LogFacts, timezone: str) -> UserEvents:
    """Sort events, and turn them into arrays.

    Events of one instant stand in the order of event type, item, category, price and dwell time.

    Args:
        events: `COLUMNS`, in any order of rows.
        facts: what the log has; of other columns no value is known.
        timezone: the shop's calendar.
    """
    frame = events.select(*_USER, "ts", *NAMED.values(), **_numbers(facts, timezone)).sort(_ORDER).collect()
    is_first = pl.any_horizontal(pl.col(c) != pl.col(c).shift() for c in _USER).fill_null(value=True)
    starts = frame.select(is_first.arg_true()).to_series().to_numpy().astype(np.int64)
    arrays: dict[str, NDArray[Any]] = {"ts": frame["ts"].dt.timestamp("us").to_numpy()}
    names: dict[str, pl.Series] = {}
    for name, column in NAMED.items():
        arrays[name], names[name] = encoded(frame[column])
    for name in ("price", "dwell"):
        arrays[name] = frame[name].fill_null(np.nan).to_numpy()
    arrays["hour"] = frame["hour"].to_numpy()
    return UserEvents(
        frame[starts].select(_USER),
        np.append(starts, frame.height),
        {name: arrays[name].astype(dtype, copy=False) for name, dtype in ARRAYS.items()},
        names,
    )


def _numbers(facts: LogFacts, timezone: str) -> dict[str, pl.Expr]:
    local = local_time(timezone)
    known = pl.col("dwell_seconds") if facts.has("dwell_seconds") else pl.lit(None, pl.Float64)
    return {
        "price": (unit_price(facts) / UNITS_PER_CURRENCY).cast(pl.Float32),
        "dwell": known.cast(pl.Float32),
        "hour": ((local.dt.weekday() - 1).cast(pl.UInt8) * 24 + local.dt.hour().cast(pl.UInt8)),
    }
