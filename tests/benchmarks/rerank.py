"""Boosting that re-ranks candidates, and other combinations, beside each source of candidates alone."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from accuracy import COMPLETE_JOURNEY, KEYS, N_RESAMPLES, RETAILROCKET
from kinds import Question, fit_and_judge, test_scores
from measure import Bench, Ecbehave, Measured
from section import Section, gigabytes, interval

from ecbehave.metrics.bootstrap import Comparison, compare_ranking
from ecbehave.models import COMPOSITE

QUESTIONS = (
    Question(
        "preference, 14 days", "preference", "ranking", ("split.train=3", "split.test=1"), COMPLETE_JOURNEY
    ),
    Question(
        "preference, 14 days, four test cutoffs",
        "retailrocket_preference",
        "ranking",
        ("split.train=2", "split.test=4"),
        RETAILROCKET,
        needs_retailrocket=True,
    ),
)
#: Where candidates come from, each of which ranks by itself, too.
SOURCES = ("item_knn", "personal_frequency", "popularity")
COMBINED = ("boosting", *COMPOSITE)
METRICS = ("ndcg@10", "recall@10")


def sections(bench: Bench) -> Iterator[Section]:
    """Compare on Complete Journey, and on Retailrocket where it is."""
    for question in QUESTIONS:
        if bench.has_retailrocket or not question.needs_retailrocket:
            yield _Contest(question, Ecbehave(bench.scratch / "rerank" / question.config)).section()


@dataclass
class _Contest:
    question: Question
    ecbehave: Ecbehave
    lists: dict[str, pl.DataFrame] = field(default_factory=dict)
    """By kind, metrics of each user's list."""
    costs: dict[str, Measured] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def section(self) -> Section:
        for kind in (*SOURCES, *COMBINED):
            self._judge(kind)
        rows = [self._row(kind) for kind in self.lists]
        differences = [f"{metric} - {source}" for metric in METRICS for source in SOURCES]
        header = ["kind", *(m.upper() for m in METRICS), *differences, "train", "peak memory"]
        notes = [
            f"{next(iter(self.lists.values())).height:,} lists of users with a true item; in brackets: 95 % interval "
            "over 1,000 paired resamples of users",
            *self.notes,
        ]
        title = f"Re-ranking beside its sources: {self.question.text}"
        return Section(title, header, rows, self.question.log, self.ecbehave.commands, notes)

    def _judge(self, kind: str) -> None:
        try:
            self.costs[kind] = fit_and_judge(self.ecbehave, self.question, kind)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            print(f"  {kind}: {reason}", file=sys.stderr, flush=True)
            self.notes.append(f"{kind} is left out: {reason}")
            return
        scores = test_scores(self.ecbehave, self.question.config)
        self.lists[kind] = scores.select(*KEYS, *METRICS)

    def _row(self, kind: str) -> list[str]:
        compared = {s: _compare(self.lists[kind], self.lists[s]) for s in SOURCES}
        own = [interval(compared[SOURCES[0]]["model"][metric]) for metric in METRICS]
        differences = [
            "" if kind == source else interval(compared[source]["difference"][metric], "+")
            for metric in METRICS
            for source in SOURCES
        ]
        cost = self.costs[kind]
        return [kind, *own, *differences, f"{cost.seconds:.1f} s", gigabytes(cost.peak_bytes)]


def _compare(mine: pl.DataFrame, other: pl.DataFrame) -> Comparison:
    return compare_ranking(mine, other, N_RESAMPLES, np.random.default_rng(0))
