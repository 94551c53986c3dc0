"""What the evaluation page says, put together from the stages' artifacts."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ecbehave.artifacts import Artifact
from ecbehave.config import DecisionConfig, ProfitDecision
from ecbehave.config_yaml import to_yaml
from ecbehave.inputs.measures import FAMILIES
from ecbehave.metrics.bootstrap import LOWER_IS_BETTER, Comparison
from ecbehave.metrics.classification import gains, precision_recall_curve, reliability, roc_curve
from ecbehave.report.content import (
    BarAtK,
    BinaryDetail,
    CalibrationBin,
    Confusion,
    CountRow,
    Curve,
    CutoffRow,
    DecileRow,
    FamilyRow,
    Importance,
    Interval,
    LeftOut,
    MetricRow,
    Permutation,
    Profit,
    RankingDetail,
    RankingPlot,
    Report,
    ScoreHistogram,
    SegmentRow,
    SplitRow,
    SpreadRow,
    Tuning,
    Verdict,
    verdict,
)
from ecbehave.report.numbers import Unit, fixed
from ecbehave.schema import TARGETS
from ecbehave.stages import Context, clean, features, upstream
from ecbehave.stages.decide import money_of
from ecbehave.stages.over_cutoffs import on_one_scale, spread_rows
from ecbehave.stages.tuning_report import tuning_content
from ecbehave.windows import label, local_day

if TYPE_CHECKING:
    from ecbehave.stages.evaluate import Judged

_LABELS: dict[str, tuple[str, Unit]] = {
    "auroc": ("AUROC", "ratio"),
    "auprc": ("AUPRC", "ratio"),
    "lift_10": ("Lift of the top 10 %", "times"),
    "log_loss": ("Log loss", "ratio"),
    "brier": ("Brier score", "ratio"),
    "calibration_error": ("Calibration error", "ratio"),
    "accuracy": ("Accuracy", "percent"),
    "precision": ("Precision", "percent"),
    "recall": ("Recall", "percent"),
    "f1": ("F1", "ratio"),
}
_RANKING_LABELS = {
    "ndcg": "NDCG",
    "recall": "Recall",
    "precision": "Precision",
    "hit_rate": "Hit rate",
    "map": "MAP",
    "mrr": "MRR",
    "repeat_recall": "Recall of repeats",
    "repeat_ndcg": "NDCG of repeats",
    "new_recall": "Recall of new items",
    "new_ndcg": "NDCG of new items",
}
_POSITIVES = {
    "churn": ("churners", "stayers"),
    "purchase": ("buyers", "non-buyers"),
    "pairs": ("bought pairs", "other pairs"),
}
_MOST_FEATURES = 20
#: Fewer users than this give intervals that mean nothing.
FEWEST_USERS = 30
_RATIO: Unit = "ratio"


def metric_row(comparison: Comparison, name: str, group: str = "") -> MetricRow:
    """Return one metric with its intervals."""
    text, unit = _ranking_label(name) if "@" in name else _LABELS[name]
    return MetricRow(
        name,
        text,
        model=Interval(**comparison["model"][name]),
        baseline=Interval(**comparison["baseline"][name]),
        difference=Interval(**comparison["difference"][name]),
        lower_is_better=name in LOWER_IS_BETTER,
        unit=unit,
        group=group,
    )


def _ranking_label(name: str) -> tuple[str, Unit]:
    measure, k = name.split("@")
    return f"{_RANKING_LABELS[measure]}@{k}", _RATIO


def headline_verdict(comparison: Comparison, headline: str, baseline: str, n_users: int) -> Verdict:
    """Say whether the model beats its baseline; a handful of users cannot tell."""
    row = metric_row(comparison, headline)
    if n_users < FEWEST_USERS and row.standing != "undefined":
        return Verdict(
            "unclear",
            f"Too few users to say whether the model beats the baseline {baseline}: "
            f"{n_users} could be judged, and it takes {FEWEST_USERS}.",
        )
    return verdict(row, baseline)


def beside_truth(spoken: Verdict, facts: Mapping[str, Any]) -> Verdict:
    """Add to the verdict how far the model gets, where the true probabilities are known."""
    share = facts.get("truth", {}).get("share_reached")
    if share is None:
        return spoken
    known = (
        f"It gets {100 * share:.0f} % of the way from chance to the true probabilities, "
        f"whose AUROC is {facts['truth']['auroc']:.3f}."
    )
    return Verdict(spoken.standing, f"{spoken.text} {known}")


def evaluation_report(
    context: Context, judged: "Judged", spoken: Verdict, model: Artifact, inputs: Artifact
) -> Report:
    """Return the page's content."""
    config, task = context.config, judged.task
    is_binary = task.output == "binary"
    return Report(
        title=f"{config.name}: {task.name} with {config.model.kind}",
        verdict=spoken,
        label_in_words=task.label_in_words,
        population_in_words=task.population_in_words,
        model=config.model.kind,
        baseline=config.baseline.kind,
        metrics=_metric_rows(judged),
        detail=_binary_detail(judged, context.config.decision) if is_binary else _ranking_detail(judged),
        splits=_splits(context, judged, inputs),
        counts=_counts(context, judged, inputs),
        facts=_facts(context, judged, inputs),
        per_cutoff=_per_cutoff(context, judged),
        spread=_spread(judged),
        tuning=_tuning(context, model),
        importance=_importance(model),
        permutation=_permutation(judged),
        examples=judged.examples,
        left_out=_left_out(model),
        notes=_notes(context, judged),
        config_yaml=_config_yaml(context),
    )


def _metric_rows(judged: "Judged") -> list[MetricRow]:
    comparison = judged.comparison
    if judged.task.output == "binary":
        chance = judged.facts["calibration"]["model"]["chance"]
        notes = {"calibration_error": f"chance alone gives up to {fixed(chance)}"}
        return [replace(metric_row(comparison, name), note=notes.get(name, "")) for name in _LABELS]
    k = judged.headline.split("@")[1]
    names = [name for name in comparison["model"] if name.endswith(f"@{k}")]
    names.sort(key=lambda name: name != judged.headline)
    groups = {"repeat": "Items the user had before", "new": "Items new to the user"}
    rows = [metric_row(comparison, name, groups.get(name.split("_")[0], "")) for name in names]
    return sorted(rows, key=lambda row: ["", *groups.values()].index(row.group))


def _binary_detail(judged: "Judged", decision: DecisionConfig) -> BinaryDetail:
    facts = judged.facts
    rows = on_one_scale(judged.rows, facts["n_fits"])
    y = rows["label"]
    sides = (("model", "score"), ("baseline", "baseline_score"))
    kind = judged.task.name if judged.task.target is None else "pairs"
    positives, negatives = _POSITIVES[kind]
    tables = {name: gains(y, rows[column]) for name, column in sides}
    return BinaryDetail(
        positives=positives,
        negatives=negatives,
        n_rows=rows.height,
        n_positive=facts["n_positive"],
        roc=_curves(
            {n: roc_curve(y, rows[c]) for n, c in sides}, "false_positive_rate", "true_positive_rate"
        ),
        precision_recall=_curves(
            {n: precision_recall_curve(y, rows[c]) for n, c in sides}, "recall", "precision"
        ),
        gains=[_gains_curve(name, table) for name, table in tables.items() if facts["n_positive"]],
        calibration=[
            CalibrationBin(b["mean_probability"], b["rate"], round(b["n"]))
            for b in reliability(y, rows["probability"]).to_dicts()
        ],
        scores=ScoreHistogram.of(rows["probability"].to_numpy(), y.to_numpy() == 1),
        calibration_error=facts["calibration"]["model"]["error"],
        calibration_chance=facts["calibration"]["model"]["chance"],
        confusion=_confusion(facts),
        deciles=_deciles(rows),
        segments=[
            SegmentRow(of["in_words"], s["segment"], s["n"], s["mean_probability"], s["rate"], s["chance"])
            for of in facts["segments"]
            for s in of["segments"]
        ],
        profit=_profit(decision, rows, facts),
    )


def _confusion(facts: Mapping[str, Any]) -> Confusion:
    threshold, decision = facts["threshold"], facts["decision"]
    origin = decision["origin"]
    if threshold is None:
        origin = f"With the {decision['top']:,} highest scores of each cutoff"
    return Confusion(**facts["confusion"], threshold=threshold, origin=origin)


def _profit(decision: DecisionConfig, rows: pl.DataFrame, facts: Mapping[str, Any]) -> Profit | None:
    if not isinstance(decision, ProfitDecision):
        return None
    curves = []
    for name, column in (("model", "score"), ("baseline", "baseline_score")):
        points = money_of(decision).curve(rows["label"], rows[column])
        curves.append(Curve(name, points["share"].to_list(), points["profit"].to_list()))
    found = facts["profit"]
    sides = {side: Interval(**found[side]) for side in ("model", "baseline", "difference")}
    n_targeted = int(rows["is_targeted"].sum())
    return Profit(curves, n_targeted, **sides, expected=found["expected"], everybody=found["everybody"])


def _curves(tables: Mapping[str, pl.DataFrame], x: str, y: str) -> list[Curve]:
    """Return a curve per table; with one class only the tables are empty, and there is nothing to draw."""
    return [
        Curve(name, table[x].to_list(), table[y].to_list()) for name, table in tables.items() if table.height
    ]


def _gains_curve(name: str, table: pl.DataFrame) -> Curve:
    share = np.arange(table.height + 1) / max(table.height, 1)
    return Curve(name, share.tolist(), [0.0, *table["cumulative_gain"].to_list()])


def _deciles(rows: pl.DataFrame) -> list[DecileRow]:
    """Return tenths of the rows by score, ties in the order of keys."""
    tenth = pl.int_range(pl.len()) * 10 // pl.len() + 1
    keys = [key for key in ("user_id", "cutoff", *TARGETS) if key in rows.columns]
    table = (
        rows.sort("score", *keys, descending=[True, *(False for _ in keys)])
        .group_by(decile=tenth, maintain_order=True)
        .agg(n=pl.len(), positives=pl.col("label").sum(), probability=pl.col("probability").mean())
    )
    return [DecileRow(d["decile"], d["n"], d["positives"], d["probability"]) for d in table.to_dicts()]


def _ranking_detail(judged: "Judged") -> RankingDetail:
    sides, plots = judged.comparison, []
    for measure in ("ndcg", "recall"):
        ks = sorted(int(name.split("@")[1]) for name in sides["model"] if name.startswith(f"{measure}@"))
        bars = [
            BarAtK(
                k,
                model=Interval(**sides["model"][f"{measure}@{k}"]),
                baseline=Interval(**sides["baseline"][f"{measure}@{k}"]),
            )
            for k in ks
        ]
        plots.append(RankingPlot(_RANKING_LABELS[measure], bars))
    return RankingDetail(plots)


def _splits(context: Context, judged: "Judged", inputs: Artifact) -> list[SplitRow]:
    timezone, counts = context.config.dataset.timezone, inputs.counts
    rows = []
    for split in ("train", "validation", "test"):
        # Train and validation cutoffs of several fits overlap, so the table shows those of the last one.
        origins = range(judged.facts["n_fits"]) if split == "test" else [-1]
        windows = [w for origin in origins for w in features.windows_of(inputs, split, origin)]
        parts = [p for origin in origins for p in features.places_of(inputs, split, timezone, origin)]
        n_rows = sum(counts[f"{p}.rows"] for p in parts)
        n_positive = sum(counts.get(f"{p}.positives", 0) for p in parts)
        cutoffs = ", ".join(dict.fromkeys(label(w.cutoff, timezone) for w in (windows[0], windows[-1])))
        first, last = (
            local_day(windows[0].cutoff, timezone),
            local_day(windows[-1].end, timezone) - timedelta(days=1),
        )
        is_binary = judged.task.output == "binary"
        rows.append(
            SplitRow(
                split,
                cutoffs if len(windows) < 3 else f"{len(windows)}: {cutoffs.replace(', ', ' to ')}",
                f"{first} to {last}",
                n_rows,
                n_positive if is_binary else None,
                n_positive / n_rows if is_binary and n_rows else None,
            )
        )
    return rows


def _counts(context: Context, judged: "Judged", inputs: Artifact) -> list[CountRow]:
    log = upstream(context, "clean", clean.NAME, clean.spec).counts
    rows = [CountRow("ingest", "raw event rows", log["raw"])]
    for name, n in log.items():
        if name.startswith("quarantined."):
            rows.append(
                CountRow("clean", f"refused: {name.removeprefix('quarantined.').replace('_', ' ')}", n)
            )
    rows.append(CountRow("clean", "exact duplicates", log["duplicates"]))
    rows.append(CountRow("clean", "clean events", log["clean"], "raw = clean + refused + duplicates"))
    splits = {
        s: [n for k, n in inputs.counts.items() if k.startswith(f"{s}/") and k.endswith(".rows")]
        for s in ("train", "validation", "test", *([features.EARLIER] if judged.facts["n_fits"] > 1 else []))
    }
    asked = "users" if judged.task.target is None else "pairs"
    notes = {s: f"{asked} asked at {len(n)} cutoff{'s' * (len(n) > 1)}" for s, n in splits.items()}
    rows += [CountRow("features", f"{s} rows", sum(n), notes[s]) for s, n in splits.items()]
    return rows


def _facts(context: Context, judged: "Judged", inputs: Artifact) -> list[tuple[str, str]]:
    facts = [
        (
            "Intervals",
            f"95 %, {context.config.evaluate.bootstrap:,} resamples of users, seed {context.config.seed}",
        )
    ]
    if judged.task.output == "binary":
        facts.append(("Features", f"{len(inputs.info['features']):,}"))
        facts += _truth_facts(judged)
    else:
        coverage = next(iter(reversed(judged.facts["coverage"].items())))
        rule = judged.facts["baseline_coverage"][coverage[0]]
        facts += [
            ("Catalogue", f"{judged.facts['n_items']:,} items"),
            ("Catalogue coverage", f"{coverage[1]:.1%} at {coverage[0].split('@')[1]} (baseline {rule:.1%})"),
            ("Users without a true item", f"{judged.facts['n_without_truth']:,}, left out of the means"),
            ("Users the model has no item for", f"{judged.facts['n_cold']:,}, given what is popular"),
        ]
    return [*facts, *_candidate_facts(judged)]


def _candidate_facts(judged: "Judged") -> list[tuple[str, str]]:
    if "candidates" not in judged.facts:
        return []
    n_true, n_asked, recall = (judged.facts["candidates"][k] for k in ("n_true_pairs", "n_asked", "recall"))
    share = "" if recall is None else f" ({100 * recall:.1f} %); the others were no candidates"
    return [("True pairs that were asked", f"{n_asked:,} of {n_true:,}{share}")]


def _truth_facts(judged: "Judged") -> list[tuple[str, str]]:
    if "truth" not in judged.facts:
        return []
    numbers = ("auroc", "share_reached", "baseline_share_reached")
    best, share, rule = (judged.facts["truth"][name] for name in numbers)
    if best is None or share is None:
        return [("AUROC of the true probabilities", "not defined, or no better than chance")]
    text = f"{best:.3f}; the model gets {share:.1%} of the way there from chance, the baseline {rule:.1%}"
    return [("AUROC of the true probabilities", text.replace("%", " %"))]


def _per_cutoff(context: Context, judged: "Judged") -> Sequence[CutoffRow]:
    if len(judged.per_cutoff) < 2:
        return ()
    timezone = context.config.dataset.timezone
    return [
        CutoffRow(label(p["cutoff"], timezone), p["n_rows"], p["model"], p["baseline"])
        for p in judged.per_cutoff
    ]


def _spread(judged: "Judged") -> list[SpreadRow]:
    found = judged.facts["over_time"]
    if judged.task.output == "binary":
        return spread_rows(found, list(_LABELS), _LABELS)
    labels = {name: _ranking_label(name) for name in found}
    k = judged.headline.split("@")[1]
    names = [name for name in found if name.endswith(f"@{k}")]
    return spread_rows(found, sorted(names, key=lambda name: name != judged.headline), labels)


def _tuning(context: Context, model: Artifact) -> Tuning | None:
    if "tuning" not in model.info:
        return None
    return tuning_content(model.info["tuning"], context.config.dataset.timezone)


def _importance(model: Artifact) -> Importance | None:
    shares: dict[str, Any] = model.info.get("importance", {})
    if not shares:
        return None
    top = sorted(shares.items(), key=lambda item: -item[1])[:_MOST_FEATURES]
    return Importance(
        top,
        "Share of what the model learned on the train windows: of the gain of splits, or of the weight of terms.",
    )


def _permutation(judged: "Judged") -> Permutation | None:
    found = judged.facts.get("permutation")
    if not found:
        return None
    families = [
        FamilyRow(f["family"], FAMILIES[f["family"]], f["n_features"], f["drop"], f["spread"])
        for f in found["families"]
    ]
    numbers = {key: found[key] for key in ("auroc", "repeats", "n_rows", "n_users")}
    return Permutation(families, **numbers, is_sample=found["n_rows"] < judged.rows.height)


def _left_out(model: Artifact) -> LeftOut | None:
    selection: list[dict[str, str]] = model.info.get("selection", [])
    if not selection:
        return None
    reasons = [(s["feature"], s["rule"], s["why"]) for s in selection]
    return LeftOut(len(model.info["features"]), reasons)


def _notes(context: Context, judged: "Judged") -> list[str]:
    notes = [
        "All splits are global in time: no label window overlaps a later split, and nothing was fitted on later data.",
    ]
    if judged.facts["n_fits"] > 1:
        averaged = "" if judged.task.output == "ranking" else ", and metrics are means over the test cutoffs"
        notes.append(
            f"Each of the {judged.facts['n_fits']} test cutoffs is judged by a fit of its own, on as many train and "
            f"validation cutoffs before it{averaged}. The train and validation rows shown are those of the last fit."
        )
    for warning in judged.facts.get("warnings", ()):
        notes.append(f"{warning[:1].upper()}{warning[1:]}.")
    if context.config.predict.refit:
        notes.append(
            "Scores come from a second fit with the same settings on all windows; the model judged here has not seen "
            "the test windows."
        )
    if judged.task.output == "ranking":
        notes.append("Other lengths of the list are in metrics.json.")
        notes.append(
            "Lists are filled up to their length with what most users had lately, for model and baseline alike."
        )
    return notes


def _config_yaml(context: Context) -> str:
    """Return the resolved config without the folders of this machine."""
    shown = {key: value for key, value in context.public.items() if key != "workspace"}
    sources = [source | {"path": Path(source["path"]).name} for source in shown["dataset"]["sources"]]
    evaluate = shown["evaluate"] | {
        "truth": shown["evaluate"]["truth"] and Path(shown["evaluate"]["truth"]).name
    }
    return to_yaml(shown | {"dataset": shown["dataset"] | {"sources": sources}, "evaluate": evaluate})
