"""What the page says of metrics over time, and of what tuning tried."""

import html
import re
from dataclasses import replace

import pytest

from ecbehave.report.content import OverCutoffs, Report, SpreadRow, TrialRow, Tuning
from ecbehave.report.html import render
from ecbehave.report.over_time import spread_table, tuning_section

SPREAD = [
    SpreadRow(
        "AUROC", OverCutoffs(4, 0.7512, 0.0123, 0.7401, 0.7689), OverCutoffs(4, 0.7, 0.01, 0.69, 0.71), 3
    ),
    SpreadRow(
        "Precision",
        OverCutoffs(3, 0.5, None, 0.5, 0.5),
        OverCutoffs(0, None, None, None, None),
        0,
        unit="percent",
    ),
]
BEST = TrialRow(7, ("0.0312", "15"), (0.76, 0.74))
GIVEN = TrialRow(1, ("0.1", "7"), (0.75, 0.73))
OTHER = TrialRow(12, ("<b>", "9"), (0.755, 0.735))
TUNING = Tuning(
    "AUROC", ("2024-03-01", "2024-02-15"), ("learning_rate", "leaves"), 50, 1200, 3, BEST, GIVEN, [OTHER]
)


def rows_of(text: str) -> list[list[str]]:
    """The cells of each row of all tables, header first."""
    rows = re.findall(r"<tr>(.*?)</tr>", text, re.DOTALL)
    return [[words(cell) for cell in re.findall(r"<t[hd].*?>(.*?)</t[hd]>", row)] for row in rows]


def words(text: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).replace("\u00a0", " ").split())


def test_the_spread_by_row() -> None:
    assert rows_of(spread_table(SPREAD, "rfm")) == [
        ["Metric", "Mean", "Deviation", "Lowest", "Highest", "Mean, baseline rfm", "Better at"],
        ["AUROC", "0.751", "0.012", "0.740", "0.769", "0.700", "3 of 4"],
        ["Precision", "50.0 %", "n/a", "50.0 %", "50.0 %", "n/a", "0 of 3"],
    ]
    assert "each counting once" in words(spread_table(SPREAD, "rfm"))


def test_trials_by_row() -> None:
    text = tuning_section(TUNING)
    assert rows_of(text) == [
        ["Trial", "learning_rate", "leaves", "AUROC", "2024-03-01", "2024-02-15"],
        ["Best: the model's"],
        ["7", "0.0312", "15", "0.7500", "0.7600", "0.7400"],
        ["As configured"],
        ["1", "0.1", "7", "0.7400", "0.7500", "0.7300"],
        ["Next best"],
        ["12", "<b>", "9", "0.7450", "0.7550", "0.7350"],
    ]
    assert "50 settings tried (1,200 given up early, 3 failed)." in words(text)
    assert "AUROC is judged at 2 cutoffs before the test windows" in words(text)
    assert "<b>" not in text, "text is escaped"
    assert "settings make so much" not in words(text)


def test_which_settings_mattered() -> None:
    text = tuning_section(replace(TUNING, importance=[("leaves", 0.716), ("learning_rate", 0.284)]))
    assert (
        "3 failed). Of the differences between them, these settings make so much: leaves 72 %, learning_rate 28 %."
    ) in words(text)


def test_trials_where_the_config_is_best_already() -> None:
    only = replace(
        TUNING,
        best=GIVEN,
        origins=("2024-03-01",),
        n_trials=1,
        n_pruned=0,
        n_failed=0,
        others=(),
    )
    text = tuning_section(only)
    assert rows_of(text)[1:] == [["Best: the model's"], ["1", "0.1", "7", "0.7400", "0.7500", "0.7300"]]
    assert "1 setting tried." in words(text)
    assert "judged at one cutoff" in words(text)


def test_trials_where_the_config_itself_failed() -> None:
    assert ["As configured"] not in rows_of(tuning_section(replace(TUNING, given=None)))


def test_no_trial_in_time() -> None:
    text = tuning_section(replace(TUNING, best=None))
    assert rows_of(text) == []
    assert "The time was up before any trial ended; the model is as configured." in words(text)


@pytest.mark.parametrize("name", ["binary_report", "ranking_report"])
def test_the_page_has_both_where_there_are_any(name: str, request: pytest.FixtureRequest) -> None:
    report: Report = request.getfixturevalue(name)
    assert 'id="tuning"' not in render(report)
    cutoffs = [*report.per_cutoff]
    text = render(replace(report, tuning=TUNING, spread=SPREAD))
    assert text.count('id="tuning"') == 1
    assert ("Deviation" in text) == bool(cutoffs)
