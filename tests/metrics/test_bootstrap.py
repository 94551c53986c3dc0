"""Intervals over users: pairing, determinism, and agreement with a bootstrap written out."""

import math
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest

from ecbehave.metrics import classification
from ecbehave.metrics.bootstrap import BINARY_METRICS, LOWER_IS_BETTER, compare_binary, compare_ranking
from ecbehave.schema import TS

CUTOFFS = [datetime(2024, 3, 1, tzinfo=UTC), datetime(2024, 4, 1, tzinfo=UTC)]


def scored(n_users: int = 300, seed: int = 0) -> pl.DataFrame:
    """Return two cutoffs per user, with a model that knows more than its baseline."""
    rng = np.random.default_rng(seed)
    n = 2 * n_users
    signal = rng.normal(size=n)
    label = (signal + rng.normal(size=n) > 0.5).astype(np.int8)
    score = signal.round(1)  # ties
    baseline_score = (signal + 3 * rng.normal(size=n)).round(1)
    return pl.DataFrame(
        {
            "user_id": [f"u{i:04d}" for i in range(n_users) for _ in CUTOFFS],
            "cutoff": pl.Series(CUTOFFS * n_users, dtype=TS),
            "label": label,
            "score": score,
            "probability": 1 / (1 + np.exp(-1.5 * (score - 0.5))),
            "baseline_score": baseline_score,
            "baseline_probability": 1 / (1 + np.exp(-0.3 * baseline_score)),
        }
    )


def ranked(n_users: int = 200, seed: int = 0, gain: float = 0.0) -> pl.DataFrame:
    """Return two cutoffs per user with two metrics, the second null for a third of the rows."""
    rng = np.random.default_rng(seed)
    n = 2 * n_users
    return pl.DataFrame(
        {
            "user_id": [f"u{i:04d}" for i in range(n_users) for _ in CUTOFFS],
            "cutoff": pl.Series(CUTOFFS * n_users, dtype=TS),
            "ndcg@5": rng.random(n) + gain,
            "new_recall@5": pl.Series([None if i % 3 == 0 else v for i, v in enumerate(rng.random(n))]),
        }
    )


def shuffled(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.sample(fraction=1, shuffle=True, seed=5)


def test_values_are_the_metrics_of_all_rows():
    frame = scored()
    found = compare_binary(frame, 0.4, 0.6, 10, np.random.default_rng(0))
    label = frame["label"]
    for side, prefix, threshold in (("model", "", 0.4), ("baseline", "baseline_", 0.6)):
        score, probability = frame[f"{prefix}score"], frame[f"{prefix}probability"]
        confusion = classification.confusion(label, probability, threshold)
        expected = {
            "auroc": classification.auroc(label, score),
            "auprc": classification.auprc(label, score),
            "log_loss": classification.log_loss(label, probability),
            "brier": classification.brier(label, probability),
            "calibration_error": classification.calibration_error(label, probability),
            "accuracy": confusion.accuracy,
            "precision": confusion.precision,
            "recall": confusion.recall,
            "f1": confusion.f1,
            "lift_10": classification.lift(label, score),
        }
        assert tuple(expected) == BINARY_METRICS
        assert {name: found[side][name]["value"] for name in found[side]} == expected
    for name in BINARY_METRICS:
        difference = found["model"][name]["value"] - found["baseline"][name]["value"]
        assert found["difference"][name]["value"] == difference


def test_intervals_are_those_of_resampled_users_written_out():
    frame = scored(n_users=40).sort("user_id", "cutoff")
    found = compare_binary(frame, 0.5, 0.5, 60, np.random.default_rng(7))
    users = frame["user_id"].unique().sort()
    rng = np.random.default_rng(7)
    draws = []
    for _ in range(60):
        drawn = pl.DataFrame({"user_id": users[rng.integers(40, size=40)]})
        rows = drawn.join(frame, on="user_id")  # a user drawn twice brings all of their rows twice
        pair = [classification.auroc(rows["label"], rows[column]) for column in ("score", "baseline_score")]
        draws.append(pair)
    model, baseline = np.array(draws).T
    for side, values in (("model", model), ("baseline", baseline), ("difference", model - baseline)):
        low, high = np.percentile(values, [2.5, 97.5])
        assert found[side]["auroc"]["low"] == pytest.approx(low, rel=1e-12)
        assert found[side]["auroc"]["high"] == pytest.approx(high, rel=1e-12)


def test_a_model_that_is_its_baseline_differs_by_exactly_nothing():
    frame = scored().with_columns(baseline_score=pl.col("score"), baseline_probability=pl.col("probability"))
    found = compare_binary(frame, 0.5, 0.5, 100, np.random.default_rng(0))
    assert all(
        interval == {"value": 0.0, "low": 0.0, "high": 0.0} for interval in found["difference"].values()
    )
    assert found["model"] == found["baseline"]
    assert found["model"]["auroc"]["low"] < found["model"]["auroc"]["high"]


def test_a_planted_better_model_is_better_beyond_doubt():
    found = compare_binary(scored(), 0.5, 0.5, 200, np.random.default_rng(0))["difference"]
    assert found["auroc"]["low"] > 0
    assert found["auprc"]["low"] > 0
    assert found["log_loss"]["high"] < 0
    assert found["brier"]["high"] < 0
    assert {"log_loss", "brier", "calibration_error", "rmse", "mae"} == LOWER_IS_BETTER


def test_pairing_narrows_the_difference():
    frame = scored().with_columns(baseline_score=pl.col("score") + pl.col("baseline_score") / 10)
    found = compare_binary(frame, 0.5, 0.5, 200, np.random.default_rng(0))
    width = {side: found[side]["auroc"]["high"] - found[side]["auroc"]["low"] for side in found}
    assert width["difference"] < width["model"] / 2


def test_users_are_drawn_whole():
    # Every user twice with the same row: as many users, so the interval must be that of one cutoff.
    once = scored().filter(pl.col("cutoff") == CUTOFFS[0])
    twice = once.vstack(once.with_columns(cutoff=pl.lit(CUTOFFS[1], TS)))
    one = compare_binary(once, 0.5, 0.5, 100, np.random.default_rng(3))
    two = compare_binary(twice, 0.5, 0.5, 100, np.random.default_rng(3))
    for name in BINARY_METRICS:
        assert two["model"][name] == pytest.approx(one["model"][name], rel=1e-9)


def test_same_seed_same_result_whatever_the_order_of_rows():
    frame = scored()
    first = compare_binary(frame, 0.5, 0.5, 50, np.random.default_rng(1))
    assert compare_binary(shuffled(frame), 0.5, 0.5, 50, np.random.default_rng(1)) == first
    assert compare_binary(frame, 0.5, 0.5, 50, np.random.default_rng(2)) != first


def test_resamples_without_both_classes_are_left_out():
    frame = scored(n_users=4).with_columns(label=(pl.col("user_id") == "u0000").cast(pl.Int8))
    auroc = compare_binary(frame, 0.5, 0.5, 200, np.random.default_rng(0))["model"]["auroc"]
    # A third of the draws of four users lack the only positive one: nan, were they kept.
    assert 0 <= auroc["low"] <= auroc["value"] <= auroc["high"] <= 1


def test_one_class_is_none_and_the_rest_has_values():
    frame = scored(n_users=10).with_columns(label=pl.lit(0, pl.Int8))
    found = compare_binary(frame, 0.99, 0.99, 20, np.random.default_rng(0))
    undefined = {"value": None, "low": None, "high": None}
    for side in ("model", "baseline", "difference"):
        for name in ("auroc", "auprc", "lift_10", "precision", "recall", "f1"):
            assert found[side][name] == undefined
        assert found[side]["brier"]["low"] is not None


def test_a_difference_needs_both_sides():
    frame = scored(n_users=50)
    found = compare_binary(frame, 0.5, 0.9999, 20, np.random.default_rng(0))
    assert found["model"]["precision"]["value"] is not None
    assert found["baseline"]["precision"]["value"] is None
    assert found["difference"]["precision"] == {"value": None, "low": None, "high": None}


def test_a_metric_no_resample_defines_keeps_its_value_without_interval():
    frame = scored(n_users=2).with_columns(label=(pl.col("user_id") == "u0000").cast(pl.Int8))
    seed = next(s for s in range(100) if np.ptp(np.random.default_rng(s).integers(2, size=2)) == 0)
    auroc = compare_binary(frame, 0.5, 0.5, 1, np.random.default_rng(seed))["model"]["auroc"]
    assert auroc["value"] is not None
    assert auroc["low"] is auroc["high"] is None


def test_binary_input_is_checked():
    frame, rng = scored(n_users=5), np.random.default_rng(0)
    with pytest.raises(ValueError, match="rows to judge: no rows, so there is nothing to compare"):
        compare_binary(frame.clear(), 0.5, 0.5, 10, rng)
    with pytest.raises(
        ValueError, match=r"rows to judge: 1 key\(s\) \(user_id, cutoff\) appear more than once"
    ):
        compare_binary(frame.vstack(frame.head(1)), 0.5, 0.5, 10, rng)
    with pytest.raises(ValueError, match=r"missing values \(10 in baseline_score\)"):
        compare_binary(frame.with_columns(baseline_score=pl.lit(None, pl.Float64)), 0.5, 0.5, 10, rng)


def test_ranking_values_are_means_of_what_is_not_null():
    model, baseline = ranked(seed=1), ranked(seed=2)
    found = compare_ranking(model, baseline, 10, np.random.default_rng(0))
    assert list(found["model"]) == ["ndcg@5", "new_recall@5"]
    for name in found["model"]:
        assert found["model"][name]["value"] == pytest.approx(model[name].mean())
        assert found["baseline"][name]["value"] == pytest.approx(baseline[name].mean())
        assert found["difference"][name]["value"] == pytest.approx(model[name].mean() - baseline[name].mean())


def test_ranking_intervals_are_those_of_resampled_users_written_out():
    model, baseline = ranked(30, seed=1), ranked(30, seed=2)
    found = compare_ranking(model, baseline, 50, np.random.default_rng(7))
    users = model["user_id"].unique().sort()
    rng = np.random.default_rng(7)
    draws = []
    for _ in range(50):
        drawn = pl.DataFrame({"user_id": users[rng.integers(30, size=30)]})
        model_mean, baseline_mean = (
            drawn.join(table, on="user_id")["new_recall@5"].mean() for table in (model, baseline)
        )
        draws.append(model_mean - baseline_mean)
    low, high = np.percentile(draws, [2.5, 97.5])
    assert found["difference"]["new_recall@5"]["low"] == pytest.approx(low, rel=1e-9)
    assert found["difference"]["new_recall@5"]["high"] == pytest.approx(high, rel=1e-9)


def test_ranking_pairs_by_key_and_ignores_the_order_of_rows_and_columns():
    model, baseline = ranked(seed=1), ranked(seed=2)
    first = compare_ranking(model, baseline, 30, np.random.default_rng(1))
    other = baseline.select(reversed(baseline.columns))
    assert compare_ranking(shuffled(model), other, 30, np.random.default_rng(1)) == first


def test_ranking_of_the_same_lists_differs_by_exactly_nothing():
    found = compare_ranking(ranked(), shuffled(ranked()), 100, np.random.default_rng(0))
    assert all(
        interval == {"value": 0.0, "low": 0.0, "high": 0.0} for interval in found["difference"].values()
    )


def test_a_planted_better_ranking_is_better_beyond_doubt():
    found = compare_ranking(ranked(seed=1, gain=0.2), ranked(seed=2), 100, np.random.default_rng(0))
    assert found["difference"]["ndcg@5"]["low"] > 0


def test_a_column_of_nulls_has_no_mean():
    empty = ranked(5).with_columns(pl.lit(None, pl.Float64).alias("new_recall@5"))
    found = compare_ranking(empty, empty, 20, np.random.default_rng(0))
    assert found["difference"]["new_recall@5"] == {"value": None, "low": None, "high": None}
    assert not math.isnan(found["model"]["ndcg@5"]["low"])


def test_ranking_input_is_checked():
    model, rng = ranked(5), np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"3 key\(s\) only in the model's table, 0 only in the baseline's"):
        compare_ranking(model, model.tail(7), 10, rng)
    with pytest.raises(ValueError, match=r"0 key\(s\) only in the model's table, 1 only in the baseline's"):
        compare_ranking(model.tail(9), model, 10, rng)
    with pytest.raises(ValueError, match="model and baseline have different columns"):
        compare_ranking(model, model.drop("ndcg@5"), 10, rng)
    with pytest.raises(ValueError, match="model and baseline have nulls in different places"):
        compare_ranking(model, model.with_columns(pl.col("new_recall@5").fill_null(0)), 10, rng)
    with pytest.raises(ValueError, match="the model's users: no rows"):
        compare_ranking(model.clear(), model, 10, rng)
    with pytest.raises(ValueError, match=r"the baseline's users: 2 key\(s\) \(user_id, cutoff\) appear more"):
        compare_ranking(model, model.vstack(model.head(2)), 10, rng)


def test_rows_of_pairs_are_told_by_a_further_key():
    """The same rows as of one item and of two: each user is drawn with all of theirs."""
    frame = scored(n_users=40)
    pairs = pl.concat([frame.with_columns(item_id=pl.lit(item)) for item in ("i1", "i2")])
    keys = ("user_id", "cutoff", "item_id")
    found = compare_binary(pairs, 0.5, 0.5, 100, np.random.default_rng(0), keys)
    once = compare_binary(frame, 0.5, 0.5, 100, np.random.default_rng(0))
    for side in ("model", "difference"):
        for bound in ("value", "low", "high"):
            assert found[side]["auroc"][bound] == pytest.approx(once[side]["auroc"][bound], rel=1e-12)
    shuffled = pairs.sample(fraction=1, shuffle=True, seed=3)
    assert compare_binary(shuffled, 0.5, 0.5, 100, np.random.default_rng(0), keys) == found
    with pytest.raises(ValueError, match="rows to judge: 80 key"):
        compare_binary(pairs, 0.5, 0.5, 100, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"rows to judge: missing values \(80 in item_id\)"):
        compare_binary(
            frame.with_columns(item_id=pl.lit(None, pl.String)), 0.5, 0.5, 100, np.random.default_rng(0), keys
        )
