"""Learning which types of events a user has within some times, as of instants anywhere in the histories."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ecbehave.models.deep.noise import Noise
from ecbehave.models.deep.sequence_net import SequenceNet
from ecbehave.models.deep.tokens import Reader, Span
from ecbehave.models.deep.vocabulary import Ints

#: Instants per user that are asked about in an epoch.
_PER_USER = 4
#: Who had no event for so many days is not asked about: shops ask about active users.
_ACTIVE_DAYS = 91
_DAY = 86_400e6
#: Lengths are rounded by so many random events before sequences are put in order, so that batches change.
_JITTER = 3.0


@dataclass(frozen=True)
class Asked:
    """Users as of instants of their own, and what they did then."""

    span: Span
    """[N]"""
    happened: NDArray[np.float32]
    """[N, T x H] for each type of event and each time ahead, 1 where there was such an event; NaN where that was not
    known at the cutoff."""

    def take(self, rows: Ints) -> "Asked":
        """Return some of the rows."""
        return Asked(self.span.take(rows), self.happened[rows])


class Ahead:
    """For each user some instants are drawn in each epoch; nothing from the cutoff on is looked at.

    What is asked is much like the question of the labels, but for several types of events and times ahead at once, and
    as of any instant in the place of a few cutoffs.

    Source of learning several at once: Caruana (1997), Multitask learning.
    """

    unit = "instants"
    metric_name = ""

    def __init__(self, reader: Reader, horizons: Sequence[timedelta], length: int, batch: int) -> None:
        """Take what to learn from.

        Args:
            reader: its only part is the history.
            horizons: [H] times ahead.
            length: most instants of a sequence.
            batch: sequences.
        """
        self._reader, self._length, self._batch = reader, length, batch
        self._horizons = [int(h.total_seconds() * 1e6) for h in horizons]
        data = reader.parts[0]
        has_any = np.flatnonzero(data.ends > data.starts)
        # The first event has to be there, and the shortest time has to be over before the cutoff.
        first = data.log.ts[data.starts[has_any]] + 1
        last = data.now[has_any] - min(self._horizons)
        is_long = last > first
        self._users, self._first, self._last = has_any[is_long], first[is_long], last[is_long]
        self._n = self._users.size * _PER_USER
        self.n_batches = -(-self._n // batch)

    @property
    def has_targets(self) -> bool:
        """Whether any history is longer than the shortest time ahead."""
        return self._n > 0

    def known(self, rng: np.random.Generator) -> NDArray[np.float32]:
        """Return what is known of whole histories as of some instants [N, Q]."""
        return self._reader.query(0, self._drawn(rng).span)

    def batches(self, rng: np.random.Generator) -> Iterator[Asked]:
        """Yield users as of new instants."""
        asked = self._drawn(rng)
        order = np.argsort(asked.span.n_instants + rng.uniform(0, _JITTER, self._n), kind="stable")
        starts = np.arange(0, self._n, self._batch)
        rng.shuffle(starts)
        for start in starts:
            yield asked.take(order[start : start + self._batch])

    def _drawn(self, rng: np.random.Generator) -> Asked:
        data, reader = self._reader.parts[0], self._reader
        users, first, last = (np.tile(x, _PER_USER) for x in (self._users, self._first, self._last))
        now = (first + rng.random(users.size) * (last - first)).astype(np.int64)
        end = before(data.log.ts, data.starts[users], data.ends[users], now)
        # The future has no part in who is asked about.
        is_active = now - data.log.ts[end - 1] <= _ACTIVE_DAYS * _DAY
        if is_active.any():
            users, now, end = users[is_active], now[is_active], end[is_active]
        newest = reader.instant_of(0, end - 1)
        oldest = np.maximum(reader.instant_of(0, data.starts[users]), newest - self._length + 1)
        span = replace(reader.between(0, users, oldest, newest), now=now)
        asked = Asked(span, self._happened(users, end, now))
        return asked.take(np.resize(np.arange(len(span)), self._n))

    def _happened(self, rows: Ints, end: Ints, now: Ints) -> NDArray[np.float32]:
        data, found = self._reader.parts[0], []
        for horizon in self._horizons:
            until = before(data.log.ts, end, data.ends[rows], now + horizon)
            for places in self._reader.types_of(0):
                is_any = np.searchsorted(places, until) > np.searchsorted(places, end)
                found.append(np.where(now + horizon <= data.now[rows], is_any, np.nan))
        return np.column_stack(found).astype(np.float32)

    def split(self, batch: Asked, n: int) -> Sequence[Asked]:
        """Return parts of a batch."""
        n_rows = len(batch.span)
        return [batch.take(rows) for rows in np.array_split(np.arange(n_rows), min(n, n_rows))]

    def loss(self, net: SequenceNet, shard: Asked, noise: Noise) -> tuple[Tensor, Tensor | float]:
        """Return the sum of the mean log losses of rows, and the number of rows."""
        device = net.item.weight.device
        found = net.foreseen(self._reader.tokens(shard.span).to(device), noise).float()
        happened = torch.from_numpy(shard.happened).to(device)
        is_known = ~happened.isnan()
        each = functional.binary_cross_entropy_with_logits(found, happened.nan_to_num(), reduction="none")
        return (each * is_known).sum() / found.shape[1], float(len(shard.span))

    def metric(self, net: SequenceNet) -> float | None:
        """Return nothing: nothing is kept for it."""
        del net
        return None


def before(ts: NDArray[np.int64], low: Ints, high: Ints, time: Ints) -> Ints:
    """Return how far events are before some time: of each slice of ascending times, the place of the first that is not.

    Args:
        ts: times of all events.
        low: [N] where each slice begins.
        high: [N] where it ends.
        time: [N]
    """
    low, high = low.copy(), high.copy()
    while (is_open := low < high).any():
        middle = (low + high) // 2
        is_before = ts[np.minimum(middle, ts.size - 1)] < time
        low = np.where(is_open & is_before, middle + 1, low)
        high = np.where(is_open & ~is_before, middle, high)
    return low
