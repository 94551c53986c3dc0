"""The data quality page: what came in, what was refused, and what a person should look at."""

from collections.abc import Sequence
from datetime import datetime

from ecbehave.report.numbers import count
from ecbehave.report.page import (
    cell,
    definitions,
    figure,
    key_figures,
    page,
    paragraph,
    prose,
    section,
    table,
)
from ecbehave.report.quality_content import (
    Change,
    ColumnQuality,
    Finding,
    Gap,
    Quality,
    SourceQuality,
    share_of,
)
from ecbehave.report.quality_plot import volume_plot

_MOST_PLOTS = 12
_MOST_VALUES = 6
_TITLE = "Data quality of the event log"


def render(report: Quality) -> str:
    """Return the page: one HTML document, the same bytes for the same report."""
    sections = [
        _verdict(report),
        key_figures(_tiles(report)),
        _findings(report.findings),
        _volumes(report),
        *([_days(report)] if report.gaps or report.changes else []),
        _sources(report),
        *(_columns(source, i) for i, source in enumerate(report.sources)),
        _refused(report),
        *([_bots(report)] if report.bots else []),
        *([_outliers(report)] if report.outliers else []),
        _limits(report),
    ]
    return page(_TITLE, "\n".join(sections))


def _verdict(report: Quality) -> str:
    n_failed, n = len(report.failures), len(report.findings)
    standing = "worse" if n_failed else "unclear" if n else "better"
    files = f"{count(report.files)} file{'s' * (report.files != 1)}"
    refused = f"{count(report.refused)} refused"
    if report.refused:
        refused += f" ({share_of(report.refused, report.rows)})"
    duplicates = f"{count(report.duplicates)} exact duplicate{'s' * (report.duplicates != 1)}"
    counted = f"{count(report.rows)} rows of {files}: {refused}, {duplicates}"
    end = f"{n} thing{'s' * (n != 1)} to look at" if n else "nothing to look at"
    if n_failed:
        end += f", {n_failed} of them over a limit"
    days = f", from {report.begins} to {report.last_day}" if report.begins else ""
    return (
        f'<header id="verdict" class="verdict {standing}">\n<h1>{prose(f"{counted}; {end}.")}</h1>\n'
        f"{paragraph(f'{_TITLE}{days}')}\n</header>"
    )


def _tiles(report: Quality) -> list[tuple[str, str, str]]:
    late = sum(source.late for source in report.sources)
    return [
        ("Clean rows", count(report.clean), f"{share_of(report.clean, report.rows)} of what came in"),
        ("Refused", count(report.refused), f"{share_of(report.refused, report.rows)}, kept in quarantine"),
        (
            "Exact duplicates",
            count(report.duplicates),
            f"{share_of(report.duplicates, report.rows)}, dropped",
        ),
        (
            "Late rows",
            count(late),
            f"{share_of(late, report.rows)}, by more than {report.late_after}; kept",
        ),
    ]


def _findings(findings: Sequence[Finding]) -> str:
    if not findings:
        return section("findings", "What to look at", paragraph("Nothing is out of the ordinary.", "muted"))
    lines = "".join(map(_finding, findings))
    guide = ""
    if any(f.is_failure for f in findings):
        guide = paragraph("✕ exceeds a limit of clean.quality, so clean has failed.", "muted")
    return section("findings", "What to look at", f'<ul class="findings">{lines}</ul>', guide)


def _finding(finding: Finding) -> str:
    css, mark = ("worse", "✕") if finding.is_failure else ("unclear", "○")
    words = "".join(f"<p>{prose(text)}.</p>" for text in (finding.text, _capital(finding.remedy)))
    return f'<li class="{css}"><b>{mark}</b><div>{words}</div></li>'


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _volumes(report: Quality) -> str:
    if report.first_day is None or report.begins is None:
        return section("volumes", "Events per day", paragraph("No event is left.", "muted"))
    figures = []
    for of_type in report.volumes[:_MOST_PLOTS]:
        gaps = [g for g in report.gaps if g.event_type == of_type.event_type]
        changes = [c for c in report.changes if c.event_type == of_type.event_type]
        svg = volume_plot(of_type, report.first_day, report.begins, gaps, changes)
        total = sum(of_type.rows)
        guide = f"{count(total)} events, {share_of(total, report.clean)} of the clean log."
        figures.append(figure(of_type.event_type, svg, guide))
    others = len(report.volumes) - len(figures)
    notes = [
        "Clean events by local day. Usual is the median of the same weekday in the four weeks before.",
        *([f"{others} rarer event types are not drawn; quality.json has them."] if others else []),
    ]
    return section(
        "volumes",
        "Events per day",
        f'<div class="series">\n{"".join(figures)}\n</div>',
        paragraph(" ".join(notes), "muted"),
    )


def _days(report: Quality) -> str:
    gaps = [_gap_cells(g) for g in sorted(report.gaps, key=lambda g: (g.start, g.event_type))]
    changes = [_change_cells(c) for c in report.changes]
    guide = (
        "A day counts as a gap where a type has no event although it comes on at least three of four such "
        "weekdays. A change is a day with several times more or fewer events than usual, beyond what chance "
        "does; the day that is furthest off is shown. The log's first day is not judged, nor its last one while "
        "its files may still come."
    )
    return section(
        "days",
        "Gaps and sudden changes",
        table(
            ["Events", "Days", "#Rows", "#Usual", "#Factor"],
            [("Gaps", gaps)] * bool(gaps) + [("Sudden changes", changes)] * bool(changes),
        ),
        paragraph(guide, "muted"),
    )


def _gap_cells(gap: Gap) -> list[str]:
    days = f"{gap.days} day{'s' * (gap.days > 1)}{', to the end of the log' if gap.is_open else ''}"
    when = f"{gap.start}" if gap.days == 1 else f"{gap.start} to {gap.end}"
    return [cell(gap.event_type), cell(when, days), cell("0", css="number"), cell(""), cell("")]


def _change_cells(change: Change) -> list[str]:
    more = "more" if change.rows > change.usual else "fewer"
    run = "" if change.start == change.end else f"of {change.start} to {change.end}"
    numbers = (count(change.rows), f"{change.usual:,.0f}", f"{change.factor:,.1f}x {more}")
    return [
        cell(change.event_type),
        cell(f"{change.day}", run),
        *(cell(text, css="number") for text in numbers),
    ]


def _sources(report: Quality) -> str:
    head = ["Source", "#Files", "#Rows", "#Refused", "#Exact duplicates", "#Late"]
    rows = [
        [
            cell(s.path, s.key, css="text"),
            cell(count(s.files), css="number"),
            cell(count(s.rows), css="number"),
            *(_part(n, s.rows) for n in (s.refused, s.duplicates, s.late)),
        ]
        for s in report.sources
    ]
    how = [
        f"more than {report.late_after} after their time" * any(s.has_received_at for s in report.sources),
        f"more than {report.late_after} behind the days that earlier files reach to"
        * any(not s.has_received_at for s in report.sources),
    ]
    guide = f"Late rows came {', or '.join(filter(None, how))}. They are kept." if rows else ""
    return section("sources", "Sources", table(head, [("", rows)]), paragraph(guide, "muted"))


def _columns(source: SourceQuality, i: int) -> str:
    head = ["Column", "Values", "#Missing", "#Unreadable", "#Smallest", "#Largest"]
    rows = [
        [
            cell(c.name, css="strong"),
            cell(_values(c), css="text"),
            *(_part(n, source.rows) for n in (c.nulls, c.unparsed)),
            *(cell(_bound(c, bound), css="number") for bound in (c.low, c.high)),
        ]
        for c in source.columns
    ]
    guide = (
        "Over all rows, refused ones too. Missing includes what could not be read. Of a text, the bounds are its "
        "length in characters. Times are in UTC."
    )
    return section(
        f"columns{i}", f"Columns of {source.path}", table(head, [("", rows)]), paragraph(guide, "muted")
    )


def _part(n: int, whole: int) -> str:
    return cell(count(n), share_of(n, whole) if n else "", css="number")


def _bound(column: ColumnQuality, bound: float | str | None) -> str:
    if bound is None:
        return ""
    if column.kind == "time":
        return f"{datetime.fromisoformat(str(bound)):%Y-%m-%d %H:%M}"
    if column.kind == "text":
        return f"{bound:,} character{'s' * (bound != 1)}"
    return f"{bound:,.10g}"


def _values(column: ColumnQuality) -> str:
    if column.kind != "text":
        return ""
    if column.values is None:
        return "many"
    others = len(column.values) - _MOST_VALUES
    shown = [value or "(empty)" for value in column.values[:_MOST_VALUES]]
    return ", ".join(shown) + (f" and {others} more" if others > 0 else "")


def _refused(report: Quality) -> str:
    if not report.refused_rules:
        return section("refused", "Refused rows", paragraph("No row was refused.", "muted"))
    rows = [
        [
            cell(r.rule, css="strong"),
            _part(r.rows, report.rows),
            cell("", *r.examples, css="text"),
            cell(_capital(r.remedy), css="text"),
        ]
        for r in report.refused_rules
    ]
    head = ["Rule", "#Rows", "Examples", "What to do"]
    guide = "Every refused row is in quarantine/, with its file, its row number and the rule."
    return section("refused", "Refused rows", table(head, [("", rows)]), paragraph(guide, "muted"))


def _bots(report: Quality) -> str:
    rows = [[cell(b.user_id, css="text"), cell(count(b.rows), css="number")] for b in report.bots]
    guide = "Users with more events than clean.max_events_per_user_day or clean.max_events_per_user."
    if report.n_bots > len(rows):
        guide += f" The {len(rows)} with the most rows are shown, of {count(report.n_bots)}."
    return section(
        "bots",
        "Bot-like users",
        table(["User", "#Refused rows"], [("", rows)], "narrow"),
        paragraph(guide, "muted"),
    )


def _outliers(report: Quality) -> str:
    rows = [
        [
            cell(o.column, css="strong"),
            cell(count(o.clipped), css="number"),
            cell(count(o.refused), css="number"),
        ]
        for o in report.outliers
    ]
    guide = "Values above the quantile of all earlier months that clean.outliers sets."
    return section(
        "outliers",
        "Outliers",
        table(["Column", "#Lowered to the limit", "#Refused"], [("", rows)], "narrow"),
        paragraph(guide, "muted"),
    )


def _limits(report: Quality) -> str:
    if not report.limits:
        text = "No limit is set: clean only reports. Limits in clean.quality make it fail (exit code 3)."
        return section("limits", "Limits", paragraph(text, "muted"))
    return section("limits", "Limits", definitions(report.limits.items()))
