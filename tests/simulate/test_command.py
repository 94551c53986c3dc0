"""`ecbehave simulate`: what is printed, what is refused, and that nothing half-written is seen."""

import fcntl
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from command_line import ecbehave

from ecbehave.simulate.settings import Settings
from ecbehave.simulate.writer import simulate

SMALL = ("--users", 40, "--days", 12, "--items", 30, "--events-per-user", 20)


def test_it_says_what_was_written(tmp_path: Path) -> None:
    out = tmp_path / "new" / "log"
    done = ecbehave("simulate", "--out", out, *SMALL, "--format", "csv", "--start", "2023-03-05", "--seed", 3)
    n = sum(len(p.read_text().splitlines()) - 1 for p in (out / "events").iterdir())
    assert done.code == 0
    assert done.out.split() == ["simulate", "done", f"{n:,}", "rows", done.out.split()[4], "s", str(out)]
    assert done.err == (
        f"simulate: {n:,} events of 40 users in 1 file\nsimulate: the truth is in {out / 'truth'}\n"
    )
    assert [p.name for p in (out / "events").iterdir()] == ["events-2023-03-05.csv"]
    log = json.loads((out / "truth" / "log.json").read_text())
    assert log["settings"] == {
        "users": 40,
        "items": 30,
        "days": 12,
        "first_day": "2023-03-05",
        "events_per_user": 20.0,
        "seed": 3,
        "format": "csv",
        "days_per_file": None,
        "dirt": 0.0,
    }


def test_json(tmp_path: Path) -> None:
    options = ("--json", "--quiet", "--dirt", 0.2, "--days-per-file", 6, "--threads", 2)
    done = ecbehave("simulate", "--out", tmp_path / "log", *SMALL, *options)
    assert done.err == ""
    found = done.json
    assert found.pop("seconds") > 0
    assert found.pop("peak_memory_bytes") > 10_000_000
    log = pl.read_parquet(tmp_path / "log" / "events" / "*.parquet")
    assert found == {
        "command": "simulate",
        "status": "done",
        "artifact": str(tmp_path / "log"),
        "rows": log.height,
        "files": 2,
        "event_types": json.loads((tmp_path / "log/truth/log.json").read_text())["event_types"],
        "dirt": json.loads((tmp_path / "log/truth/dirt.json").read_text()),
    }
    assert found["dirt"]["share"] == 0.2
    assert sum(found["event_types"].values()) == log.height


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--start", "2024-13-01"), "--start takes a day such as 2024-12-31, not '2024-13-01'"),
        (("--start", "1969-12-31"), "--start takes a day from 1970 to 2200, not 1969-12-31"),
        (("--format", "jsonl"), "--format takes parquet, csv, csv.gz, not 'jsonl'"),
        (("--users", 0), "--users takes a number from 1 to 100,000,000, not 0"),
        (("--items", -3), "--items takes a number from 1 to 10,000,000, not -3"),
        (("--days", 4_000), "--days takes a number from 1 to 3,650, not 4,000"),
        (("--events-per-user", 0), "--events-per-user takes a number from 0.1 to 2,000, not 0.0"),
        (("--days-per-file", 0), "--days-per-file takes a number from 1 to 3,650, not 0"),
        (("--dirt", 0.6), "--dirt takes a number from 0 to 0.5, not 0.6"),
        (("--dirt", "nan"), "--dirt takes a number from 0 to 0.5, not nan"),
        (("--seed", -1), "--seed takes a number from 0 to 2,147,483,647, not -1"),
    ],
)
def test_what_cannot_be(tmp_path: Path, options: tuple[object, ...], message: str) -> None:
    done = ecbehave("simulate", "--out", tmp_path / "log", *SMALL, *options)
    assert (done.code, done.error) == (2, message)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    for out in (tmp_path, tmp_path / "mine.txt"):
        done = ecbehave("simulate", "--out", out, *SMALL)
        assert (done.code, done.error) == (
            4,
            f"{out} is not an empty folder; name a new one with --out, or empty it first",
        )
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    assert ecbehave("simulate", "--out", tmp_path / "log", *SMALL, "--quiet").code == 0
    assert (tmp_path / "log" / "events").is_dir()


def test_a_place_that_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = ecbehave("simulate", "--out", tmp_path / "file" / "log", *SMALL)
    assert (done.code, done.error) == (
        4,
        f"{tmp_path / 'file' / 'log'} cannot be written (Not a directory); nothing is left of it. "
        "Free some space, or name another folder with --out",
    )


@pytest.mark.parametrize("output_format", ["parquet", "csv", "csv.gz"])
def test_a_full_disk_leaves_nothing(tmp_path: Path, output_format: str) -> None:
    """A file may not become larger than 8 kB in the process: the system's own way to say that there is no room."""
    command = [
        sys.executable,
        "-m",
        "ecbehave",
        "simulate",
        "--out",
        str(tmp_path / "log"),
        "--users",
        "2000",
    ]
    done = subprocess.run(
        [*command, "--format", output_format],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8_192, 8_192)),
    )
    assert done.returncode == 4, done.stderr
    assert done.stderr == (
        f"error: {tmp_path / 'log'} cannot be written (File too large); nothing is left of it. "
        "Free some space, or name another folder with --out\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_run_leaves_nothing(tmp_path: Path) -> None:
    def stop(rows: int) -> None:
        assert (tmp_path / ".log.unfinished" / "events").is_dir()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(Settings(users=40, days=12), tmp_path / "log", 1, stop)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_is_cleared(tmp_path: Path) -> None:
    left = tmp_path / ".log.unfinished"
    (left / "events").mkdir(parents=True)
    (left / "events" / "events-1999-01-01.parquet").write_text("half")
    (left / "users.parquet").write_text("half")
    simulate(Settings(users=40, days=12), tmp_path / "log")
    simulate(Settings(users=40, days=12), tmp_path / "other")
    assert not left.exists()
    names = [sorted(p.relative_to(f) for p in f.rglob("*")) for f in (tmp_path / "log", tmp_path / "other")]
    assert names[0] == names[1]


def test_two_at_once_do_not_mix(tmp_path: Path) -> None:
    unfinished = tmp_path / ".log.unfinished"
    unfinished.mkdir()
    descriptor = os.open(unfinished, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        done = ecbehave("simulate", "--out", tmp_path / "log", *SMALL)
    finally:
        os.close(descriptor)
    assert (done.code, done.error) == (
        4,
        f"another process is writing {unfinished}; wait for it, or name another --out",
    )
    assert unfinished.is_dir()
