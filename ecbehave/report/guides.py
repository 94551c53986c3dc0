"""One sentence under each plot that says how to read it, with the page's own numbers."""

from collections.abc import Sequence

import numpy as np

from ecbehave.report.binary_content import BinaryDetail, Curve, Profit
from ecbehave.report.numbers import fixed, in_usual_unit, money, percent
from ecbehave.report.ranking_content import RankingPlot

_SHARE = 0.1
_RECALL = 0.5


def roc(curves: Sequence[Curve], detail: BinaryDetail) -> str:
    """Guide through the ROC curve at one false positive rate."""
    return (
        f"When {percent(_SHARE, 0)} of the {detail.negatives} are flagged by mistake, the model finds "
        f"{percent(_at(curves[0], _SHARE))} of the {detail.positives}{_baseline(curves, _SHARE)}; "
        f"guessing finds {percent(_SHARE, 0)}."
    )


def precision_recall(curves: Sequence[Curve], detail: BinaryDetail) -> str:
    """Guide through the precision-recall curve at one recall."""
    return (
        f"Flagged so that half of the {detail.positives} are found, {percent(_at(curves[0], _RECALL))} of "
        f"the flagged are {detail.positives}{_baseline(curves, _RECALL)}; among all rows it is "
        f"{percent(detail.base_rate)}."
    )


def gains(curves: Sequence[Curve], detail: BinaryDetail) -> str:
    """Guide through the gains curve at one share of rows."""
    return (
        f"The {percent(_SHARE, 0)} with the highest scores hold {percent(_at(curves[0], _SHARE))} of all "
        f"{detail.positives}{_baseline(curves, _SHARE)}; picked at random they would hold "
        f"{percent(_SHARE, 0)}."
    )


def calibration(detail: BinaryDetail) -> str:
    """Guide through the calibration plot with the means over all rows."""
    n = sum(b.n_rows for b in detail.calibration)
    predicted = sum(b.mean_probability * b.n_rows for b in detail.calibration) / n
    observed = sum(b.observed_rate * b.n_rows for b in detail.calibration) / n
    text = (
        f"On the dotted line a probability can be taken at its word; over all rows the model expects "
        f"{percent(predicted)} {detail.positives}, and {percent(observed)} were seen."
    )
    if detail.calibration_error is None or detail.calibration_chance is None:
        return text
    is_chance = detail.calibration_error <= detail.calibration_chance
    return (
        f"{text} The calibration error is {fixed(detail.calibration_error)}; chance alone gives up to "
        f"{fixed(detail.calibration_chance)}{'' if is_chance else ', so it is more than chance'}."
    )


def scores(detail: BinaryDetail) -> str:
    """Guide through the score distribution."""
    return (
        f"The less the two shapes overlap, the better the score tells {detail.positives} from "
        f"{detail.negatives}; each shape adds up to 100 % of its own group."
    )


def profit(found: Profit, detail: BinaryDetail) -> str:
    """Guide through the profit curve at its highest point and at the chosen one."""
    curve = found.curves[0]
    best = int(np.argmax(curve.y))
    return (
        f"The dot is what was targeted: {percent(found.n_targeted / detail.n_rows)} of the rows. Looking back, "
        f"{percent(curve.x[best])} would have brought most, {money(curve.y[best])}; nobody could have known that."
    )


def ranking(plot: RankingPlot, model: str, baseline: str) -> str:
    """Guide through a bar plot at the longest list."""
    last = plot.bars[-1]
    ours, theirs = (in_usual_unit(side.value, plot.unit) for side in (last.model, last.baseline))
    return (
        f"With {last.k} items per list, {plot.label} is {ours} for {model} and {theirs} for {baseline}; "
        "whiskers are 95 % intervals."
    )


def _baseline(curves: Sequence[Curve], x: float) -> str:
    if len(curves) < 2:
        return ""
    return f" ({curves[1].name}: {percent(_at(curves[1], x))})"


def _at(curve: Curve, x: float) -> float:
    order = np.argsort(curve.x, kind="stable")
    return float(np.interp(x, np.asarray(curve.x)[order], np.asarray(curve.y)[order]))
