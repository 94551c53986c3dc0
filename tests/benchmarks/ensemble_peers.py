"""Beside AutoGluon and plain classifiers, all of them on the very table that ours learn from.

Two tables for each question, since more rows are worth more than most differences between models. Fitted on the train
rows: ours look at the validation rows only to stop early and to weigh their members. Fitted on train and validation
rows: ours are fitted a second time with the settings that the first fit has chosen, as they are before they score.
"""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
from ablation import compare
from accuracy import KEYS
from kinds import QUESTIONS, Question, fit_and_judge
from measure import HERE, SPLITS, Bench, Ecbehave, Measured, measure
from peer_classifiers import PEERS
from section import Section, gigabytes, interval

from ecbehave.artifacts import Artifact, Workspace
from ecbehave.inputs.types import Inputs, TableInput
from ecbehave.models import making, model_class
from ecbehave.models.protocol import Options
from ecbehave.stages import features

#: It needs an older pandas, hence an environment of its own; `make bench` makes it.
PYTHON = Path(sys.prefix) / "autogluon" / "bin" / "python"
AUTOGLUON, MEAN_RANK = "AutoGluon best_quality", "mean rank of the plain ones"
SECONDS = 600
ASKED = ("churn", "purchase", "retailrocket_purchase")
#: Named before anything was measured: the single kind, and what combines several.
OURS = ("boosting", "stacking", "voting")
TEST = "test.parquet"
TRAIN, LATER = "train", "train and validation"


@dataclass(frozen=True)
class Answer:
    """Scores of the test rows and what they have cost."""

    scores: pl.DataFrame
    """`user_id`, `cutoff`, `label`, `score`, `probability`."""
    cost: Measured | None = None


def sections(bench: Bench) -> Iterator[Section]:
    """Compare on Complete Journey, and on Retailrocket where it is."""
    if not PYTHON.exists():
        raise RuntimeError(f"{PYTHON} is missing; make bench makes it, with requirements-autogluon.txt")
    for question in QUESTIONS:
        if question.config in ASKED and (bench.has_retailrocket or not question.needs_retailrocket):
            yield from _Contest(question, bench.scratch / "ensemble-peers" / question.config).sections()


@dataclass
class _Contest:
    """One question."""

    question: Question
    folder: Path
    notes: list[str] = field(default_factory=list)

    def sections(self) -> Iterator[Section]:
        ecbehave = Ecbehave(self.folder / "workspace")
        costs = {kind: fit_and_judge(ecbehave, self.question, kind) for kind in OURS}
        own = _Own(_inputs(ecbehave, self.question.config))
        labels = own.write(self.folder)
        answers = {kind: own.answers(kind) for kind in OURS}
        for rows in (TRAIN, LATER):
            ours = {kind: Answer(labels.join(answers[kind][rows], on=KEYS), costs[kind]) for kind in OURS}
            theirs = {name: self._ask(name, rows, labels) for name in PEERS}
            theirs[MEAN_RANK] = mean_rank(list(theirs.values()))
            if rows == LATER:
                theirs[AUTOGLUON] = self._ask(AUTOGLUON, rows, labels)
            yield self._section(rows, ours, theirs, ecbehave.commands)

    def _ask(self, name: str, rows: str, labels: pl.DataFrame) -> Answer:
        """Let a peer fit on some rows, and score the test rows, in a process of its own."""
        print(f"  {name}, fitted on the {rows} rows", file=sys.stderr, flush=True)
        out = self.folder / "peer.parquet"
        command = [sys.executable, str(HERE / "peer_classifiers.py"), name]
        if name == AUTOGLUON:
            command = [str(PYTHON), str(HERE / "peer_autogluon.py"), str(SECONDS)]
        measured = measure(
            [*command, str(self.folder / f"{rows}.parquet"), str(self.folder / TEST), str(out)]
        )
        if name == AUTOGLUON:
            made = json.loads(measured.stdout.splitlines()[-1])
            self.notes.append(f"AutoGluon fitted {len(made['models'])} models, and chose {made['best']}")
        theirs = pl.read_parquet(out).with_columns(
            pl.col("cutoff").cast(labels.schema["cutoff"]), score=pl.col("probability")
        )
        return Answer(labels.join(theirs, on=KEYS, how="left", validate="1:1"), measured)

    def _section(
        self, rows: str, ours: Mapping[str, Answer], theirs: Mapping[str, Answer], commands: list[str]
    ) -> Section:
        table = [_row(name, answer, ours) for name, answer in {**ours, **theirs}.items()]
        n = {name: pl.scan_parquet(self.folder / f"{name}.parquet") for name in (rows, "test")}
        counted = {name: frame.select(pl.len()).collect().item() for name, frame in n.items()}
        notes = [
            f"{counted[rows]:,} {rows} rows and {counted['test']:,} test rows, our table as it is stored; in brackets: "
            "95 % interval over 1,000 paired resamples of users",
            "plain classifiers: tests/benchmarks/peer_classifiers.py, set by hand beforehand",
            "fit and score: wall time of a process, and its memory with children; ours: `ecbehave train`, one fit "
            "with the defaults, and the baseline's",
        ]
        if rows == LATER:
            notes.append(
                "ours: a second fit comes on top, which takes as long as the first without the baseline's"
            )
            notes.append(f"{AUTOGLUON}: {SECONDS} s; it shuffles its rows into folds of its own")
        header = ["model", "AUROC", *(f"{kind} - this" for kind in ours), "fit and score", "peak memory"]
        title = f"Beside AutoGluon and plain classifiers: {self.question.text}, fitted on the {rows} rows"
        return Section(title, header, table, self.question.log, commands, [*notes, *self.notes])


def _inputs(ecbehave: Ecbehave, config: str) -> Artifact:
    found = Workspace(ecbehave.workspace).read(f"{config}/inputs")
    if found is None:
        raise RuntimeError(f"the features stage has published nothing in {ecbehave.workspace}")
    return found


class _Own:
    """Our own models on the stored inputs."""

    def __init__(self, inputs: Artifact) -> None:
        timezone = inputs.manifest["config"]["dataset"]["timezone"]
        ends = {w.cutoff: w.end for split in SPLITS for w in features.windows_of(inputs, split)}
        self.parts = {split: features.read_all(inputs, ["table"], split, timezone) for split in SPLITS}
        self.options = Options(seed=0, threads=os.cpu_count() or 1, ends=ends)

    def write(self, folder: Path) -> pl.DataFrame:
        """Write the tables for processes that know nothing of us; returns the keys and labels of the test rows."""
        rows = {split: _rows(parts) for split, parts in self.parts.items()}
        rows[TRAIN].write_parquet(folder / f"{TRAIN}.parquet")
        pl.concat([rows["train"], rows["validation"]]).write_parquet(folder / f"{LATER}.parquet")
        rows["test"].write_parquet(folder / TEST)
        return rows["test"].select(*KEYS, "label")

    def answers(self, kind: str) -> dict[str, pl.DataFrame]:
        """Return the scores of the test rows after the first fit, and after the second."""
        train, valid, options = self.parts["train"], self.parts["validation"], self.options
        model = making.make(model_class(kind).config_class(kind=kind), "binary")

        def scores() -> pl.DataFrame:
            return pl.concat(
                _rows([part]).select(KEYS).with_columns(score=model.score(part))
                for part in self.parts["test"]
            ).with_columns(probability=1 / (1 + (-pl.col("score")).exp()))

        model.fit([*train, valid[-1].as_history()], valid, options)
        first = scores()
        model.fit([*train, *valid], [], options)
        return {TRAIN: first, LATER: scores()}


def _rows(parts: list[Inputs]) -> pl.DataFrame:
    table = TableInput.concat([part.table for part in parts if part.table is not None])
    return table.frame.select(*KEYS, "label", *table.features)


def mean_rank(answers: list[Answer]) -> Answer:
    """Return the mean of the ranks that the answers give to each test row, all of them in the same order."""
    ranks = [answer.scores["score"].rank() / answer.scores.height for answer in answers]
    mean = sum(ranks[1:], ranks[0]) / len(ranks)
    return Answer(answers[0].scores.with_columns(score=mean, probability=mean))


def _row(name: str, answer: Answer, ours: Mapping[str, Answer]) -> list[str]:
    compared = {kind: compare(mine.scores, answer.scores) for kind, mine in ours.items()}
    value = interval(compared[OURS[0]]["baseline"]["auroc"])
    differences = [
        "" if kind == name else interval(c["difference"]["auroc"], "+") for kind, c in compared.items()
    ]
    cost = ["", ""]
    if answer.cost is not None:
        cost = [f"{answer.cost.seconds:.1f} s", gigabytes(answer.cost.tree_bytes)]
    return [name, value, *differences, *cost]
