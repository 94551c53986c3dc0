"""BG/NBD: the published parameters, its formulas against integrals, and what the labels may change."""

import gzip
import math
from collections.abc import Callable
from dataclasses import astuple, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from planted import CUTOFF, ONCE, RFM, TENURE, make, table
from polars.testing import assert_frame_equal
from scipy.integrate import quad
from scipy.special import expit, logit
from scipy.stats import beta, gamma
from shops import Shop
from stage_runs import Runs

from ecbehave.errors import DataError
from ecbehave.inputs.types import TableInput
from ecbehave.models.baseline.bgnbd import Bgnbd
from ecbehave.models.baseline.repeat_buying import Customers, Floats, RepeatBuying
from ecbehave.models.storage import load_json

CDNOW = Path(__file__).parent / "cdnow" / "CDNOW_sample.txt.gz"
#: Fader, Hardie and Lee (2005), in weeks, for purchases before 1 October 1997.
PUBLISHED = RepeatBuying(r=0.243, alpha=4.414, a=0.793, b=2.426)
TRAINED_UNTIL = date(1997, 10, 1)
WEEK = 7


def cdnow() -> pl.DataFrame:
    """Customer and day of every purchase."""
    rows = [line.split() for line in gzip.decompress(CDNOW.read_bytes()).decode().splitlines()]
    frame = pl.DataFrame({"user": [row[1] for row in rows], "time": [row[2] for row in rows]})
    return frame.with_columns(pl.col("time").str.to_date("%Y%m%d"))


def cdnow_customers() -> Customers:
    """The customers on 30 September, in days."""
    known = (
        cdnow()
        .filter(pl.col("time") < TRAINED_UNTIL)
        .group_by("user")
        .agg(n=pl.col("time").n_unique(), first=pl.col("time").min(), last=pl.col("time").max())
        .sort("user")
    )
    age = (TRAINED_UNTIL - pl.col("first")).dt.total_days() - 1
    at_last = (pl.col("last") - pl.col("first")).dt.total_days()
    found = known.select(pl.col("n") - 1, at_last, age.alias("age")).cast(pl.Float64)
    return Customers(*(column.to_numpy() for column in found))


def as_table(customers: Customers, label: Any = None) -> TableInput:
    """Return customers as the features have them: days with a purchase, and days since the first and the last."""
    n = customers.x.size
    features = {
        RFM[1]: customers.x + 1,
        TENURE: customers.T + 1,
        RFM[0]: customers.T + 1 - customers.t_x,
    }
    label = np.arange(n) % 2 if label is None else label
    return table({name: values.tolist() for name, values in features.items()}, label.astype(int).tolist())


def simulated(truth: RepeatBuying, n: int, horizon: float, seed: int = 0) -> tuple[Customers, Any]:
    """Return customers who lived by the model in days, and whether they bought within the horizon."""
    rng = np.random.default_rng(seed)
    rate, stops = rng.gamma(truth.r, 1 / truth.alpha, n), rng.beta(truth.a, truth.b, n)
    age = rng.integers(30, 400, n).astype(float)
    now, x, t_x = np.zeros(n), np.zeros(n), np.zeros(n)
    is_alive, buys_later = np.ones(n, bool), np.zeros(n, bool)
    while is_alive.any():
        now += rng.exponential(1, n) / rate
        is_known = is_alive & (now <= age)
        buys_later |= is_alive & (now > age) & (now <= age + horizon)
        x, t_x = x + is_known, np.where(is_known, now, t_x)
        is_alive = is_known & (rng.random(n) >= stops)
    return Customers(x, np.ceil(t_x), age), buys_later


def fitted(data: TableInput, *others: TableInput, **options: Any) -> Bgnbd:
    model = make("bgnbd").fit([*others, data], [], replace(ONCE, **options))
    assert isinstance(model, Bgnbd)
    return model


def scores(model: Bgnbd, data: TableInput) -> Floats:
    return model.predict(data)["score"].to_numpy()


# ---- the published figures


def test_parameters_of_cdnow_are_the_published_ones():
    found = fitted(as_table(cdnow_customers())).parameters_
    in_weeks = replace(found, alpha=found.alpha / WEEK)
    assert astuple(in_weeks) == pytest.approx(astuple(PUBLISHED), rel=0.002)


def test_likelihood_of_cdnow_is_the_published_one():
    days = cdnow_customers()
    assert days.x.size == 2357
    weeks = Customers(days.x, days.t_x / WEEK, days.T / WEEK)
    assert PUBLISHED.log_likelihood(weeks).sum() == pytest.approx(-9582.4, abs=0.05)


def test_a_log_of_cdnow_gives_the_published_parameters(tmp_path: Path):
    """From raw rows to the fit: days, first and last purchase are counted as they are in the paper."""
    log = cdnow().filter(pl.col("time") < date(1997, 12, 24))
    shop = Shop(tmp_path / "cdnow")
    shop.write(log.select("user", time=pl.col("time").cast(pl.String), kind=pl.lit("purchase")))
    source = {
        "path": "raw/events*.csv",
        "columns": {"user_id": "user", "ts": "time"},
        "event_type": {"column": "kind"},
    }
    config = shop.config(
        dataset={"sources": [source]},
        task={"kind": "purchase", "active_within": "273d", "horizon": "28d"},
        split={"step": "28d", "train": 1},
        model={"kind": "bgnbd"},
        predict={"refit": False},
    )
    Runs(shop, config).do("ingest", "clean", "features", "train")
    stored = load_json(shop.workspace / "shop" / "model" / "fitted" / "bgnbd.json")
    found = RepeatBuying(stored["r"], stored["alpha"] / WEEK, stored["a"], stored["b"])
    assert astuple(found) == pytest.approx(astuple(PUBLISHED), rel=0.002)
    assert stored["horizon_days"] == 28


# ---- the formulas, against integrals over everything that is not known


def integrals(p: RepeatBuying, x: int, t_x: float, age: float, horizon: float) -> tuple[float, float]:
    """The likelihood, and the part of it with a purchase within the horizon, written as the story goes.

    A customer with rate l and chance s of stopping has bought x times again, and lives (1 - s)^x l^x e^(-l age), or
    has stopped after the last time: s (1 - s)^(x - 1) l^x e^(-l t_x).
    """
    rates, chances = gamma(p.r, scale=1 / p.alpha), beta(p.a, p.b)

    def over_rates(of: Callable[[float], float]) -> float:
        # In quantiles: the density has no end at zero.
        return quad(lambda q: of(rates.ppf(q)), 0, 1, limit=400)[0]

    def over_chances(of: Callable[[float], float]) -> float:
        return quad(lambda q: of(chances.ppf(q)), 0, 1, limit=400)[0]

    still = over_chances(lambda s: (1 - s) ** x)
    alive = still * over_rates(lambda rate: rate**x * math.exp(-rate * age))
    buys = still * over_rates(lambda rate: rate**x * math.exp(-rate * age) * -math.expm1(-rate * horizon))
    dead = 0.0
    if x > 0:
        stopped = over_chances(lambda s: s * (1 - s) ** (x - 1))
        dead = stopped * over_rates(lambda rate: rate**x * math.exp(-rate * t_x))
    return alive + dead, buys


PARAMETERS = [PUBLISHED, RepeatBuying(1.7, 12.0, 2.2, 1.4)]
HISTORIES = [(0, 0.0, 10.0), (1, 6.0, 9.0), (1, 0.5, 30.0), (4, 20.0, 21.0), (4, 3.0, 25.0), (9, 30.0, 30.0)]


@pytest.mark.parametrize("p", PARAMETERS)
@pytest.mark.parametrize(("x", "t_x", "age"), HISTORIES)
def test_likelihood_and_probability_are_those_of_the_story(p: RepeatBuying, x: int, t_x: float, age: float):
    horizon = 5.0
    customer = Customers(*(np.array([value], float) for value in (x, t_x, age)))
    likelihood, buys = integrals(p, x, t_x, age, horizon)
    assert math.exp(p.log_likelihood(customer)[0]) == pytest.approx(likelihood, rel=1e-5)
    assert expit(p.log_odds(customer, horizon)[0]) == pytest.approx(buys / likelihood, rel=1e-5)


def test_no_other_parameters_are_likelier():
    customers = cdnow_customers()
    best = RepeatBuying.fit(customers, np.ones(customers.x.size))
    highest = best.log_likelihood(customers).sum()
    for name in ("r", "alpha", "a", "b"):
        for factor in (0.97, 0.999, 1.001, 1.03):
            other = replace(best, **{name: getattr(best, name) * factor})
            assert other.log_likelihood(customers).sum() < highest


@pytest.mark.parametrize("truth", [RepeatBuying(0.8, 40, 0.6, 3.0), RepeatBuying(2.0, 60, 1.5, 2.0)])
def test_parameters_of_a_simulation_are_found_again(truth: RepeatBuying):
    customers, _ = simulated(truth, 40_000, 28)
    found = RepeatBuying.fit(customers, np.ones(customers.x.size))
    assert found.r / found.alpha == pytest.approx(truth.r / truth.alpha, rel=0.03)
    assert found.a / (found.a + found.b) == pytest.approx(truth.a / (truth.a + truth.b), rel=0.05)
    assert astuple(found) == pytest.approx(astuple(truth), rel=0.12)


def test_probabilities_of_a_simulation_hold_in_every_decile():
    customers, buys = simulated(RepeatBuying(0.8, 40, 0.6, 3.0), 20_000, 28)
    data = as_table(customers, buys)
    probability = expit(scores(fitted(data), data))
    for rows in np.array_split(np.argsort(probability), 10):
        expected, error = (
            probability[rows].mean(),
            np.sqrt((probability[rows] * (1 - probability[rows])).sum()),
        )
        assert abs(buys[rows].sum() - expected * rows.size) < 3.5 * error


def test_customers_may_be_counted():
    customers, _ = simulated(RepeatBuying(0.8, 40, 0.6, 3.0), 500, 28)
    twice = Customers(*(np.tile(values, 2) for values in (customers.x, customers.t_x, customers.T)))
    fits = [RepeatBuying.fit(customers, np.full(500, 2.0)), RepeatBuying.fit(twice, np.ones(1000))]
    assert astuple(fits[0]) == pytest.approx(astuple(fits[1]), rel=1e-4)


# ---- extremes


def test_extreme_customers_have_finite_scores_in_the_right_order():
    ages = np.array([3000.0, 3000.0, 3000.0, 0.0, 3000.0])
    customers = Customers(np.array([900.0, 900.0, 5.0, 0.0, 0.0]), np.array([10.0, 3000.0, 10.0, 0, 0]), ages)
    with np.errstate(all="raise", under="ignore"):
        found = PUBLISHED.log_odds(customers, 28)
    assert np.isfinite(found).all()
    assert found[0] < found[2] < found[4] < found[3] < found[1]


def test_customers_who_never_stop_and_are_all_alike_can_be_fitted():
    """The likelihood has no maximum: heterogeneity and the chance to stop go to nothing."""
    ages = np.arange(100, 200, dtype=float)
    data = as_table(Customers(np.floor(ages / 10), np.floor(ages / 10) * 10, ages))
    found = fitted(data).parameters_
    assert found.r / found.alpha == pytest.approx(1 / 10, rel=0.05)
    assert found.a / found.b < 1e-4
    assert np.isfinite(scores(fitted(data), data)).all()


# ---- the kind


def some(n: int = 600, seed: int = 0) -> tuple[Customers, Any]:
    return simulated(RepeatBuying(0.8, 40, 0.6, 3.0), n, 28, seed)


def test_labels_of_churn_turn_the_scores_and_change_nothing_else():
    customers, buys = some()
    data = as_table(customers, buys)
    purchase, churn = fitted(data), fitted(as_table(customers, ~buys))
    assert churn.parameters_ == purchase.parameters_
    np.testing.assert_array_equal(scores(churn, data), -scores(purchase, data))
    of_buyers, of_others = (np.median(scores(purchase, data)[which]) for which in (buys, ~buys))
    assert of_buyers > of_others


def with_strangers(data: TableInput, label: list[int]) -> TableInput:
    features = {RFM[1]: [0.0] * len(label), TENURE: [None] * len(label), RFM[0]: [None] * len(label)}
    return TableInput.concat([data, table(features, label)])


@pytest.mark.parametrize("label", [[1, 0, 0, 0, 0, 0, 0], [1, 1, 1], []])
def test_who_has_never_bought_has_the_usual_label_of_such_users(label: list[int]):
    customers, buys = some()
    known = as_table(customers, buys)
    model = fitted(with_strangers(known, label))
    assert model.parameters_ == fitted(known).parameters_
    rate = (buys.sum() + sum(label)) / (buys.size + len(label))
    expected = logit((sum(label) + rate) / (len(label) + 1))
    asked = with_strangers(known, [0])
    assert scores(model, asked)[-1] == pytest.approx(expected, rel=1e-12)


def test_only_the_newest_cutoff_counts_and_its_own_horizon():
    data, other = as_table(*some()), as_table(*some(seed=1))
    before = CUTOFF - timedelta(days=14)
    older = replace(
        other, frame=other.frame.with_columns(cutoff=pl.lit(before).cast(data.frame.schema["cutoff"]))
    )
    ends = {before: before + timedelta(days=99), CUTOFF: CUTOFF + timedelta(days=7)}
    model = fitted(data, older, ends=ends)
    assert model.horizon_days_ == 7
    assert model.parameters_ == fitted(data).parameters_
    assert fitted(older, data, ends=ends).parameters_ == model.parameters_
    longer = fitted(data, ends={CUTOFF: CUTOFF + timedelta(days=28)})
    assert (scores(longer, data) > scores(model, data)).all()


def test_order_of_rows_does_not_matter(tmp_path: Path):
    data = as_table(*some())
    shuffled = replace(data, frame=data.frame.sample(fraction=1, shuffle=True, seed=1))
    files = []
    for n, rows in enumerate((data, shuffled)):
        (tmp_path / str(n)).mkdir()
        fitted(rows).save(tmp_path / str(n))
        files.append((tmp_path / str(n) / "bgnbd.json").read_bytes())
    assert files[0] == files[1]


def test_ages_are_whole_days_up_to_the_last_complete_one():
    """A log with times and one with days only must say the same: a purchase at noon, or at midnight, of one day."""
    noon = table({RFM[1]: [3.0, 1.0], TENURE: [20.5, 20.5], RFM[0]: [4.5, 20.5]})
    midnight = table({RFM[1]: [3.0, 1.0], TENURE: [21.0, 21.0], RFM[0]: [5.0, 21.0]})
    model = fitted(as_table(*some()))
    assert_frame_equal(model.predict(noon), model.predict(midnight), check_exact=True)
    expected = model.parameters_.log_odds(
        Customers(np.array([2.0, 0.0]), np.array([16.0, 0.0]), np.array([20.0, 20.0])), 28
    )
    np.testing.assert_array_equal(scores(model, noon), expected)


def test_two_purchases_on_the_only_day_are_one():
    model = fitted(as_table(*some()))
    # Between the two is the time of day of the cutoff.
    asked = table({RFM[1]: [1.0, 1.0], TENURE: [9.2, 9.2], RFM[0]: [9.2, 8.9]})
    assert scores(model, asked)[0] == scores(model, asked)[1]


@pytest.mark.parametrize(
    ("read", "beside"),
    [
        ("{}_purchase_all", ["{}_any_all"]),
        ("{}_any_all", ["{}_view_all"]),
        ("{}_view_all", []),
        ("item_{}_purchase_all", ["{}_purchase_all"]),
        ("category_{}_any_all", ["{}_any_all"]),
    ],
)
def test_reads_purchases_or_else_any_event_and_of_pairs_their_own(read: str, beside: list[str]):
    data = as_table(*some())
    measures = {"days": RFM[1], "tenure_days": TENURE, "recency_days": RFM[0]}
    own = {read.format(measure): feature for measure, feature in measures.items()}
    other = [name.format(measure) for name in beside for measure in measures]
    frame = data.frame.select(
        "user_hash",
        "user_id",
        "cutoff",
        "label",
        *(pl.lit(1.0, pl.Float32).alias(name) for name in other),
        *(pl.col(feature).alias(name) for name, feature in own.items()),
    )
    asked = TableInput(frame, (*other, *own))
    assert fitted(asked).columns_ == list(own)
    np.testing.assert_array_equal(scores(fitted(asked), asked), scores(fitted(data), data))


def test_features_that_do_not_fit_together_have_a_score():
    """Permutation importance makes such rows."""
    model = fitted(as_table(*some()))
    asked = table(
        {
            RFM[1]: [0.0, 3.0, 3.0, 3.0, 1.0, None],
            TENURE: [50.0, None, 50.0, 50.0, None, 50.0],
            RFM[0]: [10.0, 10.0, None, 80.0, None, 10.0],
        }
    )
    found = scores(model, asked)
    assert found[[0, 1, 2, 4, 5]].tolist() == [model.never_bought_] * 5
    of_silent = Customers(np.array([2.0]), np.array([0.0]), np.array([49.0]))
    assert found[3] == model.parameters_.log_odds(of_silent, 28)[0]


def test_nobody_who_bought_again():
    customers, buys = some(50)
    once = Customers(np.zeros(50), np.zeros(50), customers.T)
    with pytest.raises(DataError) as caught:
        fitted(with_strangers(as_table(once, buys), [0, 1]))
    assert str(caught.value) == (
        "bgnbd learns from repeat purchases, and of 50 buyers before the newest train cutoff none has bought on two "
        "days; choose another kind, or bring more data"
    )
