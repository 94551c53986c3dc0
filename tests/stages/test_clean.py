"""clean: every rule just inside and just outside, and a sum that closes whatever comes in."""

import csv
import math
import os
import random
import shutil
import tempfile
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_CEILING, Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shops import ROOT, Shop
from stage_runs import Runs, table

from ecbehave.artifacts import Artifact, Outcome
from ecbehave.buckets import bucket_of, user_hash
from ecbehave.config import Clean, Outlier
from ecbehave.errors import ArtifactError, DataError
from ecbehave.schema import EVENT_ORDER, EVENTS, EVENTS_RAW
from ecbehave.stages import clean, outliers
from ecbehave.stages.refused import REMEDIES

NEW_YORK = "America/New_York"
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
GOOD: dict[str, Any] = {
    "user_id": "u1",
    "ts": datetime(2024, 4, 1, 10, tzinfo=UTC),
    "event_type": "view",
    "item_id": "i1",
    "received_at": NOON,
}
INSTANT = timedelta(microseconds=1)


def raw(*rows: dict[str, Any]) -> pl.DataFrame:
    """Rows as ingested: a good view, but for what is given."""
    return pl.DataFrame([GOOD | row for row in rows], schema=EVENTS_RAW)


def rule(
    settings: Clean | None = None, timezone: str = "UTC", needs_item: bool = True, **row: Any
) -> str | None:
    judged = raw(row).select(clean.row_rule(settings or Clean(), timezone, needs_item=needs_item))
    return judged["rule"].to_list()[0]


EARLIEST = datetime(2000, 1, 1, 5, tzinfo=UTC)
BOUNDS = Clean(earliest=date(2000, 1, 1), max_price=100, max_quantity=10)
OVER_100 = math.nextafter(100, 101)
OVER_10 = math.nextafter(10, 11)
BUY = {"event_type": "purchase"}


CASES: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"unparsed": "row=u1"}, {}, "unreadable_row"),
    ({"user_id": None}, {"user_id": "0"}, "missing_user"),
    ({"ts": None, "unparsed": "ts=x"}, {}, "unparsable_time"),
    ({"ts": None, "unparsed": "price=a; ts=x"}, {}, "unparsable_time"),
    ({"ts": None}, {}, "missing_time"),
    ({"ts": EARLIEST - INSTANT}, {"ts": EARLIEST}, "impossible_time"),
    (
        {"ts": NOON + timedelta(days=1) + INSTANT},
        {"ts": NOON + timedelta(days=1)},
        "impossible_time",
    ),
    ({"event_type": None}, {"event_type": "wishlist"}, "missing_event_type"),
    ({"item_id": None}, {"item_id": None, "event_type": "search"}, "missing_item"),
    ({"unparsed": "dwell_seconds=x"}, {}, "unparsable_value"),
    ({"price": -0.01}, {"price": 0.0}, "negative_price"),
    ({"amount": -0.01} | BUY, {"amount": 0.0} | BUY, "negative_price"),
    ({"price": -1.0, "quantity": -1.0, "amount": 1.0} | BUY, {"quantity": -1.0} | BUY, "negative_price"),
    ({"price": OVER_100}, {"price": 100.0}, "absurd_price"),
    ({"amount": OVER_100}, {"amount": 100.0}, "absurd_price"),
    (
        {"amount": -OVER_100, "quantity": -1.0} | BUY,
        {"amount": -100.0, "quantity": -1.0} | BUY,
        "absurd_price",
    ),
    (
        {"price": -OVER_100, "event_type": "return"},
        {"price": -100.0, "event_type": "return"},
        "absurd_price",
    ),
    ({"quantity": -1.0}, {"quantity": 0.0}, "negative_quantity"),
    ({"quantity": -1.0, "event_type": "cart"}, {"quantity": -1.0} | BUY, "negative_quantity"),
    ({"quantity": OVER_10}, {"quantity": 10.0}, "absurd_quantity"),
    ({"quantity": -OVER_10} | BUY, {"quantity": -10.0} | BUY, "absurd_quantity"),
]


@pytest.mark.parametrize(("outside", "inside", "expected"), CASES)
def test_each_rule_refuses_just_outside_and_not_just_inside(
    outside: dict[str, Any], inside: dict[str, Any], expected: str
) -> None:
    assert rule(BOUNDS, NEW_YORK, **outside) == expected
    assert rule(BOUNDS, NEW_YORK, **inside) is None


@pytest.mark.parametrize(
    ("event_type", "is_about_an_item"),
    [
        *((e, True) for e in ("view", "click", "cart", "remove", "purchase", "return", "review", "rating")),
        *((e, False) for e in ("search", "question", "wishlist")),
    ],
)
def test_an_item_is_missed_only_where_the_event_is_about_one(event_type: str, is_about_an_item: bool) -> None:
    row = {"event_type": event_type, "item_id": None}
    assert rule(**row) == ("missing_item" if is_about_an_item else None)
    assert rule(**row, needs_item=False) is None


def test_the_first_rule_in_order_names_the_row() -> None:
    """A row with every fault, mended one fault after the other."""
    row: dict[str, Any] = {
        "user_id": None,
        "ts": None,
        "unparsed": "row=, ts=x",
        "event_type": None,
        "item_id": None,
        "price": -1e9,
        "quantity": -1e9,
        "amount": -1e9,
    }
    mending: list[dict[str, Any]] = [
        {"unparsed": "ts=x; price=x"},
        {"user_id": "u"},
        {"unparsed": "price=x"},
        {"ts": datetime(1980, 1, 1, tzinfo=UTC)},
        {"ts": GOOD["ts"]},
        {"event_type": "view"},
        {"item_id": "i"},
        {"unparsed": None},
        {"price": 1e9, "amount": 1.0},
        {"price": 1.0},
        {"quantity": 1e9},
        {"quantity": 1.0},
    ]
    found = [rule(**row)]
    for step in mending:
        row |= step
        found.append(rule(**row))
    assert found == [
        "unreadable_row",
        "missing_user",
        "unparsable_time",
        "missing_time",
        "impossible_time",
        "missing_event_type",
        "missing_item",
        "unparsable_value",
        "negative_price",
        "absurd_price",
        "negative_quantity",
        "absurd_quantity",
        None,
    ]


def test_returns_are_purchases_of_a_negative_quantity_or_a_mapped_event() -> None:
    rows = raw(
        {"event_type": "purchase", "quantity": -2.0, "price": 3.0, "amount": -6.0},
        {"event_type": "return", "quantity": -2.0, "price": 3.0, "amount": -6.0},
        {"event_type": "return", "quantity": 2.0, "price": -3.0, "amount": -6.0},
        {"event_type": "return", "quantity": 2.0, "price": 3.0, "amount": 6.0},
        {"event_type": "purchase", "quantity": 2.0, "price": 3.0, "amount": 6.0},
        {"event_type": "purchase", "quantity": 0.0},
        {"event_type": None, "quantity": -1.0},
    )
    found = clean.recognise_returns(rows.lazy()).collect()
    assert found.columns == rows.columns
    assert found.select("event_type", "quantity", "price", "amount").rows() == [
        *[("return", 2.0, 3.0, 6.0)] * 4,
        ("purchase", 2.0, 3.0, 6.0),
        ("purchase", 0.0, None, None),
        (None, -1.0, None, None),
    ]


class Desk:
    """A shop whose log is given row by row, written at a fixed time."""

    columns = ("user", "item", "kind", "time", "price", "quantity", "order", "category")

    def __init__(self, folder: Path) -> None:
        self.shop = Shop(folder)
        self.runs = Runs(self.shop, self.shop.folder / "shop.yaml")
        mapped = {"user_id": "user", "item_id": "item", "ts": "time", "price": "price"}
        mapped |= {"quantity": "quantity", "order_id": "order", "category": "category"}
        self.sources: list[dict[str, Any]] = [
            {
                "path": "raw/events*.csv",
                "columns": mapped,
                "event_type": {"column": "kind"},
                "timezone": "UTC",
            }
        ]

    def put(self, *rows: dict[str, Any], name: str = "events.csv", at: datetime = NOON) -> None:
        """Write views of u1 and i1, but for what is given."""
        view = {"user": "u1", "item": "i1", "kind": "view", "time": "2024-04-01 10:00:00"}
        pl.DataFrame([view | row for row in rows], schema=dict.fromkeys(self.columns, pl.String)).write_csv(
            self.shop.raw / name
        )
        os.utime(self.shop.raw / name, (at.timestamp(), at.timestamp()))

    def clean(self, timezone: str = "UTC", **settings: Any) -> Outcome:
        dataset = {"sources": self.sources, "timezone": timezone}
        self.shop.config(dataset=dataset, clean={"max_refused_share": 1} | settings)
        return self.runs.do("ingest", "clean")


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "shop")


def events(artifact: Artifact) -> pl.DataFrame:
    return table(artifact, "events/*.parquet")


def quarantine(artifact: Artifact) -> pl.DataFrame:
    return table(artifact, "quarantine/*.parquet")


# A tiny dirty log, each row with what is to become of it

DIRTY = ROOT / "data-samples" / "dirty.csv"


def test_each_row_of_the_dirty_log_meets_its_fate(desk: Desk) -> None:
    copy = desk.shop.raw / "events.csv"
    shutil.copyfile(DIRTY, copy)
    os.utime(copy, (NOON.timestamp(), NOON.timestamp()))
    del desk.sources[0]["columns"]["category"]
    desk.sources[0]["event_type"]["map"] = {"buy": "purchase", "addtocart": "cart", "refund": "return"}
    artifact = desk.clean(max_events_per_user_day=10).artifact
    fate = dict.fromkeys(events(artifact)["row"], "clean")
    fate |= dict(quarantine(artifact).select("row", "rule").rows())
    with DIRTY.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.reader(file) if row][1:]
    expected = [row[7] if len(row) > 7 else "unreadable_row" for row in rows]
    assert [fate.get(row, "duplicate") for row in range(1, len(expected) + 1)] == expected
    assert artifact.counts == {
        "raw": 58,
        "clean": 26,
        "quarantined": 29,
        "duplicates": 3,
        "quarantined.absurd_price": 2,
        "quarantined.absurd_quantity": 2,
        "quarantined.bot_like": 3,
        "quarantined.impossible_time": 2,
        "quarantined.missing_event_type": 1,
        "quarantined.missing_item": 2,
        "quarantined.missing_time": 1,
        "quarantined.missing_user": 2,
        "quarantined.negative_price": 2,
        "quarantined.negative_quantity": 1,
        "quarantined.unparsable_time": 5,
        "quarantined.unparsable_value": 4,
        "quarantined.unreadable_row": 2,
        "items": 0,
        "users": 0,
    }
    assert desk.runs.said[1:4] == [
        "clean: 26 events kept of 58, 29 refused, 3 exact duplicates",
        "  refused unparsable_time: 5 rows, e.g. events.csv row 21 (ts=yesterday), events.csv row 22 "
        "(ts=2024-02-30 10:00:00), events.csv row 23 (ts=2024-04-01 25:00:00)",
        "  refused unparsable_value: 4 rows, e.g. events.csv row 31 (price=9,99), events.csv row 32 "
        "(quantity=two), events.csv row 33 (price=NaN)",
    ]
    assert (
        "  refused bot_like: 3 rows, e.g. events.csv row 54, events.csv row 55, events.csv row 56"
        in desk.runs.said
    )
    assert (
        "  refused impossible_time: 2 rows, e.g. events.csv row 26 (1989-12-31 23:59 UTC, received 2024-05-01 12:00 "
        "UTC), events.csv row 27 (2099-01-01 00:00 UTC, received 2024-05-01 12:00 UTC)"
    ) in desk.runs.said


def test_what_is_kept_of_the_dirty_log_is_canonical(desk: Desk) -> None:
    desk.put(
        {"user": " Müller 🛒", "item": "007", "kind": "VIEW", "time": "2024-04-01T12:00:00+02:00"},
        {"user": "u1", "kind": "purchase", "price": "2.50", "quantity": "2", "order": "o1"},
    )
    artifact = desk.clean().artifact
    rows = events(artifact).sort("row")
    assert rows.schema == pl.Schema(EVENTS)
    columns = (
        "user_id",
        "item_id",
        "event_type",
        "ts",
        "price",
        "quantity",
        "amount",
        "order_id",
        "received_at",
    )
    ten = datetime(2024, 4, 1, 10, tzinfo=UTC)
    assert rows.select(columns).rows() == [
        ("Müller 🛒", "007", "view", ten, None, None, None, None, NOON),
        ("u1", "i1", "purchase", ten, 2.5, 2.0, 5.0, "o1", NOON),
    ]


# Duplicates


def test_of_equal_rows_the_one_that_came_first_stays(desk: Desk) -> None:
    row = {"kind": "purchase", "price": "2", "quantity": "1", "order": "o1"}
    desk.put(row, row, name="events-b.csv", at=NOON)
    desk.put(row, row | {"order": "o2"}, name="events-a.csv", at=NOON + timedelta(days=1))
    artifact = desk.clean().artifact
    assert artifact.counts["duplicates"] == 2
    kept = events(artifact).sort("order_id").select("order_id", "row", "received_at").rows()
    assert kept == [("o1", 1, NOON), ("o2", 2, NOON + timedelta(days=1))]


@pytest.mark.parametrize(
    "other",
    [
        {"time": "2024-04-01 10:00:00.000001"},
        {"item": "i2"},
        {"kind": "click"},
        {"price": "1"},
        {"quantity": "1"},
        {"order": "o1"},
        {"category": "a"},
        {"user": "U1"},
    ],
)
def test_rows_that_differ_in_one_column_are_two_events(desk: Desk, other: dict[str, str]) -> None:
    desk.put({}, other)
    counts = desk.clean().artifact.counts
    assert (counts["clean"], counts["duplicates"]) == (2, 0)


# Side tables


def test_category_and_brand_come_from_the_item_where_the_event_has_none(desk: Desk) -> None:
    (desk.shop.raw / "items.csv").write_text("id,cat,make\ni1,a.b,x\ni2,c,\n,d,y\n")
    desk.sources.append(
        {
            "table": "items",
            "path": "raw/items.csv",
            "columns": {"item_id": "id", "category": "cat", "brand": "make"},
        }
    )
    desk.put({"item": "i1"}, {"item": "i1", "category": "own"}, {"item": "i2"}, {"item": "i3"})
    artifact = desk.clean().artifact
    rows = events(artifact).sort("row").select("item_id", "category", "brand").rows()
    assert rows == [("i1", "a.b", "x"), ("i1", "own", "x"), ("i2", "c", None), ("i3", None, None)]
    assert artifact.counts["items"] == 2
    # What the event says and what the item says can be the same: then they are one event.
    desk.put({"item": "i1"}, {"item": "i1", "category": "a.b"}, name="events-2.csv")
    assert desk.clean().artifact.counts["duplicates"] == 2


def test_of_an_item_and_a_user_the_last_row_of_the_last_file_counts(desk: Desk) -> None:
    items = [f"i{n % 50},first{n}" for n in range(500)]
    (desk.shop.raw / "items-1.csv").write_text("id,cat\n" + "\n".join(items) + "\n")
    (desk.shop.raw / "items-2.csv").write_text("id,cat\ni7,old\ni7,new\ni8,\n")
    (desk.shop.raw / "users-1.csv").write_text("id,city\nu1,Bonn\nu2,Ulm\n,Rom\n")
    (desk.shop.raw / "users-2.csv").write_text("id,born\nu1,1980\nu3,1990\n")
    desk.sources += [
        {"table": "items", "path": "raw/items-*.csv", "columns": {"item_id": "id", "category": "cat"}},
        {"table": "users", "path": "raw/users-1.csv", "columns": {"user_id": "id", "town": "city"}},
        {"table": "users", "path": "raw/users-2.csv", "columns": {"user_id": "id", "year": "born"}},
    ]
    desk.put({})
    artifact = desk.clean().artifact
    expected = {f"i{n}": f"first{450 + n}" for n in range(50)} | {"i7": "new", "i8": None}
    stored = table(artifact, "items/*.parquet")
    assert dict(stored.select("item_id", "category").rows()) == expected
    assert stored["item_id"].is_sorted()
    assert table(artifact, "users/*.parquet").to_dict(as_series=False) == {
        "user_id": ["u1", "u2", "u3"],
        "town": [None, "Ulm", None],
        "year": ["1980", None, "1990"],
    }
    assert (artifact.counts["items"], artifact.counts["users"]) == (50, 3)


# Bots


def test_a_user_is_bot_like_from_the_first_event_too_many_of_a_day_on(desk: Desk) -> None:
    """No event can tell what comes after it, so those before it stay."""

    def day(number: int, n: int, user: str) -> list[dict[str, str]]:
        return [{"user": user, "time": f"2024-04-{number:02d} 00:00:{s:02d}"} for s in range(n)]

    desk.put(
        *day(1, 3, "bot"), *day(2, 4, "bot"), *day(3, 6, "bot"), *day(4, 1, "bot"), *day(2, 3, "busy"),
        *day(2, 4, "busier"), *day(3, 4, "busier"),
    )  # fmt: skip
    artifact = desk.clean(max_events_per_user_day=4).artifact
    assert Counter(events(artifact).select("user_id", pl.col("ts").dt.day()).rows()) == {
        ("bot", 1): 3,
        ("bot", 2): 4,
        ("bot", 3): 4,
        ("busy", 2): 3,
        ("busier", 2): 4,
        ("busier", 3): 4,
    }
    refused = quarantine(artifact).sort("ts").select("user_id", pl.col("ts").dt.strftime("%d:%S"), "rule")
    assert refused.rows() == [("bot", at, "bot_like") for at in ("03:04", "03:05", "04:00")]


def test_a_day_is_one_of_the_shops_calendar(desk: Desk) -> None:
    """04:00 in UTC is midnight in New York: six events are three on each of two days."""
    times = [f"2024-04-02 {hour}" for hour in ("02:00", "03:00", "03:59:59", "04:00", "05:00", "06:00")]
    desk.put(*({"time": time} for time in times))
    assert desk.clean(NEW_YORK, max_events_per_user_day=3).artifact.counts["clean"] == 6
    assert desk.clean("UTC", max_events_per_user_day=3).artifact.counts["clean"] == 3


def test_a_users_events_beyond_the_most_are_refused_the_earliest_stay(desk: Desk) -> None:
    desk.put(*({"user": u, "time": f"2024-04-{d:02d}"} for u in ("u1", "u2") for d in range(1, 8)))
    artifact = desk.clean(max_events_per_user=5).artifact
    assert artifact.counts["quarantined.bot_like"] == 4
    assert Counter(quarantine(artifact)["ts"].dt.day()) == {6: 2, 7: 2}
    assert set(quarantine(artifact)["rule"]) == {"bot_like"}


def test_exact_duplicates_make_nobody_a_bot(desk: Desk) -> None:
    desk.put(*[{}] * 10, {"item": "i2"})
    counts = desk.clean(max_events_per_user_day=2).artifact.counts
    assert (counts["clean"], counts["duplicates"], counts["quarantined"]) == (2, 9, 0)


# Outliers


def rounded_up(value: float) -> float:
    """The smallest number of three digits that is not below the value, by decimal arithmetic."""
    exact = Decimal(repr(value))
    unit = Decimal(1).scaleb(exact.adjusted() - 2)
    return float((exact / unit).to_integral_value(ROUND_CEILING) * unit)


def limits_by_hand(rows: list[tuple[int, float]], quantile: float) -> dict[int, float]:
    limits = {}
    for month in {m for m, _ in rows}:
        earlier = sorted(rounded_up(v) for m, v in rows if m < month)
        reached = [v for n, v in enumerate(earlier, 1) if n / len(earlier) >= quantile]
        if reached:
            limits[month] = reached[0]
    return limits


@pytest.mark.parametrize("quantile", [0.6, 0.9, 0.999])
def test_monthly_limits_are_quantiles_of_earlier_months(quantile: float) -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([np.round(rng.lognormal(2, 1.5, 500), 2), [0.29, 0.57, 1.15, 1000, 999.5, 0.01]])
    months = rng.choice([1, 2, 4, 5], values.size)
    days = rng.integers(1, 28, values.size)
    log = raw(
        *(
            {"price": float(v), "ts": datetime(2024, int(m), int(d), 12, tzinfo=UTC)}
            for v, m, d in zip(values, months, days, strict=True)
            if v > 0
        ),
        {"price": 0.0},
        {"price": None},
    )
    parts = [log[:100], log[100:101], log[101:]]
    counts = pl.concat(outliers.value_counts(p.lazy(), "price", "UTC").collect() for p in parts)
    limits = outliers.monthly_limits(counts, quantile)
    by_hand = limits_by_hand(
        [(int(m), float(v)) for m, v in zip(months, values, strict=True) if v > 0], quantile
    )
    assert [m - 2024 * 12 for m in limits["month"]] == [2, 4, 5]
    for month, limit in limits.rows():
        assert limit == pytest.approx(by_hand[month - 2024 * 12], rel=1e-12)


def test_a_log_of_one_month_has_no_limits() -> None:
    counts = outliers.value_counts(raw({"price": 1.0}, {"price": 5.0}).lazy(), "price", "UTC").collect()
    assert outliers.monthly_limits(counts, 0.9).is_empty()
    assert outliers.monthly_limits(counts.clear(), 0.9).is_empty()


def ten_prices_a_month(desk: Desk) -> None:
    """January 1 to 10 and an extreme; February and March 11 to 20."""
    january = [{"time": f"2024-01-{n:02d} 12:00", "price": str(n)} for n in range(1, 10)]
    # In New York this is still January, and no earlier month limits it.
    january.append({"time": "2024-02-01 03:00", "price": "1000"})
    later = [
        {"time": f"2024-{month:02d}-{n:02d} 12:00", "price": str(10 + n)}
        for month in (2, 3)
        for n in range(2, 12)
    ]
    desk.put(*january, *later)


def test_outliers_are_clipped_to_the_limit_of_earlier_months(desk: Desk) -> None:
    ten_prices_a_month(desk)
    artifact = desk.clean(NEW_YORK, outliers={"price": {"quantile": 0.8}}).artifact
    rows = events(artifact).sort("ts")
    assert (artifact.counts["clean"], artifact.counts["quarantined"]) == (30, 0)
    assert rows.columns == list(EVENTS)
    assert rows["price"].to_list() == [*range(1, 10), 1000, *[8] * 10, *range(12, 19), 18, 18, 18]


def test_outliers_are_refused_where_that_is_wanted(desk: Desk) -> None:
    ten_prices_a_month(desk)
    outliers = {"price": {"quantile": 0.8, "action": "quarantine"}, "quantity": {"quantile": 0.9}}
    artifact = desk.clean(NEW_YORK, outliers=outliers).artifact
    refused = quarantine(artifact).sort("ts")
    assert set(refused["rule"]) == {"outlier_price"}
    # Limits are of what came in: a refused value is a value of its month.
    assert refused["price"].to_list() == [*range(12, 22), 19, 20, 21]
    assert artifact.counts["quarantined.outlier_price"] == 13


def test_a_bot_stays_a_bot_where_its_price_is_an_outlier_too(desk: Desk) -> None:
    ten_prices_a_month(desk)
    desk.put(
        *({"user": "bot", "time": f"2024-03-05 10:00:{s:02d}", "price": "5000"} for s in range(5)),
        name="events-bot.csv",
    )
    outliers = {"price": {"quantile": 0.8, "action": "quarantine"}}
    counts = desk.clean(NEW_YORK, outliers=outliers, max_events_per_user_day=4).artifact.counts
    assert counts["quarantined.bot_like"] == 1
    assert counts["quarantined.outlier_price"] == 13 + 4


def test_outlier_settings_default_to_clipping_the_highest_thousandth() -> None:
    assert (Outlier().quantile, Outlier().action) == (0.999, "clip")


# The sum, and when the stage fails


def test_a_sum_that_does_not_close_is_a_fault_of_ours() -> None:
    clean.check_sum({"raw": 10, "clean": 7, "quarantined": 2, "duplicates": 1})
    with pytest.raises(ArtifactError) as error:
        clean.check_sum({"raw": 12345, "clean": 7000, "quarantined": 2, "duplicates": 1})
    assert str(error.value) == (
        "the rows do not add up: 12,345 raw, but 7,000 clean + 2 quarantined + 1 duplicates = 7,003; "
        "nothing was published. This is a fault of ecbehave"
    )


def test_too_large_a_share_of_refused_rows_fails(desk: Desk) -> None:
    desk.put({}, {"item": "i2"}, {"user": ""}, {"time": "never"})
    assert desk.clean(max_refused_share=0.5).artifact.counts["quarantined"] == 2
    with pytest.raises(DataError) as error:
        desk.clean(max_refused_share=0.49)
    assert str(error.value) == (
        "2 of 4 rows are refused, more than clean.max_refused_share (0.49):\n"
        "  missing_user: 1 row, e.g. events.csv row 3\n"
        "  unparsable_time: 1 row, e.g. events.csv row 4 (ts=never)\n"
        "Of missing_user: check dataset.sources[].columns.user_id. Or raise clean.max_refused_share, and look into "
        "clean/quarantine/ of the workspace"
    )


def test_only_the_most_frequent_rules_are_listed_and_one_remedy_is_given(desk: Desk) -> None:
    one_each = [{"user": ""}, {"time": ""}, {"kind": ""}, {"item": ""}, {"price": "x"}, {"price": "-1"}]
    desk.put(*one_each, *[{"time": "01.04.2024", "item": f"i{n}"} for n in range(4)], {})
    with pytest.raises(DataError) as error:
        desk.clean(max_refused_share=0.1)
    lines = str(error.value).splitlines()
    assert [line.split(":")[0].strip() for line in lines[1:-1]] == [
        "unparsable_time", "missing_user", "missing_time", "missing_event_type", "missing_item",
    ]  # fmt: skip
    assert lines[1] == (
        "  unparsable_time: 4 rows, e.g. events.csv row 7 (ts=01.04.2024), events.csv row 8 (ts=01.04.2024), "
        "events.csv row 9 (ts=01.04.2024)"
    )
    assert lines[-1].startswith(
        "Of unparsable_time: set dataset.sources[].time_format to a pattern in quotes, such as '%d.%m.%Y %H:%M'. Or "
    )


def test_every_rule_has_a_remedy() -> None:
    of_users = {"bot_like", "outlier_price", "outlier_quantity", "outlier_amount"}
    assert {rule for *_, rule in CASES} | of_users == set(REMEDIES)


def test_a_log_without_rows_is_an_error(desk: Desk) -> None:
    desk.put()
    with pytest.raises(DataError) as error:
        desk.clean()
    assert str(error.value) == (
        f"the log has no event: no row follows the header in {desk.shop.raw}/events.csv; bring files with events"
    )


def test_a_log_with_no_row_left_is_an_error(desk: Desk) -> None:
    desk.put({"user": ""}, {"user": "", "item": "i2"})
    with pytest.raises(DataError) as error:
        desk.clean()
    assert str(error.value) == (
        "no event is left: all 2 rows are refused:\n"
        "  missing_user: 2 rows, e.g. events.csv row 1, events.csv row 2\n"
        "Of missing_user: check dataset.sources[].columns.user_id. Or raise clean.max_refused_share, and look into "
        "clean/quarantine/ of the workspace"
    )


def test_facts_of_the_log_are_those_of_what_was_kept(desk: Desk) -> None:
    desk.put(
        {"time": "2024-03-05 07:00", "kind": "cart"},
        {"time": "2024-03-02 07:00", "kind": "cart", "user": "u2"},
        {"time": "2024-03-09 07:00"},
        {"time": "2024-03-01 07:00", "user": ""},
    )
    desk.put({"time": "2024-03-10 08:00", "user": "u3"}, name="events-2.csv", at=NOON + timedelta(hours=1))
    assert desk.clean().artifact.info == {
        "start": "2024-03-02T07:00:00+00:00",
        "end": "2024-03-10T08:00:00+00:00",
        "received": "2024-05-01T13:00:00+00:00",
        "first_seen": {"cart": "2024-03-02T07:00:00+00:00", "view": "2024-03-09T07:00:00+00:00"},
        "n_buckets": 1,
    }


# Buckets


def many_users(desk: Desk, n_rows: int = 90_000) -> None:
    rng = np.random.default_rng(0)
    desk.put({})
    log = pl.DataFrame(
        {
            "user": rng.integers(0, 3000, n_rows).astype(str),
            "item": "i1",
            "kind": rng.choice(["view", "cart"], n_rows),
            "time": pl.Series(rng.integers(1_711_000_000, 1_714_000_000, n_rows)),
        }
    )
    log.select(*log.columns, *(pl.lit("").alias(c) for c in Desk.columns[4:])).write_csv(
        desk.shop.raw / "events.csv"
    )


def test_a_user_is_whole_in_one_bucket_and_events_are_in_their_order(desk: Desk) -> None:
    many_users(desk)
    desk.runs.memory_bytes = 1
    artifact = desk.clean().artifact
    files = clean.bucket_files(artifact)
    assert artifact.info["n_buckets"] == len(files) == 8
    seen: set[str] = set()
    for file in files:
        users = set(pl.read_parquet(file)["user_id"])
        assert not users & seen
        seen |= users
    whole = events(artifact)
    assert whole.height == artifact.counts["clean"] > 80_000
    assert whole.equals(whole.sort(EVENT_ORDER))
    assert whole["user_hash"].equals(user_hash(whole["user_id"]))


def test_the_number_of_buckets_changes_nothing_but_the_files(desk: Desk) -> None:
    many_users(desk)
    one = desk.clean(max_events_per_user_day=3).artifact
    kept, refused = events(one), quarantine(one)
    desk.runs.memory_bytes = 1
    outcome = desk.runs.do("clean", force=True)
    assert len(clean.bucket_files(outcome.artifact)) == 8
    assert events(outcome.artifact).equals(kept)
    assert quarantine(outcome.artifact).equals(refused)
    assert outcome.artifact.counts == one.counts
    assert outcome.artifact.fingerprint == one.fingerprint


def test_the_order_of_the_source_rows_changes_nothing(desk: Desk, tmp_path: Path) -> None:
    rng = random.Random(0)
    rows = [
        {
            "user": f"u{rng.randrange(5)}",
            "item": f"i{rng.randrange(3)}",
            "time": f"2024-04-0{rng.randrange(1, 4)}",
        }
        for _ in range(60)
    ]
    desk.put(*rows)
    shuffled = Desk(tmp_path / "shuffled")
    shuffled.put(*rng.sample(rows, len(rows)))
    origin = ["batch", "row"]
    first, second = (d.clean(max_events_per_user_day=2).artifact for d in (desk, shuffled))
    assert first.counts == second.counts
    assert first.counts["quarantined.bot_like"] > 0
    assert events(first).drop(origin).equals(events(second).drop(origin))


# Any dirt

FIELDS: dict[str, list[str]] = {
    "user": ["u1", "u1", "u2", "u3", "", " "],
    "item": ["i1", "i1", "i2", ""],
    "kind": ["view", "VIEW", "purchase", "purchase", "return", "search", ""],
    "time": [
        "2024-04-01",
        "2024-04-01",
        "2024-04-02 10:00",
        "1711965960",
        "",
        "soon",
        "1980-01-01",
        "2044-01-01",
    ],
    "price": ["", "1", "1", "2.5", "-1", "x", "nan", "5000"],
    "quantity": ["", "1", "-1", "x", "0"],
    "order": ["", "o1"],
    "category": ["", "a.b"],
}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    rows=st.lists(st.fixed_dictionaries({c: st.sampled_from(v) for c, v in FIELDS.items()}), max_size=30),
    n_files=st.integers(1, 3),
    most=st.integers(1, 4),
)
def test_the_sum_closes_on_any_log(rows: list[dict[str, str]], n_files: int, most: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        desk = Desk(Path(folder) / "shop")
        desk.put({"user": "keeper"})
        for n in range(n_files):
            desk.put(*rows[n::n_files], name=f"events-{n}.csv")
        outliers = {"price": {"quantile": 0.6, "action": "quarantine"}}
        artifact = desk.clean(max_price=1000, max_events_per_user_day=most, outliers=outliers).artifact
        counts = artifact.counts
        kept, refused = events(artifact), quarantine(artifact)
        taken = table(desk.runs.context().workspace.read("events_raw"), "events/*.parquet")  # type: ignore[arg-type]
    assert counts["raw"] == counts["clean"] + counts["quarantined"] + counts["duplicates"]
    assert (counts["clean"], counts["quarantined"]) == (kept.height, refused.height)
    # Files of the same content are one batch, so raw may be less than what was written.
    assert counts["raw"] == taken.height <= len(rows) + 1
    origin = ["batch", "row"]
    fates = pl.concat([kept.select(origin), refused.select(origin)])
    assert fates.is_unique().all()
    assert fates.join(taken, on=origin, how="anti").is_empty()
    assert kept.drop("batch", "row", "received_at", "user_hash").is_unique().all()
    # An independent reading of the simplest rules.
    for user, kind, item in kept.select("user_id", "event_type", "item_id").rows():
        assert user
        assert kind
        assert item or kind == "search"
    assert kept["ts"].is_between(datetime(1990, 1, 1, tzinfo=UTC), NOON + timedelta(days=1)).all()
    for column in ("price", "quantity", "amount"):
        assert (kept[column].drop_nulls() >= 0).all()
    per_day = kept.group_by("user_id", pl.col("ts").dt.date()).len()
    assert per_day["len"].max() <= most  # type: ignore[operator]


@pytest.mark.slow
def test_a_million_events_of_one_user_on_one_day_are_refused(tmp_path: Path) -> None:
    shop = Shop(tmp_path / "shop")
    rows = pl.DataFrame({"n": range(1_000_000)}).select(
        user=pl.lit("bot"),
        item=pl.format("i{}", pl.col("n") % 97),
        kind=pl.lit("view"),
        time=1_712_000_000 + pl.col("n") % 20_000,
        price=pl.col("n") % 50,
        quantity=pl.lit(None),
        order=pl.col("n"),
    )
    shop.write(pl.concat([rows, rows.head(1).with_columns(user=pl.lit("u1"))]))
    del shop.settings["dataset"]["sources"][1]
    shop.json("ingest")
    result = shop.json("clean", config=shop.config(clean={"max_refused_share": 1}))
    assert result["counts"]["quarantined.bot_like"] == 998_000
    assert result["counts"]["clean"] == 2_001
    assert result["peak_memory_bytes"] < 2_500_000_000


def test_a_user_in_two_buckets_is_noticed() -> None:
    users = pl.Series("user_id", [f"u{i}" for i in range(100)])
    events = pl.DataFrame({"user_id": users}).with_columns(user_hash(users))
    for bucket in range(4):
        clean.check_whole(events.filter(bucket_of(4) == bucket), bucket, 4)
    expected = (
        "bucket 1 of 4 holds events of users of other buckets; nothing was published. This is a fault of "
    )
    with pytest.raises(ArtifactError) as error:
        clean.check_whole(events.filter(bucket_of(4) == 2), 1, 4)
    assert str(error.value) == f"{expected}ecbehave"
    moved = events.filter(bucket_of(4) == 1).with_columns(user_id=pl.lit("somebody else"))
    with pytest.raises(ArtifactError):
        clean.check_whole(moved, 1, 4)
