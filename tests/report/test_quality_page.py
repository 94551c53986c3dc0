import re
from dataclasses import fields, replace
from datetime import date, timedelta
from typing import Any

import pytest
from pages import in_frame, sections, visible

from ecbehave.report.chart import Axis
from ecbehave.report.quality_content import (
    Bot,
    Change,
    ColumnQuality,
    Finding,
    Gap,
    Outliers,
    Quality,
    RefusedRule,
    SourceQuality,
    Volume,
    share_of,
)
from ecbehave.report.quality_page import render
from ecbehave.report.quality_plot import DayAxis, volume_plot

EVIL = '<script>alert("1")</script>'
FIRST = date(2024, 1, 1)
SECTIONS = [
    "findings",
    "volumes",
    "days",
    "sources",
    "columns0",
    "refused",
    "bots",
    "outliers",
    "limits",
]
ALWAYS = ["findings", "volumes", "sources", "columns0", "refused", "limits"]


def column(name: str, kind: Any = "text", **facts: Any) -> ColumnQuality:
    known = {"nulls": 0, "unparsed": 0, "low": None, "high": None, "values": None}
    return ColumnQuality(name, kind, **(known | facts))


@pytest.fixture
def report() -> Quality:
    """A log with something to say in every section."""
    columns = [
        column("user_id", low=1, high=12),
        column("event_type", low=4, high=8, values=["cart", "purchase", "view"]),
        column("price", "number", nulls=1_204, unparsed=37, low=0.5, high=12_345.5),
        column("ts", "time", low="2024-01-01T00:00:00+00:00", high="2024-03-30T23:59:59.500000+00:00"),
    ]
    source = SourceQuality(
        "dataset.sources[0]", "raw/events-*.csv", 12, 1_469_307, 1_204, 312, 2_000, False, columns
    )
    view = Volume("view", [400] * 90, [None] * 28 + [400.0] * 62)
    cart = Volume("cart", [50] * 70 + [0] * 20, [None] * 28 + [50.0] * 62)
    return Quality(
        rows=1_469_307,
        refused=1_204,
        duplicates=312,
        clean=1_467_791,
        files=12,
        late_after="7 days",
        first_day=FIRST,
        begins=FIRST,
        last_day=FIRST + timedelta(days=89),
        findings=[
            Finding(
                "cart events: none since 2024-03-11; the limit is 2d", "bring the missing files", 0.2, True
            ),
            Finding("1 user is bot-like: 37 rows", "check columns.user_id", 0.01, False),
        ],
        sources=[source],
        volumes=[view, cart],
        gaps=[
            Gap("cart", date(2024, 3, 11), date(2024, 3, 30), True),
            Gap("view", date(2024, 2, 1), date(2024, 2, 1), False),
        ],
        changes=[
            Change("view", date(2024, 2, 3), date(2024, 2, 5), date(2024, 2, 4), 1_200, 400.0),
            Change("cart", date(2024, 2, 9), date(2024, 2, 9), date(2024, 2, 9), 10, 50.0),
        ],
        refused_rules=[
            RefusedRule(
                "unparsable_value", 1_167, ["events-01.csv row 7 (price=9,99)"], "write numbers like 1234.56"
            ),
            RefusedRule("bot_like", 37, ["events-02.csv row 1"], "check columns.user_id"),
        ],
        n_bots=1,
        bots=[Bot("crawler", 37)],
        outliers=[Outliers("price", 12, 3)],
        limits={"clean.quality.max_gap": "2d"},
    )


@pytest.fixture
def spotless(report: Quality) -> Quality:
    """The same log with nothing to complain about."""
    nothing: dict[str, Any] = {"findings": [], "gaps": [], "changes": [], "refused_rules": [], "bots": []}
    return replace(report, refused=0, duplicates=1, files=1, n_bots=0, outliers=[], limits={}, **nothing)


def test_the_headline_says_it_all(report, spotless):
    text = visible(render(report)).strip()
    assert text.startswith(
        "1,469,307 rows of 12 files: 1,204 refused (0.0819 %), 312 exact duplicates; 2 things to look at, "
        "1 of them over a limit. Data quality of the event log, from 2024-01-01 to 2024-03-30"
    )
    text = visible(render(spotless)).strip()
    assert text.startswith("1,469,307 rows of 1 file: 0 refused, 1 exact duplicate; nothing to look at. ")
    one = replace(report, findings=report.findings[1:])
    assert "312 exact duplicates; 1 thing to look at. Data" in visible(render(one))


def test_the_headline_has_its_colour(report, spotless):
    assert 'class="verdict worse"' in render(report)
    assert 'class="verdict unclear"' in render(replace(report, findings=report.findings[1:]))
    assert 'class="verdict better"' in render(spotless)


def test_sections_in_order(report, spotless):
    assert sections(render(report)) == SECTIONS
    assert sections(render(spotless)) == ALWAYS


def test_the_same_report_gives_the_same_bytes(report):
    assert render(report) == render(replace(report))


def test_key_figures(report):
    text = visible(render(report))
    assert "Clean rows 1,467,791 99.9 % of what came in" in text
    assert "Refused 1,204 0.0819 %, kept in quarantine" in text
    assert "Exact duplicates 312 0.0212 %, dropped" in text
    assert "Late rows 2,000 0.136 %, by more than 7 days; kept" in text


def test_what_to_look_at_comes_with_what_to_do(report, spotless):
    text = visible(render(report))
    assert (
        "What to look at ✕ cart events: none since 2024-03-11; the limit is 2d. Bring the missing files. "
        "○ 1 user is bot-like: 37 rows. Check columns.user_id. "
        "✕ exceeds a limit of clean.quality, so clean has failed."
    ) in text
    assert "so clean has failed" not in render(replace(report, findings=report.findings[1:]))
    assert "What to look at Nothing is out of the ordinary." in visible(render(spotless))


def test_gaps_and_changes(report, spotless):
    text = visible(render(report))
    assert (
        "Gaps view 2024-02-01 1 day 0 cart 2024-03-11 to 2024-03-30 20 days, to the end of the log 0" in text
    )
    assert "Sudden changes view 2024-02-04 of 2024-02-03 to 2024-02-05 1,200 400 3.0x more" in text
    assert "cart 2024-02-09 10 50 5.0x fewer" in text
    text = visible(render(replace(spotless, gaps=report.gaps[1:])))
    assert "Gaps view 2024-02-01" in text
    assert "Sudden changes" not in text


def test_sources_and_columns(report):
    text = visible(render(report))
    assert (
        "raw/events-*.csv dataset.sources[0] 12 1,469,307 1,204 0.0819 % 312 0.0212 % 2,000 0.136 % "
        "Late rows came more than 7 days behind the days that earlier files reach to. They are kept."
    ) in text
    assert "user_id many 0 0 1 character 12 characters" in text
    assert "event_type cart, purchase, view 0 0 4 characters 8 characters" in text
    assert "price 1,204 0.0819 % 37 0.00252 % 0.5 12,345.5" in text
    assert "ts 0 0 2024-01-01 00:00 2024-03-30 23:59" in text


def test_how_late_rows_are_told(report):
    (source,) = report.sources
    own = replace(source, has_received_at=True)
    assert "Late rows came more than 7 days after their time. They are kept." in visible(
        render(replace(report, sources=[own]))
    )
    text = visible(render(replace(report, sources=[source, own])))
    assert "more than 7 days after their time, or more than 7 days behind the days that earlier" in text
    assert sections(render(replace(report, sources=[source, own])))[4:6] == ["columns0", "columns1"]


def test_a_column_with_several_values(report):
    def values(*texts: str) -> str:
        source = replace(report.sources[0], columns=[column("brand", values=list(texts))])
        return visible(render(replace(report, sources=[source])))

    assert "brand a, b, c, d, e, f 0 0" in values(*"abcdef")
    assert "brand a, b, c, d, e, f and 1 more 0 0" in values(*"abcdefg")
    assert "brand (empty), b 0 0" in values("", "b")


def test_refused_rows_bots_and_outliers(report, spotless):
    text = visible(render(report))
    assert (
        "unparsable_value 1,167 0.0794 % events-01.csv row 7 (price=9,99) Write numbers like 1234.56" in text
    )
    assert "User Refused rows crawler 37 Users with more events than" in text
    assert "are shown, of" not in text
    assert "The 1 with the most rows are shown, of 250." in visible(render(replace(report, n_bots=250)))
    assert "Lowered to the limit Refused price 12 3 Values" in text
    assert "Refused rows No row was refused." in visible(render(spotless))


def test_limits(report, spotless):
    assert "Limits clean.quality.max_gap 2d" in visible(render(report))
    assert "Limits No limit is set: clean only reports." in visible(render(spotless))


def test_a_log_without_an_event(spotless):
    text = render(replace(spotless, first_day=None, begins=None, last_day=None, volumes=[], clean=0, rows=0))
    assert "<svg" not in text
    assert "Events per day No event is left." in visible(text)
    assert "nothing to look at. Data quality of the event log Clean rows 0 0 % of what" in visible(text)


def test_every_type_has_a_plot_up_to_twelve(report):
    text = render(report)
    assert text.count("<svg") == 2
    assert "view" in re.findall("<h3>(.*?)</h3>", text)
    assert "are not drawn" not in text
    many = [replace(report.volumes[0], event_type=f"type-{i}") for i in range(14)]
    text = render(replace(report, volumes=many))
    assert text.count("<svg") == 12
    assert "2 rarer event types are not drawn; quality.json has them." in text


def test_a_plot_marks_what_is_of_its_type(report):
    view, cart = render(report).split("<figure>")[1:]
    assert ("no event on 2024-02-01" in view, "no event from 2024-03-11" in view) == (True, False)
    assert ("no event on 2024-02-01" in cart, "no event from 2024-03-11" in cart) == (False, True)
    assert ("1,200 instead of 400" in view, "10 instead of 50" in view) == (True, False)
    assert ("1,200 instead of 400" in cart, "10 instead of 50" in cart) == (False, True)


def test_all_text_is_escaped(report):
    def evil(part: Any) -> Any:
        """The same with evil text in the place of every text that is not a choice of ours."""
        changed = {}
        for f in fields(part):
            value = getattr(part, f.name)
            if isinstance(value, str) and f.name not in ("kind",):
                changed[f.name] = EVIL
        return replace(part, **changed)

    columns = [replace(column("a", values=[EVIL]), name=EVIL)]
    text = render(
        replace(
            evil(report),
            findings=[evil(f) for f in report.findings],
            sources=[replace(evil(s), columns=columns) for s in report.sources],
            volumes=[evil(v) for v in report.volumes],
            gaps=[evil(g) for g in report.gaps],
            changes=[evil(c) for c in report.changes],
            refused_rules=[replace(evil(r), examples=[EVIL]) for r in report.refused_rules],
            bots=[evil(b) for b in report.bots],
            outliers=[evil(o) for o in report.outliers],
            limits={EVIL: EVIL},
        )
    )
    assert "<script" not in text.lower()
    assert text.count("&lt;script&gt;") > 20


def test_nothing_is_loaded_from_anywhere(report):
    text = render(report).replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert not re.search(r"https?:|//\w|url\(|@import|<link|<img|<script|\bsrc=", text)
    assert "default-src 'none'" in text


def test_ten_years_of_many_types_stay_under_two_megabytes(report):
    rows = [(i * 7919) % 1_000 for i in range(3_650)]
    many = [Volume(f"type-{i}", rows, [float(n) for n in rows]) for i in range(30)]
    text = render(replace(report, volumes=many, last_day=FIRST + timedelta(days=3_649)))
    assert len(text.encode()) < 2_000_000


def test_shares_have_three_digits():
    assert [share_of(n, 100_000) for n in (0, 1, 123, 5_000, 12_345, 99_999, 100_000)] == [
        "0 %",
        "0.001 %",
        "0.123 %",
        "5 %",
        "12.3 %",
        "100 %",
        "100 %",
    ]
    assert share_of(0, 0) == "0 %"


def axis(n_days: int, start: date = FIRST) -> list[tuple[float, str]]:
    return DayAxis("", str, start=start, n_days=n_days).ticks()


def test_days_of_a_short_log_are_ticks():
    assert axis(1) == [(0, "2024-01-01")]
    assert axis(2) == [(0, "2024-01-01"), (1, "2024-01-02")]
    assert axis(62)[:2] == [(0, "2024-01-01"), (7, "2024-01-08")]


def test_starts_of_months_are_ticks():
    assert axis(63) == [(0, "2024-01"), (31, "2024-02"), (60, "2024-03")]
    assert axis(63, date(2024, 1, 2)) == [(30, "2024-02"), (59, "2024-03")]
    year = axis(366, date(2023, 12, 15))
    assert year[0] == (17, "2024-01")
    assert [text for _, text in year] == [f"2024-{m:02d}" for m in (1, 3, 5, 7, 9, 11)]
    assert [text for _, text in axis(3_650)] == [f"{y}-01" for y in range(2024, 2034)]
    assert len(axis(40_000)) <= 10


def test_an_axis_of_days_is_an_axis():
    assert isinstance(DayAxis("", str, start=FIRST), Axis)


def test_a_plot_starts_where_the_log_begins_and_marks_what_is_odd():
    volume = Volume("view", [3, 0, 0, 10, 20, 0, 40], [None] * 5 + [10.0, 10.0])
    begins = date(2024, 1, 4)
    gap = Gap("view", date(2024, 1, 6), date(2024, 1, 6), False)
    change = Change("view", date(2024, 1, 7), date(2024, 1, 7), date(2024, 1, 7), 40, 10.0)
    svg = volume_plot(volume, FIRST, begins, [gap], [change])
    assert "no event on 2024-01-06" in svg
    assert "2024-01-07: 40 instead of 10" in svg
    assert all(word in svg for word in (">events<", ">usual<", ">gap or sudden change<"))
    assert svg.count('<circle class="dot positives"') == 1
    line = re.search(r'<polyline class="line model" points="(.*?)"', svg)
    assert line is not None
    points = line[1].split(" ")
    assert len(points) == 4
    # The dot of the change lies on the line's last point.
    x, y = points[-1].split(",")
    assert f'<circle class="dot positives" cx="{x}" cy="{y}"' in svg
    long = Gap("view", date(2024, 1, 5), date(2024, 1, 6), False)
    assert "no event from 2024-01-05 to 2024-01-06" in volume_plot(volume, FIRST, begins, [long], [])
    plain = volume_plot(replace(volume, usual=[None] * 7), FIRST, begins, [], [])
    assert ">usual<" not in plain
    assert ">gap or sudden change<" not in plain


def test_a_plot_of_one_day():
    svg = volume_plot(Volume("view", [5], [None]), FIRST, FIRST, [], [])
    assert "nan" not in svg
    assert "2024-01-01" in svg
    assert svg.count('<circle class="dot model"') == 1


@pytest.mark.slow
def test_a_browser_shows_every_section_and_complains_about_nothing(browse, report):
    dom, console = browse(render(report))
    assert console == []
    assert sections(dom) == SECTIONS
    assert visible(dom).strip().startswith("1,469,307 rows of 12 files")
    assert dom.count("<svg") == dom.count("</svg>") == 2


@pytest.mark.slow
@pytest.mark.parametrize("width", [360, 420, 1200])
def test_no_page_is_wider_than_the_screen(browse, report, width):
    rule = replace(report.refused_rules[0], examples=[f"events.csv row 7 (price={'9' * 200})"])
    finding = replace(report.findings[0], text="9" * 200)
    long = replace(report, refused_rules=[rule], findings=[finding], bots=[Bot("u" * 300, 1)])
    dom, _ = browse(in_frame(render(long), width))
    assert f'data-width="{width}"' in dom
