"""A metric of the model beside its baseline, and the sentence that says which is better."""

import math
from dataclasses import dataclass
from typing import Literal

from ecbehave.report.numbers import Unit, decimals_for, difference_in_unit, in_unit, interval

Standing = Literal["better", "unclear", "worse", "undefined"]
"""How the model stands to its baseline; `unclear` when the interval of the difference contains zero."""


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval; `None`, also given as NaN, is not defined."""

    value: float | None = None
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        # A metric without a value is NaN in a table; the page has one word for it.
        for name in ("value", "low", "high"):
            number = getattr(self, name)
            if number is not None and not math.isfinite(number):
                object.__setattr__(self, name, None)

    @property
    def width(self) -> float | None:
        """Return high minus low, where both are defined."""
        return None if self.low is None or self.high is None else self.high - self.low

    def negated(self) -> "Interval":
        """Return the interval of the value with the other sign."""

        def minus(x: float | None) -> float | None:
            return None if x is None else -x

        return Interval(minus(self.value), minus(self.high), minus(self.low))


@dataclass(frozen=True)
class MetricRow:
    """One metric of the model beside its baseline."""

    name: str
    """The metric's key in `metrics.json`, e.g. `auroc`."""
    label: str
    """The metric's name for people, e.g. `AUROC`."""
    model: Interval
    baseline: Interval
    difference: Interval
    """Model minus baseline, in the metric's own direction, with its paired interval."""
    lower_is_better: bool = False
    unit: Unit = "ratio"
    group: str = ""
    """Heading under which the row stands in the table, e.g. `New items`."""
    note: str = ""
    """What else is to know of the metric, in a few words."""

    @property
    def improvement(self) -> Interval:
        """Return the difference with the sign turned so that above zero is better."""
        return self.difference.negated() if self.lower_is_better else self.difference

    @property
    def standing(self) -> Standing:
        """Return how the model stands to its baseline in this metric."""
        gain = self.improvement
        if self.model.value is None or self.baseline.value is None or gain.value is None:
            return "undefined"
        if gain.low is not None and gain.low > 0:
            return "better"
        if gain.high is not None and gain.high < 0:
            return "worse"
        return "unclear"

    @property
    def decimals(self) -> int:
        """Return the decimals of all numbers of the row: enough to see the difference."""
        return decimals_for(self.unit, self.difference.width)


@dataclass(frozen=True)
class Verdict:
    """The first line of the page."""

    standing: Standing
    text: str


def verdict(
    row: MetricRow, baseline: str, undefined_because: str = "the test rows hold one class only"
) -> Verdict:
    """Say in one sentence whether the model beats its baseline.

    Args:
        row: the metric that decides.
        baseline: kind of the baseline, e.g. `rfm`.
        undefined_because: why the metric has no value, for the case that it has none.
    """
    standing = row.standing
    if standing == "undefined":
        return Verdict(
            standing,
            f"The model cannot be compared with the baseline {baseline}: "
            f"{row.label} is not defined, because {undefined_because}.",
        )
    opening = {
        "better": "The model beats the baseline",
        "unclear": "The model does NOT clearly beat the baseline",
        "worse": "The model is worse than the baseline",
    }[standing]
    model, rule = (in_unit(side.value, row.unit, row.decimals) for side in (row.model, row.baseline))
    return Verdict(
        standing, f"{opening} {baseline}: {row.label} {model} against {rule}, {_by_how_much(row)}."
    )


def _by_how_much(row: MetricRow) -> str:
    gain = row.improvement
    is_loss = gain.value is not None and gain.value < 0
    shown = gain.negated() if is_loss else gain
    size = difference_in_unit(shown.value, row.unit, row.decimals)
    if size == difference_in_unit(0, row.unit, row.decimals):
        change = "no difference"
    else:
        change = f"{'worse' if is_loss else 'better'} by {size}"
    bounds = interval(shown.low, shown.high, row.unit, row.decimals)
    if not bounds:
        return f"{change} (without an interval)"
    zero = ", which contains zero" if row.standing == "unclear" else ""
    return f"{change} (95 % interval {bounds}{zero})"
