"""evaluate: the model and its baseline on the test windows -> `evaluation/`: metrics, per-row scores, report."""

import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl

from ecbehave.artifacts import Artifact, Built, Outcome, Spec
from ecbehave.config.decision import DecisionConfig
from ecbehave.errors import DataError, GateError
from ecbehave.inputs.types import TableInput
from ecbehave.metrics.bootstrap import compare_fits
from ecbehave.metrics.decision import places
from ecbehave.metrics.spread import binary_at
from ecbehave.metrics.tally import Confusion
from ecbehave.report.compared import Verdict
from ecbehave.report.html import render
from ecbehave.stages import Context, features, train, upstream
from ecbehave.stages.achievable import reached, truth_fingerprint
from ecbehave.stages.decide import Rule, profit_facts
from ecbehave.stages.evaluation_report import evaluation_report
from ecbehave.stages.examples import examples
from ecbehave.stages.judge_ranking import judge_ranking, leak_facts
from ecbehave.stages.judge_rating import RatingFit, judge_ratings
from ecbehave.stages.judged import Fitted, Judged
from ecbehave.stages.metric_words import beside_truth, headline_verdict
from ecbehave.stages.over_cutoffs import on_one_scale, over_time_facts, per_cutoff
from ecbehave.stages.permutation import Fit, permutation, table_of
from ecbehave.stages.reliability import calibration_facts, drifts, segment_facts
from ecbehave.stages.stored_models import BASELINE, FITTED
from ecbehave.tables import write_table
from ecbehave.tasks import Task, make_task
from ecbehave.windows import label

VERSION = 4

REPORT = "report.html"


def name(context: Context) -> str:
    """Return the artifact's name."""
    return f"{context.config.name}/evaluation"


def spec(context: Context) -> Spec:
    """Return what the evaluation is made from."""
    model = upstream(context, "train", train.name(context), train.spec)
    settings = {key: value for key, value in context.public["evaluate"].items() if key != "truth"}
    config = {"evaluate": settings} | {key: context.public[key] for key in ("decision", "seed")}
    inputs = {train.name(context): model.fingerprint} | truth_fingerprint(context)
    return Spec("evaluate", VERSION, config, inputs)


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
    for warning in judged.facts.get("warnings", ()):
        context.progress.say(f"evaluate: {warning}")
    info = {"verdict": {"standing": verdict.standing, "text": verdict.text}, "headline": judged.headline}
    return Built({"rows": judged.rows.height}, info, seed=context.config.seed)


def judge(context: Context, artifact: Artifact, inputs: Artifact) -> Judged:
    """Score the test windows with the model and its baseline, and compare."""
    task = make_task(context.config.task)
    rng = np.random.default_rng(context.config.seed)
    fits = [_fitted(context, artifact, inputs, origin) for origin in range(len(features.origins_in(inputs)))]
    if task.output == "binary":
        judged = _judge_binary(context, task, inputs, fits, rng)
    elif task.output == "rating":
        rating_fits = [RatingFit(fit.tests, [model for model, _ in fit.sides]) for fit in fits]
        judged = Judged(
            task, task.headline, *judge_ratings(rating_fits, context.config.evaluate.bootstrap, rng)
        )
    else:
        judged = judge_ranking(context, task, fits, rng)
    judged.facts.update(_candidates(context, inputs))
    judged.facts.update(leak_facts(context.config.split))
    return judged


def _fitted(context: Context, artifact: Artifact, inputs: Artifact, origin: int) -> Fitted:
    kinds, timezone = features.input_types(context), context.config.dataset.timezone
    return Fitted(
        features.read_all(inputs, kinds, "test", timezone, origin),
        [train.load(context, artifact, train.place_of(part, inputs, origin)) for part in (FITTED, BASELINE)],
        features.known_items(inputs, _known_split(context), timezone, origin),
    )


def _known_split(context: Context) -> str:
    """Return the split whose newest history the fits have learned from."""
    return "test" if context.config.split.fit_on_validation else "validation"


def _judge_binary(
    context: Context, task: Task, inputs: Artifact, fits: list[Fitted], rng: np.random.Generator
) -> Judged:
    tests = [data for fit in fits for data in fit.tests]
    test = TableInput.concat([cast("TableInput", data.table) for data in tests])
    if test.n_rows == 0:
        raise DataError(
            "the test population is empty: no user was active before any test cutoff; "
            "lengthen task.active_within, set split.test higher, or bring more data"
        )
    keys = [key for key in test.key_names if key != "user_hash"]
    config = context.config
    parts = [_scored(fit, config.decision, keys) for fit in fits]
    rows, loaded = pl.concat(parts), fits[-1].sides
    rules = [Rule.of(config.decision, meta) for _, meta in loaded]
    comparison = compare_fits(parts, config.evaluate.bootstrap, rng, keys)
    matrix = Confusion.of(rows["label"], rows["is_targeted"])
    facts: dict[str, Any] = {
        "decision": {"kind": config.decision.kind, "top": rules[0].top, "origin": rules[0].origin},
        "threshold": rules[0].threshold,
        "baseline_threshold": rules[1].threshold,
        "confusion": {cell: int(getattr(matrix, cell)) for cell in ("tp", "fp", "fn", "tn")},
        "n_positive": int(rows["label"].sum()),
    }
    facts |= reached(context, task, on_one_scale(rows, len(fits)))
    facts |= profit_facts(config.decision, rows, config.evaluate.bootstrap, rng)
    facts["calibration"] = {"method": loaded[0][1]["calibration"]["method"]} | calibration_facts(
        rows, config.seed
    )
    facts["segments"] = segment_facts(test, rows, config.evaluate.segments, config.dataset.timezone)
    found = drifts(inputs, config.dataset.timezone)
    facts["base_rates"] = [drift.to_dict() for drift in found]
    facts["warnings"] = [drift.in_words() for drift in found if drift.is_drift]
    model = loaded[0][0]
    facts["permutation"] = permutation(
        [Fit(fit.sides[0][0], fit.tests) for fit in fits], config.evaluate.permutation_rows, config.seed
    )
    last = label(tests[-1].cutoff, config.dataset.timezone)
    shown = examples(model, tests[-1], rows.tail(table_of(tests[-1]).n_rows), task, last)
    cutoffs = {cutoff: part for (cutoff,), part in rows.group_by("cutoff", maintain_order=True)}
    sides = [
        [
            binary_at(
                part["label"], *(part[f"{prefix}{name}"] for name in ("score", "probability", "is_targeted"))
            )
            for part in cutoffs.values()
        ]
        for prefix in ("", "baseline_")
    ]
    facts |= over_time_facts(len(fits), sides)
    return Judged(task, "auroc", comparison, rows, per_cutoff(cutoffs, sides, "auroc"), facts, shown)


def _scored(fit: Fitted, decision: DecisionConfig, keys: list[str]) -> pl.DataFrame:
    """Return the rows of a fit's test windows, scored by the model and by its baseline."""
    rows = pl.concat(table_of(data).frame.select(*keys, "label") for data in fit.tests)
    at = rows["cutoff"].rle_id().to_numpy()
    for prefix, (model, meta) in zip(("", "baseline_"), fit.sides, strict=True):
        score = np.concatenate([model.score(data) for data in fit.tests])
        probability = train.probabilities(meta, score)
        targets = Rule.of(decision, meta).targets(probability, places(score, at))
        rows = rows.with_columns(
            pl.Series(f"{prefix}score", score),
            pl.Series(f"{prefix}probability", probability),
            pl.Series(f"{prefix}is_targeted", targets),
        )
    return rows


def _candidates(context: Context, inputs: Artifact) -> dict[str, Any]:
    """Return how many of the true pairs of the test windows were asked about; empty where all could be."""
    timezone, origins = context.config.dataset.timezone, range(len(features.origins_in(inputs)))
    tested = [place for origin in origins for place in features.places_of(inputs, "test", timezone, origin)]
    if f"{tested[0]}.true_pairs" not in inputs.counts:
        return {}
    asked = "true_candidates" if f"{tested[0]}.true_candidates" in inputs.counts else "positives"
    n_true, n_asked = (sum(inputs.counts[f"{place}.{n}"] for place in tested) for n in ("true_pairs", asked))
    recall = n_asked / n_true if n_true else None
    return {"candidates": {"n_true_pairs": n_true, "n_asked": n_asked, "recall": recall}}


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
