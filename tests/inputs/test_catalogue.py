"""Every group of the catalogue against a slow oracle in plain Python: dicts and loops, no polars."""

import itertools
import math
import random
import statistics
from calendar import monthrange
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from feature_logs import (
    DAY,
    GROUPS,
    MICROSECOND,
    MINUTE,
    OPTIONAL,
    SESSION_GAP,
    USERS,
    WINDOWS,
    ZONES,
    Event,
    Row,
    cutoff_in,
    events,
    known_columns,
    make_catalogue,
    start_of,
    tables,
    without,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from ecbehave.inputs.catalogue import GROUPS as ALL_GROUPS
from ecbehave.inputs.facts import LogFacts
from ecbehave.inputs.feature_names import MEASURES, FeatureName
from ecbehave.schema import TS

TYPES = ["purchase", "view", "cart", "remove", "search", "click", "return", "wish"]

# The oracle.


def share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def trend(now: float | None, before: float | None) -> float | None:
    return None if now is None or before is None else share(now - before, now + before)


@dataclass
class Case:
    """One user's history, and what is around it."""

    log: list[Event]
    """Of all users, before the cutoff."""
    user: str
    facts: LogFacts
    timezone: str
    users: Sequence[dict[str, Any]]

    def __post_init__(self) -> None:
        self.cutoff = cutoff_in(self.timezone)
        self.mine = sorted((e for e in self.log if e["user_id"] == self.user), key=lambda e: e["ts"])
        self.main = "purchase" if "purchase" in self.facts.event_types else "any"
        self.starts = {w: start_of(self.cutoff, n, self.timezone) for w, n in WINDOWS.items()}
        self.starts["all"] = datetime.min.replace(tzinfo=UTC)
        self.before = {w: start_of(self.cutoff, 2 * n, self.timezone) for w, n in WINDOWS.items()}

    def of(self, event: str) -> list[Event]:
        return [e for e in self.mine if event in ("any", e["event_type"])]

    def has(self, *columns: str) -> bool:
        return all(c in self.facts.columns for c in columns)

    def local(self, ts: datetime) -> datetime:
        return ts.astimezone(ZoneInfo(self.timezone))

    def per_window(self, pattern: str, value: Callable[[datetime], Any]) -> Row:
        return {pattern.format(w): value(start) for w, start in self.starts.items()}


def n_since(times: Iterable[datetime], start: datetime) -> int:
    return sum(t >= start for t in times)


def since(rows: Sequence[Event], start: datetime) -> list[Event]:
    return [e for e in rows if e["ts"] >= start]


def sessions_of(case: Case) -> list[list[Event]]:
    by_id: dict[str, list[Event]] = defaultdict(list)
    loose: list[list[Event]] = []
    for event in case.mine:
        if event["session_id"] is not None:
            by_id[event["session_id"]].append(event)
        elif loose and event["ts"] - loose[-1][-1]["ts"] <= SESSION_GAP:
            loose[-1].append(event)
        else:
            loose.append([event])
    return [*by_id.values(), *loose]


def orders_of(case: Case) -> list[list[Event]]:
    orders: dict[Any, list[Event]] = defaultdict(list)
    for event in case.of("purchase"):
        orders[event["order_id"] or event["ts"]].append(event)
    return list(orders.values())


def sessions(case: Case) -> Row:
    found = sessions_of(case)
    first = [s[0]["ts"] for s in found]
    second = [s[1]["ts"] for s in found if len(s) > 1]
    new_items: list[datetime] = []
    spent: list[tuple[datetime, float]] = []
    for session in found:
        seen = set()
        for event in session:
            if event["item_id"] not in (None, *seen):
                seen.add(event["item_id"])
                new_items.append(event["ts"])
        spent += [
            (b["ts"], (b["ts"] - a["ts"]) // timedelta(milliseconds=1) / 1000)
            for a, b in itertools.pairwise(session)
        ]
    if case.has("dwell_seconds"):
        spent = [(e["ts"], e["dwell_seconds"] or 0) for e in case.mine]
    row: Row = {}
    for window, start in case.starts.items():
        n, seconds = n_since(first, start), sum(s for t, s in spent if t >= start)
        bounces = share(n - n_since(second, start), n)
        row |= {
            f"sessions_any_{window}": n,
            f"dwell_seconds_any_{window}": seconds,
            f"session_seconds_any_{window}": share(seconds, n),
            f"session_events_any_{window}": share(len(since(case.mine, start)), n),
            f"path_items_any_{window}": share(n_since(new_items, start), n),
            f"bounce_share_any_{window}": None if bounces is None else max(bounces, 0),
        }
        if window != "all":
            both = n_since(first, case.before[window])
            row[f"session_trend_any_{window}"] = trend(n, both - n)
    return row


def rhythm(case: Case) -> Row:
    row: Row = {}
    for window, start in case.starts.items():
        local = [case.local(e["ts"]) for e in since(case.mine, start)]
        for i, quarter in enumerate(("night", "morning", "afternoon", "evening")):
            row[f"{quarter}_share_any_{window}"] = share(sum(t.hour // 6 == i for t in local), len(local))
        row[f"weekend_share_any_{window}"] = share(sum(t.isoweekday() > 5 for t in local), len(local))
    return row


def depth(case: Case) -> Row:
    last = max((e["ts"] for e in case.of("purchase")), default=datetime.min.replace(tzinfo=UTC))
    counted = {
        "depth_{}_view_all": [e["ts"] for e in case.of("view")],
        "visits_{}_any_all": [s[0]["ts"] for s in sessions_of(case)],
    }
    row: Row = {}
    for pattern, times in counted.items():
        row[pattern.format("now")] = sum(t > last for t in times)
        row[pattern.format("usual")] = share(sum(t <= last for t in times), len(orders_of(case)))
    return row


def baskets(case: Case) -> Row:
    orders, rows = orders_of(case), case.of("purchase")
    amounts = [sum(e["amount"] or 0 for e in order) for order in orders]
    sizes = [len(order) for order in orders]
    row: Row = {
        "basket_spread_purchase_all": statistics.stdev(amounts) if len(orders) > 1 else None,
        "size_spread_purchase_all": statistics.stdev(sizes) if len(orders) > 1 else None,
    }
    for window, start in case.starts.items():
        n, recent = n_since((o[0]["ts"] for o in orders), start), since(rows, start)
        row[f"basket_size_purchase_{window}"] = share(len(recent), n)
        if window != "all":
            per_order = share(sum(e["amount"] or 0 for e in recent), n)
            row[f"basket_trend_purchase_{window}"] = trend(per_order, share(sum(amounts), len(orders)))
            row[f"size_trend_purchase_{window}"] = trend(share(len(recent), n), share(len(rows), len(orders)))
    return row


def price_of(event: Event) -> float | None:
    if event["price"] is not None:
        return float(event["price"])
    if event["amount"] is None or not event["quantity"]:
        return None
    return round(event["amount"] / event["quantity"], 4)


def prices(case: Case) -> Row:
    def mean(start: datetime) -> float | None:
        found = [p for e in since(case.of(case.main), start) if (p := price_of(e)) is not None]
        return statistics.mean(found) if found else None

    return case.per_window(f"price_mean_{case.main}_{{}}", mean)


def usual_before(
    case: Case, event: Event, rows: Iterable[Event], key: str, value: Callable[[Event], float | None]
) -> float | None:
    """The mean of all users' rows with the same key in the months before the event's."""
    if event[key] is None:
        return None
    month = case.local(event["ts"]).strftime("%Y-%m")
    earlier = [
        v
        for e in rows
        if e[key] == event[key]
        and case.local(e["ts"]).strftime("%Y-%m") < month
        and (v := value(e)) is not None
    ]
    return statistics.mean(earlier) if earlier else None


def price_level(case: Case) -> Row:
    market = [e for e in case.log if case.main in ("any", e["event_type"])]

    def level(start: datetime) -> float | None:
        ratios = []
        for event in since(case.of(case.main), start):
            price, usual = price_of(event), usual_before(case, event, market, "category", price_of)
            if price is not None and usual:
                ratios.append(price / usual)
        return statistics.mean(ratios) if ratios else None

    return case.per_window(f"price_level_{case.main}_{{}}", level)


def savings(case: Case, column: str) -> Row:
    row: Row = {}
    for window, start in case.starts.items():
        recent = since(case.of(case.main), start)
        saved = sum(e[column] or 0 for e in recent)
        full = sum((e["amount"] or 0) + (e["discount"] or 0) + (e["coupon"] or 0) for e in recent)
        row[f"{column}_share_{case.main}_{window}"] = share(saved, full)
        row[f"{column}_use_{case.main}_{window}"] = share(
            sum((e[column] or 0) > 0 for e in recent), len(recent)
        )
    return row


def returns(case: Case) -> Row:
    row: Row = {}
    for window, start in case.starts.items():
        bought, back = (since(case.of(e), start) for e in ("purchase", "return"))
        spent, refunded = (sum(e["amount"] or 0 for e in rows) for rows in (bought, back))
        row[f"return_share_return_{window}"] = share(len(back), len(bought))
        row[f"return_money_return_{window}"] = share(refunded, spent)
    return row


STEPS = [
    ("view", "cart"), ("view", "purchase"), ("cart", "purchase"), ("cart", "remove"),
    ("search", "click"), ("search", "cart"), ("search", "purchase"),
]  # fmt: skip


def known_steps(facts: LogFacts) -> list[tuple[str, str]]:
    return [s for s in STEPS if set(s) <= set(facts.event_types)]


def funnel(case: Case) -> Row:
    row: Row = {}
    for a, b in known_steps(case.facts):
        for window, start in case.starts.items():
            n, n_next = (len(since(case.of(e), start)) for e in (a, b))
            row[f"per_{a}_{b}_{window}"] = share(n_next, n)
    return row


def abandonment(case: Case) -> Row:
    carts = [e for e in case.of("cart") if e["item_id"] is not None]
    left = [
        c
        for c in carts
        if not any(p["item_id"] == c["item_id"] and p["ts"] >= c["ts"] for p in case.of("purchase"))
    ]
    n_left = case.per_window("abandoned_count_cart_{}", lambda start: len(since(left, start)))
    shares = case.per_window(
        "abandoned_share_cart_{}", lambda start: share(len(since(left, start)), len(since(carts, start)))
    )
    return n_left | shares


def ratings(case: Case) -> Row:
    row: Row = {}
    for window, start in case.starts.items():
        rated = [e for e in since(case.mine, start) if e["rating"] is not None]
        gaps = [
            e["rating"] - usual
            for e in rated
            if (usual := usual_before(case, e, case.log, "item_id", lambda o: o["rating"])) is not None
        ]
        row[f"rating_count_any_{window}"] = len(rated)
        row[f"rating_mean_any_{window}"] = statistics.mean(e["rating"] for e in rated) if rated else None
        row[f"rating_gap_any_{window}"] = statistics.mean(gaps) if gaps else None
    return row


def taste(case: Case, thing: str) -> Row:
    rows = [e for e in case.of(case.main) if e[thing] is not None]
    row: Row = {}
    for window, start in case.starts.items():
        counts = Counter(e[thing] for e in since(rows, start))
        total = sum(counts.values())
        ranked = sorted(counts, key=lambda value: (-counts[value], value.encode()))
        shares = {value: n / total for value, n in counts.items()}
        found: Row = {
            f"top_{thing}": ranked[0] if ranked else None,
            f"{thing}_share1": share(sum(counts[v] for v in ranked[:1]), total),
            f"{thing}_share3": share(sum(counts[v] for v in ranked[:3]), total),
            f"{thing}_entropy": -sum(p * math.log(p) for p in shares.values()) if total else None,
        }
        if thing == "brand":
            found["brands"] = len(counts)
        if window != "all":
            ever = Counter(e[thing] for e in rows)
            apart = [abs(shares.get(v, 0) - n / len(rows)) for v, n in ever.items()]
            found[f"{thing}_drift"] = sum(apart) / 2 if total else None
        row |= {f"{measure}_{case.main}_{window}": value for measure, value in found.items()}
    return row


def calendar(case: Case) -> Row:
    day = case.local(case.cutoff)
    return {
        "calendar_month_cutoff_all": day.month,
        "calendar_day_cutoff_all": day.day,
        "calendar_weekday_cutoff_all": day.isoweekday(),
        "calendar_left_cutoff_all": monthrange(day.year, day.month)[1] - day.day,
    }


def popularity(case: Case) -> Row:
    longest = list(WINDOWS)[-1]
    start, before = case.starts[longest], case.before[longest]
    now = Counter(e["item_id"] for e in case.log if e["ts"] >= start)
    earlier = Counter(e["item_id"] for e in case.log if before <= e["ts"] < start)
    row: Row = {}
    for window, start in case.starts.items():
        items = [e["item_id"] for e in since(case.mine, start) if e["item_id"] is not None]
        n, n_before = (sum(counts[i] for i in items) for counts in (now, earlier))
        row[f"market_count_any_{window}"] = share(n, len(items))
        row[f"market_trend_any_{window}"] = trend(n, n_before)
    return row


def attributes(case: Case) -> Row:
    known: dict[str, Any] = {}
    oldest = datetime.min.replace(tzinfo=UTC)
    for user in sorted(case.users, key=lambda u: u["known_from"] or oldest):
        if user["user_id"] == case.user and (user["known_from"] or oldest) < case.cutoff:
            known = user
    return {f"attribute_{a}_all": known.get(a) for a in case.facts.attributes}


def lacks_price(facts: LogFacts) -> bool:
    return "price" not in facts.columns and not {"amount", "quantity"} <= set(facts.columns)


#: Group to its oracle, and whether a log supports it.
ORACLES: dict[str, tuple[Callable[[Case], Row], Callable[[LogFacts], bool]]] = {
    "sessions": (sessions, lambda f: not set(f.event_types) <= {"purchase", "return"}),
    "rhythm": (rhythm, lambda f: f is not None),
    "depth": (depth, lambda f: {"purchase", "view"} <= set(f.event_types)),
    "baskets": (baskets, lambda f: "purchase" in f.event_types),
    "prices": (prices, lambda f: not lacks_price(f)),
    "price_level": (price_level, lambda f: "category" in f.columns and not lacks_price(f)),
    "discounts": (lambda case: savings(case, "discount"), lambda f: "discount" in f.columns),
    "coupons": (lambda case: savings(case, "coupon"), lambda f: "coupon" in f.columns),
    "returns": (returns, lambda f: {"purchase", "return"} <= set(f.event_types)),
    "funnel": (funnel, lambda f: bool(known_steps(f))),
    "abandonment": (
        abandonment,
        lambda f: {"purchase", "cart"} <= set(f.event_types) and "item_id" in f.columns,
    ),
    "ratings": (ratings, lambda f: {"item_id", "rating"} <= set(f.columns)),
    "categories": (lambda case: taste(case, "category"), lambda f: "category" in f.columns),
    "brands": (lambda case: taste(case, "brand"), lambda f: "brand" in f.columns),
    "calendar": (calendar, lambda f: f is not None),
    "popularity": (popularity, lambda f: "item_id" in f.columns),
    "attributes": (attributes, lambda f: bool(f.attributes)),
}


def oracle(case: Case) -> Row:
    row: Row = {}
    for make, is_supported in ORACLES.values():
        if is_supported(case.facts):
            row |= make(case)
    return row


# The comparison.


def users_frame(users: Sequence[dict[str, Any]], attributes: Sequence[str]) -> pl.DataFrame:
    schema = {"user_id": pl.String(), "known_from": TS} | dict.fromkeys(attributes, pl.String())
    return pl.DataFrame(list(users), schema=schema, orient="row")


def activity_of(facts: LogFacts, timezone: str) -> set[str]:
    """The features that are always built; tests/inputs/test_table.py looks at them."""
    return set(make_catalogue(facts, timezone, ()).schema())


def assert_as_oracle(
    log: list[Event], facts: LogFacts, timezone: str, users: Sequence[dict[str, Any]] = ()
) -> pl.DataFrame:
    catalogue = make_catalogue(facts, timezone)
    (frame,) = tables(catalogue, log, [cutoff_in(timezone)], users_frame(users, facts.attributes))
    assert frame["user_id"].sort().to_list() == sorted(USERS)
    assert dict(frame.drop("user_hash", "user_id").schema) == catalogue.schema()
    always = activity_of(facts, timezone)
    for row in frame.drop("user_hash").to_dicts():
        expected = oracle(Case(log, row.pop("user_id"), facts, timezone, users))
        assert {name for name in row if name not in always} == expected.keys()
        for name, value in expected.items():
            is_number = isinstance(value, int | float)
            same = pytest.approx(value, rel=1e-5, abs=2e-4) if is_number else value
            assert row[name] == same, f"{name}: {row[name]}, not {value}"
    return frame


@st.composite
def cases(draw: st.DrawFn, n_events: int = 16) -> tuple[list[Event], LogFacts, str, list[dict[str, Any]]]:
    timezone = draw(st.sampled_from(ZONES))
    types = draw(st.lists(st.sampled_from(TYPES), min_size=1, unique=True).map(sorted))
    hidden = draw(st.lists(st.sampled_from(OPTIONAL), max_size=4, unique=True))
    log = without(draw(st.lists(events(timezone, [*types, "wish"]), max_size=n_events)), hidden)
    cutoff = cutoff_in(timezone)
    ages = st.sampled_from([None, 300 * DAY, DAY, MICROSECOND, timedelta(0), -DAY])
    user = st.fixed_dictionaries(
        {
            "user_id": st.sampled_from(USERS),
            "known_from": ages.map(lambda age: None if age is None else cutoff - age),
            "age": st.sampled_from([None, "20-30", "65+"]),
            "town_size": st.sampled_from([None, "big"]),
        }
    )
    users = draw(st.lists(user, max_size=5))
    attributes = ("age", "town_size") if draw(st.booleans()) else ()
    users = [{k: v for k, v in u.items() if k in ("user_id", "known_from", *attributes)} for u in users]
    columns = tuple(c for c in ("item_id", "amount", "order_id", *OPTIONAL) if c not in hidden)
    return log, LogFacts(tuple(types), columns, attributes), timezone, users


@pytest.mark.parametrize("n_events", [4, 16, 40])
def test_every_group_is_that_of_the_oracle(n_events: int) -> None:
    @given(case=cases(n_events))
    @settings(max_examples=30, deadline=None, derandomize=True)
    def check(case: tuple[list[Event], LogFacts, str, list[dict[str, Any]]]) -> None:
        assert_as_oracle(*case)

    check()


def mirrored(log: list[Event], cutoff: datetime) -> list[Event]:
    """Events before midnight in London in the opposite order of time, from the very cutoff on."""
    return [e | {"ts": cutoff + (cutoff_in("UTC") - e["ts"]) - MICROSECOND} for e in log]


@given(case=cases(), later=st.lists(events("UTC", TYPES), max_size=16), seed=st.integers(0, 9))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_neither_the_order_of_rows_nor_later_events_matter(
    case: tuple[list[Event], LogFacts, str, list[dict[str, Any]]], later: list[Event], seed: int
) -> None:
    """The arrays hold later events, too: same sessions, orders and items again, from the very cutoff on."""
    log, facts, timezone, users = case
    catalogue, cutoff, rng = make_catalogue(facts, timezone), cutoff_in(timezone), random.Random(seed)
    frame = users_frame(users, facts.attributes)
    (known,) = tables(catalogue, log, [cutoff], frame)
    (shuffled,) = tables(catalogue, rng.sample(log, len(log)), [cutoff], frame)
    assert shuffled.equals(known)
    later = mirrored(later, cutoff) + [e | {"ts": cutoff} for e in rng.sample(log, len(log) // 2)]
    everything = log + later
    (with_later,) = tables(catalogue, rng.sample(everything, len(everything)), [cutoff], frame)
    assert with_later.equals(known)


@given(case=cases(), lags=st.lists(st.integers(0, 60), min_size=2, max_size=4))
@settings(max_examples=20, deadline=None, derandomize=True)
def test_many_cutoffs_at_once_are_the_same_as_one_by_one(
    case: tuple[list[Event], LogFacts, str, list[dict[str, Any]]], lags: list[int]
) -> None:
    log, facts, timezone, users = case
    catalogue, frame = make_catalogue(facts, timezone), users_frame(users, facts.attributes)
    cutoffs = [cutoff_in(timezone) - lag * DAY for lag in lags]
    for cutoff, built in zip(cutoffs, tables(catalogue, log, cutoffs, frame), strict=True):
        known = [e for e in log if e["ts"] < cutoff]
        (alone,) = tables(catalogue, known, [cutoff], frame)
        assert built.equals(alone)


@given(case=cases(), seed=st.integers(0, 9))
@settings(max_examples=20, deadline=None, derandomize=True)
def test_users_in_buckets_are_the_same_as_all_at_once(
    case: tuple[list[Event], LogFacts, str, list[dict[str, Any]]], seed: int
) -> None:
    log, facts, timezone, users = case
    catalogue, frame = make_catalogue(facts, timezone), users_frame(users, facts.attributes)
    (whole,) = tables(catalogue, log, [cutoff_in(timezone)], frame)
    for user in USERS:
        mine = [e for e in log if e["user_id"] == user]
        (part,) = tables(catalogue, mine, [cutoff_in(timezone)], frame, market=log)
        assert part.filter(pl.col("user_id") == user).equals(whole.filter(pl.col("user_id") == user))


# What hypothesis may miss, by hand.

EVERYTHING = LogFacts(tuple(sorted(TYPES)), ("item_id", "amount", "order_id", *OPTIONAL), ())


def event(kind: str, age: timedelta, item: str | None = "i", **values: object) -> Event:
    fixed = {"user_id": "u1", "event_type": kind, "ts": cutoff_in("UTC") - age, "item_id": item}
    return dict.fromkeys(OPTIONAL) | {"order_id": None, "amount": None} | fixed | values


def of_user(log: list[Event], facts: LogFacts | None = None) -> Row:
    facts = facts or LogFacts(EVERYTHING.event_types, known_columns(log), ())
    frame = assert_as_oracle(log, facts, "UTC")
    return frame.row(by_predicate=pl.col("user_id") == "u1", named=True)


def test_a_gap_of_half_an_hour_is_one_session_and_longer_is_two() -> None:
    together = [event("view", DAY + SESSION_GAP), event("view", DAY)]
    apart = [event("view", DAY + SESSION_GAP + MICROSECOND), event("view", DAY)]
    assert [of_user(log)["sessions_any_all"] for log in (together, apart)] == [1, 2]
    assert [of_user(log)["session_seconds_any_all"] for log in (together, apart)] == [1800, 0]
    assert [of_user(log)["bounce_share_any_all"] for log in (together, apart)] == [0, 1]


def test_a_session_that_the_cutoff_cuts_counts_as_far_as_it_got() -> None:
    log = [event("view", 20 * MINUTE, "a"), event("view", 10 * MINUTE, "b"), event("view", timedelta(0), "c")]
    catalogue = make_catalogue(LogFacts(("view",), ("item_id",)), "UTC")
    (built,) = tables(catalogue, log, [cutoff_in("UTC")])
    row = built.row(by_predicate=pl.col("user_id") == "u1", named=True)
    assert row["session_seconds_any_all"] == 600
    assert (row["session_events_any_all"], row["path_items_any_all"], row["sessions_any_all"]) == (2, 2, 1)


def test_a_session_that_begins_before_a_window_does_not_start_in_it() -> None:
    start = timedelta(hours=12)
    row = of_user([event("view", start + MINUTE, "a"), event("view", start - MINUTE, "a")])
    assert row["sessions_any_12h"] == 0
    assert row["dwell_seconds_any_12h"] == 120
    assert row["session_seconds_any_12h"] is row["bounce_share_any_12h"] is None
    assert row["path_items_any_all"] == 1


def test_sessions_with_ids_may_overlap() -> None:
    log = [
        event("view", DAY, "a", session_id="phone"),
        event("view", DAY - MINUTE, "b", session_id="desk"),
        event("view", DAY - 5 * MINUTE, "b", session_id="phone"),
    ]
    row = of_user(log)
    assert (row["sessions_any_all"], row["dwell_seconds_any_all"]) == (2, 300)
    assert (row["path_items_any_all"], row["bounce_share_any_all"]) == (1.5, 0.5)


def test_a_session_id_is_the_users_own() -> None:
    log = [event("view", DAY, session_id="1"), event("view", DAY, session_id="1", user_id="u2")]
    assert of_user(log)["bounce_share_any_all"] == 1


def test_dwell_seconds_of_the_log_come_before_gaps() -> None:
    log = [event("view", DAY, dwell_seconds=4.5), event("view", DAY - MINUTE)]
    assert of_user(log)["dwell_seconds_any_all"] == 4.5


def test_the_hours_are_those_of_the_shop_when_clocks_change() -> None:
    # 2024-03-31 in Berlin: 01:30 UTC is 03:30, since clocks were put forward at 01:00 UTC; the day is a Sunday.
    night = datetime(2024, 3, 31, 3, 30, tzinfo=UTC)
    for ts, quarter in ((night, "night"), (night + timedelta(minutes=30), "morning")):
        log = [event("view", DAY) | {"ts": ts}]
        frame = assert_as_oracle(log, LogFacts(("view",), ("item_id",)), "Europe/Berlin")
        row = frame.row(by_predicate=pl.col("user_id") == "u1", named=True)
        assert (row[f"{quarter}_share_any_all"], row["weekend_share_any_all"]) == (1, 1)


def test_what_lies_at_the_time_of_a_purchase_belongs_to_it() -> None:
    log = [event("view", 2 * DAY), event("purchase", DAY), event("view", DAY), event("view", MINUTE)]
    row = of_user(log)
    assert (row["depth_now_view_all"], row["depth_usual_view_all"]) == (1, 2)
    assert (row["visits_now_any_all"], row["visits_usual_any_all"]) == (1, 2)


def test_a_cart_is_abandoned_until_its_item_is_purchased_at_its_time_or_later() -> None:
    carts = [event("cart", 3 * DAY, item) for item in ("a", "b", "c", "d", None)]
    bought = [
        event("purchase", 3 * DAY, "a"),
        event("purchase", 3 * DAY + MICROSECOND, "b"),
        event("purchase", timedelta(0), "c"),
        event("purchase", DAY, "d", user_id="u2"),
    ]
    catalogue = make_catalogue(LogFacts(("cart", "purchase"), ("item_id",)), "UTC")
    for log in (carts + bought, bought + carts):
        (built,) = tables(catalogue, log, [cutoff_in("UTC")])
        row = built.row(by_predicate=pl.col("user_id") == "u1", named=True)
        assert (row["abandoned_count_cart_7d"], row["abandoned_share_cart_7d"]) == (3, 0.75)


def test_an_order_in_several_rows_is_one_basket() -> None:
    log = [
        event("purchase", 9 * DAY, order_id="a", amount=10.0),
        event("purchase", 9 * DAY - MINUTE, order_id="a", amount=5.0),
        event("purchase", 2 * DAY, order_id="b", amount=1.0),
    ]
    row = of_user(log)
    assert row["basket_spread_purchase_all"] == pytest.approx(14 / 2**0.5)
    assert row["size_spread_purchase_all"] == pytest.approx(1 / 2**0.5)
    assert row["basket_trend_purchase_7d"] == pytest.approx((1 - 8) / (1 + 8))
    assert row["size_trend_purchase_7d"] == pytest.approx((1 - 1.5) / (1 + 1.5))
    assert row["basket_size_purchase_all"] == 1.5


def test_many_large_orders_do_not_overflow() -> None:
    log = [event("purchase", n * MINUTE, order_id=f"o{n}", amount=1e6) for n in range(1, 300)]
    row = of_user([*log, event("purchase", DAY, order_id="x", amount=0.0)])
    assert row["basket_spread_purchase_all"] == pytest.approx(1e6 / 300**0.5, rel=1e-5)


def test_the_price_of_a_category_is_that_of_earlier_months_of_anybody() -> None:
    march, february = datetime(2024, 3, 5, tzinfo=UTC), datetime(2024, 2, 5, tzinfo=UTC)

    def priced(user: str, ts: datetime, price: float) -> Event:
        return event("purchase", DAY, category="c", price=price, user_id=user) | {"ts": ts}

    log = [priced("u2", february, 10.0), priced("u3", february, 30.0), priced("u2", march, 999.0)]
    row = of_user([*log, priced("u1", march + DAY, 10.0), priced("u1", february, 20.0)])
    assert row["price_level_purchase_all"] == 0.5
    assert row["price_mean_purchase_all"] == 15


def test_a_rating_is_compared_with_those_of_the_item_in_earlier_months() -> None:
    february = datetime(2024, 2, 5, tzinfo=UTC)
    log = [
        event("review", DAY, "a", rating=1.0, user_id="u2") | {"ts": february},
        event("review", DAY, "a", rating=4.0),
        event("review", DAY, "b", rating=5.0),
        event("review", DAY, None, rating=3.0),
    ]
    row = of_user(log)
    assert (row["rating_count_any_7d"], row["rating_mean_any_7d"], row["rating_gap_any_7d"]) == (3, 4, 3)


def test_of_equal_categories_the_first_by_the_alphabet_is_the_top_one() -> None:
    log = [event("purchase", n * DAY, category=c) for n, c in enumerate("bacd", 1)]
    row = of_user([*log, event("purchase", 8 * DAY, category="b")])
    assert (row["top_category_purchase_7d"], row["top_category_purchase_all"]) == ("a", "b")
    assert row["category_share1_purchase_all"] == pytest.approx(2 / 5)
    assert row["category_share3_purchase_all"] == pytest.approx(4 / 5)
    assert row["category_entropy_purchase_7d"] == pytest.approx(math.log(4))
    assert row["category_drift_purchase_12h"] is row["top_category_purchase_12h"] is None
    assert row["category_drift_purchase_7d"] == pytest.approx(3 * 0.05 / 2 + 0.15 / 2)


def test_a_user_who_buys_one_category_only_does_not_vary() -> None:
    row = of_user([event("purchase", DAY, category="c"), event("purchase", 9 * DAY, category="c")])
    assert (row["category_entropy_purchase_all"], row["category_drift_purchase_7d"]) == (0, 0)


def test_attributes_are_those_that_were_known() -> None:
    cutoff, facts = cutoff_in("UTC"), LogFacts(("view",), ("item_id",), ("age", "town_size"))

    def known(*users: tuple[timedelta | None, str]) -> str | None:
        rows = [
            {"user_id": "u1", "known_from": None if a is None else cutoff - a, "age": value, "town_size": "s"}
            for a, value in users
        ]
        frame = assert_as_oracle([event("view", DAY)], facts, "UTC", rows)
        text: str | None = frame.row(by_predicate=pl.col("user_id") == "u1", named=True)["attribute_age_all"]
        return text

    assert known((None, "always")) == "always"
    assert known((timedelta(0), "too late")) is None
    assert known((MICROSECOND, "just in time"), (None, "always")) == "just in time"
    assert known((2 * DAY, "older"), (DAY, "newer"), (-DAY, "later")) == "newer"
    assert known((DAY, "first row"), (DAY, "last row")) == "last row"


# Which groups there are.


def test_the_config_names_every_group() -> None:
    assert [g.name for g in ALL_GROUPS] == ["activity", *GROUPS]
    assert set(ORACLES) == set(GROUPS)


def test_groups_that_the_log_does_not_support_say_why() -> None:
    left = make_catalogue(LogFacts(("purchase",)), "UTC").left_out()
    no_column = "the log has no {}; map it in dataset.sources[].columns"
    no_event = "the log has no {} event before the last train cutoff"
    no_price = "the log has neither price nor amount with quantity; map it in dataset.sources[].columns"
    assert left == {
        "sessions": "the log has nothing but purchases, and their times are those of orders",
        "depth": no_event.format("view"),
        "prices": no_price,
        "price_level": no_column.format("category"),
        "discounts": no_column.format("discount"),
        "coupons": no_column.format("coupon"),
        "returns": no_event.format("return"),
        "funnel": "the log has no two steps of a purchase, such as view and cart, before the last train cutoff",
        "abandonment": no_event.format("cart"),
        "ratings": no_column.format("item_id"),
        "categories": no_column.format("category"),
        "brands": no_column.format("brand"),
        "popularity": no_column.format("item_id"),
        "attributes": "there is no users table; add a source with table: users",
    }
    assert (
        make_catalogue(LogFacts(EVERYTHING.event_types, EVERYTHING.columns, ("age",)), "UTC").left_out() == {}
    )


def test_price_level_needs_prices_too() -> None:
    left = make_catalogue(LogFacts(("purchase",), ("category",)), "UTC").left_out()
    assert left["price_level"].startswith("the log has neither price")


def test_a_group_that_is_not_asked_for_is_not_built() -> None:
    some = make_catalogue(EVERYTHING, "UTC", ("rhythm", "brands"))
    assert {
        FeatureName.parse(name).measure for name in set(some.schema()) - activity_of(EVERYTHING, "UTC")
    } == {FeatureName.parse(name).measure for name in (*rhythm(EMPTY), *taste(EMPTY, "brand"))}
    assert some.left_out().keys() == set(GROUPS) - {"rhythm", "brands"}
    assert set(some.left_out().values()) == {"features.groups does not name it"}


EMPTY = Case([], "u1", EVERYTHING, "UTC", [])


def test_every_measure_is_produced_and_every_feature_has_a_measure() -> None:
    facts = LogFacts(EVERYTHING.event_types, EVERYTHING.columns, ("age",))
    names = list(make_catalogue(facts, "UTC").schema())
    assert len(set(names)) == len(names)
    parsed = [FeatureName.parse(name) for name in names]
    of_pairs = {m for m in MEASURES if m.startswith(("item_", "category_"))} - {p.measure for p in parsed}
    assert {p.measure for p in parsed} == set(MEASURES) - of_pairs
    assert {p.window for p in parsed} == {*WINDOWS, "all"}
    assert {p.event for p in parsed} == {*TYPES, "any", "cutoff", "age"}


def test_only_the_sums_over_all_users_that_a_group_needs_are_made() -> None:
    def columns(*groups: str) -> list[str]:
        return make_catalogue(EVERYTHING, "UTC", groups).market_sums([cutoff_in("UTC")]).columns()

    assert columns("rhythm", "sessions") == []
    assert columns("popularity") == ["item_id", "ts"]
    assert columns("ratings", "price_level") == [
        *("amount", "category", "event_type", "item_id", "price", "quantity", "rating", "ts")
    ]
    no_price = LogFacts(("purchase",), ("category", "amount", "quantity"))
    sums = make_catalogue(no_price, "UTC", ("price_level",)).market_sums([cutoff_in("UTC")])
    assert sums.columns() == ["amount", "category", "event_type", "quantity", "ts"]
