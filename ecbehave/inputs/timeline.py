"""Timelines: rows in the order of user and time, in which every window of every asked user is a slice.

A sum over a window is the difference of a running sum at its two ends. The ends are found once for all cutoffs
and windows; one sum after the other is then read at them, so that ten cutoffs cost little more than one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecbehave.inputs.feature_names import ALL
from ecbehave.inputs.histories import microseconds
from ecbehave.inputs.ordering import Flags, Integers, running
from ecbehave.windows import Span

#: One value per asked user, R in all.
Totals = dict[str, Integers]


@dataclass(frozen=True)
class Moment:
    """A cutoff with the windows before it."""

    cutoff: datetime
    spans: tuple[Span, ...]


@dataclass(frozen=True)
class Asked:
    """The users of all requests, one request after the other: R rows."""

    users: Integers
    """[R] place of each user in the histories."""
    moments: tuple[tuple[Moment, slice], ...]
    """The rows of each request."""
    spans: tuple[str, ...]
    """Names of the windows, which are the same at every cutoff."""

    @property
    def windows(self) -> tuple[str, ...]:
        """The windows, and all history."""
        return (*self.spans, ALL)

    def each(self, value: Callable[[datetime], int]) -> Integers:
        """Return a value of the cutoff for every asked user [R]."""
        values = np.zeros(self.users.size, np.int64)
        for moment, part in self.moments:
            values[part] = value(moment.cutoff)
        return values


@dataclass(frozen=True)
class Timeline:
    """Some rows of the histories: those of one event type, or the first ones of every session."""

    asked: Asked
    rows: Integers | None
    """Which rows these are; None for all."""
    marks: Integers
    """[2 W, R] positions among these rows: up to the cutoff, where each window and all history start, and where
    the windows before these start."""

    def take(self, column: NDArray[Any]) -> NDArray[Any]:
        """Return a column of the histories at these rows."""
        return column if self.rows is None else column[self.rows]

    def where(self, mask: Flags) -> "Timeline":
        """Keep some of these rows."""
        chosen = np.flatnonzero(mask).astype(np.int32)
        rows = chosen if self.rows is None else self.rows[chosen]
        return Timeline(self.asked, rows, running(mask)[self.marks])

    @property
    def now(self) -> Integers:
        """[R] position after the last row before the cutoff."""
        return np.asarray(self.marks[0])

    @property
    def start(self) -> Integers:
        """[R] position of the first row."""
        return np.asarray(self.marks[len(self.asked.windows)])

    def counts(self) -> Totals:
        """Return the number of rows per window."""
        return self._between(self.marks[: len(self.asked.windows) + 1].astype(np.int64))

    def counts_before(self) -> Totals:
        """Return the number of rows in the windows before the windows."""
        n = len(self.asked.spans)
        starts, earlier = self.marks[1 : n + 1], self.marks[n + 2 :]
        return dict(zip(self.asked.spans, (starts - earlier).astype(np.int64), strict=True))

    def totals(self, values: NDArray[Any]) -> Totals:
        """Return the sum of integers or flags per window."""
        return self._between(running(values)[self.marks[: len(self.asked.windows) + 1]])

    def totals_at(self, values: Callable[[Moment], NDArray[Any]]) -> Totals:
        """Return the sum per window of values that differ from cutoff to cutoff."""
        read = np.zeros((len(self.asked.windows) + 1, self.now.size), np.int64)
        for moment, part in self.asked.moments:
            read[:, part] = running(values(moment))[self.marks[: read.shape[0], part]]
        return self._between(read)

    def distinct(self, when: Integers) -> Totals:
        """Return the number of distinct values per window.

        Args:
            when: when each row's value comes again; long ago for rows without a value.
        """
        return self.totals_at(lambda moment: newest(when, moment.cutoff))

    def up_to_now(self, values: NDArray[Any]) -> Integers:
        """Return the sum over all history [R]."""
        sums = running(values)
        return np.asarray(sums[self.now] - sums[self.start], np.int64)

    def last(self, values: NDArray[Any]) -> Integers:
        """Return the value at the last row before the cutoff [R]; 0 where there is none."""
        return self._at(self.now - 1, values)

    def first(self, values: NDArray[Any]) -> Integers:
        """Return the value at the first row [R]; 0 where there is none before the cutoff."""
        return self._at(self.start, values)

    def _at(self, positions: Integers, values: NDArray[Any]) -> Integers:
        found = np.zeros(positions.size, np.int64)
        is_known = self.now > self.start
        found[is_known] = values[positions[is_known]]
        return found

    def _between(self, read: NDArray[Any]) -> Totals:
        return {w: read[0] - start for w, start in zip(self.asked.windows, read[1:], strict=True)}


def newest(when: Integers, cutoff: datetime) -> Flags:
    """Mark the rows that are, as of the cutoff, the last with their value: as many as there are distinct values.

    When the value comes again may lie after the cutoff; to know that it does is the same as that it never does.
    """
    return when >= microseconds(cutoff)


def lay_out(
    before: Callable[[datetime, Integers], Integers],
    start: Integers,
    users: Sequence[Integers],
    moments: Sequence[Moment],
) -> Timeline:
    """Find where every window of every asked user starts and ends.

    Args:
        before: position after a user's rows that lie before an instant.
        start: position of the first row of every user.
        users: places of the users that each request asks for.
        moments: cutoff and windows of each request; the windows have the same names.
    """
    ends = np.cumsum([0, *(u.size for u in users)])
    parts = [slice(int(a), int(b)) for a, b in pairwise(ends)]
    names = tuple(s.name for s in moments[0].spans)
    asked = Asked(np.concatenate(users), tuple(zip(moments, parts, strict=True)), names)
    marks = np.empty((2 * len(names) + 2, asked.users.size), np.int32)
    for (moment, part), places in zip(asked.moments, users, strict=True):
        instants = [moment.cutoff, *(s.start for s in moment.spans)]
        found = [before(i, places) for i in instants] + [start[places]]
        found += [before(s.before, places) for s in moment.spans]
        marks[:, part] = found
    return Timeline(asked, None, marks)
