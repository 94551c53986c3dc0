"""features: the clean log -> `inputs/`: what the configured family reads, for every split, with labels."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import polars as pl

from ecbehave.artifacts import Artifact, Built, Outcome, Spec
from ecbehave.buckets import user_hash
from ecbehave.config import PREPARATION, PurchaseTask, TaskConfig
from ecbehave.errors import DataError
from ecbehave.inputs import matrix, table
from ecbehave.inputs.facts import LogFacts
from ecbehave.inputs.pairs import Asking, PairTable
from ecbehave.inputs.types import MatrixInput, TableInput
from ecbehave.memory import rows_at_once
from ecbehave.models import input_type
from ecbehave.models.protocol import InputType
from ecbehave.parallel import in_order
from ecbehave.schema import MATRIX_LABELS, MATRIX_USERS, PAIRS, TABLE_KEYS, USERS_KEY
from ecbehave.stages import Context, clean, upstream
from ecbehave.tables import TableWriters
from ecbehave.tasks import Task, make_task
from ecbehave.windows import (
    Splits,
    Window,
    describe,
    future,
    history,
    label,
    make_splits,
    shift,
)

VERSION = 1

#: What tasks and the matrix input read of the log.
_COLUMNS = ("user_hash", "user_id", "ts", "event_type", "item_id")

#: Measured resident bytes while a bucket's features are made: per event, and per value of a feature.
_BYTES_PER_EVENT, _BYTES_PER_VALUE = 350, 12
#: Users have at least so many events each, on the mean: more of them in a bucket would have more features.
_EVENTS_PER_USER = 10

#: The newest history of all, without labels: what a refit of a matrix model learns from.
NEWEST = "newest"

T = TypeVar("T")
Known_co = TypeVar("Known_co", covariant=True)


def name(context: Context) -> str:
    """Return the artifact's name."""
    return f"{context.config.name}/inputs"


def input_types(context: Context) -> list[InputType]:
    """Return what the model and its baseline read.

    Raises:
        ConfigError: one of them does not serve the task.
    """
    config, task = context.config, make_task(context.config.task)
    pairs = ((config.model, "model"), (config.baseline, "baseline"))
    return sorted({input_type(model, task.name, task.output, key) for model, key in pairs})


def settings(context: Context) -> dict[str, Any]:
    """Return the part of the config that the stage reads."""
    config: dict[str, Any] = {key: context.public[key] for key in ("task", "split")}
    config["features"] = {k: v for k, v in context.public["features"].items() if k not in PREPARATION}
    config["dataset"] = {"timezone": context.config.dataset.timezone}
    return config | {"inputs": input_types(context)}


def spec(context: Context) -> Spec:
    """Return what the inputs are made from."""
    log = upstream(context, "clean", clean.NAME, clean.spec)
    return Spec("features", VERSION, settings(context), {clean.NAME: log.fingerprint})


@dataclass(frozen=True)
class Request:
    """An input to build: where, as known when, and with which labels."""

    folder: str
    cutoff: datetime
    end: datetime | None = None
    """End of the label window; None for no labels."""


class _Sums(Protocol[T, Known_co]):
    """What collects sums over all users, bucket by bucket."""

    def columns(self) -> list[str]: ...
    def partial(self, events: pl.LazyFrame) -> T: ...
    def add(self, partial: T) -> None: ...
    def market(self) -> Known_co: ...


class InputWriter:
    """Builds inputs bucket by bucket; the only code that does, for training, evaluation and prediction."""

    def __init__(
        self, context: Context, task: Task, log: Artifact, facts: LogFacts, writers: TableWriters
    ) -> None:
        self._context, self._task, self._log, self._writers = context, task, log, writers
        self._timezone = context.config.dataset.timezone
        self.catalogue = catalogue_of(context, facts)
        self.schema = self.catalogue.schema()
        self.counts: dict[str, int] = {}

    def build(self, asked: Mapping[InputType, Sequence[Request]]) -> None:
        """Write inputs, from one pass over the log, or two where features need sums over all users.

        Args:
            asked: which inputs of each kind.
        """
        tables_of = self._tables(asked["table"]) if "table" in asked else None

        def made(bucket: pl.DataFrame) -> list[_Part]:
            parts = tables_of(bucket) if tables_of else []
            for request in asked.get("matrix", []):
                parts += self._matrix(request, bucket.lazy())
            return parts

        columns = [*_COLUMNS, *(c for c in self.catalogue.columns() if c not in _COLUMNS)]
        rows_per_user = self.catalogue.rows_per_user if isinstance(self.catalogue, PairTable) else 1
        n_values = len(self.schema) * len(asked.get("table", [])) * rows_per_user
        for parts in self._each(columns, made, n_values):
            for part in parts:
                self._writers.open(part.file, part.schema).write(part.rows)
                for what, n in part.counts.items():
                    self.counts[what] = self.counts.get(what, 0) + n

    def _each(
        self, columns: Sequence[str], made: Callable[[pl.DataFrame], T], n_values: int = 0
    ) -> Iterator[T]:
        """Yield what a function makes of each bucket, in their order; `n_values` for each user."""
        n_buckets, buckets = read_log(self._context, self._log, columns, n_values)
        with self._context.progress.track("features", n_buckets) as advance:
            for result in in_order(made, buckets, self._context.threads):
                yield result
                advance(1)

    def _asked(self, request: Request, events: pl.LazyFrame) -> tuple[pl.LazyFrame, pl.LazyFrame | None]:
        """Return the population and, where they are asked for, its labels."""
        cutoff = request.cutoff
        since = shift(cutoff, -self._task.active_within, self._timezone)
        population = self._task.population(events.filter(history(cutoff, since)))
        if request.end is None:
            return population, None
        return population, self._task.labels(events.filter(future(cutoff, request.end)), population)

    def _tables(self, requests: Sequence[Request]) -> Callable[[pl.DataFrame], list["_Part"]]:
        """Return the function that makes the tables of a bucket."""
        catalogue = self.catalogue
        if isinstance(catalogue, PairTable):
            return self._pair_tables(catalogue, requests)
        market = self._market(catalogue.market_sums(request.cutoff for request in requests))
        users = _Users(self._log, catalogue.facts)

        def made(bucket: pl.DataFrame) -> list[_Part]:
            asked = [(self._rows(request, bucket.lazy()), request.cutoff) for request in requests]
            built = catalogue.features(bucket.lazy(), asked, market, users.of(bucket))
            return [self._table(request, rows) for request, rows in zip(requests, built, strict=True)]

        return made

    def _pair_tables(
        self, catalogue: PairTable, requests: Sequence[Request]
    ) -> Callable[[pl.DataFrame], list["_Part"]]:
        """Return the function that makes the tables of a bucket's pairs."""
        market = self._market(catalogue.market_sums([request.cutoff for request in requests]))

        def made(bucket: pl.DataFrame) -> list[_Part]:
            asked = [self._asking(request, bucket.lazy()) for request in requests]
            built = catalogue.tables(bucket.lazy(), asked, market)
            return [
                self._table(request, rows, asking.true_pairs)
                for request, rows, asking in zip(requests, built, asked, strict=True)
            ]

        return made

    def _asking(self, request: Request, events: pl.LazyFrame) -> Asking:
        population, labels = self._asked(request, events)
        return Asking(population.collect(), None if labels is None else labels.collect(), request.cutoff)

    def _market(self, sums: _Sums[T, Known_co]) -> Known_co:
        if sums.columns():
            columns = ["user_hash", *sums.columns()]
            for part in self._each(columns, lambda bucket: sums.partial(bucket.lazy())):
                sums.add(part)
        return sums.market()

    def _rows(self, request: Request, events: pl.LazyFrame) -> pl.DataFrame:
        population, labels = self._asked(request, events)
        rows = population if labels is None else labels
        return rows.with_columns(cutoff=pl.lit(request.cutoff, TABLE_KEYS["cutoff"])).collect()

    def _table(self, request: Request, rows: pl.DataFrame, true_pairs: pl.DataFrame | None = None) -> "_Part":
        counts = {f"{request.folder}.rows": rows.height}
        if request.end is not None:
            counts[f"{request.folder}.positives"] = int(rows["label"].sum())
        if true_pairs is not None:
            # More than the positives: some were no candidates.
            counts[f"{request.folder}.true_pairs"] = true_pairs.height
        schema = table.table_schema(self.schema, self._task.target, is_labelled=request.end is not None)
        return _Part(f"table/{request.folder}.parquet", rows, schema, counts)

    def _matrix(self, request: Request, events: pl.LazyFrame) -> list["_Part"]:
        known = events.filter(history(request.cutoff))
        population, labels = self._asked(request, events)
        asked = population.select("user_id", is_asked=pl.lit(value=True))
        users = (
            known.select("user_hash", "user_id")
            .unique()
            .join(asked, on="user_id", how="left")
            .with_columns(pl.col("is_asked").fill_null(value=False))
            .sort("user_hash", "user_id")
            .collect()
        )
        folder = f"matrix/{request.folder}"
        n_asked = {f"{request.folder}.rows": int(users["is_asked"].sum())}
        pairs = matrix.pairs(known, request.cutoff).collect()
        parts = [
            _Part(f"{folder}/users.parquet", users, MATRIX_USERS, n_asked),
            _Part(f"{folder}/pairs.parquet", pairs, PAIRS, {}),
        ]
        if labels is not None:
            true_items = (
                labels.join(population, on="user_id")
                .sort("user_hash", "user_id", "item_id")
                .select(*MATRIX_LABELS)
                .collect()
            )
            n_positive = {f"{request.folder}.positives": true_items["user_id"].n_unique()}
            parts.append(_Part(f"{folder}/labels.parquet", true_items, MATRIX_LABELS, n_positive))
        return parts


@dataclass(frozen=True)
class _Part:
    """A bucket's rows of a stored table, with what is counted of them."""

    file: str
    rows: pl.DataFrame
    schema: Mapping[str, Any]
    counts: Mapping[str, int]


class _Users:
    """The users table in the order of hashes, so that a bucket's part is a slice."""

    def __init__(self, log: Artifact, facts: LogFacts) -> None:
        # As categories, a text that many users share is in memory once.
        read = pl.read_parquet(users_file(log)).with_columns(pl.col(facts.attributes).cast(pl.Categorical))
        self._rows = read.with_columns(user_hash(read["user_id"])).sort("user_hash", maintain_order=True)
        self._hashes = self._rows["user_hash"].to_numpy()

    def of(self, bucket: pl.DataFrame) -> pl.DataFrame:
        """Return the rows of a bucket's users."""
        hashes = bucket["user_hash"].to_numpy()
        if hashes.size == 0:
            return self._rows.clear()
        start = int(np.searchsorted(self._hashes, hashes.min(), "left"))
        end = int(np.searchsorted(self._hashes, hashes.max(), "right"))
        return self._rows.slice(start, end - start)


def users_file(log: Artifact) -> Path:
    """Return the clean users table."""
    return log.path / "users" / "users.parquet"


def catalogue_of(context: Context, facts: LogFacts) -> table.Catalogue | PairTable:
    """Return the features that the config asks for and that the log supports."""
    config, asked, timezone = context.config.features, context.config.task, context.config.dataset.timezone
    target = make_task(asked).target
    if isinstance(asked, PurchaseTask) and target is not None:
        windows = tuple(config.windows)
        return PairTable(facts, target, asked.candidates, windows, config.session_gap, timezone)
    return table.Catalogue(
        facts,
        tuple(config.groups),
        tuple(config.windows),
        config.session_gap,
        context.config.dataset.timezone,
    )


def splits_of(context: Context, log: Artifact) -> tuple[Splits, datetime]:
    """Return the windows of every split, and the end of the log's last complete day.

    Raises:
        DataError: the log is too short for them.
    """
    task, timezone = make_task(context.config.task), context.config.dataset.timezone
    start, end = clean.instant(log.info["start"]), clean.end_of(log, timezone)
    split = context.config.split
    return make_splits(start, end, split, task.horizon, task.active_within, timezone), end


def event_types_before(log: Artifact, cutoff: datetime) -> list[str]:
    """Return the event types that the log had before a cutoff, in alphabetical order."""
    return _before(log.info["first_seen"], cutoff)


def _before(first: Mapping[str, str], cutoff: datetime) -> list[str]:
    return sorted(name for name, instant in first.items() if clean.instant(instant) < cutoff)


def facts_before(log: Artifact, cutoff: datetime) -> LogFacts:
    """Return what decides which features there are: what the log had before a cutoff."""
    attributes = pl.read_parquet_schema(users_file(log))
    return LogFacts(
        tuple(event_types_before(log, cutoff)),
        tuple(_before(log.info["first_value"], cutoff)),
        tuple(sorted(set(attributes) - set(USERS_KEY))),
    )


def run(context: Context) -> Outcome:
    """Build the inputs of every split."""
    log = upstream(context, "clean", clean.NAME, clean.spec)
    return context.workspace.produce(
        name(context), spec(context), lambda folder: _build(context, log, folder), force=context.force
    )


def _build(context: Context, log: Artifact, folder: Path) -> Built:
    log.verify()
    task, kinds = make_task(context.config.task), input_types(context)
    _check_event(context.config.task, log)
    splits, end = splits_of(context, log)
    timezone = context.config.dataset.timezone
    requests = [
        Request(f"{split}/{label(w.cutoff, timezone)}", w.cutoff, w.end)
        for split, windows in splits.named().items()
        for w in windows
    ]
    asked = {kind: list(requests) for kind in kinds}
    if "matrix" in asked:
        asked["matrix"].append(Request(NEWEST, end))
    with TableWriters(folder) as writers:
        writer = InputWriter(context, task, log, facts_before(log, splits.train[-1].cutoff), writers)
        writer.build(asked)
    _check_catalogue(folder, kinds)
    info = {
        "splits": {s: [_stored(w) for w in windows] for s, windows in splits.named().items()},
        "end": end.isoformat(),
        "facts": writer.catalogue.facts.to_info(),
        "features": list(writer.schema),
        "left_out": writer.catalogue.left_out(),
    }
    for split, split_windows in splits.named().items():
        context.progress.say(f"features: {split} {describe(split_windows, timezone)}")
    return Built(writer.counts, info)


def read_log(
    context: Context, log: Artifact, columns: Sequence[str], n_values: int
) -> tuple[int, Iterator[pl.DataFrame]]:
    """Return the number of buckets, and the events of each of them.

    Args:
        context: says how much memory there is.
        log: the clean log.
        columns: what is read; `user_hash` is the first.
        n_values: number of values that are made for each user.

    Raises:
        ConfigError: the memory is too little.
    """
    per_event = _BYTES_PER_EVENT + _BYTES_PER_VALUE * n_values // _EVENTS_PER_USER
    rows = rows_at_once("features", context.memory_bytes, context.threads, per_event)
    return clean.read_log(log, columns, rows)


def _check_event(task: TaskConfig, log: Artifact) -> None:
    event = "purchase" if isinstance(task, PurchaseTask) else task.event
    known = list(log.info["first_seen"])
    if event not in ("any", *known):
        listed = ", ".join(known[:10]) + (", ..." if len(known) > 10 else "")
        raise DataError(
            f"the log has no {event} event, which the task {task.kind} asks about; it has {listed}. Say which word of "
            f"the shop means {event} in dataset.sources[].event_type.map"
            + ("" if isinstance(task, PurchaseTask) else ", or set task.event")
        )
    target = make_task(task).target
    if target is not None and target not in log.info["first_value"]:
        raise DataError(
            f"the log has no {target}, which task.target asks about; map it in dataset.sources[].columns"
            + (", of the log or of a table: items" if target == "category" else "")
        )


def _check_catalogue(folder: Path, kinds: Sequence[InputType]) -> None:
    if "matrix" not in kinds:
        return
    n_pairs = pl.scan_parquet(folder / "matrix" / NEWEST / "pairs.parquet").select(pl.len()).collect().item()
    if n_pairs == 0:
        raise DataError(
            "the log has no items, so there is nothing to rank; map item_id in dataset.sources[].columns"
        )


def _stored(window: Window) -> dict[str, str]:
    return {"cutoff": window.cutoff.isoformat(), "end": window.end.isoformat()}


def windows_of(inputs: Artifact, split: str) -> list[Window]:
    """Return the stored windows of a split."""
    stored = inputs.info["splits"][split]
    return [Window(clean.instant(w["cutoff"]), clean.instant(w["end"])) for w in stored]


def read_inputs(inputs: Artifact, kind: InputType, split: str, timezone: str) -> list[Any]:
    """Return a split's inputs, one per cutoff: `TableInput` or `MatrixInput`."""
    return [
        read_input(
            inputs.path, kind, f"{split}/{label(w.cutoff, timezone)}", w.cutoff, inputs.info["features"]
        )
        for w in windows_of(inputs, split)
    ]


def read_input(
    folder: Path, kind: InputType, part: str, cutoff: datetime, features: Sequence[str]
) -> TableInput | MatrixInput:
    """Return one stored input."""
    if kind == "table":
        return TableInput(pl.read_parquet(folder / "table" / f"{part}.parquet"), tuple(features))
    stored = folder / "matrix" / part
    return matrix.read_matrix(stored, cutoff, has_labels=(stored / "labels.parquet").exists())
