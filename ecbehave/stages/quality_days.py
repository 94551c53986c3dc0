"""The log day by day: gaps, and days with far more or far fewer events than is usual on their weekday.

Each type of event is judged by itself, on whole days only: not on the log's first day, nor on the last one while
its files may still come. A few stray events long before the rest do not count as the start of a type.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import SupportsInt

import numpy as np
from numpy.typing import NDArray

from ecbehave.report.quality_content import Change, Gap, Volume

#: A type is expected on a weekday on which it comes in so many of its weeks.
EXPECTED_SHARE = 0.75
_WEEKS = 4
_STRAY_SHARE = 0.001
_FAR_DAYS = 28
#: On fewer events than usual, chance alone makes large factors.
FEWEST_USUAL = 10
#: In multiples of the square root of what is usual, which is the standard deviation of a random count.
_CHANCE = 4


@dataclass(frozen=True)
class Calendar:
    """The days of a log; positions count from the first one."""

    first: date
    last: date
    """Last day with an event."""
    begins: date
    """First day, but for a few stray events before it."""
    last_whole: date
    """Last day that is complete."""

    @property
    def n_days(self) -> int:
        """Return the number of days from the first to the last one."""
        return self.position(self.last) + 1

    @property
    def end(self) -> int:
        """Return the position after the last whole day; none is whole before the second one."""
        return max(1, self.position(self.last_whole) + 1)

    def position(self, day: date) -> int:
        """Return the position of a day."""
        return (day - self.first).days

    def day(self, position: SupportsInt) -> date:
        """Return the day at a position."""
        return self.first + timedelta(days=int(position))

    def since(self, look_back: timedelta | None) -> int:
        """Return the position of the first whole day that limits look at."""
        whole = self.position(self.begins) + 1
        return whole if look_back is None else max(whole, self.end - -(-look_back // timedelta(days=1)))


def reach(rows: NDArray[np.int64]) -> tuple[int, int]:
    """Return the positions of the first and the last row count, but for a few stray rows at either end."""
    so_far = np.cumsum(rows)
    first = np.searchsorted(so_far, _STRAY_SHARE * so_far[-1], side="right")
    last = np.searchsorted(so_far, (1 - _STRAY_SHARE) * so_far[-1], side="left")
    return int(first), int(last)


def reach_of(days: Mapping[date, int]) -> tuple[date, date]:
    """Return the first and the last day, but for a few stray rows at either end."""
    ordered = sorted(days)
    first, last = reach(np.array([days[day] for day in ordered]))
    return ordered[first], ordered[last]


def begin_of(days: Mapping[date, int]) -> date:
    """Return the day on which a log begins: the first one, unless only a few stray events lie long before the rest."""
    first, start = min(days), reach_of(days)[0]
    n_before, n_with_events = (start - first).days, sum(day < start for day in days)
    # A shop that has grown a lot has few events in its first time too, but on most days.
    return start if n_before > _FAR_DAYS and n_with_events < n_before / 2 else first


def volume(event_type: str, days: Mapping[date, int], calendar: Calendar) -> Volume:
    """Return a type's rows per day beside what is usual."""
    rows = np.zeros(calendar.n_days, np.int64)
    rows[[calendar.position(day) for day in days]] = list(days.values())
    known = reach(rows)[0] + 7 * _WEEKS
    usual: list[float | None] = [None] * len(rows)
    if len(rows) > known:
        before = [rows[known - 7 * w : len(rows) - 7 * w] for w in range(1, _WEEKS + 1)]
        usual[known:] = np.median(before, axis=0).tolist()
    return Volume(event_type, rows.tolist(), usual)


def gaps(of_type: Volume, calendar: Calendar) -> list[Gap]:
    """Return the runs of days without an event of a type, from the first to the last day on which one is expected."""
    rows = np.array(of_type.rows)
    start, end = reach(rows)
    if end - start + 1 < 7 * _WEEKS:
        return []
    position = np.arange(len(rows))
    weekday = position % 7
    known = (position >= start) & (position <= end)
    share = np.array([(rows[known & (weekday == w)] > 0).mean() for w in range(7)])
    is_judged = (position > start) & (position >= calendar.since(None)) & (position < calendar.end)
    empty = (rows == 0) & (share[weekday] >= EXPECTED_SHARE) & is_judged
    # A day off lies within a gap, and only a day with an event ends it.
    runs = _runs(np.flatnonzero(empty), np.cumsum(rows > 0)[empty])
    return [
        Gap(
            of_type.event_type,
            calendar.day(run[0]),
            calendar.day(run[-1]),
            is_open=not rows[run[-1] :].any(),
        )
        for run in runs
    ]


def changes(of_type: Volume, calendar: Calendar, since: int, factor: float) -> list[Change]:
    """Return days, runs of them as one, on which the rows differ from what is usual by more than a factor.

    Args:
        of_type: the rows of a type.
        calendar: the days of the log.
        since: position of the first day that counts.
        factor: how many times more or fewer; what chance alone may do is left out, and so are days without any row,
            which are gaps.
    """
    rows = np.asarray(of_type.rows, np.float64)
    usual = np.array([np.nan if u is None else u for u in of_type.usual])
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = rows / usual
        is_off = (usual >= FEWEST_USUAL) & (np.abs(rows - usual) > _CHANCE * np.sqrt(usual)) & (rows > 0)
        is_off &= (ratio > factor) | (1 / ratio > factor)
    at = since + np.flatnonzero(is_off[since : calendar.end])
    # Days in a row keep their distance from their place in the list; more and fewer never share a run.
    runs = _runs(at, 2 * (at - np.arange(len(at))) + (ratio[at] > 1))
    found = []
    for run in runs:
        worst = int(run[np.argmax(np.abs(np.log(ratio[run])))])
        found.append(
            Change(
                of_type.event_type,
                calendar.day(run[0]),
                calendar.day(run[-1]),
                calendar.day(worst),
                int(rows[worst]),
                float(usual[worst]),
            )
        )
    return found


def thin_days(
    volumes: Sequence[Volume], calendar: Calendar, since: int, fewest: int
) -> list[tuple[date, int]]:
    """Return the whole days, with their events of all types, that have too few."""
    total = np.sum([v.rows for v in volumes], axis=0)
    thin = since + np.flatnonzero(total[since : calendar.end] < fewest)
    return [(calendar.day(i), int(total[i])) for i in thin]


def _runs(positions: NDArray[np.int64], key: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Cut positions wherever the key changes."""
    return [part for part in np.split(positions, np.flatnonzero(np.diff(key)) + 1) if len(part)]
