"""Many models on the same users: a difference is real or not, whatever the number of comparisons."""

from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
from scipy.stats import norm, t

from ecbehave.metrics import classification
from ecbehave.metrics.bootstrap import Interval
from ecbehave.metrics.contest import Contest, contest_of_means, contest_of_scores
from ecbehave.schema import TS

CUTOFFS = [datetime(2024, 3, 1, tzinfo=UTC), datetime(2024, 4, 1, tzinfo=UTC)]


def keys(n_users: int) -> pl.DataFrame:
    """Two cutoffs per user."""
    users = [f"u{i:04d}" for i in range(n_users) for _ in CUTOFFS]
    return pl.DataFrame({"user_id": users, "cutoff": pl.Series(CUTOFFS * n_users, dtype=TS)})


def scored(noises: list[float], n_users: int = 300, seed: int = 0) -> tuple[pl.DataFrame, list[str]]:
    """Models that see the truth through noise of their own, and their names."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=2 * n_users)
    frame = keys(n_users).with_columns(
        label=pl.Series((truth + rng.normal(size=truth.size) > 0.5).astype(np.int8))
    )
    names = [f"m{i}" for i in range(len(noises))]
    columns = [
        pl.Series(name, (truth + noise * rng.normal(size=truth.size)).round(1))
        for name, noise in zip(names, noises, strict=True)
    ]
    return frame.with_columns(columns), names


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_values_and_differences_are_those_of_all_rows():
    frame, names = scored([0.1, 1.0, 3.0])
    found = contest_of_scores(frame, names, 100, rng())
    expected = [classification.auroc(frame["label"], frame[name]) for name in names]
    assert [model["value"] for model in found.models] == expected
    assert found.difference.tolist() == [[a - b for b in expected] for a in expected]
    assert found.n_users == 300


def test_intervals_are_those_of_resampled_users_written_out():
    frame, names = scored([0.3, 0.5, 2.0], n_users=40)
    found = contest_of_scores(frame.sample(fraction=1, shuffle=True, seed=5), names, 80, rng(7))
    users = frame["user_id"].unique().sort()
    source, draws = rng(7), []
    for _ in range(80):
        drawn = pl.DataFrame({"user_id": users[source.integers(40, size=40)]})
        rows = drawn.join(frame, on="user_id")  # a user drawn twice brings all of their rows twice
        draws.append([classification.auroc(rows["label"], rows[name]) for name in names])
    for n, model in enumerate(found.models):
        low, high = np.percentile([draw[n] for draw in draws], [2.5, 97.5])
        assert (model["low"], model["high"]) == pytest.approx((low, high), rel=1e-12)
    pairs = [(0, 1), (0, 2), (1, 2)]
    spread = {(i, j): np.std([draw[i] - draw[j] for draw in draws]) for i, j in pairs}
    largest = [
        max(abs(draw[i] - draw[j] - found.difference[i, j]) / spread[i, j] for i, j in pairs)
        for draw in draws
    ]
    for i, j in pairs:
        in_spreads = t(39).ppf(norm.cdf(np.percentile(largest, 95)))
        assert found.margin[i, j] == pytest.approx(in_spreads * spread[i, j], rel=1e-9)
        assert found.margin[j, i] == found.margin[i, j]
    assert np.diag(found.margin).tolist() == [0, 0, 0]


def test_a_planted_difference_is_real_and_equals_are_not():
    frame, names = scored([0.5, 0.5, 4.0])
    found = contest_of_scores(frame, names, 300, rng())
    assert found.is_real(0).tolist() == [[False, False, True], [False, False, True], [True, True, False]]
    assert found.best in (0, 1)
    assert not found.is_real(0.5).any()


def test_a_difference_that_is_sure_but_smaller_than_what_counts_is_not_real():
    n_users = 200
    base = rng().random(2 * n_users)
    frame = keys(n_users).with_columns(a=pl.Series(base), b=pl.Series(base + 0.0005))
    found = contest_of_means(frame, ["a", "b"], 100, rng())
    assert found.is_real(0).tolist() == [[False, True], [True, False]]
    assert not found.is_real(0.001).any()


def test_a_copy_differs_by_exactly_nothing():
    frame, _ = scored([0.5, 1.0])
    found = contest_of_scores(frame.with_columns(m2="m0"), ["m0", "m1", "m2"], 100, rng())
    assert (found.difference[0, 2], found.margin[0, 2]) == (0, 0)
    assert not found.is_real(0)[0, 2]
    assert found.best == 0  # of equals the first


def test_more_comparisons_need_more():
    frame, names = scored([0.5, 0.6] + [1.0] * 8)
    two = contest_of_scores(frame, names[:2], 400, rng())
    ten = contest_of_scores(frame, names, 400, rng())
    assert ten.margin[0, 1] > 1.2 * two.margin[0, 1]


def test_among_equals_hardly_ever_any_difference_is_called_real():
    """Ten equal models have 45 differences; uncorrected, in two of three such contests one would be called real."""
    names = [f"m{i}" for i in range(10)]
    n_false = 0
    for seed in range(200):
        values = rng(seed).normal(size=(len(names), 100))
        frame = keys(50).with_columns(pl.Series(n, v) for n, v in zip(names, values, strict=True))
        n_false += contest_of_means(frame, names, 200, rng(seed)).is_real(0).any()
    assert n_false <= 20  # 5 % of 200, and what chance may add


def test_means_are_over_rows_and_draws_over_users():
    frame = pl.DataFrame(
        {
            "user_id": ["u1", "u1", "u2"],
            "cutoff": pl.Series([*CUTOFFS, CUTOFFS[0]], dtype=TS),
            "a": [1.0, 0.0, 0.5],
            "b": [0.0, 0.0, 0.75],
        }
    )
    found = contest_of_means(frame.reverse(), ["a", "b"], 100, rng())
    assert found.n_users == 2
    assert [model["value"] for model in found.models] == [0.5, 0.25]
    # Of two users the draws are one of them twice, or both.
    assert (found.models[1]["low"], found.models[1]["high"]) == (0, 0.75)
    assert found.models[0] == {"value": 0.5, "low": 0.5, "high": 0.5}


def test_draws_without_both_classes_are_left_out():
    frame, names = scored([0.5, 2.0], n_users=6)
    alone = frame.with_columns(label=(pl.int_range(pl.len()) == 3).cast(pl.Int8))
    found = contest_of_scores(alone, names, 100, rng())
    assert np.isfinite(found.margin).all()
    assert found.margin[0, 1] > 0


def test_pairs_are_told_by_their_own_keys():
    frame, names = scored([0.5, 2.0], n_users=40)
    doubled = pl.concat([frame.with_columns(item_id=pl.lit(item)) for item in ("a", "b")])
    found = contest_of_scores(doubled, names, 100, rng(), ("user_id", "cutoff", "item_id"))
    expected = contest_of_scores(frame, names, 100, rng())
    np.testing.assert_allclose(found.difference, expected.difference, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.margin, expected.margin, rtol=0, atol=1e-12)


def test_keys_twice_and_missing_values_are_refused():
    frame, names = scored([0.5, 2.0], n_users=3)
    with pytest.raises(
        ValueError, match=r"^rows to judge: 6 key\(s\) \(user_id, cutoff\) appear more than once"
    ):
        contest_of_scores(pl.concat([frame, frame]), names, 100, rng())
    with pytest.raises(ValueError, match=r"^rows to judge: missing values \(6 in m1\)"):
        contest_of_means(frame.with_columns(m1=pl.lit(None, pl.Float64)), names, 100, rng())


def test_scores_of_a_fit_for_each_cutoff_are_judged_apart():
    frame, names = scored([0.5, 2.0])
    shifted = frame.with_columns(m0=pl.col("m0") + 100 * (pl.col("cutoff") == CUTOFFS[1]))
    found = contest_of_scores(shifted, names, 100, rng(), by_cutoff=True)
    parts = shifted.partition_by("cutoff")
    expected = [np.mean([classification.auroc(p["label"], p[name]) for p in parts]) for name in names]
    assert [model["value"] for model in found.models] == pytest.approx(expected, rel=1e-12)
    assert found.models == contest_of_scores(frame, names, 100, rng(), by_cutoff=True).models
    assert contest_of_scores(shifted, names, 100, rng()).models[0] != found.models[0]


def test_the_other_sign_turns_values_and_differences_and_keeps_what_is_real():
    frame, names = scored([0.1, 1.0, 3.0])
    found = contest_of_scores(frame, names, 100, rng())
    turned = found.negated()
    assert [(m["value"], m["low"], m["high"]) for m in turned.models] == [
        (-m["value"], -m["high"], -m["low"])  # type: ignore[operator]
        for m in found.models
    ]
    assert turned.difference.tolist() == (-found.difference).tolist()
    assert turned.is_real(0.01).tolist() == found.is_real(0.01).tolist()
    assert turned.negated().models == found.models


def test_what_has_no_value_has_none_with_the_other_sign():
    undefined: Interval = {"value": None, "low": None, "high": None}
    contest = Contest((undefined,), np.zeros((1, 1)), np.zeros((1, 1)), 3)
    assert contest.negated().models == (undefined,)
