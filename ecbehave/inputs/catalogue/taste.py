"""What a user likes: the favourite category and brand, how varied the choice is, and whether it drifts.

Rows are counted per user and category; no sum depends on the order in which categories come, since all are of
integers: of p log p, too, in 2^-20.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecbehave.inputs.feature_names import ALL, FeatureName
from ecbehave.inputs.histories import microseconds
from ecbehave.inputs.ordering import Integers, changes
from ecbehave.inputs.scene import Columns, Scene, share
from ecbehave.inputs.timeline import Moment

_SCALE = 1 << 20


def build_categories(scene: Scene) -> Columns:
    """Yield the taste in categories."""
    return _of(scene, "category")


def build_brands(scene: Scene) -> Columns:
    """Yield the taste in brands, and how many there are."""
    for window, n in scene.distinct("brand", scene.facts.main).items():
        yield FeatureName("brands", scene.facts.main, window), n
    yield from _of(scene, "brand")


@dataclass(frozen=True)
class _Pairs:
    """Users with the categories that they had, P in all, by user and then the alphabet; and S users with any."""

    ts: Integers
    """Times of the rows, by pair."""
    pair: Integers
    """The pair of each row."""
    code: Integers
    """[P] the category."""
    segment: Integers
    """[P] the user's number among the S."""
    starts: Integers
    """[S] the first pair of each user."""
    place: Integers
    """[U + 1] each user's number among the S; S for users without any."""

    def counted(self, moment: Moment) -> dict[str, Integers]:
        """Return the rows of each pair [P] per window of a moment."""
        is_before = self.ts < microseconds(moment.cutoff)
        masks = {s.name: is_before & (self.ts >= microseconds(s.start)) for s in moment.spans} | {
            ALL: is_before
        }
        return {w: np.bincount(self.pair[mask], minlength=self.code.size) for w, mask in masks.items()}

    def sum(self, values: Integers) -> Integers:
        """Add up the pairs of each user [S]."""
        return np.add.reduceat(values, self.starts) if values.size else values

    def top(self, n: Integers) -> tuple[Integers, Integers]:
        """Return the highest number of each user [S], and the first pair that has it."""
        if n.size == 0:
            return n, n
        highest = np.maximum.reduceat(n, self.starts)
        places = np.flatnonzero(n == highest[self.segment])
        return highest, places[changes(self.segment[places])]


def _pairs(scene: Scene, column: str) -> _Pairs:
    h = scene.histories
    order, key = scene.by_value(column, scene.facts.main)
    starts = changes(key[order])
    first = order[starts]
    user = h.user[first]
    is_new = changes(user)
    n_users = int(is_new.sum())
    place = np.full(h.offsets.size - 1, n_users)
    place[user[is_new]] = np.arange(n_users)
    return _Pairs(
        h.ts[order],
        np.cumsum(starts) - 1,
        h.columns[column][first].astype(np.int64),
        np.cumsum(is_new) - 1,
        np.flatnonzero(is_new),
        place,
    )


def _of(scene: Scene, column: str) -> Columns:
    pairs, event, asked = _pairs(scene, column), scene.facts.main, scene.asked
    found: dict[FeatureName, NDArray[np.float64]] = {}
    for moment, part in asked.moments:
        place = pairs.place[asked.users[part]]
        for name, values in _at(pairs, moment, column, event):
            known = found.setdefault(name, np.full(asked.users.size, np.nan))
            # Users without any category share one more place, where all is unknown.
            known[part] = np.append(values, np.nan)[place]
    for name, values in found.items():
        is_text = name.measure == f"top_{column}"
        yield name, _texts(scene.histories.names[column], values) if is_text else values


def _at(
    pairs: _Pairs, moment: Moment, column: str, event: str
) -> Iterator[tuple[FeatureName, NDArray[np.float64]]]:
    """Yield the features of each user with any category [S] at one cutoff."""
    counted = pairs.counted(moment)
    totals = {window: pairs.sum(n) for window, n in counted.items()}
    for window, n in counted.items():
        total = totals[window]
        first, favourite = pairs.top(n)
        named = {"share1": first, "share3": _three_highest(pairs, n)}
        for measure, part in named.items():
            yield FeatureName(f"{column}_{measure}", event, window), share(part, total)
        yield FeatureName(f"{column}_entropy", event, window), _entropy(pairs, n, total)
        code = np.where(total > 0, pairs.code[favourite], np.nan)
        yield FeatureName(f"top_{column}", event, window), code
        if window != ALL:
            apart = pairs.sum(np.abs(n * totals[ALL][pairs.segment] - counted[ALL] * total[pairs.segment]))
            yield FeatureName(f"{column}_drift", event, window), share(apart, 2 * total * totals[ALL])


def _three_highest(pairs: _Pairs, n: Integers) -> Integers:
    left, total = n.copy(), np.zeros(pairs.starts.size, np.int64)
    for _ in range(3):
        highest, place = pairs.top(left)
        total += highest
        left[place] = 0
    return total


def _entropy(pairs: _Pairs, n: Integers, total: Integers) -> NDArray[np.float64]:
    """Return log N - (sum of n log n) / N."""
    table = np.arange(n.max(initial=0) + 1, dtype=np.float64)
    table[1:] = np.rint(table[1:] * np.log(table[1:]) * _SCALE)
    spread = share(pairs.sum(table.astype(np.int64)[n]) / _SCALE, total)
    return np.maximum(np.log(np.maximum(total, 1)) - spread, 0)


def _texts(names: pl.Series, codes: NDArray[np.float64]) -> pl.Series:
    return names.gather(pl.Series(codes, nan_to_null=True).cast(pl.UInt32))
