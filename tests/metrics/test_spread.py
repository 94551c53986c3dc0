"""Metrics cutoff by cutoff, and their spread."""

from datetime import UTC, datetime
from statistics import mean, stdev
from typing import Any

import numpy as np
import polars as pl
import pytest

from ecbehave.metrics import classification
from ecbehave.metrics.bootstrap import BINARY_METRICS, compare_binary, compare_fits
from ecbehave.metrics.spread import binary_at, over_time, ranking_at

CUTOFF = datetime(2024, 1, 1, tzinfo=UTC)


def rows(n: int = 400, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    label = rng.integers(2, size=n)
    score = rng.normal(size=n).round(1) + label
    return pl.DataFrame(
        {
            "user_id": [f"u{i}" for i in range(n)],
            "cutoff": [CUTOFF] * n,
            "label": label,
            "score": score,
            "probability": 1 / (1 + np.exp(-score)),
            "baseline_score": rng.normal(size=n),
            "baseline_probability": rng.uniform(size=n),
        }
    ).with_columns(is_targeted=pl.col("probability") > 0.6, baseline_is_targeted=pl.col("baseline_score") > 1)


def test_one_cutoff_has_the_metrics_of_the_comparison() -> None:
    frame = rows()
    at = binary_at(frame["label"], frame["score"], frame["probability"], frame["is_targeted"])
    compared = compare_binary(frame, 0.6, 0.5, 100, np.random.default_rng(0))["model"]
    assert tuple(at) == BINARY_METRICS
    assert at == {name: pytest.approx(compared[name]["value"], abs=1e-12) for name in BINARY_METRICS}
    assert at["auroc"] == classification.auroc(frame["label"], frame["score"])


def test_what_is_undefined_with_one_class_is_none() -> None:
    at = binary_at([0, 0, 0], [0.1, 0.2, 0.3], [0.1, 0.2, 0.3], [False] * 3)
    assert at["auroc"] is None
    assert at["precision"] is None
    assert at["accuracy"] == 1.0


def test_a_ranking_is_the_mean_over_users_who_have_such_an_item() -> None:
    per_user = pl.DataFrame(
        {
            "user_id": ["a", "b", "c"],
            "cutoff": [CUTOFF] * 3,
            "ndcg@10": [0.0, 0.5, 1.0],
            "new_recall@10": [None, 0.25, 0.75],
            "repeat_recall@10": pl.Series([None, None, None], dtype=pl.Float64),
        }
    )
    assert ranking_at(per_user) == {"ndcg@10": 0.5, "new_recall@10": 0.5, "repeat_recall@10": None}


def test_the_spread_over_cutoffs_by_hand() -> None:
    model: list[dict[str, Any]] = [
        {"auroc": 0.7, "log_loss": 0.5},
        {"auroc": 0.8, "log_loss": 0.3},
        {"auroc": 0.9, "log_loss": 0.5},
    ]
    baseline: list[dict[str, Any]] = [
        {"auroc": 0.7, "log_loss": 0.4},
        {"auroc": 0.6, "log_loss": 0.4},
        {"auroc": 0.8, "log_loss": 0.9},
    ]
    found = over_time(model, baseline)
    assert list(found) == ["auroc", "log_loss"]
    assert found["auroc"]["model"] == pytest.approx(
        {"n": 3, "mean": 0.8, "deviation": stdev([0.7, 0.8, 0.9]), "low": 0.7, "high": 0.9}
    )
    assert found["auroc"]["baseline"]["mean"] == pytest.approx(0.7)
    differences = [0.0, 0.2, 0.1]
    assert found["auroc"]["difference"] == pytest.approx(
        {"n": 3, "mean": mean(differences), "deviation": stdev(differences), "low": 0.0, "high": 0.2}
    )
    assert found["auroc"]["n_better"] == 2, "as good is not better"
    assert found["log_loss"]["n_better"] == 2, "a smaller loss is better"


def test_cutoffs_at_which_a_metric_is_undefined_do_not_count() -> None:
    found = over_time([{"f1": 0.5}, {"f1": None}], [{"f1": 0.4}, {"f1": 0.9}])["f1"]
    assert found["model"] == {"n": 1, "mean": 0.5, "deviation": None, "low": 0.5, "high": 0.5}
    assert found["baseline"]["n"] == 2
    assert found["difference"]["n"] == 1
    assert found["n_better"] == 1
    nothing = over_time([{"f1": None}], [{"f1": 0.1}])["f1"]
    assert nothing["model"] == {"n": 0, "mean": None, "deviation": None, "low": None, "high": None}
    assert nothing["n_better"] == 0


def test_fits_are_judged_each_by_itself_and_averaged() -> None:
    """Scores of the second fit are far above those of the first, so pooled they would be no ranking at all."""
    parts = [rows(200, 0), rows(300, 1).with_columns(pl.col("score") + 100, cutoff=CUTOFF.replace(day=8))]
    found = compare_fits(parts, 200, np.random.default_rng(0))
    at = [binary_at(p["label"], p["score"], p["probability"], p["is_targeted"]) for p in parts]
    for name in BINARY_METRICS:
        assert found["model"][name]["value"] == pytest.approx(mean([a[name] or 0 for a in at]), abs=1e-12)
    at = [
        binary_at(p["label"], p["baseline_score"], p["baseline_probability"], p["baseline_is_targeted"])
        for p in parts
    ]
    for name in BINARY_METRICS:
        assert found["baseline"][name]["value"] == pytest.approx(mean([a[name] or 0 for a in at]), abs=1e-12)
    interval = found["model"]["auroc"]
    assert interval["low"] < interval["value"] < interval["high"]  # type: ignore[operator]


def test_users_are_drawn_with_their_rows_of_all_fits() -> None:
    """The same rows at two cutoffs: the interval is as wide as with one, and not narrower."""
    first = rows(200, 0)
    second = first.with_columns(cutoff=CUTOFF.replace(day=8))
    one = compare_fits([first], 100, np.random.default_rng(0))
    two = compare_fits([first, second], 100, np.random.default_rng(0))
    for side in ("model", "baseline", "difference"):
        for name in BINARY_METRICS:
            assert two[side][name] == pytest.approx(one[side][name])  # type: ignore[literal-required]


def test_a_fit_in_which_a_metric_is_undefined_does_not_count_for_it() -> None:
    first = rows(200, 0)
    without = rows(50, 1).with_columns(label=pl.lit(0, pl.Int64), cutoff=CUTOFF.replace(day=8))
    found = compare_fits([first, without], 100, np.random.default_rng(0))
    alone = compare_fits([first], 100, np.random.default_rng(0))
    assert found["model"]["auroc"]["value"] == alone["model"]["auroc"]["value"]
    assert found["model"]["brier"]["value"] != alone["model"]["brier"]["value"]
