"""What the evaluation page shows of a ranking task: its plots, as plain frozen data."""

from collections.abc import Sequence
from dataclasses import dataclass

from ecbehave.report.compared import Interval
from ecbehave.report.numbers import Unit


@dataclass(frozen=True)
class BarAtK:
    """One metric of the ranking at one length of the list."""

    k: int
    model: Interval
    baseline: Interval


@dataclass(frozen=True)
class RankingPlot:
    """One metric of the ranking, e.g. `NDCG`, at every k."""

    label: str
    bars: Sequence[BarAtK]
    unit: Unit = "ratio"


@dataclass(frozen=True)
class RankingDetail:
    """Plots of a ranking task."""

    plots: Sequence[RankingPlot]
