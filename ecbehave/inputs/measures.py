"""What features measure: unit, formula, what null means, and words for people. The one registry of them."""

from dataclasses import dataclass

ALL = "all"


@dataclass(frozen=True)
class Measure:
    """What a feature with this measure tells."""

    unit: str
    formula: str
    null: str
    """When it is null; empty where it never is."""
    words: str
    """`{e}` is the event, `{es}` its plural, `{w}` the window in words."""
    fact: str
    """What it is about; measures of one fact tell the same in other words."""


_NEVER = ""
_NO_EVENT = "no event in the window"
_NO_ORDER = "no order in the window"
_NO_SESSION = "no session in the window"
_ONE_ORDER = "under two orders"

_ACTIVITY = {
    "count": Measure("events", "number of events", _NEVER, "{es} {w}", "how often"),
    "amount": Measure("currency", "sum of amounts", _NEVER, "amount of {es} {w}", "how much"),
    "items": Measure("items", "distinct items", _NEVER, "distinct items of {es} {w}", "how often"),
    "categories": Measure(
        "categories", "distinct categories", _NEVER, "distinct categories of {es} {w}", "how often"
    ),
    "days": Measure(
        "days", "distinct days of the shop's calendar", _NEVER, "days with {es} {w}", "how often"
    ),
    "trend": Measure(
        "-1 to 1",
        "(n - n before) / (n + n before), against the window before",
        "no event in either window",
        "trend of {es} {w} against the time before",
        "up or down",
    ),
    "recency_days": Measure(
        "days", "since the last event", "no event", "days since the last {e}", "how long ago"
    ),
    "tenure_days": Measure(
        "days", "since the first event", "no event", "days since the first {e}", "since when"
    ),
    "repeat_share": Measure(
        "share",
        "1 - distinct items / events with an item",
        "no event with an item",
        "share of {es} that repeat an item {w}",
        "what again",
    ),
    "orders": Measure(
        "orders",
        "distinct order_id, or distinct times where there is none; each at the time of its first row",
        _NEVER,
        "orders {w}",
        "how often",
    ),
    "basket_amount": Measure("currency", "amount / orders", _NO_ORDER, "amount per order {w}", "how much"),
    "interval_mean_days": Measure(
        "days", "mean time between orders", _ONE_ORDER, "usual days between orders", "how regular"
    ),
    "interval_std_days": Measure(
        "days",
        "deviation of the time between orders",
        "under three orders",
        "deviation of the days between orders",
        "how regular",
    ),
    "interval_max_days": Measure(
        "days", "longest time between orders", _ONE_ORDER, "most days between two orders", "how regular"
    ),
    "interval_last_days": Measure(
        "days",
        "time between the last two orders",
        _ONE_ORDER,
        "days between the last two orders",
        "how long ago",
    ),
    "irregularity": Measure(
        "ratio",
        "deviation / mean of the time between orders",
        "under three orders, or all at one time",
        "irregularity of the days between orders",
        "how regular",
    ),
    "overdue": Measure(
        "ratio",
        "days since the last order / mean time between orders",
        "under two orders, or all at one time",
        "days since the last order over the usual gap",
        "how long ago",
    ),
}

_BROWSING = {
    "sessions": Measure("sessions", "sessions that start", _NEVER, "visits {w}", "how often"),
    "session_events": Measure(
        "events", "events / sessions that start", _NO_SESSION, "events per visit {w}", "how deep a visit"
    ),
    "session_seconds": Measure(
        "seconds",
        "dwell_seconds / sessions that start",
        _NO_SESSION,
        "seconds per visit {w}",
        "how long a visit",
    ),
    "session_trend": Measure(
        "-1 to 1",
        "(n - n before) / (n + n before) of sessions, against the window before",
        "no session in either window",
        "trend of visits {w} against the time before",
        "up or down",
    ),
    "dwell_seconds": Measure(
        "seconds",
        "sum of the log's dwell_seconds, or else of gaps within a session, each at its later event",
        _NEVER,
        "seconds spent {w}",
        "how long a visit",
    ),
    "path_items": Measure(
        "items",
        "items that are new to their session / sessions that start",
        _NO_SESSION,
        "different items per visit {w}",
        "how deep a visit",
    ),
    "bounce_share": Measure(
        "share",
        "1 - sessions that get their second event / sessions that start, at least 0",
        _NO_SESSION,
        "share of visits with a single event {w}",
        "how deep a visit",
    ),
    "night_share": Measure(
        "share",
        "events from 0:00 to 6:00 on the shop's clock",
        _NO_EVENT,
        "share of {es} at night {w}",
        "when",
    ),
    "morning_share": Measure(
        "share",
        "events from 6:00 to 12:00 on the shop's clock",
        _NO_EVENT,
        "share of {es} in the morning {w}",
        "when",
    ),
    "afternoon_share": Measure(
        "share",
        "events from 12:00 to 18:00 on the shop's clock",
        _NO_EVENT,
        "share of {es} in the afternoon {w}",
        "when",
    ),
    "evening_share": Measure(
        "share",
        "events from 18:00 to 24:00 on the shop's clock",
        _NO_EVENT,
        "share of {es} in the evening {w}",
        "when",
    ),
    "weekend_share": Measure(
        "share",
        "events on Saturday and Sunday of the shop's calendar",
        _NO_EVENT,
        "share of {es} at the weekend {w}",
        "when",
    ),
    "depth_now": Measure(
        "events",
        "events after the last purchase",
        _NEVER,
        "{es} since the last purchase",
        "how deep before a purchase",
    ),
    "depth_usual": Measure(
        "events",
        "events up to the last purchase / orders",
        "no purchase",
        "{es} per order so far",
        "how deep before a purchase",
    ),
    "visits_now": Measure(
        "sessions",
        "sessions that start after the last purchase",
        _NEVER,
        "visits since the last purchase",
        "how deep before a purchase",
    ),
    "visits_usual": Measure(
        "sessions",
        "sessions that start up to the last purchase / orders",
        "no purchase",
        "visits per order so far",
        "how deep before a purchase",
    ),
}

_PURCHASE = {
    "basket_size": Measure("rows", "purchase rows / orders", _NO_ORDER, "rows per order {w}", "how much"),
    "basket_spread": Measure(
        "currency",
        "deviation of the amount of orders (n - 1)",
        _ONE_ORDER,
        "deviation of the amount per order",
        "how even the orders",
    ),
    "size_spread": Measure(
        "rows",
        "deviation of the rows of orders (n - 1)",
        _ONE_ORDER,
        "deviation of the rows per order",
        "how even the orders",
    ),
    "basket_trend": Measure(
        "-1 to 1",
        "(a - b) / (a + b); a: amount per order in the window, b: so far",
        "no order in the window, or no amount",
        "trend of the amount per order {w}",
        "up or down",
    ),
    "size_trend": Measure(
        "-1 to 1",
        "(a - b) / (a + b); a: rows per order in the window, b: so far",
        _NO_ORDER,
        "trend of the rows per order {w}",
        "up or down",
    ),
    "price_mean": Measure(
        "currency",
        "mean price of a piece: price, or else amount / quantity",
        "no event with a price in the window",
        "mean price of {es} {w}",
        "how dear",
    ),
    "price_level": Measure(
        "ratio",
        "mean of price / mean price in the category in all earlier months",
        "no event with a price in a category that was known before the event's month",
        "price against what is usual in the category, of {es} {w}",
        "how dear",
    ),
    "discount_share": Measure(
        "share",
        "discount / (amount + discount + coupon)",
        "no money in the window",
        "share of money saved by discounts {w}",
        "how cheap",
    ),
    "discount_use": Measure(
        "share",
        "events with a discount / events",
        _NO_EVENT,
        "share of {es} with a discount {w}",
        "how cheap",
    ),
    "coupon_share": Measure(
        "share",
        "coupon / (amount + discount + coupon)",
        "no money in the window",
        "share of money saved by coupons {w}",
        "how cheap",
    ),
    "coupon_use": Measure(
        "share", "events with a coupon / events", _NO_EVENT, "share of {es} with a coupon {w}", "how cheap"
    ),
    "return_share": Measure(
        "ratio",
        "returns / purchases",
        "no purchase in the window",
        "returns per purchase {w}",
        "what goes back",
    ),
    "return_money": Measure(
        "ratio",
        "amount of returns / amount of purchases",
        "no amount of purchases in the window",
        "money returned per money spent {w}",
        "what goes back",
    ),
}

_INTERACTION = {
    "per_view": Measure(
        "ratio", "events / views", "no view in the window", "{es} per view {w}", "how decided"
    ),
    "per_cart": Measure(
        "ratio", "events / carts", "no cart in the window", "{es} per cart {w}", "how decided"
    ),
    "per_search": Measure(
        "ratio", "events / searches", "no search in the window", "{es} per search {w}", "how decided"
    ),
    "abandoned_count": Measure(
        "events",
        "carts with an item that the user does not purchase from then on, up to the cutoff",
        _NEVER,
        "carts {w} that no purchase of the item followed",
        "what is left",
    ),
    "abandoned_share": Measure(
        "share",
        "abandoned carts / carts with an item",
        "no cart with an item in the window",
        "share of carts {w} that no purchase of the item followed",
        "what is left",
    ),
    "rating_count": Measure("ratings", "events with a rating", _NEVER, "ratings {w}", "how pleased"),
    "rating_mean": Measure(
        "rating", "mean rating", "no rating in the window", "mean rating {w}", "how pleased"
    ),
    "rating_gap": Measure(
        "rating",
        "mean of rating - mean rating of the item in all earlier months",
        "no rating of an item that was rated before the event's month",
        "rating against what others gave the item, {w}",
        "how pleased",
    ),
}


def _taste(thing: str, things: str) -> dict[str, Measure]:
    none = f"no event with a {thing} in the window"
    return {
        f"top_{thing}": Measure(
            "text",
            f"the most frequent {thing}; of equals the first by the alphabet",
            none,
            f"most frequent {thing} of {{es}} {{w}}",
            "what",
        ),
        f"{thing}_share1": Measure(
            "share",
            f"events of the most frequent {thing} / events with one",
            none,
            f"share of {{es}} in the most frequent {thing} {{w}}",
            "how varied",
        ),
        f"{thing}_share3": Measure(
            "share",
            f"events of the three most frequent {things} / events with one",
            none,
            f"share of {{es}} in the three most frequent {things} {{w}}",
            "how varied",
        ),
        f"{thing}_entropy": Measure(
            "nats",
            f"-sum of p log p over the shares p of {things}",
            none,
            f"variety of {things} of {{es}} {{w}}",
            "how varied",
        ),
        f"{thing}_drift": Measure(
            "0 to 1",
            f"half the sum of |p - q| over {things}; p: share in the window, q: so far",
            none,
            f"how far the {things} of {{es}} {{w}} are from those so far",
            "what else",
        ),
    }


_PREFERENCE = {
    "brands": Measure("brands", "distinct brands", _NEVER, "distinct brands of {es} {w}", "how often"),
    **_taste("category", "categories"),
    **_taste("brand", "brands"),
}

_CONTEXT = {
    "calendar_month": Measure("1 to 12", "month of the cutoff", _NEVER, "month", "what day"),
    "calendar_day": Measure("1 to 31", "day of the month of the cutoff", _NEVER, "day of the month", "what day"),
    "calendar_weekday": Measure(
        "1 to 7", "day of the week of the cutoff, from Monday on", _NEVER, "day of the week", "what day"
    ),
    "calendar_left": Measure(
        "days", "days of the month that follow the day of the cutoff", _NEVER, "days left of the month", "what day"
    ),
    "market_count": Measure(
        "events",
        "mean, over the user's events with an item, of the item's events by anybody in the longest window",
        "no event with an item in the window",
        "popularity of the items of {es} {w}",
        "how popular",
    ),
    "market_trend": Measure(
        "-1 to 1",
        "(n - n before) / (n + n before) of the sums behind market_count and its like in the window before",
        "no event with an item in the window",
        "trend of the popularity of the items of {es} {w}",
        "how popular",
    ),
    "attribute": Measure(
        "text", "the user's attribute as known at the cutoff", "not known", "{e}", "who"
    ),
}  # fmt: skip


def _pair(thing: str) -> dict[str, Measure]:
    """Return what pairs of a user and an item or category have; events are the user's with it unless told otherwise."""
    never = f"no event with the {thing}"
    once = "on fewer than two days"
    return {
        f"{thing}_count": Measure(
            "events", f"events with the {thing}", _NEVER, f"{{es}} of this {thing} {{w}}", "how often it"
        ),
        f"{thing}_user_share": Measure(
            "share",
            f"events with the {thing} / all events of the user",
            _NO_EVENT,
            f"share of {{es}} that are of this {thing} {{w}}",
            "how much of all",
        ),
        f"{thing}_days": Measure(
            "days",
            f"distinct days of the shop's calendar with the {thing}",
            _NEVER,
            f"days with {{es}} of this {thing} {{w}}",
            "how often it",
        ),
        f"{thing}_amount": Measure(
            "currency",
            f"sum of amounts of events with the {thing}",
            _NEVER,
            f"amount of {{es}} of this {thing} {{w}}",
            "how much for it",
        ),
        f"{thing}_recency_days": Measure(
            "days",
            f"since the last event with the {thing}",
            never,
            f"days since the last {{e}} of this {thing}",
            "how long ago it",
        ),
        f"{thing}_tenure_days": Measure(
            "days",
            f"since the first event with the {thing}",
            never,
            f"days since the first {{e}} of this {thing}",
            "since when it",
        ),
        f"{thing}_interval_days": Measure(
            "days",
            f"(last - first event with the {thing}) / (days with one - 1)",
            once,
            f"usual days between {{es}} of this {thing}",
            "how regular it",
        ),
        f"{thing}_overdue": Measure(
            "ratio",
            f"days since the last event with the {thing} / {thing}_interval_days",
            once,
            f"days since the last {{e}} of this {thing} over the usual gap",
            "how long ago it",
        ),
        f"{thing}_rank": Measure(
            "1 or more",
            f"1 + candidates of the user with more events so far than the {thing}",
            never,
            f"place of this {thing} among the user's by {{es}} so far",
            "how much of all",
        ),
        f"{thing}_buyers": Measure(
            "users",
            f"distinct users of the shop with the event and the {thing}",
            _NEVER,
            f"users with {{es}} of this {thing} {{w}}",
            "how popular it",
        ),
        f"{thing}_trend": Measure(
            "-1 to 1",
            f"(n - n before) / (n + n before) of {thing}_buyers, against the window before",
            "no event in either window",
            f"trend of users with {{es}} of this {thing} {{w}}",
            "how popular it",
        ),
        f"{thing}_price_ratio": Measure(
            "ratio",
            f"mean price of a piece over the shop's events with the {thing} / price_mean of the user so far",
            "one of them is unknown, or the user's is 0",
            f"price of this {thing} {{w}} over what the user usually pays",
            "how dear it",
        ),
    }


_PAIRS = {**_pair("item"), **_pair("category")}

#: All of them by name. None is the beginning of another one and an underscore, so that names can be read back.
MEASURES: dict[str, Measure] = (
    _ACTIVITY | _BROWSING | _PURCHASE | _INTERACTION | _PREFERENCE | _CONTEXT | _PAIRS
)
