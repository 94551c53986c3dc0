"""evaluate: the model and its baseline on the test windows -> `evaluation/`: metrics, per-row scores, report."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl

from ecbehave.artifacts import Artifact, Built, Outcome, Spec
from ecbehave.errors import DataError, GateError
from ecbehave.inputs.types import MatrixInput, TableInput
from ecbehave.metrics.bootstrap import Comparison, compare_binary, compare_ranking
from ecbehave.metrics.classification import auroc, confusion
from ecbehave.metrics.ranking import coverage, n_without_truth, per_user
from ecbehave.models import input_type
from ecbehave.models.protocol import Scorer
from ecbehave.report.content import Verdict
from ecbehave.report.html import render
from ecbehave.stages import Context, features, train, upstream
from ecbehave.stages.achievable import reached, truth_fingerprint
from ecbehave.stages.evaluation_report import beside_truth, evaluation_report, headline_verdict
from ecbehave.stages.lists import complete_lists
from ecbehave.tables import write_table
from ecbehave.tasks import Task, make_task

VERSION = 2

REPORT = "report.html"


def name(context: Context) -> str:
    """Return the artifact's name."""
    return f"{context.config.name}/evaluation"


def spec(context: Context) -> Spec:
    """Return what the evaluation is made from."""
    model = upstream(context, "train", train.name(context), train.spec)
    settings = {key: value for key, value in context.public["evaluate"].items() if key != "truth"}
    config = {"evaluate": settings, "seed": context.public["seed"]}
    inputs = {train.name(context): model.fingerprint} | truth_fingerprint(context)
    return Spec("evaluate", VERSION, config, inputs)


@dataclass(frozen=True)
class Judged:
    """The model beside its baseline on all test windows."""

    task: Task
    headline: str
    comparison: Comparison
    rows: pl.DataFrame
    """Per-row test scores (binary), or per-user metrics (ranking)."""
    per_cutoff: list[dict[str, Any]]
    facts: dict[str, Any] = field(default_factory=dict)
    """Further numbers: thresholds, confusion and what is reached of the truth, or coverage and users left out."""


def run(context: Context) -> Outcome:
    """Judge the model; the quality gate speaks after everything is published.

    Raises:
        GateError: `evaluate.require_improvement` is set, and the model does not clearly beat its baseline.
    """
    model = upstream(context, "train", train.name(context), train.spec)
    outcome = context.workspace.produce(
        name(context), spec(context), lambda folder: _build(context, model, folder), force=context.force
    )
    verdict = outcome.artifact.info["verdict"]
    if context.config.evaluate.require_improvement and verdict["standing"] != "better":
        raise GateError(
            f"quality gate: {verdict['text']} evaluate.require_improvement demands a clear improvement; "
            f"see {outcome.artifact.path / REPORT}",
            outcome,
        )
    return outcome


def _build(context: Context, artifact: Artifact, folder: Path) -> Built:
    inputs = upstream(context, "features", features.name(context), features.spec)
    inputs.verify()
    judged = judge(context, artifact, inputs)
    verdict = headline_verdict(
        judged.comparison, judged.headline, context.config.baseline.kind, judged.rows["user_id"].n_unique()
    )
    verdict = beside_truth(verdict, judged.facts)
    write_table(folder / "test_scores.parquet", judged.rows)
    (folder / "metrics.json").write_text(
        json.dumps(_metrics(context, judged, verdict), indent=1), encoding="utf-8"
    )
    report = evaluation_report(context, judged, verdict, artifact, inputs)
    (folder / REPORT).write_text(render(report), encoding="utf-8")
    context.progress.say(
        f"evaluate: {judged.rows.height:,} test rows judged beside {context.config.baseline.kind}"
    )
    info = {"verdict": {"standing": verdict.standing, "text": verdict.text}, "headline": judged.headline}
    return Built({"rows": judged.rows.height}, info, seed=context.config.seed)


def judge(context: Context, artifact: Artifact, inputs: Artifact) -> Judged:
    """Score the test windows with the model and its baseline, and compare."""
    task = make_task(context.config.task)
    loaded = [train.load(context, artifact, part) for part in (train.FITTED, train.BASELINE)]
    rng = np.random.default_rng(context.config.seed)
    if task.output == "binary":
        return _judge_binary(context, task, inputs, loaded, rng)
    return _judge_ranking(context, task, inputs, [model for model, _ in loaded], rng)


def _test_inputs(context: Context, inputs: Artifact, task: Task) -> list[Any]:
    kind = input_type(context.config.model, task.name, task.output, "model")
    return features.read_inputs(inputs, kind, "test", context.config.dataset.timezone)


def _judge_binary(
    context: Context,
    task: Task,
    inputs: Artifact,
    loaded: list[tuple[Scorer, dict[str, Any]]],
    rng: np.random.Generator,
) -> Judged:
    test = TableInput.concat(_test_inputs(context, inputs, task))
    if test.n_rows == 0:
        raise DataError(
            "the test population is empty: no user was active before any test cutoff; "
            "lengthen task.active_within, set split.test higher, or bring more data"
        )
    keys = [key for key in test.key_names if key != "user_hash"]
    rows = test.frame.select(*keys, "label")
    for prefix, (model, meta) in zip(("", "baseline_"), loaded, strict=True):
        scored = model.predict(test, 0).select(*keys, "score")
        probability = train.probabilities(meta, scored["score"].to_numpy())
        named = scored.with_columns(probability=pl.Series(probability)).rename(
            {"score": f"{prefix}score", "probability": f"{prefix}probability"}
        )
        rows = rows.join(named, on=keys, maintain_order="left")
    thresholds = [meta["threshold"] for _, meta in loaded]
    comparison = compare_binary(
        rows, thresholds[0], thresholds[1], context.config.evaluate.bootstrap, rng, keys
    )
    matrix = confusion(rows["label"], rows["probability"], thresholds[0])
    facts = {
        "threshold": thresholds[0],
        "baseline_threshold": thresholds[1],
        "confusion": {cell: int(getattr(matrix, cell)) for cell in ("tp", "fp", "fn", "tn")},
        "n_positive": int(rows["label"].sum()),
    }
    facts |= reached(context, task, rows) | _candidates(task, inputs, facts["n_positive"])
    per_cutoff = [
        {
            "cutoff": cutoff,
            "n_rows": part.height,
            "model": _number(auroc(part["label"], part["score"])),
            "baseline": _number(auroc(part["label"], part["baseline_score"])),
        }
        for (cutoff,), part in rows.group_by("cutoff", maintain_order=True)
    ]
    return Judged(task, "auroc", comparison, rows, per_cutoff, facts)


def _candidates(task: Task, inputs: Artifact, n_positive: int) -> dict[str, Any]:
    """Return how many of the true pairs of the test windows were asked about; empty where users alone are asked."""
    if task.target is None:
        return {}
    counts = inputs.counts.items()
    n_true = sum(n for name, n in counts if name.startswith("test/") and name.endswith(".true_pairs"))
    recall = n_positive / n_true if n_true else None
    return {"candidates": {"n_true_pairs": n_true, "n_asked": n_positive, "recall": recall}}


def _judge_ranking(
    context: Context, task: Task, inputs: Artifact, models: list[Scorer], rng: np.random.Generator
) -> Judged:
    ks = context.config.evaluate.k
    headline = f"ndcg@{10 if 10 in ks else ks[0]}"
    tests: list[MatrixInput] = _test_inputs(context, inputs, task)
    truth = pl.concat([_truth(data) for data in tests])
    if truth.height == 0:
        raise DataError(
            "no user of the test population has a true item in the test window, so nothing can be judged; "
            "check task.event, lengthen task.horizon, or bring more data"
        )
    lists = [pl.concat([_lists(model, data, max(ks)) for data in tests]) for model in models]
    judged = [per_user(recommended, truth, ks) for recommended in lists]
    comparison = compare_ranking(judged[0], judged[1], context.config.evaluate.bootstrap, rng)
    n_items = pl.concat([data.items for data in tests])["item_id"].n_unique()
    facts: dict[str, Any] = {
        "n_without_truth": n_without_truth(lists[0], truth),
        "n_items": n_items,
        "n_cold": int(lists[0].filter(pl.col("rank") == 1)["is_cold"].sum()),
        "coverage": {f"coverage@{k}": coverage(lists[0], n_items, k) for k in ks},
        "baseline_coverage": {f"coverage@{k}": coverage(lists[1], n_items, k) for k in ks},
    }
    keys = ["user_id", "cutoff"]
    rows = (
        judged[0].join(judged[1].select(*keys, pl.exclude(keys).name.prefix("baseline_")), on=keys).sort(keys)
    )
    per_cutoff = [
        {
            "cutoff": cutoff,
            "n_rows": part.height,
            "model": _number(part[headline].mean()),
            "baseline": _number(part[f"baseline_{headline}"].mean()),
        }
        for (cutoff,), part in rows.sort("cutoff", "user_id").group_by("cutoff", maintain_order=True)
    ]
    return Judged(task, headline, comparison, rows, per_cutoff, facts)


def _truth(data: MatrixInput) -> pl.DataFrame:
    """Return the true items of one cutoff; a repeat is an item that the user had any event with before."""
    labels = cast("pl.DataFrame", data.labels)
    before = data.pairs.select("user", "item").unique()
    had = before.select(
        user_id=data.users["user_id"].gather(before["user"]),
        item_id=data.items["item_id"].gather(before["item"]),
    ).with_columns(is_repeat=pl.lit(value=True))
    return labels.join(had, on=["user_id", "item_id"], how="left").select(
        "user_id",
        pl.lit(data.cutoff).alias("cutoff"),
        "item_id",
        pl.col("is_repeat").fill_null(value=False),
    )


def _lists(model: Scorer, data: MatrixInput, k: int) -> pl.DataFrame:
    return complete_lists(model, data, k).with_columns(cutoff=pl.lit(data.cutoff))


def _number(value: Any) -> float | None:
    return None if value is None or np.isnan(value) else float(value)


def _metrics(context: Context, judged: Judged, verdict: Verdict) -> dict[str, Any]:
    return {
        "task": judged.task.name,
        "model": context.config.model.kind,
        "baseline": context.config.baseline.kind,
        "verdict": {"standing": verdict.standing, "text": verdict.text},
        "headline": judged.headline,
        "n_rows": judged.rows.height,
        "n_resamples": context.config.evaluate.bootstrap,
        "metrics": judged.comparison["model"],
        "baseline_metrics": judged.comparison["baseline"],
        "difference": judged.comparison["difference"],
        "per_cutoff": [p | {"cutoff": p["cutoff"].isoformat()} for p in judged.per_cutoff],
    } | judged.facts
