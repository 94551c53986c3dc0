"""What a feature says of a user, beside what is usual: `no purchase for 41 days; usual gap 12 days`.

Each measure has a way to say a value, and a template for an unknown one.
"""

import math
from calendar import day_name, month_name
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ecbehave.inputs.feature_names import FeatureName
from ecbehave.inputs.telling import (
    Beside,
    Say,
    Told,
    against_usual,
    compared,
    count_before,
    counted,
    days,
    minutes,
    money,
    number,
    overdue,
    percent,
    rounded,
    shared,
    since_last,
    units,
    usual_gap,
    usual_rate,
    valued,
    whole_days,
    words,
)

_MONTHS = list(month_name)[1:]
_WEEKDAYS = list(day_name)
#: Nobody has more categories than e to this.
_MOST_VARIED = 20


@dataclass(frozen=True)
class Phrase:
    """How a measure is told."""

    say: Say | str
    """Says a number; or a template for measures that are texts."""
    unknown: str = "not known"
    """Template for null."""


def sentence(feature: FeatureName, value: float | str | None, beside: Beside = lambda _: None) -> str:
    """Say what a feature tells of its user.

    Args:
        feature: which one.
        value: a number or a text; null and NaN are unknown.
        beside: the other features of the same row, of which the sentence takes what is usual for the user.
    """
    phrase = PHRASES[feature.measure]
    if value is None or (not isinstance(value, str) and math.isnan(value)):
        return phrase.unknown.format(**words(feature))
    if isinstance(phrase.say, str):
        text = value if isinstance(value, str) else number(value)
        return phrase.say.format(n=text, **words(feature))
    return phrase.say(Told(feature, float(value), beside))


# Ways to say a value that only one or two measures have


def _amount(told: Told) -> str:
    """Say the money of a window: `86.10 spent in the last 28 days; usually 120.00`."""
    if told.feature.event == "purchase":
        text = told.fill("{n} spent {w}", money(told.value) if told.value else "nothing")
    else:
        text = told.fill("{es} worth {n} {w}", money(told.value))
    return text + usual_rate(money)(told)


def _by(measure: str, otherwise: Say) -> Say:
    """Return what says a trend by the number that it compares, where that is known."""

    def say(told: Told) -> str:
        found = told.other(measure, told.feature.window)
        if found is None:
            return otherwise(told)
        return sentence(replace(told.feature, measure=measure), found, told.beside)

    return say


def _than_usual(told: Told) -> str:
    """Say (a - b) / (a + b) of orders, b being what is usual, as a share of b."""
    # What is usual takes in the window, so that 1 is never reached.
    trend = max(-1.0, min(told.value, 0.99))
    return told.fill("size of orders {w} is {n} of the usual", percent((1 + trend) / (1 - trend)))


def _popular(told: Told) -> str:
    """Say how often all users have the items that the user had."""
    n = rounded(told.value)
    return told.fill(f"this user's items {{w}}: {{n}} {'{e}' if n == '1' else '{es}'} each by all users", n)


def _demand(told: Told) -> str:
    """Say the trend of what all users do with the items."""
    trend = max(-1.0, min(told.value, 0.99))
    change = (1 + trend) / (1 - trend) - 1
    how = (
        "steady"
        if abs(change) < 0.005
        else f"{'rising' if change > 0 else 'falling'} by {percent(abs(change))}"
    )
    return told.fill("demand by all users for this user's items {w} is {n}", how)


def _ratio(more: str, less: str, same: str) -> Say:
    """Return what says a ratio to the usual 1; in the templates `{n}` is `35 %`."""

    def say(told: Told) -> str:
        change = told.value - 1
        template = same if abs(change) < 0.005 else more if change > 0 else less
        return told.fill(template, percent(abs(change)))

    return say


def _like_others(told: Told) -> str:
    """Say how ratings compare with those that others gave the items."""
    if abs(told.value) < 0.05:
        return told.fill("ratings {w} like those of others")
    how = "higher" if told.value > 0 else "lower"
    return told.fill(f"ratings {{w}} {{n}} {how} than those of others", number(abs(told.value)))


def _per(step: str, steps: str) -> Say:
    """Return what says a rate, per hundred where it is small: `2.5 items bought per 100 views so far; usually 4`."""

    def say(told: Told) -> str:
        scale, of = (1, step) if told.value >= 1 else (100, f"100 {steps}")
        n, usual = rounded(scale * told.value), told.usual()
        context = "" if usual is None else f"; usually {rounded(scale * usual)}"
        return told.fill(f"{{n}} {'{row}' if n == '1' else '{rows}'} per {of} {{w}}", n) + context

    return say


def _named(names: Sequence[str], template: str, otherwise: str) -> Say:
    """Return what says the n-th of some names."""
    by_place = dict(enumerate(names, start=1))

    def say(told: Told) -> str:
        name = by_place.get(told.value)  # type: ignore[call-overload]
        return otherwise.format(number(told.value)) if name is None else template.format(name)

    return say


def _spread_over(thing: str, things: str) -> Say:
    """Return what says an entropy as the number of parts of one size that have it."""

    def say(told: Told) -> str:
        n = rounded(math.exp(min(told.value, _MOST_VARIED)))
        if n == "1":
            return told.fill(f"{{rows}} {{w}} all of one {thing}")
        return told.fill(f"{{rows}} {{w}} spread over about {{n}} {things}", n)

    return say


# What each measure says

_NO_ORDERS = "fewer than two orders so far"
_FEW_ORDERS = "fewer than three orders so far"
_NO_VISIT = "no visit {w}"
_NO_EVENT = "no {rows} {w}"
_NO_MONEY = "no money spent {w}"
_SINCE = "since the last purchase"
_GAP = "interval_mean_days"

_ACTIVITY = {
    "count": Phrase(counted("no {rows} {w}", "1 {row} {w}", "{n} {rows} {w}", count_before("trend"))),
    "amount": Phrase(_amount),
    "items": Phrase(
        counted("no {e} {link} any item {w}", "{es} {link} 1 item {w}", "{es} {link} {n} different items {w}")
    ),
    "categories": Phrase(
        counted(
            "no {e} in any category {w}", "{es} in 1 category {w}", "{es} in {n} different categories {w}"
        )
    ),
    "days": Phrase(counted("no {e} {w}", "{es} on 1 day {w}", "{es} on {n} days {w}", usual_rate())),
    "trend": Phrase(_by("count", compared("{rows}")), "no {rows} {w} or {before}"),
    "recency_days": Phrase(since_last("{e}", _GAP), "no {e} so far"),
    "tenure_days": Phrase(valued("first {e} {n} ago", whole_days), "no {e} so far"),
    "repeat_share": Phrase(
        shared("{n} of {rows} so far are repeats", "no repeats among {rows} so far"),
        "no {e} {link} any item so far",
    ),
    "orders": Phrase(counted("no order {w}", "1 order {w}", "{n} orders {w}", usual_rate())),
    "basket_amount": Phrase(valued("{n} per order {w}", money, against_usual), "no order {w}"),
    "interval_mean_days": Phrase(valued("usual gap between orders: {n}", days), _NO_ORDERS),
    "interval_std_days": Phrase(valued("gaps between orders vary by {n}", days, usual_gap), _FEW_ORDERS),
    "interval_max_days": Phrase(valued("longest gap between orders: {n}", days, usual_gap), _NO_ORDERS),
    "interval_last_days": Phrase(valued("last gap between orders: {n}", days, usual_gap), _NO_ORDERS),
    "irregularity": Phrase(valued("gaps between orders vary by {n}", percent, usual_gap), _FEW_ORDERS),
    "overdue": Phrase(overdue("{e}", "recency_days", _GAP), _NO_ORDERS),
}

_BROWSING = {
    "sessions": Phrase(
        counted("no visit {w}", "1 visit {w}", "{n} visits {w}", count_before("session_trend"))
    ),
    "session_events": Phrase(valued("{n} per visit {w}", units("action"), against_usual), _NO_VISIT),
    "session_seconds": Phrase(valued("{n} per visit {w}", minutes, against_usual), _NO_VISIT),
    "session_trend": Phrase(_by("sessions", compared("visits")), "no visit {w} or {before}"),
    "dwell_seconds": Phrase(valued("{n} spent in the shop {w}", minutes, usual_rate(minutes))),
    "path_items": Phrase(valued("{n} per visit {w}", units("different item"), against_usual), _NO_VISIT),
    "bounce_share": Phrase(shared("{n} of visits {w} end after one action"), _NO_VISIT),
    "night_share": Phrase(shared("{n} of {es} {w} are at night"), _NO_EVENT),
    "morning_share": Phrase(shared("{n} of {es} {w} are in the morning"), _NO_EVENT),
    "afternoon_share": Phrase(shared("{n} of {es} {w} are in the afternoon"), _NO_EVENT),
    "evening_share": Phrase(shared("{n} of {es} {w} are in the evening"), _NO_EVENT),
    "weekend_share": Phrase(shared("{n} of {es} {w} are at the weekend"), _NO_EVENT),
    "depth_now": Phrase(
        counted(
            "no {e} since the last purchase",
            "1 {e} since the last purchase",
            "{n} {es} since the last purchase",
        )
    ),
    "depth_usual": Phrase(valued("{es} per order so far: {n}", rounded), "no purchase so far"),
    "visits_now": Phrase(
        counted(
            "no visit since the last purchase",
            "1 visit since the last purchase",
            "{n} visits since the last purchase",
        )
    ),
    "visits_usual": Phrase(valued("visits per order so far: {n}", rounded), "no purchase so far"),
}

_PURCHASE = {
    "basket_size": Phrase(valued("{n} per order {w}", units("item"), against_usual), "no order {w}"),
    "basket_spread": Phrase(valued("value of orders varies by {n}", money), _NO_ORDERS),
    "size_spread": Phrase(valued("size of orders varies by {n}", units("item")), _NO_ORDERS),
    "basket_trend": Phrase(_by("basket_amount", _than_usual), "no order {w}"),
    "size_trend": Phrase(_by("basket_size", _than_usual), "no order {w}"),
    "price_mean": Phrase(
        valued("{rows} {w} at {n} on average", money, against_usual), "no {e} with a price {w}"
    ),
    "price_level": Phrase(
        _ratio(
            "{rows} {w} are {n} dearer than usual in their categories",
            "{rows} {w} are {n} cheaper than usual in their categories",
            "{rows} {w} cost what is usual in their categories",
        ),
        "no {e} with a known price {w}",
    ),
    "discount_share": Phrase(shared("{n} of the money saved by discounts {w}", "no discount {w}"), _NO_MONEY),
    "discount_use": Phrase(shared("{n} of {rows} {w} with a discount", "no discount {w}"), _NO_EVENT),
    "coupon_share": Phrase(shared("{n} of the money saved by coupons {w}", "no coupon used {w}"), _NO_MONEY),
    "coupon_use": Phrase(shared("{n} of {rows} {w} with a coupon", "no coupon used {w}"), _NO_EVENT),
    "return_share": Phrase(shared("returns are {n} of purchases {w}", "no return {w}"), "no purchase {w}"),
    "return_money": Phrase(shared("refunds are {n} of money spent {w}", "no refund {w}"), _NO_MONEY),
}

_INTERACTION = {
    "per_view": Phrase(_per("view", "views"), "no view {w}"),
    "per_cart": Phrase(_per("cart addition", "cart additions"), "no cart addition {w}"),
    "per_search": Phrase(_per("search", "searches"), "no search {w}"),
    "abandoned_count": Phrase(
        counted(
            "nothing left in the cart {w}",
            "1 item left in the cart without buying {w}",
            "{n} items left in the cart without buying {w}",
        )
    ),
    "abandoned_share": Phrase(
        shared("{n} of cart additions {w} left without buying", "nothing left in the cart {w}"),
        "no cart addition {w}",
    ),
    "rating_count": Phrase(counted("no rating given {w}", "1 rating given {w}", "{n} ratings given {w}")),
    "rating_mean": Phrase(valued("mean rating {w}: {n}", number, against_usual), "no rating given {w}"),
    "rating_gap": Phrase(_like_others, "no rating {w} of an item that others have rated"),
}


def _taste(thing: str, things: str) -> dict[str, Phrase]:
    none = f"no {{e}} with a known {thing} {{w}}"
    return {
        f"top_{thing}": Phrase(f"favourite {thing} {{w}}: {{n}}", none),
        f"{thing}_share1": Phrase(shared(f"{{n}} of {{rows}} {{w}} are of the favourite {thing}"), none),
        f"{thing}_share3": Phrase(
            shared(f"{{n}} of {{rows}} {{w}} are of the three favourite {things}"), none
        ),
        f"{thing}_entropy": Phrase(_spread_over(thing, things), none),
        f"{thing}_drift": Phrase(
            valued(f"{{n}} of {{rows}} {{w}} are of other {things} than usual", percent), none
        ),
    }


_PREFERENCE = {
    "brands": Phrase(
        counted("no known brand {w}", "{es} of 1 brand {w}", "{es} of {n} different brands {w}")
    ),
    **_taste("category", "categories"),
    **_taste("brand", "brands"),
}

_CONTEXT = {
    "calendar_month": Phrase(_named(_MONTHS, "the days asked about start in {}", "the month is {}")),
    "calendar_day": Phrase(valued("the days asked about start on day {n} of the month")),
    "calendar_weekday": Phrase(_named(_WEEKDAYS, "the days asked about start on a {}", "the weekday is {}")),
    "calendar_left": Phrase(valued("the days asked about start {n} before the end of the month", days)),
    "market_count": Phrase(_popular, "no {e} {link} any item {w}"),
    "market_trend": Phrase(_demand, "no {e} {link} any item {w}"),
    "attribute": Phrase("{event}: {n}", "{event} not known"),
}


def _pair(thing: str, link: str) -> dict[str, Phrase]:
    """Return what is said of pairs; `link` joins an event with the thing."""
    it = f"{link} this {thing}"
    once = f"{{es}} {it} on fewer than two days so far"
    never = f"no {{e}} {it} so far"
    recency, gap = f"{thing}_recency_days", f"{thing}_interval_days"
    return {
        f"{thing}_count": Phrase(
            counted(f"no {{e}} {it} {{w}}", f"1 {{e}} {it} {{w}}", f"{{n}} {{es}} {it} {{w}}")
        ),
        f"{thing}_user_share": Phrase(
            shared(f"{{n}} of {{es}} {{w}} are {it}", f"no {{e}} {it} {{w}}"), "no {rows} {w}"
        ),
        f"{thing}_days": Phrase(
            counted(f"no {{e}} {it} {{w}}", f"{{es}} {it} on 1 day {{w}}", f"{{es}} {it} on {{n}} days {{w}}")
        ),
        f"{thing}_amount": Phrase(valued(f"{{es}} {it} worth {{n}} so far", money)),
        f"{thing}_recency_days": Phrase(since_last(f"{{e}} {it}", gap), never),
        f"{thing}_tenure_days": Phrase(valued(f"first {{e}} {it} {{n}} ago", whole_days), never),
        f"{thing}_interval_days": Phrase(valued(f"usual gap between {{es}} {it}: {{n}}", days), once),
        f"{thing}_overdue": Phrase(overdue(f"{{e}} {it}", recency, gap), once),
        f"{thing}_rank": Phrase(
            valued(f"this {thing} is number {{n}} of the user's by {{es}} so far"), never
        ),
        f"{thing}_buyers": Phrase(
            counted(
                f"no user with {{es}} {it} {{w}}",
                f"1 user with {{es}} {it} {{w}}",
                f"{{n}} users with {{es}} {it} {{w}}",
            )
        ),
        f"{thing}_trend": Phrase(
            compared(f"users with {{es}} {it}"), f"no user with {{es}} {it} {{w}} or {{before}}"
        ),
        f"{thing}_price_ratio": Phrase(
            _ratio(
                f"this {thing} costs {{n}} more than the user usually pays",
                f"this {thing} costs {{n}} less than the user usually pays",
                f"this {thing} costs what the user usually pays",
            ),
            f"price of this {thing} not known",
        ),
    }


_CANDIDATES = {
    "item_similar_score": Phrase(valued("this item goes with what the user had: {n}")),
    "item_similar_rank": Phrase(valued("number {n} of the items that go with what the user had")),
    "item_affinity_score": Phrase(valued("this item suits what the user had: {n}")),
    "item_affinity_rank": Phrase(valued("number {n} of the items that suit what the user had")),
    "item_popular_rank": Phrase(
        valued("this item is number {n} of all by users with {es} {w}"), "this item had by nobody {w}"
    ),
}

#: By the name of the measure.
PHRASES: dict[str, Phrase] = (
    _ACTIVITY
    | _BROWSING
    | _PURCHASE
    | _INTERACTION
    | _PREFERENCE
    | _CONTEXT
    | _pair("item", "{link}")
    | _pair("category", "in")
    | _CANDIDATES
)
