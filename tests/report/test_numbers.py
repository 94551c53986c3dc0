import pytest

from ecbehave.report import numbers


def test_counts_have_thousands_separators():
    assert numbers.count(1_469_307) == "1,469,307"
    assert numbers.count(None) == "n/a"


def test_a_split_row_shows_as_a_fraction():
    assert numbers.share_of_rows(1_189.25) == "1,189.2"
    assert numbers.share_of_rows(1_190.0) == "1,190"


def test_a_rounded_zero_has_no_sign():
    assert numbers.fixed(-0.0004) == "0.000"
    assert numbers.fixed(-0.0006) == "-0.001"
    assert numbers.fixed(None) == "n/a"


def test_percent_of_a_share():
    assert numbers.percent(0.2134) == "21.3 %"
    assert numbers.percent(1, 0) == "100 %"
    assert numbers.percent(None) == "n/a"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.012345, "0.0123"), (1.5, "1.50"), (12_345.6, "12,300"), (-0.5, "-0.500")],
)
def test_three_significant_digits(value, text):
    assert numbers.significant(value) == text


@pytest.mark.parametrize(
    ("unit", "width", "decimals"),
    [
        ("ratio", 0.025, 3),
        ("ratio", 0.0006, 5),
        ("ratio", 1e-12, 6),
        ("ratio", 0, 3),
        ("ratio", None, 3),
        ("percent", 0.025, 1),
        ("percent", 0.0006, 3),
        ("times", 0.4, 2),
        ("times", 0.02, 3),
    ],
)
def test_decimals_show_the_interval(unit, width, decimals):
    assert numbers.decimals_for(unit, width) == decimals


def test_each_unit_has_its_own_suffix():
    assert numbers.in_unit(0.8514, "ratio", 3) == "0.851"
    assert numbers.in_unit(0.8514, "percent", 1) == "85.1 %"
    assert numbers.in_unit(3.4, "times", 2) == "3.40x"
    assert numbers.in_unit(None, "times", 2) == "n/a"
    assert numbers.in_usual_unit(0.8514, "percent") == "85.1 %"


def test_percentages_differ_by_points():
    assert numbers.difference_in_unit(0.02, "percent", 1) == "2.0 points"
    assert numbers.difference_in_unit(None, "percent", 1) == "n/a"


def test_a_signed_difference_marks_only_what_is_above_zero_as_shown():
    assert numbers.signed_in_unit(0.02, "ratio", 3) == "+0.020"
    assert numbers.signed_in_unit(-0.02, "ratio", 3) == "-0.020"
    assert numbers.signed_in_unit(0.0001, "ratio", 3) == "0.000"
    assert numbers.signed_in_unit(None, "ratio", 3) == "n/a"


def test_an_interval_without_bounds_is_empty():
    assert numbers.interval(0.008, 0.033, "ratio", 3) == "0.008 to 0.033"
    assert numbers.interval(-0.01, 0.033, "percent", 1) == "-1.0 to 3.3"
    assert numbers.interval(None, 0.033, "ratio", 3) == ""
    assert numbers.interval(0.008, None, "ratio", 3) == ""
