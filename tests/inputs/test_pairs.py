"""The table of pairs against a slow and obvious one in plain Python, on random logs."""

import math
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from feature_logs import (
    DAY,
    SESSION_GAP,
    USERS,
    WINDOWS,
    ZONES,
    Event,
    as_frame,
    cutoff_in,
    events,
    known_columns,
    make_catalogue,
    population,
    start_of,
    tables,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from ecbehave.config.task import Candidates
from ecbehave.inputs.facts import LogFacts
from ecbehave.inputs.pairs import Asking, PairTable

TARGETS = ("item_id", "category")
Pair = tuple[str, str]
Row = dict[str, float | None]


def pair_table(log: Sequence[Event], target: str, timezone: str = "UTC", **candidates: Any) -> PairTable:
    facts = LogFacts(tuple(sorted({e["event_type"] for e in log})), known_columns(log))
    return PairTable(facts, target, Candidates(**candidates), tuple(WINDOWS.values()), SESSION_GAP, timezone)


def built(
    table: PairTable,
    log: Sequence[Event],
    cutoffs: Sequence[datetime],
    true_pairs: Sequence[Pair] | None = None,
    parts: Sequence[Sequence[Event]] = (),
) -> list[pl.DataFrame]:
    """The table at each cutoff; the market is summed up from the parts of the log, each with whole users."""
    sums = table.market_sums(cutoffs)
    for part in parts or [log]:
        sums.add(sums.partial(as_frame(part)))
    truth = None
    if true_pairs is not None:
        truth = pl.DataFrame(list(true_pairs), schema=["user_id", table.target], orient="row")
        truth = truth.cast(pl.String)
    return table.tables(as_frame(log), [Asking(population(), truth, c) for c in cutoffs], sums.market())


# The oracle.


def price_of(event: Event) -> float | None:
    """What one piece costs, in 1/10,000 of the currency."""
    if event["price"] is not None:
        return round(event["price"] * 10_000)
    if event["amount"] is not None and event["quantity"]:
        return round(event["amount"] / event["quantity"] * 10_000)
    return None


def mean_price(rows: Sequence[Event]) -> float | None:
    prices = [p for p in map(price_of, rows) if p is not None]
    return sum(prices) / len(prices) / 10_000 if prices else None


def ratio(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else part / whole


class Oracle:
    def __init__(self, table: PairTable, log: Sequence[Event], cutoff: datetime) -> None:
        self.table, self.cutoff, self.zone = table, cutoff, ZoneInfo(table.timezone)
        self.history = [e for e in log if e["ts"] < cutoff]
        self.main = "purchase" if "purchase" in table.facts.event_types else "any"
        self.longest = list(WINDOWS)[-1]

    def of(self, event: str, user: str | None = None, thing: str | None = None) -> list[Event]:
        return [
            e
            for e in self.history
            if event in ("any", e["event_type"])
            and user in (None, e["user_id"])
            and thing in (None, e[self.table.target])
        ]

    def since(self, rows: Sequence[Event], window: str) -> list[Event]:
        if window == "all":
            return list(rows)
        start = start_of(self.cutoff, WINDOWS[window], self.table.timezone)
        return [e for e in rows if e["ts"] >= start]

    def buyers(self, thing: str) -> tuple[int, int]:
        """How many users in the longest window, and in the one before."""
        length, zone = WINDOWS[self.longest], self.table.timezone
        start, before = (start_of(self.cutoff, n * length, zone) for n in (1, 2))
        rows = self.of(self.main, thing=thing)
        now = {e["user_id"] for e in rows if e["ts"] >= start}
        return len(now), len({e["user_id"] for e in rows if before <= e["ts"] < start})

    def pairs(self) -> set[Pair]:
        target, config = self.table.target, self.table.candidates
        start = config.recent and start_of(self.cutoff, config.recent, self.table.timezone)
        found = {
            (e["user_id"], e[target])
            for e in self.history
            if e[target] is not None and (start is None or e["ts"] >= start)
        }
        things = {e[target] for e in self.history if e[target] is not None}
        sold = sorted((-self.buyers(t)[0], t) for t in things if self.buyers(t)[0])
        return found | {(user, t) for user in USERS for _, t in sold[: config.popular]}

    def days_since(self, ts: datetime) -> float:
        return (self.cutoff - ts) / DAY

    def features(self, user: str, thing: str) -> Row:
        name, main, found = self.table.target.removesuffix("_id"), self.main, {}
        windows = [*WINDOWS, "all"]
        types = [main, *(t for t in self.table.facts.event_types if t != main)]
        for event in types:
            rows = self.of(event, user, thing)
            for window in windows:
                found[f"count_{event}_{window}"] = len(self.since(rows, window))
            last = max((e["ts"] for e in rows), default=None)
            found[f"recency_days_{event}_all"] = last and self.days_since(last)
        rows = self.of(main, user, thing)
        days = {w: {self.day(e["ts"]) for e in self.since(rows, w)} for w in windows}
        for window in windows:
            n_all = len(self.since(self.of(main, user), window))
            found[f"user_share_{main}_{window}"] = ratio(len(self.since(rows, window)), n_all)
            found[f"days_{main}_{window}"] = len(days[window])
        found[f"amount_{main}_all"] = sum(e["amount"] or 0 for e in rows)
        times = [e["ts"] for e in rows]
        found[f"tenure_days_{main}_all"] = self.days_since(min(times)) if rows else None
        n_gaps = len(days["all"]) - 1
        gap = (max(times) - min(times)) / DAY / n_gaps if n_gaps > 0 else None
        found[f"interval_days_{main}_all"] = gap
        found[f"overdue_{main}_all"] = None if gap is None else self.days_since(max(times)) / gap
        counts = [len(self.of(main, *pair)) for pair in self.pairs() if pair[0] == user]
        found[f"rank_{main}_all"] = 1 + sum(n > len(rows) for n in counts) if rows else None
        now, before = self.buyers(thing)
        found[f"buyers_{main}_{self.longest}"] = now
        found[f"trend_{main}_{self.longest}"] = ratio(now - before, now + before)
        columns = self.table.facts.columns
        if "price" in columns or {"amount", "quantity"} <= set(columns):
            price = mean_price(self.since(self.of(main, thing=thing), self.longest))
            found[f"price_ratio_{main}_{self.longest}"] = ratio(price, mean_price(self.of(main, user)))
        return {f"{name}_{feature}": value for feature, value in found.items()}

    def day(self, ts: datetime) -> date:
        return ts.astimezone(self.zone).date()


@st.composite
def cases(draw: st.DrawFn) -> tuple[str, list[Event], str, dict[str, Any]]:
    timezone = draw(st.sampled_from(ZONES))
    types = draw(st.sampled_from([["purchase"], ["view"], ["view", "cart"], ["view", "cart", "purchase"]]))
    log = draw(st.lists(events(timezone, types), min_size=1, max_size=25))
    candidates = {
        "recent": draw(st.sampled_from([None, timedelta(hours=12), 7 * DAY, 91 * DAY])),
        "popular": draw(st.integers(0, 3)),
    }
    return timezone, log, draw(st.sampled_from(TARGETS)), candidates


@settings(max_examples=40, deadline=None, derandomize=True)
@given(cases())
def test_every_feature_of_a_pair_is_what_plain_python_says(
    case: tuple[str, list[Event], str, dict[str, Any]],
) -> None:
    timezone, log, target, candidates = case
    table = pair_table(log, target, timezone, **candidates)
    cutoffs = [cutoff_in(timezone), cutoff_in(timezone) - 9 * DAY]
    for cutoff, found in zip(cutoffs, built(table, log, cutoffs), strict=True):
        oracle = Oracle(table, log, cutoff)
        keys = found.select("user_id", target).rows()
        assert len(keys) == len(set(keys))
        assert set(keys) == oracle.pairs()
        assert found["cutoff"].unique().to_list() in ([], [cutoff])
        thing = target.removesuffix("_id")
        of_pair = [c for c in found.columns if c.startswith(f"{thing}_") and c != "item_id"]
        for key, row in zip(keys, found.select(of_pair).rows(named=True), strict=True):
            expected = oracle.features(*key)
            assert set(row) == set(expected)
            for name, value in expected.items():
                assert row[name] == (value and pytest.approx(value, rel=1e-5)), (key, name)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(cases())
def test_features_of_the_user_are_those_of_the_table_of_users(
    case: tuple[str, list[Event], str, dict[str, Any]],
) -> None:
    timezone, log, target, candidates = case
    table = pair_table(log, target, timezone, **candidates)
    (found,) = built(table, log, [cutoff_in(timezone)])
    facts = LogFacts(table.facts.event_types, table.facts.columns)
    (users,) = tables(make_catalogue(facts, timezone, ["prices"]), log, [cutoff_in(timezone)])
    thing = target.removesuffix("_id")
    names = [c for c in table.schema() if not c.startswith(f"{thing}_")]
    assert {"count", "days", "recency", "tenure", "items", "categories", "repeat"} <= {
        n.split("_")[0] for n in names
    }
    expected = found.select("user_id").join(
        users.select("user_id", *names), on="user_id", maintain_order="left"
    )
    assert found.select("user_id", *names).equals(expected)
    assert list(table.schema().items()) == list(found.schema.items())[4:]


# What does not change it.


@settings(max_examples=40, deadline=None, derandomize=True)
@given(cases(), st.randoms())
def test_neither_order_nor_buckets_nor_the_future_change_it(
    case: tuple[str, list[Event], str, dict[str, Any]], random: Any
) -> None:
    timezone, log, target, candidates = case
    table, cutoff = pair_table(log, target, timezone, **candidates), cutoff_in(timezone)
    (found,) = built(table, log, [cutoff])
    shuffled = random.sample(log, len(log))
    later = [e | {"ts": cutoff + random.choice([0, 1, 9]) * DAY, "item_id": "i9"} for e in shuffled]
    by_user = [[e for e in shuffled + later if e["user_id"] == u] for u in USERS]
    (other,) = built(table, shuffled + later, [cutoff], parts=by_user)
    assert found.equals(other)
    alone = [built(table, log, [c])[0] for c in (cutoff, cutoff - DAY)]
    assert all(a.equals(b) for a, b in zip(alone, built(table, log, [cutoff, cutoff - DAY]), strict=True))


# Candidates and labels.


def event(user: str, item: str | None, days_ago: float, kind: str = "purchase", **values: Any) -> Event:
    about = {"user_id": user, "item_id": item, "ts": cutoff_in("UTC") - days_ago * DAY, "event_type": kind}
    nothing = dict.fromkeys(("category", "order_id", "price", "quantity", "amount"))
    return nothing | about | values


LOG = [
    event("u1", "i1", 1),
    event("u1", "i2", 30),
    event("u1", None, 1),
    event("u2", "i3", 2, "view"),
    event("u2", "i1", 3),
    event("u3", "i4", 27),
    event("u1", "i5", 0),
]


def asked(log: Sequence[Event], target: str = "item_id", **candidates: Any) -> set[Pair]:
    (found,) = built(pair_table(log, target, **candidates), log, [cutoff_in("UTC")])
    return set(found.select("user_id", target).rows())


def test_a_candidate_is_what_the_user_had_any_event_with_lately() -> None:
    lately = {("u1", "i1"), ("u2", "i3"), ("u2", "i1")}
    assert asked(LOG, recent=7 * DAY) == lately
    assert asked(LOG, recent=91 * DAY) == asked(LOG, recent=None) == lately | {("u1", "i2"), ("u3", "i4")}


@pytest.mark.parametrize("timezone", ["UTC", "Europe/Berlin"])
def test_the_recent_window_begins_with_its_first_moment(timezone: str) -> None:
    """By the shop's calendar: clocks changed in Berlin within these seven days."""
    cutoff, edge = cutoff_in(timezone), start_of(cutoff_in(timezone), 7 * DAY, timezone)
    log = [
        event("u1", "at the edge", 0, ts=edge),
        event("u1", "before", 0, ts=edge - timedelta(microseconds=1)),
        event("u1", "last moment", 0, ts=cutoff - timedelta(microseconds=1)),
        event("u1", "at the cutoff", 0, ts=cutoff),
    ]
    (found,) = built(pair_table(log, "item_id", timezone, recent=7 * DAY), log, [cutoff])
    assert found["item_id"].to_list() == ["at the edge", "last moment"]


def test_popular_is_what_most_users_bought_in_the_longest_window() -> None:
    """i1 has two buyers; of i4 and others with one, i4 is the first by the alphabet, since i2 is too old."""
    everybody = set(USERS)
    own = asked(LOG, recent=7 * DAY)
    assert asked(LOG, recent=7 * DAY, popular=1) == own | {(u, "i1") for u in everybody}
    both = {(u, i) for u in everybody for i in ("i1", "i4")}
    assert asked(LOG, recent=7 * DAY, popular=2) == own | both
    assert asked(LOG, recent=7 * DAY, popular=99) == own | both, "nobody bought i3"


def test_a_true_pair_is_labelled_where_it_was_asked() -> None:
    table = pair_table(LOG, "item_id", recent=7 * DAY)
    true = [("u1", "i1"), ("u2", "i9"), ("u3", "i4")]
    (found,) = built(table, LOG, [cutoff_in("UTC")], true_pairs=true)
    labels = {(u, i): y for u, i, y in found.select("user_id", "item_id", "label").rows()}
    assert labels == {("u1", "i1"): 1, ("u2", "i1"): 0, ("u2", "i3"): 0}
    assert found.schema["label"] == pl.Int8


def test_rows_come_in_the_order_of_their_keys() -> None:
    (found,) = built(pair_table(LOG, "item_id", popular=3), LOG, [cutoff_in("UTC")])
    keys = ["user_hash", "user_id", "item_id"]
    assert found.columns[:4] == ["user_hash", "user_id", "cutoff", "item_id"]
    assert found.select(keys).equals(found.select(keys).sort(keys))


def test_what_is_not_known_of_a_pair_is_null_or_zero() -> None:
    """A popular item that the user never had anything to do with."""
    (found,) = built(pair_table(LOG, "item_id", popular=1), LOG, [cutoff_in("UTC")])
    row = found.filter(pl.col("user_id") == "u3", pl.col("item_id") == "i1").row(0, named=True)
    assert row["item_count_purchase_all"] == row["item_amount_purchase_all"] == 0
    assert row["item_buyers_purchase_28d"] == 2
    for name in ("recency_days", "tenure_days", "interval_days", "overdue", "rank"):
        assert row[f"item_{name}_purchase_all"] is None
    assert row["item_user_share_purchase_all"] == 0
    assert row["item_user_share_purchase_7d"] is None, "u3 bought nothing at all"


def test_a_log_without_prices_has_no_price_ratio_and_says_so() -> None:
    table = pair_table([event("u1", "i1", 1)], "item_id")
    assert not [name for name in table.schema() if "price" in name]
    assert list(table.left_out()) == ["prices"]
    assert (
        "item_price_ratio_purchase_28d" in pair_table([event("u1", "i1", 1, price=2.0)], "item_id").schema()
    )


def test_a_pair_is_due_by_its_own_rhythm() -> None:
    """Bought every ten days, last 14.5 days ago; twice on one day is one day."""
    log = [event("u1", "i1", days) for days in (14.5, 14.6, 24.5, 34.5)]
    (found,) = built(pair_table(log, "item_id"), log, [cutoff_in("UTC")])
    row = found.row(0, named=True)
    assert row["item_interval_days_purchase_all"] == pytest.approx(10)
    assert row["item_overdue_purchase_all"] == pytest.approx(1.45)
    assert math.isclose(row["item_days_purchase_all"], 3)
