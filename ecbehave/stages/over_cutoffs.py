"""The metrics of a model and its baseline from one test cutoff to the next, for `metrics.json` and the report."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from ecbehave.metrics.spread import OverTime, Values, over_time
from ecbehave.report.content import OverCutoffs, SpreadRow
from ecbehave.report.numbers import Unit

#: The metrics of one side (the model, or its baseline), cutoff by cutoff.
Side = Sequence[Values]


def per_cutoff(
    cutoffs: Mapping[Any, pl.DataFrame], sides: Sequence[Side], headline: str
) -> list[dict[str, Any]]:
    """Return the metrics of the model and of its baseline at each test cutoff.

    Args:
        cutoffs: cutoff to the rows that were judged there.
        sides: the model's metrics, and the baseline's.
        headline: the metric that decides.
    """
    return [
        {
            "cutoff": cutoff,
            "n_rows": rows.height,
            "model": model[headline],
            "baseline": baseline[headline],
            "metrics": model,
            "baseline_metrics": baseline,
        }
        for (cutoff, rows), model, baseline in zip(cutoffs.items(), *sides, strict=True)
    ]


def over_time_facts(n_fits: int, sides: Sequence[Side]) -> dict[str, Any]:
    """Return how many fits were judged, and the spread of each metric; no spread where there is one cutoff."""
    return {"n_fits": n_fits, "over_time": over_time(*sides) if len(sides[0]) > 1 else {}}


def on_one_scale(rows: pl.DataFrame, n_fits: int) -> pl.DataFrame:
    """Return rows that may be sorted by score together: of several fits, by the calibrated probability."""
    if n_fits == 1:
        return rows
    return rows.with_columns(score="probability", baseline_score="baseline_probability")


def spread_rows(
    found: Mapping[str, OverTime], names: Sequence[str], labels: Mapping[str, tuple[str, Unit]]
) -> list[SpreadRow]:
    """Return the rows of the report's table.

    Args:
        found: what `over_time_facts` says of each metric.
        names: metrics to show, in order.
        labels: metric to its words and unit.
    """
    if not found:
        return []
    return [
        SpreadRow(
            labels[name][0],
            OverCutoffs(**found[name]["model"]),
            OverCutoffs(**found[name]["baseline"]),
            found[name]["n_better"],
            labels[name][1],
        )
        for name in names
    ]
