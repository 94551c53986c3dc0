"""What nets over sequences bring beside trees, and what they gain by what they learn before any label."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ablation import compare
from kinds import QUESTIONS, Question, fit_and_judge, test_scores
from measure import Bench, Ecbehave
from polars import DataFrame
from section import Section, interval

NET = "rnn"
ASKED = ("churn", "purchase", "retailrocket_purchase")
#: Kind and settings to what stands in the table; the first is what the others are compared with.
BESIDE_TREES: dict[str, tuple[str, ...]] = {
    "boosting": ("boosting",),
    NET: (NET,),
    f"boosting, given the embeddings of {NET}": ("with_embeddings", f"model.net={{kind: {NET}}}"),
    "stacking of boosting and logistic": (
        "stacking",
        "model.members=[{kind: boosting}, {kind: logistic}]",
    ),
    f"stacking of boosting, logistic and {NET}": (
        "stacking",
        f"model.members=[{{kind: boosting}}, {{kind: logistic}}, {{kind: {NET}}}]",
    ),
}
NO_PRETRAINING = "none"
HEADER = ["question", "model", "AUROC", "- boosting", "train"]
PRETRAINING_HEADER = ["question", "train cutoffs", "learned before the labels", "AUROC", "- none", "train"]
NOTE = "one test cutoff; in brackets: 95 % interval over 1,000 paired resamples of users; seed 0, one run"


def sections(bench: Bench) -> Iterator[Section]:
    """Judge nets beside trees."""
    for question in _asked(bench):
        yield _beside_trees(question, bench.scratch / "nets" / question.config)


def pretraining(bench: Bench) -> Iterator[Section]:
    """Judge what a net learns before any label: from the log itself, or from the other log."""
    asked = _asked(bench)
    lends = bench.has_retailrocket and not all(question.needs_retailrocket for question in asked)
    source = _source(bench.scratch / "source") if lends else None
    for question in asked:
        folder = bench.scratch / "pretraining" / question.config
        yield _pretraining(question, folder, None if question.needs_retailrocket else source)


def _asked(bench: Bench) -> list[Question]:
    names = bench.configs or ASKED
    return [
        q for q in QUESTIONS if q.config in names and (bench.has_retailrocket or not q.needs_retailrocket)
    ]


@dataclass(frozen=True)
class _Judged:
    """Models on the latest test cutoff of one question."""

    question: Question
    ecbehave: Ecbehave

    def judge(self, kind: str, *settings: str) -> tuple[DataFrame, str]:
        """Return the scores of the test rows, and how long training took."""
        latest = Question(
            self.question.text, self.question.config, self.question.output, (), self.question.log
        )
        cost = fit_and_judge(self.ecbehave, latest, kind, *settings)
        return test_scores(self.ecbehave, latest.config), f"{cost.seconds:.0f} s"


def _beside_trees(question: Question, folder: Path) -> Section:
    judged, rows = _Judged(question, Ecbehave(folder)), []
    reference: DataFrame | None = None
    for name, (kind, *settings) in BESIDE_TREES.items():
        scores, seconds = judged.judge(kind, *settings)
        reference = scores if reference is None else reference
        rows.append(_told([question.text, name, *_cells(scores, reference), seconds]))
    title = f"Nets beside trees: {question.text}"
    return Section(title, HEADER, rows, question.log, judged.ecbehave.commands, [NOTE])


def _source(folder: Path) -> Path:
    """Train a net on Retailrocket's log; returns the folder of the run."""
    question = next(q for q in QUESTIONS if q.needs_retailrocket)
    _Judged(question, Ecbehave(folder)).judge(NET)
    return folder / question.config


def _pretraining(question: Question, folder: Path, source: Path | None) -> Section:
    no_items, no_horizons = "model.pretrain.epochs=0", "model.pretrain.horizons=[]"
    ways: dict[str, Sequence[str]] = {
        NO_PRETRAINING: (no_items, no_horizons),
        "next items": (no_horizons,),
        "events within 7 and 28 days": (no_items,),
        "both": (),
    }
    if source is not None:
        other = (f"model.pretrain.source={source}", "model.pretrain.same_catalogue=false")
        ways |= {
            "Retailrocket's net": (*other, no_items, no_horizons),
            "Retailrocket's net, then both": other,
        }
    rows, commands = [], []
    for n_cutoffs in ("1", "8"):
        judged = _Judged(question, Ecbehave(folder / n_cutoffs))
        reference: DataFrame | None = None
        for name, settings in ways.items():
            scores, seconds = judged.judge(NET, f"split.train={n_cutoffs}", *settings)
            reference = scores if reference is None else reference
            rows.append(_told([question.text, n_cutoffs, name, *_cells(scores, reference), seconds]))
        commands += judged.ecbehave.commands
    title = f"What {NET} gains before any label: {question.text}"
    return Section(title, PRETRAINING_HEADER, rows, question.log, commands, [NOTE])


def _cells(scores: DataFrame, reference: DataFrame) -> list[str]:
    compared = compare(scores, reference)
    difference = "" if scores is reference else interval(compared["difference"]["auroc"], "+")
    return [interval(compared["model"]["auroc"]), difference]


def _told(row: list[str]) -> list[str]:
    """Return a row of a table that takes long, when it has been shown."""
    print(f"  {', '.join(row)}", file=sys.stderr, flush=True)
    return row
