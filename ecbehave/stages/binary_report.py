"""What the evaluation page says of a yes-or-no task."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ecbehave.config.decision import DecisionConfig, ProfitDecision
from ecbehave.metrics.classification import gains, precision_recall_curve, reliability, roc_curve
from ecbehave.report.binary_content import (
    BinaryDetail,
    CalibrationBin,
    Confusion,
    Curve,
    DecileRow,
    Profit,
    ScoreHistogram,
    SegmentRow,
)
from ecbehave.report.compared import Interval, MetricRow
from ecbehave.report.content import SpreadRow
from ecbehave.report.numbers import fixed
from ecbehave.schema import TARGETS
from ecbehave.stages.decide import money_of
from ecbehave.stages.metric_words import BINARY_LABELS, metric_row
from ecbehave.stages.over_cutoffs import on_one_scale, spread_rows

if TYPE_CHECKING:
    from ecbehave.stages.judged import Judged

_POSITIVES = {
    "churn": ("churners", "stayers"),
    "purchase": ("buyers", "non-buyers"),
    "pairs": ("bought pairs", "other pairs"),
}


def metric_rows(judged: "Judged") -> list[MetricRow]:
    """Return the metrics of the table, each with what else is to know of it."""
    chance, remains = (judged.facts["calibration"]["model"][key] for key in ("chance", "at_known_rates"))
    note = f"chance alone gives up to {fixed(chance)}; {fixed(remains)} remains once each cutoff's base rate is known"
    notes = {"calibration_error": note}
    return [replace(metric_row(judged.comparison, name), note=notes.get(name, "")) for name in BINARY_LABELS]


def spread(judged: "Judged") -> list[SpreadRow]:
    """Return the metrics of the table over the test cutoffs."""
    return spread_rows(judged.facts["over_time"], list(BINARY_LABELS), BINARY_LABELS)


def binary_detail(judged: "Judged", decision: DecisionConfig) -> BinaryDetail:
    """Return the plots and tables of the scores and probabilities."""
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


def truth_facts(judged: "Judged") -> list[tuple[str, str]]:
    """Return how far the model gets, where the true probabilities are known."""
    if "truth" not in judged.facts:
        return []
    numbers = ("auroc", "share_reached", "baseline_share_reached")
    best, share, rule = (judged.facts["truth"][name] for name in numbers)
    if best is None or share is None:
        return [("AUROC of the true probabilities", "not defined, or no better than chance")]
    text = f"{best:.3f}; the model gets {share:.1%} of the way there from chance, the baseline {rule:.1%}"
    return [("AUROC of the true probabilities", text.replace("%", " %"))]
