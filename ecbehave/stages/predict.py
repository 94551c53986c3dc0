"""predict: the model and the clean log -> `predictions/as_of=YYYY-MM-DD/`: scores of the whole population."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from shutil import rmtree
from typing import cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecbehave import models
from ecbehave.artifacts import Artifact, Built, Outcome, Spec
from ecbehave.errors import DataError
from ecbehave.inputs.facts import LogFacts
from ecbehave.inputs.matrix import read_matrix, read_rules
from ecbehave.inputs.sequence import read_sequence
from ecbehave.inputs.types import Inputs, MatrixInput, SequenceInput, TableInput
from ecbehave.memory import give_back
from ecbehave.metrics.decision import places
from ecbehave.models.rating_lists import without_rated
from ecbehave.schema import binary_scores
from ecbehave.stages import Context, clean, features, train, upstream
from ecbehave.stages.decide import Rule, is_control
from ecbehave.stages.embeddings import EmbeddingWriter
from ecbehave.stages.filtering import filter_fingerprints
from ecbehave.stages.input_writer import InputWriter, Request
from ecbehave.stages.predict_lists import LIST_SCHEMAS, SCORES, Night, check_lists
from ecbehave.stages.reasons import reasons
from ecbehave.stages.sessions import sessions_fingerprint
from ecbehave.stages.stored_models import FITTED, REFIT
from ecbehave.tables import CHUNKS_PER_FILE, TableWriter, TableWriters, count_rows, read_groups
from ecbehave.tasks import make_task
from ecbehave.windows import last_day, midnight, shift

VERSION = 4

_INPUT, _ASKED = ".input", "asked"
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class When:
    """What is known, and what is asked."""

    as_of: date
    """Last day of history, included."""
    cutoff: datetime
    horizon_end: date
    """Last day of the horizon, included."""
    part: str
    """The model that may answer: it has learned from nothing at or after the cutoff."""


def when(context: Context, log: Artifact, model: Artifact) -> When:
    """Return the cutoff, and the model that has not seen beyond it.

    Raises:
        DataError: the log does not reach the day, or every model has learned from later days.
    """
    config, timezone = context.config, context.config.dataset.timezone
    latest = last_day(clean.end_of(log, timezone), timezone)
    as_of = latest if config.predict.as_of == "latest" else config.predict.as_of
    if as_of > latest:
        raise DataError(
            f"predict.as_of is {as_of}, but the log's last complete day is {latest}; bring newer data first"
        )
    cutoff = midnight(as_of + _DAY, timezone)
    parts = [part for part in (REFIT, FITTED) if part in model.info]
    knows_until = {part: clean.instant(model.info[part]["knows_until"]) for part in parts}
    allowed = [part for part in parts if cutoff >= knows_until[part]]
    if not allowed:
        first = last_day(knows_until[FITTED], timezone)
        raise DataError(
            f"predict.as_of is {as_of}, but the model has learned from days up to {first}: its scores would look "
            f"into their own future. Take {first} or later, or train on a log that ends on {as_of}"
        )
    horizon_end = last_day(shift(cutoff, make_task(config.task).horizon, timezone), timezone)
    return When(as_of, cutoff, horizon_end, allowed[0])


def spec(context: Context, model: Artifact, log: Artifact, asked: When) -> Spec:
    """Return what the scores are made from."""
    settings = {**context.public["predict"], "as_of": asked.as_of.isoformat()}
    # Where the file lies decides nothing.
    settings["sessions"] = settings["sessions"] is not None
    read = {train.name(context): model.fingerprint, clean.NAME: log.fingerprint}
    read |= filter_fingerprints(context.config.task) | sessions_fingerprint(context.config.predict)
    return Spec("predict", VERSION, {"predict": settings, "decision": context.public["decision"]}, read)


def run(context: Context) -> Outcome:
    """Score everybody who is asked, with the model there is: the log may have grown since it was trained."""
    check_lists(context.config)
    log = upstream(context, "clean", clean.NAME, clean.spec)
    model = train.trained(context)
    asked = when(context, log, model)
    name = f"{context.config.name}/predictions/as_of={asked.as_of}"
    return context.workspace.produce(
        name,
        spec(context, model, log, asked),
        lambda folder: _Scoring(context, model, log, asked, folder).build(),
        force=context.force,
    )


class _Scoring:
    """One run of the stage: inputs bucket by bucket, then scores row group by row group."""

    def __init__(
        self, context: Context, artifact: Artifact, log: Artifact, asked: When, folder: Path
    ) -> None:
        self.context, self.log, self.info = context, log, artifact.info
        self.asked, self.folder = asked, folder
        self.config, self.task = context.config.predict, make_task(context.config.task)
        self.kinds = features.input_types(context)
        self.model, self.meta = train.load(context, artifact, asked.part)

    def build(self) -> Built:
        self.log.verify()
        self._write_input()
        is_binary = self.task.output == "binary"
        counts = self._score_binary() if is_binary else self._score_ranking()
        rmtree(self.folder / _INPUT)
        info = {
            "as_of": self.asked.as_of.isoformat(),
            "model": self.asked.part,
            "knows_until": self.meta["knows_until"],
        }
        schemas = LIST_SCHEMAS | ({SCORES: binary_scores(self.task.target)} if is_binary else {})
        asked = "users" if self.task.target is None else "pairs"
        self.context.progress.say(
            f"predict: {counts[asked]:,} {asked} scored as of {self.asked.as_of} "
            f"for the days up to {self.asked.horizon_end}{self._said_of_targets(counts)}{_said_of_lists(counts)}"
        )
        return Built(counts, info, schemas, seed=self.context.config.seed)

    def _said_of_targets(self, counts: dict[str, int]) -> str:
        if "targeted" not in counts:
            return ""
        control = (
            f", {counts['control']:,} left alone as control"
            if self.context.config.decision.control_share
            else ""
        )
        return f"; {counts['targeted']:,} targeted{control}"

    def _write_input(self) -> None:
        """Build the input as of the cutoff with the very code that built the train inputs."""
        request = Request(_ASKED, self.asked.cutoff)
        facts = LogFacts.from_info(self.info["facts"])
        with TableWriters(self.folder / _INPUT, chunks_per_file=CHUNKS_PER_FILE) as writers:
            writer = InputWriter(self.context, self.task, self.log, facts, writers, "predict")
            writer.build({kind: [request] for kind in self.kinds})
        give_back()

    def _table(self) -> Path:
        return self.folder / _INPUT / "table" / f"{_ASKED}.parquet"

    def _known(self) -> Inputs:
        """Return what is known of all, but for the table, which is read in parts."""
        folder, cutoff = self.folder / _INPUT, self.asked.cutoff
        matrix: MatrixInput | None = None
        sequence: SequenceInput | None = None
        if "matrix" in self.kinds:
            matrix = read_matrix(folder / "matrix" / _ASKED, cutoff, has_labels=False)
        if "sequence" in self.kinds:
            sequence = read_sequence(folder / "sequence", _ASKED, cutoff)
        return Inputs(cutoff, matrix=matrix, sequence=sequence)

    def _parts(self, known: Inputs) -> Iterator[Inputs]:
        """Yield what is asked, a part of the table after the other; all rows of a user are in one part."""
        names, left = tuple(self.info["features"]), None
        for rows in read_groups(self._table()):
            whole = rows if left is None else pl.concat([left, rows])
            is_last = whole["user_hash"] == whole["user_hash"][-1]
            left = whole.filter(is_last)
            yield replace(known, table=TableInput(whole.filter(~is_last), names))
        if left is not None:
            yield replace(known, table=TableInput(left, names))

    def _score_binary(self) -> dict[str, int]:
        """Score in a first pass; deciles and the rows to explain need all scores, so they come in a second."""
        known = self._known()
        score, done = np.empty(count_rows(self._table())), 0
        for data in self._parts(known):
            found = self.model.score(data)
            score[done : done + found.size] = found
            done += found.size
        give_back()
        place, done = places(score), 0
        counted = dict.fromkeys(("is_targeted", "is_control", "is_cold"), 0)
        n_explained = 0
        vectors = EmbeddingWriter(self.folder, getattr(self.model, "kind", None), self.config.embeddings)
        with TableWriter(self.folder / SCORES, binary_scores(self.task.target)) as writer, vectors:
            for data in self._parts(known):
                n_rows = cast("TableInput", data.table).n_rows
                part = slice(done, done + n_rows)
                scored = self._binary_rows(data, score[part], place[part], score.size)
                counted = {name: n + int(scored[name].sum()) for name, n in counted.items()}
                n_explained += scored["reason_1"].count()
                writer.write(scored)
                vectors.write(known, scored["user_id"].unique(maintain_order=True))
                done += n_rows
        counts = {name.removeprefix("is_"): n for name, n in counted.items()}
        asked = "users" if self.task.target is None else "pairs"
        return {asked: done} | counts | {"explained": n_explained} | vectors.counts

    def _binary_rows(
        self, data: Inputs, score: NDArray[np.float64], place: NDArray[np.int64], n_all: int
    ) -> pl.DataFrame:
        table = cast("TableInput", data.table)
        target = [] if self.task.target is None else [self.task.target]
        probability = train.probabilities(self.meta, score)
        rule = Rule.of(self.context.config.decision, self.meta)
        would_target, control = rule.targets(probability, place), self._is_control(table)
        is_targeted = would_target & ~control
        explained = np.flatnonzero(is_targeted & (place < self.config.explain_rows))
        return table.frame.select("user_id", *target).with_columns(
            pl.lit(self.asked.as_of).alias("as_of"),
            pl.lit(self.asked.horizon_end).alias("horizon_end"),
            pl.Series("score", score),
            pl.Series("probability", probability),
            pl.Series("decile", place * 10 // max(n_all, 1) + 1).cast(pl.UInt8),
            pl.Series("is_targeted", is_targeted),
            pl.Series("is_control", would_target & control),
            is_new(table).alias("is_cold"),
            pl.lit(self.meta["kind"]).alias("model"),
            *reasons(self.model, data, explained, self.task, self.config.reasons).get_columns(),
        )

    def _is_control(self, table: TableInput) -> NDArray[np.bool_]:
        config, users = self.context.config, table.frame["user_hash"].to_numpy()
        return is_control(users, self.asked.as_of, config.seed, config.decision.control_share)

    def _score_ranking(self) -> dict[str, int]:
        known = self._known()
        matrix = cast("MatrixInput", known.matrix)
        if self.task.output == "rating":
            matrix = without_rated(matrix)
        known = replace(known, matrix=matrix)
        night = Night(self.context, self.model, matrix, self.asked.as_of, self.folder)
        own = models.input_types(self.context.config.model, self.task.name, self.task.question, "model")
        parts = self._parts(known) if "table" in own else [known]
        counts = night.write_lists(parts) | night.write_similar() | night.write_embeddings(known)
        return counts | night.write_sessions(read_rules(self.folder / _INPUT / "matrix" / _ASKED))


def _said_of_lists(counts: Mapping[str, int]) -> str:
    sessions = f", and {counts['sessions']:,} sessions" if "sessions" in counts else ""
    without = (
        f"; {counts['without_list']:,} have no list, as all is barred" if counts.get("without_list") else ""
    )
    return sessions + without


def is_new(data: TableInput) -> pl.Series:
    """Tell whose whole history lies on one day."""
    days = [f for f in data.features if f.startswith("days_") and f.endswith("_all")]
    event = "days_any_all" if "days_any_all" in days else days[0]
    return data.frame[event] <= 1
