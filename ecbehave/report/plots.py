"""The plots of the evaluation page: pure functions from content to SVG text.

Curves come with the model first and the baseline second.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

from ecbehave.report.binary_content import CalibrationBin, Curve, Profit, ScoreHistogram
from ecbehave.report.chart import Axis, Chart, Role, nice_ceiling
from ecbehave.report.compared import Interval
from ecbehave.report.numbers import count, in_usual_unit, money, percent, significant
from ecbehave.report.ranking_content import BarAtK, RankingPlot

_ROLES: tuple[Role, ...] = ("model", "baseline")
_LONGEST_NAME = 32
_N_FEATURES = 20
#: Share of the mean number of rows of a bin below which it is not drawn.
_FEWEST_OF_BIN = 0.1


def _share(value: float) -> str:
    return f"{value * 100:.3g} %"


def roc(curves: Sequence[Curve]) -> str:
    """Draw true against false positive rates, with the diagonal of guessing."""
    chart = Chart(
        "ROC curve",
        "True positive rate against false positive rate, at every threshold.",
        Axis("False positive rate", _share),
        Axis("True positive rate", _share),
        [*_legend(curves), ("guessing", "reference")],
    )
    return chart.svg([chart.line([0, 1], [0, 1], "reference"), *_lines(chart, curves)])


def precision_recall(curves: Sequence[Curve], base_rate: float) -> str:
    """Draw precision against recall, with the base rate that guessing reaches."""
    chart = Chart(
        "Precision and recall",
        f"Precision against recall, at every threshold; the base rate is {percent(base_rate)}.",
        Axis("Recall", _share),
        Axis("Precision", _share),
        [*_legend(curves), (f"base rate {percent(base_rate)}", "reference")],
    )
    return chart.svg([chart.line([0, 1], [base_rate, base_rate], "reference"), *_lines(chart, curves)])


def gains(curves: Sequence[Curve], base_rate: float) -> str:
    """Draw the share of positives found against the share of rows taken, highest scores first."""
    chart = Chart(
        "Cumulative gains",
        "Share of all positives found, against the share of rows taken by descending score.",
        Axis("Share of rows, highest scores first", _share),
        Axis("Share of positives found", _share),
        [*_legend(curves), ("perfect", "perfect"), ("at random", "reference")],
    )
    perfect = chart.line([0, base_rate, 1], [0, 1, 1], "perfect")
    return chart.svg([chart.line([0, 1], [0, 1], "reference"), perfect, *_lines(chart, curves)])


def profit(found: Profit, n_rows: int) -> str:
    """Draw what targeting brings against the share of rows that are targeted, with what was chosen."""
    values = [y for curve in found.curves for y in curve.y]
    low, high = -nice_ceiling(-min(0.0, *values)) if min(values) < 0 else 0.0, nice_ceiling(max(0.0, *values))
    chart = Chart(
        "Profit",
        "Profit of targeting the highest scores, against the share of rows that are targeted.",
        Axis("Share of rows targeted, highest scores first", _share),
        Axis("Profit, in the shop's currency", lambda v: f"{v:,.10g}", low=low, high=high),
        [*_legend(found.curves), ("nobody targeted", "reference")],
        left=84,
    )
    share = found.n_targeted / n_rows
    marks = [chart.line([0, 1], [0, 0], "reference"), *_lines(chart, found.curves)]
    if found.model.value is not None:
        hint = f"{percent(share)} of the rows bring {money(found.model.value)}"
        marks.append(chart.point(share, found.model.value, "model", hint))
    return chart.svg(marks)


def calibration(bins: Sequence[CalibrationBin]) -> str:
    """Draw the observed rate against the mean probability of each bin, with 95 % binomial error bars."""
    # A tie may leave a few rows to a bin, whose interval would fill the plot and say nothing.
    fewest = _FEWEST_OF_BIN * sum(b.n_rows for b in bins) / len(bins)
    bins = [b for b in bins if b.n_rows >= fewest]
    bounds = [wilson(b.observed_rate, b.n_rows) for b in bins]
    high = nice_ceiling(max([b.mean_probability for b in bins] + [high for _, high in bounds]))
    chart = Chart(
        "Calibration",
        "Observed rate against predicted probability, by bins of the probability.",
        Axis("Predicted probability (mean of bin)", _share, high=high),
        Axis("Observed rate", _share, high=high),
        [("model, with 95 % interval", "model"), ("perfect calibration", "reference")],
    )
    marks = [chart.line([0, high], [0, high], "reference")]
    marks.append(chart.line([b.mean_probability for b in bins], [b.observed_rate for b in bins], "model"))
    for b, (low, top) in zip(bins, bounds, strict=True):
        predicted, observed = percent(b.mean_probability), percent(b.observed_rate)
        hint = f"predicted {predicted}, observed {observed}, {count(b.n_rows)} rows"
        marks += [
            chart.whisker(b.mean_probability, low, top),
            chart.point(b.mean_probability, b.observed_rate, "model", hint),
        ]
    return chart.svg(marks)


def wilson(rate: float, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a binomial rate seen in `n` rows.

    Source: E. B. Wilson (1927), Probable inference, the law of succession, and statistical inference.
    """
    z = 1.959964
    middle = (rate + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * math.sqrt(rate * (1 - rate) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return max(0.0, middle - half), min(1.0, middle + half)


def scores(histogram: ScoreHistogram, positives: str, negatives: str) -> str:
    """Draw how the scores of each class are spread, each class as shares of itself."""
    shares = {
        role: [n / max(1, sum(counts)) for n in counts]
        for role, counts in (("negatives", histogram.negatives), ("positives", histogram.positives))
    }
    edges = histogram.edges
    chart = Chart(
        "Score distribution",
        f"Share of {positives} and of {negatives} by score.",
        Axis("Score", lambda v: f"{v:.3g}", low=edges[0], high=edges[-1]),
        Axis("Share of the group", _share, high=nice_ceiling(max(map(max, shares.values())))),
        [(negatives, "negatives"), (positives, "positives")],
    )
    steps_x = [edge for pair in pairwise(edges) for edge in pair]
    marks = []
    for role in ("negatives", "positives"):
        steps_y = [share for share in shares[role] for _ in range(2)]
        marks += [chart.area(steps_x, steps_y, role), chart.line(steps_x, steps_y, role)]
    return chart.svg(marks)


def importance(features: Sequence[tuple[str, float]]) -> str:
    """Draw the most important features as horizontal bars, the largest on top."""
    top = sorted(features, key=lambda f: (-f[1], f[0]))[:_N_FEATURES]
    names = [_shortened(name) for name, _ in top]
    values = [value for _, value in top]
    n = len(top)
    chart = Chart(
        "Feature importance",
        f"The {n} most important of {count(len(features))} features.",
        Axis(
            "Importance", lambda v: f"{v:.3g}", low=min(0, *values), high=nice_ceiling(max(values)), n_steps=3
        ),
        # Rows count upwards on the axis, so the first name goes to the top end.
        Axis("", str, high=n, names=names[::-1]),
        left=12 + 6.6 * max(map(len, names)),
        right=52,
        height=72 + 21 * n,
    )
    marks = []
    for i, (name, value) in enumerate(top):
        row = n - 1 - i
        hint = f"{name}: {significant(value)}"
        marks += [
            chart.bar((0, value), (row + 0.15, row + 0.85), "model", hint),
            chart.note(max(0, value), row + 0.5, significant(value)),
        ]
    return chart.svg(marks)


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def ranking(plot: RankingPlot, names: tuple[str, str]) -> str:
    """Draw one metric of model and baseline as bars at every k, with error bars; `names` are theirs."""
    sides = [(i, side) for i, bar in enumerate(plot.bars) for side in _sides(bar)]
    highest = max((max(v.value or 0, v.high or 0) for _, (_, v) in sides), default=0)
    chart = Chart(
        f"{plot.label} at k",
        f"{plot.label} of {names[0]} and {names[1]}, by the length k of the list.",
        Axis("Length of the list", str, high=len(plot.bars), names=[f"k = {bar.k}" for bar in plot.bars]),
        Axis(
            plot.label, _share if plot.unit == "percent" else lambda v: f"{v:.3g}", high=nice_ceiling(highest)
        ),
        list(zip(names, _ROLES, strict=True)),
        swatch="bar",
    )
    marks = []
    for i, (role, v) in sides:
        if v.value is None:
            continue
        start = i + (0.16 if role == "model" else 0.51)
        marks.append(
            chart.bar(
                (start, start + 0.33), (0, v.value), role, f"{role}: {in_usual_unit(v.value, plot.unit)}"
            )
        )
        if v.low is not None and v.high is not None:
            marks.append(chart.whisker(start + 0.165, v.low, v.high))
    return chart.svg(marks)


def _legend(curves: Sequence[Curve]) -> list[tuple[str, Role]]:
    return [(curve.name, role) for curve, role in zip(curves, _ROLES, strict=False)]


def _lines(chart: Chart, curves: Sequence[Curve]) -> list[str]:
    # The baseline first, so that the model lies on top of it.
    drawn = [chart.line(c.x, c.y, role) for c, role in zip(curves, _ROLES, strict=False)]
    return drawn[::-1]


def _sides(bar: BarAtK) -> list[tuple[Role, Interval]]:
    return [("model", bar.model), ("baseline", bar.baseline)]
