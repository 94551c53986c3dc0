"""What is always built, and the form of the table, against an oracle in plain Python: loops, no polars."""

import itertools
import random
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from feature_logs import (
    DAY,
    MICROSECOND,
    USERS,
    WINDOWS,
    ZONES,
    Event,
    Row,
    ages,
    cutoff_in,
    make_catalogue,
    population,
    start_of,
    tables,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from ecbehave.inputs.facts import LogFacts
from ecbehave.inputs.feature_names import FeatureName
from ecbehave.inputs.table import Catalogue, table_schema

TYPES = ["purchase", "view", "add_to_cart", "any"]

# The oracle.


def days(delta: timedelta) -> float:
    return delta.total_seconds() / 86_400


def share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def distinct(events: list[Event], key: str) -> int:
    seen = []
    for event in events:
        if event[key] is not None and event[key] not in seen:
            seen.append(event[key])
    return len(seen)


def window_features(events: list[Event], earlier: list[Event], timezone: str) -> Row:
    """Return what is known of the events of one window, and of those of the window before it."""
    local_days = [{"day": e["ts"].astimezone(ZoneInfo(timezone)).date()} for e in events]
    n, n_before = len(events), len(earlier)
    return {
        "count": n,
        "amount": sum(e["amount"] or 0 for e in events),
        "items": distinct(events, "item_id"),
        "categories": distinct(events, "category"),
        "days": distinct(local_days, "day"),
        "trend": share(n - n_before, n + n_before),
    }


def history_features(events: list[Event], cutoff: datetime) -> Row:
    times = [e["ts"] for e in events]
    with_item = [e for e in events if e["item_id"] is not None]
    repeats = len(with_item) - distinct(with_item, "item_id")
    return {
        "recency_days": days(cutoff - max(times)) if times else None,
        "tenure_days": days(cutoff - min(times)) if times else None,
        "repeat_share": share(repeats, len(with_item)),
    }


def order_times(purchases: list[Event]) -> list[datetime]:
    first: dict[object, datetime] = {}
    for event in purchases:
        order = event["ts"] if event["order_id"] is None else event["order_id"]
        first[order] = min(event["ts"], first.get(order, event["ts"]))
    return sorted(first.values())


def interval_features(times: list[datetime], cutoff: datetime) -> Row:
    whole_seconds = [(b - a) // timedelta(seconds=1) for a, b in itertools.pairwise(times)]
    gaps = [seconds / 86_400 for seconds in whole_seconds]
    mean = statistics.mean(gaps) if gaps else None
    deviation = statistics.stdev(gaps) if len(gaps) > 1 else None
    return {
        "interval_mean_days": mean,
        "interval_std_days": deviation,
        "interval_max_days": max(gaps) if gaps else None,
        "interval_last_days": gaps[-1] if gaps else None,
        "irregularity": share(deviation, mean) if mean and deviation is not None else None,
        "overdue": share(days(cutoff - times[-1]), mean) if mean else None,
    }


def oracle(log: list[Event], user: str, event_types: list[str], timezone: str) -> Row:
    cutoff = cutoff_in(timezone)
    mine = [e for e in log if e["user_id"] == user]
    named = [t for t in event_types if t != "any"]
    row: Row = {}
    for name in named if named == event_types and len(named) == 1 else [*named, "any"]:
        events = [e for e in mine if name in ("any", e["event_type"])]
        for window, length in WINDOWS.items():
            start, before = (start_of(cutoff, n * length, timezone) for n in (1, 2))
            recent = [e for e in events if e["ts"] >= start]
            found = window_features(recent, [e for e in events if before <= e["ts"] < start], timezone)
            row |= {f"{measure}_{name}_{window}": value for measure, value in found.items()}
        ever = window_features(events, [], timezone) | history_features(events, cutoff)
        del ever["trend"]
        row |= {f"{measure}_{name}_all": value for measure, value in ever.items()}
    if "purchase" in event_types:
        times = order_times([e for e in mine if e["event_type"] == "purchase"])
        for window, length in {"all": 9999 * DAY, **WINDOWS}.items():
            start = cutoff - length if window == "all" else start_of(cutoff, length, timezone)
            n_orders = sum(t >= start for t in times)
            row[f"orders_purchase_{window}"] = n_orders
            amount = row[f"amount_purchase_{window}"]
            assert amount is not None
            row[f"basket_amount_purchase_{window}"] = share(amount, n_orders)
        row |= {f"{m}_purchase_all": value for m, value in interval_features(times, cutoff).items()}
    return row


# The comparison.


def always(event_types: Sequence[str], timezone: str) -> Catalogue:
    """The group that is always built, alone."""
    return make_catalogue(LogFacts(tuple(event_types)), timezone, ())


def built(
    log: list[Event], event_types: Sequence[str], timezone: str, later: Sequence[Event] = ()
) -> pl.DataFrame:
    (frame,) = tables(always(event_types, timezone), [*log, *later], [cutoff_in(timezone)])
    return frame.drop("user_hash")


def assert_as_oracle(log: list[Event], event_types: list[str], timezone: str) -> None:
    frame = built(log, event_types, timezone)
    assert sorted(frame["user_id"]) == sorted(USERS)
    assert set(frame.dtypes[1:]) == {pl.Float32}
    for row in frame.to_dicts():
        expected = oracle(log, row.pop("user_id"), event_types, timezone)
        assert row.keys() == expected.keys()
        for name, value in expected.items():
            same = None if value is None else pytest.approx(value, rel=1e-5, abs=1e-5)
            assert row[name] == same, f"{name}: {row[name]}, not {value}"


@st.composite
def logs(draw: st.DrawFn, timezone: str) -> list[Event]:
    def maybe(*values: object) -> st.SearchStrategy[object]:
        return st.sampled_from([None, *values])

    event = st.fixed_dictionaries(
        {
            "user_id": st.sampled_from(USERS[:-1]),
            "ts": ages(timezone).map(lambda age: cutoff_in(timezone) - age),
            "event_type": st.sampled_from([*TYPES, "wish"]),
            "item_id": maybe("i1", "i2", "i3"),
            "category": maybe("c", "c.d"),
            "order_id": maybe("o1", "o2"),
            "amount": st.none() | st.integers(0, 10_000_00).map(lambda cents: cents / 100),
        }
    )
    return draw(st.lists(event, max_size=14))


CASES = st.tuples(
    st.sampled_from(ZONES), st.lists(st.sampled_from(TYPES), min_size=1, max_size=4, unique=True).map(sorted)
).flatmap(lambda case: st.tuples(logs(case[0]), st.just(case[1]), st.just(case[0])))


@given(case=CASES, seed=st.integers(0, 9))
@settings(max_examples=50, deadline=None, derandomize=True)
def test_features_are_those_of_the_oracle_in_any_order_of_rows(
    case: tuple[list[Event], list[str], str], seed: int
) -> None:
    log, event_types, timezone = case
    assert_as_oracle(log, event_types, timezone)
    shuffled = random.Random(seed).sample(log, len(log))
    assert built(shuffled, event_types, timezone).equals(built(log, event_types, timezone))


@given(
    case=CASES.flatmap(lambda case: st.tuples(st.just(case), logs(case[2]))),
    seed=st.integers(0, 9),
)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_events_at_and_after_the_cutoff_change_nothing(
    case: tuple[tuple[list[Event], list[str], str], list[Event]], seed: int
) -> None:
    """The arrays hold later events, too: same items, days and orders again, from the very cutoff on."""
    (log, event_types, timezone), mirrored = case
    cutoff = cutoff_in(timezone)
    later = [e | {"ts": cutoff + (cutoff - e["ts"]) - MICROSECOND} for e in mirrored]
    later += [e | {"ts": cutoff} for e in random.Random(seed).sample(log, len(log) // 2)]
    assert built(log, event_types, timezone, later).equals(built(log, event_types, timezone))


# What hypothesis may miss, by hand.


def purchases(*ages_and_orders: tuple[timedelta, str | None, float], **fixed: object) -> list[Event]:
    event = {"user_id": "u1", "event_type": "purchase", "item_id": "i", "category": None} | fixed
    return [event | {"ts": cutoff_in("UTC") - a, "order_id": o, "amount": v} for a, o, v in ages_and_orders]


def of_user(log: list[Event], event_types: Sequence[str] = ("purchase",), timezone: str = "UTC") -> Row:
    assert_as_oracle(log, list(event_types), timezone)
    frame = built(log, list(event_types), timezone)
    return frame.row(by_predicate=pl.col("user_id") == "u1", named=True)


def test_a_user_without_events_has_counts_of_zero_and_unknown_averages() -> None:
    row = of_user([])
    unknown = ("recency", "tenure", "repeat_share", "trend", "basket", "interval", "irregularity", "overdue")
    for name in always(["purchase"], "UTC").schema():
        assert row[name] == (None if name.startswith(unknown) else 0), name


def test_gaps_are_between_orders_not_between_rows() -> None:
    log = purchases(
        (20 * DAY, "a", 10.0),
        (20 * DAY - timedelta(hours=1), "a", 5.0),
        (14 * DAY, "b", 1.0),
        (4 * DAY, "c", 2.0),
    )
    row = of_user(log)
    assert row["orders_purchase_all"] == 3
    assert row["interval_mean_days_purchase_all"] == 8
    assert row["interval_std_days_purchase_all"] == pytest.approx(8**0.5)
    assert row["interval_max_days_purchase_all"] == row["interval_last_days_purchase_all"] == 10
    assert row["irregularity_purchase_all"] == pytest.approx(8**0.5 / 8)
    assert row["overdue_purchase_all"] == 0.5
    assert row["basket_amount_purchase_all"] == 6
    assert row["recency_days_purchase_all"] == 4
    assert row["tenure_days_purchase_all"] == 20


def test_the_longest_gap_need_not_be_the_last() -> None:
    row = of_user(purchases((20 * DAY, "a", 1.0), (5 * DAY, "b", 1.0), (4 * DAY, "c", 1.0)))
    assert row["interval_max_days_purchase_all"] == 15
    assert row["interval_last_days_purchase_all"] == 1


def test_an_order_that_the_cutoff_cuts_in_two_counts_with_its_first_rows() -> None:
    log = purchases((9 * DAY, "a", 1.0), (timedelta(hours=1), "b", 10.0))
    rest = purchases((timedelta(0), "b", 5.0), (-timedelta(hours=1), "b", 5.0), (-DAY, "c", 7.0))
    frame = built(log, ["purchase"], "UTC", later=rest)
    assert frame.equals(built(log, ["purchase"], "UTC"))
    row = frame.row(by_predicate=pl.col("user_id") == "u1", named=True)
    assert row["orders_purchase_all"] == 2
    assert row["basket_amount_purchase_7d"] == 10
    assert row["interval_last_days_purchase_all"] == pytest.approx(9 - 1 / 24)


def test_an_item_that_comes_again_at_the_cutoff_still_counts_before_it() -> None:
    log = purchases((DAY, "a", 1.0), category="c")
    for wait in (timedelta(0), MICROSECOND, DAY):
        again = purchases((-wait, "b", 1.0), category="c")
        row = built(log, ["purchase"], "UTC", again).row(by_predicate=pl.col("user_id") == "u1", named=True)
        assert row["items_purchase_7d"] == row["categories_purchase_7d"] == row["days_purchase_7d"] == 1


def test_many_cutoffs_read_from_one_preparation() -> None:
    log = purchases(*((n * 5 * DAY + timedelta(hours=n), f"o{n // 2}", 1.0) for n in range(20)), category="c")
    cutoffs = [cutoff_in("UTC") - n_days * DAY for n_days in (1, 30, 5, 99, 200)]
    catalogue = always(["purchase"], "UTC")
    for cutoff, frame in zip(cutoffs, tables(catalogue, log, cutoffs), strict=True):
        (alone,) = tables(catalogue, [e for e in log if e["ts"] < cutoff], [cutoff])
        assert frame.equals(alone)


def test_orders_without_an_id_are_told_apart_by_their_time() -> None:
    row = of_user(purchases((DAY, None, 1.0), (DAY, None, 2.0), (DAY - MICROSECOND, None, 4.0)))
    assert row["orders_purchase_all"] == 2
    assert row["basket_amount_purchase_all"] == 3.5


def test_gaps_are_whole_seconds_so_that_a_double_submit_is_no_rhythm() -> None:
    row = of_user(purchases((DAY, "a", 1.0), (DAY - MICROSECOND, "b", 1.0)))
    assert row["orders_purchase_all"] == 2
    assert row["interval_mean_days_purchase_all"] == 0
    assert row["overdue_purchase_all"] is None


def test_orders_at_one_time_have_a_gap_of_zero_and_no_rhythm() -> None:
    row = of_user(purchases((DAY, "a", 1.0), (DAY, "b", 1.0), (DAY, "c", 1.0)))
    assert row["interval_mean_days_purchase_all"] == row["interval_std_days_purchase_all"] == 0
    assert row["irregularity_purchase_all"] is row["overdue_purchase_all"] is None


def test_an_even_rhythm_over_years_has_no_deviation() -> None:
    row = of_user(purchases(*((n * 30 * DAY + DAY, f"o{n}", 1.0) for n in range(120))))
    assert row["interval_std_days_purchase_all"] == pytest.approx(0, abs=1e-4)
    assert row["interval_mean_days_purchase_all"] == 30


def test_events_without_an_item_are_no_repeats() -> None:
    events = purchases((DAY, "a", 1.0), (2 * DAY, "b", 1.0))
    searches = purchases((DAY, None, 0.0), (2 * DAY, None, 0.0), event_type="search", item_id=None)
    row = of_user(events + searches, ["purchase", "search"])
    assert row["repeat_share_any_all"] == row["repeat_share_purchase_all"] == 0.5
    assert row["repeat_share_search_all"] is None


def test_a_small_amount_is_not_lost_beside_a_large_one() -> None:
    row = of_user(purchases((DAY, "a", 0.1), (DAY, "a", 0.2), (DAY, "b", 0.3)))
    assert row["basket_amount_purchase_all"] == pytest.approx(0.3)
    assert row["amount_purchase_all"] == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("timezone", "n_days"), [("Pacific/Kiritimati", 1), ("UTC", 2), ("America/Los_Angeles", 1)]
)
def test_days_are_those_of_the_shop(timezone: str, n_days: int) -> None:
    late = datetime(2024, 3, 15, 23, 30, tzinfo=UTC)
    log = [e | {"ts": t} for t in (late, late + timedelta(hours=1)) for e in purchases((DAY, None, 1.0))]
    assert of_user(log, timezone=timezone)["days_purchase_all"] == n_days


def test_types_that_are_not_asked_for_count_under_any_only() -> None:
    log = [
        e for kind in ("purchase", "view", "brand_new") for e in purchases((DAY, None, 1.0), event_type=kind)
    ]
    row = of_user(log, ["purchase", "view"])
    assert (row["count_any_all"], row["count_purchase_all"], row["count_view_all"]) == (3, 1, 1)
    assert not any("brand_new" in name for name in row)


@pytest.mark.parametrize(
    ("event_types", "known"),
    [
        (["purchase"], ["purchase"]),
        (["cart", "view"], ["cart", "view", "any"]),
        ([], ["any"]),
        (["any"], ["any"]),
        (["any", "view"], ["view", "any"]),
    ],
)
def test_any_is_there_once_and_where_it_says_something_new(event_types: list[str], known: list[str]) -> None:
    assert LogFacts(tuple(event_types)).groups == known
    assert_as_oracle(purchases((DAY, "a", 1.0), event_type="any"), event_types, "UTC")


def test_population_keeps_its_columns_and_is_in_the_order_of_hashes() -> None:
    asked = population().with_columns(label=pl.lit(1, pl.Int8)).sort("user_id")
    catalogue, cutoff = always(["view"], "UTC"), cutoff_in("UTC")
    market = catalogue.market_sums([cutoff]).market()
    nothing = pl.LazyFrame(schema={c: pl.String() for c in ("user_id", "event_type", "item_id")})
    nothing = nothing.with_columns(
        pl.lit(None, pl.String).alias("category"),
        pl.lit(None, pl.String).alias("order_id"),
        pl.lit(None, pl.Float64).alias("amount"),
        pl.lit(cutoff).alias("ts"),
    )
    users = pl.DataFrame(schema={"user_id": pl.String(), "known_from": pl.Datetime("us", "UTC")})
    first, second = catalogue.features(
        nothing, [(asked, cutoff), (asked.head(2), cutoff - DAY)], market, users
    )
    assert first.columns == ["user_hash", "user_id", "label", *catalogue.schema()]
    assert first["user_hash"].is_sorted()
    assert first["label"].dtype == pl.Int8
    assert second["user_id"].sort().to_list() == asked["user_id"].head(2).sort().to_list()


def test_names_tell_measure_event_and_window() -> None:
    names = list(always(["purchase", "view"], "UTC").schema())
    assert len(set(names)) == len(names)
    assert {FeatureName.parse(n).window for n in names} == {*WINDOWS, "all"}
    assert {FeatureName.parse(n).event for n in names} == {"purchase", "view", "any"}


def test_a_stored_table_has_keys_and_perhaps_a_label_before_its_features() -> None:
    features: dict[str, pl.DataType] = {"count_view_7d": pl.Float32(), "top_brand_view_7d": pl.String()}
    keys = ["user_hash", "user_id", "cutoff"]
    assert list(table_schema(features, is_labelled=True)) == [*keys, "label", *features]
    assert list(table_schema(features, is_labelled=False)) == [*keys, *features]
