"""Recency, frequency and money against scikit-learn's own pipeline."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from planted import ONCE, RFM, customers, make, table
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from ecbehave.inputs.types import TableInput
from ecbehave.models.storage import load_json


def logs(data: TableInput, columns: tuple[str, ...] = RFM) -> np.ndarray:
    recency, frequency, money = (data.frame[c].cast(pl.Float64).to_list() for c in columns)
    recency = [3650 if days is None else days for days in recency]
    return np.log1p([[max(x, 0) for x in row] for row in zip(recency, frequency, money, strict=True)])


def bare(train: list[TableInput], asked: TableInput, columns: tuple[str, ...] = RFM) -> np.ndarray:
    pipeline = make_pipeline(StandardScaler(), LogisticRegression())
    pipeline.fit(np.concatenate([logs(t, columns) for t in train]), np.concatenate([t.label for t in train]))
    return pipeline.decision_function(logs(asked, columns))


def with_strangers(seed: int) -> TableInput:
    """Customers, of whom every fifth has never bought, and every seventh has returned more than was bought."""
    data = customers(seed=seed)
    row = pl.int_range(pl.len())
    never, returned = row % 5 == 0, row % 7 == 0
    return replace(
        data,
        frame=data.frame.with_columns(
            pl.when(~never).then(RFM[0]),
            pl.when(never).then(0).otherwise(RFM[1]).cast(pl.Float32).alias(RFM[1]),
            pl.when(never).then(0).when(returned).then(-20).otherwise(RFM[2]).cast(pl.Float32).alias(RFM[2]),
        ),
    )


@pytest.mark.parametrize(
    "make_data", [lambda seed: customers(seed=seed), with_strangers], ids=["all", "strangers"]
)
def test_scores_like_scikit_learn(make_data):
    train, asked = [make_data(seed=0), make_data(seed=1)], make_data(seed=2)
    score = make("rfm").fit(train, [], ONCE).predict(asked, 0)["score"].to_numpy()
    np.testing.assert_allclose(score, bare(train, asked), rtol=1e-9, atol=1e-12)


def test_a_feature_that_never_varies_does_not_matter():
    train = customers()
    train = replace(train, frame=train.frame.with_columns(pl.lit(3.0, pl.Float32).alias(RFM[1])))
    model = make("rfm").fit([train], [], ONCE)
    score = model.predict(train, 0)["score"].to_numpy()
    np.testing.assert_allclose(score, bare([train], train), rtol=1e-9)
    other = replace(train, frame=train.frame.with_columns(pl.lit(90.0, pl.Float32).alias(RFM[1])))
    np.testing.assert_allclose(model.predict(other, 0)["score"].to_numpy(), score, rtol=1e-9)


def test_who_has_never_bought_is_ten_years_away():
    model = make("rfm").fit([customers()], [], ONCE)
    never = table({RFM[0]: [None, 3650.0], RFM[1]: [0.0, 0.0], RFM[2]: [0.0, 0.0]})
    score = model.predict(never, 0)["score"]
    assert score[0] == score[1]
    assert score[0] < model.predict(customers(), 0)["score"].min()


@pytest.mark.parametrize(
    ("events", "read"),
    [
        (["view", "purchase", "any"], "purchase"),
        (["view", "cart", "any"], "any"),
        (["view"], "view"),
        (["add_to_cart"], "add_to_cart"),
    ],
)
def test_reads_purchases_or_else_any_event(events: list[str], read: str, tmp_path: Path):
    rng = np.random.default_rng(0)
    names = [f"{measure}_{event}_all" for event in events for measure in ("recency_days", "days", "amount")]
    features = {name: rng.uniform(0, 50, 80).tolist() for name in names}
    columns = (f"recency_days_{read}_all", f"days_{read}_all", f"amount_{read}_all")
    data = table(features, (np.array(features[columns[0]]) < 25).astype(int).tolist())
    model = make("rfm").fit([data], [], ONCE)
    np.testing.assert_allclose(
        model.predict(data, 0)["score"].to_numpy(), bare([data], data, columns), rtol=1e-9, atol=1e-12
    )
    model.save(tmp_path)
    assert tuple(load_json(tmp_path / "rfm.json")["columns"]) == columns


@pytest.mark.parametrize("thing", ["item", "category"])
def test_reads_the_pair_where_pairs_are_asked(thing: str):
    """Beside the pair's features stand those of the user."""
    rng = np.random.default_rng(0)
    names = [
        f"{of}{measure}_purchase_all"
        for of in ("", f"{thing}_")
        for measure in ("recency_days", "days", "amount")
    ]
    features = {name: rng.uniform(0, 50, 80).tolist() for name in names}
    columns = tuple(names[3:])
    data = table(features, (np.array(features[columns[0]]) < 25).astype(int).tolist())
    score = make("rfm").fit([data], [], ONCE).predict(data, 0)["score"].to_numpy()
    np.testing.assert_allclose(score, bare([data], data, columns), rtol=1e-9, atol=1e-12)


def test_number_of_threads_changes_nothing():
    # So many rows that a matrix product is split among threads.
    n_rows = 1_000_000
    rng = np.random.default_rng(0)
    data = table({name: rng.uniform(0, 90, n_rows) for name in RFM}, rng.integers(0, 2, n_rows))
    coefficients = []
    for threads in (1, 2, 4):
        with threadpool_limits(threads):
            coefficients.append(make("rfm").fit([data], [], ONCE).coefficients_)
    assert np.ptp(coefficients, axis=0).tolist() == [0, 0, 0]
