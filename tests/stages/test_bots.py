"""Bots: a user's events from the first one too many on, of a day or of all, week by week as in one go."""

import random
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from desks import NEW_YORK, NOON, Desk, events, quarantine
from hypothesis import given, settings
from hypothesis import strategies as st

from ecbehave.buckets import user_hash
from ecbehave.config.clean import Clean
from ecbehave.schema import TS
from ecbehave.stages.bots import Past, bot_like, most_of_one
from ecbehave.windows import week


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "shop")


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


# Week by week, against a slow oracle


Event = tuple[str, datetime]


def bots_by_hand(log: list[Event], clean: Clean, timezone: str) -> list[bool]:
    """Tell of each event of a whole log in the order of time whether it is bot-like."""
    n_all: Counter[str] = Counter()
    n_day: Counter[tuple[str, date]] = Counter()
    bots: set[str] = set()
    found = []
    for user, ts in log:
        day = ts.astimezone(ZoneInfo(timezone)).date()
        n_all[user] += 1
        n_day[user, day] += 1
        if n_all[user] > clean.max_events_per_user or n_day[user, day] > clean.max_events_per_user_day:
            bots.add(user)
        found.append(user in bots)
    return found


moments = st.builds(
    lambda day, hour: datetime(2024, 3, 1, tzinfo=UTC) + timedelta(days=day, hours=hour),
    st.integers(0, 30),
    st.integers(0, 23),
)


@settings(deadline=None)
@given(
    log=st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), moments), min_size=1, max_size=60),
    per_day=st.integers(1, 4),
    most=st.integers(1, 12),
    timezone=st.sampled_from(["UTC", NEW_YORK, "Pacific/Kiritimati"]),
)
def test_weeks_one_after_the_other_find_what_a_reading_row_by_row_does(
    log: list[Event], per_day: int, most: int, timezone: str
) -> None:
    log = sorted(log, key=lambda event: (event[1], event[0]))
    clean = Clean(max_events_per_user_day=per_day, max_events_per_user=most)
    expected = [
        event for event, is_bot in zip(log, bots_by_hand(log, clean, timezone), strict=True) if is_bot
    ]
    rows = pl.DataFrame(log, schema={"user_id": pl.String(), "ts": TS}, orient="row")
    rows = rows.with_columns(user_hash(rows["user_id"])).with_columns(week(timezone)).sort("user_hash", "ts")
    past, found = Past(counts=pl.DataFrame(schema={"user_hash": pl.UInt64, "n": pl.UInt32})), []
    for part in rows.sort("week", maintain_order=True).partition_by("week", maintain_order=True):
        flags = bot_like(part, past, clean, timezone)
        assert flags.shape == (part.height,)
        refused = part.filter(flags)
        found += refused.select("user_id", "ts").rows()
        assert past.counts is not None
        counts = pl.concat([past.counts, part["user_hash"].value_counts(name="n")])
        past = Past(
            past.bots | set(refused["user_hash"]), counts.group_by("user_hash").agg(pl.col("n").sum())
        )
    assert sorted(found) == sorted(expected)


def test_without_events_there_is_no_bot() -> None:
    none = pl.DataFrame(schema={"user_hash": pl.UInt64, "ts": TS})
    assert bot_like(none, Past({1}), Clean(), "UTC").shape == (0,)
    assert most_of_one(none) == 0


def test_who_was_a_bot_is_one_from_the_first_event_on() -> None:
    rows = pl.DataFrame(
        {"user_hash": [0, 5, 5, 2**64 - 1], "ts": [NOON] * 4}, schema={"user_hash": pl.UInt64, "ts": TS}
    )
    assert bot_like(rows, Past({0, 2**64 - 1}), Clean(), "UTC").tolist() == [True, False, False, True]
    assert bot_like(rows, Past(), Clean(), "UTC").tolist() == [False] * 4


def test_a_user_without_events_before_has_none_so_far() -> None:
    rows = pl.DataFrame(
        {"user_hash": [1, 1, 2, 2], "ts": [NOON] * 4}, schema={"user_hash": pl.UInt64, "ts": TS}
    )
    counts = pl.DataFrame({"user_hash": [2], "n": [2]}, schema={"user_hash": pl.UInt64, "n": pl.Int64})
    assert bot_like(rows, Past(counts=counts), Clean(max_events_per_user=3), "UTC").tolist() == [
        False
    ] * 3 + [True]


@settings(deadline=None)
@given(st.lists(st.integers(0, 3), max_size=20))
def test_most_of_one_is_the_number_of_the_most_frequent(users: list[int]) -> None:
    rows = pl.DataFrame({"user_hash": sorted(users)}, schema={"user_hash": pl.UInt64})
    assert most_of_one(rows) == max(Counter(users).values(), default=0)


def test_over_many_weeks_and_files_the_stage_finds_what_a_reading_row_by_row_does(desk: Desk) -> None:
    """With outliers that are refused, which are events of their user all the same."""
    rng = random.Random(0)
    start = datetime(2024, 1, 1, tzinfo=UTC)
    times = sorted(start + timedelta(minutes=m) for m in rng.sample(range(60 * 24 * 60), 700))
    log = [(f"u{int(rng.paretovariate(0.8)) % 40}", at) for at in times]
    rows = [
        {"user": u, "time": f"{t:%Y-%m-%d %H:%M}", "price": str(rng.choice([1, 2, 3, 90])), "item": f"i{n}"}
        for n, (u, t) in enumerate(log)
    ]
    shuffled = rng.sample(rows, len(rows))
    for n in range(3):
        desk.put(*shuffled[n::3], name=f"events-{n}.csv")
    limits = {"max_events_per_user_day": 5, "max_events_per_user": 60}
    outliers = {"price": {"quantile": 0.7, "action": "quarantine"}}
    artifact = desk.clean(NEW_YORK, **limits, outliers=outliers).artifact
    by_hand = bots_by_hand(log, Clean(**limits), NEW_YORK)  # type: ignore[arg-type]
    expected = {f"i{n}" for n, is_bot in enumerate(by_hand) if is_bot}
    refused = quarantine(artifact)
    assert set(refused.filter(pl.col("rule") == "bot_like")["item_id"]) == expected
    assert 20 < len(expected) < 600
    assert artifact.counts["quarantined.outlier_price"] > 20
    assert len(artifact.files("events/*.parquet")) == 10
