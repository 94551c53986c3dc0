"""Batches of events, each number against what the log says, one event after the other."""

import math
from dataclasses import replace
from itertools import groupby, pairwise
from typing import Any

import numpy as np
import polars as pl
import torch
from planted import CUTOFF, Event, event_log, known_before

from ecbehave.models.deep.tokens import N_DWELLS, N_GAPS, N_SIZES, Reader, Span, n_query
from ecbehave.models.deep.vocabulary import Vocabulary

CATEGORIES = {f"i{n}": "even" if n % 2 == 0 else "odd" for n in range(9)}


def events(n_users: int = 6, seed: int = 0) -> list[Event]:
    rng = np.random.default_rng(seed)
    made: list[Event] = []
    for user in range(n_users):
        for _ in range(int(rng.integers(2, 9))):
            item = None if rng.random() < 0.2 else f"i{rng.integers(9)}"
            made.append((user, item, str(rng.choice(["view", "cart"])), float(rng.integers(1, 400)) / 4))
        made.append((user, "i0", "purchase", -1.0))
    return made


def reader(target: Any = "item") -> Reader:
    log = event_log(events(), CATEGORIES)
    dwell = np.where(np.arange(log.n_events) % 3 == 0, np.nan, np.arange(log.n_events) * 7).astype(np.float32)
    data = known_before(replace(log, dwell=dwell), target=target)
    return Reader(Vocabulary.of(data, 2, 3), [data])


def instants_of(read: Reader, user: int) -> list[list[int]]:
    """Slow: places in the log of the events of each instant of a user's history, the oldest first."""
    data = read.parts[0]
    places = range(int(data.starts[user]), int(data.ends[user]))
    return [list(own) for _, own in groupby(places, key=lambda at: int(data.log.ts[at]))]


def test_every_number_of_every_event():
    read = reader()
    log, known = read.parts[0].log, read.vocabulary
    found = read.tokens(read.histories(0, np.arange(6), length=4))
    for row in range(6):
        newest = instants_of(read, row)[-4:]
        numbered = [(number, at) for number, own in enumerate(newest) for at in own]
        for column in range(found.item.shape[1]):
            names = ("item", "category", "event_type", "price", "dwell")
            got = {name: getattr(found, name)[row, column].item() for name in names}
            if column >= len(numbered):
                assert set(got.values()) == {0}
                assert found.instant[row, column] == len(newest) - 1
                continue
            number, at = numbered[column]
            item = log.items[int(log.item[at])] if log.item[at] >= 0 else None
            category = None if item is None else CATEGORIES[item]
            kind, price, seconds = log.event_types[int(log.event_type[at])], log.price[at], log.dwell[at]
            assert found.instant[row, column] == number
            assert got == {
                "item": 0 if item is None else int(known.rows_of(pl.Series([item]))[0]),
                "category": 0 if category is None else 1 + known.categories.to_list().index(category),
                "event_type": 1 + known.event_types.to_list().index(kind),
                "price": 0 if np.isnan(price) else 1 + sum(price >= edge for edge in known.price_edges),
                "dwell": 0 if np.isnan(seconds) else 1 + min(int(math.log2(1 + seconds)), N_DWELLS - 2),
            }


def test_what_is_known_of_whole_histories_can_be_left_out() -> None:
    read = reader()
    span = read.histories(0, np.arange(6), length=4)
    found, bare = read.tokens(span), read.tokens(span, has_query=False)
    assert bare.query.shape == (6, 0)
    for name in vars(found).keys() - {"query"}:
        assert torch.equal(getattr(found, name), getattr(bare, name))


def test_every_number_of_every_instant():
    read = reader()
    log, now = read.parts[0].log, CUTOFF.timestamp() * 1e6
    found = read.tokens(read.histories(0, np.arange(6), length=4), n_instants=5)
    assert found.gap.shape == (6, 5)
    for row in range(6):
        whole = instants_of(read, row)
        newest = whole[-4:]
        assert found.n_instants[row] == len(newest)
        for column in range(5):
            names = ("n_events", "size", "gap", "weekday", "hour")
            got = {name: getattr(found, name)[row, column].item() for name in names}
            if column >= len(newest):
                assert set(got.values()) == {0}
                continue
            own = newest[column]
            before = whole[whole.index(own) - 1][0] if whole.index(own) else None
            minutes = None if before is None else (log.ts[own[0]] - log.ts[before]) / 60e6
            assert got == {
                "n_events": len(own),
                "size": min(int(math.log2(1 + len(own))), N_SIZES - 1),
                "gap": 0 if minutes is None else 1 + min(int(math.log2(1 + minutes)), N_GAPS - 2),
                "weekday": int(log.hour[own[0]]) // 24,
                "hour": int(log.hour[own[0]]) % 24,
            }
            assert math.isclose(
                found.when[row, column].item(), (now - log.ts[own[0]]) / 86_400e6, rel_tol=1e-6
            )


def test_what_is_known_of_the_whole_history():
    read = reader()
    found = read.tokens(read.histories(0, np.arange(6), length=1)).query
    day, now, log = 86_400e6, CUTOFF.timestamp() * 1e6, read.parts[0].log
    for user in range(6):
        instants = instants_of(read, user)
        days = [(now - log.ts[own[0]]) / day for own in instants]
        lately = [sum(d <= within for d in days) for within in (7, 28, 91)]
        expected = [days[-1], days[0], sum(map(len, instants)), *lately]
        ages = [
            (log.event_types[int(log.event_type[at])], (now - log.ts[at]) / day)
            for own in instants
            for at in own
        ]
        for kind in ("cart", "view"):
            own_days = [age for other, age in ages if other == kind]
            expected += [min(own_days, default=1000), len(own_days), sum(age <= 28 for age in own_days)]
        assert np.allclose(found[user], np.log1p(expected), rtol=1e-6)


def test_of_a_single_type_no_more_is_known_than_of_all():
    data = known_before(event_log([(0, "i1", "view", 1.0), (0, "i2", "view", 1.0)], CATEGORIES))
    known = Vocabulary.of(data, 1, 0)
    read = Reader(known, [data])
    assert read.tokens(read.histories(0, np.array([0]), 9)).query.shape == (1, n_query(known)) == (1, 6)


def test_a_type_that_a_later_log_has_not():
    known = Vocabulary.of(
        known_before(event_log([(0, "i1", "view", 1.0), (0, "i1", "cart", 1.0)], CATEGORIES)), 1, 0
    )
    read = Reader(known, [known_before(event_log([(0, "i1", "view", 1.0)], CATEGORIES))])
    found = read.tokens(read.histories(0, np.array([0]), 9)).query[0, 6:]
    assert np.allclose(found, np.log1p([1000, 0, 0, 1, 1, 1]))


def test_an_unknown_name_is_nothing():
    known = Vocabulary.of(known_before(event_log([(0, "i1", "view", 1.0)], CATEGORIES)), 1, 0)
    data = known_before(event_log([(0, "i2", "cart", 1.0)], CATEGORIES))
    found = Reader(known, [data]).tokens(Reader(known, [data]).histories(0, np.array([0]), 9))
    assert (found.item.item(), found.category.item(), found.event_type.item()) == (0, 0, 0)


def test_sequences_of_several_inputs_in_one_batch():
    first, second = reader(), known_before(event_log(events(seed=1), CATEGORIES))
    both = Reader(first.vocabulary, [first.parts[0], second])
    users = np.arange(3)
    spans = [both.histories(n, users, 5) for n in (0, 1)]
    mixed = Span.concat(spans)
    order = np.array([3, 0, 4, 1, 5, 2])
    found = both.tokens(mixed.take(order), 5)
    n_events = int(max((span.end - span.start).max() for span in spans))
    alone = [both.tokens(span, 5) for span in spans]
    for name in vars(found):
        for n, row in enumerate(order):
            own, expected = getattr(found, name)[n], getattr(alone[row // 3], name)[row % 3]
            if own.ndim and own.numel() == n_events != expected.numel():
                own = own[: expected.numel()]
            assert (own == expected).all(), name


def follows(read: Reader, users: range) -> set[tuple[int, int, str, str]]:
    """Slow: sequence, number of an instant, item of the next instant, its event type."""
    data, log = read.parts[0], read.parts[0].log
    names, codes = (log.items, log.item) if data.target == "item" else (log.categories, log.category)
    found = set()
    for user in users:
        for number, (_, after) in enumerate(pairwise(instants_of(read, user)[-6:])):
            for at in after:
                if codes[at] >= 0:
                    kind = log.event_types[int(log.event_type[at])]
                    found.add((user, number, names[int(codes[at])], kind))
    return found


def test_what_comes_at_the_next_instant():
    for target in ("item", "category"):
        read = reader(target)
        span = read.histories(0, np.arange(6), length=6)
        found, width = read.follows(span), int(span.n_instants.max())
        types = read.vocabulary.event_types
        got = {
            (int(p) // width, int(p) % width, read.vocabulary.item_ids[int(i)], types[int(t) - 1])
            for p, i, t in zip(found.position, found.item, found.event_type, strict=True)
        }
        assert got == follows(read, range(6))
        assert len(got) > 10


def test_a_basket_is_followed_as_a_whole():
    log = event_log(
        [(0, "i1", "view", 3.0), *((0, f"i{n}", "view", 2.0) for n in (2, 3)), (0, "i4", "view", 1.0)]
    )
    data = known_before(log)
    read = Reader(Vocabulary.of(data, 1, 0), [data])
    found = read.follows(read.histories(0, np.array([0]), 9))
    pairs = sorted(
        zip(found.position.tolist(), read.vocabulary.item_ids.gather(found.item).to_list(), strict=True)
    )
    assert pairs == [(0, "i2"), (0, "i3"), (1, "i4")]
