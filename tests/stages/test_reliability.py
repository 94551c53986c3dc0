"""What is said of probabilities on the test windows, and of base rates that drift."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
from planted_shops import ASKING
from shops import PREFERENCE, Shop
from stage_runs import Runs

from ecbehave.errors import ConfigError
from ecbehave.metrics.chance import calibration_chance
from ecbehave.metrics.classification import calibration_error
from ecbehave.metrics.known_rates import at_known_rates
from ecbehave.stages import features
from ecbehave.stages.reliability import Drift, drifts

CopyOf = Callable[..., Runs]


def judged(runs: Runs) -> tuple[dict[str, Any], pl.DataFrame, str]:
    folder = runs.shop.workspace / "shop/evaluation"
    metrics: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    page = (folder / "report.html").read_text(encoding="utf-8").replace("\N{NO-BREAK SPACE}", " ")
    return metrics, pl.read_parquet(folder / "test_scores.parquet"), page


def test_the_calibration_error_stands_beside_what_chance_does(asking: Runs) -> None:
    metrics, rows, page = judged(asking)
    found = metrics["calibration"]
    for side, name, column in (
        ("model", "metrics", "probability"),
        ("baseline", "baseline_metrics", "baseline_probability"),
    ):
        assert found[side]["error"] == metrics[name]["calibration_error"]["value"]
        assert found[side]["chance"] == calibration_chance(rows[column], np.random.default_rng(0))
    assert found["method"] == "platt", "there are too few rows to choose by"
    assert sum(b["n"] for b in found["bins"]) == rows.height
    error, chance = found["model"]["error"], found["model"]["chance"]
    assert f"The calibration error is {error:.3f}; chance alone gives up to {chance:.3f}" in page
    remains = calibration_error(
        rows["label"], at_known_rates(rows["label"], rows["probability"], rows["cutoff"])
    )
    assert found["model"]["at_known_rates"] == remains != found["baseline"]["at_known_rates"]
    note = f"chance alone gives up to {chance:.3f}; {remains:.3f} remains once each cutoff&#x27;s base rate is known"
    assert f"<small>{note}</small>" in page


@pytest.mark.parametrize("method", ["platt", "beta", "isotonic"])
def test_the_method_of_the_config_makes_the_probabilities(asking: Runs, copy_of: CopyOf, method: str) -> None:
    runs = copy_of(asking, **ASKING, calibration={"method": method})
    runs.do("train", "evaluate", "predict")
    metrics, rows, _ = judged(runs)
    assert metrics["calibration"]["method"] == method
    _, before, _ = judged(asking)
    assert rows["score"].equals(before["score"])
    in_order = rows.sort("score")["probability"]
    assert (in_order.diff().drop_nulls() >= -1e-12).all()
    assert rows["probability"].equals(before["probability"]) == (method == "platt")
    assert metrics["metrics"]["auroc"] == judged(asking)[0]["metrics"]["auroc"]


def test_segments_by_default_are_recency_and_frequency(asking: Runs) -> None:
    metrics, rows, page = judged(asking)
    found = metrics["segments"]
    assert [s["feature"] for s in found] == ["recency_days_purchase_all", "days_purchase_all"]
    for of in found:
        assert sum(s["n"] for s in of["segments"]) == rows.height
        expected = sum(s["n"] * s["rate"] for s in of["segments"])
        assert expected == pytest.approx(rows["label"].sum())
    assert "Are the probabilities right for everybody?" in page
    assert "Days since the last purchase" in page


def test_each_of_several_test_cutoffs_is_a_segment(asking: Runs, copy_of: CopyOf) -> None:
    runs = copy_of(asking, **ASKING | {"split": {"step": "7d", "train": 4, "test": 2}})
    runs.do("features", "train", "evaluate")
    metrics, rows, page = judged(runs)
    found = metrics["segments"][-1]
    assert (found["feature"], found["in_words"]) == ("cutoff", "test cutoff")
    assert [s["segment"] for s in found["segments"]] == ["2024-04-08", "2024-04-15"]
    for segment, (_, of) in zip(found["segments"], rows.group_by("cutoff", maintain_order=True), strict=True):
        assert (segment["n"], segment["rate"]) == (of.height, of["label"].mean())
    assert "Test cutoff" in page


def test_segments_are_those_of_the_features(asking: Runs, copy_of: CopyOf) -> None:
    runs = copy_of(asking, **ASKING, evaluate={"bootstrap": 100, "segments": ["count_question_7d"]})
    runs.do("evaluate")
    metrics, rows, _ = judged(runs)
    inputs = runs.context().workspace.read("shop/inputs")
    assert inputs is not None
    (test,) = features.read_inputs(inputs, "table", "test", "UTC")
    has_asked = test.frame.select("user_id", asked=pl.col("count_question_7d") >= 1)
    (found,) = metrics["segments"]
    (never, *asked) = found["segments"]
    assert never["segment"] == "0"
    of = rows.join(has_asked, on="user_id").filter(~pl.col("asked"))
    assert (never["n"], never["rate"]) == (of.height, of["label"].mean())
    assert never["mean_probability"] == pytest.approx(of["probability"].mean())
    # Whoever asked churns.
    assert all(s["rate"] == 1 for s in asked)


def test_a_segment_that_is_not_in_the_table_is_refused(asking: Runs, copy_of: CopyOf) -> None:
    runs = copy_of(asking, **ASKING, evaluate={"bootstrap": 100, "segments": ["count_questions_7d"]})
    with pytest.raises(ConfigError) as error:
        runs.do("evaluate")
    assert str(error.value) == (
        "evaluate.segments: the table has no feature or attribute 'count_questions_7d'; did you mean "
        "'count_question_7d'? `ecbehave config features` lists what there can be"
    )


def test_a_ranking_has_no_probabilities_to_speak_of(listing: Runs) -> None:
    metrics, _, page = judged(listing)
    assert not {"calibration", "segments", "base_rates", "decision"} & set(metrics)
    assert "Are the probabilities right" not in page


# Attributes


def test_an_attribute_is_named_as_in_the_config(asking: Runs, copy_of: CopyOf) -> None:
    runs = copy_of(asking)
    users = sorted({f"u{n:03d}" for n in range(80)} | {"fresh"})
    towns = ["Bonn" if n % 3 else "Ulm" for n in range(len(users))]
    pl.DataFrame({"id": users, "town": towns}).write_csv(runs.shop.raw / "users.csv")
    sources = [
        *runs.shop.settings["dataset"]["sources"],
        {
            "table": "users",
            "path": "raw/users.csv",
            "columns": {"user_id": "id", "town": "town"},
            "timeless": True,
        },
    ]
    evaluate = {"bootstrap": 100, "segments": ["town"]}
    runs.shop.config(**ASKING, dataset={"sources": sources}, evaluate=evaluate)
    runs.do("ingest", "clean", "features", "train", "evaluate")
    metrics, rows, page = judged(runs)
    (found,) = metrics["segments"]
    assert found["feature"] == "attribute_town_all"
    n_of = dict(zip(users, towns, strict=True))
    expected = rows["user_id"].replace_strict(n_of).value_counts(sort=True).rows()
    assert [(s["segment"], s["n"]) for s in found["segments"]] == expected
    assert "Bonn" in page


# Drift


def test_stable_rates_are_no_drift(asking: Runs) -> None:
    metrics, _, page = judged(asking)
    assert metrics["warnings"] == []
    assert [(d["earlier"], d["later"]) for d in metrics["base_rates"]] == [
        ("train", "validation"),
        ("validation", "test"),
    ]
    assert "The base rate" not in page


def test_rates_are_those_of_the_windows(asking: Runs) -> None:
    inputs = asking.context().workspace.read("shop/inputs")
    assert inputs is not None
    rate = {}
    for split in ("train", "validation", "test"):
        parts = features.read_inputs(inputs, "table", split, "UTC")
        rate[split] = np.concatenate([part.label for part in parts]).mean()
    for drift in drifts(inputs, "UTC"):
        assert (drift.earlier_rate, drift.later_rate) == (rate[drift.earlier], rate[drift.later])


def test_a_base_rate_that_drifts_is_said_and_shown(asking: Runs, tmp_path: Any) -> None:
    """In the last week three of four purchases fall away."""
    log = pl.read_csv(asking.shop.raw / "events.csv")
    is_lost = (
        (pl.col("kind") == "purchase") & (pl.col("time") >= "2024-04-15") & (pl.int_range(pl.len()) % 4 != 0)
    )
    shop = Shop(tmp_path / "shop")
    shop.write(log.filter(~is_lost))
    shop.write_items()
    runs = Runs(shop, shop.config(**ASKING))
    runs.do("ingest", "clean", "features", "train")
    runs.do("evaluate")
    said, (metrics, _, page) = runs.said, judged(runs)
    (warning,) = metrics["warnings"]
    drift = metrics["base_rates"][1]
    assert drift["is_drift"]
    before, after = (f"{100 * drift[side]:.1f} %" for side in ("earlier_rate", "later_rate"))
    assert warning == (
        f"the base rate rises from {before} in the validation to {after} in the test windows, by more than chance "
        f"(z = {drift['z']:.1f}) and by more than a factor of 1.2 in the odds, so that probabilities learned before "
        f"are too low after it. If such weeks come and go, set split.validation higher: calibration then learns from "
        f"several windows"
    )
    assert f"evaluate: {warning}" in said
    assert f"The{warning[3:]}." in page


@pytest.mark.parametrize(
    ("z", "ratio", "is_drift"),
    [(2.5, 1.3, True), (-2.5, 1 / 1.3, True), (1.9, 1.3, False), (9.0, 1.19, False), (-9.0, 1 / 1.19, False)],
)
def test_drift_is_more_than_chance_and_more_than_the_factor(z: float, ratio: float, is_drift: bool) -> None:
    assert Drift("train", "test", 0.1, 0.1, z, ratio).is_drift == is_drift


def test_a_rate_that_falls_makes_probabilities_too_high() -> None:
    text = Drift("train", "validation", 0.2, 0.1, -8.0, 0.4).in_words()
    assert text.startswith("the base rate falls from 20.0 % in the train to 10.0 % in the validation windows")
    assert "too high after it" in text


@pytest.mark.parametrize(
    ("section", "value", "key"),
    [
        ("calibration", {"method": "beta"}, "calibration"),
        ("decision", {"kind": "capacity", "top": 5}, "decision"),
        ("evaluate", {"segments": ["days_any_all"]}, "evaluate.segments"),
    ],
)
def test_what_needs_probabilities_is_refused_for_lists(
    shop: Shop, section: str, value: Any, key: str
) -> None:
    runs = Runs(shop, shop.config(**PREFERENCE | {section: value}))
    with pytest.raises(
        ConfigError, match=f"{key} is for the tasks purchase and churn; take it out for preference"
    ):
        runs.context()
