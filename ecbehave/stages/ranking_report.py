"""What the evaluation page says of a ranking task."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ecbehave.report.compared import Interval, MetricRow
from ecbehave.report.content import SpreadRow
from ecbehave.report.ranking_content import BarAtK, RankingDetail, RankingPlot
from ecbehave.stages.metric_words import RANKING_LABELS, label_of, metric_row
from ecbehave.stages.over_cutoffs import spread_rows

if TYPE_CHECKING:
    from ecbehave.stages.judged import Judged


#: Part of the truth to the heading that its metrics stand under.
_GROUPS = {
    "repeat": "Items the user had before",
    "new": "Items new to the user",
    "warm_item": "Items that the fit knew",
    "cold_item": "Items that came after the fit",
    "warm_user": "Users who had an item before the cutoff",
    "cold_user": "Users who had none",
}


def metric_rows(judged: "Judged") -> list[MetricRow]:
    """Return the metrics at the deciding length of the list, all items first, then each part of the truth."""
    comparison = judged.comparison
    names = _at_deciding_k(judged, comparison["model"])
    rows = [metric_row(comparison, name, _group_of(name)) for name in names]
    return sorted(rows, key=lambda row: ["", *_GROUPS.values()].index(row.group))


def _group_of(name: str) -> str:
    found = [heading for part, heading in _GROUPS.items() if name.startswith(f"{part}_")]
    return found[0] if found else ""


def spread(judged: "Judged") -> list[SpreadRow]:
    """Return the metrics of the table over the test cutoffs."""
    found = judged.facts["over_time"]
    return spread_rows(found, _at_deciding_k(judged, found), {name: label_of(name) for name in found})


def _at_deciding_k(judged: "Judged", found: Iterable[str]) -> list[str]:
    """Return the metrics at the length of the headline, which comes first."""
    k = judged.headline.split("@")[1]
    names = [name for name in found if name.endswith(f"@{k}")]
    return sorted(names, key=lambda name: name != judged.headline)


def ranking_detail(judged: "Judged") -> RankingDetail:
    """Return the plots of the lists at every length."""
    sides, plots = judged.comparison, []
    for measure in ("ndcg", "recall"):
        ks = sorted(int(name.split("@")[1]) for name in sides["model"] if name.startswith(f"{measure}@"))
        bars = [
            BarAtK(
                k,
                model=Interval(**sides["model"][f"{measure}@{k}"]),
                baseline=Interval(**sides["baseline"][f"{measure}@{k}"]),
            )
            for k in ks
        ]
        plots.append(RankingPlot(RANKING_LABELS[measure], bars))
    return RankingDetail(plots)


def list_facts(judged: "Judged") -> list[tuple[str, str]]:
    """Return what the lists are like, and whom they could not be judged for or made for."""
    facts, k = judged.facts, judged.headline.split("@")[1]

    def beside(measure: str, shown: str) -> str:
        """Return a measure of the model's lists and, in brackets, of the baseline's."""
        sides = [facts[f"{side}{measure}"][f"{measure}@{k}"] for side in ("", "baseline_")]
        model, rule = ("undefined" if value is None else format(value, shown) for value in sides)
        return f"{model} at {k} (baseline {rule})"

    return [
        ("Catalogue", f"{facts['n_items']:,} items"),
        ("Catalogue coverage", beside("coverage", ".1%")),
        ("Novelty of what is listed, in bits", beside("novelty", ".2f")),
        ("Difference of items within a list", beside("diversity", ".3f")),
        ("True items that came after the fit", f"{facts['n_cold_items']:,} of {facts['n_true']:,}"),
        ("Users with a true item who had none before", f"{facts['n_cold_users']:,}"),
        ("Users without a true item", f"{facts['n_without_truth']:,}, left out of the means"),
        ("Users the model has no item for", f"{facts['n_cold']:,}, given what is popular"),
    ]
