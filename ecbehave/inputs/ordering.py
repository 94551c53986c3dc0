"""Orders of rows and running sums: integers only, exact, and the same whatever the order of equal rows.

Arrays hold one value per row; rows are in the order of user and time.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Of 32 or 64 bits.
Integers = NDArray[np.signedinteger[Any]]
Flags = NDArray[np.bool_]

NEVER = np.iinfo(np.int64).max
LONG_AGO = np.iinfo(np.int64).min


def running(values: NDArray[Any]) -> NDArray[Any]:
    """Return running sums [n + 1]: the value at a position is the sum of all rows before it.

    Flags are counted in 32 bits, which halves the memory. Where 64 bits overflow, differences are still right.
    """
    is_small = values.dtype == np.bool_ and values.size < 2**31
    sums = np.zeros(values.size + 1, np.int32 if is_small else np.int64)
    np.cumsum(values, out=sums[1:], dtype=sums.dtype)
    return sums


def changes(values: NDArray[Any]) -> Flags:
    """Mark the rows whose value differs from that of the row before; the first one does."""
    marks = np.ones(values.size, np.bool_)
    np.not_equal(values[1:], values[:-1], out=marks[1:])
    return marks


def paired(first: Integers, second: Integers) -> Integers:
    """Number pairs of codes, by the first and then the second; the second may be -1."""
    width = int(second.max(initial=-1)) + 2
    return np.asarray(first.astype(np.int64) * width + (second + 1))


def grouped_order(key: Integers) -> Integers:
    """Return the order of rows by a key, in which rows of equal keys keep their order.

    A stable sort is the quickest one, too, where the key begins with the user: the users are in order already.
    """
    return np.argsort(key, kind="stable")


def following(order: Integers, key: Integers, ts: Integers) -> Integers:
    """Return when the next row with the same key is [n]: never where there is none, long ago for rows left out.

    Args:
        order: rows that have a value, by key and time.
        key: the key of every row.
        ts: the time of every row.
    """
    when = np.full(ts.size, LONG_AGO)
    when[order] = NEVER
    is_same = ~changes(key[order])[1:]
    when[order[:-1][is_same]] = ts[order[1:][is_same]]
    return when


@dataclass(frozen=True)
class Visits:
    """Rows that belong together, such as those of a session or an order; visits of a user may overlap."""

    order: Integers
    """Rows by visit, and in the order of time within each."""
    starts: Flags
    """Along `order`: whether a visit starts here."""

    @property
    def number(self) -> Integers:
        """The visit of every row, counted from 0."""
        return self._back(np.cumsum(self.starts) - 1)

    @property
    def is_first(self) -> Flags:
        """Whether a row is the first of its visit."""
        return self._back(self.starts)

    @property
    def is_second(self) -> Flags:
        """Whether a row is the second of its visit."""
        second = np.zeros_like(self.starts)
        second[1:] = self.starts[:-1] & ~self.starts[1:]
        return self._back(second)

    def since_last(self, ts: Integers) -> Integers:
        """Return the time since the row before in the same visit; 0 for the first one."""
        along = ts[self.order]
        gaps = np.diff(along, prepend=along[:1])
        gaps[self.starts] = 0
        return self._back(gaps)

    def sum_before(self, values: Integers) -> Integers:
        """Return the sum of the values of earlier rows of the same visit."""
        sums = running(values[self.order])[:-1]
        return self._back(sums - sums[self.starts][np.cumsum(self.starts) - 1])

    def _back(self, along: NDArray[Any]) -> NDArray[Any]:
        rows = np.empty_like(along)
        rows[self.order] = along
        return rows


def visits(user: Integers, ts: Integers, code: Integers, longest_gap: int) -> Visits:
    """Gather rows: of a user those with one code, and those without a code while no gap is longer than allowed.

    Args:
        user: the user of every row.
        ts: the time of every row.
        code: the id that the log has for the visit; -1 for none.
        longest_gap: in microseconds, between rows without a code.
    """
    key = paired(user, code)
    loose = np.flatnonzero(code < 0)
    is_new = changes(user[loose])
    is_new[1:] |= np.diff(ts[loose]) > longest_gap
    key[loose] = key.max(initial=0) + np.cumsum(is_new)
    order = grouped_order(key)
    return Visits(order, changes(key[order]))
