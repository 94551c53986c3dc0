"""features: the clean log -> `inputs/`: what the configured family reads, for every split, with labels."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from ecbehave import models
from ecbehave.artifacts import Artifact, Built, Outcome, Spec
from ecbehave.config.features import PREPARATION
from ecbehave.config.task import PurchaseTask, TaskConfig
from ecbehave.errors import ConfigError, DataError
from ecbehave.inputs import matrix
from ecbehave.inputs.facts import LogFacts
from ecbehave.inputs.sequence import read_sequence
from ecbehave.inputs.types import Inputs, MatrixInput, SequenceInput, TableInput
from ecbehave.models.protocol import InputType
from ecbehave.schema import USERS_KEY
from ecbehave.stages import Context, clean, upstream
from ecbehave.stages.filtering import check_excluded, filter_fingerprints, without_places
from ecbehave.stages.input_writer import InputWriter, Request, users_file
from ecbehave.stages.predict_lists import check_lists
from ecbehave.stages.stored_models import models_of, source_fingerprints
from ecbehave.tables import TableWriters
from ecbehave.tasks import make_task
from ecbehave.windows import (
    Splits,
    Window,
    describe,
    label,
    local_day,
    make_origins,
    own_splits,
)

VERSION = 3

#: Inputs that the last of several fits does not read.
EARLIER = "earlier"

#: The newest history of all, without labels: what a refit of a model learns from that reads no table.
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
    asked = ((config.model, "model"), (config.baseline, "baseline"))
    name = f"{task.name} with feedback: explicit" if task.output == "rating" else task.name
    read = (models.input_types(model, name, task.question, key) for model, key in asked)
    # Who is to be given a list, and what is popular, stands in the matrix.
    always: frozenset[InputType] = frozenset({"table"} if task.output == "binary" else {"matrix"})
    forms = sorted(always.union(*read))
    if config.split.kind == "leave_one_out" and "table" in forms:
        raise ConfigError(
            f"split.kind: leave_one_out is for kinds that rank the whole catalogue, and model {config.model.kind} or "
            f"baseline {config.baseline.kind} reads a table of features; choose another, or set split.kind to time"
        )
    return forms


def settings(context: Context) -> dict[str, Any]:
    """Return the part of the config that the stage reads."""
    config: dict[str, Any] = {
        "task": without_places(context.public["task"]),
        "split": {k: v for k, v in context.public["split"].items() if k != "fit_on_validation"},
    }
    config["features"] = {k: v for k, v in context.public["features"].items() if k not in PREPARATION}
    config["dataset"] = {"timezone": context.config.dataset.timezone}
    return config | {"inputs": input_types(context)}


def spec(context: Context) -> Spec:
    """Return what the inputs are made from."""
    log = upstream(context, "clean", clean.NAME, clean.spec)
    read = {clean.NAME: log.fingerprint} | filter_fingerprints(context.config.task)
    return Spec("features", VERSION, settings(context), read)


def origins_of(context: Context, log: Artifact) -> tuple[tuple[Splits, ...], datetime]:
    """Return the windows of every split of each fit that is judged, and the end of the log's last complete day.

    Raises:
        DataError: the log is too short for them.
    """
    task, timezone = make_task(context.config.task), context.config.dataset.timezone
    start, end = clean.instant(log.info["start"]), clean.end_of(log, timezone)
    split = context.config.split
    if split.kind == "leave_one_out":
        return (own_splits(end, timezone),), end
    return make_origins(start, end, split, task.horizon, task.active_within, timezone), end


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
    check_lists(context.config)
    # It costs nothing to see now that what `train` begins with is there.
    source_fingerprints(models_of(context.config))
    log = upstream(context, "clean", clean.NAME, clean.spec)
    return context.workspace.produce(
        name(context), spec(context), lambda folder: _build(context, log, folder), force=context.force
    )


def _build(context: Context, log: Artifact, folder: Path) -> Built:
    log.verify()
    task, kinds = make_task(context.config.task), input_types(context)
    _check_event(context.config.task, log)
    check_excluded(context.config.task, list(log.info["first_seen"]))
    origins, end = origins_of(context, log)
    splits, timezone = origins[-1], context.config.dataset.timezone
    places = _places(origins, timezone)
    n_later = _n_later(context, splits)
    requests = [Request(place, w.cutoff, w.end, n_later.get(w)) for w, place in places.items()]
    asked = {kind: list(requests) for kind in kinds}
    for kind in ("matrix", "sequence"):
        if kind in asked:
            asked[kind].append(Request(NEWEST, end))
    with TableWriters(folder) as writers:
        facts = facts_before(log, [*origins[0].validation, *origins[0].train][-1].cutoff)
        writer = InputWriter(context, task, log, facts, writers)
        writer.build(asked)
    _check_catalogue(folder, kinds)
    info = {
        "splits": _stored(splits),
        "origins": [_stored(origin) for origin in origins],
        "end": end.isoformat(),
        "facts": writer.catalogue.facts.to_info(),
        "features": list(writer.schema),
        "left_out": writer.catalogue.left_out(),
    }
    if n_later:
        n_asked = writer.counts[f"{places[splits.test[0]]}.rows"]
        context.progress.say(f"features: leave-one-out, {n_asked:,} users asked for their last item")
    for split, split_windows in splits.named().items():
        if not n_later:
            context.progress.say(f"features: {split} {describe(split_windows, timezone)}")
    if len(origins) > 1:
        first = local_day(origins[0].test[0].cutoff, timezone)
        context.progress.say(
            f"features: and for {len(origins) - 1} fits before that, the first judged at {first}"
        )
    return Built(writer.counts, info)


def _n_later(context: Context, splits: Splits) -> dict[Window, int]:
    """Return how many items are later than the one that a window of leave-one-out is about; empty for others."""
    if context.config.split.kind == "time":
        return {}
    return {splits.validation[0]: 1, splits.test[0]: 0}


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
    if make_task(task).output == "rating" and "rating" not in log.info["first_value"]:
        raise DataError(
            "the log has no rating, which task.feedback: explicit asks about; map it in dataset.sources[].columns, or "
            "set task.feedback to implicit"
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


def _places(origins: Sequence[Splits], timezone: str) -> dict[Window, str]:
    """Name the input of each window, once for all fits that read it: after its split in the last one."""
    splits = [(split, windows) for split, windows in origins[-1].named().items()]
    splits += [(EARLIER, windows) for origin in origins[:-1] for windows in origin.named().values()]
    places: dict[Window, str] = {}
    for split, windows in splits:
        for window in windows:
            places.setdefault(window, f"{split}/{label(window.cutoff, timezone)}")
    return places


def _stored(splits: Splits) -> dict[str, list[dict[str, str]]]:
    return {
        split: [{"cutoff": w.cutoff.isoformat(), "end": w.end.isoformat()} for w in windows]
        for split, windows in splits.named().items()
    }


def origins_in(inputs: Artifact) -> list[Splits]:
    """Return the stored windows of each fit that is judged, ascending."""
    return [
        Splits(
            **{
                split: tuple(Window(clean.instant(w["cutoff"]), clean.instant(w["end"])) for w in windows)
                for split, windows in stored.items()
            }
        )
        for stored in inputs.info["origins"]
    ]


def windows_of(inputs: Artifact, split: str, origin: int = -1) -> list[Window]:
    """Return the stored windows of a split, by default of the last fit that is judged."""
    return list(origins_in(inputs)[origin].named()[split])


def places_of(inputs: Artifact, split: str, timezone: str, origin: int = -1) -> list[str]:
    """Return where the inputs of a split are stored, and under which names their rows are counted."""
    places = _places(origins_in(inputs), timezone)
    return [places[window] for window in windows_of(inputs, split, origin)]


def known_items(inputs: Artifact, split: str, timezone: str, origin: int = -1) -> pl.Series:
    """Return `item_id` of every item in the newest history of a split; empty where the inputs hold no matrix."""
    file = inputs.path / "matrix" / places_of(inputs, split, timezone, origin)[-1] / "pairs.parquet"
    if not file.exists():
        return pl.Series("item_id", [], pl.String)
    return pl.scan_parquet(file).select(pl.col("item_id").unique()).collect()["item_id"]


def read_newest(inputs: Artifact, kinds: Sequence[InputType]) -> Inputs | None:
    """Return the newest history of all, in the forms that have no rows of labels; None where none of them is read."""
    end = clean.instant(inputs.info["end"])
    forms: dict[str, Any] = {
        kind: read_input(inputs.path, kind, NEWEST, end, ()) for kind in kinds if kind != "table"
    }
    return Inputs(end, **forms) if forms else None


def read_all(
    inputs: Artifact, kinds: Sequence[InputType], split: str, timezone: str, origin: int = -1
) -> list[Inputs]:
    """Return what is known at each cutoff of a split, in several forms."""
    cutoffs = [w.cutoff for w in windows_of(inputs, split, origin)]
    forms = {kind: read_inputs(inputs, kind, split, timezone, origin) for kind in kinds}
    return [
        Inputs(cutoff, **{kind: read[n] for kind, read in forms.items()}) for n, cutoff in enumerate(cutoffs)
    ]


def read_inputs(inputs: Artifact, kind: InputType, split: str, timezone: str, origin: int = -1) -> list[Any]:
    """Return a split's inputs, one per cutoff: `TableInput`, `MatrixInput` or `SequenceInput`."""
    places = zip(places_of(inputs, split, timezone, origin), windows_of(inputs, split, origin), strict=True)
    return [read_input(inputs.path, kind, place, w.cutoff, inputs.info["features"]) for place, w in places]


def read_input(
    folder: Path, kind: InputType, part: str, cutoff: datetime, features: Sequence[str]
) -> TableInput | MatrixInput | SequenceInput:
    """Return one stored input."""
    if kind == "table":
        return TableInput(pl.read_parquet(folder / "table" / f"{part}.parquet"), tuple(features))
    if kind == "sequence":
        return read_sequence(folder / "sequence", part, cutoff)
    stored = folder / "matrix" / part
    return matrix.read_matrix(stored, cutoff, has_labels=(stored / "labels.parquet").exists())
