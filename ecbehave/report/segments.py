"""Are the probabilities right for everybody? The section of the evaluation page on segments."""

from collections.abc import Sequence
from itertools import groupby

from ecbehave.report.binary_content import SegmentRow
from ecbehave.report.numbers import count, percent, signed_in_unit
from ecbehave.report.page import cell, paragraph, section, table


def segments_section(segments: Sequence[SegmentRow]) -> str:
    """Return mean probability beside the observed rate, segment by segment."""
    head = ["Segment", "#Rows", "#Mean probability", "#Observed rate", "#Error", "#By chance up to", ""]
    groups = [
        (feature[:1].upper() + feature[1:], [_cells(row) for row in rows])
        for feature, rows in groupby(segments, key=lambda row: row.feature)
    ]
    guide = (
        "Numbers are cut into quarters of the test rows. The error is mean probability minus observed rate; of right "
        "probabilities, it is above what chance does in about one of twenty segments."
    )
    return section(
        "segments",
        "Are the probabilities right for everybody?",
        table(head, groups),
        paragraph(guide, "muted"),
    )


def _cells(row: SegmentRow) -> list[str]:
    is_off = abs(row.error) > row.chance
    mark = ("too high" if row.error > 0 else "too low") if is_off else ""
    numbers = (
        count(row.n_rows),
        percent(row.mean_probability),
        percent(row.observed_rate),
        signed_in_unit(row.error, "percent", 1),
        signed_in_unit(row.chance, "percent", 1).removeprefix("+"),
    )
    return [
        cell(row.segment),
        *(cell(text, css="number") for text in numbers),
        cell(mark, css="mark unclear"),
    ]
