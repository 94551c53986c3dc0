"""Every feature says in a sentence what it tells of a user, beside what is usual for the same user."""

import math
import re
from collections.abc import Mapping
from datetime import timedelta

import pytest
from feature_logs import GROUPS

from ecbehave.config.task import Candidates
from ecbehave.inputs.facts import LogFacts
from ecbehave.inputs.feature_names import MEASURES, FeatureName
from ecbehave.inputs.pairs import PairTable
from ecbehave.inputs.sentences import PHRASES, sentence
from ecbehave.inputs.table import Catalogue
from ecbehave.inputs.telling import Beside
from ecbehave.inputs.titles import title
from ecbehave.schema import EVENT_COLUMNS, EVENT_TYPES

DAY = timedelta(days=1)
FACTS = LogFacts((*EVENT_TYPES, "add_to_cart"), tuple(EVENT_COLUMNS), ("home_ownership",))


def every_feature() -> list[str]:
    """All that the catalogue and the tables of pairs can have, of a log that has everything, and one of orders."""
    windows, gap = (DAY, 7 * DAY), timedelta(minutes=30)
    names: dict[str, None] = {}
    for facts in (FACTS, LogFacts(("purchase",), FACTS.columns), LogFacts(("view", "search"), FACTS.columns)):
        names |= dict.fromkeys(Catalogue(facts, GROUPS, windows, gap, "UTC").schema())
        for target in ("item_id", "category"):
            names |= dict.fromkeys(PairTable(facts, target, Candidates(), windows, gap, "UTC").schema())
    # What sources of candidates say is there only with `candidates.sources`.
    built = {FeatureName.parse(name).measure for name in names}
    return [*names, *(f"{measure}_any_all" for measure in MEASURES if measure not in built)]


FEATURES = every_feature()


def beside(known: Mapping[str, float]) -> Beside:
    return lambda name: known.get(str(name))


def said(name: str, value: float | str | None, known: Mapping[str, float] | None = None) -> str:
    return sentence(FeatureName.parse(name), value, beside(known or {}))


def test_every_measure_has_a_phrase() -> None:
    assert set(PHRASES) == set(MEASURES)


@pytest.mark.parametrize("value", [0, 1, 2.5, 1234, -0.3, None, math.nan, "Renter"])
def test_every_feature_gives_a_sentence(value: float | str | None) -> None:
    usual = {name: 0.35 if "trend" in name else 3.5 for name in FEATURES}
    for name in FEATURES:
        is_text = isinstance(PHRASES[FeatureName.parse(name).measure].say, str)
        if isinstance(value, str) and not is_text:
            continue
        for known in ({}, usual):
            text = said(name, value, known)
            assert re.fullmatch(r"[a-z0-9-].*[A-Za-z0-9%]", text), text
            assert not re.search(r"[{}_]|nan|None|  |\ba [aeiou]", text.replace("add_to_cart", "own")), text
            # One thing is told in the singular, all other numbers of things in the plural.
            assert not re.search(r"(?<![.,\d])1 (?!per\b|higher|lower)\w+s\b(?! (?:so|in))", text), text
            assert not re.search(r"\d[2-9] (?:day|item|order|visit|view|purchase|action)\b", text), text
        assert len(said(name, value)) < 130


def test_what_is_unknown_has_words_of_its_own() -> None:
    for name in FEATURES:
        text = said(name, None)
        assert text == said(name, math.nan)
        assert (text == "not known") == (FeatureName.parse(name).meaning.null == ""), name
        assert text != said(name, 3)


@pytest.mark.parametrize(
    ("name", "value", "known", "expected"),
    [
        # How often
        ("count_view_7d", 12, {}, "12 views in the last 7 days"),
        ("count_view_7d", 1, {}, "1 view in the last 7 days"),
        ("count_view_1d", 3, {}, "3 views in the last day"),
        ("count_view_12h", 3, {}, "3 views in the last 12 hours"),
        ("count_purchase_28d", 20, {}, "20 items bought in the last 28 days"),
        ("count_add_to_cart_all", 1234, {}, "1,234 add_to_cart events so far"),
        (
            "count_purchase_28d",
            3,
            {"trend_purchase_28d": (3 - 8) / (3 + 8)},
            "3 items bought in the last 28 days, 8 in the 28 days before",
        ),
        ("count_view_7d", 3, {"trend_view_7d": 1}, "3 views in the last 7 days, none in the 7 days before"),
        ("count_view_7d", 0, {"trend_view_7d": -1}, "no views in the last 7 days, but some in the 7 days before"),
        (
            "count_view_7d",
            3,
            {"count_view_all": 140, "tenure_days_view_all": 200},
            "3 views in the last 7 days; usually 4.9",
        ),
        ("orders_purchase_28d", 1, {}, "1 order in the last 28 days"),
        (
            "orders_purchase_28d",
            3,
            {"orders_purchase_all": 40, "tenure_days_purchase_all": 200},
            "3 orders in the last 28 days; usually 5.6",
        ),
        # Who came less than two windows ago has no habit.
        (
            "orders_purchase_28d",
            3,
            {"orders_purchase_all": 4, "tenure_days_purchase_all": 55},
            "3 orders in the last 28 days",
        ),
        ("orders_purchase_all", 40, {"tenure_days_purchase_all": 200, "orders_purchase_all": 40}, "40 orders so far"),
        ("sessions_any_7d", 2, {"session_trend_any_7d": 0}, "2 visits in the last 7 days, 2 in the 7 days before"),
        ("items_purchase_all", 3, {}, "purchases of 3 different items so far"),
        ("items_search_7d", 1, {}, "searches for 1 item in the last 7 days"),
        ("categories_view_7d", 0, {}, "no view in any category in the last 7 days"),
        ("days_any_28d", 9, {}, "actions on 9 days in the last 28 days"),
        ("amount_purchase_28d", 86.125, {}, "86.12 spent in the last 28 days"),
        (
            "amount_purchase_28d",
            0,
            {"amount_purchase_all": 1000, "tenure_days_purchase_all": 280},
            "nothing spent in the last 28 days; usually 100.00",
        ),
        ("amount_view_28d", 1234.5, {}, "views worth 1,234 in the last 28 days"),
        ("trend_purchase_28d", -1 / 3, {}, "50 % fewer items bought in the last 28 days than in the 28 days before"),
        ("trend_view_7d", 0.2, {}, "50 % more views in the last 7 days than in the 7 days before"),
        ("trend_view_7d", 0.6, {}, "4 times as many views in the last 7 days as in the 7 days before"),
        ("trend_view_7d", 0, {}, "as many views in the last 7 days as in the 7 days before"),
        (
            "session_trend_any_7d",
            1,
            {"sessions_any_7d": 3, "session_trend_any_7d": 1},
            "3 visits in the last 7 days, none in the 7 days before",
        ),
        (
            "trend_purchase_28d",
            (3 - 8) / (3 + 8),
            {"count_purchase_28d": 3, "trend_purchase_28d": (3 - 8) / (3 + 8)},
            "3 items bought in the last 28 days, 8 in the 28 days before",
        ),
        ("trend_view_7d", 1, {}, "views in the last 7 days, but none in the 7 days before"),
        ("trend_view_7d", -1, {}, "no views in the last 7 days, but some in the 7 days before"),
        # How long ago
        ("recency_days_purchase_all", 41.3, {}, "no purchase for 41 days"),
        (
            "recency_days_purchase_all",
            41.3,
            {"interval_mean_days_purchase_all": 12.2},
            "no purchase for 41 days; usual gap 12 days",
        ),
        (
            "recency_days_purchase_all",
            3.04,
            {"interval_mean_days_purchase_all": 7.25},
            "last purchase 3 days ago; usual gap 7.2 days",
        ),
        ("recency_days_view_all", 3, {"interval_mean_days_purchase_all": 7}, "no view for 3 days"),
        ("recency_days_purchase_all", 0.25, {}, "last purchase less than a day ago"),
        ("recency_days_purchase_all", 1.9, {}, "no purchase for 1 day"),
        ("tenure_days_any_all", 365.4, {}, "first action 365 days ago"),
        ("overdue_purchase_all", 2.5, {}, "time since the last purchase is 250 % of the usual gap"),
        (
            "overdue_purchase_all",
            3.4,
            {"interval_mean_days_purchase_all": 12, "recency_days_purchase_all": 41},
            "no purchase for 41 days; usual gap 12 days",
        ),
        # How regular
        ("interval_mean_days_purchase_all", 7.25, {}, "usual gap between orders: 7.2 days"),
        ("interval_max_days_purchase_all", 30, {}, "longest gap between orders: 30 days"),
        (
            "interval_last_days_purchase_all",
            30,
            {"interval_mean_days_purchase_all": 12},
            "last gap between orders: 30 days; usual gap 12 days",
        ),
        ("irregularity_purchase_all", 0.5, {}, "gaps between orders vary by 50 %"),
        # Orders
        (
            "basket_amount_purchase_28d",
            12.4,
            {"basket_amount_purchase_all": 19.08},
            "12.40 per order in the last 28 days, 35 % less than usual",
        ),
        (
            "basket_amount_purchase_28d",
            19,
            {"basket_amount_purchase_all": 19.08},
            "19.00 per order in the last 28 days, as usual",
        ),
        (
            "basket_amount_purchase_28d",
            60,
            {"basket_amount_purchase_all": 20},
            "60.00 per order in the last 28 days, 3 times the usual",
        ),
        ("basket_amount_purchase_28d", 6, {"basket_amount_purchase_all": 0}, "6.00 per order in the last 28 days"),
        ("basket_amount_purchase_all", 12345.6, {}, "12,346 per order so far"),
        ("basket_size_purchase_7d", 8.52, {}, "8.5 items per order in the last 7 days"),
        (
            "basket_trend_purchase_28d",
            -0.2,
            {"basket_amount_purchase_28d": 10, "basket_amount_purchase_all": 15},
            "10.00 per order in the last 28 days, 33 % less than usual",
        ),
        ("size_trend_purchase_28d", 0.2, {}, "size of orders in the last 28 days is 150 % of the usual"),
        ("price_level_purchase_all", 1.12, {}, "items bought so far are 12 % dearer than usual in their categories"),
        # Shares
        ("repeat_share_view_all", 0.25, {}, "25 % of views so far are repeats"),
        ("bounce_share_any_7d", 0.5, {"bounce_share_any_all": 0.021}, "50 % of visits in the last 7 days end after one"
         " action; usually 2.1 %"),
        ("coupon_use_purchase_all", 0, {}, "no coupon used so far"),
        ("discount_use_purchase_28d", 0.35, {}, "35 % of items bought in the last 28 days with a discount"),
        ("per_view_purchase_28d", 0.025, {"per_view_purchase_all": 0.04}, "2.5 items bought per 100 views in the last"
         " 28 days; usually 4"),
        ("per_search_cart_7d", 5, {"per_search_cart_all": 0.5}, "5 cart additions per search in the last 7 days;"
         " usually 0.5"),
        ("per_cart_purchase_all", 1, {}, "1 item bought per cart addition so far"),
        ("per_view_cart_28d", 0.01, {}, "1 cart addition per 100 views in the last 28 days"),
        ("abandoned_share_cart_7d", 0.8, {}, "80 % of cart additions in the last 7 days left without buying"),
        ("price_level_purchase_all", 1.001, {}, "items bought so far cost what is usual in their categories"),
        ("rating_gap_any_all", 0.01, {}, "ratings so far like those of others"),
        ("rating_gap_any_all", -0.5, {}, "ratings so far 0.5 lower than those of others"),
        # Visits
        ("dwell_seconds_any_7d", 45, {}, "45 seconds spent in the shop in the last 7 days"),
        ("dwell_seconds_any_7d", 60, {}, "1 minute spent in the shop in the last 7 days"),
        ("session_seconds_any_7d", 342, {}, "5.7 minutes per visit in the last 7 days"),
        ("dwell_seconds_any_all", 9000, {}, "2.5 hours spent in the shop so far"),
        ("depth_now_view_all", 12, {}, "12 views since the last purchase"),
        # Taste and context
        ("top_category_purchase_28d", "DAIRY", {}, "favourite category in the last 28 days: DAIRY"),
        ("category_entropy_purchase_all", math.log(7), {}, "items bought so far spread over about 7 categories"),
        ("category_entropy_purchase_all", 0, {}, "items bought so far all of one category"),
        ("category_drift_purchase_7d", 0.5, {}, "50 % of items bought in the last 7 days are of other categories than"
         " usual"),
        ("market_count_any_7d", 12.34, {}, "this user's items in the last 7 days: 12 actions each by all users"),
        ("market_count_any_all", 1, {}, "this user's items so far: 1 action each by all users"),
        ("market_trend_any_7d", -0.2, {}, "demand by all users for this user's items in the last 7 days is falling by"
         " 33 %"),
        ("calendar_month_cutoff_all", 11, {}, "the days asked about start in November"),
        ("calendar_weekday_cutoff_all", 1, {}, "the days asked about start on a Monday"),
        ("attribute_home_ownership_all", "Renter", {}, "home ownership: Renter"),
        # Pairs
        ("category_count_view_7d", 3, {}, "3 views in this category in the last 7 days"),
        ("item_count_purchase_7d", 1, {}, "1 purchase of this item in the last 7 days"),
        ("item_user_share_purchase_all", 0.25, {}, "25 % of purchases so far are of this item"),
        ("item_recency_days_purchase_all", 21, {"item_interval_days_purchase_all": 14}, "no purchase of this item for"
         " 21 days; usual gap 14 days"),
        ("category_overdue_purchase_all", 2, {}, "time since the last purchase in this category is 200 % of the usual"
         " gap"),
        ("category_overdue_purchase_all", 1.5,
         {"category_interval_days_purchase_all": 14, "category_recency_days_purchase_all": 21},
         "no purchase in this category for 21 days; usual gap 14 days"),
        ("item_rank_purchase_all", 1, {}, "this item is number 1 of the user's by purchases so far"),
        ("category_buyers_purchase_91d", 40, {}, "40 users with purchases in this category in the last 91 days"),
        ("item_price_ratio_purchase_91d", 0.5, {}, "this item costs 50 % less than the user usually pays"),
    ],
)  # fmt: skip
def test_sentences(name: str, value: float | str, known: Mapping[str, float], expected: str) -> None:
    assert said(name, value, known) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("recency_days_purchase_all", "no purchase so far"),
        ("recency_days_any_all", "no action so far"),
        ("overdue_purchase_all", "fewer than two orders so far"),
        ("trend_view_7d", "no views in the last 7 days or in the 7 days before"),
        ("basket_amount_purchase_7d", "no order in the last 7 days"),
        ("coupon_use_purchase_28d", "no items bought in the last 28 days"),
        ("repeat_share_search_all", "no search for any item so far"),
        ("item_recency_days_purchase_all", "no purchase of this item so far"),
        ("category_interval_days_purchase_all", "purchases in this category on fewer than two days so far"),
        ("top_brand_purchase_7d", "no purchase with a known brand in the last 7 days"),
        ("attribute_age_all", "age not known"),
    ],
)
def test_what_null_means(name: str, expected: str) -> None:
    assert said(name, None) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("recency_days_purchase_all", "days since the last purchase"),
        ("days_any_28d", "days with actions in the last 28 days"),
        ("attribute_home_ownership_all", "home ownership"),
        ("item_days_purchase_all", "days with purchases of this item so far"),
        ("category_count_view_7d", "views in this category in the last 7 days"),
    ],
)
def test_titles(name: str, expected: str) -> None:
    assert title(FeatureName.parse(name)) == expected


def test_every_feature_has_a_title_of_its_own() -> None:
    titles = [title(FeatureName.parse(name)) for name in FEATURES if "_any_" not in name]
    assert not [text for text in titles if "{" in text]
    assert len(set(titles)) == len(titles)
