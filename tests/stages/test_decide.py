"""Who is targeted and who is left alone, in the score file and on the test windows."""

import json
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from planted_shops import ASKING
from shops import Shop
from stage_runs import Runs, table

from ecbehave.config.decision import CapacityDecision, F1Decision, ProbabilityDecision, ProfitDecision
from ecbehave.stages.decide import Rule, is_control

CopyOf = Callable[..., Runs]
LATEST = date(2024, 4, 21)
META = {"f1_threshold": 0.4}
USERS = np.random.default_rng(0).integers(0, 2**64, 50_000, dtype=np.uint64)
PROFIT = {"kind": "profit", "value": 30.0, "cost": 1.5, "success_rate": 0.25}


def scores(runs: Runs) -> pl.DataFrame:
    artifact = runs.context().workspace.read(f"shop/predictions/as_of={LATEST}")
    assert artifact is not None
    return table(artifact, "scores.parquet")


def judged(runs: Runs) -> tuple[dict[str, Any], pl.DataFrame, str]:
    folder = runs.shop.workspace / "shop/evaluation"
    metrics: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    page = (folder / "report.html").read_text(encoding="utf-8").replace("\N{NO-BREAK SPACE}", " ")
    return metrics, pl.read_parquet(folder / "test_scores.parquet"), page


# The rule


@pytest.mark.parametrize(
    ("decision", "threshold", "top"),
    [
        (F1Decision(), 0.4, None),
        (ProbabilityDecision(kind="probability", threshold=0.123), 0.123, None),
        (ProfitDecision(kind="profit", value=20, cost=1, success_rate=0.1), 0.5, None),
        (CapacityDecision(kind="capacity", top=3), None, 3),
    ],
)
def test_each_kind_has_its_rule(decision: Any, threshold: float | None, top: int | None) -> None:
    rule = Rule.of(decision, META)
    assert (rule.threshold, rule.top) == (threshold, top)


def test_a_threshold_takes_the_probability_and_a_capacity_the_place() -> None:
    probability, place = np.array([0.1, 0.4, 0.9, 0.4]), np.array([3, 1, 0, 2])
    assert Rule.of(F1Decision(), META).targets(probability, place).tolist() == [False, True, True, True]
    top = Rule.of(CapacityDecision(kind="capacity", top=2), META)
    assert top.targets(probability, place).tolist() == [False, True, True, False]


# The control group


def test_the_control_group_is_as_large_as_asked_for() -> None:
    for share in (0.0, 0.03, 0.5, 0.9):
        found = is_control(USERS, LATEST, 0, share).mean()
        assert found == pytest.approx(share, abs=4 * (0.25 / USERS.size) ** 0.5)
    assert not is_control(USERS, LATEST, 0, 0.0).any()


def test_it_depends_on_the_user_the_night_and_the_seed_alone() -> None:
    found = is_control(USERS, LATEST, 0, 0.2)
    order = np.random.default_rng(1).permutation(USERS.size)
    assert (is_control(USERS[order], LATEST, 0, 0.2) == found[order]).all()
    assert (is_control(USERS[:100], LATEST, 0, 0.2) == found[:100]).all()
    for other in (is_control(USERS, LATEST + timedelta(days=1), 0, 0.2), is_control(USERS, LATEST, 1, 0.2)):
        # Drawn anew: a fifth of a fifth is in both.
        assert (other & found).mean() == pytest.approx(0.04, abs=0.005)


def test_a_larger_share_keeps_who_was_in() -> None:
    assert is_control(USERS, LATEST, 0, 0.3)[is_control(USERS, LATEST, 0, 0.1)].all()


def test_neighbouring_hashes_and_seeds_are_not_alike() -> None:
    near = np.arange(50_000, dtype=np.uint64)
    found = is_control(near, LATEST, 7, 0.5)
    assert found.mean() == pytest.approx(0.5, abs=0.01)
    assert (found[1:] == found[:-1]).mean() == pytest.approx(0.5, abs=0.01)
    assert (found == is_control(near, LATEST, 8, 0.5)).mean() == pytest.approx(0.5, abs=0.01)


# Scores


def test_by_default_the_threshold_is_that_of_the_validation_window(asking: Runs) -> None:
    found = scores(asking)
    meta = json.loads((asking.shop.workspace / "shop/model/refit/meta.json").read_text())
    assert found["is_targeted"].equals(found["probability"] >= meta["f1_threshold"], check_names=False)
    assert 0 < found["is_targeted"].sum() < found.height
    assert not found["is_control"].any()


def test_a_capacity_takes_the_highest_scores(asking: Runs, copy_of: CopyOf) -> None:
    runs = copy_of(asking, **ASKING, decision={"kind": "capacity", "top": 11})
    outcome = runs.do("predict")
    said, found = runs.said, scores(runs)
    assert found["is_targeted"].sum() == 11
    assert found.filter("is_targeted")["score"].min() >= found.filter(~pl.col("is_targeted"))["score"].max()  # type: ignore[operator]
    assert outcome.artifact.counts["targeted"] == 11
    assert said == [
        f"predict: {found.height} users scored as of 2024-04-21 for the days up to 2024-04-28; 11 targeted"
    ]


def test_a_capacity_beyond_the_population_takes_everybody(asking: Runs, copy_of: CopyOf) -> None:
    runs = copy_of(asking, **ASKING, decision={"kind": "capacity", "top": 10_000})
    runs.do("predict")
    assert scores(runs)["is_targeted"].all()


def test_a_control_group_is_kept_out_of_the_targeted(asking: Runs, copy_of: CopyOf) -> None:
    whole = copy_of(asking, **ASKING, decision={"kind": "probability", "threshold": 0.01})
    whole.do("predict")
    decision = {"kind": "probability", "threshold": 0.01, "control_share": 0.4}
    runs = copy_of(asking, **ASKING, decision=decision)
    counts = runs.do("predict").artifact.counts
    said, found, without = runs.said, scores(runs), scores(whole)
    assert not (found["is_targeted"] & found["is_control"]).any()
    assert (found["is_targeted"] | found["is_control"]).equals(without["is_targeted"], check_names=False)
    n = int(without["is_targeted"].sum())
    assert counts["control"] == found["is_control"].sum()
    assert 0.2 * n < counts["control"] < 0.6 * n
    told_apart = pl.exclude("is_targeted", "is_control", "^reason_.$")  # who is left alone needs no reason
    assert found.select(told_apart).equals(without.select(told_apart))
    assert said[-1].endswith(f"; {counts['targeted']} targeted, {counts['control']} left alone as control")


def test_another_decision_needs_no_training(asking: Runs, copy_of: CopyOf) -> None:
    runs = copy_of(asking, **ASKING, decision=PROFIT)
    assert runs.do("train").status == "skipped"
    assert runs.do("predict").status == "done"
    assert scores(runs)["is_targeted"].equals(scores(runs)["probability"] >= 0.2, check_names=False)
    assert runs.do("evaluate").status == "done"


# The test windows


@pytest.fixture(scope="module")
def paying(asking: Runs, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Churn with a price, on two test cutoffs."""
    shop = Shop(tmp_path_factory.mktemp("paying") / "shop")
    shop.write(pl.read_csv(asking.shop.raw / "events.csv").filter(pl.int_range(pl.len()) % 4 != 0))
    shop.write_items()
    settings = ASKING | {"split": {"step": "7d", "train": 4, "test": 2}, "decision": PROFIT}
    runs = Runs(shop, shop.config(**settings))
    runs.do("ingest", "clean", "features", "train", "evaluate")
    return runs


def test_profit_is_that_of_the_rows(paying: Runs) -> None:
    metrics, rows, page = judged(paying)
    assert (metrics["threshold"], metrics["baseline_threshold"]) == (0.2, 0.2)
    assert metrics["decision"] == {"kind": "profit", "top": None, "origin": "where targeting starts to pay"}
    found = metrics["profit"]
    for side, prefix in (("model", ""), ("baseline", "baseline_")):
        of = rows.filter(pl.col(f"{prefix}probability") >= 0.2)
        assert found[side]["value"] == pytest.approx(of["label"].sum() * 7.5 - of.height * 1.5)
        assert found[side]["low"] < found[side]["value"] < found[side]["high"]
    assert found["difference"]["value"] == pytest.approx(found["model"]["value"] - found["baseline"]["value"])
    targeted = rows.filter("is_targeted")
    assert found["expected"] == pytest.approx((targeted["probability"] * 7.5 - 1.5).sum())
    assert found["everybody"] == pytest.approx(rows["label"].sum() * 7.5 - rows.height * 1.5)
    assert "What the decision brings" in page
    assert f"By its probabilities the model promised {found['expected']:,.0f} from" in page


def test_the_interval_of_the_profit_is_that_of_resampled_users(paying: Runs) -> None:
    """By hand: users are drawn with both of their cutoffs."""
    metrics, rows, _ = judged(paying)
    brought = rows.group_by("user_id", maintain_order=True).agg(
        profit=((pl.col("label") * 7.5 - 1.5) * pl.col("is_targeted")).sum()
    )["profit"]
    rng, n = np.random.default_rng(5), len(brought)
    draws = [brought.to_numpy()[rng.integers(n, size=n)].sum() for _ in range(2_000)]
    low, high = np.quantile(draws, [0.025, 0.975])
    found = metrics["profit"]["model"]
    assert found["high"] - found["low"] == pytest.approx(high - low, rel=0.3)
    assert (found["high"] + found["low"]) / 2 == pytest.approx((high + low) / 2, rel=0.2)


def test_capacity_holds_at_each_cutoff(paying: Runs, copy_of: CopyOf) -> None:
    settings = ASKING | {"split": {"step": "7d", "train": 4, "test": 2}}
    runs = copy_of(paying, **settings, decision={"kind": "capacity", "top": 9})
    runs.do("evaluate")
    metrics, rows, page = judged(runs)
    assert (
        rows.group_by("cutoff")
        .agg(pl.col("is_targeted", "baseline_is_targeted").sum())["is_targeted", "baseline_is_targeted"]
        .rows()
        == [(9, 9)] * 2
    )
    assert (metrics["threshold"], metrics["decision"]["top"]) == (None, 9)
    hits = rows.filter("is_targeted")["label"].sum()
    assert metrics["confusion"]["tp"] == hits
    assert metrics["metrics"]["precision"]["value"] == pytest.approx(hits / 18)
    assert metrics["metrics"]["recall"]["value"] == pytest.approx(hits / rows["label"].sum())
    baseline = rows.filter("baseline_is_targeted")["label"].sum()
    assert metrics["baseline_metrics"]["precision"]["value"] == pytest.approx(baseline / 18)
    assert f"With the 9 highest scores of each cutoff, 18 of {rows.height} rows are flagged" in page
    assert "profit" not in metrics
