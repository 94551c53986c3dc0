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
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from io import FileIO
from pathlib import Path
from typing import Any

from ecbehave import __version__
from ecbehave.errors import ArtifactError
from ecbehave.parallel import in_order

MANIFEST = "manifest.json"
#: Files that are hashed at once.
_HASHING = min(os.cpu_count() or 1, 4)
_MANIFEST_KEYS = ("stage", "fingerprint", "config", "counts", "info", "files")
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
    kept: Mapping[str, str] = field(default_factory=dict)
    """Files taken over from the artifact before, and the SHA-256 that they must still have."""
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

    def damaged(self) -> list[str]:
        """Return the files that are missing or have another size than when they were published."""
        sizes = {name: facts["bytes"] for name, facts in self.manifest["files"].items()}
        return [name for name, n_bytes in sizes.items() if not _has_size(self.path / name, n_bytes)]

    def is_whole(self) -> bool:
        """Tell whether no file is missing or cut off."""
        return not self.damaged()

    def verify(self, read: Collection[str] | None = None) -> None:
        """Compare the files with the manifest, byte for byte.

        Args:
            read: the files to compare, where not all of them are going to be read; of the others it is only looked
                at whether they are there.

        Raises:
            ArtifactError: a file is missing, was changed, or does not belong here.
        """
        expected = self.manifest["files"]
        present = {p.relative_to(self.path).as_posix() for p in _walk_files(self.path)} - {MANIFEST}
        stray, missing = sorted(present - set(expected)), sorted(set(expected) - present)
        try:
            found_now = _hashes(self.path, sorted(present & set(expected if read is None else read)))
        except PermissionError as error:
            raise _no_access(error) from error
        changed = [name for name, sha256 in found_now.items() if sha256 != expected[name]["sha256"]]
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
        self._lock_file = root / ".lock"
        self._held: FileIO | None = None

    @contextmanager
    def lock(self, command: str, wait_seconds: float, say: Callable[[str], None]) -> Iterator[None]:
        """Hold the workspace for one process, and clear what a killed one has left.

        The lock is the kernel's (flock): it ends with its process, however that ends.

        Raises:
            ArtifactError: another process holds it for longer than `wait_seconds`, or the folder cannot be written.
        """
        with self._acquire(wait_seconds, say) as self._held:
            with disk_errors(self.root):
                self._recover()
                self._held.write(f"{command} (process {os.getpid()})".encode())
            try:
                yield
            except FileNotFoundError:
                self._check_held()
                raise
            finally:
                # What has failed must not fill the disk until the next run.
                if self._is_lock_file(self._held):
                    with suppress(OSError):
                        self._recover()
                self._held.truncate(0)

    def _acquire(self, wait_seconds: float, say: Callable[[str], None]) -> FileIO:
        deadline = time.monotonic() + wait_seconds
        is_announced = False
        while True:
            with disk_errors(self.root):
                self._make_root()
                handle = FileIO(self._lock_file, "a+")
            if self._is_taken(handle):
                handle.truncate(0)
                return handle
            holder = os.pread(handle.fileno(), 1000, 0).decode(errors="replace") or "another process"
            handle.close()
            if time.monotonic() >= deadline:
                raise ArtifactError(
                    f"workspace {self.root} is in use by {holder}; run again when it has ended, "
                    f"or wait longer with --wait"
                )
            if not is_announced:
                say(f"workspace is in use by {holder}; waiting up to {wait_seconds:.0f} s")
                is_announced = True
            time.sleep(0.1)

    def _make_root(self) -> None:
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except FileNotFoundError as error:
            raise ArtifactError(
                f"workspace {self.root} cannot be made there; set another workspace"
            ) from error

    def _is_taken(self, handle: FileIO) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            handle.close()
            raise ArtifactError(
                f"workspace {self.root} cannot be locked ({error.strerror}); "
                f"set workspace to a folder on a disk that supports flock"
            ) from error
        return self._is_lock_file(handle)

    def _is_lock_file(self, handle: FileIO) -> bool:
        """Tell whether a lock still counts: whoever deletes the file lets others lock a new one."""
        try:
            return os.path.samestat(os.fstat(handle.fileno()), self._lock_file.stat())
        except OSError:
            return False

    def _check_held(self) -> None:
        if self._held is None or self._held.closed or not self._is_lock_file(self._held):
            raise ArtifactError(
                f"{self._lock_file} was deleted while this run worked, so another run may have begun; "
                f"nothing was published. Run again when no other run is at work"
            )

    def _recover(self) -> None:
        """Bring back what was retired but not yet replaced, and delete all other leftovers."""
        for manifest in sorted(self._retired.glob(f"**/{MANIFEST}")):
            retired = manifest.parent
            target = self.root / retired.relative_to(self._retired)
            if not target.exists():
                retired.rename(target)
                _sync(target.parent)
        if self._tmp.exists():
            shutil.rmtree(self._tmp)

    def read(self, name: str, *, check_sizes: bool = True) -> Artifact | None:
        """Return the published artifact of that name; None when there is none.

        Args:
            name: path of the artifact in the workspace.
            check_sizes: refuse an artifact with files that are missing or cut off.

        Raises:
            ArtifactError: its manifest cannot be read, its files are damaged, or its place holds something else.
        """
        path = self.root / name
        try:
            manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
            lacks = [key for key in _MANIFEST_KEYS if key not in manifest]
            if lacks:
                raise ValueError(f"it lacks {', '.join(lacks)}")
            artifact = Artifact(path, manifest)
            damaged = artifact.damaged()
        except (FileNotFoundError, NotADirectoryError):
            _check_ours(path)
            return None
        except PermissionError as error:
            raise _no_access(error) from error
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ArtifactError(
                f"{path / MANIFEST} cannot be read ({error}); bring it back from a copy, or delete the folder {path} "
                f"and run again"
            ) from error
        if damaged and check_sizes:
            raise ArtifactError(
                f"{path} is damaged: {damaged[0]} is missing or has another size than when it was published; "
                f"make it again with --force"
            )
        return artifact

    def produce(
        self, name: str, spec: Spec, build: Callable[[Path], Built], *, force: bool = False
    ) -> Outcome:
        """Publish the artifact `name`, unless the published one has the same fingerprint.

        `build` writes into the empty folder that it is given. The caller holds the lock.

        Raises:
            ArtifactError: the disk is full or cannot be written, or something else is in the artifact's place.
        """
        published = None if force else self.read(name, check_sizes=False)
        if published and published.fingerprint == spec.fingerprint and published.is_whole():
            return Outcome("skipped", published)
        _check_ours(self.root / name)
        started = time.monotonic()
        folder = self._tmp / "building" / name
        with disk_errors(self.root):
            if folder.exists():
                shutil.rmtree(folder)
            folder.mkdir(parents=True)
            built = build(folder)
            hashes = _hashes(folder, [p.relative_to(folder).as_posix() for p in _walk_files(folder)])
            self._check_kept(name, built.kept, hashes)
            _check_schemas(folder, built.schemas)
            files = {file: _describe(folder / file, sha256) for file, sha256 in hashes.items()}
            manifest = _manifest(spec, built, files, time.monotonic() - started)
            (folder / MANIFEST).write_text(
                json.dumps(manifest, indent=1, ensure_ascii=False), encoding="utf-8"
            )
            _sync_tree(folder)
            self._publish(folder, name)
        return Outcome("done", Artifact(self.root / name, manifest))

    def _check_kept(self, name: str, kept: Mapping[str, str], hashes: Mapping[str, str]) -> None:
        damaged = [file for file, sha256 in kept.items() if hashes.get(file) != sha256]
        if damaged:
            raise ArtifactError(
                f"{self.root / name / damaged[0]} is damaged: it is missing or has other content than when it was "
                f"published. Bring back the source that it was made from, and run again with --force"
            )

    def _publish(self, folder: Path, name: str) -> None:
        self._check_held()
        target, retired = self.root / name, self._retired / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            retired.parent.mkdir(parents=True, exist_ok=True)
            target.rename(retired)
        folder.rename(target)
        # Only when the new artifact is on the disk for good may the old one go.
        _sync(target.parent)
        _sync(self.root)
        shutil.rmtree(self._tmp)


def take_over(published: Artifact, file: str, folder: Path) -> str:
    """Take a file of a published artifact into a new one, without copying it where the disk can do that.

    Returns:
        The SHA-256 that it had when it was published, for `Built.kept`.
    """
    target = folder / file
    target.parent.mkdir(parents=True, exist_ok=True)
    # What is missing is found out when the new artifact's files are compared with `Built.kept`.
    with suppress(FileNotFoundError):
        try:
            os.link(published.path / file, target)
        except FileNotFoundError:
            raise
        except OSError:
            shutil.copyfile(published.path / file, target)
    return str(published.manifest["files"][file]["sha256"])


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
    """Return the largest resident size of this process so far.

    On Linux read from /proc, since `ru_maxrss` counts the memory of the process that started this one.
    """
    status = Path("/proc/self/status")
    if status.exists():
        peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(peak.split()[1]) * 1024
    peak_size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak_size if sys.platform == "darwin" else peak_size * 1024


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
        if number in _NO_ACCESS and (str(root) in text if filename is None else _concerns(filename, root)):
            raise ArtifactError(
                f"workspace {root} cannot be written ({os.strerror(number)}); "
                f"set workspace to a folder that this user can write"
            ) from error
        raise


def _manifest(
    spec: Spec, built: Built, files: Mapping[str, Mapping[str, Any]], seconds: float
) -> dict[str, Any]:
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
        "files": files,
        "run": {"seconds": round(seconds, 3), "peak_memory_bytes": peak_memory_bytes()},
    }


def _describe(path: Path, sha256: str) -> dict[str, Any]:
    facts: dict[str, Any] = {"rows": None, "bytes": path.stat().st_size, "sha256": sha256, "columns": None}
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


def _concerns(filename: object, root: Path) -> bool:
    """Tell whether a file that made trouble is in the workspace or above it, and not a source."""
    path = Path(str(filename))
    # shutil.rmtree gives bare names; sources are named absolutely.
    return not path.is_absolute() or path.is_relative_to(root) or root.is_relative_to(path)


def _no_access(error: PermissionError) -> ArtifactError:
    return ArtifactError(f"{error.filename} cannot be read ({error.strerror}); give this user access to it")


def _check_ours(path: Path) -> None:
    """Refuse to replace a file or folder that is no artifact: it is somebody's, not ours."""
    if os.path.lexists(path) and not (path / MANIFEST).is_file():
        raise ArtifactError(
            f"{path} is in the way: it has no {MANIFEST}, so ecbehave did not write it or somebody deleted that; "
            f"move it away or delete it, or set another workspace"
        )


def _has_size(path: Path, n_bytes: int) -> bool:
    return path.is_file() and path.stat().st_size == n_bytes


def _hashes(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """Return the SHA-256 of each file; hashing leaves Python's lock alone, so that it takes several cores."""
    return dict(zip(names, in_order(lambda name: _sha256(folder / name), names, _HASHING), strict=True))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_tree(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        # A file with a second name was taken over: it has been on the disk since it was published under the first.
        if path.is_dir() or path.stat().st_nlink == 1:
            _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
