"""Killed and interrupted runs: whatever the moment, nothing half-done is published and nothing published is lost."""

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from shops import Shop, data_files, shop_log

from ecbehave.artifacts import MANIFEST, Workspace

#: Stage to the artifact it publishes, for a config with the name `shop`.
ARTIFACTS = {
    "ingest": "events_raw",
    "clean": "clean",
    "features": "shop/inputs",
    "train": "shop/model",
    "evaluate": "shop/evaluation",
    "predict": "shop/predictions/as_of=2024-04-29",
}


def check_published(root: Path, expected: set[str]) -> set[str]:
    """Check that what is published is complete, and that all that was published before is there or will come back."""
    workspace, published = Workspace(root), set()
    for name in ARTIFACTS.values():
        retired = root / ".tmp" / "retired" / name
        artifact = workspace.read(name)
        if artifact is not None:
            artifact.verify()
            published.add(name)
        elif (retired / MANIFEST).exists():
            assert not (root / name).exists()
            published.add(name)
    assert expected <= published
    return published


@dataclass
class Victim:
    """A workspace whose runs are killed."""

    shop: Shop
    root: Path
    rng: random.Random
    seconds: dict[str, float]
    """How long each stage takes undisturbed."""
    hits: Counter[str] = field(default_factory=Counter)
    """Stages that were at work when a kill came."""
    published: set[str] = field(default_factory=set)
    n_kills: int = 0

    def start(self, command: str, *options: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "ecbehave", command, "--config", str(self.shop.folder / "shop.yaml")),
                *("--workspace", str(self.root), "--threads", "1", "--quiet", *options),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_for(self, file: Path, process: subprocess.Popen[str]) -> None:
        while not file.exists() and process.poll() is None:
            time.sleep(0.0003)

    def kill(self, stage: str, *, when_publishing: bool) -> None:
        """Kill a run while the stage is at work: anywhere, or when its manifest has just been begun."""
        name = ARTIFACTS[stage]
        is_killed = False
        while not is_killed:  # a run that was faster has published the stage, and --force does it again
            process = self.start("run") if name not in self.published else self.start(stage, "--force")
            building = self.root / ".tmp" / "building" / name
            self.wait_for(building / MANIFEST if when_publishing else building, process)
            time.sleep(self.rng.uniform(0, 0.006 if when_publishing else self.seconds[stage]))
            process.kill()
            process.communicate()
            is_killed = process.returncode == -signal.SIGKILL
            assert is_killed or process.returncode == 0
            self.note_hit()
            self.published = check_published(self.root, self.published)
        self.n_kills += 1

    def note_hit(self) -> None:
        for stage, name in ARTIFACTS.items():
            left = [self.root / ".tmp" / state / name for state in ("building", "retired")]
            self.hits[stage] += any(folder.exists() for folder in left)

    def finish(self) -> None:
        process = self.start("run")
        _, errors = process.communicate()
        assert (process.returncode, errors) == (0, "")


@pytest.mark.slow
def test_runs_killed_at_any_moment_end_in_the_same_files(make_shop: Callable[..., Shop]) -> None:
    """21 kills: in each stage three or more, at first of runs that have never ended, then of ones that replace."""
    shop = make_shop()
    shop.config()
    undisturbed = shop.folder / "undisturbed"
    result = shop.json("run", "--threads", "1", "--workspace", str(undisturbed))
    seconds = {stage["command"]: stage["seconds"] for stage in result["stages"]}
    victim = Victim(shop, shop.folder / "work", random.Random(0), seconds)
    for stage in ARTIFACTS:
        for when_publishing in (False, True):
            victim.kill(stage, when_publishing=when_publishing)
    victim.finish()
    victim.published = check_published(victim.root, set(ARTIFACTS.values()))
    for stage in ARTIFACTS:
        victim.kill(stage, when_publishing=victim.rng.random() < 0.5)
    for stage in victim.rng.sample(sorted(ARTIFACTS), 3):
        victim.kill(stage, when_publishing=True)
    victim.finish()
    assert victim.n_kills == 21
    assert all(victim.hits[stage] >= 1 for stage in ARTIFACTS), victim.hits
    assert data_files(victim.root) == data_files(undisturbed)
    assert sorted(p.name for p in victim.root.iterdir()) == [".lock", "clean", "events_raw", "shop"]


@pytest.mark.parametrize("stage", ["clean", "train"])
def test_an_interrupted_run_says_so_and_the_next_one_goes_on(
    make_shop: Callable[..., Shop], stage: str
) -> None:
    shop = make_shop()
    shop.config()
    victim = Victim(shop, shop.workspace, random.Random(0), {})
    process = victim.start("run")
    victim.wait_for(shop.workspace / ".tmp" / "building" / ARTIFACTS[stage], process)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate()
    assert (process.returncode, output) == (130, "")
    assert errors == "error: interrupted; nothing half-done was published. Run again to go on\n"
    assert not (shop.workspace / ".tmp").exists()
    n_before = list(ARTIFACTS).index(stage)
    assert check_published(shop.workspace, set()) == set(list(ARTIFACTS.values())[:n_before])
    result = shop.json("run", "--threads", "1")
    assert [s["status"] for s in result["stages"]] == ["skipped"] * n_before + ["done"] * (6 - n_before)


def test_a_run_that_waits_can_be_interrupted(make_shop: Callable[..., Shop]) -> None:
    shop = make_shop()
    shop.config()
    with Workspace(shop.workspace).lock("test", 0, pytest.fail):
        process = subprocess.Popen(
            [sys.executable, "-m", "ecbehave", "ingest", "--config", str(shop.folder / "shop.yaml")],
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        said = process.stderr.readline()
        assert said == f"workspace is in use by test (process {os.getpid()}); waiting up to 600 s\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    assert process.returncode == 130
    assert errors == "error: interrupted; nothing half-done was published. Run again to go on\n"


# Every moment, one after the other: the process dies before the n-th change of the disk, for every n.

KILLED = """
import itertools, json, os, shutil, signal, sys
from pathlib import Path

import polars  # once, not in every child

os.fsync = lambda descriptor: None  # it changes nothing for who is killed while the machine lives on
root, start = Path(sys.argv[1]), Path(sys.argv[2])
CHANGES = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.truncate")


def die_before(n):
    left = itertools.count(n, -1)

    def hook(event, arguments):
        # rmtree names files by their folder's descriptor, so their removal counts whatever the name.
        if event in CHANGES and (str(root) in str(arguments[0]) or event in ("os.remove", "os.rmdir")):
            if next(left) == 1:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def in_a_child(work):
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def die_everywhere(work, check):
    \"\"\"For every n: from the same start, die before change n, check, then finish and check again.\"\"\"
    for n in itertools.count(1):
        shutil.rmtree(root, ignore_errors=True)
        if start.exists():
            shutil.copytree(start, root)
        code = in_a_child(lambda: (die_before(n), work()))
        check(is_finished=code == 0)
        if code == 0:
            print(n - 1)
            return
        assert code == -signal.SIGKILL, code
        assert in_a_child(work) == 0
        check(is_finished=True)
"""


def die_everywhere(root: Path, start: Path, script: str) -> int:
    """Run the script, which defines `work` and `check`; return the number of moments."""
    code = KILLED + textwrap.dedent(script) + "\ndie_everywhere(work, check)\n"
    done = subprocess.run(
        [sys.executable, "-c", code, str(root), str(start)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"},
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return int(done.stdout)


CHAIN = """
from ecbehave.artifacts import Built, Spec, Workspace

workspace = Workspace(root)
names = ("log", "shop/model", "shop/predictions/as_of=2024-01-01")


def spec(name, version):
    return Spec(name, version, {}, {})


def publish(version):
    def build(folder):
        (folder / "a").write_text(f"{name} {version}")
        (folder / "sub").mkdir()
        (folder / "sub" / "b").write_text(f"{name} {version}")
        return Built()

    with workspace.lock("test", 0, print):
        for name in names:
            workspace.produce(name, spec(name, version), build)


def check(is_finished):
    for name in names:
        artifact = workspace.read(name)
        path = root / name
        if artifact is None:
            assert not path.exists() and not is_finished
            path = root / ".tmp" / "retired" / name
            if not STARTED_EMPTY:
                assert (path / "manifest.json").exists(), name
                artifact = Workspace(root / ".tmp" / "retired").read(name)
        if artifact is not None:
            artifact.verify()
            version = json.loads((path / "manifest.json").read_text())["stage_version"]
            assert version == 2 or not is_finished
            assert (path / "a").read_text() == (path / "sub" / "b").read_text() == f"{name} {version}"
    if is_finished:
        assert not (root / ".tmp").exists()
"""


def test_a_chain_of_artifacts_survives_death_before_every_change(tmp_path: Path) -> None:
    script = CHAIN + "\nSTARTED_EMPTY = True\nwork = lambda: publish(2)\n"
    assert die_everywhere(tmp_path / "work", tmp_path / "nothing", script) > 40


def test_a_chain_that_is_replaced_survives_death_before_every_change(tmp_path: Path) -> None:
    script = CHAIN + "\nSTARTED_EMPTY = False\nwork = lambda: publish(2)\n"
    first = "import sys; from pathlib import Path; root = Path(sys.argv[1])\n" + CHAIN + "\npublish(1)\n"
    subprocess.run([sys.executable, "-c", first, str(tmp_path / "start")], check=True)
    assert die_everywhere(tmp_path / "work", tmp_path / "start", script) > 60


@pytest.fixture
def appended(make_shop: Callable[..., Shop]) -> Shop:
    """A shop whose first file has been ingested and is gone, and whose second one is new."""
    shop = make_shop()
    log = shop_log()
    shop.write(log.head(1500), "events-1.csv")
    (shop.raw / "events.csv").unlink()
    shop.json("ingest", "--workspace", str(shop.folder / "start"))
    (shop.raw / "events-1.csv").unlink()
    shop.write(log.tail(-1500), "events-2.csv")
    return shop


@pytest.mark.slow
def test_batches_whose_source_is_gone_survive_death_before_every_change(appended: Shop) -> None:
    """The log is append-only: what was taken in once cannot be made again."""
    arguments = [
        "ecbehave",
        "ingest",
        "--config",
        str(appended.folder / "shop.yaml"),
        "--quiet",
        "--threads",
        "1",
    ]
    script = f"""
        from importlib import import_module
        from ecbehave.artifacts import Workspace
        from ecbehave.cli import app
        for module in ("stages.ingest", "models", "config.file", "sources"):
            import_module("ecbehave." + module)

        old = next((start / "events_raw" / "events").iterdir())

        def work():
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            try:
                app({arguments[1:]!r})
            except SystemExit as exit:
                assert exit.code == 0, exit.code

        def check(is_finished):
            artifact = Workspace(root).read("events_raw")
            if artifact is None:
                assert not is_finished
                artifact = Workspace(root / ".tmp" / "retired").read("events_raw")
            artifact.verify()
            assert (artifact.path / "events" / old.name).read_bytes() == old.read_bytes()
            n_batches = len(list((artifact.path / "events").iterdir()))
            assert n_batches == 2 or (n_batches == 1 and not is_finished)
            assert not is_finished or not (root / ".tmp").exists()
        """
    n_moments = die_everywhere(appended.workspace, appended.folder / "start", script)
    assert n_moments > 25
    expected = appended.json("ingest", "--workspace", str(appended.folder / "start"))
    assert (expected["status"], expected["counts"]["events.rows"]) == ("done", 3475)
    assert data_files(appended.workspace) == data_files(appended.folder / "start")


def test_taken_over_batches_must_be_whole(appended: Shop) -> None:
    start = appended.folder / "start"
    batch = next((start / "events_raw" / "events").iterdir())
    content = batch.read_bytes()
    batch.write_bytes(content[:-9] + b"?" + content[-8:])
    before = data_files(start)
    message = (
        f"error: {batch} is damaged: it is missing or has other content than when it was published. "
        f"Bring back the source that it was made from, and run again with --force\n"
    )
    for options in ([], ["--force"]):
        done = appended.run("ingest", "--workspace", str(start), *options, "--quiet")
        assert (done.returncode, done.stdout) == (4, "")
        assert done.stderr == message
        assert data_files(start) == before
    batch.unlink()
    done = appended.run("ingest", "--workspace", str(start), "--force", "--quiet")
    assert (done.returncode, done.stderr) == (4, message)
    appended.write(shop_log().head(1500), "events-1.csv")
    assert appended.json("ingest", "--workspace", str(start), "--force")["status"] == "done"
    assert batch.read_bytes() == content
