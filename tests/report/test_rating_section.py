"""The page of a task that predicts ratings."""

from dataclasses import replace

from pages import sections, visible

from ecbehave.report.html import render
from ecbehave.report.rating_content import RatingDetail, RatingRow

DETAIL = RatingDetail(
    8,
    [
        RatingRow(1.5, 2, mean=2.251, baseline_mean=2.5, rmse=0.9, baseline_rmse=1.25),
        RatingRow(5, 6, mean=4.4, baseline_mean=4.0, rmse=0.7004, baseline_rmse=1.1),
    ],
)


def test_a_table_stands_in_the_place_of_plots(ranking_report):
    page = render(replace(ranking_report, detail=DETAIL, baseline="mean_rating"))
    assert sections(page) == ["question", "metrics", "ratings", "splits", "counts", "config"]
    words = " ".join(visible(page).split())
    assert (
        "What was predicted, by true rating True rating Ratings Share Mean predicted "
        "By mean_rating RMSE Of mean_rating 1.5 2 25.0 % 2.25 2.50 0.900 1.250 5 6 75.0 % 4.40 4.00 0.700 1.100"
    ) in words
