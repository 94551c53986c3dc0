"""Every registered kind on the same questions: accuracy beside the baseline, calibration, time and memory."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from accuracy import COMPLETE_JOURNEY, FOUR_WINDOWS, RETAILROCKET
from measure import Bench, Ecbehave, Measured
from section import Section, gigabytes, interval

from ecbehave.metrics.chance import calibration_chance
from ecbehave.models import COMPOSITE, KINDS, model_class

#: One fit each, which is the one that `evaluate` judges.
ONE_FIT = "predict.refit=false"


@dataclass(frozen=True)
class Question:
    """What is asked of which log."""

    text: str
    config: str
    output: str
    split: Sequence[str]
    log: str
    needs_retailrocket: bool = False


QUESTIONS = (
    Question("churn, 28 days", "churn", "binary", FOUR_WINDOWS, COMPLETE_JOURNEY),
    Question("purchase, 7 days", "purchase", "binary", FOUR_WINDOWS, COMPLETE_JOURNEY),
    Question("purchase of a category, 14 days", "category", "binary", (), COMPLETE_JOURNEY),
    Question("preference, 14 days", "preference", "ranking", (), COMPLETE_JOURNEY),
    Question(
        "purchase, 14 days",
        "retailrocket_purchase",
        "binary",
        ("split.test=4",),
        RETAILROCKET,
        needs_retailrocket=True,
    ),
)
HEADER = {
    "binary": ["kind", "AUROC", "- baseline", "calibration error", "by chance", "train", "peak memory"],
    "ranking": ["kind", "NDCG@10", "- baseline", "recall@10", "- baseline", "train", "peak memory"],
}
NOTES = {
    "binary": (
        "calibration error: over ten bins of equal mass; by chance: what 95 % of 1,000 perfectly calibrated draws "
        "of as many rows stay below",
    ),
    "ranking": ("full ranking of the catalogue; what a household had before may come again",),
}


def sections(bench: Bench) -> Iterator[Section]:
    """Judge every kind on every question that it serves; one run of `features` for all that read the same inputs."""
    for question in QUESTIONS:
        if bench.configs and question.config not in bench.configs:
            continue
        if bench.has_retailrocket or not question.needs_retailrocket:
            kinds = [kind for kind in serving(question.output) if not bench.kinds or kind in bench.kinds]
            yield _Round(question, Ecbehave(bench.scratch / "kinds" / question.config), kinds).section()


@dataclass
class _Round:
    """All kinds on one question."""

    question: Question
    ecbehave: Ecbehave
    kinds: Sequence[str]
    left_out: list[str] = field(default_factory=list)

    def section(self) -> Section:
        question = self.question
        rows = [row for kind in self.kinds if (row := self._row(kind))]
        title = f"Every kind: {question.text}"
        if not rows:
            return Section(
                title, HEADER[question.output], rows, question.log, self.ecbehave.commands, self.left_out
            )
        metrics = self.ecbehave.metrics(question.config)
        cutoffs = metrics["per_cutoff"]
        notes = [
            f"{metrics['n_rows']:,} rows of {len(cutoffs)} test cutoff{'s' * (len(cutoffs) != 1)}; "
            f"baseline: {metrics['baseline']}; defaults of every kind",
            "in brackets: 95 % interval over 1,000 paired resamples of users",
            *NOTES[question.output],
            "train: wall time and peak memory of `ecbehave train`, which fits the kind and the baseline, one run",
            *self.left_out,
        ]
        return Section(title, HEADER[question.output], rows, question.log, self.ecbehave.commands, notes)

    def _row(self, kind: str) -> list[str] | None:
        """Return a kind's row; None, and a note, where it does not answer this question."""
        try:
            trained = fit_and_judge(self.ecbehave, self.question, kind)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            print(f"  {kind}: {reason}", file=sys.stderr, flush=True)
            self.left_out.append(f"{kind} is left out: {reason}")
            return None
        judged = _binary(self) if self.question.output == "binary" else _ranking(self)
        row = [kind, *judged, f"{trained.seconds:.1f} s", gigabytes(trained.peak_bytes)]
        print(f"  {self.question.config}: {', '.join(row)}", file=sys.stderr, flush=True)
        return row


def serving(output: str) -> list[str]:
    """Return the registered kinds that answer with probabilities (`binary`) or lists (`ranking`)."""
    return [kind for kind in KINDS if kind in COMPOSITE or output in model_class(kind).inputs]


def fit_and_judge(ecbehave: Ecbehave, question: Question, kind: str, *overrides: str) -> Measured:
    """Fit a kind and score the test windows; returns what `train` took, the inputs being there already."""
    settings = (*question.split, f"model.kind={kind}", ONE_FIT, *overrides)
    before = ("features",) if ecbehave.commands else ("ingest", "clean", "features")
    for stage in before:
        ecbehave.run(stage, question.config, *settings)
    trained = ecbehave.run("train", question.config, *settings)[0]
    ecbehave.run("evaluate", question.config, *settings)
    return trained


def test_scores(ecbehave: Ecbehave, config: str) -> pl.DataFrame:
    """Return what `evaluate` has published: a row per test row, or per user for lists."""
    return pl.read_parquet(ecbehave.workspace / config / "evaluation" / "test_scores.parquet")


def _binary(judged: _Round) -> list[str]:
    metrics = judged.ecbehave.metrics(judged.question.config)
    scores = test_scores(judged.ecbehave, judged.question.config)
    limit = calibration_chance(scores["probability"].to_numpy(), np.random.default_rng(0))
    return [
        interval(metrics["metrics"]["auroc"]),
        interval(metrics["difference"]["auroc"], "+"),
        f"{metrics['metrics']['calibration_error']['value']:.4f}",
        f"{limit:.4f}",
    ]


def _ranking(judged: _Round) -> list[str]:
    metrics = judged.ecbehave.metrics(judged.question.config)
    return [
        cell
        for name in ("ndcg@10", "recall@10")
        for cell in (interval(metrics["metrics"][name]), interval(metrics["difference"][name], "+"))
    ]
