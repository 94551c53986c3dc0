"""The sections on what the scores rest on."""

from dataclasses import replace

import pytest
from pages import sections, visible

from ecbehave.report.content import ExampleRow, Examples, FamilyRow, Permutation, Report
from ecbehave.report.html import render

FAMILIES = [
    FamilyRow("recency", "how long ago the last time was", 3, 0.1234, 0.0021),
    FamilyRow("calendar", "the date of the cutoff", 4, 0.0, 0.0),
]
FOUND = Permutation(FAMILIES, auroc=0.851, repeats=5, n_rows=1892, n_users=1700, is_sample=False)
ROWS = [
    ExampleRow(
        ["u<1>"],
        1.25,
        0.777,
        ["no purchase for 41 days (raises the churn risk)", "age: 45"],
        is_positive=True,
    ),
    ExampleRow(["u2"], -2.5, 0.071, [], is_positive=False),
]
EXAMPLES = Examples("2017-12-04", ["user_id"], "Churned?", ROWS)


@pytest.fixture
def report(binary_report: Report) -> Report:
    return replace(binary_report, permutation=FOUND, examples=EXAMPLES)


def test_both_stand_before_how_it_was_learned(report: Report, binary_report: Report) -> None:
    found = sections(render(report))
    assert found.index("permutation") + 1 == found.index("examples") < found.index("splits")
    assert not {"permutation", "examples"} & set(sections(render(binary_report)))


def test_families_with_their_drop_and_spread(report: Report) -> None:
    page = visible(render(report))
    assert "worth on 1,892 test rows: its features" in page
    assert "5 times, and the AUROC of 0.851 drops by so much" in page
    assert "recency how long ago the last time was 3 0.1234 ± 0.0021" in " ".join(page.split())


def test_a_sample_is_said_to_be_one(report: Report) -> None:
    sample = replace(FOUND, is_sample=True)
    assert "1,892 test rows, of 1,700 users drawn at random: its" in visible(
        render(replace(report, permutation=sample))
    )


def test_examples_with_reasons_and_what_came_of_them(report: Report) -> None:
    html = render(report)
    assert "u&lt;1&gt;" in html
    page = visible(html)
    for text in (
        "Rows of the test cutoff 2017-12-04",
        "Churned?",
        "1.250",
        "77.7",
        "no purchase for 41 days",
        "-2.500",
    ):
        assert text in page
    words = " ".join(page.split())
    assert "(raises the churn risk) age: 45 yes u2" in words
    assert "7.1 % none no" in words.replace("\u00a0", " ")
