"""predict: the model and the clean log -> `predictions/as_of=YYYY-MM-DD/`: scores of the whole population."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from shutil import rmtree

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecbehave.artifacts import Artifact, Built, Outcome, Spec
from ecbehave.errors import DataError
from ecbehave.inputs.facts import LogFacts
from ecbehave.inputs.feature_names import FeatureName
from ecbehave.inputs.matrix import read_matrix
from ecbehave.inputs.types import TableInput
from ecbehave.models import input_type
from ecbehave.models.protocol import Explains
from ecbehave.schema import RANKING_SCORES, binary_scores
from ecbehave.stages import Context, clean, train, upstream
from ecbehave.stages.input_writer import InputWriter, Request
from ecbehave.stages.lists import complete_lists
from ecbehave.tables import TableWriter, TableWriters, read_groups
from ecbehave.tasks import make_task
from ecbehave.windows import last_day, midnight, shift

VERSION = 2

SCORES = "scores.parquet"
_INPUT = ".input"
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
    parts = [part for part in (train.REFIT, train.FITTED) if part in model.info]
    knows_until = {part: clean.instant(model.info[part]["knows_until"]) for part in parts}
    allowed = [part for part in parts if cutoff >= knows_until[part]]
    if not allowed:
        first = last_day(knows_until[train.FITTED], timezone)
        raise DataError(
            f"predict.as_of is {as_of}, but the model has learned from days up to {first}: its scores would look "
            f"into their own future. Take {first} or later, or train on a log that ends on {as_of}"
        )
    horizon_end = last_day(shift(cutoff, make_task(config.task).horizon, timezone), timezone)
    return When(as_of, cutoff, horizon_end, allowed[0])


def spec(context: Context, model: Artifact, log: Artifact, asked: When) -> Spec:
    """Return what the scores are made from."""
    config = {"predict": {**context.public["predict"], "as_of": asked.as_of.isoformat()}}
    return Spec(
        "predict", VERSION, config, {train.name(context): model.fingerprint, clean.NAME: log.fingerprint}
    )


def run(context: Context) -> Outcome:
    """Score everybody who is asked, with the model there is: the log may have grown since it was trained."""
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
        self.kind = input_type(context.config.model, self.task.name, self.task.output, "model")
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
        schema = binary_scores(self.task.target) if is_binary else RANKING_SCORES
        asked = "users" if self.task.target is None else "pairs"
        self.context.progress.say(
            f"predict: {counts[asked]:,} {asked} scored as of {self.asked.as_of} "
            f"for the days up to {self.asked.horizon_end}"
        )
        return Built(counts, info, {SCORES: schema}, seed=self.context.config.seed)

    def _write_input(self) -> None:
        """Build the input as of the cutoff with the very code that built the train inputs."""
        request = Request("asked", self.asked.cutoff)
        facts = LogFacts.from_info(self.info["facts"])
        with TableWriters(self.folder / _INPUT) as writers:
            writer = InputWriter(self.context, self.task, self.log, facts, writers, "predict")
            writer.build({self.kind: [request]})

    def _score_binary(self) -> dict[str, int]:
        """Score in a first pass; deciles and the rows to explain need all scores, so they come in a second."""
        stored = self.folder / _INPUT / "table" / "asked.parquet"
        names = tuple(self.info["features"])
        groups = (TableInput(rows, names) for rows in read_groups(stored))
        score = np.concatenate([np.empty(0), *(self.model.predict(g, 0)["score"].to_numpy() for g in groups)])
        order = np.argsort(-score, kind="stable")
        place = np.empty(score.size, dtype=np.int64)
        place[order] = np.arange(score.size)
        n_cold, done = 0, 0
        with TableWriter(self.folder / SCORES, binary_scores(self.task.target)) as writer:
            for rows in read_groups(stored):
                part = slice(done, done + rows.height)
                scored = self._binary_rows(TableInput(rows, names), score[part], place[part], score.size)
                n_cold += int(scored["is_cold"].sum())
                writer.write(scored)
                done += rows.height
        return {"users" if self.task.target is None else "pairs": done, "cold": n_cold}

    def _binary_rows(
        self, data: TableInput, score: NDArray[np.float64], place: NDArray[np.int64], n_all: int
    ) -> pl.DataFrame:
        reasons = self._reasons(data, place)
        columns = {f"reason_{i + 1}": pl.Series([r[i] for r in reasons], dtype=pl.String) for i in range(3)}
        target = [] if self.task.target is None else [self.task.target]
        return data.frame.select("user_id", *target).with_columns(
            pl.lit(self.asked.as_of).alias("as_of"),
            pl.lit(self.asked.horizon_end).alias("horizon_end"),
            pl.Series("score", score),
            pl.Series("probability", train.probabilities(self.meta, score)),
            pl.Series("decile", place * 10 // max(n_all, 1) + 1).cast(pl.UInt8),
            is_new(data).alias("is_cold"),
            pl.lit(self.meta["kind"]).alias("model"),
            **columns,
        )

    def _reasons(self, data: TableInput, place: NDArray[np.int64]) -> list[list[str | None]]:
        """Return three sentences per row, for the rows with the highest scores; null for the others."""
        reasons: list[list[str | None]] = [[None] * 3 for _ in range(data.n_rows)]
        rows = np.flatnonzero(place < self.config.explain_rows)
        if self.config.reasons == 0 or rows.size == 0 or not isinstance(self.model, Explains):
            return reasons
        chosen = TableInput(data.frame[rows], data.features)
        names = [FeatureName.parse(feature) for feature in data.features]
        drivers = self.model.contributions(chosen)[:, :-1]
        order = np.argsort(-np.abs(drivers), axis=1, kind="stable")
        values = [chosen.frame[feature] for feature in chosen.features]
        for i, row in enumerate(rows):
            strongest = (column for column in order[i] if drivers[i, column] != 0)
            facts = dict.fromkeys(names[column].fact for column in strongest)
            for n, fact in enumerate(list(facts)[: self.config.reasons]):
                column = next(c for c in order[i] if names[c].fact == fact)
                reasons[row][n] = reason(names[column], values[column][i], drivers[i, column])
        return reasons

    def _score_ranking(self) -> dict[str, int]:
        stored = self.folder / _INPUT / "matrix" / "asked"
        data = read_matrix(stored, self.asked.cutoff, has_labels=False)
        lists = complete_lists(self.model, data, self.config.k).with_columns(
            pl.lit(self.asked.as_of).alias("as_of"), pl.lit(self.meta["kind"]).alias("model")
        )
        with TableWriter(self.folder / SCORES, RANKING_SCORES) as writer:
            writer.write(lists)
        first = lists.filter(pl.col("rank") == 1)
        return {"users": first.height, "cold": int(first["is_cold"].sum())}


def is_new(data: TableInput) -> pl.Series:
    """Tell whose whole history lies on one day."""
    days = [f for f in data.features if f.startswith("days_") and f.endswith("_all")]
    event = "days_any_all" if "days_any_all" in days else days[0]
    return data.frame[event] <= 1


def reason(feature: FeatureName, value: float | str | None, contribution: float) -> str:
    """Say what a feature did to the score: `days since the last purchase: 41 (raises the score)`.

    Args:
        feature: which one.
        value: the user's own, a number or a category; None is unknown.
        contribution: what it adds to the score.
    """
    direction = "raises" if contribution > 0 else "lowers"
    return f"{feature.sentence(value)} ({direction} the score)"
