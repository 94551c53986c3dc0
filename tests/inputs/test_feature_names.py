"""Names of features can be read back, and every measure says what it is about."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecbehave.inputs.feature_names import MEASURES, FeatureName
from ecbehave.inputs.measures import FAMILIES

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


@pytest.mark.parametrize("measure", MEASURES)
def test_every_measure_documents_itself(measure: str) -> None:
    meaning = MEASURES[measure]
    assert meaning.unit
    assert meaning.formula
    assert meaning.family in FAMILIES
    assert not meaning.null.endswith("."), "it stands in a table"


def test_every_family_has_a_measure() -> None:
    assert {measure.family for measure in MEASURES.values()} == set(FAMILIES)


def test_a_fact_is_the_same_in_every_window_and_measure_of_it() -> None:
    names = ["orders_purchase_all", "days_purchase_28d", "items_purchase_7d", "trend_purchase_7d"]
    assert {FeatureName.parse(name).fact for name in names} == {("purchase", "frequency")}
    assert FeatureName.parse("days_view_7d").fact == ("view", "frequency")
    assert FeatureName.parse("overdue_purchase_all").fact == ("purchase", "recency")
    assert FeatureName.parse("category_overdue_purchase_all").fact == ("purchase", "category recency")
    assert FeatureName.parse("attribute_age_all").fact == ("age", "attributes")
