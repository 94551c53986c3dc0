"""Users that no person can be: refused from the first event too many on, for good.

Weeks are judged one after the other. What must be known of the weeks before is who was bot-like in them, and, only
where a user could reach the limit of all events, how many events each user has had.
"""

from collections.abc import Set
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecbehave.config.clean import Clean

Flags = NDArray[np.bool_]


@dataclass
class Past:
    """What is known of users before a week."""

    bots: Set[int] = field(default_factory=set)
    """`user_hash` of users with a bot-like event."""
    counts: pl.DataFrame | None = None
    """`user_hash`, `n`: events so far; None where nobody can have reached the limit."""


def bot_like(rows: pl.DataFrame, past: Past, clean: Clean, timezone: str) -> Flags:
    """Tell which of a week's events are bot-like: a user's from the first one too many on, of a day or of all.

    Args:
        rows: events of whole weeks of users, in the total order of events.
        past: the users before these events.
        clean: the limits.
        timezone: the shop's calendar, for days.

    Returns:
        Shape (n_rows,).
    """
    n = rows.height
    if n == 0:
        return np.zeros(0, dtype=bool)
    user = rows["user_hash"].to_numpy()
    local = rows["ts"] if timezone == "UTC" else rows["ts"].dt.convert_time_zone(timezone)
    day = local.dt.date().to_physical().to_numpy()
    new_user = np.concatenate([[True], user[1:] != user[:-1]])
    new_day = new_user | np.concatenate([[True], day[1:] != day[:-1]])
    is_first_too_many = _place(new_day) >= clean.max_events_per_user_day
    if past.counts is not None:
        counts = pl.DataFrame({"user_hash": user}).join(
            past.counts, on="user_hash", how="left", maintain_order="left"
        )
        before = counts["n"].fill_null(0).to_numpy()
        is_first_too_many |= before + _place(new_user) >= clean.max_events_per_user
    if past.bots:
        is_first_too_many |= np.isin(user, np.fromiter(past.bots, np.uint64, len(past.bots)))
    if not is_first_too_many.any():
        return is_first_too_many
    return _from_first_on(is_first_too_many, new_user)


def _place(starts: Flags) -> NDArray[np.int64]:
    """Return how many rows of its group stand before each row."""
    rows = np.arange(starts.size)
    return rows - np.maximum.accumulate(np.where(starts, rows, 0))


def _from_first_on(flags: Flags, starts: Flags) -> Flags:
    """Set all flags of a group that follow one that is set."""
    total = np.cumsum(flags)
    before_group = np.maximum.accumulate(np.where(starts, total - flags, 0))
    return total > before_group


def most_of_one(rows: pl.DataFrame) -> int:
    """Return the number of rows of the user with the most."""
    starts = np.flatnonzero(np.diff(rows["user_hash"].to_numpy(), prepend=np.uint64(0)) != 0)
    if rows.height == 0:
        return 0
    starts = np.union1d(starts, [0])
    return int(np.diff(starts, append=rows.height).max())
