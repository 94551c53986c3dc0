"""Disks that are full or cannot be written, and sources that cannot be read."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest
from shops import Shop, data_files, shop_log

from ecbehave.artifacts import disk_errors
from ecbehave.errors import ArtifactError
from ecbehave.inputs.facts import LogFacts
from ecbehave.inputs.sequence_events import COLUMNS, UserEvents, user_events
from ecbehave.inputs.sequence_writer import SequenceWriter

STAGES = ("ingest", "clean", "features", "train", "evaluate", "predict")
PAGE = 4096


class Disk:
    """A tmpfs of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def mount(self, options: str) -> None:
        subprocess.run(["mount", *("-t", "tmpfs"), "-o", options, "tmpfs", str(self.folder)], check=True)

    def used(self) -> int:
        stat = os.statvfs(self.folder)
        return (stat.f_blocks - stat.f_bfree) * stat.f_frsize

    def leave(self, n_bytes: int) -> None:
        """Make the disk so small that only this much is free."""
        self.mount(f"remount,size={self.used() + n_bytes}")

    def enlarge(self) -> None:
        self.mount("remount,size=64m")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    disk = Disk(folder)
    try:
        disk.mount("size=64m")
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a tmpfs cannot be mounted here: {error}")
    yield disk
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def full(workspace: Path) -> str:
    return (
        f"error: the disk of workspace {workspace} is full; nothing was published. "
        f"Free some space and run again\n"
    )


def unwritable(workspace: Path, why: str) -> str:
    return (
        f"error: workspace {workspace} cannot be written ({why}); "
        f"set workspace to a folder that this user can write\n"
    )


def refused(shop: Shop, workspace: Path, command: str = "ingest") -> str:
    """Run a command that must end with exit code 4, and return its whole stderr."""
    done = shop.run(command, "--workspace", str(workspace), "--threads", "1", "--quiet")
    assert (done.returncode, done.stdout) == (4, ""), done.stderr
    return done.stderr


def pages(folder: Path) -> int:
    return sum(-(-p.stat().st_size // PAGE) for p in folder.rglob("*") if p.is_file())


@pytest.mark.slow
def test_every_stage_survives_a_full_disk(make_shop: Callable[..., Shop], disk: Disk) -> None:
    """The disk fills up at the first page of a stage, in the middle of the next, at the last page of the third."""
    shop = make_shop()
    workspace, undisturbed = disk.folder / "work", shop.folder / "undisturbed"
    options = ("--threads", "1", "--workspace")
    artifacts = {s["command"]: s["artifact"] for s in shop.json("run", *options, str(undisturbed))["stages"]}
    assert tuple(artifacts) == STAGES
    for n, stage in enumerate(STAGES):
        before = data_files(workspace)
        n_pages = pages(Path(artifacts[stage]))
        n_free = (0, n_pages // 2, n_pages - 1)[n % 3]
        disk.leave((n_free + 1) * PAGE)  # and one for the lock file
        assert refused(shop, workspace, stage) == full(workspace)
        assert data_files(workspace) == before
        disk.enlarge()
        assert shop.json(stage, *options, str(workspace))["status"] == "done"
    assert data_files(workspace) == data_files(undisturbed)


def test_a_disk_without_a_byte_left_is_full(shop: Shop, disk: Disk) -> None:
    disk.leave(PAGE)
    (disk.folder / "filler").write_bytes(b"x" * PAGE)
    assert refused(shop, disk.folder / "work") == full(disk.folder / "work")


@pytest.mark.parametrize("n_free", [1, 3, 40])
def test_sequences_meet_a_full_disk(disk: Disk, n_free: int) -> None:
    """However many of their files have been begun."""
    n_events = 20_000
    columns = {"ts": range(n_events), "user_hash": 1, "user_id": "u", "event_type": "view"}
    rows = pl.DataFrame(dict.fromkeys(COLUMNS) | columns, COLUMNS)
    events = user_events(rows.lazy(), LogFacts(()), "UTC")
    disk.leave(n_free * PAGE)
    with pytest.raises(ArtifactError, match=r"is full; nothing was published"), disk_errors(disk.folder):
        _write_sequences(disk.folder / "sequence", events)


def _write_sequences(folder: Path, events: UserEvents) -> None:
    with SequenceWriter(folder) as writer:
        for _ in range(3):
            writer.write(events, {"newest": 10_000})


def test_a_full_disk_keeps_what_was_published(shop: Shop, disk: Disk) -> None:
    """The new file of the append-only log does not fit; what was taken in before stays."""
    workspace = disk.folder / "work"
    shop.json("ingest", "--workspace", str(workspace))
    before = data_files(workspace)
    shop.write(shop_log(seed=1), "events-2.csv")
    disk.leave(3 * PAGE)
    assert refused(shop, workspace) == full(workspace)
    assert data_files(workspace) == before
    disk.enlarge()
    assert shop.json("ingest", "--workspace", str(workspace))["status"] == "done"
    assert len(data_files(workspace)) == len(before) + 1


def test_a_read_only_disk(shop: Shop, disk: Disk) -> None:
    shop.json("ingest", "--workspace", str(disk.folder))
    disk.mount("remount,ro")
    assert refused(shop, disk.folder, "clean") == unwritable(disk.folder, "Read-only file system")
    assert refused(shop, disk.folder / "new") == unwritable(disk.folder / "new", "Read-only file system")


def test_a_workspace_that_is_a_file_or_below_one(shop: Shop) -> None:
    file = shop.folder / "file"
    file.write_text("not a folder")
    assert refused(shop, file) == unwritable(file, "File exists")
    assert refused(shop, file / "work") == unwritable(file / "work", "Not a directory")
    assert file.read_text() == "not a folder"


# What permission bits forbid; to root they forbid nothing, unless it gives that right away.


def run_without_rights(shop: Shop, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `ecbehave` as a user whom permission bits concern."""
    give_away = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    if give_away and shutil.which("setpriv") is None:
        pytest.skip("root without setpriv: permission bits forbid nothing")
    command, *options = arguments
    return subprocess.run(
        [
            *(*give_away, sys.executable, "-m", "ecbehave", command, "--config", str(shop.config())),
            *("--quiet", "--threads", "1", *options),
        ],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def locked(shop: Shop) -> Iterator[Callable[[Path, int], None]]:
    """Take the right to read, write or delete, and give it back after the test."""
    shop.config()
    taken: list[tuple[Path, int]] = []

    def lock(path: Path, mode: int) -> None:
        taken.append((path, path.stat().st_mode))
        path.chmod(mode)

    yield lock
    for path, mode in taken:
        path.chmod(mode)


def test_a_workspace_of_somebody_else(shop: Shop, locked: Callable[[Path, int], None]) -> None:
    shop.workspace.mkdir()
    locked(shop.workspace, 0o555)
    done = run_without_rights(shop, "ingest")
    assert (done.returncode, done.stderr) == (4, unwritable(shop.workspace, "Permission denied"))
    done = run_without_rights(shop, "ingest", "--workspace", str(shop.workspace / "new"))
    assert (done.returncode, done.stderr) == (4, unwritable(shop.workspace / "new", "Permission denied"))


def test_leftovers_of_somebody_else(shop: Shop, locked: Callable[[Path, int], None]) -> None:
    left = shop.workspace / ".tmp" / "building" / "clean"
    left.mkdir(parents=True)
    (left / "half").touch()
    locked(left, 0o555)
    done = run_without_rights(shop, "ingest")
    assert (done.returncode, done.stderr) == (4, unwritable(shop.workspace, "Permission denied"))


@pytest.mark.parametrize("workspace", ["work", "."])
@pytest.mark.parametrize("was_readable", [False, True])
def test_an_unreadable_source_is_not_blamed_on_the_workspace(
    shop: Shop, locked: Callable[[Path, int], None], workspace: str, was_readable: bool
) -> None:
    """Not even where the source lies in the workspace."""
    source = shop.raw / "events.csv"
    options = ["--workspace", str(shop.folder / workspace)]
    if was_readable:
        shop.json("ingest", *options)
        options.append("--force")
    locked(source, 0o000)
    done = run_without_rights(shop, "ingest", *options)
    why = "cannot be read: Permission denied; give this user access to it"
    assert (done.returncode, done.stderr) == (3, f"error: {source} {why}\n")


@pytest.mark.parametrize(
    ("file", "command"),
    [("manifest.json", "clean"), ("items/batch-*.parquet", "clean")],
)
def test_an_unreadable_artifact_names_the_file(
    shop: Shop, locked: Callable[[Path, int], None], file: str, command: str
) -> None:
    shop.json("ingest")
    (path,) = (shop.workspace / "events_raw").glob(file)
    locked(path, 0o000)
    done = run_without_rights(shop, command)
    expected = f"error: {path} cannot be read (Permission denied); give this user access to it\n"
    assert (done.returncode, done.stderr) == (4, expected)
