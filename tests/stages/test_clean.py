"""clean: each row meets its fate, and the sum closes whatever comes in."""

import csv
import os
import random
import shutil
import tempfile
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from desks import NOON, Desk, events, quarantine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shops import ROOT, Shop, data_files
from stage_runs import table

from ecbehave import artifacts, memory
from ecbehave.buckets import bucket_of, user_hash
from ecbehave.errors import ArtifactError, ConfigError, DataError
from ecbehave.schema import EVENT_ORDER, EVENTS, ITEMS, USERS_KEY
from ecbehave.stages import clean, records, spill, weeks


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """That artifacts are on the disk for good is tested elsewhere."""
    monkeypatch.setattr(artifacts, "_sync", lambda _: None)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "shop")


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


def test_of_an_item_the_last_row_of_the_last_file_counts(desk: Desk) -> None:
    items = [f"i{n % 50},first{n}" for n in range(500)]
    (desk.shop.raw / "items-1.csv").write_text("id,cat\n" + "\n".join(items) + "\n")
    (desk.shop.raw / "items-2.csv").write_text("id,cat\ni7,old\ni7,new\ni8,\n")
    desk.sources.append(
        {"table": "items", "path": "raw/items-*.csv", "columns": {"item_id": "id", "category": "cat"}}
    )
    desk.put({})
    artifact = desk.clean().artifact
    expected = {f"i{n}": f"first{450 + n}" for n in range(50)} | {"i7": "new", "i8": None}
    stored = table(artifact, "items/*.parquet")
    assert dict(stored.select("item_id", "category").rows()) == expected
    assert stored["item_id"].is_sorted()
    assert artifact.counts["items"] == 50


def test_of_a_user_all_that_was_known_stays_with_the_time_from_which_it_was(desk: Desk) -> None:
    desk.write_side("users-1.csv", "id,city\nu1,Bonn\nu2,Ulm\n,Rom\nu2,Kiel\n", at=NOON)
    desk.write_side("users-2.csv", "id,city\nu1,Trier\n", at=NOON + timedelta(days=9))
    desk.write_side("moves.csv", "id,city,since\nu2,Jena,2024-01-05\nu2,Hof,\n", at=NOON + timedelta(days=2))
    desk.write_side("births.csv", "id,born\nu1,1980\nu3,1990\nu3,1991\n", at=NOON)
    towns = {"user_id": "id", "town": "city"}
    desk.sources += [
        {"table": "users", "path": "raw/users-*.csv", "columns": towns},
        {"table": "users", "path": "raw/moves.csv", "columns": towns | {"known_from": "since"}},
        {
            "table": "users",
            "path": "raw/births.csv",
            "columns": {"user_id": "id", "year": "born"},
            "timeless": True,
        },
    ]
    desk.put({})
    artifact = desk.clean().artifact
    stored = table(artifact, "users/*.parquet")
    assert dict(stored.schema) == USERS_KEY | {"year": pl.String(), "town": pl.String()}
    assert stored.select("user_id", "known_from", "town", "year").rows() == [
        ("u1", None, None, "1980"),
        ("u1", NOON, "Bonn", None),
        ("u1", NOON + timedelta(days=9), "Trier", None),
        ("u2", datetime(2024, 1, 5, tzinfo=UTC), "Jena", None),
        ("u2", NOON, "Kiel", None),
        ("u2", NOON + timedelta(days=2), "Hof", None),
        ("u3", None, None, "1991"),
    ]
    assert artifact.counts["users"] == 7


def test_without_side_tables_there_are_empty_ones(desk: Desk) -> None:
    desk.put({})
    artifact = desk.clean().artifact
    assert dict(table(artifact, "users/*.parquet").schema) == USERS_KEY
    assert dict(table(artifact, "items/*.parquet").schema) == ITEMS


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
        "unparsable_time", "missing_event_type", "missing_item", "missing_time", "missing_user",
    ]  # fmt: skip
    assert lines[1] == (
        "  unparsable_time: 4 rows, e.g. events.csv row 7 (ts=01.04.2024), events.csv row 8 (ts=01.04.2024), "
        "events.csv row 9 (ts=01.04.2024)"
    )
    assert lines[-1].startswith(
        "Of unparsable_time: set dataset.sources[].time_format to a pattern in quotes, such as '%d.%m.%Y %H:%M', or, "
    )


@pytest.mark.parametrize("n_files", [1, 2])
def test_a_log_without_rows_is_an_error(desk: Desk, n_files: int) -> None:
    desk.put()
    if n_files == 2:
        (desk.shop.raw / "events-2.csv").write_text((desk.shop.raw / "events.csv").read_text() + "\n")
    with pytest.raises(DataError) as error:
        desk.clean()
    files = ", ".join(f"{desk.shop.raw}/{name}" for name in ("events-2.csv", "events.csv")[2 - n_files :])
    assert str(error.value) == (
        f"the log has no event: no row follows the header in {files}; bring files with events"
    )


def test_a_file_without_rows_beside_others_is_no_trouble(desk: Desk) -> None:
    desk.put({})
    desk.put(name="events-2.csv")
    assert desk.clean(outliers={"price": {}}).artifact.counts["clean"] == 1


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
    desk.put(
        {"time": "2024-03-10 08:00", "user": "u3", "category": "a"},
        name="events-2.csv",
        at=NOON + timedelta(hours=1),
    )
    info = desk.clean().artifact.info
    del info["batches"], info["weeks"]
    assert info == {
        "start": "2024-03-02T07:00:00.000000+00:00",
        "end": "2024-03-10T08:00:00.000000+00:00",
        "received": "2024-05-01T13:00:00.000000+00:00",
        "first_seen": {
            "cart": "2024-03-02T07:00:00.000000+00:00",
            "view": "2024-03-09T07:00:00.000000+00:00",
        },
        "first_value": {
            "category": "2024-03-10T08:00:00.000000+00:00",
            **dict.fromkeys(
                ("event_type", "item_id", "received_at", "ts", "user_id"), "2024-03-02T07:00:00.000000+00:00"
            ),
        },
        "n_events": 4,
    }


def test_facts_of_each_week_and_batch(desk: Desk) -> None:
    """The bot is one in the second week; it and the outlier count for nothing but themselves."""
    first = [{"time": "2024-03-01 07:00", "price": "1"}] * 2 + [{"time": "2024-03-02", "user": ""}]
    desk.put(*first, {"time": "2024-02-28", "price": "1"})
    times = [f"2024-03-05 10:0{n}" for n in range(4)]
    desk.put(
        *({"time": t, "user": "bot"} for t in times),
        {"time": "2024-03-06", "price": "2"},
        name="events-2.csv",
    )
    outliers = {"price": {"action": "quarantine"}}
    artifact = desk.clean(max_events_per_user_day=3, outliers=outliers).artifact
    by_week = artifact.info["weeks"]
    bot = user_hash(pl.Series(["bot"])).item()
    assert list(by_week) == ["2024-02-26", "2024-03-04"]
    assert [by_week[w]["clean"] for w in by_week] == [2, 3]
    assert [by_week[w]["duplicates"] for w in by_week] == [1, 0]
    assert [by_week[w]["bots"] for w in by_week] == [[], [bot]]
    assert [by_week[w]["most_of_one_user"] for w in by_week] == [2, 4]
    assert [by_week[w]["refused"]["counts"] for w in by_week] == [{}, {"bot_like": 1, "outlier_price": 1}]
    march = str(2024 * 12 + 3)
    assert [by_week[w]["limits"] for w in by_week] == [{"price": {march: 1.0}}] * 2
    assert by_week["2024-03-04"]["end"] == "2024-03-05T10:02:00.000000+00:00"
    raw = desk.runs.context().workspace.read("events_raw")
    assert raw is not None
    assert {batch: about["sha256"] for batch, about in artifact.info["batches"].items()} == {
        b["id"]: raw.manifest["files"][b["file"]]["sha256"] for b in raw.info["batches"]
    }
    by_rule = [about["refused"]["counts"] for about in artifact.info["batches"].values()]
    assert sorted(by_rule, key=len) == [{}, {"missing_user": 1}]
    names = {file.name for file in artifact.files("quarantine/*.parquet")}
    (with_refused,) = (b for b, about in artifact.info["batches"].items() if about["refused"]["counts"])
    assert names == {f"batch-{with_refused}.parquet", "2024-03-04.parquet"}


# Weeks, buckets, threads


def many_users(desk: Desk, n_rows: int = 6_000) -> None:
    rng = np.random.default_rng(0)
    desk.put({})
    log = pl.DataFrame(
        {
            "user": rng.integers(0, 200, n_rows).astype(str),
            "item": rng.choice(["i1", "i2"], n_rows),
            "kind": rng.choice(["view", "cart", ""], n_rows, p=[0.5, 0.49, 0.01]),
            "time": pl.Series(rng.integers(1_711_000_000, 1_713_000_000, n_rows)),
            "price": rng.integers(1, 500, n_rows),
        }
    )
    log = log.select(*log.columns, *(pl.lit("").alias(c) for c in Desk.columns[5:]))
    for number, part in enumerate([log[:3_000], log[3_000:3_010], log[3_010:]]):
        path = desk.shop.raw / f"events-{number}.csv"
        part.write_csv(path)
        os.utime(path, (NOON.timestamp(), NOON.timestamp()))


def few_rows(patch: pytest.MonkeyPatch, n: int) -> None:
    """Make clean work on so many rows at once."""
    patch.setattr(memory, "FEWEST_ROWS", min(n, memory.FEWEST_ROWS))
    patch.setattr(memory, "MOST_ROWS", n)


def test_a_file_has_a_week_of_the_shops_calendar_in_the_order_of_events(desk: Desk) -> None:
    many_users(desk)
    artifact = desk.clean("Pacific/Kiritimati").artifact
    files = artifact.files("events/*.parquet")
    assert [f.stem for f in files] == ["2024-03-18", "2024-03-25", "2024-04-01", "2024-04-08"]
    for file in files:
        week = pl.read_parquet(file)
        assert week.schema == pl.Schema(EVENTS)
        local = week["ts"].dt.convert_time_zone("Pacific/Kiritimati").dt.date()
        mondays = {day - timedelta(days=day.weekday()) for day in local.unique()}
        assert mondays == {date.fromisoformat(file.stem)}
        assert week.equals(week.sort(EVENT_ORDER))
        assert week["user_hash"].equals(user_hash(week["user_id"]))
    assert sum(pl.read_parquet(f).height for f in files) == artifact.counts["clean"] > 5_000


def test_row_groups_of_a_week_are_small_so_that_buckets_are_read_alone(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "ROW_GROUP", 300)
    many_users(desk)
    file = desk.clean().artifact.files("events/*.parquet")[1]
    meta = pq.read_metadata(file)
    sizes = [meta.row_group(g).num_rows for g in range(meta.num_row_groups)]
    assert len(sizes) > 3
    assert set(sizes[:-1]) == {300}


@pytest.fixture(scope="module")
def by_one(tmp_path_factory: pytest.TempPathFactory) -> tuple[Desk, dict[str, bytes]]:
    """A log with all that clean can meet, cleaned in one thread and in one piece."""
    desk = Desk(tmp_path_factory.mktemp("by-one") / "shop")
    many_users(desk)
    desk.write_side("items.csv", "id,cat\ni1,a\n", at=NOON)
    desk.sources.append(
        {"table": "items", "path": "raw/items.csv", "columns": {"item_id": "id", "category": "cat"}}
    )
    counts = desk.clean(**BUSY).artifact.counts
    rules = ["bot_like", "missing_event_type", "outlier_price"]
    assert [r for r in counts if r.startswith("quarantined.")] == [f"quarantined.{r}" for r in rules]
    return desk, data_files(desk.shop.workspace)


BUSY: dict[str, Any] = {
    "max_events_per_user_day": 5,
    "max_events_per_user": 25,
    "outliers": {"price": {"quantile": 0.9, "action": "quarantine"}, "amount": {"quantile": 0.8}},
}


@pytest.mark.parametrize(
    ("threads", "rows"),
    [
        (1, 500_000),
        (2, 500_000),
        (3, 500_000),
        (1, 1_500),
        (2, 333),
        pytest.param(3, 150, marks=pytest.mark.slow),
        (2, 701),
    ],
)
def test_threads_and_rows_at_once_change_no_byte(
    by_one: tuple[Desk, dict[str, bytes]], monkeypatch: pytest.MonkeyPatch, threads: int, rows: int
) -> None:
    desk, expected = by_one
    few_rows(monkeypatch, rows)
    monkeypatch.setattr(spill, "ROW_GROUP", min(spill.ROW_GROUP, rows))
    buckets: set[tuple[int, int]] = set()
    seen = weeks.check_whole

    def note(events: pl.DataFrame, bucket: int, n: int) -> None:
        buckets.add((bucket, n))
        seen(events, bucket, n)

    monkeypatch.setattr(weeks, "check_whole", note)
    desk.runs.threads = threads
    assert desk.runs.do("ingest", "clean", force=True).status == "done"
    assert data_files(desk.shop.workspace) == expected
    n = max(n for _, n in buckets)
    assert buckets == {(b, n) for b in range(n)}
    assert n == {500_000: 1, 1_500: 2, 333: 8, 150: 16, 701: 4}[rows]


def test_too_little_memory_is_refused_with_what_is_enough(desk: Desk) -> None:
    desk.put({})
    desk.runs.threads, desk.runs.memory_bytes = 3, 200
    with pytest.raises(ConfigError) as error:
        desk.clean()
    assert str(error.value) == (
        "--memory 1MB is too little for clean on this log with 3 threads: it takes 351MB; allow that or fewer threads "
        "with --threads"
    )
    desk.runs.memory_bytes = 480_000_000
    assert desk.clean().artifact.counts["clean"] == 1


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


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
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
        weeks.check_whole(events.filter(bucket_of(4) == bucket), bucket, 4)
    expected = (
        "bucket 1 of 4 holds events of users of other buckets; nothing was published. This is a fault of "
    )
    with pytest.raises(ArtifactError) as error:
        weeks.check_whole(events.filter(bucket_of(4) == 2), 1, 4)
    assert str(error.value) == f"{expected}ecbehave"
    moved = events.filter(bucket_of(4) == 1).with_columns(user_id=pl.lit("somebody else"))
    with pytest.raises(ArtifactError):
        weeks.check_whole(moved, 1, 4)
