"""Sums over all users: the same however the users are cut into buckets, and never of what comes later."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from feature_logs import DAY, MICROSECOND, Event, as_frame, cutoff_in, make_catalogue

from ecbehave.inputs import market
from ecbehave.inputs.facts import LogFacts
from ecbehave.inputs.market import Market, MarketSums

FACTS = LogFacts(("purchase", "review"), ("item_id", "category", "price", "rating"))
CUTOFF = cutoff_in("UTC")


def sums_of(*cutoffs: datetime, timezone: str = "UTC") -> MarketSums:
    return make_catalogue(FACTS, timezone).market_sums(cutoffs or [CUTOFF])


def market_of(log: list[Event], *cutoffs: datetime, timezone: str = "UTC") -> Market:
    sums = sums_of(*cutoffs, timezone=timezone)
    sums.add(sums.partial(as_frame(log)))
    return sums.market()


def event(ts: datetime, item: str | None = "i", **values: Any) -> Event:
    return {"user_id": "u", "event_type": "purchase", "ts": ts, "item_id": item} | values


def test_an_item_counts_in_the_longest_window_and_in_the_one_before() -> None:
    """The longest one is of 28 days."""
    ages = [MICROSECOND, 28 * DAY, 28 * DAY + MICROSECOND, 56 * DAY, 56 * DAY + MICROSECOND, timedelta(0)]
    log = [event(CUTOFF - age) for age in ages] + [event(CUTOFF - DAY, None)]
    earlier = CUTOFF - 28 * DAY
    known = market_of(log, CUTOFF, earlier)
    items = pl.Series(["never seen", "i"])
    for cutoff, expected in ((CUTOFF, ([0, 2], [0, 2])), (earlier, ([0, 2], [0, 1]))):
        n, before = known.counts(items, cutoff)
        assert (n.tolist(), before.tolist()) == expected


def means(known: Market, months: list[tuple[int, int]], names: list[str], codes: list[int]) -> list[Any]:
    found = known.prices.known(
        pl.Series(names, dtype=pl.String),
        np.array(codes, np.int32),
        np.array([y * 12 + m for y, m in months], np.int64),
    )
    return [None if np.isnan(v) else v / 10_000 for v in found]


def test_the_mean_price_is_that_of_all_earlier_months() -> None:
    prices = [((2023, 12), "c", 1.0), ((2024, 2), "c", 3.0), ((2024, 2), "c", 5.0), ((2024, 2), "d", 9.0)]
    log = [event(datetime(y, m, 5, tzinfo=UTC), category=c, price=p) for (y, m), c, p in prices]
    log += [event(datetime(2024, 3, 1, tzinfo=UTC), category=c, price=100.0) for c in ("c", "d")]
    log += [event(datetime(2024, 1, 1, tzinfo=UTC), category="c"), event(CUTOFF, category=None, price=7.0)]
    known = market_of(log)
    months = [(2023, 12), (2024, 2), (2024, 3), (2024, 3), (2024, 3), (2024, 3)]
    assert means(known, months, ["d", "c", "z"], [1, 1, 1, 0, 2, -1]) == [None, 1, 3, 9, None, None]


def test_months_are_those_of_the_shop() -> None:
    new_year = datetime(2024, 1, 1, tzinfo=UTC)
    log = [event(new_year, category="c", price=1.0), event(new_year + DAY, category="c", price=2.0)]
    assert means(market_of(log), [(2024, 1)], ["c"], [0]) == [None]
    assert means(market_of(log, timezone="America/New_York"), [(2024, 1)], ["c"], [0]) == [1]


def test_nothing_is_known_of_an_empty_log() -> None:
    known = market_of([])
    assert means(known, [(2024, 1)], ["c"], [0]) == [None]
    assert [n.tolist() for n in known.counts(pl.Series(["i"]), CUTOFF)] == [[0], [0]]


@pytest.mark.parametrize("most_pending", [2_000_000, 1])
def test_sums_of_buckets_add_up(monkeypatch: pytest.MonkeyPatch, most_pending: int) -> None:
    monkeypatch.setattr(market, "_MOST_PENDING", most_pending)
    rng = np.random.default_rng(0)
    log = [
        event(
            CUTOFF - int(age) * DAY, f"i{age % 4}", category=f"c{age % 3}", price=float(age), rating=age % 5
        )
        for age in rng.integers(1, 90, 60)
    ]
    whole, sums = market_of(log), sums_of()
    for start in range(0, 60, 7):
        sums.add(sums.partial(as_frame(log[start : start + 7])))
    parts = sums.market()
    assert parts.items.sort("item_id").equals(whole.items.sort("item_id"))
    for a, b in ((parts.prices, whole.prices), (parts.ratings, whole.ratings)):
        assert a.names.equals(b.names)
        for name in ("keys", "total", "n"):
            assert getattr(a, name).tolist() == getattr(b, name).tolist()
    assert max(len(pending) for pending in sums._pending.values()) == (9 if most_pending > 1 else 1)


def test_several_requests_at_one_cutoff_are_counted_once() -> None:
    assert len(sums_of(CUTOFF, CUTOFF).moments) == 1
