"""Names of features can be read back, and say in words what they mean."""

import math

import pytest

from ecbehave.inputs.feature_names import MEASURES, FeatureName

EVENTS = ["purchase", "add_to_cart", "any", "all", "days_purchase", "count", "_", "kauf über 10"]


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("measure", MEASURES)
def test_a_name_is_read_back_whatever_the_event_is_called(measure: str, event: str) -> None:
    for window in ("7d", "12h", "all"):
        name = FeatureName(measure, event, window)
        assert str(name) == f"{measure}_{event}_{window}"
        assert FeatureName.parse(str(name)) == name


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
        ("count_view_7d", 12, "12 view events in the last 7d"),
        ("count_add_to_cart_all", 1234, "1,234 add_to_cart events so far"),
        ("amount_purchase_28d", 86.125, "purchase amount of 86.1 in the last 28d"),
        ("items_purchase_all", 3, "3 distinct items (purchase) so far"),
        ("categories_view_12h", 2, "2 distinct categories (view) in the last 12h"),
        ("days_any_28d", 9, "any on 9 days in the last 28d"),
        ("trend_purchase_28d", -0.3333333, "purchase trend of -0.333 in the last 28d"),
        ("recency_days_purchase_all", 41, "last purchase 41 days ago"),
        ("recency_days_purchase_all", 0.04166667, "last purchase 0.0417 days ago"),
        ("tenure_days_any_all", 365.4, "first any 365 days ago"),
        ("orders_purchase_91d", 4, "4 orders in the last 91d"),
        ("basket_amount_purchase_all", 12345.6, "12,346 per order so far"),
        ("interval_mean_days_purchase_all", 7.25, "usual gap of 7.25 days between orders"),
        ("interval_std_days_purchase_all", 2, "gaps vary by 2 days"),
        ("interval_max_days_purchase_all", 30, "longest gap of 30 days"),
        ("interval_last_days_purchase_all", 7, "last gap of 7 days"),
        ("irregularity_purchase_all", 0.5, "gaps vary 0.5 times their mean"),
        ("overdue_purchase_all", 2.5, "2.5 times the usual gap since the last order"),
        ("repeat_share_view_all", 0.25, "0.25 of view events repeat an item so far"),
    ],
)
def test_sentences(name: str, value: float, sentence: str) -> None:
    assert FeatureName.parse(name).sentence(value) == sentence


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("recency_days_purchase_all", "unknown days since the last event (purchase)"),
        ("overdue_purchase_all", "unknown days since the last order over the mean gap (purchase)"),
        ("trend_view_7d", "unknown (n - n before) / (n + n before) against the window before (view)"),
        ("basket_amount_purchase_7d", "unknown amount per order (purchase)"),
    ],
)
def test_an_unknown_value_says_what_is_unknown(name: str, sentence: str) -> None:
    assert FeatureName.parse(name).sentence(math.nan) == sentence


@pytest.mark.parametrize("measure", MEASURES)
def test_every_measure_documents_itself(measure: str) -> None:
    meaning, phrase = MEASURES[measure]
    assert meaning[0].islower() or meaning[0] in "(1", "it goes on after the name of the measure"
    assert "{v}" in phrase
    said = FeatureName(measure, "purchase", "7d").sentence(3.0)
    assert "3" in said
    assert "{" not in said
    assert "nan" not in FeatureName(measure, "purchase", "7d").sentence(math.nan)
