"""What the evaluation page says, put together from the stages' artifacts."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecbehave.artifacts import Artifact
from ecbehave.config.yaml import to_yaml
from ecbehave.inputs.measures import FAMILIES
from ecbehave.report.binary_content import BinaryDetail
from ecbehave.report.compared import Verdict
from ecbehave.report.content import (
    CountRow,
    CutoffRow,
    FamilyRow,
    Importance,
    LeftOut,
    Permutation,
    Report,
    SplitRow,
    TrainedNet,
    Tuning,
)
from ecbehave.report.ranking_content import RankingDetail
from ecbehave.report.rating_content import RatingDetail
from ecbehave.stages import Context, binary_report, clean, features, ranking_report, rating_report, upstream
from ecbehave.stages.tuning_report import tuning_content
from ecbehave.windows import label, local_day

if TYPE_CHECKING:
    from ecbehave.stages.judged import Judged

_MOST_FEATURES = 20
_OWN_LABEL = "true item: the last one that each user had task.event with, out of the whole catalogue"
_OWN_POPULATION = "every user with three such events or more, when all before the last one is known"
_GLOBAL = "All splits are global in time: no label window overlaps a later split, and nothing was fitted on later data."
_PAGES = {"binary": binary_report, "ranking": ranking_report, "rating": rating_report}


def evaluation_report(
    context: Context, judged: "Judged", spoken: Verdict, model: Artifact, inputs: Artifact
) -> Report:
    """Return the page's content."""
    config, task, leaks_time = context.config, judged.task, judged.facts["leaks_time"]
    of = _PAGES[task.output]
    return Report(
        title=f"{config.name}: {task.name} with {config.model.kind}",
        verdict=spoken,
        label_in_words=_OWN_LABEL if leaks_time else task.label_in_words,
        population_in_words=_OWN_POPULATION if leaks_time else task.population_in_words,
        model=config.model.kind,
        baseline=config.baseline.kind,
        metrics=of.metric_rows(judged),
        detail=_detail(context, judged),
        splits=_splits(context, judged, inputs),
        counts=_counts(context, judged, inputs),
        facts=_facts(context, judged, inputs),
        per_cutoff=_per_cutoff(context, judged),
        spread=of.spread(judged),
        tuning=_tuning(context, model),
        training=_training(model),
        importance=_importance(model),
        permutation=_permutation(judged),
        examples=judged.examples,
        left_out=_left_out(model),
        notes=_notes(context, judged),
        config_yaml=_config_yaml(context),
    )


def _detail(context: Context, judged: "Judged") -> BinaryDetail | RankingDetail | RatingDetail:
    if judged.task.output == "binary":
        return binary_report.binary_detail(judged, context.config.decision)
    if judged.task.output == "rating":
        return rating_report.rating_detail(judged)
    return ranking_report.ranking_detail(judged)


def _splits(context: Context, judged: "Judged", inputs: Artifact) -> list[SplitRow]:
    timezone, counts = context.config.dataset.timezone, inputs.counts
    if judged.facts["leaks_time"]:
        return _own_items(inputs, timezone)
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


def _own_items(inputs: Artifact, timezone: str) -> list[SplitRow]:
    """Return what leave-one-out asks about, which has no cutoffs."""
    last = {"validation": "the second last item of each user", "test": "the last item of each user"}
    rows = {split: features.places_of(inputs, split, timezone)[0] for split in last}
    return [
        SplitRow(split, "each user's own", last[split], inputs.counts[f"{place}.rows"], None, None)
        for split, place in rows.items()
    ]


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
    rows += [CountRow("features", f"{s} rows", sum(n), notes[s]) for s, n in splits.items() if n]
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
        facts += binary_report.truth_facts(judged)
    elif judged.task.output == "rating":
        facts += rating_report.rating_facts(judged)
    else:
        facts += ranking_report.list_facts(judged)
    return [*facts, *_candidate_facts(judged)]


def _candidate_facts(judged: "Judged") -> list[tuple[str, str]]:
    if "candidates" not in judged.facts:
        return []
    n_true, n_asked, recall = (judged.facts["candidates"][k] for k in ("n_true_pairs", "n_asked", "recall"))
    share = "" if recall is None else f" ({100 * recall:.1f} %); the others were no candidates"
    return [("True pairs that were asked", f"{n_asked:,} of {n_true:,}{share}")]


def _per_cutoff(context: Context, judged: "Judged") -> Sequence[CutoffRow]:
    if len(judged.per_cutoff) < 2:
        return ()
    timezone = context.config.dataset.timezone
    return [
        CutoffRow(label(p["cutoff"], timezone), p["n_rows"], p["model"], p["baseline"])
        for p in judged.per_cutoff
    ]


def _tuning(context: Context, model: Artifact) -> Tuning | None:
    if "tuning" not in model.info:
        return None
    return tuning_content(model.info["tuning"], context.config.dataset.timezone)


def _training(model: Artifact) -> list[TrainedNet]:
    """Return how the nets of the judged model were trained; of several fits, those of the last one."""
    return [TrainedNet(**curves) for curves in model.info.get("training", {}).get("fitted", [])]


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
    notes = [] if judged.facts["leaks_time"] else [_GLOBAL]
    if judged.facts["n_fits"] > 1:
        averaged = ", and metrics are means over the test cutoffs" if judged.task.output == "binary" else ""
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
            "Items with equal scores stand in no order: metrics are what is expected over all orders of them."
        )
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
