"""Nights of clean: what new files do not touch is taken over, and all ends as it would from scratch."""

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from desks import NEW_YORK, NOON, Desk, events, quarantine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shops import data_files

from ecbehave import artifacts, memory
from ecbehave.artifacts import MANIFEST, Artifact
from ecbehave.errors import ArtifactError, DataError

KIRITIMATI = "Pacific/Kiritimati"
ITEMS = {
    "table": "items",
    "path": "raw/items*.csv",
    "columns": {"item_id": "id", "category": "cat", "brand": "make"},
}

#: A view in each of six weeks, whose Mondays these are; the first three are of January, with prices for limits.
MONDAYS = ["2024-01-01", "2024-01-08", "2024-01-15", "2024-02-05", "2024-02-12", "2024-03-04"]


def view(day: str, user: str = "u1", hour: int = 12, **other: str) -> dict[str, str]:
    return {"user": user, "time": f"{day} {hour:02d}:00:00"} | other


def views(day: str, n: int, user: str = "u1", **other: str) -> list[dict[str, str]]:
    return [view(day, user, hour, **other) for hour in range(1, n + 1)]


class Nights:
    """A desk that is cleaned night after night, and what each night has written anew."""

    def __init__(self, folder: Path) -> None:
        self.desk = Desk(folder / "nights")
        self.folder = folder
        self.settings: dict[str, Any] = {}
        self.timezone = "UTC"
        self.n_files = 0
        self.artifact: Artifact | None = None

    def put(self, *rows: dict[str, str]) -> None:
        """Bring a new file."""
        self.desk.put(*rows, name=f"events-{self.n_files}.csv", at=NOON + timedelta(minutes=self.n_files))
        self.n_files += 1

    def night(self, *rows: dict[str, str], force: bool = False) -> set[str]:
        """Clean with one more file, and check that all is as from scratch; returns the weeks written anew."""
        if rows:
            self.put(*rows)
        before = self.inodes()
        if force:
            self.desk.runs.do("ingest")
            self.desk.runs.do("clean", force=True)
        else:
            self.desk.clean(self.timezone, **self.settings)
        self.artifact = self.desk.runs.context().workspace.read("clean")
        assert self.artifact is not None
        self.check()
        after = self.inodes()
        self.kept = {name for name, inode in after.items() if before.get(name) == inode}
        return {
            Path(name).stem for name in after.keys() - self.kept if not Path(name).stem.startswith("batch-")
        }

    def inodes(self) -> dict[str, int]:
        """Identities of the files of weeks and batches; those that are linked keep their own."""
        if self.artifact is None:
            return {}
        root, parts = self.artifact.path, ("events", "quarantine", "values")
        return {f.relative_to(root).as_posix(): f.stat().st_ino for p in parts for f in (root / p).glob("*")}

    def check(self) -> None:
        """Clean copies of all raw files that were ever there in one go."""
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            scratch = Desk(Path(folder) / "scratch")
            shutil.rmtree(scratch.shop.raw)
            shutil.copytree(self.desk.shop.raw, scratch.shop.raw)
            scratch.sources = self.desk.sources
            scratch.clean(self.timezone, **self.settings)
            expected = data_files(scratch.shop.workspace / "clean")
        found = data_files(self.desk.shop.workspace / "clean")
        assert [n for n in sorted(found.keys() | expected.keys()) if found.get(n) != expected.get(n)] == []

    def bots(self) -> list[tuple[str, str]]:
        """User and day of all bot-like events."""
        assert self.artifact is not None
        refused = quarantine(self.artifact).filter(pl.col("rule") == "bot_like").sort("ts", "user_id")
        return [(user, f"{ts:%m-%d}") for user, ts in refused.select("user_id", "ts").rows()]


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests run the stage hundreds of times; that artifacts are on the disk for good is tested elsewhere."""
    monkeypatch.setattr(artifacts, "_sync", lambda _: None)


@pytest.fixture
def nights(tmp_path: Path) -> Nights:
    return Nights(tmp_path)


def six_weeks(nights: Nights, **settings: Any) -> None:
    """The first night: a file with a view of u1 and u2 in each week."""
    nights.settings |= settings
    rows = [view(day, user, price="10") for day in MONDAYS for user in ("u1", "u2")]
    assert nights.night(*rows) == set(MONDAYS)


def test_a_new_day_writes_its_week_alone(nights: Nights) -> None:
    six_weeks(nights)
    assert nights.night(view("2024-03-05")) == {"2024-03-04"}
    assert nights.night(view("2024-03-12"), view("2024-03-13")) == {"2024-03-11"}
    assert {Path(name).stem for name in nights.kept} == set(MONDAYS)


def test_a_late_row_writes_its_old_week_alone(nights: Nights) -> None:
    six_weeks(nights)
    assert nights.night(view("2024-01-10"), view("2024-03-05")) == {"2024-01-08", "2024-03-04"}
    assert nights.night(view("2023-12-25")) == {"2023-12-25"}


@pytest.mark.parametrize(
    ("timezone", "time", "week"),
    [
        ("UTC", "2024-01-14 23:59:59", "2024-01-08"),
        ("UTC", "2024-01-15 00:00:00", "2024-01-15"),
        (NEW_YORK, "2024-01-15 04:59:59", "2024-01-08"),
        (NEW_YORK, "2024-01-15 05:00:00", "2024-01-15"),
        (KIRITIMATI, "2024-01-14 09:59:59", "2024-01-08"),
        (KIRITIMATI, "2024-01-14 10:00:00", "2024-01-15"),
        (NEW_YORK, "2024-03-11 03:59:59", "2024-03-04"),
        (NEW_YORK, "2024-03-11 04:00:00", "2024-03-11"),
    ],
)
def test_weeks_end_at_midnight_of_the_shop(nights: Nights, timezone: str, time: str, week: str) -> None:
    """The rows of the first file lie on both sides of the border, too, and are read again."""
    nights.timezone = timezone
    border = [{"user": "u3", "time": f"2024-01-{d} {h:02d}:30"} for d in (14, 15) for h in range(24)]
    nights.night(*border, *(view(day) for day in MONDAYS))
    assert nights.night({"user": "u1", "time": time}) == {week}


def test_a_duplicate_over_files_is_found_and_counted_once(nights: Nights) -> None:
    six_weeks(nights)
    assert nights.night(view("2024-01-08", price="10"), view("2024-01-09"), view("2024-01-09")) == {
        "2024-01-08"
    }
    assert nights.artifact is not None
    assert nights.artifact.counts["duplicates"] == 2
    kept = events(nights.artifact).filter((pl.col("user_id") == "u1") & (pl.col("ts").dt.day() == 8))
    assert kept["received_at"].to_list() == [NOON]


def test_the_copy_that_came_in_first_stays_though_it_is_read_last(nights: Nights) -> None:
    nights.n_files = 9
    six_weeks(nights)
    nights.n_files = 0
    nights.night(view("2024-01-08", price="10"))
    assert nights.artifact is not None
    kept = events(nights.artifact).filter((pl.col("user_id") == "u1") & (pl.col("ts").dt.day() == 8))
    assert kept["received_at"].to_list()[0] == NOON


def test_a_late_bot_reaches_the_later_weeks_that_it_is_in(nights: Nights) -> None:
    nights.settings = {"max_events_per_user_day": 3}
    nights.night(*(view(day, "u2") for day in MONDAYS), view("2024-01-15"), view("2024-02-12"))
    late = views("2024-01-09", 5)
    assert nights.night(*late, view("2024-03-04", "u3")) == {
        "2024-01-08",
        "2024-01-15",
        "2024-02-12",
        "2024-03-04",
    }
    assert nights.bots() == [("u1", "01-09")] * 2 + [("u1", "01-15"), ("u1", "02-12")]
    # It was one before: nothing changes after that week.
    assert nights.night(*views("2024-01-10", 2)) == {"2024-01-08"}
    # And now one week earlier.
    assert nights.night(*views("2024-01-02", 4)) == {"2024-01-01", "2024-01-08"}


def test_a_late_bot_reaches_weeks_where_all_that_it_had_was_refused(nights: Nights) -> None:
    """Bot-like comes before outlier."""
    nights.settings = {
        "max_events_per_user_day": 2,
        "outliers": {"price": {"action": "quarantine", "quantile": 0.51}},
    }
    nights.night(*(view(day, "u2", price="10") for day in MONDAYS), view("2024-02-12", price="99"))
    assert nights.bots() == []
    assert nights.night(*views("2024-01-09", 3)) == {"2024-01-08", "2024-02-12"}
    assert nights.bots() == [("u1", "01-09"), ("u1", "02-12")]


def test_a_bot_that_is_none_any_more_gets_its_later_weeks_back(nights: Nights) -> None:
    """Two rows become the same event when the item's category is known."""
    nights.settings = {"max_events_per_user_day": 1}
    nights.desk.sources.append(ITEMS)
    nights.desk.write_side("items-0.csv", "id,cat,make\ni1,,\n")
    rows = [view("2024-01-08", item="i2"), view("2024-01-08", item="i2", category="a")]
    nights.night(*rows, *(view(day) for day in MONDAYS[2:]), view("2024-01-08", "u2"))
    assert len(nights.bots()) == 1 + 4
    nights.desk.write_side("items-1.csv", "id,cat,make\ni2,a,\n")
    assert nights.night() == {"2024-01-08", *MONDAYS[2:]}
    assert nights.bots() == []


def test_a_user_who_reaches_the_limit_of_all_events_through_late_rows(nights: Nights) -> None:
    nights.settings = {"max_events_per_user": 4}
    nights.night(*(view(day) for day in MONDAYS[1:]), *(view(day, "u2") for day in MONDAYS[::2]))
    assert nights.bots() == [("u1", "03-04")]
    # The later weeks are written anew, those of the late rows among them.
    assert nights.night(view("2024-01-01"), view("2024-02-06")) == set(MONDAYS)
    assert nights.bots() == [("u1", "02-06"), ("u1", "02-12"), ("u1", "03-04")]


def test_refused_outliers_count_as_events_of_their_user(nights: Nights) -> None:
    """In the week itself and in later ones, so that nothing depends on where weeks end."""
    outliers = {"price": {"action": "quarantine", "quantile": 0.51}}
    nights.settings = {"max_events_per_user": 6, "outliers": outliers}
    first = [view(day, "u2", price="1") for day in MONDAYS]
    nights.night(*first, *views("2024-02-05", 3, price="50"), view("2024-02-05"), view("2024-02-12"))
    assert nights.bots() == []
    assert nights.night(*views("2024-01-10", 2), view("2024-03-04")) >= {
        "2024-01-08",
        "2024-02-12",
        "2024-03-04",
    }
    assert nights.bots() == [("u1", "02-12"), ("u1", "03-04")]


def test_weeks_of_late_rows_between_weeks_that_are_reached_only_then(nights: Nights) -> None:
    """u1 is full in February from the late rows on, which the third and the fifth week learn one after the other."""
    outliers = {"price": {"action": "quarantine", "quantile": 0.51}}
    nights.settings = {"max_events_per_user": 9, "outliers": outliers}
    first = [view(day, "u2", price="1") for day in MONDAYS]
    nights.night(*first, *views("2024-02-05", 5, price="50"), view("2024-02-12"), view("2024-03-04"))
    assert nights.night(*views("2024-01-10", 5), *views("2024-02-13", 2)) >= {
        "2024-02-05",
        "2024-02-12",
        "2024-03-04",
    }
    assert [day for _, day in nights.bots()] == ["02-05", "02-12", "02-13", "02-13", "03-04"]


def twice(day: str, item: str) -> list[dict[str, str]]:
    """Two events that become one when the item's category is known."""
    return [view(day, item=item), view(day, item=item, category="a")]


def test_a_limit_that_is_no_longer_reached_gives_weeks_back(nights: Nights) -> None:
    nights.settings = {"max_events_per_user": 3}
    nights.desk.sources.append(ITEMS)
    nights.desk.write_side("items-0.csv", "id,cat,make\n")
    nights.night(*twice("2024-01-01", "i2"), *(view(day) for day in MONDAYS[1:3]))
    assert nights.bots() == [("u1", "01-15")]
    nights.desk.write_side("items-1.csv", "id,cat,make\ni2,a,\n")
    assert nights.night() >= {"2024-01-01", "2024-01-15"}
    assert nights.bots() == []


def test_a_week_of_the_new_file_hangs_on_an_older_one_that_is_given_back(nights: Nights) -> None:
    """The new row is judged a first time while the week before still says that its user is a bot."""
    nights.settings = {"max_events_per_user": 4}
    nights.desk.sources.append(ITEMS)
    nights.desk.write_side("items-0.csv", "id,cat,make\n")
    nights.night(*twice("2024-01-01", "i2"), *twice("2024-01-01", "i3"), view("2024-01-08"))
    assert nights.bots() == [("u1", "01-08")]
    nights.desk.write_side("items-1.csv", "id,cat,make\ni2,a,\ni3,a,\n")
    assert nights.night(view("2024-02-05")) == {"2024-01-01", "2024-01-08", "2024-02-05"}
    assert nights.bots() == []


@pytest.mark.parametrize(
    ("timezone", "first", "late", "week"),
    [
        (KIRITIMATI, "2024-01-14 12:00", "2024-01-17", "2024-01-15"),
        (NEW_YORK, "2024-01-15 03:00", "2024-01-10", "2024-01-08"),
    ],
)
def test_rows_of_a_week_that_lie_on_a_day_of_the_next_one_in_utc_are_found_again(
    nights: Nights, timezone: str, first: str, late: str, week: str
) -> None:
    nights.timezone = timezone
    nights.night({"user": "u1", "time": first}, view("2024-03-06"))
    assert nights.night(view(late)) == {week}
    assert nights.artifact is not None
    assert nights.artifact.counts["clean"] == 3


@pytest.mark.parametrize("action", ["clip", "quarantine"])
def test_a_late_row_changes_the_limits_of_later_months_only(nights: Nights, action: str) -> None:
    six_weeks(nights, outliers={"price": {"quantile": 0.99, "action": action}})
    late = view("2024-02-06", price="20")
    assert nights.night(late) == {"2024-02-05", "2024-03-04"}
    assert nights.night(view("2024-01-02", price="30")) == {"2024-01-01", *MONDAYS[3:]}
    # The highest value of January stays what it was: no limit changes.
    assert nights.night(view("2024-01-03", price="5")) == {"2024-01-01"}


def test_only_the_limits_that_change_write_weeks_anew(nights: Nights) -> None:
    """The week at the turn of the month hangs on the limits of both."""
    six_weeks(nights, outliers={"price": {"quantile": 0.99}})
    assert nights.night(view("2024-01-30", price="10")) == {"2024-01-29"}
    assert nights.night(view("2024-01-02", price="40")) == {"2024-01-01", "2024-01-29", *MONDAYS[3:]}


def test_an_item_that_changes_writes_the_weeks_that_it_is_in(nights: Nights) -> None:
    nights.desk.sources.append(ITEMS)
    nights.desk.write_side("items-0.csv", "id,cat,make\ni1,a,\ni2,b,\ni3,c,\n")
    rows = [view(day, item=f"i{1 + n // 2}") for n, day in enumerate(MONDAYS)]
    nights.night(*rows, view("2024-01-09", item="i4"))
    nights.desk.write_side("items-1.csv", "id,cat,make\ni2,B,\n")
    assert nights.night() == {"2024-01-15", "2024-02-05"}
    nights.desk.write_side("items-2.csv", "id,cat,make\ni1,a,x\n")
    assert nights.night() == {"2024-01-01", "2024-01-08"}
    nights.desk.write_side("items-3.csv", "id,cat,make\ni4,d,\ni5,e,\n")
    assert nights.night() == {"2024-01-08"}
    assert nights.artifact is not None
    categories = events(nights.artifact).sort("ts")["category"].to_list()
    assert categories == ["a", "a", "d", "B", "B", "c", "c"]
    nights.desk.write_side("items-4.csv", "id,cat,make\ni3,c,\n")
    assert nights.night() == set()


def test_an_item_that_is_only_among_the_refused_changes_there_too(nights: Nights) -> None:
    six_weeks(nights, max_events_per_user_day=1)
    nights.desk.sources.append(ITEMS)
    nights.desk.write_side("items-0.csv", "id,cat,make\ni7,a,\n")
    nights.night(view("2024-02-05", "u9", 1), view("2024-02-05", "u9", 2, item="i7"))
    nights.desk.write_side("items-1.csv", "id,cat,make\ni7,b,\n")
    assert nights.night() == {"2024-02-05"}
    assert nights.artifact is not None
    assert quarantine(nights.artifact)["category"].to_list() == ["b"]


def test_files_without_a_row_that_may_stay_write_no_week(nights: Nights) -> None:
    six_weeks(nights)
    nights.put()
    assert nights.night() == set()
    assert nights.night(view("2024-01-01", ""), {"time": "never"}) == set()
    assert nights.artifact is not None
    assert (nights.artifact.counts["clean"], nights.artifact.counts["quarantined"]) == (12, 2)
    assert nights.night(view("2024-01-01", "")) == set()
    assert len([name for name in nights.kept if name.startswith("quarantine/batch-")]) == 1


def test_files_that_have_gone_stay_in_the_log(nights: Nights, tmp_path: Path) -> None:
    six_weeks(nights)
    gone = tmp_path / "gone.csv"
    (nights.desk.shop.raw / "events-0.csv").rename(gone)
    nights.put(view("2024-01-09"))
    before = nights.inodes()
    artifact = nights.desk.clean(nights.timezone, **nights.settings).artifact
    after = {f"events/{f.name}": f.stat().st_ino for f in artifact.files("events/*.parquet")}
    assert {Path(n).stem for n in after if before.get(n) != after[n]} == {"2024-01-08"}
    gone.rename(nights.desk.shop.raw / "events-0.csv")
    nights.check()


def test_without_a_source_that_was_there_all_is_written_anew(nights: Nights) -> None:
    six_weeks(nights)
    nights.desk.sources.append(nights.desk.sources[0] | {"path": "raw/till.csv", "event_type": "purchase"})
    nights.desk.put(view("2024-01-09", "u7"), name="till.csv")
    assert nights.night() == {"2024-01-08"}
    nights.desk.sources.pop()
    assert nights.night() == set(MONDAYS)


@pytest.mark.parametrize("change", ["settings", "timezone", "force", "version", "cut off", "missing"])
def test_all_is_written_anew_where_the_last_run_does_not_hold(nights: Nights, change: str) -> None:
    six_weeks(nights)
    assert nights.artifact is not None
    nights.put(view("2024-01-09"))
    file = nights.artifact.path / "events" / "2024-02-05.parquet"
    manifest = nights.artifact.path / MANIFEST
    if change == "settings":
        nights.settings["max_price"] = 12
    elif change == "timezone":
        nights.timezone = NEW_YORK
    elif change == "version":
        manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"stage_version": 0}))
    elif change == "cut off":
        file.write_bytes(file.read_bytes()[:-1])
    elif change == "missing":
        file.unlink()
    assert nights.night(force=change == "force") == set(MONDAYS)


def test_another_limit_of_the_quality_report_writes_no_week_anew(nights: Nights) -> None:
    six_weeks(nights)
    nights.settings["quality"] = {"max_duplicate_share": 0.5}
    assert nights.night(view("2024-01-09")) == {"2024-01-08"}
    nights.settings["quality"] = {"max_duplicate_share": 0.5, "late_after": "1d"}
    assert nights.night(view("2024-01-09", hour=9)) == set(MONDAYS)


@pytest.mark.parametrize(("day", "is_read"), [("2024-02-06", False), ("2024-01-09", True)])
def test_only_raw_files_that_are_read_are_compared_with_the_manifest(
    nights: Nights, day: str, is_read: bool
) -> None:
    for monday in MONDAYS:
        nights.night(view(monday))
    nights.put(view(day))
    nights.desk.runs.do("ingest")
    raw = nights.desk.runs.context().workspace.read("events_raw")
    assert raw is not None
    names = {b["path"]: b["file"] for b in raw.info["batches"]}
    second = raw.path / names[sorted(names)[1]]
    second.write_bytes(second.read_bytes().replace(b"PAR1", b"PAR2"))
    if is_read:
        with pytest.raises(ArtifactError, match=f"{second.name} is changed. Nothing of it was used"):
            nights.desk.runs.do("clean")
    else:
        nights.desk.runs.do("clean")


@pytest.mark.parametrize("part", ["events/2024-02-05.parquet", "quarantine/batch-*.parquet"])
def test_a_file_that_is_taken_over_must_be_what_it_was(nights: Nights, part: str) -> None:
    nights.settings = {"outliers": {"price": {}}}
    nights.night(*(view(day, price="1") for day in MONDAYS), view("2024-01-01", ""))
    assert nights.artifact is not None
    (file,) = nights.artifact.path.glob(part)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    manifest = (nights.artifact.path / MANIFEST).read_bytes()
    nights.put(view("2024-01-09"))
    with pytest.raises(ArtifactError) as error:
        nights.desk.clean(**nights.settings)
    assert str(error.value) == (
        f"{file} is damaged: it is missing or has other content than when it was published. Bring back the source "
        f"that it was made from, and run again with --force"
    )
    assert (nights.artifact.path / MANIFEST).read_bytes() == manifest


@pytest.mark.parametrize("part", ["values/batch-*.arrow", "events/2024-01-01.parquet", "items/items.parquet"])
def test_what_the_last_run_wrote_and_nobody_can_read_is_named(nights: Nights, part: str) -> None:
    nights.settings = {"outliers": {"price": {}}}
    nights.night(*(view(day, price="1") for day in MONDAYS))
    assert nights.artifact is not None
    (file,) = nights.artifact.path.glob(part)
    file.write_bytes(b"x" * file.stat().st_size)
    nights.desk.sources.append(ITEMS)
    nights.desk.write_side("items-0.csv", "id,cat,make\ni1,a,\n")
    with pytest.raises(ArtifactError) as error:
        nights.desk.clean(**nights.settings)
    name = file.relative_to(nights.artifact.path)
    assert str(error.value) == (
        f"{nights.artifact.path} is not what the clean stage published: {name} is changed. Nothing of it was used; "
        f"make it again with --force"
    )


def test_rows_that_came_in_at_another_time_are_others(nights: Nights) -> None:
    """The same file is ingested anew, as if it had been written later."""
    six_weeks(nights)
    shutil.rmtree(nights.desk.shop.workspace / "events_raw")
    os.utime(nights.desk.shop.raw / "events-0.csv", (NOON.timestamp() + 60, NOON.timestamp() + 60))
    assert nights.night() == set(MONDAYS)


def test_a_night_that_fails_leaves_what_was_there(nights: Nights) -> None:
    six_weeks(nights)
    before = data_files(nights.desk.shop.workspace / "clean")
    nights.put(*[{"user": ""}] * 3)
    strict = {"max_refused_share": 0.1}
    with pytest.raises(
        DataError, match=r"3 of 15 rows are refused, more than clean.max_refused_share \(0.1\)"
    ):
        nights.desk.clean(**strict)
    assert data_files(nights.desk.shop.workspace / "clean") == before


# Any log, in any order of files, against a slow oracle of who is a bot


def bots_by_hand(artifact: Artifact, per_day: int, most: int, timezone: str) -> set[tuple[str, int]]:
    """Return batch and row of the events that a reading of the rule row by row finds bot-like."""
    local = pl.col("ts").dt.convert_time_zone(timezone).dt.date()
    columns = ["user_id", local.alias("day"), "batch", "row"]
    of_weeks = quarantine(artifact).filter(pl.col("rule").str.contains("^bot|^outlier"))
    order = ["user_id", "ts", "event_type", "item_id", "category", "price", "received_at", "batch", "row"]
    judged = pl.concat([events(artifact).select(order), of_weeks.select(order)]).sort(order)
    found = set()
    n_all: dict[str, int] = {}
    n_day: dict[tuple[str, Any], int] = {}
    bots = set()
    for user, day, batch, row in judged.select(columns).rows():
        n_all[user] = n_all.get(user, 0) + 1
        n_day[user, day] = n_day.get((user, day), 0) + 1
        if n_all[user] > most or n_day[user, day] > per_day:
            bots.add(user)
        if user in bots:
            found.add((batch, row))
    return found


times = st.builds(
    lambda day, hour: f"{datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=day, hours=hour):%Y-%m-%d %H:%M}",
    st.one_of(st.integers(0, 70), st.sampled_from([6, 7, 13, 14, 27, 28])),
    st.integers(0, 23),
)
rows = st.fixed_dictionaries(
    {
        "user": st.sampled_from(["u1", "u1", "u2", "u3", "u4", ""]),
        "item": st.sampled_from(["i1", "i2", "i3"]),
        "time": times,
        "price": st.sampled_from(["1", "2", "3", "50", "x"]),
        "category": st.sampled_from(["", "", "a"]),
    }
)
sides = st.sampled_from([None, "i1,a,\n", "i1,b,\n", "i2,a,\n", "i2,,x\n", "i1,a,\ni3,a,y\n"])


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    files=st.lists(st.tuples(st.lists(rows, max_size=25), sides), min_size=2, max_size=4),
    timezone=st.sampled_from(["UTC", NEW_YORK, KIRITIMATI]),
    per_day=st.integers(1, 4),
    most=st.integers(3, 12),
    action=st.sampled_from([None, "clip", "quarantine"]),
    rows_at_once=st.sampled_from([5, 20, 500_000]),
    threads=st.integers(1, 2),
)
def test_any_log_ends_as_from_scratch(
    files: Sequence[tuple[list[dict[str, str]], str | None]],
    timezone: str,
    per_day: int,
    most: int,
    action: str | None,
    rows_at_once: int,
    threads: int,
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        nights = Nights(Path(folder))
        nights.timezone = timezone
        nights.settings = {"max_events_per_user_day": per_day, "max_events_per_user": most}
        if action:
            nights.settings["outliers"] = {"price": {"quantile": 0.7, "action": action}}
        nights.desk.sources.append(ITEMS)
        nights.desk.write_side("items-0.csv", "id,cat,make\n")
        nights.put(view("2024-01-01", "keeper"))
        nights.desk.runs.threads = threads
        patch.setattr(memory, "FEWEST_ROWS", 1)
        patch.setattr(memory, "MOST_ROWS", rows_at_once)
        for number, (log, side) in enumerate(files):
            if side:
                nights.desk.write_side(f"items-{number + 1}.csv", f"id,cat,make\n{side}")
            nights.put(*log)
            nights.night()
        assert nights.artifact is not None
        refused = quarantine(nights.artifact).filter(pl.col("rule") == "bot_like")
        by_hand = bots_by_hand(nights.artifact, per_day, most, timezone)
        assert set(refused.select("batch", "row").rows()) == by_hand
