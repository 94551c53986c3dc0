"""Events as a net reads them: whole numbers in padded batches, gathered from the log.

An instant is all that a user does at one time, such as a basket: its events have no order among them. A net reads
instants one after the other, and each as a whole. B sequences, L events, M instants.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from ecbehave.inputs.types import SequenceInput
from ecbehave.models.deep.vocabulary import Ints, Vocabulary

#: Levels of what grows with the logarithm to the base of 2: of minutes between two events, up to a year; of seconds.
N_GAPS, N_DWELLS, N_SIZES = 21, 17, 12
N_WEEKDAYS, N_HOURS = 7, 24
#: Days within which instants are counted, and within which the events of each type are.
LATELY = (7, 28, 91)
_LATELY_OF_TYPE = 28
#: Days that stand for never.
_NEVER = 1_000.0
_DAY, _MINUTE = 86_400e6, 60e6

T = TypeVar("T")


@dataclass(frozen=True)
class Span:
    """Which events of which users, as of when: N sequences of one log or several, of whole instants."""

    part: Ints
    """[N] number of the input in `Reader.parts`."""
    first: Ints
    """[N] where the user's history begins in the log."""
    start: Ints
    """[N] where the sequence begins."""
    end: Ints
    """[N] where it ends."""
    now: Ints
    """[N] microseconds."""
    n_instants: Ints
    """[N]"""

    def __len__(self) -> int:
        return self.part.size

    @classmethod
    def concat(cls, spans: Sequence["Span"]) -> "Span":
        """Put sequences together."""
        return cls(
            *(np.concatenate(columns) for columns in zip(*(vars(s).values() for s in spans), strict=True))
        )

    def take(self, rows: Ints | NDArray[np.bool_]) -> "Span":
        """Return some of the sequences."""
        return Span(*(column[rows] for column in vars(self).values()))


@dataclass(frozen=True)
class Tokens:
    """A batch of sequences, those of fewer events or instants at the left; numbers are 0 where there is none."""

    item: torch.Tensor
    """[B, L] embedding row, as are the next four."""
    category: torch.Tensor
    event_type: torch.Tensor
    price: torch.Tensor
    dwell: torch.Tensor
    instant: torch.Tensor
    """[B, L] number of the event's instant, from 0; after the end, that of the last one."""
    n_events: torch.Tensor
    """[B, M] of each instant."""
    size: torch.Tensor
    """[B, M] level of the number of events, as are the next three."""
    gap: torch.Tensor
    """[B, M] of the time since the instant before; 0 where there is none before."""
    weekday: torch.Tensor
    hour: torch.Tensor
    when: torch.Tensor
    """[B, M] days before the instant as of which is asked."""
    n_instants: torch.Tensor
    """[B]"""
    query: torch.Tensor
    """[B, Q] of the whole history, see `Reader.query`; [B, 0] where it is not wanted."""

    def to(self, device: torch.device) -> "Tokens":
        """Return the same on a device."""
        return self if device.type == "cpu" else Tokens(*(x.to(device) for x in vars(self).values()))

    def take(self, rows: torch.Tensor, query: torch.Tensor) -> "Tokens":
        """Return some of the sequences, or one several times, with another `query`."""
        return Tokens(**{name: query if name == "query" else x[rows] for name, x in vars(self).items()})


class Reader:
    """Reads sequences from the logs of some inputs, with the numbers of a vocabulary."""

    def __init__(self, vocabulary: Vocabulary, parts: Sequence[SequenceInput]) -> None:
        self.vocabulary, self.parts = vocabulary, parts

    @cached_property
    def _numbers(self) -> list[dict[str, Ints]]:
        """Number in the log to number in the vocabulary, for each part; that of -1, which stands last, is 0."""
        return self._once_per_log(self._numbers_of)

    @cached_property
    def _begins(self) -> list[Ints]:
        """Where instants begin in the log, for each part, and the number of its events."""
        return self._once_per_log(_begins_of)

    def _once_per_log(self, make: Callable[[SequenceInput], T]) -> list[T]:
        made: dict[int, T] = {}
        for part in self.parts:
            if id(part.log) not in made:
                made[id(part.log)] = make(part)
        return [made[id(part.log)] for part in self.parts]

    def _numbers_of(self, part: SequenceInput) -> dict[str, Ints]:
        log, known = part.log, self.vocabulary
        names = log.items if part.target == "item" else log.categories
        found = {
            "item": known.rows_of(names),
            "category": known.numbers_of(known.categories, log.categories),
            "event_type": known.numbers_of(known.event_types, log.event_types),
            "class": known.numbers_of(known.item_ids, names),
        }
        return {name: np.append(numbers, 0) for name, numbers in found.items()}

    def instant_of(self, part: int, place: Ints) -> Ints:
        """Return the number of the instant of an event, counted over the whole log."""
        return np.searchsorted(self._begins[part], place, side="right") - 1

    def histories(self, part: int, rows: Ints, length: int) -> Span:
        """Return the newest events of some users.

        Args:
            part: number of the input.
            rows: [N] of users in its log, who have a history.
            length: most instants.
        """
        data = self.parts[part]
        first, end = data.starts[rows], data.ends[rows]
        last = self.instant_of(part, end - 1)
        oldest = np.maximum(self.instant_of(part, first), last - length + 1)
        return self.between(part, rows, oldest, last)

    def newest(self, part: int, users: pl.Series, length: int) -> tuple[Span, NDArray[np.bool_]]:
        """Return the newest events of those users [N] who have any; and who has [N]."""
        data = self.parts[part]
        rows = data.rows(users)
        has_any = rows >= 0
        has_any[has_any] = (data.ends - data.starts)[rows[has_any]] > 0
        return self.histories(part, rows[has_any], length), has_any

    def between(self, part: int, rows: Ints, oldest: Ints, newest: Ints) -> Span:
        """Return events from one instant of a user to another, both included.

        Args:
            part: number of the input.
            rows: [N] of users in its log.
            oldest: [N] numbers of instants, as `instant_of` gives them.
            newest: [N]
        """
        data, begins = self.parts[part], self._begins[part]
        whose = np.full(rows.size, part)
        return Span(
            whose, data.starts[rows], begins[oldest], begins[newest + 1], data.now[rows], newest - oldest + 1
        )

    def tokens(self, span: Span, n_instants: int | None = None, *, has_query: bool = True) -> Tokens:
        """Gather a batch.

        Args:
            span: B sequences, none of them empty.
            n_instants: M; by default that of the longest sequence.
            has_query: whether what is known of whole histories is wanted, which only labels are told by.
        """
        shape = (
            int((span.end - span.start).max()),
            int(span.n_instants.max()) if n_instants is None else n_instants,
        )
        parts = np.unique(span.part)
        if parts.size == 1:
            arrays = self._arrays(int(parts[0]), span, *shape, has_query=has_query)
        else:
            arrays = {}
            for part in parts:
                own = span.part == part
                of_part = self._arrays(int(part), span.take(own), *shape, has_query=has_query)
                for name, values in of_part.items():
                    whole = arrays.setdefault(name, np.zeros((len(span), *values.shape[1:]), values.dtype))
                    whole[own] = values
        # Copied, since memory of numpy may begin anywhere, and sums can depend on where.
        made = {name: torch.from_numpy(values).clone() for name, values in arrays.items()}
        return Tokens(**made, n_instants=torch.from_numpy(span.n_instants).clone())

    def _arrays(
        self, part: int, span: Span, n_events: int, n_instants: int, *, has_query: bool
    ) -> dict[str, NDArray[Any]]:
        return {
            **self._of_events(part, span, n_events),
            **self._of_instants(part, span, n_instants),
            "query": self.query(part, span) if has_query else np.zeros((len(span), 0), np.float32),
        }

    def query(self, part: int, span: Span) -> NDArray[np.float32]:
        """Return what is known of whole histories [N, Q], as logarithms; see `n_query`.

        These are the days since the last event and since the first one, the number of events, and the number of
        instants in the last days (`LATELY`); where there are several types of events, of each type the days since the
        last one, the number, and the number in the last 28 days.
        """
        log = self.parts[part].log
        last, oldest = log.ts[span.end - 1], log.ts[span.first]
        since_end = self.instant_of(part, span.end - 1) + 1
        known = [(span.now - last) / _DAY, (span.now - oldest) / _DAY, span.end - span.first]
        known += [since_end - self._first_since(part, span, span.now - int(days * _DAY)) for days in LATELY]
        if n_query(self.vocabulary) > len(known):
            known += self._by_type(part, span)
        return np.log1p(np.maximum(np.column_stack(known), 0)).astype(np.float32)

    def _by_type(self, part: int, span: Span) -> list[NDArray[Any]]:
        ts, begins = self.parts[part].log.ts, self._begins[part]
        recent = begins[self._first_since(part, span, span.now - int(_LATELY_OF_TYPE * _DAY))]
        found: list[NDArray[Any]] = []
        for places in self._types[part]:
            before, at_recent, at_end = (
                np.searchsorted(places, edge)
                for edge in (span.first, np.maximum(recent, span.first), span.end)
            )
            n_events = at_end - before
            last = places[np.maximum(at_end - 1, 0)] if places.size else np.zeros_like(at_end)
            days = np.where(n_events > 0, (span.now - ts[last]) / _DAY, _NEVER)
            found += [days, n_events, at_end - np.minimum(at_recent, at_end)]
        return found

    def types_of(self, part: int) -> list[Ints]:
        """Return where the events of each type of the vocabulary are in the log."""
        return self._types[part]

    @cached_property
    def _types(self) -> list[list[Ints]]:
        """Where the events of each type of the vocabulary are in the log, for each part."""
        return self._once_per_log(self._types_of)

    def _types_of(self, part: SequenceInput) -> list[Ints]:
        number = self.vocabulary.numbers_of(self.vocabulary.event_types, part.log.event_types)
        own = number[part.log.event_type]
        return [np.flatnonzero(own == n + 1) for n in range(len(self.vocabulary.event_types))]

    def _first_since(self, part: int, span: Span, since: Ints) -> Ints:
        """Return the number of each history's first instant at or after some time [N]: all are halved at once."""
        ts, begins = self.parts[part].log.ts, self._begins[part]
        low, high = self.instant_of(part, span.first), self.instant_of(part, span.end - 1) + 1
        while (is_open := low < high).any():
            middle = (low + high) // 2
            is_before = ts[begins[np.minimum(middle, begins.size - 2)]] < since
            low = np.where(is_open & is_before, middle + 1, low)
            high = np.where(is_open & ~is_before, middle, high)
        return low

    def _of_events(self, part: int, span: Span, n_events: int) -> dict[str, NDArray[Any]]:
        log, numbers = self.parts[part].log, self._numbers[part]
        place, is_there = self._places(span, n_events)
        codes = log.item if self.parts[part].target == "item" else log.category
        price, dwell, edges = log.price[place], log.dwell[place], self.vocabulary.price_edges
        found = {
            "item": numbers["item"][codes[place]],
            "category": numbers["category"][log.category[place]],
            "event_type": numbers["event_type"][log.event_type[place]],
            "price": np.where(np.isnan(price), 0, 1 + np.searchsorted(edges, price, side="right")),
            "dwell": np.where(np.isnan(dwell), 0, 1 + _level(np.nan_to_num(dwell), N_DWELLS - 2)),
        }
        for values in found.values():
            values[~is_there] = 0
        instant = self.instant_of(part, place) - self.instant_of(part, span.start)[:, None]
        return {**found, "instant": instant}

    def _of_instants(self, part: int, span: Span, n_instants: int) -> dict[str, NDArray[Any]]:
        log, begins = self.parts[part].log, self._begins[part]
        at = np.arange(n_instants)
        is_there = at < span.n_instants[:, None]
        number = self.instant_of(part, span.start)[:, None] + np.minimum(at, span.n_instants[:, None] - 1)
        place, n_events = begins[number], begins[number + 1] - begins[number]
        ts, has_before = log.ts[place], place > span.first[:, None]
        before = log.ts[np.where(has_before, place - 1, place)]
        hour = log.hour[place].astype(np.int64)
        found = {
            "n_events": n_events,
            "size": _level(n_events, N_SIZES - 1),
            "gap": np.where(has_before, 1 + _level((ts - before) / _MINUTE, N_GAPS - 2), 0),
            "weekday": hour // N_HOURS,
            "hour": hour % N_HOURS,
        }
        for values in found.values():
            values[~is_there] = 0
        return {**found, "when": (np.maximum(span.now[:, None] - ts, 0) / _DAY).astype(np.float32)}

    def follows(self, span: Span) -> "Follows":
        """Return what follows what in a batch of sequences of one part."""
        part = int(span.part[0])
        log, numbers = self.parts[part].log, self._numbers[part]
        place, is_there = self._places(span, int((span.end - span.start).max()))
        codes = log.item if self.parts[part].target == "item" else log.category
        instant = self.instant_of(part, place) - self.instant_of(part, span.start)[:, None]
        item = numbers["class"][codes[place]] - 1
        row, column = np.nonzero(is_there & (instant > 0) & (item >= 0))
        return Follows(
            row * int(span.n_instants.max()) + instant[row, column] - 1,
            item[row, column],
            numbers["event_type"][log.event_type[place[row, column]]],
        )

    def _places(self, span: Span, n_events: int) -> tuple[Ints, NDArray[np.bool_]]:
        """Return where events [B, L] are in the log, and which of them there are; the others repeat the last one."""
        place = span.start[:, None] + np.arange(n_events)
        return np.minimum(place, span.end[:, None] - 1), place < span.end[:, None]


@dataclass(frozen=True)
class Follows:
    """Which items come at the instant after which: T pairs of an instant and an item."""

    position: Ints
    """[T] of the instant in the batch: sequence x M + number."""
    item: Ints
    """[T] number in the vocabulary's items, from 0."""
    event_type: Ints
    """[T] number of the event type of what follows."""


def n_query(known: Vocabulary) -> int:
    """Return how many numbers are known of a whole history; see `Reader.query`."""
    n_types = len(known.event_types)
    return 3 + len(LATELY) + (3 * n_types if n_types > 1 else 0)


def _begins_of(part: SequenceInput) -> Ints:
    log = part.log
    is_first = np.ones(log.n_events, bool)
    is_first[1:] = log.ts[1:] != log.ts[:-1]
    is_first[log.offsets[:-1][np.diff(log.offsets) > 0]] = True
    return np.append(np.flatnonzero(is_first), log.n_events)


def _level(amount: NDArray[Any], most: int) -> Ints:
    """Return the logarithm of 1 + an amount to the base of 2, as a whole number from 0 to `most`."""
    level: Ints = np.minimum(np.log2(1 + amount), most).astype(np.int64)
    return level
