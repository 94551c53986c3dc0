"""What metrics are called, and what the verdict says of the one that decides."""

from collections.abc import Mapping
from typing import Any

from ecbehave.metrics.bootstrap import LOWER_IS_BETTER, Comparison
from ecbehave.report.compared import Interval, MetricRow, Verdict, verdict
from ecbehave.report.numbers import Unit

BINARY_LABELS: dict[str, tuple[str, Unit]] = {
    "auroc": ("AUROC", "ratio"),
    "auprc": ("AUPRC", "ratio"),
    "lift_10": ("Lift of the top 10 %", "times"),
    "log_loss": ("Log loss", "ratio"),
    "brier": ("Brier score", "ratio"),
    "calibration_error": ("Calibration error", "ratio"),
    "accuracy": ("Accuracy", "percent"),
    "precision": ("Precision", "percent"),
    "recall": ("Recall", "percent"),
    "f1": ("F1", "ratio"),
}
RANKING_LABELS = {
    "ndcg": "NDCG",
    "recall": "Recall",
    "precision": "Precision",
    "hit_rate": "Hit rate",
    "map": "MAP",
    "mrr": "MRR",
    "repeat_recall": "Recall of repeats",
    "repeat_ndcg": "NDCG of repeats",
    "new_recall": "Recall of new items",
    "new_ndcg": "NDCG of new items",
    "warm_item_recall": "Recall of known items",
    "warm_item_ndcg": "NDCG of known items",
    "cold_item_recall": "Recall of later items",
    "cold_item_ndcg": "NDCG of later items",
    "warm_user_recall": "Recall for known users",
    "warm_user_ndcg": "NDCG for known users",
    "cold_user_recall": "Recall for unknown users",
    "cold_user_ndcg": "NDCG for unknown users",
}
ERROR_LABELS: dict[str, tuple[str, Unit]] = {"rmse": ("RMSE", "ratio"), "mae": ("MAE", "ratio")}
#: Fewer users than this give intervals that mean nothing.
FEWEST_USERS = 30


def label_of(name: str) -> tuple[str, Unit]:
    """Return what people call a metric, and its unit."""
    if "@" not in name:
        return (BINARY_LABELS | ERROR_LABELS)[name]
    measure, k = name.split("@")
    return f"{RANKING_LABELS[measure]}@{k}", "ratio"


def metric_row(comparison: Comparison, name: str, group: str = "") -> MetricRow:
    """Return one metric with its intervals."""
    text, unit = label_of(name)
    return MetricRow(
        name,
        text,
        model=Interval(**comparison["model"][name]),
        baseline=Interval(**comparison["baseline"][name]),
        difference=Interval(**comparison["difference"][name]),
        lower_is_better=name in LOWER_IS_BETTER,
        unit=unit,
        group=group,
    )


def headline_verdict(comparison: Comparison, headline: str, baseline: str, n_users: int) -> Verdict:
    """Say whether the model beats its baseline; a handful of users cannot tell."""
    row = metric_row(comparison, headline)
    if n_users < FEWEST_USERS and row.standing != "undefined":
        return Verdict(
            "unclear",
            f"Too few users to say whether the model beats the baseline {baseline}: "
            f"{n_users} could be judged, and it takes {FEWEST_USERS}.",
        )
    return verdict(row, baseline)


def beside_truth(spoken: Verdict, facts: Mapping[str, Any]) -> Verdict:
    """Add to the verdict how far the model gets, where the true probabilities are known."""
    share = facts.get("truth", {}).get("share_reached")
    if share is None:
        return spoken
    known = (
        f"It gets {100 * share:.0f} % of the way from chance to the true probabilities, "
        f"whose AUROC is {facts['truth']['auroc']:.3f}."
    )
    return Verdict(spoken.standing, f"{spoken.text} {known}")
