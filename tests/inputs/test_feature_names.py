"""Names of features can be read back, and say in words what they mean."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecbehave.inputs.feature_names import MEASURES, FeatureName

EVENTS = ["purchase", "add_to_cart", "any", "all", "days_purchase", "count", "_", "kauf über 10"]


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("measure", MEASURES)
def test_a_name_is_read_back_whatever_the_event_is_called(measure: str, event: str) -> None:
    for window in ("7d", "12h", "all"):
        name = FeatureName(measure, event, window)
        assert str(name) == f"{measure}_{event}_{window}"
        assert FeatureName.parse(str(name)) == name


@given(
    st.sampled_from(sorted(MEASURES)),
    st.text(min_size=1) | st.lists(st.sampled_from(sorted(MEASURES)), min_size=1).map("_".join),
    st.sampled_from(["all", "7d", "30m"]),
)
def test_any_event_can_be_read_back(measure: str, event: str, window: str) -> None:
    name = FeatureName(measure, event, window)
    assert FeatureName.parse(str(name)) == name


def test_no_measure_begins_with_another_one() -> None:
    """Otherwise an event could make two names the same."""
    assert [(a, b) for a in MEASURES for b in MEASURES if b.startswith(f"{a}_")] == []


@pytest.mark.parametrize(
    "text",
    ["", "user_id", "count", "count_7d", "count__7d", "count_view_", "score_view_7d", "xcount_view_7d"],
)
def test_other_texts_are_no_feature_names(text: str) -> None:
    with pytest.raises(ValueError, match="is not <measure>_<event>_<window>") as error:
        FeatureName.parse(text)
    assert str(error.value) == f"{text!r} is not <measure>_<event>_<window>"


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("count_view_7d", 12, "view events in the last 7 days: 12"),
        ("count_add_to_cart_all", 1234, "add_to_cart events so far: 1,234"),
        ("amount_purchase_28d", 86.125, "amount of purchase events in the last 28 days: 86.1"),
        ("items_purchase_all", 3, "distinct items of purchase events so far: 3"),
        ("categories_view_12h", 2, "distinct categories of view events in the last 12 hours: 2"),
        ("days_any_28d", 9, "days with events in the last 28 days: 9"),
        (
            "trend_purchase_28d",
            -0.3333333,
            "trend of purchase events in the last 28 days against the time before: -0.333",
        ),
        ("recency_days_purchase_all", 41, "days since the last purchase: 41"),
        ("recency_days_purchase_all", 0.04166667, "days since the last purchase: 0.0417"),
        ("tenure_days_any_all", 365.4, "days since the first event: 365"),
        ("orders_purchase_91d", 4, "orders in the last 91 days: 4"),
        ("basket_amount_purchase_all", 12345.6, "amount per order so far: 12,346"),
        ("interval_mean_days_purchase_all", 7.25, "usual days between orders: 7.25"),
        ("interval_std_days_purchase_all", 2, "deviation of the days between orders: 2"),
        ("interval_max_days_purchase_all", 30, "most days between two orders: 30"),
        ("interval_last_days_purchase_all", 7, "days between the last two orders: 7"),
        ("irregularity_purchase_all", 0.5, "irregularity of the days between orders: 0.5"),
        ("category_count_view_7d", 3, "view events of this category in the last 7 days: 3"),
        ("item_user_share_purchase_all", 0.25, "share of purchase events that are of this item so far: 0.25"),
        ("item_recency_days_purchase_all", None, "days since the last purchase of this item: unknown"),
        ("item_overdue_purchase_all", 2, "days since the last purchase of this item over the usual gap: 2"),
        ("item_rank_purchase_all", 1, "place of this item among the user's by purchase events so far: 1"),
        (
            "category_buyers_purchase_91d",
            40,
            "users with purchase events of this category in the last 91 days: 40",
        ),
        (
            "item_price_ratio_purchase_91d",
            0.5,
            "price of this item in the last 91 days over what the user usually pays: 0.5",
        ),
        ("overdue_purchase_all", 2.5, "days since the last order over the usual gap: 2.5"),
        ("repeat_share_view_all", 0.25, "share of view events that repeat an item so far: 0.25"),
        ("bounce_share_any_7d", 0.5, "share of visits with a single event in the last 7 days: 0.5"),
        ("depth_now_view_all", 12, "view events since the last purchase: 12"),
        ("per_cart_purchase_28d", 0.25, "purchase events per cart in the last 28 days: 0.25"),
        ("market_count_any_7d", 99, "popularity of the items of events in the last 7 days: 99"),
        ("calendar_left_cutoff_all", 3, "days left of the month: 3"),
        (
            "top_category_purchase_28d",
            "DAIRY",
            "most frequent category of purchase events in the last 28 days: DAIRY",
        ),
        (
            "category_drift_view_7d",
            0.5,
            "how far the categories of view events in the last 7 days are from those so far: 0.5",
        ),
        ("attribute_home_ownership_all", "Renter", "home_ownership: Renter"),
    ],
)
def test_sentences(name: str, value: float | str, sentence: str) -> None:
    assert FeatureName.parse(name).sentence(value) == sentence


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("recency_days_purchase_all", "days since the last purchase: unknown"),
        ("overdue_purchase_all", "days since the last order over the usual gap: unknown"),
        ("trend_view_7d", "trend of view events in the last 7 days against the time before: unknown"),
        ("basket_amount_purchase_7d", "amount per order in the last 7 days: unknown"),
    ],
)
def test_an_unknown_value_says_what_is_unknown(name: str, sentence: str) -> None:
    assert FeatureName.parse(name).sentence(math.nan) == sentence


def test_no_category_is_unknown() -> None:
    assert FeatureName.parse("attribute_age_all").sentence(None) == "age: unknown"


@pytest.mark.parametrize("measure", MEASURES)
def test_every_measure_documents_itself(measure: str) -> None:
    meaning = MEASURES[measure]
    assert meaning.unit
    assert meaning.formula
    assert meaning.fact
    assert not meaning.null.endswith("."), "it stands in a table"
    for window in ("7d", "all"):
        said = FeatureName(measure, "purchase", window).sentence(3.0)
        assert said.endswith(": 3")
        assert "{" not in said
        assert "nan" not in FeatureName(measure, "purchase", window).sentence(math.nan)


def test_a_fact_is_the_same_in_every_window_and_measure_of_it() -> None:
    names = ["orders_purchase_all", "days_purchase_28d", "items_purchase_7d"]
    assert {FeatureName.parse(name).fact for name in names} == {("purchase", "how often")}
    assert FeatureName.parse("days_view_7d").fact == ("view", "how often")
    assert FeatureName.parse("overdue_purchase_all").fact == ("purchase", "how long ago")


@pytest.mark.parametrize("measure", MEASURES)
def test_every_measure_tells_a_fact(measure: str) -> None:
    assert FeatureName(measure, "view", "all").fact[0] == "view"
