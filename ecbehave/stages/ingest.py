"""ingest: sources -> `events_raw/`, one batch per source file, each file once."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from ecbehave.artifacts import Artifact, Built, Outcome, Spec, take_over
from ecbehave.config.dataset import FileSource
from ecbehave.errors import DataError
from ecbehave.parallel import in_order
from ecbehave.schema import EVENTS_RAW, ITEMS_RAW, ORIGIN, USERS_KEY
from ecbehave.sources import find_files, read_chunks
from ecbehave.stages import Context
from ecbehave.tables import TableWriter

NAME = "events_raw"
VERSION = 2


@dataclass(frozen=True)
class Batch:
    """One source file as it was read."""

    id: str
    table: str
    path: str
    """The source file, with `${NAME}` where its path came from the environment."""
    file: str
    """The stored file, relative to the artifact."""
    settings: str
    """Hash of how the source is read: columns, formats, zone."""
    sha256: str
    """Hash of the source file's content."""
    bytes: int
    modified_ns: int
    received_at: str
    """When the file was written: ISO 8601 in UTC."""
    columns: tuple[str, ...]
    """Our columns that the source maps."""

    @classmethod
    def from_stored(cls, stored: Mapping[str, Any]) -> "Batch":
        """Read what the manifest says."""
        names = [f.name for f in fields(cls)]
        return cls(**{n: stored[n] for n in names} | {"columns": tuple(stored["columns"])})

    @property
    def identity(self) -> tuple[str, str]:
        """What must not be taken twice: the same content read in the same way."""
        return self.settings, self.sha256


@dataclass(frozen=True)
class Found:
    """A file that the sources name, and its batch."""

    path: Path
    batch: Batch
    source: FileSource
    source_index: int
    is_new: bool


def settings_of(public: Mapping[str, Any], timezone: str) -> dict[str, Any]:
    """Return what decides how a source is read; where it lies does not matter."""
    kept = {key: value for key, value in public.items() if key != "path"}
    return kept | {"timezone": public.get("timezone") or timezone}


def settings_hash(public: Mapping[str, Any], timezone: str) -> str:
    """Return the hash by which a batch knows its source."""
    return _hash(settings_of(public, timezone))


def plan(context: Context, published: Artifact | None) -> tuple[list[Found], list[Batch]]:
    """Return the batches of the files that are there, and batches to keep whose file has gone.

    Raises:
        DataError: a source names no file, a file has other content than when it was ingested, or a file has gone
            whose batch is stored as another version did it.
    """
    is_current = published is None or published.manifest["stage_version"] == VERSION
    known = [Batch.from_stored(b) for b in published.info["batches"]] if published else []
    by_path = {(b.path, b.settings): b for b in known}
    by_identity = {b.identity: b for b in known}
    taken: dict[tuple[str, str], Batch] = {}
    found: list[Found] = []
    changed: list[Batch] = []
    all_settings: set[str] = set()
    for index, source in enumerate(context.config.dataset.sources):
        settings = settings_hash(context.public["dataset"]["sources"][index], context.config.dataset.timezone)
        all_settings.add(settings)
        kept = sum(b.settings == settings for b in known)
        files = _files(source, _key(index), may_be_gone=kept > 0)
        if not files:
            context.progress.say(
                f"{_key(index)}.path: no file matches {context.masked(source.path)}; what was ingested from "
                f"{kept} file{'s' * (kept != 1)} before stays in the log"
            )
        for path in files:
            shown = context.masked(str(path))
            before = by_path.get((shown, settings))
            batch = _identify(path, shown, source, settings, before, is_trusted=not context.force)
            if before and batch.sha256 != before.sha256:
                changed.append(before)
            if batch.identity in taken:
                context.progress.say(
                    f"{path} has the same content as {taken[batch.identity].path}: taken once"
                )
                continue
            if batch.identity in by_identity:
                known_batch = by_identity[batch.identity]
                batch = replace(
                    batch, id=known_batch.id, file=known_batch.file, received_at=known_batch.received_at
                )
            taken[batch.identity] = batch
            is_new = context.force or not is_current or batch.identity not in by_identity
            found.append(Found(path, batch, source, index, is_new))
    lost = [b for b in changed if b.identity not in taken]  # a renamed file (log rotation) is not lost
    if lost and context.config.dataset.changed_files == "fail":
        raise DataError(_changed(lost))
    seen = {(f.batch.path, f.batch.settings) for f in found}
    gone = [
        b
        for b in known
        if b.settings in all_settings and (b.path, b.settings) not in seen and b.identity not in taken
    ]
    if gone and not is_current:
        raise DataError(
            f"{gone[0].path} was ingested by another version of ecbehave, which stored it in another way, and has gone "
            f"since{f', like {len(gone) - 1} more' if len(gone) > 1 else ''}; bring it back, or delete "
            f"{context.workspace.root / NAME} to go on without it"
        )
    return found, gone


def _key(index: int) -> str:
    return f"dataset.sources[{index}]"


def _files(source: FileSource, key: str, *, may_be_gone: bool) -> list[Path]:
    """Return the source's files; none is fine where its batches have been taken already."""
    try:
        return find_files(source, key)
    except DataError:
        if may_be_gone:
            return []
        raise


def _identify(
    path: Path, shown: str, source: FileSource, settings: str, before: Batch | None, *, is_trusted: bool
) -> Batch:
    """Return the file's batch; a file with unchanged size and time is not read again, where that is trusted."""
    stat = path.stat()
    if is_trusted and before and (before.bytes, before.modified_ns) == (stat.st_size, stat.st_mtime_ns):
        return before
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except PermissionError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}; give this user access to it") from error
    if before and before.sha256 == sha256:
        return replace(before, modified_ns=stat.st_mtime_ns)
    identifier = _hash([settings, sha256])[:12]
    return Batch(
        id=identifier,
        table=source.table,
        path=shown,
        file=f"{source.table}/batch-{identifier}.parquet",
        settings=settings,
        sha256=sha256,
        bytes=stat.st_size,
        modified_ns=stat.st_mtime_ns,
        received_at=datetime.fromtimestamp(stat.st_mtime_ns // 10**9, UTC).isoformat(),
        columns=tuple(source.columns),
    )


def _changed(lost: Sequence[Batch]) -> str:
    first = lost[0]
    what = f"{first.path} has other content than when it was ingested (it was {first.bytes:,} bytes)"
    if len(lost) > 1:
        examples = ", ".join(b.path for b in lost[:3])
        what = f"{len(lost)} files have other content than when they were ingested, e.g. {examples}"
    return (
        f"{what}. To take the new content in place of the old, set dataset.changed_files: replace; "
        f"to add to the log, write a new file"
    )


def _hash(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def raw_schema(table: str, columns: Sequence[str]) -> dict[str, Any]:
    """Return the stored columns of a batch."""
    attributes = {c: pl.String() for c in columns if c not in USERS_KEY}
    users = USERS_KEY | attributes | ORIGIN | {"unparsed": pl.String()}
    return {"events": EVENTS_RAW, "items": ITEMS_RAW, "users": users}[table]


def _read(found: Found, folder: Path, timezone: str) -> dict[str, Any]:
    """Stream one source file into the artifact; returns what is counted."""
    batch, n_rows, n_unparsed = found.batch, 0, 0
    per_day: list[pl.DataFrame] = []
    received_at = datetime.fromisoformat(batch.received_at)
    with TableWriter(folder / batch.file, raw_schema(batch.table, batch.columns)) as writer:
        key = _key(found.source_index)
        for chunk in read_chunks(found.path, found.source, timezone, received_at, batch.id, key=key):
            writer.write(chunk)
            n_rows += chunk.height
            n_unparsed += chunk.height - chunk["unparsed"].null_count()
            if batch.table == "events":
                per_day.append(chunk.select(day=pl.col("ts").dt.date()).group_by("day").len())
    stat = found.path.stat()
    if (stat.st_size, stat.st_mtime_ns) != (batch.bytes, batch.modified_ns):
        raise DataError(f"{batch.path} changed while it was read; run again when it is complete")
    counted = {"rows": n_rows, "unparsed": n_unparsed}
    return counted | ({"days": _days(per_day)} if batch.table == "events" else {})


def _days(parts: Sequence[pl.DataFrame]) -> dict[str, int]:
    """Return the number of rows per day in UTC; rows without a time are left out."""
    nothing = pl.DataFrame(schema={"day": pl.Date, "len": pl.get_index_type()})
    days = pl.concat([nothing, *parts]).drop_nulls().group_by("day").agg(pl.col("len").sum()).sort("day")
    return {day.isoformat(): n for day, n in days.rows()}


def settings(context: Context) -> dict[str, Any]:
    """Return the part of the config that the stage reads."""
    timezone = context.config.dataset.timezone
    return {"dataset": {"sources": [settings_of(s, timezone) for s in context.public["dataset"]["sources"]]}}


def spec(context: Context, batches: Sequence[Batch] | None = None) -> Spec:
    """Return what the batches are made from; without `batches`, those that are published."""
    if batches is None:
        published = context.workspace.read(NAME)
        stored = published.info["batches"] if published else []
    else:
        stored = [_jsonable(b) for b in batches]
    content = sorted([b["table"], b["settings"], b["sha256"], b["received_at"]] for b in stored)
    return Spec("ingest", VERSION, settings(context), {"files": _hash(content)})


def _jsonable(batch: Batch) -> dict[str, Any]:
    return asdict(batch) | {"columns": list(batch.columns)}


def run(context: Context) -> Outcome:
    """Take every new file in."""
    published = context.workspace.read(NAME, check_sizes=not context.force)
    found, gone = plan(context, published)
    batches = [f.batch for f in found] + gone
    if not context.force and published and spec(context, batches).fingerprint == published.fingerprint:
        return Outcome("skipped", published)

    def build(folder: Path) -> Built:
        counts: dict[str, int] = {}
        stored = {b["id"]: b for b in published.info["batches"]} if published else {}
        new = [f for f in found if f.is_new]
        read = partial(_read, folder=folder, timezone=context.config.dataset.timezone)
        with context.progress.track("ingest", len(new)) as advance:
            for item, counted in zip(new, in_order(read, new, context.threads), strict=True):
                stored[item.batch.id] = counted
                advance(1)
        kept: dict[str, str] = {}
        for batch in batches:
            if published and not (folder / batch.file).exists():
                kept[batch.file] = take_over(published, batch.file, folder)
        listed = [_jsonable(b) | _counts_of(stored[b.id]) for b in sorted(batches, key=lambda b: b.path)]
        for b in listed:
            for what in ("rows", "unparsed"):
                counts[f"{b['table']}.{what}"] = counts.get(f"{b['table']}.{what}", 0) + b[what]
        context.progress.say(
            f"ingest: {len(new)} new of {len(batches)} files, {counts.get('events.rows', 0):,} event rows"
        )
        for line in [*_unread(counts), *_dropped(published, batches)]:
            context.progress.say(f"  {line}")
        schemas = {"events/*.parquet": EVENTS_RAW, "items/*.parquet": ITEMS_RAW}
        return Built(counts, {"batches": listed}, schemas, kept)

    return context.workspace.produce(NAME, spec(context, batches), build, force=True)


def _unread(counts: Mapping[str, int]) -> list[str]:
    """Tell of side tables; unread event rows are for `clean` to judge."""
    return [
        f"{counts[f'{table}.unparsed']:,} of {counts[f'{table}.rows']:,} rows of {table} could not be read in full"
        for table in ("items", "users")
        if counts.get(f"{table}.unparsed")
    ]


def _dropped(published: Artifact | None, batches: Sequence[Batch]) -> list[str]:
    """Tell of rows that no source can bring again: a source was removed, or is read in another way."""
    paths = {b.path for b in batches}
    lost = [b for b in (published.info["batches"] if published else []) if b["path"] not in paths]
    lost = [b for b in lost if b["id"] not in {kept.id for kept in batches}]
    if not lost:
        return []
    n_rows = sum(b["rows"] for b in lost)
    return [
        f"dropped {n_rows:,} rows of {len(lost)} files that no source names and reads as before, "
        f"e.g. {lost[0]['path']}"
    ]


def _counts_of(stored: Mapping[str, Any]) -> dict[str, Any]:
    counted = {"rows": int(stored["rows"]), "unparsed": int(stored["unparsed"])}
    return counted | ({"days": stored["days"]} if "days" in stored else {})


def scan(artifact: Artifact, table: str) -> list[tuple[dict[str, Any], pl.LazyFrame]]:
    """Return each batch of a table with its rows."""
    return [
        (b, pl.scan_parquet(artifact.path / b["file"]))
        for b in artifact.info["batches"]
        if b["table"] == table
    ]
