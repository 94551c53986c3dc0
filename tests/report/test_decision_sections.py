"""What the page says of decisions, of money, and of probabilities beside chance."""

from dataclasses import replace

import pytest
from pages import sections, visible

from ecbehave.report import guides, plots
from ecbehave.report.binary_content import CalibrationBin, Confusion, Curve, Profit, SegmentRow
from ecbehave.report.compared import Interval
from ecbehave.report.html import render
from ecbehave.report.numbers import money

SHARE = [0.0, 0.25, 0.5, 1.0]
PROFIT = Profit(
    curves=[
        Curve("boosting", SHARE, [0.0, 900.0, 1_400.0, -2_000.0]),
        Curve("rfm", SHARE, [0.0, 500.0, 900.0, -2_000.0]),
    ],
    n_targeted=250,
    model=Interval(900, 700, 1_100),
    baseline=Interval(510, 300, 700),
    difference=Interval(390, -20.5, 800),
    expected=1_034.4,
    everybody=-2_000,
)
SEGMENTS = [
    SegmentRow("days since the last purchase", "0 to 3", 500, 0.10, 0.14, 0.02),
    SegmentRow("days since the last purchase", "4 to 90", 500, 0.30, 0.25, 0.03),
    SegmentRow("region", "north <b>", 1_000, 0.20, 0.195, 0.02),
]


def page_of(report, **detail) -> str:
    return render(replace(report, detail=replace(report.detail, n_rows=1_000, n_positive=200, **detail)))


def test_profit_stands_beside_what_was_promised_and_what_others_bring(binary_report):
    text = visible(page_of(binary_report, profit=PROFIT))
    assert (
        "By its probabilities the model promised 1,034 from the rows that it targets; they would have brought 900 "
        "(95 % interval 700 to 1,100)."
    ) in text
    assert "The model's choice 250 of 1,000 rows 900 700 to 1,100" in text
    assert "The baseline's choice 510 300 to 700 Difference model minus baseline 390 -20.50 to 800" in text
    assert "All rows -2,000" in text
    assert (
        "The dot is what was targeted: 25.0 % of the rows. Looking back, 50.0 % would have brought most, 1,400; nobody "
        "could have known that."
    ) in text


def test_a_profit_without_an_interval(binary_report):
    few = replace(PROFIT, model=Interval(12.5), difference=Interval(2.5))
    text = visible(page_of(binary_report, profit=few))
    assert "they would have brought 12.50." in text
    assert "Difference model minus baseline 2.50 All rows" in text


def test_the_profit_plot_marks_the_choice():
    svg = plots.profit(PROFIT, 1_000)
    assert "25.0 % of the rows bring 900" in svg
    assert svg.count("<polyline") == 3
    assert ">-2,000<" in svg
    assert ">1,000<" in svg
    nothing = replace(PROFIT, curves=[Curve("boosting", [0.0, 1.0], [0.0, 0.0])], model=Interval())
    assert "<circle" not in plots.profit(nothing, 1_000)


def test_sections_stand_where_they_are_wanted(binary_report):
    with_all = sections(page_of(binary_report, profit=PROFIT, segments=SEGMENTS))
    assert with_all[3:7] == ["confusion", "profit", "deciles", "segments"]
    assert not {"profit", "segments"} & set(sections(render(binary_report)))


def test_segments_that_are_off_by_more_than_chance_are_marked(binary_report):
    page = page_of(binary_report, segments=SEGMENTS)
    text = visible(page)
    assert "Days since the last purchase 0 to 3 500 10.0 % 14.0 % -4.0 points 2.0 points too low" in text
    assert "4 to 90 500 30.0 % 25.0 % +5.0 points 3.0 points too high" in text
    assert "Region north <b> 1,000 20.0 % 19.5 % +0.5 points 2.0 points Numbers are cut" in text
    assert "north &lt;b&gt;" in page


def test_a_capacity_is_said_in_place_of_a_threshold(binary_report):
    confusion = Confusion(60, 40, 140, 760, None, "With the 25 highest scores of each cutoff")
    text = visible(page_of(binary_report, confusion=confusion))
    assert (
        "With the 25 highest scores of each cutoff, 100 of 1,000 rows are flagged: 60.0 % of the flagged are churners "
        "(precision), and 30.0 % of all churners are flagged (recall)."
    ) in text
    assert "Right when flagged 60 % of 100 flagged are churners" in text


@pytest.mark.parametrize(
    ("error", "end"),
    [(0.021, "chance alone gives up to 0.034."), (0.05, "up to 0.034, so it is more than chance.")],
)
def test_the_calibration_plot_says_what_chance_does(binary_report, error, end):
    detail = replace(binary_report.detail, calibration_error=error, calibration_chance=0.034)
    assert guides.calibration(detail).endswith(end)
    assert f"The calibration error is {error:.3f}; " in guides.calibration(detail)
    assert "chance" not in guides.calibration(binary_report.detail)


def test_a_metric_carries_its_note(binary_report):
    noted = [replace(m, note="chance alone gives up to 0.034") for m in binary_report.metrics[:1]]
    assert "AUROC chance alone gives up to 0.034 ▲ better" in visible(
        render(replace(binary_report, metrics=noted))
    )


def test_a_bin_of_few_rows_does_not_fill_the_calibration_plot():
    bins = [CalibrationBin(0.1, 0.1, 900), CalibrationBin(0.2, 0.2, 900), CalibrationBin(0.001, 0.0, 1)]
    svg = plots.calibration(bins)
    assert svg.count("<circle") == 2
    assert ">80 %<" not in svg
    assert plots.calibration([replace(b, n_rows=900) for b in bins]).count("<circle") == 3


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "n/a"),
        (0, "0.00"),
        (12.304, "12.30"),
        (99.999, "100.00"),
        (1_204.4, "1,204"),
        (-3_000, "-3,000"),
    ],
)
def test_money(value, text):
    assert money(value) == text
