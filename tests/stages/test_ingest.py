"""ingest: a batch per file, each content once, and nothing lost or taken silently."""

import json
import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from shops import Shop, data_files
from stage_runs import Runs, table

from ecbehave.artifacts import Artifact, Outcome
from ecbehave.errors import DataError
from ecbehave.sources import read_chunks
from ecbehave.stages import ingest

HEADER = "user,item,kind,time,price\n"
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
SOURCE: dict[str, Any] = {
    "path": "raw/events*.csv",
    "columns": {"user_id": "user", "item_id": "item", "ts": "time", "price": "price"},
    "event_type": {"column": "kind"},
}


class Desk:
    """A shop whose raw files are written row by row."""

    def __init__(self, folder: Path) -> None:
        self.shop = Shop(folder)
        self.sources = [dict(SOURCE)]
        self.dataset: dict[str, Any] = {}
        self.runs = Runs(self.shop, self.shop.folder / "shop.yaml")

    def put(self, name: str, *rows: str, at: datetime = NOON) -> Path:
        """Write a file as if at that time."""
        path = self.shop.raw / name
        path.write_text(HEADER + "".join(f"{row}\n" for row in rows), encoding="utf-8")
        return self.touch(path, at)

    def touch(self, path: Path, at: datetime) -> Path:
        os.utime(path, (at.timestamp(), at.timestamp()))
        return path

    def ingest(self, *, force: bool = False) -> Outcome:
        self.shop.config(dataset={"sources": self.sources} | self.dataset)
        return self.runs.do("ingest", force=force)

    def users(self) -> list[str]:
        """The users of all published rows, file by file."""
        return table(self.published(), "events/*.parquet")["user_id"].sort().to_list()

    def published(self) -> Artifact:
        artifact = self.runs.context().workspace.read(ingest.NAME)
        assert artifact is not None
        return artifact

    def batches(self) -> dict[str, dict[str, Any]]:
        return {Path(b["path"]).name: b for b in self.published().info["batches"]}

    def inodes(self) -> set[int]:
        """Identities of the stored batches: a batch that was linked keeps its own."""
        return {file.stat().st_ino for file in self.published().files("events/*.parquet")}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path / "shop")
    desk.put("events-1.csv", "u1,i1,view,2024-04-01,2.5", "u2,i1,view,2024-04-01,2.5")
    return desk


def test_each_file_is_a_batch_with_its_rows_and_where_they_came_from(desk: Desk) -> None:
    desk.put("events-2.csv", "u3,i2,purchase,2024-04-02 10:00:00,3")
    outcome = desk.ingest()
    assert outcome.status == "done"
    assert outcome.artifact.counts == {"events.rows": 3, "events.unparsed": 0}
    assert desk.runs.said == ["ingest: 2 new of 2 files, 3 event rows"]
    batches = desk.batches()
    assert [batches[name]["rows"] for name in ("events-1.csv", "events-2.csv")] == [2, 1]
    rows = pl.read_parquet(desk.published().path / batches["events-2.csv"]["file"])
    assert rows.select("user_id", "event_type", "price", "amount", "batch", "row").rows() == [
        ("u3", "purchase", 3.0, 3.0, batches["events-2.csv"]["id"], 1)
    ]


def test_nothing_new_is_nothing_done(desk: Desk) -> None:
    desk.ingest()
    before, inodes = data_files(desk.shop.workspace), desk.inodes()
    assert desk.ingest().status == "skipped"
    assert (data_files(desk.shop.workspace), desk.inodes()) == (before, inodes)


def test_a_new_file_is_added_and_the_old_batch_is_linked_not_read_again(desk: Desk) -> None:
    desk.ingest()
    inodes, old = desk.inodes(), desk.batches()["events-1.csv"]
    desk.put("events-2.csv", "u3,i2,view,2024-04-02,3")
    assert desk.ingest().status == "done"
    assert desk.runs.said == ["ingest: 1 new of 2 files, 3 event rows"]
    assert inodes < desk.inodes()
    assert desk.batches()["events-1.csv"] == old
    assert desk.users() == ["u1", "u2", "u3"]


def test_a_renamed_file_is_not_taken_again(desk: Desk) -> None:
    desk.ingest()
    (desk.shop.raw / "events-1.csv").rename(desk.shop.raw / "events-0.csv")
    assert desk.ingest().status == "skipped"
    desk.put("events-2.csv", "u3,i2,view,2024-04-02,3")
    desk.ingest()
    assert desk.runs.said == ["ingest: 1 new of 2 files, 3 event rows"]
    assert list(desk.batches()) == ["events-0.csv", "events-2.csv"]
    assert desk.users() == ["u1", "u2", "u3"]


@pytest.mark.parametrize("name", ["events-0.csv", "events-2.csv"])
def test_a_copy_under_another_name_is_taken_once(desk: Desk, name: str) -> None:
    desk.ingest()
    original = desk.shop.raw / "events-1.csv"
    copy = desk.shop.raw / name
    copy.write_bytes(original.read_bytes())
    assert desk.ingest().status == "skipped"
    second, first = sorted([original, copy], reverse=True)
    assert desk.runs.said == [f"{second} has the same content as {first}: taken once"]
    assert desk.users() == ["u1", "u2"]


@pytest.mark.parametrize("force", [False, True])
def test_a_touched_file_is_the_same_file_and_came_in_when_it_first_did(desk: Desk, force: bool) -> None:
    desk.ingest()
    desk.touch(desk.shop.raw / "events-1.csv", datetime(2024, 6, 1, tzinfo=UTC))
    assert desk.ingest(force=force).status == ("done" if force else "skipped")
    assert desk.batches()["events-1.csv"]["received_at"] == NOON.isoformat()
    assert desk.users() == ["u1", "u2"]


def test_a_changed_file_is_refused(desk: Desk) -> None:
    desk.ingest()
    path = desk.put("events-1.csv", "u9,i1,view,2024-04-01,2.5", at=datetime(2024, 5, 2, tzinfo=UTC))
    before = data_files(desk.shop.workspace)
    for force in (False, True):
        with pytest.raises(DataError) as error:
            desk.ingest(force=force)
        assert str(error.value) == (
            f"{path} has other content than when it was ingested (it was 78 bytes). To take the new content in "
            f"place of the old, set dataset.changed_files: replace; to add to the log, write a new file"
        )
    assert data_files(desk.shop.workspace) == before


def test_several_changed_files_are_counted(desk: Desk) -> None:
    paths = [desk.put(f"events-{n}.csv", f"u{n},i1,view,2024-04-01,1") for n in range(4)]
    desk.ingest()
    for n in range(4):
        desk.put(f"events-{n}.csv", f"v{n},i1,view,2024-04-01,1", at=datetime(2024, 5, 2, tzinfo=UTC))
    with pytest.raises(DataError) as error:
        desk.ingest()
    assert str(error.value) == (
        f"4 files have other content than when they were ingested, e.g. {paths[0]}, {paths[1]}, {paths[2]}. To take "
        f"the new content in place of the old, set dataset.changed_files: replace; to add to the log, write a new file"
    )


def test_a_changed_file_replaces_its_batch_where_that_is_wanted(desk: Desk) -> None:
    desk.put("events-2.csv", "u3,i1,view,2024-04-01,2.5")
    desk.ingest()
    desk.dataset = {"changed_files": "replace"}
    desk.put("events-1.csv", "u9,i1,view,2024-04-01,2.5", at=datetime(2024, 5, 2, tzinfo=UTC))
    assert desk.ingest().status == "done"
    assert desk.runs.said == ["ingest: 1 new of 2 files, 2 event rows"]
    assert desk.users() == ["u3", "u9"]
    assert desk.batches()["events-1.csv"]["received_at"] == "2024-05-02T00:00:00+00:00"


def test_a_change_that_keeps_size_and_time_is_seen_with_force(desk: Desk) -> None:
    desk.ingest()
    desk.put("events-1.csv", "u1,i1,view,2024-04-01,2.5", "u9,i1,view,2024-04-01,2.5")
    assert desk.ingest().status == "skipped"
    with pytest.raises(DataError, match="has other content than when it was ingested"):
        desk.ingest(force=True)
    desk.dataset = {"changed_files": "replace"}
    desk.ingest(force=True)
    assert desk.users() == ["u1", "u9"]


def test_a_rotated_log_keeps_what_it_had(desk: Desk) -> None:
    """`events.csv` moves to `events-1.csv`, and a new `events.csv` begins: nothing has changed in place."""
    (desk.shop.raw / "events-1.csv").rename(desk.shop.raw / "events.csv")
    desk.ingest()
    (desk.shop.raw / "events.csv").rename(desk.shop.raw / "events-1.csv")
    desk.put("events.csv", "u3,i1,view,2024-05-01,2.5", at=datetime(2024, 5, 2, tzinfo=UTC))
    desk.ingest()
    assert desk.runs.said == ["ingest: 1 new of 2 files, 3 event rows"]
    assert desk.users() == ["u1", "u2", "u3"]


def test_batches_stay_when_their_files_have_gone(desk: Desk) -> None:
    second = desk.put("events-2.csv", "u3,i1,view,2024-04-01,2.5")
    desk.ingest()
    second.unlink()
    assert desk.ingest().status == "skipped"
    desk.put("events-3.csv", "u4,i1,view,2024-04-01,2.5")
    desk.ingest()
    assert desk.runs.said == ["ingest: 1 new of 3 files, 4 event rows"]
    for file in desk.shop.raw.iterdir():
        file.unlink()
    gone = (
        f"dataset.sources[0].path: no file matches {desk.shop.raw}/events*.csv; what was ingested from 3 files before "
        f"stays in the log"
    )
    assert desk.ingest().status == "skipped"
    assert desk.runs.said == [gone]
    assert desk.ingest(force=True).status == "done"
    assert desk.runs.said == [gone, "ingest: 0 new of 3 files, 4 event rows"]
    assert desk.users() == ["u1", "u2", "u3", "u4"]


def test_no_file_at_all_is_an_error(desk: Desk) -> None:
    (desk.shop.raw / "events-1.csv").unlink()
    with pytest.raises(DataError) as error:
        desk.ingest()
    assert str(error.value) == (
        f"dataset.sources[0].path: no file matches {desk.shop.raw}/events*.csv; the nearest folder that exists is "
        f"{desk.shop.raw}; correct the path, or bring the files"
    )


def test_another_column_mapping_reads_the_files_again(desk: Desk) -> None:
    desk.ingest()
    assert table(desk.published(), "events/*.parquet")["category"].null_count() == 2
    desk.sources[0]["columns"] = SOURCE["columns"] | {"category": "item"}
    assert desk.ingest().status == "done"
    assert desk.runs.said == ["ingest: 1 new of 1 files, 2 event rows"]
    assert table(desk.published(), "events/*.parquet")["category"].to_list() == ["i1", "i1"]


def test_another_default_zone_reads_the_files_again(desk: Desk) -> None:
    desk.ingest()
    desk.dataset = {"timezone": "America/New_York"}
    desk.ingest()
    assert desk.runs.said[0] == "ingest: 1 new of 1 files, 2 event rows"
    assert set(table(desk.published(), "events/*.parquet")["ts"]) == {datetime(2024, 4, 1, 4, tzinfo=UTC)}


def test_rows_that_nothing_can_read_again_are_dropped_out_loud(desk: Desk) -> None:
    second = desk.put("events-2.csv", "u3,i1,view,2024-04-01,2.5")
    desk.ingest()
    second.unlink()
    desk.sources[0]["columns"] = SOURCE["columns"] | {"category": "item"}
    desk.ingest()
    assert desk.runs.said == [
        "ingest: 1 new of 1 files, 2 event rows",
        f"  dropped 1 rows of 1 files that no source names and reads as before, e.g. {second}",
    ]
    assert desk.users() == ["u1", "u2"]


def test_a_removed_source_drops_its_batches(desk: Desk) -> None:
    other = desk.put("till.csv", "u7,i1,purchase,2024-04-01,2.5")
    desk.sources.append(SOURCE | {"path": "raw/till.csv", "event_type": "purchase"})
    desk.ingest()
    assert desk.users() == ["u1", "u2", "u7"]
    del desk.sources[1]
    assert desk.ingest().status == "done"
    assert desk.runs.said == [
        "ingest: 0 new of 1 files, 2 event rows",
        f"  dropped 1 rows of 1 files that no source names and reads as before, e.g. {other}",
    ]
    assert desk.users() == ["u1", "u2"]


def test_a_file_that_two_sources_read_in_different_ways_is_two_batches(desk: Desk) -> None:
    desk.sources.append(SOURCE | {"event_type": "click"})
    desk.ingest()
    assert desk.runs.said == ["ingest: 2 new of 2 files, 4 event rows"]
    assert sorted(table(desk.published(), "events/*.parquet")["event_type"]) == ["click"] * 2 + ["view"] * 2
    # One of them no longer finds it: its batch stays, as of any file that has gone.
    desk.sources[1]["path"] = "raw/clicks*.csv"
    assert desk.ingest().status == "skipped"
    desk.ingest(force=True)
    assert sorted(table(desk.published(), "events/*.parquet")["event_type"]) == ["click"] * 2 + ["view"] * 2


def test_two_sources_that_read_a_file_in_the_same_way_take_it_once(desk: Desk) -> None:
    desk.sources.append(SOURCE | {"path": "raw/*.csv"})
    desk.ingest()
    path = desk.shop.raw / "events-1.csv"
    assert desk.runs.said == [
        f"{path} has the same content as {path}: taken once",
        "ingest: 1 new of 1 files, 2 event rows",
    ]


def test_a_file_with_only_a_header_is_a_batch_without_rows(desk: Desk) -> None:
    desk.put("events-2.csv")
    assert desk.ingest().artifact.counts == {"events.rows": 2, "events.unparsed": 0}
    assert desk.batches()["events-2.csv"]["rows"] == 0
    assert desk.ingest().status == "skipped"


def test_days_of_a_batch_are_counted_in_utc(desk: Desk) -> None:
    """clean goes by them: which batches have rows of a week."""
    desk.put(
        "events-2.csv",
        *["u3,i1,view,2024-04-01 23:59:59,1", "u3,i1,view,2024-04-02T01:00:00+02:00,1"],
        *["u3,i1,view,2024-04-02 00:00:00,1", "u3,i1,view,soon,1", "u3,i1,view,2023-12-31,1"],
    )
    desk.put("events-3.csv")
    desk.dataset = {"timezone": "UTC"}
    desk.ingest()
    days = {name: b["days"] for name, b in desk.batches().items()}
    assert days == {
        "events-1.csv": {"2024-04-01": 2},
        "events-2.csv": {"2023-12-31": 1, "2024-04-01": 2, "2024-04-02": 1},
        "events-3.csv": {},
    }
    desk.put("events-4.csv", "u4,i1,view,2024-04-05,1")
    desk.ingest()
    assert {name: b["days"] for name, b in desk.batches().items()} == days | {
        "events-4.csv": {"2024-04-05": 1}
    }


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_change_no_byte(desk: Desk, tmp_path: Path, threads: int) -> None:
    other = Desk(tmp_path / "other")
    other.runs.threads = threads
    for at in (desk, other):
        for n in range(1, 8):
            at.put(f"events-{n}.csv", *(f"u{n},i{m},view,2024-04-0{n},2.5" for m in range(n)))
        at.ingest()
    assert other.runs.said == desk.runs.said == ["ingest: 7 new of 7 files, 28 event rows"]
    stored = [data_files(at.published().path / "events") for at in (desk, other)]
    assert stored[0] == stored[1]
    assert len(stored[0]) == 7
    assert [b["rows"] for b in desk.batches().values()] == list(range(1, 8))


def of_another_version(desk: Desk) -> None:
    desk.ingest()
    manifest = desk.published().path / "manifest.json"
    other = {"stage_version": ingest.VERSION - 1, "fingerprint": "0" * 64}
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | other))


def test_what_another_version_stored_is_read_again(desk: Desk) -> None:
    """And came in when it first did."""
    desk.put("events-2.csv", "u3,i1,view,2024-04-01,2.5")
    of_another_version(desk)
    desk.touch(desk.shop.raw / "events-1.csv", datetime(2024, 6, 1, tzinfo=UTC))
    inodes, before = desk.inodes(), data_files(desk.published().path / "events")
    assert desk.ingest().status == "done"
    assert desk.runs.said == ["ingest: 2 new of 2 files, 3 event rows"]
    assert not inodes & desk.inodes()
    assert data_files(desk.published().path / "events") == before


@pytest.mark.parametrize("n_gone", [1, 2])
def test_what_another_version_stored_and_nobody_can_read_again_is_an_error(desk: Desk, n_gone: int) -> None:
    paths = [desk.put(f"events-{n}.csv", f"u{n},i1,view,2024-04-01,2.5") for n in (2, 3)]
    of_another_version(desk)
    for path in paths[:n_gone]:
        path.unlink()
    with pytest.raises(DataError) as error:
        desk.ingest()
    more = ", like 1 more" if n_gone == 2 else ""
    assert str(error.value) == (
        f"{paths[0]} was ingested by another version of ecbehave, which stored it in another way, and has gone since"
        f"{more}; bring it back, or delete {desk.shop.workspace}/events_raw to go on without it"
    )


def test_side_tables_are_ingested_beside_the_log(desk: Desk) -> None:
    (desk.shop.raw / "items.csv").write_text("id,cat,brand,price\ni1,a.b,x,2\ni2,c,,much\nbroken\n")
    users_file = desk.shop.raw / "users.csv"
    users_file.write_text("id,city,born\nu1,Bonn,1980\nu2,,\n")
    desk.touch(users_file, NOON)
    desk.sources += [
        {
            "table": "items",
            "path": "raw/items.csv",
            "columns": {"item_id": "id", "category": "cat", "price": "price"},
        },
        {
            "table": "users",
            "path": "raw/users.csv",
            "columns": {"user_id": "id", "town": "city", "year": "born"},
        },
    ]
    assert desk.ingest().artifact.counts == {
        "events.rows": 2,
        "events.unparsed": 0,
        "items.rows": 3,
        "items.unparsed": 2,
        "users.rows": 2,
        "users.unparsed": 0,
    }
    assert desk.runs.said == [
        "ingest: 3 new of 3 files, 2 event rows",
        "  2 of 3 rows of items could not be read in full",
    ]
    items = table(desk.published(), "items/*.parquet")
    assert items.select("item_id", "category", "brand", "price", "unparsed").rows() == [
        ("i1", "a.b", None, 2.0, None),
        ("i2", "c", None, None, "price=much"),
        (None, None, None, None, "row=broken"),
    ]
    users = table(desk.published(), "users/*.parquet").drop("batch")
    assert users.to_dict(as_series=False) == {
        "user_id": ["u1", "u2"],
        "known_from": [NOON, NOON],
        "town": ["Bonn", None],
        "year": ["1980", None],
        "row": [1, 2],
        "unparsed": [None, None],
    }


def test_rows_came_in_when_their_file_was_written_or_when_they_say(desk: Desk) -> None:
    path = desk.shop.raw / "feed.csv"
    path.write_text(
        "user,item,kind,time,price,seen\nu5,i1,view,2024-04-01,1,2024-04-02 03:00:00\nu6,i1,view,2024-04-01,1,\n"
    )
    desk.touch(path, NOON)
    desk.sources.append(
        SOURCE | {"path": "raw/feed.csv", "columns": SOURCE["columns"] | {"received_at": "seen"}}
    )
    desk.ingest()
    rows = table(desk.published(), "events/*.parquet").sort("user_id")
    assert rows["received_at"].to_list() == [NOON, NOON, datetime(2024, 4, 2, 3, tzinfo=UTC), NOON]


def test_a_file_that_changes_while_it_is_read_is_not_published(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = desk.put("events-2.csv", "u3,i1,view,2024-04-01,2.5")

    def read_while_it_grows(file: Path, *arguments: Any, **options: Any) -> Any:
        yield from read_chunks(file, *arguments, **options)
        if file == path:
            with path.open("a", encoding="utf-8") as still_written:
                still_written.write("u4,i1,view,2024-04-01,2.5\n")

    monkeypatch.setattr(ingest, "read_chunks", read_while_it_grows)
    with pytest.raises(DataError) as error:
        desk.ingest()
    assert str(error.value) == f"{path} changed while it was read; run again when it is complete"
    assert not (desk.shop.workspace / ingest.NAME).exists()


def test_force_reads_what_is_there_again_to_the_same_bytes(desk: Desk) -> None:
    desk.ingest()
    before, inodes = data_files(desk.shop.workspace), desk.inodes()
    assert desk.ingest(force=True).status == "done"
    assert desk.runs.said == ["ingest: 1 new of 1 files, 2 event rows"]
    assert data_files(desk.shop.workspace) == before
    assert not inodes & desk.inodes()


def test_a_batch_is_named_by_content_and_settings_not_by_place(desk: Desk, tmp_path: Path) -> None:
    desk.ingest()
    moved = Desk(tmp_path / "moved")
    moved.put("events-77.csv", "u1,i1,view,2024-04-01,2.5", "u2,i1,view,2024-04-01,2.5")
    moved.ingest()
    assert [b["id"] for b in moved.batches().values()] == [b["id"] for b in desk.batches().values()]
    assert moved.published().fingerprint == desk.published().fingerprint
    assert re.fullmatch(r"events/batch-[0-9a-f]{12}\.parquet", desk.batches()["events-1.csv"]["file"])
