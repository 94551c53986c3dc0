"""Reasons: the facts that drive a score most, each in a sentence, and only for the rows that are asked about."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
import pytest
from planted import CUTOFF, table

from ecbehave.config.task import ChurnTask, PurchaseTask
from ecbehave.inputs.types import Inputs, TableInput
from ecbehave.models.protocol import DRIVERS
from ecbehave.stages import reasons as stage
from ecbehave.stages.reasons import COLUMNS, Facts, reasons, strongest
from ecbehave.tasks import make_task

CHURN = make_task(ChurnTask(kind="churn"))
RECENCY, GAP = "recency_days_purchase_all", "interval_mean_days_purchase_all"


class Linear:
    """A model whose contributions are its weights times the features."""

    def __init__(self, *, explains: bool = True, **weights: float) -> None:
        self.explains, self.weights = explains, weights
        self.asked: list[int] = []

    def event_drivers(self, data: Inputs, rows: Any, n: int) -> pl.DataFrame:  # noqa: ARG002
        return pl.DataFrame(schema=DRIVERS)

    def contributions(self, data: Inputs) -> Any:
        assert data.table is not None
        self.asked.append(data.table.n_rows)
        columns = [
            data.table.frame[f].fill_null(1).to_numpy() * self.weights.get(f, 0) for f in data.table.features
        ]
        return np.column_stack([*columns, np.zeros(data.table.n_rows)])


def given(features: Mapping[str, Any], **more: list[str]) -> Inputs:
    made = table(features)
    frame = made.frame.with_columns(pl.Series(name, values) for name, values in more.items())
    return Inputs(CUTOFF, TableInput(frame, made.features))


def explained(model: Any, data: Inputs, task: Any = CHURN, n: int = 3) -> list[tuple[str | None, ...]]:
    assert data.table is not None
    found = reasons(model, data, np.arange(data.table.n_rows), task, n)
    assert found.schema == pl.Schema(dict.fromkeys(COLUMNS, pl.String()))
    return found.rows()


# ---- what is one fact


def facts_of(*names: str) -> list[int]:
    return Facts.of(names).own.tolist()


def test_features_of_one_event_and_family_are_one_fact() -> None:
    names = ["count_purchase_7d", "days_purchase_all", RECENCY, "overdue_purchase_all", "count_view_7d"]
    assert facts_of(*names) == [0, 0, 1, 1, 2]


@pytest.mark.parametrize(
    ("others", "same"),
    [
        (["count_cart_7d", "count_view_7d"], "count_view_7d"),
        (["count_cart_7d", "count_purchase_7d"], "count_purchase_7d"),
    ],
)
def test_any_event_is_the_fact_of_views_or_else_of_purchases(others: list[str], same: str) -> None:
    recency = [f"recency_days_{event}_all" for event in ("any", "cart")]
    own = dict(zip(["count_any_7d", *others], facts_of("count_any_7d", *others, *recency), strict=False))
    assert [name for name in others if own[name] == own["count_any_7d"]] == [same]


def test_any_event_stands_for_itself_where_there_are_other_ones_only() -> None:
    recency = [f"recency_days_{event}_all" for event in ("any", "cart")]
    assert facts_of("count_any_7d", "count_cart_7d", "days_any_7d", *recency)[:3] == [0, 1, 0]


def test_views_tell_how_long_ago_rather_than_any_event() -> None:
    for names in (
        ["recency_days_view_all", "recency_days_any_all"],
        ["recency_days_any_all", "recency_days_view_all"],
    ):
        assert Facts.of(names).teller == {0: names.index("recency_days_view_all")}


def test_attributes_are_facts_of_their_own() -> None:
    assert facts_of("attribute_age_all", "attribute_income_all") == [0, 1]


def test_what_says_that_nothing_happened_in_its_window_tells_how_long_ago_the_last_event_is() -> None:
    features = {
        RECENCY: [12.0, 3.0],
        "count_purchase_7d": [0, 2],
        "basket_amount_purchase_7d": [None, 9.0],
        "evening_share_any_7d": [None, 0.0],
        "count_purchase_28d": [3, 5],
        "trend_purchase_28d": [0.0, 0.2],
    }
    data = given(features)
    assert data.table is not None
    facts = Facts.of(data.table.features)
    quiet, busy = facts.of_rows(data.table).tolist()
    assert busy == facts.own.tolist()
    assert quiet == [busy[0]] * 4 + busy[4:]
    assert facts.teller == {busy[0]: 0}


def test_what_nobody_had_of_an_item_says_nothing_of_the_user() -> None:
    features = {
        "item_recency_days_purchase_all": [12.0],
        "item_count_purchase_7d": [0],
        "item_days_purchase_7d": [0],
        "item_trend_purchase_7d": [None],
        "count_purchase_7d": [4],
    }
    data = given(features)
    assert data.table is not None
    facts = Facts.of(data.table.features)
    (row,) = facts.of_rows(data.table).tolist()
    assert row == [row[0]] * 3 + facts.own.tolist()[3:]


# ---- which facts are strongest


def test_a_fact_adds_up_its_features_and_the_strongest_in_its_direction_tells_it() -> None:
    fact = np.array([[0, 0, 1, 1, 1], [0, 0, 1, 1, 1], [1, 0, 0, 1, 1]])
    by_feature = np.array(
        [[-3.0, 1.0, 1.0, 2.0, -0.5], [2.0, 2.5, -4.0, 1.0, -1.0], [9.0, 1.0, 1.5, 0.0, 0.0]]
    )
    drivers = strongest(by_feature, fact, 2, {})
    assert drivers.total.tolist() == [[2.5, -2.0], [4.5, -4.0], [9.0, 2.5]]
    assert drivers.feature.tolist() == [[3, 0], [1, 2], [0, 2]]


def test_a_fact_may_have_a_feature_that_tells_it_best() -> None:
    drivers = strongest(np.array([[1.0, 2.0, 5.0]]), np.array([[0, 0, 1]]), 2, {0: 0})
    assert drivers.feature.tolist() == [[2, 0]]
    assert drivers.total.tolist() == [[5.0, 3.0]]


def test_strongest_facts_beside_a_slow_oracle() -> None:
    rng = np.random.default_rng(0)
    fact = rng.integers(0, 6, (50, 20))
    by_feature = rng.normal(size=(50, 20))
    drivers = strongest(by_feature, fact, 3, {})
    for row in range(50):
        sums = {f: sum(by_feature[row, i] for i in range(20) if fact[row, i] == f) for f in range(6)}
        best = sorted(sums, key=lambda f: -abs(sums[f]))[:3]
        np.testing.assert_allclose(drivers.total[row], [sums[f] for f in best], rtol=1e-12)
        for place, f in enumerate(best):
            inside = [i for i in range(20) if fact[row, i] == f]
            teller = max(inside, key=lambda i: by_feature[row, i] * np.sign(sums[f]))
            assert drivers.feature[row, place] == teller
            assert by_feature[row, teller] * sums[f] > 0


def test_a_row_is_told_alike_in_any_company() -> None:
    rng = np.random.default_rng(0)
    fact, by_feature = rng.integers(0, 6, (50, 40)), rng.normal(size=(50, 40))
    whole = strongest(by_feature, fact, 3, {})
    for row in (0, 17, 49):
        alone = strongest(by_feature[[row]], fact[[row]], 3, {})
        assert alone.total.tolist() == whole.total[[row]].tolist()
        assert alone.feature.tolist() == whole.feature[[row]].tolist()


# ---- in words


def test_reasons_tell_the_users_own_value_beside_what_is_usual() -> None:
    data = given({RECENCY: [41.3, 2.0], GAP: [12.2, 12.2], "count_view_7d": [3, 0]})
    model = Linear(recency_days_purchase_all=0.1, count_view_7d=-0.1)
    assert explained(model, data) == [
        (
            "no purchase for 41 days; usual gap 12 days (raises the churn risk)",
            "3 views in the last 7 days (lowers the churn risk)",
            None,
        ),
        ("last purchase 2 days ago; usual gap 12 days (raises the churn risk)", None, None),
    ]


def test_what_is_unknown_may_be_a_reason_and_is_nothing_beside_one() -> None:
    data = given({RECENCY: [None, 5.0], GAP: [3.0, None]})
    assert explained(Linear(recency_days_purchase_all=-1.0), data) == [
        ("no purchase so far (lowers the churn risk)", None, None),
        ("no purchase for 5 days (lowers the churn risk)", None, None),
    ]


def test_silence_is_told_by_the_days_since_the_last_event() -> None:
    data = given({RECENCY: [12.0], GAP: [5.0], "count_purchase_7d": [0], "basket_amount_purchase_7d": [None]})
    model = Linear(recency_days_purchase_all=-0.01, basket_amount_purchase_7d=2.0)
    told = "no purchase for 12 days; usual gap 5 days (raises the churn risk)"
    assert explained(model, data) == [(told, None, None)]


def test_any_event_of_a_log_of_purchases_is_a_purchase() -> None:
    data = given({RECENCY: [2.0], "evening_share_any_7d": [0.5], "evening_share_any_all": [0.25]})
    told = "50 % of purchases in the last 7 days are in the evening; usually 25 % (raises the churn risk)"
    assert explained(Linear(evening_share_any_7d=1), data)[0][0] == told
    data = given({RECENCY: [2.0], "recency_days_any_all": [1.0], "evening_share_any_7d": [0.5]})
    told = "50 % of actions in the last 7 days are in the evening (raises the churn risk)"
    assert explained(Linear(evening_share_any_7d=1), data)[0][0] == told


def test_texts_can_be_reasons() -> None:
    frame = table({RECENCY: [1.0]}).frame.with_columns(attribute_age_all=pl.lit("45-54"))
    data = Inputs(CUTOFF, TableInput(frame, (RECENCY, "attribute_age_all")))

    class ByAge(Linear):
        def contributions(self, _: Inputs) -> Any:
            return np.array([[0.0, 0.5, 0.0]])

    assert explained(ByAge(), data)[0][0] == "age: 45-54 (raises the churn risk)"


@pytest.mark.parametrize(
    ("target", "raised"),
    [
        ("any", "the chance to buy"),
        ("item", "the chance to buy this item"),
        ("category", "the chance to buy in SOFT DRINKS"),
    ],
)
def test_reasons_say_what_is_raised(target: Any, raised: str) -> None:
    data = given({RECENCY: [3.0]}, item_id=["i1"], category=["SOFT DRINKS"])
    task = make_task(PurchaseTask(kind="purchase", target=target))
    (row,) = explained(Linear(recency_days_purchase_all=1), data, task)
    assert row[0] == f"no purchase for 3 days (raises {raised})"


# ---- for which rows


def test_only_the_asked_rows_are_explained() -> None:
    data = given({RECENCY: [3.0, 4.0, 5.0, 6.0]})
    model = Linear(recency_days_purchase_all=1)
    found = reasons(model, data, np.array([2, 0]), CHURN, 3)  # type: ignore[arg-type]
    assert model.asked == [2]
    assert found["reason_1"].is_not_null().to_list() == [True, False, True, False]
    assert "for 5 days" in found["reason_1"][2]


def test_rows_are_explained_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    data = given({RECENCY: list(range(1, 9)), "count_view_7d": [5, 4] * 4})
    model = Linear(recency_days_purchase_all=1, count_view_7d=-1.0)
    whole = explained(model, data)
    monkeypatch.setattr(stage, "_AT_A_TIME", 3)
    assert explained(model, data) == whole
    assert model.asked == [8, 3, 3, 2]


@pytest.mark.parametrize("n", [0, 1, 2])
def test_no_more_reasons_than_wanted(n: int) -> None:
    data = given({RECENCY: [3.0], "count_view_7d": [2], "count_cart_7d": [1]})
    model = Linear(recency_days_purchase_all=1, count_view_7d=1, count_cart_7d=1)
    (row,) = explained(model, data, n=n)
    assert [text is not None for text in row] == [place < n for place in range(3)]
    assert model.asked == [1] * (n > 0)


def test_a_model_that_cannot_explain_is_not_asked() -> None:
    model = Linear(explains=False)
    assert explained(model, given({RECENCY: [3.0]})) == [(None, None, None)]
    assert model.asked == []


class Reading(Linear):
    """A model that tells of events."""

    def event_drivers(self, data: Inputs, rows: Any, n: int) -> pl.DataFrame:  # noqa: ARG002
        told = {
            "row": np.arange(rows.size),
            "effect": 1.0 - rows,
            "event_type": "view",
            "n_events": 1,
            "days": rows,
        }
        return pl.DataFrame(dict.fromkeys(DRIVERS) | told).cast(DRIVERS)  # type: ignore[arg-type]


def test_a_model_that_reads_events_tells_of_these() -> None:
    data = given({RECENCY: [3.0, 4.0, 5.0, 6.0]})
    found = reasons(Reading(explains=False), data, np.array([0, 2]), CHURN, 2)
    assert found.rows() == [
        ("view less than a day ago (raises the churn risk)", None, None),
        (None, None, None),
        ("view 2 days ago (lowers the churn risk)", None, None),
        (None, None, None),
    ]
