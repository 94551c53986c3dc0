"""A browser, and two reports with made-up but plausible numbers: churn (binary) and preference (ranking)."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from ecbehave.report.binary_content import (
    BinaryDetail,
    CalibrationBin,
    Confusion,
    Curve,
    DecileRow,
    ScoreHistogram,
)
from ecbehave.report.compared import Interval, MetricRow, verdict
from ecbehave.report.content import CountRow, CutoffRow, Importance, Report, SplitRow
from ecbehave.report.ranking_content import BarAtK, RankingDetail, RankingPlot

CONFIG = """\
name: churn
workspace: ../work/grocery
dataset:
  timezone: America/New_York
  sources:
  - kind: files
    path: data-samples/grocery/*.csv.gz
task: {kind: churn, active_within: 28d, horizon: 28d}
model: {kind: boosting, learning_rate: 0.03}
baseline: {kind: rfm}
seed: 0
"""


def _metric(
    name: str,
    label: str,
    model: float,
    baseline: float,
    half: float,
    *,
    lower: bool = False,
    group: str = "",
    unit: str = "ratio",
) -> MetricRow:
    gap = model - baseline
    return MetricRow(
        name,
        label,
        Interval(model, model - 1.3 * half, model + 1.3 * half),
        Interval(baseline, baseline - 1.4 * half, baseline + 1.4 * half),
        Interval(gap, gap - half, gap + half),
        lower,
        unit,
        group,
    )


def _curves(scores: np.ndarray, rule: np.ndarray, y: np.ndarray) -> tuple[list[Curve], ...]:
    roc, pr, gains = [], [], []
    for name, score in (("boosting", scores), ("baseline rfm", rule)):
        hits = np.cumsum(y[np.argsort(-score, kind="stable")])
        taken = np.arange(1, len(y) + 1)
        grid = np.unique(np.linspace(0, len(y) - 1, 400).astype(int))
        tpr, fpr = hits[grid] / hits[-1], (taken - hits)[grid] / (len(y) - hits[-1])
        roc.append(Curve(name, [0.0, *fpr], [0.0, *tpr]))
        pr.append(Curve(name, tpr, (hits / taken)[grid]))
        gains.append(Curve(name, [0.0, *(taken[grid] / len(y))], [0.0, *tpr]))
    return roc, pr, gains


def _binary_detail() -> BinaryDetail:
    rng = np.random.default_rng(7)
    n = 1892
    y = rng.random(n) < 0.213
    logit = rng.normal(-1.9, 1.0, n) + 1.45 * y
    p = 1 / (1 + np.exp(-logit))
    roc, pr, gains = _curves(logit, logit + rng.normal(0, 0.6, n), y)
    order = np.argsort(-p, kind="stable")
    tenths = np.array_split(order, 10)
    flagged = p >= 0.312
    return BinaryDetail(
        positives="churners",
        negatives="non-churners",
        n_rows=n,
        n_positive=int(y.sum()),
        roc=roc,
        precision_recall=pr,
        gains=gains,
        calibration=[CalibrationBin(float(p[t].mean()), float(y[t].mean()), len(t)) for t in tenths[::-1]],
        scores=ScoreHistogram.of(p, y),
        confusion=Confusion(
            int((flagged & y).sum()),
            int((flagged & ~y).sum()),
            int((~flagged & y).sum()),
            int((~flagged & ~y).sum()),
            0.312,
            "the best F1 of the validation window",
        ),
        deciles=[DecileRow(i + 1, len(t), int(y[t].sum()), float(p[t].mean())) for i, t in enumerate(tenths)],
    )


def _splits(test_rows: int, *, is_binary: bool) -> list[SplitRow]:
    rows = [
        ("train", "8 cutoffs (2017-03-11 to 2017-06-17)", "2017-03-11 to 2017-07-14", 14_204, 2_951),
        ("validation", "1 cutoff (2017-07-15)", "2017-07-15 to 2017-08-11", 1_874, 401),
        ("test", "1 cutoff (2017-12-04)", "2017-12-04 to 2017-12-31", test_rows, 403),
    ]
    return [
        SplitRow(name, cutoffs, days, n, p if is_binary else None, p / n if is_binary else None)
        for name, cutoffs, days, n, p in rows
    ]


COUNTS = [
    CountRow("ingest", "raw events", 1_469_307, "12 files, 1 source"),
    CountRow("clean", "refused: missing user", 1_204),
    CountRow("clean", "refused: price out of range", 37),
    CountRow("clean", "exact duplicates", 12_377),
    CountRow("clean", "clean events", 1_455_689, "2,469 users, 68,509 items"),
    CountRow("features", "train rows", 14_204, "population at 8 cutoffs"),
    CountRow("features", "validation rows", 1_874),
    CountRow("features", "test rows", 1_892),
    CountRow("predict", "scored users", 1_911, "as of 2017-12-31; 14 cold users got the baseline's score"),
]


@pytest.fixture
def binary_report() -> Report:
    metrics = [
        _metric("auroc", "AUROC", 0.851, 0.831, 0.0125),
        _metric("auprc", "AUPRC", 0.602, 0.571, 0.0221),
        _metric("log_loss", "Log loss", 0.3712, 0.3894, 0.0121, lower=True),
        _metric("brier", "Brier score", 0.1164, 0.1201, 0.0051, lower=True),
        _metric("ece", "Calibration error", 0.0182, 0.0111, 0.0063, lower=True),
        _metric("accuracy", "Accuracy", 0.842, 0.839, 0.009, unit="percent"),
        _metric("f1", "F1", 0.581, 0.559, 0.0261),
        _metric("lift", "Lift of the top tenth", 3.62, 3.31, 0.24, unit="times"),
        MetricRow("auc_pr_x", "Undefined thing", Interval(), Interval(float("nan")), Interval()),
    ]
    features = [
        ("days_since_purchase", 0.842),
        ("n_purchase_28d", 0.611),
        ("purchase_interval_mean", 0.402),
        ("purchase_interval_regularity", 0.288),
        ("amount_sum_91d", 0.231),
        ("n_distinct_items_28d", 0.187),
        ("trend_n_purchase_7d_over_28d", 0.161),
        ("tenure_days", 0.12),
        ("a_feature_with_a_name_that_is_far_too_long_to_print", 0.085),
        ("n_distinct_categories_91d", 0.0512),
        ("share_weekend_91d", 0.0213),
    ]
    return Report(
        title="Churn within 28 days: boosting on the grocery log",
        verdict=verdict(metrics[0], "rfm"),
        label_in_words="True for a user without a purchase in the 28 days from the cutoff on.",
        population_in_words="Every user with at least one purchase in the 28 days before the cutoff.",
        model="boosting",
        baseline="rfm",
        metrics=metrics,
        detail=_binary_detail(),
        splits=_splits(1_892, is_binary=True),
        counts=COUNTS,
        facts=[
            ("Horizon", "28 days"),
            ("Trees", "412, by early stopping on validation"),
            ("Calibration", "isotonic, on validation"),
            ("Intervals", "1,000 resamples of users, seed 0"),
        ],
        per_cutoff=[
            CutoffRow("2017-11-20", 1_880, 0.847, 0.829),
            CutoffRow("2017-12-04", 1_892, 0.851, 0.831),
        ],
        importance=Importance(
            features,
            "Mean absolute contribution to the score (TreeSHAP, in log odds) over the test rows; it says "
            "what the model uses, not what causes churn.",
        ),
        notes=[
            "14 users had no purchase that survived cleaning; they got the baseline's score.",
            "The scores of predict come from a second fit on all windows, which this page does not judge.",
        ],
        config_yaml=CONFIG,
    )


@pytest.fixture
def ranking_report() -> Report:
    def at(k: int, model: float, baseline: float, half: float) -> BarAtK:
        return BarAtK(
            k,
            Interval(model, model - half, model + half),
            Interval(baseline, baseline - half, baseline + half),
        )

    metrics = [
        _metric("ndcg@10", "NDCG@10", 0.1134, 0.1171, 0.0052),
        _metric("hit_rate@10", "Hit rate@10", 0.514, 0.502, 0.011, unit="percent"),
        _metric("recall@10", "Recall@10", 0.0871, 0.0665, 0.0041),
        _metric("map@10", "MAP@10", 0.0512, 0.0398, 0.0029),
        _metric("mrr@10", "MRR@10", 0.2712, 0.2411, 0.0102),
        _metric("ndcg@10_repeat", "NDCG@10", 0.1822, 0.1207, 0.0066, group="Items bought before"),
        _metric("recall@10_repeat", "Recall@10", 0.1614, 0.1101, 0.0058, group="Items bought before"),
        _metric("ndcg@10_new", "NDCG@10", 0.0131, 0.0204, 0.0027, group="New items"),
        _metric(
            "coverage@10", "Catalogue coverage@10", 0.214, 0.0004, 0.004, unit="percent", group="Variety"
        ),
    ]
    plots = [
        RankingPlot(
            "NDCG", [at(5, 0.121, 0.119, 0.006), at(10, 0.113, 0.117, 0.005), at(20, 0.128, 0.112, 0.005)]
        ),
        RankingPlot(
            "Recall", [at(5, 0.051, 0.041, 0.003), at(10, 0.087, 0.067, 0.004), at(20, 0.131, 0.099, 0.005)]
        ),
        RankingPlot(
            "Hit rate",
            [at(5, 0.41, 0.39, 0.011), at(10, 0.51, 0.50, 0.011), at(20, 0.63, 0.58, 0.012)],
            "percent",
        ),
    ]
    return Report(
        title="Items wanted within 14 days: item_knn on the grocery log",
        verdict=verdict(metrics[0], "popularity"),
        label_in_words="The items that the user buys in the 14 days from the cutoff on.",
        population_in_words="Every user with any event in the 91 days before the cutoff.",
        model="item_knn",
        baseline="popularity",
        metrics=metrics,
        detail=RankingDetail(plots),
        splits=_splits(2_204, is_binary=False),
        counts=COUNTS,
        facts=[("Catalogue", "68,509 items"), ("Lists", "5, 10 and 20 items")],
        config_yaml=CONFIG,
    )


@pytest.fixture(scope="session")
def browse(tmp_path_factory):
    """Open a page in a real browser; return its DOM and what it said on the console."""
    found = [shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")]
    browser = next(filter(None, found), None)
    if browser is None:
        pytest.skip("no chromium on PATH, so the page is not opened in a real browser")
    folder = tmp_path_factory.mktemp("browser")
    switches = ["no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking"]
    switches += ["disable-component-update", "disable-sync", "hide-scrollbars", "enable-logging=stderr"]
    flags = ["--headless", *(f"--{switch}" for switch in switches)]

    def run(text: str) -> tuple[str, list[str]]:
        path = Path(folder, "page.html")
        path.write_text(text, encoding="utf-8")
        command = [browser, *flags, f"--user-data-dir={folder / 'profile'}", "--dump-dom", path.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]

    return run
