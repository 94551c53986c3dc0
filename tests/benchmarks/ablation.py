"""What each group of features is worth: accuracy with the first set, with the whole catalogue, and group by group."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from accuracy import COMPLETE_JOURNEY, FOUR_WINDOWS, KEYS, N_RESAMPLES, RETAILROCKET
from measure import Bench, Ecbehave
from section import Section, interval

from ecbehave.artifacts import Artifact, Workspace
from ecbehave.inputs.catalogue import ALWAYS, GROUPS
from ecbehave.metrics.bootstrap import Comparison, compare_binary

HEADER = ["question", "features", "n", "AUROC", "AUPRC", "against", "AUROC - that", "AUPRC - that"]
#: Only the scores are read: no refit, and as few resamples in `evaluate` as it takes.
CHEAP = ("predict.refit=false", "evaluate.bootstrap=100")
WHOLE, FIRST = "whole catalogue", "first set"


def sections(bench: Bench) -> Iterator[Section]:
    """Compare on Complete Journey, and on Retailrocket where it is."""
    churn = _Ablation(bench.scratch / "ablation", "churn", "churn, 28 days", FOUR_WINDOWS)
    purchase = _Ablation(bench.scratch / "ablation", "purchase", "purchase, 7 days", FOUR_WINDOWS)
    yield _section("Complete Journey", COMPLETE_JOURNEY, [churn, purchase], by_group=bench.by_group)
    if bench.has_retailrocket:
        folder = bench.scratch / "ablation-retailrocket"
        buyers = _Ablation(folder, "retailrocket_purchase", "purchase, 14 days", ("split.test=4",))
        yield _section("Retailrocket buyers", RETAILROCKET, [buyers], by_group=bench.by_group)


def _section(log: str, data: str, ablations: Sequence["_Ablation"], *, by_group: bool) -> Section:
    rows = [row for ablation in ablations for row in ablation.rows(by_group=by_group)]
    commands = [command for ablation in ablations for command in ablation.ecbehave.commands]
    notes = [
        f"{FIRST}: the group {ALWAYS} alone, which is counts, recency, orders and their rhythm; n: features",
        "four test cutoffs; in brackets: 95 % interval over 1,000 paired resamples of users",
    ]
    if not by_group:
        notes.append("group by group: run.py ablation --by-group")
    return Section(f"What the catalogue adds on {log}", HEADER, rows, data, commands, notes)


class _Ablation:
    """One question, answered from several sets of features."""

    def __init__(self, workspace: Path, config: str, question: str, split: Sequence[str]) -> None:
        self.ecbehave, self.config, self.question, self.split = Ecbehave(workspace), config, question, split
        self.scores: dict[str, pl.DataFrame] = {}
        self.n_features: dict[str, int] = {}

    def rows(self, *, by_group: bool) -> Iterator[list[str]]:
        """Yield rows of the table."""
        self._run(WHOLE)
        built = self._built()
        self._run(FIRST, [])
        yield self._row(WHOLE, FIRST)
        yield self._row(FIRST, WHOLE)
        for group in built if by_group else []:
            without, added = f"without {group}", f"{FIRST} and {group}"
            self._run(without, [g for g in built if g != group])
            yield self._row(without, WHOLE)
            self._run(added, [group])
            yield self._row(added, FIRST)

    def _run(self, name: str, groups: Sequence[str] | None = None) -> None:
        only = () if groups is None else (f"features.groups=[{', '.join(groups)}]",)
        self.ecbehave.run("run", self.config, *self.split, *CHEAP, *only)
        self.scores[name] = pl.read_parquet(self._path / "evaluation" / "test_scores.parquet")
        self.n_features[name] = len(self._inputs().info["features"])

    def _built(self) -> list[str]:
        """Return the groups that the log supports, besides the one that is always there."""
        left_out = self._inputs().info["left_out"]
        return [g.name for g in GROUPS if g.name not in (ALWAYS, *left_out)]

    @property
    def _path(self) -> Path:
        return self.ecbehave.workspace / self.config

    def _inputs(self) -> Artifact:
        found = Workspace(self.ecbehave.workspace).read(f"{self.config}/inputs")
        if found is None:
            raise RuntimeError(f"{self.config} has not been run")
        return found

    def _row(self, name: str, against: str) -> list[str]:
        compared = compare(self.scores[name], self.scores[against])
        metrics: dict[str, Any] = {part: compared[part] for part in ("model", "difference")}
        values = [interval(metrics["model"][m]) for m in ("auroc", "auprc")]
        differences = [interval(metrics["difference"][m], "+") for m in ("auroc", "auprc")]
        return [self.question, name, f"{self.n_features[name]}", *values, against, *differences]


def compare(mine: pl.DataFrame, other: pl.DataFrame) -> Comparison:
    """Compare two tables of scores of the same rows: `user_id`, `cutoff`, `label`, `score`, `probability`."""
    columns = [*KEYS, "label", "score", "probability"]
    theirs = other.select(*KEYS, pl.col("score", "probability").name.prefix("baseline_"))
    rows = mine.select(columns).join(theirs, on=KEYS, how="left", validate="1:1")
    return compare_binary(rows, 0.5, 0.5, N_RESAMPLES, np.random.default_rng(0))
