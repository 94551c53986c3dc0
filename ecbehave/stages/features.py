"""features: the clean log -> `inputs/`: what the configured family reads, for every split, with labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from ecbehave.artifacts import Artifact, Built, Outcome, Spec
from ecbehave.config import PurchaseTask, TaskConfig
from ecbehave.errors import DataError
from ecbehave.inputs import matrix, table
from ecbehave.inputs.histories import Histories, prepare
from ecbehave.inputs.types import MatrixInput, TableInput
from ecbehave.models import input_type
from ecbehave.models.protocol import InputType
from ecbehave.schema import MATRIX_LABELS, MATRIX_USERS, PAIRS, TABLE_KEYS
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
    spans,
)

VERSION = 1

#: What tasks and inputs read of the log.
_COLUMNS = ["user_hash", "user_id", "ts", "event_type", "item_id", "category", "order_id", "amount"]

#: The newest history of all, without labels: what a refit of a matrix model learns from.
NEWEST = "newest"


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
    config = {key: context.public[key] for key in ("task", "split", "features")}
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


class InputWriter:
    """Builds inputs bucket by bucket; the only code that does, for training, evaluation and prediction."""

    def __init__(
        self, context: Context, task: Task, event_types: Sequence[str], writers: TableWriters
    ) -> None:
        self._task, self._event_types, self._writers = task, event_types, writers
        self._timezone = context.config.dataset.timezone
        self._windows = context.config.features.windows
        self.counts: dict[str, int] = {}

    def add(self, kind: InputType, request: Request, events: pl.LazyFrame) -> None:
        """Append one bucket's part of an input; see `add_all`."""
        self.add_all([kind], [request], events)

    def add_all(self, kinds: Sequence[InputType], requests: Sequence[Request], events: pl.LazyFrame) -> None:
        """Append one bucket's part of some inputs.

        Args:
            kinds: `table`, `matrix`.
            requests: which inputs of each kind.
            events: all events of the bucket's users.
        """
        histories = None
        if "table" in kinds:
            histories = prepare(events, table.groups(self._event_types), self._timezone)
        for request in requests:
            population, labels = self._asked(request, events)
            if histories is not None:
                self._add_table(request, histories, population if labels is None else labels)
            if "matrix" in kinds:
                self._add_matrix(request, events.filter(history(request.cutoff)), population, labels)

    def _asked(self, request: Request, events: pl.LazyFrame) -> tuple[pl.LazyFrame, pl.LazyFrame | None]:
        """Return the population and, where they are asked for, its labels."""
        cutoff = request.cutoff
        since = shift(cutoff, -self._task.active_within, self._timezone)
        population = self._task.population(events.filter(history(cutoff, since)))
        if request.end is None:
            return population, None
        return population, self._task.labels(events.filter(future(cutoff, request.end)), population)

    def _add_table(self, request: Request, histories: Histories, population: pl.LazyFrame) -> None:
        windows = spans(request.cutoff, self._windows, self._timezone)
        columns = table.feature_columns(windows, self._event_types)
        rows = population.with_columns(cutoff=pl.lit(request.cutoff, TABLE_KEYS["cutoff"])).collect()
        built = table.features(histories, rows, request.cutoff, windows)
        self._write(
            f"table/{request.folder}.parquet",
            built,
            table_schema(columns, is_labelled=request.end is not None),
        )
        if "label" in built.columns:
            self._count(f"{request.folder}.positives", int(built["label"].sum()))
        self._count(f"{request.folder}.rows", built.height)

    def _add_matrix(
        self, request: Request, known: pl.LazyFrame, population: pl.LazyFrame, labels: pl.LazyFrame | None
    ) -> None:
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
        self._write(f"{folder}/users.parquet", users, MATRIX_USERS)
        self._write(f"{folder}/pairs.parquet", matrix.pairs(known, request.cutoff).collect(), PAIRS)
        if labels is not None:
            true_items = (
                labels.join(population, on="user_id")
                .sort("user_hash", "user_id", "item_id")
                .select(*MATRIX_LABELS)
                .collect()
            )
            self._write(f"{folder}/labels.parquet", true_items, MATRIX_LABELS)
            self._count(f"{request.folder}.positives", true_items["user_id"].n_unique())
        self._count(f"{request.folder}.rows", int(users["is_asked"].sum()))

    def _write(self, file: str, rows: pl.DataFrame, schema: Mapping[str, Any]) -> None:
        self._writers.open(file, schema).write(rows)

    def _count(self, what: str, n: int) -> None:
        self.counts[what] = self.counts.get(what, 0) + n


def table_schema(columns: Sequence[str], *, is_labelled: bool) -> dict[str, Any]:
    """Return the columns of a stored table input."""
    labels: dict[str, Any] = {"label": pl.Int8()} if is_labelled else {}
    return TABLE_KEYS | labels | {c: pl.Float32() for c in columns}


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
    return sorted(t for t, first in log.info["first_seen"].items() if clean.instant(first) < cutoff)


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
    event_types = event_types_before(log, splits.train[-1].cutoff)
    files = clean.bucket_files(log)
    with (
        TableWriters(folder) as writers,
        context.progress.track("features", len(files)) as advance,
    ):
        writer = InputWriter(context, task, event_types, writers)
        for file in files:
            events = pl.read_parquet(file, columns=_COLUMNS).lazy()
            writer.add_all(kinds, requests, events)
            if "matrix" in kinds:
                writer.add("matrix", Request(NEWEST, end), events)
            advance(1)
    _check_catalogue(folder, kinds)
    windows = spans(end, context.config.features.windows, timezone)
    info = {
        "splits": {s: [_stored(w) for w in windows] for s, windows in splits.named().items()},
        "end": end.isoformat(),
        "event_types": event_types,
        "features": table.feature_columns(windows, event_types),
    }
    for split, split_windows in splits.named().items():
        context.progress.say(f"features: {split} {describe(split_windows, timezone)}")
    return Built(writer.counts, info)


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
