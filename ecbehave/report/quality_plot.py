"""The plot of the data quality page: an event type's rows per day, beside what is usual."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from ecbehave.report.chart import Axis, Chart, Role, nice_ceiling
from ecbehave.report.numbers import count
from ecbehave.report.quality_content import Change, Gap, Volume

_WIDTH = 900
_MOST_TICKS = 10
_LONGEST_BY_DAY = 62
_STEPS = (1, 2, 3, 6, 12, 24, 60, 120, 240, 600)
"""Months between ticks."""


@dataclass(frozen=True)
class DayAxis(Axis):
    """Days, counted from `start`; ticks stand at the start of months, or at days of a short log."""

    start: date = date.min
    n_days: int = 1

    def ticks(self) -> list[tuple[float, str]]:
        """Return position and text of every tick."""
        if self.n_days <= _LONGEST_BY_DAY:
            step = -(-self.n_days // (_MOST_TICKS - 1))
            return [(i, f"{self.start + timedelta(days=i)}") for i in range(0, self.n_days, step)]
        last = self.start + timedelta(days=self.n_days - 1)
        # The first month start on or after the axis' own.
        first = _month_number(self.start) + (self.start.day > 1)
        n_months = _month_number(last) - first + 1
        step = next(s for s in _STEPS if n_months <= _MOST_TICKS * s)
        months = range(-(-first // step) * step, _month_number(last) + 1, step)
        starts = [date(m // 12, m % 12 + 1, 1) for m in months]
        return [((day - self.start).days, f"{day:%Y-%m}") for day in starts]


def _month_number(day: date) -> int:
    return day.year * 12 + day.month - 1


def volume_plot(
    volume: Volume, first_day: date, begins: date, gaps: Sequence[Gap], changes: Sequence[Change]
) -> str:
    """Draw rows per day and what is usual, with gaps and sudden changes marked.

    Args:
        volume: rows of a type, one per day from `first_day` on.
        first_day: the log's first day.
        begins: where the plot starts.
        gaps: of that type.
        changes: of that type.
    """
    skipped = (begins - first_day).days
    rows, usual = volume.rows[skipped:], volume.usual[skipped:]
    known = [(i, u) for i, u in enumerate(usual) if u is not None]
    legend: list[tuple[str, Role]] = [("events", "model")]
    if known:
        legend.append(("usual", "baseline"))
    if gaps or changes:
        legend.append(("gap or sudden change", "positives"))
    high = nice_ceiling(max([*rows, *(u for _, u in known), 1]))
    chart = Chart(
        f"{volume.event_type} per day",
        f"Events of type {volume.event_type} per day.",
        DayAxis("", str, high=max(1, len(rows) - 1), start=begins, n_days=len(rows)),
        Axis("Events", lambda v: f"{v:,.10g}", high=high),
        legend,
        left=76,
        right=44,
        height=230,
        bottom=34,
        width=_WIDTH,
    )
    marks = [chart.line([i for i, _ in known], [u for _, u in known], "baseline")] if known else []
    marks.append(chart.line(range(len(rows)), rows, "model"))
    if len(rows) == 1:  # no line yet
        marks.append(chart.point(0, rows[0], "model", count(rows[0])))
    for gap in gaps:
        start = (gap.start - begins).days
        hint = f"no event from {gap.start} to {gap.end}" if gap.days > 1 else f"no event on {gap.start}"
        marks.append(chart.bar((start - 0.5, start + gap.days - 0.5), (0, high / 40), "positives", hint))
    for change in changes:
        hint = f"{change.day}: {count(change.rows)} instead of {change.usual:,.0f}"
        marks.append(chart.point((change.day - begins).days, change.rows, "positives", hint))
    return chart.svg(marks)
