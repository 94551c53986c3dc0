"""Workspace: fingerprints, manifests, publishing, recovery and the lock."""

import errno
import fcntl
import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecbehave import __version__
from ecbehave.artifacts import (
    MANIFEST,
    Artifact,
    Built,
    Spec,
    Workspace,
    changed_keys,
    disk_errors,
    take_over,
)
from ecbehave.errors import ArtifactError

SPEC = Spec("clean", 3, {"clean": {"max_price": 100.0}, "words": ["ä", "b"]}, {"events_raw": "ab" * 32})


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "work")


@pytest.fixture
def held(workspace: Workspace) -> Iterator[Workspace]:
    """The workspace, locked by this process."""
    with workspace.lock("test", 0, pytest.fail):
        yield workspace


def writes(content: str = "a", **built: Any) -> Callable[[Path], Built]:
    """Return a build of two tables and a text that hold the content."""

    def build(folder: Path) -> Built:
        assert list(folder.iterdir()) == []
        (folder / "part").mkdir()
        pl.DataFrame({"x": [content, content]}).write_parquet(folder / "part" / "1.parquet")
        pl.DataFrame({"x": [content], "y": [1]}).write_parquet(folder / "part" / "2.parquet")
        (folder / "note.txt").write_text(content)
        return Built(**built)

    return build


def publish(held: Workspace, name: str = "clean", content: str = "a", spec: Spec = SPEC) -> Artifact:
    outcome = held.produce(name, spec, writes(content), force=True)
    assert outcome.status == "done"
    return outcome.artifact


def stored(held: Workspace, name: str = "clean") -> Artifact:
    artifact = held.read(name)
    assert artifact is not None
    artifact.verify()
    return artifact


def test_fingerprint_never_changes_for_the_same_spec() -> None:
    text = (
        '{"config":{"clean":{"max_price":100.0},"words":["ä","b"]},"inputs":{"events_raw":"'
        + "ab" * 32
        + '"},'
        '"stage":"clean","version":3}'
    )
    assert SPEC.fingerprint == hashlib.sha256(text.encode()).hexdigest()
    assert SPEC.fingerprint == "b690aa6b85d2bec13f7bd19ab543b01248a592efae2d8418125b4ba16e1f3cb0"
    reordered = replace(SPEC, config=dict(reversed(SPEC.config.items())))
    assert reordered.fingerprint == SPEC.fingerprint


@pytest.mark.parametrize(
    "changed",
    [
        replace(SPEC, stage="ingest"),
        replace(SPEC, version=4),
        replace(SPEC, config={"clean": {"max_price": 100.5}, "words": ["ä", "b"]}),
        replace(SPEC, config={"clean": {"max_price": 100.0}, "words": ["b", "ä"]}),
        replace(SPEC, config={"clean": {"max_price": None}, "words": ["ä", "b"]}),
        replace(SPEC, config={"clean": {"max_price": "100.0"}, "words": ["ä", "b"]}),
        replace(SPEC, config={}),
        replace(SPEC, inputs={"events_raw": "ac" * 32}),
        replace(SPEC, inputs={"clean": "ab" * 32}),
        replace(SPEC, inputs={}),
    ],
)
def test_any_change_of_the_spec_changes_the_fingerprint_and_builds_anew(
    held: Workspace, changed: Spec
) -> None:
    assert changed.fingerprint != SPEC.fingerprint
    publish(held)
    outcome = held.produce("clean", changed, writes("b"))
    assert outcome.status == "done"
    assert (stored(held).path / "note.txt").read_text() == "b"
    assert stored(held).fingerprint == changed.fingerprint


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8")),
    lambda values: (
        st.lists(values, max_size=3) | st.dictionaries(st.text("ab", max_size=2), values, max_size=3)
    ),
    max_leaves=6,
)
configs = st.dictionaries(st.text("ab", max_size=2), plain, max_size=3)


@given(configs, configs)
def test_fingerprints_are_equal_exactly_when_the_config_is(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    is_same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (replace(SPEC, config=one).fingerprint == replace(SPEC, config=other).fingerprint) == is_same


def test_an_equal_fingerprint_skips_the_build(held: Workspace) -> None:
    before = publish(held)
    outcome = held.produce("clean", SPEC, lambda _folder: pytest.fail("built again"))
    assert outcome.status == "skipped"
    assert outcome.artifact == before
    forced = held.produce("clean", SPEC, writes("b"), force=True)
    assert forced.status == "done"
    assert (stored(held).path / "note.txt").read_text() == "b"


def test_the_manifest_says_what_there_is(held: Workspace) -> None:
    build = writes(
        counts={"raw": 3, "clean": 3},
        info={"end": "2024-01-01"},
        seed=7,
        schemas={"part/1.*": {"x": pl.String}},
    )
    outcome = held.produce("shop/inputs", SPEC, build)
    path = held.root / "shop" / "inputs"
    manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    run = manifest.pop("run")
    assert run["seconds"] >= 0
    assert run["peak_memory_bytes"] > 10_000_000

    def facts(file: str, rows: int | None, columns: list[str] | None) -> dict[str, Any]:
        content = (path / file).read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        return {"rows": rows, "bytes": len(content), "sha256": sha256, "columns": columns}

    assert manifest == {
        "stage": "clean",
        "package_version": __version__,
        "stage_version": 3,
        "fingerprint": SPEC.fingerprint,
        "config": SPEC.config,
        "inputs": SPEC.inputs,
        "seed": 7,
        "counts": {"raw": 3, "clean": 3},
        "info": {"end": "2024-01-01"},
        "files": {
            "note.txt": facts("note.txt", None, None),
            "part/1.parquet": facts("part/1.parquet", 2, ["x"]),
            "part/2.parquet": facts("part/2.parquet", 1, ["x", "y"]),
        },
    }
    artifact = stored(held, "shop/inputs")
    assert artifact.manifest == outcome.artifact.manifest
    assert (artifact.rows, artifact.counts, artifact.info) == (
        3,
        {"raw": 3, "clean": 3},
        {"end": "2024-01-01"},
    )
    assert artifact.files("part/*.parquet") == [path / "part" / "1.parquet", path / "part" / "2.parquet"]
    assert artifact.files() == [path / "note.txt", path / "part" / "1.parquet", path / "part" / "2.parquet"]


def test_only_the_run_differs_when_the_same_is_made_again(held: Workspace) -> None:
    first = dict(publish(held).manifest)
    time.sleep(0.002)
    second = dict(publish(held).manifest)
    first_run, second_run = first.pop("run"), second.pop("run")
    assert first == second
    assert first_run.keys() == second_run.keys() == {"seconds", "peak_memory_bytes"}


def test_nothing_is_published_as_none(workspace: Workspace) -> None:
    assert workspace.read("clean") is None
    assert workspace.read("shop/inputs") is None
    assert not workspace.root.exists()


def verify_message(artifact: Artifact) -> str:
    with pytest.raises(ArtifactError) as caught:
        artifact.verify()
    return str(caught.value)


def not_published(artifact: Artifact, what: str) -> str:
    return (
        f"{artifact.path} is not what the clean stage published: {what}. "
        f"Nothing of it was used; make it again with --force"
    )


def test_verify_tells_changed_missing_and_stray_files(held: Workspace) -> None:
    artifact = publish(held)
    artifact.verify()
    note, table = artifact.path / "note.txt", artifact.path / "part" / "1.parquet"
    note.write_text("b")
    assert verify_message(artifact) == not_published(artifact, "note.txt is changed")
    note.unlink()
    assert verify_message(artifact) == not_published(artifact, "note.txt is missing")
    (artifact.path / "part" / "3.parquet").symlink_to(table)
    table.write_bytes(table.read_bytes()[:-1] + b"?")
    expected = "part/1.parquet is changed; note.txt is missing; part/3.parquet is not from this run"
    assert verify_message(artifact) == not_published(artifact, expected)


def test_verify_compares_only_what_is_read_but_looks_for_all(held: Workspace) -> None:
    artifact = publish(held)
    note, table = artifact.path / "note.txt", artifact.path / "part" / "1.parquet"
    note.write_text("b")
    artifact.verify(["part/1.parquet"])
    table.unlink()
    with pytest.raises(ArtifactError) as caught:
        artifact.verify([])
    assert str(caught.value) == not_published(artifact, "part/1.parquet is missing")


@pytest.mark.parametrize("force", [False, True])
def test_a_truncated_file_is_damage_that_making_it_again_repairs(held: Workspace, force: bool) -> None:
    path = publish(held).path
    content = (path / "note.txt").read_bytes()
    (path / "note.txt").write_bytes(content[:-1])
    message = (
        f"{path} is damaged: note.txt is missing or has another size than when it was published; "
        f"make it again with --force"
    )
    with pytest.raises(ArtifactError) as caught:
        held.read("clean")
    assert str(caught.value) == message
    (path / "note.txt").unlink()
    with pytest.raises(ArtifactError) as caught:
        held.read("clean")
    assert str(caught.value) == message
    assert held.read("clean", check_sizes=False) is not None
    assert held.produce("clean", SPEC, writes(), force=force).status == "done"
    stored(held)


LACKS = "it lacks stage, fingerprint, config, counts, info"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "Expecting value: line 1 column 1 (char 0)"),
        (
            b'{"stage": "clean", ',
            "Expecting property name enclosed in double quotes: line 1 column 20 (char 19)",
        ),
        (b"\xff", "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
        (b'{"files": {}}', LACKS),
        (b"[]", f"{LACKS}, files"),
        (b"7", "argument of type 'int' is not iterable"),
    ],
)
def test_a_manifest_that_cannot_be_read(held: Workspace, content: bytes, why: str) -> None:
    path = publish(held).path
    (path / MANIFEST).write_bytes(content)
    with pytest.raises(ArtifactError) as caught:
        held.read("clean")
    remedy = f"bring it back from a copy, or delete the folder {path} and run again"
    expected = f"{path / MANIFEST} cannot be read ({why}); {remedy}"
    assert str(caught.value) == expected


@pytest.mark.parametrize("files", [[], {"a": 1}, {"a": {}}])
def test_a_manifest_with_malformed_files_is_refused(held: Workspace, files: Any) -> None:
    path = publish(held).path
    manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    (path / MANIFEST).write_text(json.dumps(manifest | {"files": files}), encoding="utf-8")
    with pytest.raises(
        ArtifactError, match=r"manifest\.json cannot be read \(.+\); bring it back from a copy"
    ):
        held.read("clean")


def test_every_cut_of_a_manifest_is_refused(held: Workspace) -> None:
    path = publish(held).path
    whole = (path / MANIFEST).read_bytes()
    for n_bytes in range(len(whole)):
        (path / MANIFEST).write_bytes(whole[:n_bytes])
        with pytest.raises(ArtifactError, match="cannot be read"):
            held.read("clean")


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("kind", ["folder", "file", "symlink"])
def test_what_is_no_artifact_is_never_replaced(held: Workspace, kind: str, force: bool) -> None:
    path = held.root / "clean"
    if kind == "folder":
        path.mkdir()
        (path / "thesis.tex").write_text("years of work")
    elif kind == "file":
        path.write_text("years of work")
    else:
        path.symlink_to("nowhere")
    with pytest.raises(ArtifactError) as caught:
        held.produce("clean", SPEC, lambda _folder: pytest.fail("built"), force=force)
    assert str(caught.value) == (
        f"{path} is in the way: it has no manifest.json, so ecbehave did not write it or somebody deleted that; "
        f"move it away or delete it, or set another workspace"
    )
    assert (
        path.is_symlink() or "years of work" in (path / "thesis.tex" if path.is_dir() else path).read_text()
    )


def test_a_wrong_schema_is_a_bug_and_publishes_nothing(held: Workspace) -> None:
    build = writes(schemas={"part/*.parquet": {"x": pl.String}})
    with pytest.raises(AssertionError, match=r"2\.parquet has schema .*'y': Int64.*, not \{'x': String\}"):
        held.produce("clean", SPEC, build)
    assert held.read("clean") is None


def test_kept_files_must_be_as_they_were(held: Workspace) -> None:
    content = b"batch"

    def build(folder: Path) -> Built:
        (folder / "batch").write_bytes(content)
        return Built(kept={"batch": hashlib.sha256(b"batch").hexdigest(), "gone": "0"} if is_lost else kept)

    kept, is_lost = {"batch": hashlib.sha256(b"batch").hexdigest()}, False
    held.produce("events_raw", SPEC, build)
    published = stored(held, "events_raw")
    for changed, lost, name in ((b"botch", False, "batch"), (b"batch", True, "gone")):
        content, is_lost = changed, lost
        with pytest.raises(ArtifactError) as caught:
            held.produce("events_raw", SPEC, build, force=True)
        assert str(caught.value) == (
            f"{held.root / 'events_raw' / name} is damaged: it is missing or has other content than when it was "
            f"published. Bring back the source that it was made from, and run again with --force"
        )
        assert stored(held, "events_raw") == published


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_a_build_that_fails_leaves_the_old_artifact_and_no_leftovers(
    workspace: Workspace, error: BaseException
) -> None:
    def build(folder: Path) -> Built:
        (folder / "half").write_text("half")
        raise error

    with workspace.lock("test", 0, pytest.fail):
        before = publish(workspace)
    with pytest.raises(type(error)), workspace.lock("test", 0, pytest.fail):
        workspace.produce("clean", SPEC, build, force=True)
    assert stored(workspace) == before
    assert sorted(p.name for p in workspace.root.iterdir()) == [".lock", "clean"]


def test_publishing_replaces_the_whole_artifact(held: Workspace) -> None:
    publish(held, "shop/model", "a")
    publish(held, "shop/inputs", "a")
    extra = held.root / "shop" / "model" / "stray"
    extra.write_text("stray")
    publish(held, "shop/model", "b")
    assert (stored(held, "shop/model").path / "note.txt").read_text() == "b"
    assert not extra.exists()
    assert (stored(held, "shop/inputs").path / "note.txt").read_text() == "a"
    assert not (held.root / ".tmp").exists()


def test_everything_is_on_the_disk_before_it_is_relied_on(
    held: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut: what a rename shows must have been synced, and the old one may go only when the rename is."""
    publish(held, "shop/inputs", "old")
    done: list[tuple[str, str]] = []
    fsync, rename, remove = os.fsync, os.rename, os.unlink

    def note(what: str, path: object) -> None:
        done.append((what, os.path.relpath(str(path), held.root)))

    def noted_fsync(descriptor: int) -> None:
        note("sync", Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    def noted_rename(source: Path, target: Path) -> None:
        note("rename", target)
        rename(source, target)

    def noted_remove(path: str, **options: int) -> None:
        done.append(("remove", path))
        remove(path, **options)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "rename", noted_rename)
    monkeypatch.setattr(os, "unlink", noted_remove)
    publish(held, "shop/inputs", "new")
    building = ".tmp/building/shop/inputs"
    files = ["manifest.json", "note.txt", "part", "part/1.parquet", "part/2.parquet"]
    expected = {("sync", building)} | {("sync", f"{building}/{file}") for file in files}
    assert set(done[:6]) == expected
    assert done[6:10] == [
        ("rename", ".tmp/retired/shop/inputs"),
        ("rename", "shop/inputs"),
        ("sync", "shop"),
        ("sync", "."),
    ]
    assert {what for what, _ in done[10:]} == {"remove"}


def test_what_is_taken_over_is_on_the_disk_already(held: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    before = publish(held, "clean", "old")
    synced: list[str] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)

    def build(folder: Path) -> Built:
        (folder / "new.txt").write_text("new")
        return Built({}, {}, kept={"note.txt": take_over(before, "note.txt", folder)})

    held.produce("clean", SPEC, build, force=True)
    assert "new.txt" in synced
    assert "note.txt" not in synced
    monkeypatch.setattr(os, "link", _cannot_link)
    synced.clear()
    before = stored(held)
    held.produce("clean", SPEC, build, force=True)
    assert "note.txt" in synced, "a copy is new"


def _cannot_link(*_: object) -> None:
    raise OSError(errno.EPERM, "this disk knows no second names")


# What a killed process leaves, by what it had done last.


@pytest.mark.parametrize("name", ["clean", "shop/predictions/as_of=2024-01-01"])
def test_an_artifact_retired_but_not_replaced_comes_back(workspace: Workspace, name: str) -> None:
    with workspace.lock("test", 0, pytest.fail):
        before = publish(workspace, name, "old")
    tmp = workspace.root / ".tmp"
    (tmp / "retired" / name).parent.mkdir(parents=True)
    (workspace.root / name).rename(tmp / "retired" / name)
    (tmp / "building" / name).mkdir(parents=True)
    (tmp / "building" / name / MANIFEST).write_text("complete, but not yet in place")
    assert workspace.read(name) is None
    with workspace.lock("test", 0, pytest.fail):
        assert stored(workspace, name) == before
        assert not tmp.exists()


def test_a_retired_artifact_that_was_replaced_is_deleted(workspace: Workspace) -> None:
    with workspace.lock("test", 0, pytest.fail):
        publish(workspace, "clean", "old")
        (workspace.root / "clean").rename(workspace.root / "old")
        new = publish(workspace, "clean", "new")
    (workspace.root / ".tmp" / "retired").mkdir(parents=True)
    (workspace.root / "old").rename(workspace.root / ".tmp" / "retired" / "clean")
    with workspace.lock("test", 0, pytest.fail):
        assert stored(workspace) == new
    assert sorted(p.name for p in workspace.root.iterdir()) == [".lock", "clean"]


def test_leftovers_of_a_killed_build_are_cleared(workspace: Workspace) -> None:
    left = workspace.root / ".tmp" / "building" / "shop" / "inputs"
    left.mkdir(parents=True)
    (left / "half.parquet").write_text("PAR1")
    with workspace.lock("test", 0, pytest.fail):
        assert not (workspace.root / ".tmp").exists()
        outcome = workspace.produce("shop/inputs", SPEC, writes())
    assert list(outcome.artifact.manifest["files"]) == ["note.txt", "part/1.parquet", "part/2.parquet"]


# Publishing under the eyes of readers that hold no lock.


def test_a_reader_never_sees_a_half_written_artifact(held: Workspace) -> None:
    """A reader of one file, and one of the manifest, while the artifact is published again and again."""
    sizes = [300_000, 200_000]

    def build(folder: Path) -> Built:
        (folder / "scores.bin").write_bytes(bytes([sizes[-1] // 100_000]) * sizes[-1])
        return Built()

    held.produce("clean", SPEC, build)
    script = f"""
        import sys
        from pathlib import Path
        from ecbehave.artifacts import Workspace
        workspace, n_read = Workspace(Path({str(held.root)!r})), 0
        print("ready", flush=True)
        while not (workspace.root / "enough").exists():
            # Two versions may meet in `read`, which then says so; the manifest itself is whole.
            artifact = workspace.read("clean", check_sizes=False)
            assert artifact is None or artifact.manifest["files"].keys() == {{"scores.bin"}}
            try:
                content = (workspace.root / "clean" / "scores.bin").read_bytes()
            except FileNotFoundError:  # the moment between the two renames
                continue
            n_read += 1
            assert (len(content), set(content)) in [(300_000, {{3}}), (200_000, {{2}})]
        print(n_read)
        """
    reader = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert reader.stdout is not None
    assert reader.stdout.readline() == "ready\n"
    for _ in range(150):
        sizes.reverse()
        held.produce("clean", SPEC, build, force=True)
    (held.root / "enough").touch()
    output, errors = reader.communicate(timeout=60)
    assert reader.returncode == 0, errors
    assert int(output) > 50


# The lock, between processes.

HOLDER = """
import sys, time
from pathlib import Path
from ecbehave.artifacts import Workspace
with Workspace(Path(sys.argv[1])).lock(sys.argv[2], float(sys.argv[3]), lambda message: print(message, flush=True)):
    print("holds", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start processes that take the lock, say `holds`, and hold it until they get a line or are killed."""
    started: list[subprocess.Popen[str]] = []

    def start(
        workspace: Workspace, command: str = "ecbehave train", wait: float = 0
    ) -> subprocess.Popen[str]:
        arguments = [sys.executable, "-c", HOLDER, str(workspace.root), command, str(wait)]
        pipe = subprocess.PIPE
        process = subprocess.Popen(arguments, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


def test_a_second_process_fails_at_once_and_names_the_first(
    workspace: Workspace, start: Callable[..., subprocess.Popen[str]]
) -> None:
    holder = start(workspace)
    assert line(holder) == "holds"
    began = time.monotonic()
    with (
        pytest.raises(ArtifactError) as caught,
        workspace.lock("test", 0, lambda _message: pytest.fail("said it would wait")),
    ):
        pytest.fail("got in")
    assert time.monotonic() - began < 5
    assert str(caught.value) == (
        f"workspace {workspace.root} is in use by ecbehave train (process {holder.pid}); "
        f"run again when it has ended, or wait longer with --wait"
    )
    assert caught.value.exit_code == 4
    holder.communicate("end\n")
    assert holder.returncode == 0
    with workspace.lock("test", 0, pytest.fail):
        assert (workspace.root / ".lock").read_text() == f"test (process {os.getpid()})"
    assert (workspace.root / ".lock").read_text() == ""


def test_a_waiting_process_says_so_once_and_goes_on_when_the_first_ends(
    workspace: Workspace, start: Callable[..., subprocess.Popen[str]]
) -> None:
    holder = start(workspace)
    assert line(holder) == "holds"
    waiting = start(workspace, "ecbehave run", wait=600)
    assert line(waiting) == (
        f"workspace is in use by ecbehave train (process {holder.pid}); waiting up to 600 s"
    )
    time.sleep(0.3)  # it must not say it again
    holder.communicate("end\n")
    assert line(waiting) == "holds"
    assert (workspace.root / ".lock").read_text() == f"ecbehave run (process {waiting.pid})"


def test_waiting_ends_after_the_time_given(
    workspace: Workspace, start: Callable[..., subprocess.Popen[str]]
) -> None:
    holder = start(workspace)
    assert line(holder) == "holds"
    said: list[str] = []
    began = time.monotonic()
    with pytest.raises(ArtifactError, match="is in use by"), workspace.lock("test", 0.5, said.append):
        pytest.fail("got in")
    assert 0.5 <= time.monotonic() - began < 30
    assert len(said) == 1


def test_a_killed_holder_leaves_no_lock(
    workspace: Workspace, start: Callable[..., subprocess.Popen[str]]
) -> None:
    holder = start(workspace)
    assert line(holder) == "holds"
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (workspace.root / ".lock").read_text() == f"ecbehave train (process {holder.pid})"
    with workspace.lock("test", 0, pytest.fail):
        publish(workspace)


def test_an_unnamed_holder_is_another_process(workspace: Workspace) -> None:
    workspace.root.mkdir()
    with (workspace.root / ".lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(ArtifactError) as caught, workspace.lock("test", 0, pytest.fail):
            pytest.fail("got in")
    assert str(caught.value) == (
        f"workspace {workspace.root} is in use by another process; run again when it has ended, "
        f"or wait longer with --wait"
    )


def test_only_one_of_many_gets_in_at_a_time(workspace: Workspace) -> None:
    """Four processes add 1 to a file 25 times each; an addition is lost when two are in at once."""
    script = f"""
        from pathlib import Path
        from ecbehave.artifacts import Workspace
        workspace = Workspace(Path({str(workspace.root)!r}))
        for _ in range(25):
            with workspace.lock("add", 60, lambda message: None):
                count = workspace.root / "count"
                n = int(count.read_text()) if count.exists() else 0
                count.write_text(str(n + 1))
        """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    processes = [subprocess.Popen(command) for _ in range(4)]
    assert [p.wait(timeout=120) for p in processes] == [0] * 4
    assert (workspace.root / "count").read_text() == "100"


LOST = (
    "{} was deleted while this run worked, so another run may have begun; "
    "nothing was published. Run again when no other run is at work"
)


def test_who_lost_the_lock_file_publishes_nothing_and_clears_nothing(workspace: Workspace) -> None:
    """Somebody deletes `.lock`, and a second run begins: it must not meet the first one's files."""
    other = Workspace(workspace.root)
    with workspace.lock("test", 0, pytest.fail):
        publish(workspace, content="old")

    def build(folder: Path) -> Built:
        (workspace.root / ".lock").unlink()
        with other.lock("other", 0, pytest.fail):
            built = writes("first")(folder_again(folder))
            with pytest.raises(ArtifactError) as caught:
                workspace._check_held()
            assert str(caught.value) == LOST.format(workspace.root / ".lock")
            publish(other, content="second")
            return built

    def folder_again(folder: Path) -> Path:
        assert not folder.exists()  # the second run has cleared what it takes for leftovers
        folder.mkdir(parents=True)
        return folder

    with pytest.raises(ArtifactError) as caught, workspace.lock("test", 0, pytest.fail):
        workspace.produce("clean", SPEC, build, force=True)
    assert str(caught.value) == LOST.format(workspace.root / ".lock")
    assert (stored(workspace).path / "note.txt").read_text() == "second"


def test_who_lost_the_lock_does_not_clear_what_the_other_builds(workspace: Workspace) -> None:
    other = Workspace(workspace.root)
    building = workspace.root / ".tmp" / "building" / "clean"
    with workspace.lock("test", 0, pytest.fail):
        (workspace.root / ".lock").unlink()
        second = other.lock("other", 0, pytest.fail)
        second.__enter__()
        building.mkdir(parents=True)
    assert building.is_dir()
    second.__exit__(None, None, None)
    assert not building.exists()


def test_a_lock_file_deleted_during_the_wait_is_not_taken_for_the_lock(
    workspace: Workspace, start: Callable[..., subprocess.Popen[str]]
) -> None:
    first = start(workspace)
    assert line(first) == "holds"
    waiting = start(workspace, "waiting", wait=60)
    assert "waiting up to 60 s" in line(waiting)
    (workspace.root / ".lock").unlink()
    assert line(waiting) == "holds"
    first.communicate("end\n")
    with (
        pytest.raises(ArtifactError, match=r"in use by waiting \(process"),
        workspace.lock("third", 0, print),
    ):
        pytest.fail("got in beside the second")


def test_publishing_demands_the_lock(workspace: Workspace) -> None:
    with pytest.raises(ArtifactError, match=r"\.lock was deleted while this run worked"):
        workspace.produce("clean", SPEC, writes())
    assert workspace.read("clean") is None


def test_a_disk_without_locks_is_said_to_be_one(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(ArtifactError) as caught, workspace.lock("test", 0, pytest.fail):
        pytest.fail("got in")
    assert str(caught.value) == (
        f"workspace {workspace.root} cannot be locked (No locks available); "
        f"set workspace to a folder on a disk that supports flock"
    )


# Which errors are the disk's, and whose.


def raised(root: Path, error: Exception) -> str:
    with pytest.raises(Exception) as caught, disk_errors(root):
        raise error
    return "as it was" if caught.value is error else str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "/w/.tmp/x"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        OSError(errno.EFBIG, "File too large"),
        pl.exceptions.ComputeError("No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_told_whoever_meets_it(error: Exception) -> None:
    assert raised(Path("/w"), error) == (
        "the disk of workspace /w is full; nothing was published. Free some space and run again"
    )


@pytest.mark.parametrize(
    ("error", "is_ours"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "/w/.tmp/x"), True),
        (PermissionError(errno.EACCES, "Permission denied", "/"), True),
        (PermissionError(errno.EACCES, "Permission denied", "bare name of rmtree"), True),
        (PermissionError(errno.EACCES, "Failed to open local file '/w/.tmp/x'"), True),
        (PermissionError(errno.EACCES, "Permission denied", "/raw/x"), False),
        (PermissionError(errno.EACCES, "Permission denied", "/w2/x"), False),
        (PermissionError(errno.EACCES, "Failed to open local file '/raw/x'"), False),
        (OSError(errno.EIO, "Input/output error", "/w/.tmp/x"), False),
        (ValueError("/w is a word"), False),
    ],
)
def test_only_the_workspace_is_called_unwritable(error: Exception, is_ours: bool) -> None:
    expected = "workspace /w cannot be written (Permission denied); set workspace to a folder that this user can write"
    assert raised(Path("/w"), error) == (expected if is_ours else "as it was")


def test_changed_keys_are_dotted() -> None:
    before = {"a": {"b": 1, "c": {"d": 2}}, "e": [1], "f": 0, "same": {"x": 1}}
    after = {"a": {"b": 2, "c": {"d": 3}}, "e": [2], "g": 0, "same": {"x": 1}}
    assert changed_keys(before, after) == ["a.b", "a.c.d", "e", "f", "g"]
    assert changed_keys({"a": {"b": 1}}, {"a": 7}) == ["a"]
    assert changed_keys(before, before) == []


@given(configs, configs)
def test_changed_keys_are_none_exactly_for_equal_configs(one: dict[str, Any], other: dict[str, Any]) -> None:
    is_same = _without_none(one) == _without_none(other)
    assert (changed_keys(one, other) == []) == is_same
    assert changed_keys(one, other) == changed_keys(other, one)


def _without_none(config: Any) -> Any:
    """A missing key is like none; empty sections differ from missing ones."""
    if isinstance(config, dict):
        return {key: _without_none(value) for key, value in config.items() if value is not None}
    return config
