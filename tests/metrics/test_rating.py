"""Errors of predicted ratings, with intervals over users."""

from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import mean_absolute_error, root_mean_squared_error

from ecbehave.metrics.bootstrap import LOWER_IS_BETTER, compare_ranking
from ecbehave.metrics.rating import RATING_METRICS, compare_ratings, contest_of_errors, errors_of
from ecbehave.schema import TS

CUTOFF = datetime(2024, 3, 1, tzinfo=UTC)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def rated(noises: list[float], n_users: int = 60, seed: int = 0) -> tuple[pl.DataFrame, list[str]]:
    """Users with one to six ratings, and models that see them through noise of their own."""
    source = rng(seed)
    user = np.repeat(np.arange(n_users), source.integers(1, 7, n_users))
    rating = source.integers(1, 6, user.size).astype(np.float64)
    frame = pl.DataFrame(
        {
            "user_id": [f"u{n:03d}" for n in user],
            "cutoff": pl.Series([CUTOFF] * user.size, dtype=TS),
            "item_id": [f"i{n}" for n in range(user.size)],
            "rating": rating,
        }
    )
    names = [f"m{n}" for n in range(len(noises))]
    return frame.with_columns(
        pl.Series(name, rating + noise * source.normal(size=user.size))
        for name, noise in zip(names, noises, strict=True)
    ), names


def compared(frame: pl.DataFrame, n_resamples: int = 200, seed: int = 0) -> dict:
    return compare_ratings(
        frame.rename({"m0": "predicted", "m1": "baseline_predicted"}), n_resamples, rng(seed)
    )


def test_errors_by_hand():
    frame = pl.DataFrame({"rating": [1.0, 2.0, 5.0], "predicted": [2.0, 2.0, 3.0]})
    assert errors_of(frame) == {"rmse": pytest.approx((5 / 3) ** 0.5), "mae": 1.0}


def test_no_ratings_have_no_error():
    found = errors_of(
        pl.DataFrame({"rating": [], "predicted": []}, {"rating": pl.Float64, "predicted": pl.Float64})
    )
    assert set(found) == set(RATING_METRICS)
    assert all(np.isnan(value) for value in found.values())


@given(st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9)), min_size=1, max_size=30))
def test_errors_are_those_of_scikit_learn(rows: list[tuple[float, float]]):
    true, predicted = zip(*rows, strict=True)
    found = errors_of(pl.DataFrame({"rating": true, "mine": predicted}), "mine")
    assert found["rmse"] == pytest.approx(root_mean_squared_error(true, predicted), abs=1e-12)
    assert found["mae"] == pytest.approx(mean_absolute_error(true, predicted), abs=1e-12)
    assert 0 <= found["mae"] <= found["rmse"] + 1e-12


def test_of_an_error_less_is_better():
    assert set(RATING_METRICS) <= LOWER_IS_BETTER


def test_values_are_those_of_all_rows_whatever_their_order():
    frame, _ = rated([0.5, 1.0])
    found = compared(frame.sample(fraction=1, shuffle=True, seed=3))
    assert found == compared(frame)
    for side, name in (("model", "m0"), ("baseline", "m1")):
        values = {metric: interval["value"] for metric, interval in found[side].items()}
        assert values == pytest.approx(errors_of(frame, name))
    for metric in RATING_METRICS:
        difference = found["model"][metric]["value"] - found["baseline"][metric]["value"]
        assert found["difference"][metric]["value"] == difference


def test_intervals_are_those_of_resampled_users_written_out():
    frame, names = rated([0.5, 1.0], n_users=25)
    found = compared(frame, 60, seed=7)
    users = frame["user_id"].unique().sort()
    source, draws = rng(7), []
    for _ in range(60):
        drawn = pl.DataFrame({"user_id": users[source.integers(25, size=25)]})
        rows = drawn.join(frame, on="user_id")  # a user drawn twice brings all of their rows twice
        draws.append([list(errors_of(rows, name).values()) for name in names])
    written = np.array(draws)  # [draws, models, metrics]
    expected = {
        "model": written[:, 0],
        "baseline": written[:, 1],
        "difference": written[:, 0] - written[:, 1],
    }
    for side, values in expected.items():
        bounds = np.quantile(values, (0.025, 0.975), axis=0).T.tolist()
        assert [[i["low"], i["high"]] for i in found[side].values()] == [pytest.approx(b) for b in bounds]


def test_a_planted_better_model_has_smaller_errors_beyond_doubt():
    found = compared(rated([0.3, 1.0])[0])["difference"]
    assert all(found[metric]["high"] < 0 for metric in RATING_METRICS)


def test_mae_is_the_mean_that_ranking_metrics_have_too():
    frame, _ = rated([0.5, 1.0])
    one_each = frame.unique("user_id", keep="first", maintain_order=True)
    off = [
        one_each.select("user_id", "cutoff", mae=(pl.col(name) - pl.col("rating")).abs())
        for name in ("m0", "m1")
    ]
    expected = compare_ranking(*off, 100, rng(2))
    found = compared(one_each, 100, seed=2)
    for side in ("model", "baseline", "difference"):
        assert found[side]["mae"] == pytest.approx(expected[side]["mae"])  # type: ignore[literal-required]


def test_a_contest_is_won_by_the_smallest_error():
    frame, names = rated([1.0, 0.2, 0.21, 2.0])
    found = contest_of_errors(frame.sample(fraction=1, shuffle=True, seed=3), names, 200, rng())
    assert found.best == 1
    assert [-model["value"] for model in found.models] == pytest.approx(
        [errors_of(frame, name)["rmse"] for name in names]
    )
    assert found.n_users == 60
    is_real = found.is_real(0)
    assert not is_real[1, 2]
    assert is_real[1, [0, 3]].all()
    assert all(model["low"] < model["value"] < model["high"] < 0 for model in found.models)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.clear(), "rated pairs: no rows, so there is nothing to compare"),
        (
            lambda f: pl.concat([f, f.head(1)]),
            r"rated pairs: 1 key\(s\) \(user_id, cutoff, item_id\) appear more than once, "
            r"e.g. u000, 2024-03-01 00:00:00\+00:00, i0; keep one row per key",
        ),
        (
            lambda f: f.with_columns(m0=pl.lit(None, pl.Float64)).with_columns(
                rating=pl.when(pl.int_range(pl.len()) > 0).then("rating")
            ),
            r"rated pairs: missing values \(1 in rating, \d+ in m0\); every row needs "
            "user_id, cutoff, item_id, rating, m0, m1",
        ),
    ],
    ids=["none", "twice", "null"],
)
def test_what_cannot_be_judged(change, message: str):
    frame, names = rated([0.5, 1.0])
    with pytest.raises(ValueError, match=f"^{message}$"):
        contest_of_errors(change(frame), names, 100, rng())


def test_a_comparison_refuses_the_same():
    frame, _ = rated([0.5, 1.0])
    with pytest.raises(ValueError, match=r"^rated pairs: no rows"):
        compared(frame.clear())
