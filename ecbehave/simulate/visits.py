"""Who comes when: the visits of one stretch of time, drawn in one go.

The visits of all users together are one Poisson process whose rate is the sum of theirs, and each visit belongs to a
user with probability in proportion to the rate; a visit of somebody who is not there at that moment is taken out.
That is the same as drawing every user's process by itself, and needs no loop over users. Every block has random
numbers of its own, so that blocks can be drawn in any order.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ecbehave.simulate.season import Floats, Season
from ecbehave.simulate.settings import DAY, Settings
from ecbehave.simulate.users import Ints, Users

#: Expected visits that a block has at least, where it has whole days, and at most: this bounds the memory.
_ENOUGH, _MOST = 12_000, 24_000
_LONGEST_BLOCK = 28


@dataclass(frozen=True)
class Stretch:
    """Some days of the log, or a part of one."""

    number: int
    start: int
    """First instant, in seconds since 1970."""
    end: int
    """Its end, exclusive."""


@dataclass(frozen=True)
class Visits:
    """One array element per visit, in the order of users."""

    user: Ints
    at: Ints
    """The visit's time: its end, in seconds since 1970."""
    converts: np.ndarray[tuple[int], np.dtype[np.bool_]]
    """Whether it ends in a purchase."""


def expected_visits(settings: Settings, season: Season, users: Users) -> Floats:
    """Return the visits to expect on each day, a little too many: of all who are there at some time of it [days]."""
    first = (users.present_from(settings.start) - settings.start) // DAY
    after = np.minimum((users.dropped - settings.start) // DAY + 1, settings.days)
    changes = np.bincount(first.astype(int), users.visit_rate, settings.days + 1)
    changes -= np.bincount(after.astype(int), users.visit_rate, settings.days + 1)
    rate = np.maximum(np.cumsum(changes)[:-1], 0)
    return rate * np.diff(season.elapsed(settings.start + np.arange(settings.days + 1) * DAY))


def make_blocks(settings: Settings, season: Season, visits: Floats) -> list[Stretch]:
    """Cut the log's time into blocks; `visits` are those to expect on each day."""
    return cut(settings.start, season, visits, enough=_ENOUGH, most=_MOST, longest=_LONGEST_BLOCK)


def cut(
    start: int, season: Season, amounts: Floats, *, enough: float, most: float, longest: int
) -> list[Stretch]:
    """Cut days at midnights, and within a day where it alone would be too much.

    Args:
        start: midnight of the first day.
        season: its clock cuts a day into parts of equal business.
        amounts: what to expect on each day [days].
        enough: a stretch of whole days ends when it has so much.
        most: a day with more is cut into parts that have less.
        longest: most days of a stretch.
    """
    edges, held, length = [start], 0.0, 0
    for day, amount in enumerate(amounts.tolist()):
        midnight, next_midnight = start + day * DAY, start + (day + 1) * DAY
        if amount > most and length:
            edges.append(midnight)
            held, length = 0.0, 0
        held, length = held + amount, length + 1
        if amount > most:
            begin, over = season.elapsed([midnight, next_midnight])
            parts = np.linspace(begin, over, int(amount // most) + 2)
            edges += season.instants(parts[1:-1]).astype(int).tolist()
        if held >= enough or length == longest or day == len(amounts) - 1:
            edges.append(next_midnight)
            held, length = 0.0, 0
    return [Stretch(i, *pair) for i, pair in enumerate(pairwise(edges))]


def draw_visits(settings: Settings, season: Season, users: Users, block: Stretch) -> Visits:
    """Draw the visits of one block.

    Cost: linear in the users and, but for a sort of uniform numbers, in the visits.

    Source: Lewis and Shedler (1979), thinning.
    """
    rng = np.random.default_rng([settings.seed, 2, block.number])
    joined = users.present_from(settings.start)
    is_candidate = (joined < block.end) & (users.dropped > block.start)
    reach = np.cumsum(np.where(is_candidate, users.visit_rate, 0.0))
    from_clock, to_clock = season.elapsed([block.start, block.end])
    n = rng.poisson(reach[-1] * (to_clock - from_clock))
    # Sorted numbers find their users much faster; which visit is which does not matter.
    user = np.searchsorted(reach, np.sort(rng.random(n)) * reach[-1], side="right")
    user = np.minimum(user, len(reach) - 1)
    at = season.instants(from_clock + rng.random(n) * (to_clock - from_clock))
    converts = rng.random(n) < users.conversion[user]
    is_there = (joined[user] <= at) & (at < users.dropped[user])
    # Rounding must not carry a visit over the end of the block.
    seconds = np.minimum(at[is_there].astype(np.int64), block.end - 1)
    return Visits(user[is_there], seconds, converts[is_there])
