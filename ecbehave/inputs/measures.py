"""What features measure: unit, formula, what null means, and what it is about. The one registry of them."""

from dataclasses import dataclass

ALL = "all"


@dataclass(frozen=True)
class Measure:
    """What a feature with this measure tells."""

    unit: str
    formula: str
    null: str
    """When it is null; empty where it never is."""
    family: str
    """What it is about: a key of `FAMILIES`."""


_NEVER = ""
_NO_EVENT = "no event in the window"
_NO_ORDER = "no order in the window"
_NO_SESSION = "no session in the window"
_ONE_ORDER = "under two orders"

_ACTIVITY = {
    "count": Measure("events", "number of events", _NEVER, "frequency"),
    "amount": Measure("currency", "sum of amounts", _NEVER, "frequency"),
    "items": Measure("items", "distinct items", _NEVER, "frequency"),
    "categories": Measure("categories", "distinct categories", _NEVER, "frequency"),
    "days": Measure("days", "distinct days of the shop's calendar", _NEVER, "frequency"),
    "trend": Measure(
        "-1 to 1",
        "(n - n before) / (n + n before), against the window before",
        "no event in either window",
        "frequency",
    ),
    "recency_days": Measure("days", "since the last event", "no event", "recency"),
    "tenure_days": Measure("days", "since the first event", "no event", "tenure"),
    "repeat_share": Measure(
        "share", "1 - distinct items / events with an item", "no event with an item", "repeats"
    ),
    "orders": Measure(
        "orders",
        "distinct order_id, or distinct times where there is none; each at the time of its first row",
        _NEVER,
        "frequency",
    ),
    "basket_amount": Measure("currency", "amount / orders", _NO_ORDER, "baskets"),
    "interval_mean_days": Measure("days", "mean time between orders", _ONE_ORDER, "regularity"),
    "interval_std_days": Measure(
        "days", "deviation of the time between orders", "under three orders", "regularity"
    ),
    "interval_max_days": Measure("days", "longest time between orders", _ONE_ORDER, "regularity"),
    "interval_last_days": Measure("days", "time between the last two orders", _ONE_ORDER, "regularity"),
    "irregularity": Measure(
        "ratio",
        "deviation / mean of the time between orders",
        "under three orders, or all at one time",
        "regularity",
    ),
    "overdue": Measure(
        "ratio",
        "days since the last order / mean time between orders",
        "under two orders, or all at one time",
        "recency",
    ),
}

_BROWSING = {
    "sessions": Measure("sessions", "sessions that start", _NEVER, "frequency"),
    "session_events": Measure("events", "events / sessions that start", _NO_SESSION, "visits"),
    "session_seconds": Measure("seconds", "dwell_seconds / sessions that start", _NO_SESSION, "visits"),
    "session_trend": Measure(
        "-1 to 1",
        "(n - n before) / (n + n before) of sessions, against the window before",
        "no session in either window",
        "frequency",
    ),
    "dwell_seconds": Measure(
        "seconds",
        "sum of the log's dwell_seconds, or else of gaps within a session, each at its later event",
        _NEVER,
        "frequency",
    ),
    "path_items": Measure(
        "items", "items that are new to their session / sessions that start", _NO_SESSION, "visits"
    ),
    "bounce_share": Measure(
        "share",
        "1 - sessions that get their second event / sessions that start, at least 0",
        _NO_SESSION,
        "visits",
    ),
    "night_share": Measure("share", "events from 0:00 to 6:00 on the shop's clock", _NO_EVENT, "time of day"),
    "morning_share": Measure(
        "share", "events from 6:00 to 12:00 on the shop's clock", _NO_EVENT, "time of day"
    ),
    "afternoon_share": Measure(
        "share", "events from 12:00 to 18:00 on the shop's clock", _NO_EVENT, "time of day"
    ),
    "evening_share": Measure(
        "share", "events from 18:00 to 24:00 on the shop's clock", _NO_EVENT, "time of day"
    ),
    "weekend_share": Measure(
        "share", "events on Saturday and Sunday of the shop's calendar", _NO_EVENT, "time of day"
    ),
    "depth_now": Measure("events", "events after the last purchase", _NEVER, "way to a purchase"),
    "depth_usual": Measure(
        "events", "events up to the last purchase / orders", "no purchase", "way to a purchase"
    ),
    "visits_now": Measure(
        "sessions", "sessions that start after the last purchase", _NEVER, "way to a purchase"
    ),
    "visits_usual": Measure(
        "sessions", "sessions that start up to the last purchase / orders", "no purchase", "way to a purchase"
    ),
}

_PURCHASE = {
    "basket_size": Measure("rows", "purchase rows / orders", _NO_ORDER, "baskets"),
    "basket_spread": Measure("currency", "deviation of the amount of orders (n - 1)", _ONE_ORDER, "baskets"),
    "size_spread": Measure("rows", "deviation of the rows of orders (n - 1)", _ONE_ORDER, "baskets"),
    "basket_trend": Measure(
        "-1 to 1",
        "(a - b) / (a + b); a: amount per order in the window, b: so far",
        "no order in the window, or no amount",
        "baskets",
    ),
    "size_trend": Measure(
        "-1 to 1", "(a - b) / (a + b); a: rows per order in the window, b: so far", _NO_ORDER, "baskets"
    ),
    "price_mean": Measure(
        "currency",
        "mean price of a piece: price, or else amount / quantity",
        "no event with a price in the window",
        "prices",
    ),
    "price_level": Measure(
        "ratio",
        "mean of price / mean price in the category in all earlier months",
        "no event with a price in a category that was known before the event's month",
        "prices",
    ),
    "discount_share": Measure(
        "share", "discount / (amount + discount + coupon)", "no money in the window", "discounts"
    ),
    "discount_use": Measure("share", "events with a discount / events", _NO_EVENT, "discounts"),
    "coupon_share": Measure(
        "share", "coupon / (amount + discount + coupon)", "no money in the window", "coupons"
    ),
    "coupon_use": Measure("share", "events with a coupon / events", _NO_EVENT, "coupons"),
    "return_share": Measure("ratio", "returns / purchases", "no purchase in the window", "returns"),
    "return_money": Measure(
        "ratio", "amount of returns / amount of purchases", "no amount of purchases in the window", "returns"
    ),
}

_INTERACTION = {
    "per_view": Measure("ratio", "events / views", "no view in the window", "funnel"),
    "per_cart": Measure("ratio", "events / carts", "no cart in the window", "funnel"),
    "per_search": Measure("ratio", "events / searches", "no search in the window", "funnel"),
    "abandoned_count": Measure(
        "events",
        "carts with an item that the user does not purchase from then on, up to the cutoff",
        _NEVER,
        "abandoned carts",
    ),
    "abandoned_share": Measure(
        "share",
        "abandoned carts / carts with an item",
        "no cart with an item in the window",
        "abandoned carts",
    ),
    "rating_count": Measure("ratings", "events with a rating", _NEVER, "ratings"),
    "rating_mean": Measure("rating", "mean rating", "no rating in the window", "ratings"),
    "rating_gap": Measure(
        "rating",
        "mean of rating - mean rating of the item in all earlier months",
        "no rating of an item that was rated before the event's month",
        "ratings",
    ),
}


def _taste(thing: str, things: str) -> dict[str, Measure]:
    none = f"no event with a {thing} in the window"
    return {
        f"top_{thing}": Measure(
            "text",
            f"the most frequent {thing}; of equals the first by the alphabet",
            none,
            f"taste in {things}",
        ),
        f"{thing}_share1": Measure(
            "share", f"events of the most frequent {thing} / events with one", none, f"taste in {things}"
        ),
        f"{thing}_share3": Measure(
            "share",
            f"events of the three most frequent {things} / events with one",
            none,
            f"taste in {things}",
        ),
        f"{thing}_entropy": Measure(
            "nats", f"-sum of p log p over the shares p of {things}", none, f"taste in {things}"
        ),
        f"{thing}_drift": Measure(
            "0 to 1",
            f"half the sum of |p - q| over {things}; p: share in the window, q: so far",
            none,
            f"taste in {things}",
        ),
    }


_PREFERENCE = {
    "brands": Measure("brands", "distinct brands", _NEVER, "frequency"),
    **_taste("category", "categories"),
    **_taste("brand", "brands"),
}

_CONTEXT = {
    "calendar_month": Measure("1 to 12", "month of the cutoff", _NEVER, "calendar"),
    "calendar_day": Measure("1 to 31", "day of the month of the cutoff", _NEVER, "calendar"),
    "calendar_weekday": Measure(
        "1 to 7", "day of the week of the cutoff, from Monday on", _NEVER, "calendar"
    ),
    "calendar_left": Measure(
        "days", "days of the month that follow the day of the cutoff", _NEVER, "calendar"
    ),
    "market_count": Measure(
        "events",
        "mean, over the user's events with an item, of the item's events by anybody in the longest window",
        "no event with an item in the window",
        "popularity",
    ),
    "market_trend": Measure(
        "-1 to 1",
        "(n - n before) / (n + n before) of the sums behind market_count and its like in the window before",
        "no event with an item in the window",
        "popularity",
    ),
    "attribute": Measure(
        "text", "the user's attribute as known at the cutoff", "not known", "attributes"
    ),
}  # fmt: skip


def _pair(thing: str) -> dict[str, Measure]:
    """Return what pairs of a user and an item or category have; events are the user's with it unless told otherwise."""
    never = f"no event with the {thing}"
    once = "on fewer than two days"
    return {
        f"{thing}_count": Measure("events", f"events with the {thing}", _NEVER, f"{thing} frequency"),
        f"{thing}_user_share": Measure(
            "share", f"events with the {thing} / all events of the user", _NO_EVENT, f"{thing} frequency"
        ),
        f"{thing}_days": Measure(
            "days", f"distinct days of the shop's calendar with the {thing}", _NEVER, f"{thing} frequency"
        ),
        f"{thing}_amount": Measure(
            "currency", f"sum of amounts of events with the {thing}", _NEVER, f"{thing} frequency"
        ),
        f"{thing}_recency_days": Measure(
            "days", f"since the last event with the {thing}", never, f"{thing} recency"
        ),
        f"{thing}_tenure_days": Measure(
            "days", f"since the first event with the {thing}", never, f"{thing} tenure"
        ),
        f"{thing}_interval_days": Measure(
            "days",
            f"(last - first event with the {thing}) / (days with one - 1)",
            once,
            f"{thing} regularity",
        ),
        f"{thing}_overdue": Measure(
            "ratio",
            f"days since the last event with the {thing} / {thing}_interval_days",
            once,
            f"{thing} recency",
        ),
        f"{thing}_rank": Measure(
            "1 or more",
            f"1 + candidates of the user with more events so far than the {thing}",
            never,
            f"{thing} frequency",
        ),
        f"{thing}_buyers": Measure(
            "users",
            f"distinct users of the shop with the event and the {thing}",
            _NEVER,
            f"{thing} popularity",
        ),
        f"{thing}_trend": Measure(
            "-1 to 1",
            f"(n - n before) / (n + n before) of {thing}_buyers, against the window before",
            "no event in either window",
            f"{thing} popularity",
        ),
        f"{thing}_price_ratio": Measure(
            "ratio",
            f"mean price of a piece over the shop's events with the {thing} / price_mean of the user so far",
            "one of them is unknown, or the user's is 0",
            f"{thing} prices",
        ),
    }


#: What the sources of candidates say of a user and an item; events are the user's with it unless told otherwise.
_CANDIDATES = {
    "item_similar_score": Measure(
        "score",
        "item_knn without repeats: how well the item goes with the others that the user had",
        _NEVER,
        "item fit",
    ),
    "item_similar_rank": Measure(
        "1 or more", "1 + candidates of the user with a higher item_similar_score", _NEVER, "item fit"
    ),
    "item_affinity_score": Measure(
        "score",
        "item_knn: item_similar_score, and for an item that the user had its events by weight and age",
        _NEVER,
        "item fit",
    ),
    "item_affinity_rank": Measure(
        "1 or more", "1 + candidates of the user with a higher item_affinity_score", _NEVER, "item fit"
    ),
    "item_popular_rank": Measure(
        "1 or more",
        "1 + items that more users of the shop had the event with lately, of equals those before it by item_id",
        "no event with the item by anybody in the window",
        "item popularity",
    ),
}

_PAIRS = {**_pair("item"), **_pair("category"), **_CANDIDATES}

_PAIR_FAMILIES = {
    "frequency": "how often and how much of the {}",
    "recency": "how long ago it was the {}",
    "tenure": "since when it is the {}",
    "regularity": "the usual gap between two times with the {}",
    "popularity": "how many users have the {}",
    "prices": "what the {} costs against what the user pays",
}

#: What measures are about. Those of one family say nearly the same of an event, so that one may stand for another.
FAMILIES: dict[str, str] = {
    "frequency": "how often and how much, and whether it is more than before",
    "recency": "how long ago the last time was",
    "regularity": "the time between orders",
    "tenure": "how long ago the first time was",
    "repeats": "whether it is the same items again",
    "visits": "how long and how deep a visit is",
    "time of day": "when in the day and in the week",
    "way to a purchase": "what is looked at before a purchase, usually and now",
    "baskets": "size and value of orders",
    "prices": "what a piece costs",
    "discounts": "use of discounts",
    "coupons": "use of coupons",
    "returns": "what goes back",
    "funnel": "how one step leads to the next",
    "abandoned carts": "what stays in the cart",
    "ratings": "how pleased the user is",
    "taste in categories": "favourite categories, how varied and how steady",
    "taste in brands": "favourite brands, how varied and how steady",
    "popularity": "whether the user's items are what all want",
    "calendar": "the date of the cutoff, the same for all users",
    "attributes": "what the users table says",
    **{f"{t} {f}": says.format(t) for t in ("item", "category") for f, says in _PAIR_FAMILIES.items()},
    "item fit": "how well the item goes with what the user had",
}

#: All of them by name. None is the beginning of another one and an underscore, so that names can be read back.
MEASURES: dict[str, Measure] = (
    _ACTIVITY | _BROWSING | _PURCHASE | _INTERACTION | _PREFERENCE | _CONTEXT | _PAIRS
)
