"""What the decision brings: the section of the evaluation page on profit."""

from ecbehave.report.binary_content import BinaryDetail, Profit
from ecbehave.report.compared import Interval
from ecbehave.report.numbers import count, money
from ecbehave.report.page import cell, paragraph, section, table


def profit_section(profit: Profit, detail: BinaryDetail) -> str:
    """Return what the targeted rows brought, beside what was promised and what other choices would have brought."""
    rows = [
        _row(
            "The model's choice", f"{count(profit.n_targeted)} of {count(detail.n_rows)} rows", profit.model
        ),
        _row("The baseline's choice", "", profit.baseline),
        _row("Difference", "model minus baseline", profit.difference),
        _row("All rows", "", Interval(profit.everybody)),
    ]
    sentence = (
        f"By its probabilities the model promised {money(profit.expected)} from the rows that it targets; they would "
        f"have brought {_with_bounds(profit.model)}."
    )
    guide = (
        "On all test rows, in the shop's currency: success_rate x value for each targeted row that turned out "
        "positive, minus cost for each targeted row. What targeting really changes is not in a log: "
        "decision.control_share measures it."
    )
    return section(
        "profit",
        "What the decision brings",
        paragraph(sentence),
        table(["Targeted", "#Profit"], [("", rows)], "narrow"),
        paragraph(guide, "muted"),
    )


def _row(name: str, small: str, value: Interval) -> list[str]:
    return [cell(name, small), cell(money(value.value), _bounds(value), css="number")]


def _bounds(value: Interval) -> str:
    return "" if value.low is None else f"{money(value.low)} to {money(value.high)}"


def _with_bounds(value: Interval) -> str:
    bounds = _bounds(value)
    return f"{money(value.value)} (95 % interval {bounds})" if bounds else money(value.value)
