"""Workspace, manifest, fingerprint, lock and atomic publish: what makes a killed run harmless.

An artifact is a folder with a `manifest.json`. It is built in a temporary folder of the same workspace and
renamed into place when it is complete, so that its name never shows a half-written artifact.
"""

import errno
import fcntl
import hashlib
import json
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ecbehave import __version__
from ecbehave.errors import ArtifactError

MANIFEST = "manifest.json"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_ACCESS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)


@dataclass(frozen=True)
class Spec:
    """What an artifact is made from; equal specs give equal artifacts."""

    stage: str
    version: int
    """Schema version of the stage's code: raised when the same inputs would give another result."""
    config: Mapping[str, Any]
    """The part of the resolved config that the stage reads, without secrets."""
    inputs: Mapping[str, str]
    """Fingerprints of what the stage reads."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 over all of the spec, as 64 hexadecimal digits."""
        text = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Built:
    """What a stage says about the artifact that it has just written."""

    counts: dict[str, int] = field(default_factory=dict)
    """Rows by what happened to them, e.g. `quarantined.missing_user`."""
    info: dict[str, Any] = field(default_factory=dict)
    """Facts that later stages or people need, JSON-able."""
    schemas: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Glob of Parquet files to the exact columns and dtypes that they must have."""
    seed: int | None = None


@dataclass(frozen=True)
class Artifact:
    """A published artifact: its folder and its manifest."""

    path: Path
    manifest: Mapping[str, Any]

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the spec that it was made from."""
        return str(self.manifest["fingerprint"])

    @property
    def info(self) -> Any:
        """The facts that its stage recorded."""
        return self.manifest["info"]

    @property
    def counts(self) -> dict[str, int]:
        """Rows by what happened to them."""
        return dict(self.manifest["counts"])

    @property
    def rows(self) -> int:
        """Rows of all Parquet files together."""
        return sum(f["rows"] or 0 for f in self.manifest["files"].values())

    def files(self, pattern: str = "*") -> list[Path]:
        """Return the files that the manifest names and the glob matches, in name order."""
        return [self.path / name for name in sorted(self.manifest["files"]) if Path(name).match(pattern)]

    def verify(self) -> None:
        """Compare every file with the manifest, byte for byte.

        Raises:
            ArtifactError: a file is missing, was changed, or does not belong here.
        """
        expected = self.manifest["files"]
        present = {p.relative_to(self.path).as_posix() for p in _walk_files(self.path)} - {MANIFEST}
        stray, missing = sorted(present - set(expected)), sorted(set(expected) - present)
        changed = sorted(
            name for name in present & set(expected) if _sha256(self.path / name) != expected[name]["sha256"]
        )
        found = [("changed", changed), ("missing", missing), ("not from this run", stray)]
        problems = [f"{names[0]} is {what}" for what, names in found if names]
        if problems:
            raise ArtifactError(
                f"{self.path} is not what the {self.manifest['stage']} stage published: {'; '.join(problems)}. "
                f"Nothing of it was used; make it again with --force"
            )


@dataclass(frozen=True)
class Outcome:
    """What a stage's run came to."""

    status: str
    """`done` or `skipped`."""
    artifact: Artifact


class Workspace:
    """The folder of all artifacts of a shop."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._tmp = root / ".tmp"
        self._retired = self._tmp / "retired"

    @contextmanager
    def lock(self, command: str, wait_seconds: float, say: Callable[[str], None]) -> Iterator[None]:
        """Hold the workspace for one process, and clear what a killed one has left.

        The lock is the kernel's (flock): it ends with its process, however that ends.

        Raises:
            ArtifactError: another process holds it for longer than `wait_seconds`, or the folder cannot be written.
        """
        with disk_errors(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            handle = (self.root / ".lock").open("a+", encoding="utf-8")
        with handle:
            self._acquire(handle.fileno(), wait_seconds, say)
            handle.truncate(0)
            handle.write(f"{command} (process {os.getpid()})")
            handle.flush()
            with disk_errors(self.root):
                self._recover()
            try:
                yield
            finally:
                handle.truncate(0)

    def _acquire(self, descriptor: int, wait_seconds: float, say: Callable[[str], None]) -> None:
        deadline = time.monotonic() + wait_seconds
        is_announced = False
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                holder = (self.root / ".lock").read_text(encoding="utf-8") or "another process"
            if time.monotonic() >= deadline:
                raise ArtifactError(
                    f"workspace {self.root} is in use by {holder}; run again when it has ended, "
                    f"or wait longer with --wait"
                )
            if not is_announced:
                say(f"workspace is in use by {holder}; waiting up to {wait_seconds:.0f} s")
                is_announced = True
            time.sleep(0.1)

    def _recover(self) -> None:
        """Bring back what was retired but not yet replaced, and delete all other leftovers."""
        for manifest in sorted(self._retired.glob(f"**/{MANIFEST}")):
            retired = manifest.parent
            target = self.root / retired.relative_to(self._retired)
            if not target.exists():
                retired.rename(target)
        if self._tmp.exists():
            shutil.rmtree(self._tmp)

    def read(self, name: str) -> Artifact | None:
        """Return the published artifact of that name; None when there is none.

        Raises:
            ArtifactError: its manifest cannot be read, or files that it names are missing or cut off.
        """
        path = self.root / name
        try:
            manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
            files = manifest["files"]
            damaged = [f for f, facts in files.items() if not _has_size(path / f, facts["bytes"])]
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ArtifactError(
                f"{path / MANIFEST} cannot be read ({error}); delete the folder {path} and run again"
            ) from error
        if damaged:
            raise ArtifactError(
                f"{path} is damaged: {damaged[0]} is missing or has another size than when it was published; "
                f"make it again with --force"
            )
        return Artifact(path, manifest)

    def produce(
        self, name: str, spec: Spec, build: Callable[[Path], Built], *, force: bool = False
    ) -> Outcome:
        """Publish the artifact `name`, unless the published one has the same fingerprint.

        `build` writes into the empty folder that it is given. The caller holds the lock.

        Raises:
            ArtifactError: the disk is full or cannot be written, or a file does not have its stated schema.
        """
        if not force and (published := self.read(name)) and published.fingerprint == spec.fingerprint:
            return Outcome("skipped", published)
        started = time.monotonic()
        folder = self._tmp / "building" / name
        with disk_errors(self.root):
            if folder.exists():
                shutil.rmtree(folder)
            folder.mkdir(parents=True)
            built = build(folder)
            _check_schemas(folder, built.schemas)
            manifest = _manifest(folder, spec, built, time.monotonic() - started)
            (folder / MANIFEST).write_text(
                json.dumps(manifest, indent=1, ensure_ascii=False), encoding="utf-8"
            )
            _sync_tree(folder)
            self._publish(folder, name)
        return Outcome("done", Artifact(self.root / name, manifest))

    def _publish(self, folder: Path, name: str) -> None:
        target, retired = self.root / name, self._retired / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            retired.parent.mkdir(parents=True, exist_ok=True)
            target.rename(retired)
        folder.rename(target)
        _sync(target.parent)
        shutil.rmtree(self._tmp)


def changed_keys(before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return the dotted keys at which two config parts differ."""
    keys: list[str] = []
    for key in sorted(before.keys() | after.keys()):
        old, new = before.get(key), after.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            keys += changed_keys(old, new, f"{prefix}{key}.")
        elif old != new:
            keys.append(f"{prefix}{key}")
    return keys


def peak_memory_bytes() -> int:
    """Return the largest resident size of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@contextmanager
def disk_errors(root: Path) -> Iterator[None]:
    """Turn a full or unwritable disk, whichever library meets it, into an ArtifactError."""
    try:
        yield
    except Exception as error:
        number, filename = (error.errno, error.filename) if isinstance(error, OSError) else (None, None)
        text = str(error)
        if number in _NO_ROOM or "No space left on device" in text or "os error 28" in text:
            raise ArtifactError(
                f"the disk of workspace {root} is full; nothing was published. Free some space and run again"
            ) from error
        if number in _NO_ACCESS and _is_inside(filename, root):
            raise ArtifactError(
                f"workspace {root} cannot be written ({os.strerror(number)}); "
                f"set workspace to a folder that this user can write"
            ) from error
        raise


def _manifest(folder: Path, spec: Spec, built: Built, seconds: float) -> dict[str, Any]:
    """Everything but `run` is the same whenever the same thing is made again."""
    return {
        "stage": spec.stage,
        "package_version": __version__,
        "stage_version": spec.version,
        "fingerprint": spec.fingerprint,
        "config": spec.config,
        "inputs": spec.inputs,
        "seed": built.seed,
        "counts": built.counts,
        "info": built.info,
        "files": {p.relative_to(folder).as_posix(): _describe(p) for p in _walk_files(folder)},
        "run": {"seconds": round(seconds, 3), "peak_memory_bytes": peak_memory_bytes()},
    }


def _describe(path: Path) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "rows": None,
        "bytes": path.stat().st_size,
        "sha256": _sha256(path),
        "columns": None,
    }
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        meta = pq.read_metadata(path)
        facts["rows"] = meta.num_rows
        facts["columns"] = list(meta.schema.to_arrow_schema().names)
    return facts


def _check_schemas(folder: Path, schemas: Mapping[str, Mapping[str, Any]]) -> None:
    import polars as pl

    for pattern, expected in schemas.items():
        for path in sorted(folder.glob(pattern)):
            actual = dict(pl.read_parquet_schema(path))
            if actual != dict(expected):
                raise AssertionError(f"{path.name} has schema {actual}, not {dict(expected)}")


def _walk_files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file() or p.is_symlink())


def _is_inside(filename: object, root: Path) -> bool:
    return filename is None or Path(str(filename)).is_relative_to(root) or root.is_relative_to(str(filename))


def _has_size(path: Path, n_bytes: int) -> bool:
    return path.is_file() and path.stat().st_size == n_bytes


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_tree(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
