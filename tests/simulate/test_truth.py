"""The truth: in closed form what a slow integral says, and in the log what comes of it."""

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import integrate, stats

from ecbehave.errors import DataError
from ecbehave.simulate.season import Season
from ecbehave.simulate.truth import USERS, Truth, read_truth, true_probability

START = datetime(2024, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def truth_of(*users: dict[str, object]) -> Truth:
    """A truth of given users over 40 days."""
    known = {"joined_at": START, "dropped_at": None} | {"purchase_rate": 0.0, "drop_out_rate": 0.0}
    rows = [known | {"user_id": f"u{n}"} | user for n, user in enumerate(users)]
    season = Season.of(int(START.timestamp()), 40)
    return Truth(Path("there/truth"), pl.DataFrame(rows, schema=USERS), season)


def ids(truth: Truth) -> pl.Series:
    return truth.users["user_id"]


def by_integral(truth: Truth, user: int, cutoff: datetime, end: datetime) -> float:
    """P(purchase): the time of dropping out integrated over, the season hour by hour in plain Python."""
    row = truth.users.row(user, named=True)
    if row["dropped_at"] is not None and row["dropped_at"] <= cutoff:
        return 0.0
    begin = max(cutoff, row["joined_at"])
    factors = truth.season.factors.tolist()

    def business(days: float) -> float:
        at, until, total = begin, begin + days * DAY, 0.0
        while at < until:
            hour = int((at - START).total_seconds() // 3600)
            step = min(until, START + timedelta(hours=hour + 1))
            total += (step - at) / DAY * factors[hour]
            at = step
        return total

    length, hazard, rate = (end - begin) / DAY, row["drop_out_rate"], row["purchase_rate"]
    lost, _ = integrate.quad(
        lambda t: hazard * math.exp(-hazard * t - rate * business(t)), 0, length, limit=500, epsabs=1e-9
    )
    return 1 - lost - math.exp(-hazard * length - rate * business(length))


@pytest.mark.filterwarnings("ignore::scipy.integrate.IntegrationWarning")
def test_it_is_the_integral_over_the_time_of_dropping_out() -> None:
    truth = truth_of(
        {"purchase_rate": 0.1, "drop_out_rate": 0.02},
        {"purchase_rate": 2.0, "drop_out_rate": 1.5},
        {"purchase_rate": 0.3},
        {"purchase_rate": 0.3, "drop_out_rate": 0.1, "joined_at": START + 10.3 * DAY},
        {"purchase_rate": 0.3, "drop_out_rate": 0.1, "dropped_at": START + 11 * DAY},
        {"purchase_rate": 0.3, "drop_out_rate": 0.1, "dropped_at": START + 10 * DAY},
        {"drop_out_rate": 0.1},
        {},
    )
    for cutoff, end in (
        (START + 10 * DAY, START + 13 * DAY),
        (START + timedelta(days=10, minutes=20), START + timedelta(days=11, hours=7, minutes=50)),
    ):
        found = true_probability(truth, ids(truth), cutoff, end, "purchase")
        expected = [by_integral(truth, n, cutoff, end) for n in range(truth.users.height)]
        assert found == pytest.approx(expected, abs=1e-6)
        assert found[5:].tolist() == [0, 0, 0]
        assert (
            0
            < found[4]
            == pytest.approx(true_probability(truth, ids(truth)[4:5], cutoff, end, "purchase")[0])
        )


def test_without_dropping_out_it_is_poisson() -> None:
    truth = truth_of({"purchase_rate": 0.05})
    cutoff, end = START + 7 * DAY, START + 21 * DAY
    business = float(np.diff(truth.season.elapsed([cutoff.timestamp(), end.timestamp()]))[0])
    assert 14.5 < business < 17
    (found,) = true_probability(truth, ids(truth), cutoff, end, "purchase")
    assert found == pytest.approx(1 - math.exp(-0.05 * business), rel=1e-12)


def test_churn_is_the_other_case_and_users_may_repeat() -> None:
    truth = truth_of({"purchase_rate": 0.1, "drop_out_rate": 0.02}, {"purchase_rate": 0.4})
    asked = pl.Series(["u1", "u0", "u1"])
    window = (START + 3 * DAY, START + 9 * DAY)
    buys = true_probability(truth, asked, *window, "purchase")
    assert buys[0] == buys[2] > buys[1] > 0
    assert true_probability(truth, asked, *window, "churn") == pytest.approx(1 - buys)


def test_nothing_depends_on_how_many_are_asked_at_once() -> None:
    truth = truth_of(*({"purchase_rate": 0.001 * n, "drop_out_rate": 0.01} for n in range(9_000)))
    window = (START + 3 * DAY, START + 4 * DAY)
    all_at_once = true_probability(truth, ids(truth), *window, "purchase")
    assert (np.diff(all_at_once) > 0).all()
    (last,) = true_probability(truth, ids(truth)[-1:], *window, "purchase")
    assert last == all_at_once[-1]


@pytest.mark.parametrize(
    ("cutoff", "hours"),
    [(START + 30 * DAY, 14 * 24), (START + 12 * DAY, 28 * 24), (START + timedelta(days=45, hours=9.5), 36)],
)
def test_so_many_buy_as_the_truth_says(
    crowd: Path, purchases: pl.DataFrame, cutoff: datetime, hours: int
) -> None:
    truth = read_truth(crowd / "truth")
    end = cutoff + timedelta(hours=hours)
    probability = true_probability(truth, ids(truth), cutoff, end, "purchase")
    buyers = purchases.filter((pl.col("ts") >= cutoff) & (pl.col("ts") < end))["user_id"].unique()
    buys = ids(truth).is_in(buyers.implode()).to_numpy()
    assert not buys[probability == 0].any()
    assert 200 < buys.sum() < buys.size / 2
    # Tenths by truth: none is off by more than chance may, nor all of them together.
    order = np.argsort(probability, kind="stable")
    order = order[probability[order] > 0]
    surprises = []
    for tenth in np.array_split(order, 10):
        p = probability[tenth]
        surprises.append((buys[tenth].sum() - p.sum()) / math.sqrt((p * (1 - p)).sum()))
    assert max(map(abs, surprises)) < 3.5
    assert stats.chi2.sf(sum(z * z for z in surprises), 10) > 0.001


def test_who_has_dropped_out_or_not_joined_does_not_buy(crowd: Path, purchases: pl.DataFrame) -> None:
    known = purchases.join(pl.read_parquet(crowd / "truth" / "users.parquet"), on="user_id")
    assert known.height == purchases.height > 5_000
    second = timedelta(seconds=1)
    assert known.filter(pl.col("ts") < pl.col("joined_at").dt.truncate("1s")).height == 0
    assert known.filter(pl.col("ts") > pl.col("dropped_at") + second).height == 0
    users = pl.read_parquet(crowd / "truth" / "users.parquet")
    assert 0.15 < users["dropped_at"].is_not_null().mean() < 0.4


def test_dropping_out_is_exponential(crowd: Path) -> None:
    """The hazard integrated up to the end of what is seen has the mean number of those who dropped out."""
    users = pl.read_parquet(crowd / "truth" / "users.parquet")
    end = START + 60 * DAY
    seen = (pl.col("dropped_at").fill_null(end) - pl.col("joined_at")).dt.total_seconds() / 86_400
    expected = users.select((pl.col("drop_out_rate") * seen).sum()).item()
    dropped = users["dropped_at"].is_not_null().sum()
    assert abs(dropped - expected) < 4 * math.sqrt(expected)


def test_purchases_are_uniform_on_the_clock_of_the_season(crowd: Path, purchases: pl.DataFrame) -> None:
    truth = read_truth(crowd / "truth")
    always = truth.users.filter((pl.col("joined_at") == START) & pl.col("dropped_at").is_null())["user_id"]
    theirs = purchases.filter(pl.col("user_id").is_in(always.implode()))["ts"].dt.epoch("s").to_numpy()
    clock = truth.season.elapsed(theirs) / truth.season.elapsed(truth.season.end)
    assert len(clock) > 3_000
    assert stats.kstest(clock, "uniform").pvalue > 0.001
    # By the wall clock they are not.
    assert stats.kstest((theirs % 86_400) / 86_400, "uniform").pvalue < 1e-9


def test_unknown_users_are_named() -> None:
    truth = truth_of({}, {})
    asked = pl.Series(["u1", "x3", "x1", "x2", "x4", "x1"])
    with pytest.raises(DataError) as refused:
        true_probability(truth, asked, START, START + DAY, "churn")
    assert str(refused.value) == (
        "there/truth lacks 4 of 5 users, such as x1, x2, x3; take the truth of the same simulated log"
    )


@pytest.mark.parametrize("first", [-1, 39])
def test_days_outside_are_refused(first: int) -> None:
    truth = truth_of({})
    with pytest.raises(DataError) as refused:
        true_probability(truth, ids(truth), START + first * DAY, START + (first + 2) * DAY, "churn")
    begin, end = (f"{START + n * DAY:%Y-%m-%d %H:%M}" for n in (first, first + 2))
    assert str(refused.value) == (
        f"there/truth covers 2024-01-01 to 2024-02-09, but the label window from {begin} to {end} UTC lies "
        "outside; take the truth of the same simulated log"
    )


def test_what_is_no_truth_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError) as missing:
        read_truth(tmp_path)
    assert str(missing.value).startswith(f"{tmp_path / 'users.parquet'} cannot be read (")
    assert str(missing.value).endswith(
        "; the truth is the folder `truth` that `ecbehave simulate` has written"
    )
    pl.DataFrame({"user_id": ["a"], "age": [3]}).write_parquet(tmp_path / "users.parquet")
    with pytest.raises(DataError) as other:
        read_truth(tmp_path)
    assert str(other.value) == (
        f"{tmp_path / 'users.parquet'} is not the truth of a simulated log: it has 1 rows of user_id, age, not some "
        "of user_id, purchase_rate, drop_out_rate, joined_at, dropped_at; "
        "take the folder `truth` that `ecbehave simulate` has written"
    )
