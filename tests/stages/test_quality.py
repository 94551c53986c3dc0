"""The data quality report: profiles against a slow oracle, planted faults found, limits just kept and just exceeded."""

import itertools
import json
from collections import Counter
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from functools import reduce
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ecbehave.config.clean import Quality as Limits
from ecbehave.errors import DataError
from ecbehave.report.quality_content import Finding, Quality
from ecbehave.schema import EVENT_COLUMNS, EVENTS, QUARANTINE
from ecbehave.stages.quality import check_quality, quality, write_quality
from ecbehave.stages.quality_profile import (
    MOST_EVENT_TYPES,
    OTHER_TYPES,
    BatchProfile,
    PeriodProfile,
    batch_profile,
    merge_columns,
    period_profile,
)
from ecbehave.stages.refused import REMEDIES, Refused

WEEK = timedelta(days=7)
MAPPED = ("user_id", "ts", "item_id", "price")
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
MONDAY = date(2024, 1, 1)
GOOD: dict[str, Any] = {
    "user_id": "u1",
    "ts": NOON,
    "event_type": "view",
    "item_id": "i1",
    "received_at": NOON,
    "batch": "b1",
}


def judged(*rows: dict[str, Any]) -> pl.DataFrame:
    """Rows as `clean` has judged them: a good view, but for what is given."""
    numbered = [GOOD | {"row": i} | row for i, row in enumerate(rows, start=1)]
    return pl.DataFrame(numbered, schema=QUARANTINE)


def profile(rows: pl.DataFrame, mapped: tuple[str, ...] = MAPPED, timezone: str = "UTC") -> dict[str, Any]:
    return batch_profile(rows, mapped, timezone, WEEK).to_facts(mapped)


# Profiles of batches


TEXTS = st.one_of(st.none(), st.sampled_from(["view", "é", "", "a" * 40, "b" * 41]), st.text(max_size=3))
NUMBERS = st.one_of(st.none(), st.sampled_from([0.0, -0.0]), st.floats(allow_nan=False, allow_infinity=False))
TIMES = st.datetimes(datetime(1990, 1, 2), datetime(2030, 1, 1)).map(lambda t: t.replace(tzinfo=UTC))
UNPARSED = st.sampled_from([None, None, "price=a", "ts=x; price=b", "row=u1; price=1", "quantity=; price=x"])
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "user_id": TEXTS,
            "ts": TIMES,
            "event_type": st.sampled_from(["view", "cart"]),
            "brand": TEXTS,
            "price": NUMBERS,
            "received_at": TIMES,
            "unparsed": UNPARSED,
            "rule": st.sampled_from([None, None, "missing_user"]),
        }
    ),
    max_size=30,
)
CUTS = st.lists(st.integers(0, 30), max_size=4)
ZONES = st.sampled_from(["UTC", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"])


def oracle(rows: list[dict[str, Any]], timezone: str) -> dict[str, Any]:
    """The profile, row by row."""

    def column(name: str) -> dict[str, Any]:
        values = [row.get(name) for row in rows]
        present = [v for v in values if v is not None]
        measured: list[Any] = present
        if EVENT_COLUMNS[name] == pl.String:
            measured = [len(v) for v in present]
        elif name in ("ts", "received_at"):
            measured = [(v - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) for v in present]
        listed = None
        if EVENT_COLUMNS[name] == pl.String and len(set(present)) <= 20 and max(measured, default=0) <= 40:
            listed = sorted(set(present))
        complaints = [(row["unparsed"] or "").split("; ") for row in rows]
        return {
            "nulls": len(values) - len(present),
            "unparsed": sum(
                not c[0].startswith("row=") and any(part.startswith(f"{name}=") for part in c)
                for c in complaints
            ),
            "low": min(measured, default=None),
            "high": max(measured, default=None),
            "values": listed,
        }

    accepted = [row for row in rows if row["rule"] is None]
    days = Counter(f"{row['ts'].astimezone(ZoneInfo(timezone)).date()}" for row in accepted)
    columns = {name: column(name) for name in EVENT_COLUMNS}
    return {
        "rows": len(rows),
        "accepted": len(accepted),
        "columns": {
            n: c
            for n, c in columns.items()
            if n in (*MAPPED, "event_type", "received_at") or c["nulls"] < len(rows)
        },
        "days": dict(sorted(days.items())),
        "late": sum(row["received_at"] - row["ts"] > WEEK for row in accepted),
    }


def pieces(rows: pl.DataFrame, cuts: list[int]) -> list[pl.DataFrame]:
    ends = [0, *sorted(min(cut, rows.height) for cut in cuts), rows.height]
    return [rows[start:end] for start, end in itertools.pairwise(ends)]


@settings(deadline=None)
@given(ROWS, CUTS, ZONES)
def test_a_batch_cut_in_any_way_has_the_profile_that_a_slow_count_gives(rows, cuts, timezone):
    frame = pl.DataFrame(rows, schema=QUARANTINE)
    mapped = (*MAPPED, "received_at")
    parts = [batch_profile(part, mapped, timezone, WEEK) for part in pieces(frame, cuts)]
    expected = oracle(rows, timezone)
    assert reduce(BatchProfile.merge, parts).to_facts(mapped) == expected
    assert batch_profile(frame, mapped, timezone, WEEK).to_facts(mapped) == expected
    assert json.loads(json.dumps(expected)) == expected


@settings(deadline=None)
@given(ROWS, CUTS)
def test_columns_of_several_batches_are_those_of_all_their_rows(rows, cuts):
    frame = pl.DataFrame(rows, schema=QUARANTINE)
    facts = [profile(part) for part in pieces(frame, cuts)]
    merged = merge_columns([(f["rows"], json.loads(json.dumps(f["columns"]))) for f in facts])
    assert {name: asdict(column) for name, column in merged.items()} == profile(frame)["columns"]


def test_many_or_long_values_are_not_listed():
    def values(texts: list[str]) -> Any:
        return profile(judged(*({"item_id": text} for text in texts)))["columns"]["item_id"]["values"]

    assert values([f"{i:02d}" for i in range(20)]) == [f"{i:02d}" for i in range(20)]
    assert values([f"{i:02d}" for i in range(21)]) is None
    assert values(["a" * 40]) == ["a" * 40]
    assert values(["a" * 41]) is None
    # The value that makes them too many comes after the rows that are looked at first.
    few = [f"{i % 20:02d}" for i in range(2_000)]
    assert len(values(few)) == 20
    assert values([*few, "another"]) is None


def test_minus_zero_is_zero():
    columns = profile(judged({"price": -0.0}, {"price": 0.0}))["columns"]
    assert json.dumps([columns["price"]["low"], columns["price"]["high"]]) == "[0.0, 0.0]"


def test_late_rows_are_counted_where_received_at_is_mapped():
    rows = judged(
        {"ts": NOON - WEEK},
        {"ts": NOON - WEEK - timedelta(microseconds=1)},
        {"ts": NOON - 9 * WEEK, "rule": "missing_user"},
    )
    assert profile(rows, (*MAPPED, "received_at"))["late"] == 1
    assert profile(rows)["late"] is None


# Profiles of periods


def clean_rows(rows: list[tuple[str, datetime]]) -> pl.DataFrame:
    return pl.DataFrame([{"event_type": kind, "ts": ts} for kind, ts in rows], schema=EVENTS)


def refused_rows(rows: list[tuple[str, str, str]]) -> pl.DataFrame:
    keys = ("batch", "user_id", "rule")
    return pl.DataFrame([dict(zip(keys, row, strict=True)) for row in rows], schema=QUARANTINE)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["view", "cart", "x"]), TIMES), max_size=20),
    st.lists(st.sampled_from(["b1", "b2"]), max_size=6),
    st.lists(
        st.tuples(
            st.sampled_from(["b1", "b2"]),
            st.sampled_from(["u1", "u2"]),
            st.sampled_from(["bot_like", "outlier_price"]),
        ),
        max_size=6,
    ),
    CUTS,
    ZONES,
)
def test_a_period_cut_by_user_has_the_profile_that_a_slow_count_gives(kept, dropped, refused, cuts, timezone):
    frames = (
        clean_rows(kept),
        pl.DataFrame({"batch": dropped}, schema={"batch": pl.String}),
        refused_rows(refused),
    )
    parts = [
        period_profile(*part, {"price": 2, "amount": 0}, timezone)
        for part in zip(*(pieces(frame, cuts) for frame in frames), strict=True)
    ]
    days: dict[str, Counter[str]] = {}
    for kind, ts in kept:
        days.setdefault(kind, Counter())[f"{ts.astimezone(ZoneInfo(timezone)).date()}"] += 1
    expected = {
        "rows": len(kept),
        "days": days,
        "duplicates": Counter(dropped),
        "refused": Counter(batch for batch, _, _ in refused),
        "bots": Counter(user for _, user, rule in refused if rule == "bot_like"),
        "clipped": {"price": 2 * len(parts)},
    }
    facts = reduce(PeriodProfile.merge, parts, PeriodProfile()).to_facts()
    assert facts == expected
    whole = period_profile(*frames, {"price": 2 * len(parts), "amount": 0}, timezone)
    assert whole.to_facts() == expected
    assert json.loads(json.dumps(facts)) == facts


def test_event_types_without_a_meaning_are_taken_as_one_where_they_are_too_many():
    named = [(f"type-{i:02d}", NOON) for i in range(MOST_EVENT_TYPES - 1)]
    facts = period_profile(*frames_of([("view", NOON), *named]), {}, "UTC").to_facts()
    assert len(facts["days"]) == MOST_EVENT_TYPES
    facts = period_profile(*frames_of([("view", NOON), *named, ("other", NOON)]), {}, "UTC").to_facts()
    assert facts["days"] == {OTHER_TYPES: {"2024-05-01": MOST_EVENT_TYPES}, "view": {"2024-05-01": 1}}


def frames_of(kept: list[tuple[str, datetime]]) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    return clean_rows(kept), pl.DataFrame(schema={"batch": pl.String}), refused_rows([])


# The whole


def batch(
    name: str = "b1",
    received: str = "2024-12-31T00:00:00+00:00",
    settings: str = "s1",
    rows: int = 1_000,
    days: dict[str, int] | None = None,
    late: int | None = None,
    **columns: dict[str, Any],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A batch with its profile; all rows are accepted unless `days` hold fewer."""
    at = int(datetime.fromisoformat(received).timestamp()) * 1_000_000
    empty = {"nulls": 0, "unparsed": 0, "low": None, "high": None, "values": None}
    about = {"id": name, "path": f"/shop/{name}.csv", "settings": settings, "received_at": received}
    counted = {
        "rows": rows,
        "accepted": rows if days is None else sum(days.values()),
        "columns": {n: empty | c for n, c in columns.items()}
        | {"received_at": empty | {"low": at, "high": at}},
        "days": days or {},
        "late": late,
    }
    return about, counted


def period(
    days: dict[str, dict[date, int]] | None = None,
    duplicates: dict[str, int] | None = None,
    refused: dict[str, int] | None = None,
    bots: dict[str, int] | None = None,
    clipped: dict[str, int] | None = None,
) -> dict[str, Any]:
    by_type = {n: {f"{day}": n_rows for day, n_rows in d.items() if n_rows} for n, d in (days or {}).items()}
    return {
        "rows": sum(sum(d.values()) for d in by_type.values()),
        "days": by_type,
        "duplicates": duplicates or {},
        "refused": refused or {},
        "bots": bots or {},
        "clipped": clipped or {},
    }


def refusals(**rules: int) -> Refused:
    refused = Refused({"b1": "/shop/b1.csv"})
    rows = [("b1", "u1", rule) for rule, n in rules.items() for _ in range(n)]
    refused.add(refused_rows(rows).with_columns(row=pl.lit(7, pl.UInt32)))
    return refused


def report(
    *batches: tuple[dict[str, Any], dict[str, Any]],
    periods: list[dict[str, Any]] | None = None,
    refused: Refused | None = None,
    sources: list[tuple[str, str]] | None = None,
    timezone: str = "UTC",
    **limits: Any,
) -> Quality:
    return quality(
        batches or (batch(),),
        periods or [],
        refused or refusals(),
        sources or [("s1", "/shop/raw/*.csv")],
        Limits(**limits),
        timezone,
    )


def daily(rows: list[int], start: date = MONDAY) -> dict[date, int]:
    return {start + timedelta(days=i): n for i, n in enumerate(rows)}


def texts(found: Quality) -> list[str]:
    return [finding.text for finding in found.findings]


def test_the_whole_adds_up_batches_and_periods():
    first = batch(
        "b1",
        rows=10,
        days={"2024-01-01": 8},
        price={"nulls": 2, "unparsed": 1, "low": 1.5, "high": 4.0},
        user_id={"low": 1, "high": 3, "values": ["a", "abc"]},
    )
    second = batch(
        "b2",
        "2024-12-31T00:00:01.500000+00:00",
        rows=5,
        days={"2024-01-02": 5},
        price={"low": 0.5, "high": 2.0},
    )
    other = batch("b3", settings="s3", rows=4, days={"2024-01-02": 4})
    found = report(
        second,
        other,
        first,
        periods=[
            period({"view": {MONDAY: 6}}, {"b1": 1}, {"b1": 1}, {"u1": 1}, {"price": 3}),
            period({"view": {date(2024, 1, 8): 3}, "cart": {date(2024, 1, 8): 4}}, {"b3": 2}),
        ],
        refused=refusals(missing_user=2, bot_like=1, outlier_amount=5),
        sources=[
            ("s1", "/shop/raw/events-*.csv"),
            ("s2", "items.csv"),
            ("s3", "b.csv"),
            ("s1", "/shop/more.csv"),
        ],
    )
    assert (found.rows, found.files, found.clean, found.duplicates, found.refused) == (19, 3, 13, 3, 8)
    assert (found.first_day, found.last_day) == (MONDAY, date(2024, 1, 8))
    one, three = found.sources
    assert (one.key, one.path) == ("dataset.sources[0]", "raw/events-*.csv, shop/more.csv")
    assert (one.files, one.rows, one.refused, one.duplicates) == (2, 15, 3, 1)
    assert (three.key, three.path, three.rows, three.duplicates) == ("dataset.sources[2]", "b.csv", 4, 2)
    price = next(c for c in one.columns if c.name == "price")
    assert (price.kind, price.nulls, price.unparsed, price.low, price.high) == ("number", 2, 1, 0.5, 4.0)
    user = next(c for c in one.columns if c.name == "user_id")
    assert (user.kind, user.nulls, user.values) == ("text", 5, ["a", "abc"])
    received = one.columns[-1]
    assert (received.kind, received.low, received.high) == (
        "time",
        "2024-12-31T00:00:00+00:00",
        "2024-12-31T00:00:01+00:00",
    )
    assert [(v.event_type, sum(v.rows), len(v.rows)) for v in found.volumes] == [
        ("view", 9, 8),
        ("cart", 4, 8),
    ]
    assert [(r.rule, r.rows, r.remedy) for r in found.refused_rules] == [
        ("outlier_amount", 5, REMEDIES["outlier_amount"]),
        ("missing_user", 2, REMEDIES["missing_user"]),
        ("bot_like", 1, REMEDIES["bot_like"]),
    ]
    assert found.refused_rules[0].examples == ["b1.csv row 7"] * 3
    assert [(b.user_id, b.rows) for b in found.bots] == [("u1", 1)]
    assert [(o.column, o.clipped, o.refused) for o in found.outliers] == [("amount", 0, 5), ("price", 3, 0)]


def test_the_order_of_batches_does_not_matter():
    batches = [batch(f"b{i}", days={f"2024-01-{10 - i:02d}": 900, "2024-01-01": 1}) for i in range(1, 5)]
    assert report(*batches) == report(*batches[::-1])


def test_a_log_without_a_clean_row_has_a_report():
    found = report(batch(rows=3, days={}), refused=refusals(missing_user=3))
    assert (found.first_day, found.volumes) == (None, [])
    assert texts(found) == ["3 rows (100 %) are refused as missing_user, e.g. b1.csv row 7"]


def test_only_the_bots_with_the_most_rows_are_listed():
    bots = {f"u{i:02d}": 1 + i // 2 for i in range(30)}
    found = report(periods=[period(bots=bots), period(bots={"u00": 50})], refused=refusals(bot_like=9))
    assert found.n_bots == 30
    assert [(b.user_id, b.rows) for b in found.bots[:3]] == [("u00", 51), ("u28", 15), ("u29", 15)]
    assert len(found.bots) == 20


# Late rows behind earlier files


DAY = timedelta(days=1)


def delivered(name: str, received: datetime, **days: int) -> Any:
    of_day = {day.removeprefix("d").replace("_", "-"): n for day, n in days.items()}
    return batch(name, received.isoformat(), days=of_day, rows=sum(days.values()))


def test_rows_far_behind_what_earlier_files_reach_to_are_late():
    first = delivered("b1", NOON, d2023_01_01=5, d2024_05_01=500)
    on_time = delivered("b2", NOON + DAY, d2024_04_24=3, d2024_05_02=500)
    late = delivered("b3", NOON + 2 * DAY, d2024_04_24=3, d2024_04_25=4, d2024_05_03=500)
    found = report(first, on_time, late)
    # The first file reaches to May 1, the second to May 2: April 24 lies 7 and 8 days before.
    assert found.sources[0].late == 3
    assert report(late, first, on_time, late_after="8d").sources[0].late == 0


def test_files_are_compared_in_the_order_in_which_they_came():
    first = delivered("z", NOON, d2024_05_01=500)
    second = delivered("y", NOON + DAY, d2024_04_28=500)
    third = delivered("x", NOON + 2 * DAY, d2024_04_22=7, d2024_05_03=500)
    assert report(third, second, first).sources[0].late == 7
    assert report(third, second, first, late_after="9d").sources[0].late == 0


def test_files_of_one_delivery_make_no_row_late():
    minutes = timedelta(minutes=59)
    files = (
        delivered("b1", NOON, d2024_05_01=500),
        delivered("b2", NOON + minutes, d2024_01_01=500),
    )
    assert report(*files).sources[0].late == 0
    files = (files[0], delivered("b2", NOON + timedelta(hours=1), d2024_01_01=500))
    assert report(*files).sources[0].late == 500


def test_a_stray_row_in_the_future_makes_no_row_late():
    first = delivered("b1", NOON, d2024_05_01=999, d2025_01_01=1)
    assert report(first, delivered("b2", NOON + DAY, d2024_05_02=500)).sources[0].late == 0
    first = delivered("b1", NOON, d2024_05_01=900, d2025_01_01=100)
    assert report(first, delivered("b2", NOON + DAY, d2024_05_02=500)).sources[0].late == 500


# Gaps and changes


def on_days(rows: list[int], kind: str = "view", start: date = MONDAY, **limits: Any) -> Quality:
    """The report on a log of one type of event."""
    return report(batch(rows=sum(rows)), periods=[period({kind: daily(rows, start)})], **limits)


def gaps(rows: list[int]) -> list[tuple[str, str, bool]]:
    return [(f"{g.start}", f"{g.end}", g.is_open) for g in on_days(rows).gaps]


def test_days_without_an_event_are_gaps():
    rows = [5] * 56
    assert gaps(rows) == []
    rows[20] = rows[30] = rows[31] = 0
    assert gaps(rows) == [("2024-01-21", "2024-01-21", False), ("2024-01-31", "2024-02-01", False)]


def test_weekdays_on_which_the_shop_is_closed_are_no_gaps():
    rows = [5, 5, 5, 5, 5, 0, 0] * 8
    assert gaps(rows) == []
    rows[25] = rows[28] = 0  # a Friday, and the Monday after that weekend
    assert gaps(rows) == [("2024-01-26", "2024-01-29", False)]
    # A weekday counts from three of four on.
    assert gaps([5, 5, 5, 5, 5, 5, 5] * 3 + [5, 5, 5, 5, 5, 5, 0] + [5] * 7)[0][0] == "2024-01-28"
    assert gaps(([5] * 7 + [5, 5, 5, 5, 5, 5, 0]) * 4) == []


def test_under_four_weeks_nothing_is_expected():
    assert gaps([5, 0, *[5] * 25]) == []
    assert len(gaps([5, 0, *[5] * 26])) == 1


def test_a_type_that_stops_has_an_open_gap():
    stopped = {"view": daily([50] * 60), "cart": daily([5] * 40)}
    found = report(periods=[period(stopped)])
    assert [(g.event_type, g.start, g.end, g.is_open) for g in found.gaps] == [
        ("cart", date(2024, 2, 10), date(2024, 2, 29), True)
    ]
    assert texts(found) == ["cart events: none since 2024-02-10 (20 days, to the end of the log)"]


def test_an_open_gap_is_told_before_a_longer_one():
    stopped = {"view": daily([50] * 100), "cart": daily([50] * 30 + [0] * 9 + [50] * 58)}
    assert texts(report(periods=[period(stopped)])) == [
        "cart events: none since 2024-04-07 (3 days, to the end of the log), and 1 more time"
    ]


def test_a_type_that_starts_has_no_gap_before():
    started = {"view": daily([500] * 60), "cart": daily([1] + [0] * 9 + [100] * 50)}
    assert report(periods=[period(started)]).gaps == []


def test_the_last_day_is_judged_once_it_is_over():
    def found(received: str) -> list[str]:
        days = {"view": daily([50] * 60), "cart": daily([50] * 59)}
        one = report(batch(received=received), periods=[period(days)], timezone="America/New_York")
        return [f"{g.start}" for g in one.gaps]

    assert found("2024-03-01T04:59:59+00:00") == []  # before midnight in New York
    rows = [50] * 59 + [10]
    for received, n in (("2024-02-29T23:00:00+00:00", 0), ("2024-03-01T00:00:00+00:00", 1)):
        one = report(batch(received=received), periods=[period({"view": daily(rows)})], min_events_per_day=11)
        assert (len(one.changes), len(one.failures)) == (n, n)
    assert found("2024-03-01T05:00:00+00:00") == ["2024-02-29"]


def test_a_log_that_is_older_than_its_days_is_not_judged():
    early = batch(received="2023-12-20T00:00:00+00:00")
    rows = [50] * 30 + [0] * 5 + [50] * 10 + [500] + [50] * 19
    found = report(early, periods=[period({"view": daily(rows)})], min_events_per_day=50)
    assert (found.gaps, found.changes, found.findings) == ([], [], [])


def changes(rows: list[int], **limits: Any) -> list[tuple[str, str, str, int, float]]:
    return [(f"{c.start}", f"{c.end}", f"{c.day}", c.rows, c.usual) for c in on_days(rows, **limits).changes]


def test_usual_is_the_median_of_the_same_weekday_in_the_four_weeks_before():
    rows = [100 + i for i in range(42)]
    usual = on_days(rows).volumes[0].usual
    assert usual[:28] == [None] * 28
    assert usual[28:31] == [(107 + 114) / 2, (108 + 115) / 2, (109 + 116) / 2]


def test_days_in_a_row_that_are_far_off_are_one_change():
    rows = [100] * 60
    rows[35], rows[36], rows[37], rows[40] = 301, 400, 310, 350
    rows[41] = rows[42] = 33
    assert changes(rows) == [
        ("2024-02-05", "2024-02-07", "2024-02-06", 400, 100),
        ("2024-02-10", "2024-02-10", "2024-02-10", 350, 100),
        ("2024-02-11", "2024-02-12", "2024-02-11", 33, 100),
    ]
    fewer = on_days([100] * 40 + [32, 20, 33] + [100] * 17).changes
    assert [(c.start, c.day) for c in fewer] == [(date(2024, 2, 10), date(2024, 2, 11))]
    rows[36] = rows[35] = 300
    assert [start for start, *_ in changes(rows)] == ["2024-02-10", "2024-02-07", "2024-02-11"]


def test_what_chance_can_do_is_no_change():
    # Usual 9: too few. Usual 10: four standard deviations more are 22.6.
    assert changes([9] * 40 + [200] + [9] * 9) == []
    assert changes([10] * 40 + [22] + [10] * 9, max_volume_change=2) == []
    assert len(changes([10] * 40 + [23] + [10] * 9, max_volume_change=2)) == 1
    assert changes([100] * 40 + [0] + [100] * 9) == []  # a gap


def test_a_limit_below_three_lists_smaller_changes():
    rows = [1_000] * 40 + [1_600] + [1_000] * 9
    assert changes(rows) == []
    assert len(changes(rows, max_volume_change=1.5)) == 1
    assert changes(rows, max_volume_change=1.6) == []


def test_only_the_largest_changes_are_listed():
    weeks = [[500 + w, 100, 500, 100, 500, 100, 100] if w % 5 == 4 else [100] * 7 for w in range(46)]
    rows = [n for week in weeks for n in week]
    found = on_days(rows).changes
    assert len(found) == 20
    assert [c.factor for c in found] == sorted((c.factor for c in found), reverse=True)


def test_stray_events_long_before_the_rest_are_told():
    rows = [3] + [0] * 99 + [100] * 60
    rows[130] = 0
    found = on_days(rows)
    assert (found.first_day, found.begins) == (MONDAY, date(2024, 4, 10))
    assert texts(found)[-1] == (
        "3 events lie long before the rest, which begins on 2024-04-10: the first one is of 2024-01-01"
    )
    assert [g.start for g in found.gaps] == [date(2024, 5, 10)]
    assert on_days(rows, min_events_per_day=1).failures[0].startswith("1 day has too few events")
    assert on_days([1] + [0] * 28 + [111] * 9).begins == date(2024, 1, 30)
    assert on_days([1] + [0] * 28 + [110] * 9).begins == MONDAY  # more than one of a thousand
    near = on_days([1] + [0] * 27 + [1_000] * 60)
    assert near.findings == []
    # Few events on most days are no strays: the shop has grown.
    grown = on_days([1] * 100 + [100_000] * 60)
    assert (grown.begins, grown.findings) == (MONDAY, [])
    assert texts(on_days([1] + [0] * 28 + [1_000] * 60))[0].startswith("1 event lies long before the rest")


def test_what_lies_before_the_log_begins_is_not_judged():
    strays = {"cart": daily([1] * 20 + [0] + [1] * 9), "view": daily([1_000_000] * 60, date(2024, 6, 1))}
    found = report(periods=[period(strays)])
    assert found.begins == date(2024, 6, 1)
    assert [(g.event_type, g.start) for g in found.gaps] == [("cart", date(2024, 6, 2))]


# What to look at, and limits


PATH = "raw/*.csv"


def only(found: Quality, *, fails: bool) -> str:
    """The text of the only finding."""
    (finding,) = found.findings
    assert finding.is_failure is fails
    assert found.failures == [finding.text] * fails
    return finding.text


def test_missing_values():
    some = batch(price={"nulls": 51})
    assert report(some).findings == []
    assert report(some, max_null_share={"price": 0.051}).findings == []
    assert only(report(some, max_null_share={"price": 0.05}), fails=True) == (
        "raw/*.csv: price is missing or unreadable in 5.1 % of 1,000 rows; "
        "the limit clean.quality.max_null_share.price is 0.05"
    )
    assert report(batch(price={"nulls": 999})).findings == []
    empty = batch(event_type={"nulls": 1_000})
    assert only(report(empty), fails=False) == "raw/*.csv: event_type has no value in any of 1,000 rows"
    assert report(empty).findings[0].remedy == (
        "check dataset.sources[0].event_type, and ask whoever writes the files"
    )
    assert report(some, max_null_share={"brand": 1}).findings == []
    missing = report(some, max_null_share={"brand": 0.99})
    assert only(missing, fails=True) == (
        "brand is missing in all rows of the files, since no source of events maps it; "
        "the limit clean.quality.max_null_share.brand is 0.99"
    )


def test_duplicates():
    def found(n: int, **limits: Any) -> Quality:
        return report(periods=[period(duplicates={"b1": n})], **limits)

    text = "raw/*.csv: 10 of 1,000 rows are exact duplicates of others and were dropped (1 %)"
    assert found(9).findings == []
    assert only(found(10), fails=False) == text
    assert only(found(10, max_duplicate_share=0.01), fails=False) == text
    assert only(found(10, max_duplicate_share=0.009), fails=True) == (
        f"{text}; the limit clean.quality.max_duplicate_share is 0.009"
    )
    assert only(found(1, max_duplicate_share=0), fails=True).endswith("max_duplicate_share is 0")


def test_late_rows():
    text = "raw/*.csv: 10 of 1,000 rows came more than 7 days after their time (1 %)"
    assert report(batch(late=9)).findings == []
    assert only(report(batch(late=10)), fails=False) == text
    assert only(report(batch(late=10), max_late_share=0.009), fails=True) == (
        f"{text}; the limit clean.quality.max_late_share is 0.009"
    )
    behind = report(delivered("b1", NOON, d2024_05_01=10), delivered("b2", NOON + DAY, d2024_01_01=10))
    assert only(behind, fails=False) == (
        "raw/*.csv: 10 of 20 rows lie more than 7 days before the days that earlier files reach to (50 %)"
    )


def test_bots():
    def found(n: int, users: int, **limits: Any) -> Quality:
        bots = {f"u{i}": 1 for i in range(users)}
        return report(periods=[period(bots=bots)], refused=refusals(bot_like=n), **limits)

    text = "2 users are bot-like: 20 of their rows are refused (2 % of all)"
    assert only(found(20, 2), fails=False) == text
    assert only(found(20, 2, max_bot_share=0.02), fails=False) == text
    assert only(found(20, 2, max_bot_share=0.01), fails=True) == (
        f"{text}; the limit clean.quality.max_bot_share is 0.01"
    )
    assert only(found(1, 1), fails=False) == "1 user is bot-like: 1 of their rows are refused (0.1 % of all)"


def test_refused_rows():
    assert report(refused=refusals(missing_user=9)).findings == []
    found = report(refused=refusals(missing_user=10))
    assert only(found, fails=False) == "10 rows (1 %) are refused as missing_user, e.g. b1.csv row 7"
    assert found.findings[0].remedy == REMEDIES["missing_user"]


def test_too_many_event_types():
    days = {f"type-{i}": {MONDAY: 1} for i in range(MOST_EVENT_TYPES + 1)}
    assert only(report(periods=[period(days)]), fails=False) == "the log has more than 30 event types"


def test_gaps_in_words_and_against_the_limit():
    rows = [5] * 60
    rows[40] = 0
    assert only(on_days(rows), fails=False) == "view events: none on 2024-02-10"
    rows[30] = rows[31] = rows[50] = 0
    text = "view events: none from 2024-01-31 to 2024-02-01 (2 days)"
    assert only(on_days(rows), fails=False) == f"{text}, and 2 more times"
    assert only(on_days(rows, max_gap="2d"), fails=False) == f"{text}, and 2 more times"
    assert only(on_days(rows, max_gap="47h"), fails=True) == f"{text}; the limit clean.quality.max_gap is 47h"
    assert only(on_days(rows, max_gap="12h"), fails=True).startswith(f"{text}, and 2 more times; the limit")
    # The log ends on day 59, so 28 days are those from day 32 on.
    assert only(on_days(rows, max_gap="36h", look_back="28d"), fails=False).startswith(text)
    assert only(on_days(rows, max_gap="36h", look_back="29d"), fails=True).startswith(text)


def test_changes_in_words_and_against_the_limit():
    rows = [100] * 60
    rows[40], rows[44] = 401, 25
    text = "view events: 4.0 times more than usual on 2024-02-10: 401 instead of 100"
    assert only(on_days(rows), fails=False) == f"{text}, and 1 more time"
    assert only(on_days(rows, max_volume_change=4.1), fails=False) == f"{text}, and 1 more time"
    assert only(on_days(rows, max_volume_change=4), fails=True) == (
        f"{text}; the limit clean.quality.max_volume_change is 4"
    )
    assert only(on_days(rows, max_volume_change=3.5, look_back="16d"), fails=True) == (
        "view events: 4.0 times fewer than usual on 2024-02-14: 25 instead of 100; "
        "the limit clean.quality.max_volume_change is 3.5"
    )
    assert only(on_days(rows, max_volume_change=3.5, look_back="15d"), fails=False).startswith(text)
    rows[41] = 402
    assert "on 2024-02-11 (of 2024-02-10 to 2024-02-11): 402 instead" in texts(on_days(rows))[0]


def test_thin_days():
    rows = [3] + [100] * 10 + [3, 2] + [100] * 10
    days = {"view": daily(rows), "cart": {date(2024, 1, 12): 1}}
    text = "{} too few events, e.g. {}; the limit clean.quality.min_events_per_day is {}"

    def found(fewest: int, **limits: Any) -> Quality:
        return report(batch(), periods=[period(days)], min_events_per_day=fewest, **limits)

    assert found(2).findings == []
    assert only(found(3), fails=True) == text.format("1 day has", "2024-01-13 (2)", 3)
    # The first day has few events too, but may have begun before the log.
    assert only(found(5), fails=True) == text.format("2 days have", "2024-01-13 (2), 2024-01-12 (4)", 5)
    assert found(5, look_back="10d").findings == []
    assert only(found(5, look_back="11d"), fails=True) == text.format("1 day has", "2024-01-13 (2)", 5)


def test_failures_come_first_then_the_largest_share():
    found = report(
        batch(price={"nulls": 1_000}, brand={"nulls": 20}),
        periods=[period(duplicates={"b1": 300})],
        refused=refusals(missing_user=50),
        max_null_share={"brand": 0.01},
    )
    assert [(f.is_failure, f.share) for f in found.findings] == [
        (True, 0.02),
        (False, 1.0),
        (False, 0.3),
        (False, 0.05),
    ]


def test_a_limit_on_a_column_that_the_log_lacks_is_refused():
    with pytest.raises(
        ValidationError, match="the log has no column prices; did you mean 'price'\\? It has user_id"
    ):
        Limits(max_null_share={"prices": 0.1})
    with pytest.raises(ValidationError, match=r"the log has no column xyz\. It has user_id"):
        Limits(max_null_share={"xyz": 0.1})


def test_limits_are_shown_as_in_the_config():
    limits = {"max_null_share": {"price": 0.05}, "max_gap": "2d", "max_volume_change": 3, "late_after": "1d"}
    assert report(**limits).limits == {
        "clean.quality.max_null_share.price": "0.05",
        "clean.quality.max_gap": "2d",
        "clean.quality.max_volume_change": "3",
    }
    assert report().limits == {}


@pytest.mark.parametrize("n", [1, 2])
def test_an_exceeded_limit_is_an_error_that_says_where_to_look(n):
    findings = [Finding(f"thing {i} is wrong", "mend it", 0.5, True) for i in range(n)]
    found = quality([batch()], [], refusals(), [("s1", "a.csv")], Limits(), "UTC")
    object.__setattr__(found, "findings", [*findings, Finding("odd", "look", 0.1, False)])
    with pytest.raises(DataError) as error:
        check_quality(found, Path("/shop/work/quality.html"))
    what = {1: "1 thing exceeds", 2: "2 things exceed"}[n]
    assert str(error.value) == (
        f"{what} the limits of clean.quality:\n  "
        + "\n  ".join(f"thing {i} is wrong" for i in range(n))
        + "\nNothing was published. Look into /shop/work/quality.html, then correct the files, or raise the limit"
        + "s" * (n == 2)
    )


def test_nothing_exceeded_is_no_error():
    check_quality(report(periods=[period(duplicates={"b1": 500})]), Path("quality.html"))


def test_json_and_page_are_written(tmp_path):
    found = on_days([50] * 40 + [0] + [500] + [50] * 20, max_gap="12h")
    page = write_quality(tmp_path / "new", found)
    assert page == tmp_path / "new" / "quality.html"
    assert "none on 2024-02-10" in page.read_text(encoding="utf-8")
    stored = json.loads((tmp_path / "new" / "quality.json").read_text(encoding="utf-8"))
    assert stored["failures"] == found.failures != []
    assert stored["gaps"] == [
        {"event_type": "view", "start": "2024-02-10", "end": "2024-02-10", "is_open": False}
    ]
    assert stored["volumes"][0]["rows"] == list(found.volumes[0].rows)
    assert stored["last_day"] == "2024-03-02"
