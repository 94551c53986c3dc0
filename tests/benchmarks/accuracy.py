"""Accuracy on test windows beside the baselines and beside other people's models, with paired intervals."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from measure import Ecbehave
from peer_models import implicit_lists, lightgbm_default, read
from section import Section, interval

from ecbehave.artifacts import Artifact, Workspace
from ecbehave.metrics.bootstrap import Comparison, compare_binary, compare_ranking
from ecbehave.metrics.ranking import per_user

COMPLETE_JOURNEY = "Complete Journey, all of it: 1,469,307 rows, 2,469 households; seed 0"
RETAILROCKET = (
    "Retailrocket, buyers only: 97,381 events, 2,174 visitors, 30,113 items; each visitor's last purchase "
    "is missing from it; seed 0"
)
HEADER = ["question", "test cutoffs", "n", "metric", "ours", "", "other", "", "ours - other"]
KEYS = ["user_id", "cutoff"]
METRICS = {"binary": ("auroc", "log_loss"), "ranking": ("ndcg@10", "recall@10")}
N_RESAMPLES = 1_000
NOTES = (
    "n: rows of the test windows; for preference, users with a true item",
    "in brackets: 95 % interval over 1,000 paired resamples of users, as in evaluation/metrics.json",
    "LightGBM default: LGBMClassifier() fitted on our train table, scored on our test table",
    "implicit: nearest neighbours with default parameters, repeats allowed, fitted on our matrix of the test cutoff; "
    "item_knn itself has learned before the validation cutoff only",
)
TUNED = (
    "our defaults were tuned on windows of this log before the latest one, so the earlier windows show that the "
    "result holds over time, not that it holds on untouched data; the peers have their own defaults"
)
FOUR_WINDOWS = ("split.test=4", "split.step=28d", "split.train=6")


class Judge:
    """Runs a config, and compares what it published with its baseline and with a peer."""

    def __init__(self, workspace: Path, config: str, question: str) -> None:
        self.ecbehave, self.config, self.question = Ecbehave(workspace), config, question
        self.rows: list[list[str]] = []

    def run(self, *overrides: str) -> None:
        """Run all stages; adds the comparison with the config's baseline."""
        self.ecbehave.run("run", self.config, *overrides)
        metrics = self._json("evaluation/metrics.json")
        compared = {part: metrics[key] for part, key in _PARTS.items()}
        cutoffs = str(len(metrics["per_cutoff"]))
        self._add(compared, metrics["model"], metrics["baseline"], cutoffs, metrics["n_rows"])

    def per_cutoff(self) -> None:
        """Compare with the baseline on each test cutoff by itself."""
        metrics, scores = self._json("evaluation/metrics.json"), self._scores()
        for cutoff in scores["cutoff"].unique().sort():
            rows = scores.filter(pl.col("cutoff") == cutoff)
            mine = rows.select(pl.exclude("^baseline_.*$"))
            other = rows.select(
                *KEYS, pl.col("^baseline_.*$").name.map(lambda n: n.removeprefix("baseline_"))
            )
            self._compare(mine, other, metrics, metrics["baseline"], f"{cutoff:%Y-%m-%d}")

    def against(self, name: str, other: pl.DataFrame) -> None:
        """Compare with a peer's scores, or with its lists."""
        metrics = self._json("evaluation/metrics.json")
        mine = self._scores().select(pl.exclude("^baseline_.*$"))
        self._compare(
            mine, other, metrics | {"baseline_threshold": 0.5}, name, str(mine["cutoff"].n_unique())
        )

    def _compare(
        self, mine: pl.DataFrame, other: pl.DataFrame, metrics: dict[str, Any], name: str, cutoffs: str
    ) -> None:
        rng = np.random.default_rng(0)
        if "label" in mine.columns:
            rows = mine.join(
                other.select(*KEYS, pl.exclude(KEYS).name.prefix("baseline_")), on=KEYS, how="left"
            )
            thresholds = metrics["threshold"], metrics["baseline_threshold"]
            compared = compare_binary(rows, *thresholds, N_RESAMPLES, rng)
        else:
            columns = [*KEYS, *METRICS["ranking"]]
            compared = compare_ranking(mine.select(columns), other.select(columns), N_RESAMPLES, rng)
        self._add(compared, metrics["model"], name, cutoffs, mine.height)

    def _add(
        self, compared: Comparison | dict[str, Any], mine: str, other: str, cutoffs: str, n: int
    ) -> None:
        for metric in METRICS["binary" if "auroc" in compared["model"] else "ranking"]:
            ours, theirs, difference = (compared[part][metric] for part in _PARTS)
            cells = [mine, interval(ours), other, interval(theirs), interval(difference, "+")]
            self.rows.append([self.question, cutoffs, f"{n:,}", metric, *cells])

    @property
    def inputs(self) -> Artifact:
        """What the model and its peers read."""
        found = Workspace(self.ecbehave.workspace).read(f"{self.config}/inputs")
        if found is None:
            raise RuntimeError(f"{self.config} has not been run")
        return found

    def lightgbm(self) -> None:
        """Compare with LightGBM out of the box."""
        self.against("LightGBM default", lightgbm_default(self.inputs))

    def implicit(self) -> None:
        """Compare with implicit's item-item recommenders."""
        weights = self._json("model/manifest.json")["config"]["model"]["event_weights"]
        for kind in ("BM25", "cosine"):
            lists = implicit_lists(self.inputs, kind, weights)
            self.against(f"implicit {kind}", per_user(lists, _truth(self.inputs), [10]))

    def _json(self, file: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self._path(file).read_text(encoding="utf-8"))
        return content

    def _scores(self) -> pl.DataFrame:
        return pl.read_parquet(self._path("evaluation/test_scores.parquet"))

    def _path(self, file: str) -> Path:
        return self.ecbehave.workspace / self.config / file


_PARTS = {"model": "metrics", "baseline": "baseline_metrics", "difference": "difference"}


def _truth(inputs: Artifact) -> pl.DataFrame:
    """Return the true items; repeats are not told apart, since only the means over all items are compared."""
    parts = [m.labels.with_columns(pl.lit(m.cutoff).alias("cutoff")) for m in read(inputs, "matrix", "test")]
    return pl.concat(parts).with_columns(is_repeat=pl.lit(value=False))


def complete_journey(scratch: Path) -> Section:
    """Compare the three tasks on the latest test window."""
    churn = Judge(scratch / "accuracy", "churn", "churn, 28 days")
    churn.run()
    churn.lightgbm()
    churn.run("baseline.kind=base_rate")
    purchase = Judge(scratch / "accuracy", "purchase", "purchase, 7 days")
    purchase.run()
    purchase.lightgbm()
    preference = Judge(scratch / "accuracy", "preference", "preference, 14 days")
    preference.run()
    preference.run("baseline.kind=personal_frequency")
    preference.implicit()
    return _section("Accuracy on Complete Journey", COMPLETE_JOURNEY, [churn, purchase, preference])


def windows(scratch: Path) -> Section:
    """Compare the three tasks on four test windows, 28 days apart, and on each of them."""
    churn = Judge(scratch / "accuracy", "churn", "churn, 28 days")
    purchase = Judge(scratch / "accuracy", "purchase", "purchase, 7 days")
    preference = Judge(scratch / "accuracy", "preference", "preference, 14 days")
    for judge in (churn, purchase, preference):
        judge.run(*FOUR_WINDOWS[: 2 if judge is preference else 3])
        judge.per_cutoff()
    churn.lightgbm()
    purchase.lightgbm()
    preference.implicit()
    return _section("Over four test windows", COMPLETE_JOURNEY, [churn, purchase, preference], [TUNED])


def retailrocket(scratch: Path) -> Section:
    """Compare on the log with views, carts and purchases: the latest test window, then the latest four."""
    purchase = Judge(scratch / "retailrocket", "retailrocket_purchase", "purchase, 14 days")
    preference = Judge(scratch / "retailrocket", "retailrocket_preference", "preference, 14 days")
    for overrides in ((), ("split.test=4",)):
        purchase.run(*overrides)
        purchase.lightgbm()
        preference.run(*overrides)
        preference.implicit()
    return _section("Accuracy on Retailrocket buyers", RETAILROCKET, [purchase, preference])


def _section(title: str, data: str, judges: Sequence[Judge], notes: Sequence[str] = ()) -> Section:
    rows = [row for judge in judges for row in judge.rows]
    commands = [command for judge in judges for command in judge.ecbehave.commands]
    return Section(title, HEADER, rows, data, commands, [*NOTES, *notes])
