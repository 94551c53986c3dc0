"""The parts of the evaluation page that are about predicted ratings."""

from ecbehave.report.numbers import count, fixed, percent
from ecbehave.report.page import cell, paragraph, section, table
from ecbehave.report.rating_content import RatingDetail, RatingRow


def ratings_section(detail: RatingDetail, baseline: str) -> str:
    """Return what was predicted, by true rating."""
    head = [
        "True rating",
        "#Ratings",
        "#Share",
        "#Mean predicted",
        f"#By {baseline}",
        "#RMSE",
        f"#Of {baseline}",
    ]
    rows = [_cells(row, detail.n_rows) for row in detail.rows]
    guide = (
        "Of a good prediction the mean rises with the true rating. It rises less than that, since what is not known of "
        "a user or an item draws a prediction to the mean of all."
    )
    return section(
        "ratings", "What was predicted, by true rating", table(head, [("", rows)]), paragraph(guide, "muted")
    )


def _cells(row: RatingRow, n_rows: int) -> list[str]:
    numbers = (
        count(row.n_rows),
        percent(row.n_rows / n_rows),
        *(fixed(value, 2) for value in (row.mean, row.baseline_mean)),
        *(fixed(value) for value in (row.rmse, row.baseline_rmse)),
    )
    return [cell(f"{row.rating:g}", css="strong"), *(cell(text, css="number") for text in numbers)]
