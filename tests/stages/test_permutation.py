"""Permutation importance: what is lost when a family of features is shuffled among the rows of a cutoff."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from planted import CUTOFF, table

from ecbehave.inputs.types import Inputs, TableInput
from ecbehave.metrics.classification import auroc
from ecbehave.models import making, model_class
from ecbehave.stages import permutation as stage
from ecbehave.stages.permutation import REPEATS, Fit, permutation

RECENCY, COUNT, DAYS, MONTH = (
    "recency_days_purchase_all",
    "count_view_7d",
    "days_purchase_all",
    "calendar_month_cutoff_all",
)


class Sum:
    """Scores rows by a weighted sum, and notes how many it is given."""

    reads_table = True

    def __init__(self, **weights: float) -> None:
        self.weights = weights
        self.asked: list[int] = []

    def score(self, data: Inputs) -> Any:
        assert data.table is not None
        self.asked.append(data.table.n_rows)
        return sum(data.table.frame[f].to_numpy() * w for f, w in self.weights.items())


def window(n_rows: int, seed: int, weeks: int = 0) -> Inputs:
    """Labels follow the recency, and a little the number of views on more days."""
    rng = np.random.default_rng(seed)
    features = {name: rng.normal(size=n_rows) for name in (RECENCY, COUNT, DAYS)}
    label = features[RECENCY] + 0.5 * features[COUNT] + rng.normal(size=n_rows) > 0
    made = table(
        {k: v.tolist() for k, v in features.items()} | {MONTH: [3.0] * n_rows}, label.astype(int).tolist()
    )
    cutoff = CUTOFF + timedelta(weeks=weeks)
    frame = made.frame.with_columns(cutoff=pl.lit(cutoff, made.frame.schema["cutoff"]))
    return Inputs(cutoff, TableInput(frame, made.features))


TESTS = [window(300, 0), window(200, 1, weeks=2)]
MODEL: Any = Sum(recency_days_purchase_all=1, count_view_7d=0.5)


def drops(found: dict[str, Any]) -> dict[str, float]:
    return {family["family"]: family["drop"] for family in found["families"]}


def test_what_the_model_rests_on_is_lost_and_nothing_else() -> None:
    found = permutation([Fit(MODEL, TESTS)], 10_000, 0)
    assert [(f["family"], f["n_features"]) for f in found["families"]] == [
        ("recency", 1),
        ("frequency", 2),
        ("calendar", 1),
    ]
    lost = drops(found)
    assert lost["recency"] > 0.2
    assert 0.02 < lost["frequency"] < lost["recency"]
    assert lost["calendar"] == 0
    assert found["families"][2]["spread"] == 0
    assert all(0 < f["spread"] < 0.05 for f in found["families"][:2])
    assert (found["n_rows"], found["n_users"], found["repeats"]) == (500, 300, REPEATS)


def test_the_largest_drop_stands_first_whatever_the_order_of_columns() -> None:
    by_count: Any = Sum(count_view_7d=1, recency_days_purchase_all=0.01)
    families = permutation([Fit(by_count, TESTS)], 10_000, 0)["families"]
    assert families[0]["family"] == "frequency"
    assert [f["drop"] for f in families] == sorted((f["drop"] for f in families), reverse=True)


def test_drops_beside_a_slow_oracle() -> None:
    found = permutation([Fit(MODEL, TESTS)], 10_000, 7)
    label = np.concatenate([data.table.label for data in TESTS if data.table])
    base = auroc(label, np.concatenate([MODEL.score(data) for data in TESTS]))
    assert found["auroc"] == base
    per_repeat = []
    orders = {}
    for data in TESTS:
        assert data.table is not None
        rng = np.random.default_rng([7, int(data.cutoff.timestamp())])
        orders[data.cutoff] = [rng.permutation(data.table.n_rows) for _ in range(REPEATS)]
    for repeat in range(REPEATS):
        score = []
        for data in TESTS:
            assert data.table is not None
            frame = data.table.frame
            values = frame[RECENCY].to_list()
            moved = [values[i] for i in orders[data.cutoff][repeat]]
            score += [r + 0.5 * c for r, c in zip(moved, frame[COUNT].to_list(), strict=True)]
        per_repeat.append(base - auroc(label, score))
    recency = found["families"][0]
    assert recency["drop"] == pytest.approx(np.mean(per_repeat), abs=1e-12)
    assert recency["spread"] == pytest.approx(np.std(per_repeat, ddof=1), abs=1e-12)


def test_features_of_a_family_are_shuffled_together() -> None:
    """Two features whose difference is the score: shuffled together it stays the same among equals."""
    rng = np.random.default_rng(0)
    base = rng.normal(size=200)
    features = {"count_view_7d": base, "count_cart_7d": base, RECENCY: rng.normal(size=200)}
    label = (rng.random(200) < 0.5).astype(int).tolist()
    made = table({name: values.tolist() for name, values in features.items()}, label)
    model: Any = Sum(count_view_7d=1, count_cart_7d=-1, recency_days_purchase_all=1)
    found = permutation([Fit(model, [Inputs(CUTOFF, made)])], 10_000, 0)
    assert drops(found)["frequency"] == pytest.approx(0, abs=1e-12)


def test_the_same_seed_gives_the_same_and_another_one_another() -> None:
    one, two, other = (permutation([Fit(MODEL, TESTS)], 10_000, seed) for seed in (3, 3, 4))
    assert one == two
    assert one["auroc"] == other["auroc"]
    assert drops(one)["recency"] != drops(other)["recency"]


def test_only_so_many_rows_are_looked_at_all_of_a_user() -> None:
    model: Any = Sum(recency_days_purchase_all=1)
    found = permutation([Fit(model, TESTS)], 100, 0)
    # 500 rows of 300 users: 60 of them have 100 rows on the mean.
    assert found["n_users"] == 60
    assert 70 < found["n_rows"] < 130
    n_copies = 3 * REPEATS
    assert sum(model.asked) == found["n_rows"] * (1 + n_copies)
    assert permutation([Fit(model, TESTS)], 100, 0) == found
    assert permutation([Fit(model, TESTS)], 100, 1)["auroc"] != found["auroc"]


def test_memory_is_bounded_whatever_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = permutation([Fit(MODEL, TESTS)], 10_000, 0)
    monkeypatch.setattr(stage, "_AT_A_TIME", 600)
    model: Any = Sum(**MODEL.weights)
    assert permutation([Fit(model, TESTS)], 10_000, 0) == whole
    assert max(model.asked) == 600


def test_several_fits_are_averaged() -> None:
    other: Any = Sum(count_view_7d=1)
    alone = [
        permutation([Fit(model, [data])], 10_000, 0)
        for model, data in zip((MODEL, other), TESTS, strict=True)
    ]
    both = permutation([Fit(MODEL, TESTS[:1]), Fit(other, TESTS[1:])], 10_000, 0)
    assert both["auroc"] == pytest.approx(np.mean([found["auroc"] for found in alone]))
    for family, drop in drops(both).items():
        assert drop == pytest.approx(np.mean([drops(found)[family] for found in alone]), abs=1e-12)


def test_a_cutoff_without_rows_changes_nothing() -> None:
    table_ = TESTS[0].table
    assert table_ is not None
    nobody = replace(
        TESTS[0], cutoff=CUTOFF + timedelta(weeks=9), table=TableInput(table_.frame.clear(), table_.features)
    )
    assert permutation([Fit(MODEL, [*TESTS, nobody])], 10_000, 0) == permutation(
        [Fit(MODEL, TESTS)], 10_000, 0
    )


def test_a_model_that_looks_at_no_feature_is_not_asked() -> None:
    model: Any = Sum(recency_days_purchase_all=1)
    model.reads_table = False
    assert permutation([Fit(model, TESTS)], 10_000, 0) == {}
    assert model.asked == []
    assert [making.make(config(kind), "binary").reads_table for kind in ("boosting", "user_knn")] == [
        True,
        False,
    ]
    both = config("voting", members=[{"kind": "user_knn"}, {"kind": "boosting"}])
    assert making.make(both, "binary").reads_table


def config(kind: str, **settings: Any) -> Any:
    return model_class(kind).config_class(kind=kind, **settings)


def test_without_rows_or_both_classes_there_is_nothing_to_say() -> None:
    assert permutation([Fit(MODEL, TESTS)], 0, 0) == {}
    data = TESTS[0]
    assert data.table is not None
    ones = data.table.frame.with_columns(label=pl.lit(1, pl.Int8))
    assert (
        permutation([Fit(MODEL, [replace(data, table=TableInput(ones, data.table.features))])], 100, 0) == {}
    )
