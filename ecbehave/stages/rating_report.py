"""What the evaluation page says of predicted ratings."""

from typing import TYPE_CHECKING

from ecbehave.metrics.rating import RATING_METRICS
from ecbehave.report.compared import MetricRow
from ecbehave.report.content import SpreadRow
from ecbehave.report.rating_content import RatingDetail, RatingRow
from ecbehave.stages.judge_rating import SIDES
from ecbehave.stages.metric_words import label_of, metric_row
from ecbehave.stages.over_cutoffs import spread_rows

if TYPE_CHECKING:
    from ecbehave.stages.judged import Judged


def metric_rows(judged: "Judged") -> list[MetricRow]:
    """Return the errors beside those of the baseline."""
    return [metric_row(judged.comparison, name) for name in RATING_METRICS]


def spread(judged: "Judged") -> list[SpreadRow]:
    """Return the errors over the test cutoffs."""
    return spread_rows(
        judged.facts["over_time"], list(RATING_METRICS), {name: label_of(name) for name in RATING_METRICS}
    )


def rating_detail(judged: "Judged") -> RatingDetail:
    """Return what was predicted, by true rating."""
    columns = [f"{side}_{what}" for what in ("mean", "rmse") for side in SIDES]
    rows = [RatingRow(r["rating"], r["n"], *(r[c] for c in columns)) for r in judged.facts["by_rating"]]
    return RatingDetail(judged.facts["n_ratings"], rows)


def rating_facts(judged: "Judged") -> list[tuple[str, str]]:
    """Return which ratings were judged, and which were not."""
    facts = judged.facts
    return [
        ("Ratings judged", f"{facts['n_ratings']:,}"),
        ("Ratings by users without one before", f"{facts['n_of_new_raters']:,}, judged like all others"),
        ("Ratings of new items", f"{facts['n_of_new_items']:,}, left out"),
        ("Catalogue", f"{facts['n_items']:,} items"),
    ]
