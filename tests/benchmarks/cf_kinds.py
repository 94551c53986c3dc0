"""Every kind that ranks from who had what, on one question each: lists beside personal frequency, time and memory."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from accuracy import KEYS, N_RESAMPLES
from kinds import fit_and_judge, test_scores
from measure import Bench, Ecbehave, Measured
from rerank import QUESTIONS, Question
from section import Section, gigabytes, interval

from ecbehave.metrics.bootstrap import compare_ranking
from ecbehave.models import PLAIN, model_class

AGAINST = "personal_frequency"
METRICS = ("ndcg@10", "recall@10")
#: Kinds as they are, and settings that are worth a row of their own.
SETTINGS = {
    "personal_frequency, no decay": ("personal_frequency", "model.decay=1"),
    "personal_frequency, 300 neighbours": ("personal_frequency", "model.neighbours=300"),
    "popularity, within category": ("popularity", "model.within=category"),
}


def ranking_from_the_matrix() -> list[str]:
    """Return the kinds that rank all items from who had what."""
    return [kind for kind in PLAIN if model_class(kind).inputs.get("ranking") == "matrix"]


def sections(bench: Bench) -> Iterator[Section]:
    """Compare on Complete Journey, and on Retailrocket where it is."""
    for question in QUESTIONS:
        if bench.has_retailrocket or not question.needs_retailrocket:
            yield _Round(question, Ecbehave(bench.scratch / "cf_kinds" / question.config)).section()


@dataclass
class _Round:
    question: Question
    ecbehave: Ecbehave
    lists: dict[str, pl.DataFrame] = field(default_factory=dict)
    """By row, metrics of each user's list."""
    costs: dict[str, Measured] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def section(self) -> Section:
        plain = {kind: (kind,) for kind in ranking_from_the_matrix()}
        for name, (kind, *settings) in (plain | SETTINGS).items():
            self._judge(name, kind, *settings)
        by_first_metric = sorted(self.lists, key=lambda name: -self.lists[name][METRICS[0]].mean())  # type: ignore[operator]
        header = ["kind", *(m.upper() for m in METRICS), *(f"{m} - {AGAINST}" for m in METRICS)]
        notes = [
            f"{self.lists[AGAINST].height:,} lists of users with a true item; in brackets: 95 % interval over "
            "1,000 paired resamples of users",
            "defaults of every kind, one fit; train: wall time and peak memory of `ecbehave train`, one run",
            *self.notes,
        ]
        return Section(
            f"Kinds that rank from who had what: {self.question.text}",
            [*header, "train", "peak memory"],
            [self._row(name) for name in by_first_metric],
            self.question.log,
            self.ecbehave.commands,
            notes,
        )

    def _judge(self, name: str, kind: str, *settings: str) -> None:
        try:
            self.costs[name] = fit_and_judge(self.ecbehave, self.question, kind, *settings)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            print(f"  {name}: {reason}", file=sys.stderr, flush=True)
            self.notes.append(f"{name} is left out: {reason}")
            return
        self.lists[name] = test_scores(self.ecbehave, self.question.config).select(*KEYS, *METRICS)

    def _row(self, name: str) -> list[str]:
        rng = np.random.default_rng(0)
        compared = compare_ranking(self.lists[name], self.lists[AGAINST], N_RESAMPLES, rng)
        own = [interval(compared["model"][metric]) for metric in METRICS]
        is_other = name != AGAINST
        differences = [interval(compared["difference"][m], "+") if is_other else "" for m in METRICS]
        cost = self.costs[name]
        return [name, *own, *differences, f"{cost.seconds:.1f} s", gigabytes(cost.peak_bytes)]
