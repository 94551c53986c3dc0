"""Sections of the evaluation page about fits at several times: how metrics vary, and what tuning tried."""

from collections.abc import Sequence
from statistics import fmean

from ecbehave.report.content import OverCutoffs, SpreadRow, TrialRow, Tuning
from ecbehave.report.numbers import count, fixed, in_usual_unit, percent
from ecbehave.report.page import cell, paragraph, section, table

_DECIMALS = 4


def spread_table(rows: Sequence[SpreadRow], baseline: str) -> str:
    """Return the table of metrics over the test cutoffs, with a sentence on how to read it."""
    head = [
        "Metric",
        "#Mean",
        "#Deviation",
        "#Lowest",
        "#Highest",
        f"#Mean, baseline {baseline}",
        "#Better at",
    ]
    guide = paragraph(
        "Over the test cutoffs, each counting once. The deviation is the standard deviation from one cutoff to the "
        "next: what to expect of the next month, where the interval above is about the users who were asked. "
        "The last column counts the cutoffs at which the model is better than the baseline.",
        "muted",
    )
    return table(head, [("", [_spread_cells(row) for row in rows])]) + guide


def _spread_cells(row: SpreadRow) -> list[str]:
    numbers = (*_numbers(row.model, row), in_usual_unit(row.baseline.mean, row.unit))
    better = f"{row.n_better} of {row.model.n}"
    return [cell(row.label, css="strong"), *(cell(text, css="number") for text in (*numbers, better))]


def _numbers(over: OverCutoffs, row: SpreadRow) -> list[str]:
    return [in_usual_unit(value, row.unit) for value in (over.mean, over.deviation, over.low, over.high)]


def tuning_section(tuning: Tuning) -> str:
    """Return the section on the settings that were tried."""
    if tuning.best is None:
        return section(
            "tuning",
            "Tuning",
            paragraph("The time was up before any trial ended; the model is as configured."),
        )
    head = [
        "Trial",
        *(f"#{key}" for key in tuning.keys),
        f"#{tuning.metric}",
        *(f"#{o}" for o in tuning.origins),
    ]
    groups = [("Best: the model's", [_trial_cells(tuning.best)])]
    if tuning.given and tuning.given.number != tuning.best.number:
        groups.append(("As configured", [_trial_cells(tuning.given)]))
    if tuning.others:
        groups.append(("Next best", [_trial_cells(row) for row in tuning.others]))
    said = [_outcome(tuning), *([_what_mattered(tuning)] if tuning.importance else [])]
    return section("tuning", "Tuning", paragraph(" ".join(said)), table(head, groups), _guide(tuning))


def _trial_cells(row: TrialRow) -> list[str]:
    numbers = (*row.settings, *(fixed(value, _DECIMALS) for value in (fmean(row.scores), *row.scores)))
    return [cell(str(row.number), css="strong"), *(cell(text, css="number") for text in numbers)]


def _outcome(tuning: Tuning) -> str:
    others = [
        f"{count(n)} {what}"
        for n, what in ((tuning.n_pruned, "given up early"), (tuning.n_failed, "failed"))
        if n
    ]
    left_out = f" ({', '.join(others)})" if others else ""
    return f"{count(tuning.n_trials)} setting{'s' * (tuning.n_trials != 1)} tried{left_out}."


def _what_mattered(tuning: Tuning) -> str:
    shares = ", ".join(f"{key} {percent(share, 0)}" for key, share in tuning.importance)
    return f"Of the differences between them, these settings make so much: {shares}."


def _guide(tuning: Tuning) -> str:
    n = len(tuning.origins)
    at = f"at {n} cutoffs" if n > 1 else "at one cutoff"
    return paragraph(
        f"{tuning.metric} is judged {at} before the test windows, each time by a fit on what was known then. The best "
        "of many trials is partly the luckiest one: how good it really is, the test windows above say.",
        "muted",
    )
