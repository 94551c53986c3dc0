"""What a feature is called for people, whatever its value: the heading of a table."""

from ecbehave.inputs.feature_names import FeatureName
from ecbehave.inputs.telling import words


def title(feature: FeatureName) -> str:
    """Name the feature for people: `days since the last purchase`."""
    return _TITLES[feature.measure].format(**words(feature))


_PLAIN = {
    "count": "{rows} {w}",
    "amount": "amount of {es} {w}",
    "items": "distinct items of {es} {w}",
    "categories": "distinct categories of {es} {w}",
    "days": "days with {es} {w}",
    "trend": "trend of {es} {w} against the time before",
    "recency_days": "days since the last {e}",
    "tenure_days": "days since the first {e}",
    "repeat_share": "share of {rows} that repeat an item {w}",
    "orders": "orders {w}",
    "basket_amount": "amount per order {w}",
    "interval_mean_days": "usual days between orders",
    "interval_std_days": "deviation of the days between orders",
    "interval_max_days": "most days between two orders",
    "interval_last_days": "days between the last two orders",
    "irregularity": "irregularity of the days between orders",
    "overdue": "days since the last order over the usual gap",
    "sessions": "visits {w}",
    "session_events": "actions per visit {w}",
    "session_seconds": "seconds per visit {w}",
    "session_trend": "trend of visits {w} against the time before",
    "dwell_seconds": "seconds spent {w}",
    "path_items": "different items per visit {w}",
    "bounce_share": "share of visits with a single action {w}",
    "night_share": "share of {es} at night {w}",
    "morning_share": "share of {es} in the morning {w}",
    "afternoon_share": "share of {es} in the afternoon {w}",
    "evening_share": "share of {es} in the evening {w}",
    "weekend_share": "share of {es} at the weekend {w}",
    "depth_now": "{es} since the last purchase",
    "depth_usual": "{es} per order so far",
    "visits_now": "visits since the last purchase",
    "visits_usual": "visits per order so far",
    "basket_size": "{rows} per order {w}",
    "basket_spread": "deviation of the amount per order",
    "size_spread": "deviation of the {rows} per order",
    "basket_trend": "trend of the amount per order {w}",
    "size_trend": "trend of the {rows} per order {w}",
    "price_mean": "mean price of {es} {w}",
    "price_level": "price against what is usual in the category, of {es} {w}",
    "discount_share": "share of money saved by discounts {w}",
    "discount_use": "share of {es} with a discount {w}",
    "coupon_share": "share of money saved by coupons {w}",
    "coupon_use": "share of {es} with a coupon {w}",
    "return_share": "returns per purchase {w}",
    "return_money": "money returned per money spent {w}",
    "per_view": "{es} per view {w}",
    "per_cart": "{es} per cart {w}",
    "per_search": "{es} per search {w}",
    "abandoned_count": "carts {w} that no purchase of the item followed",
    "abandoned_share": "share of carts {w} that no purchase of the item followed",
    "rating_count": "ratings {w}",
    "rating_mean": "mean rating {w}",
    "rating_gap": "rating against what others gave the item, {w}",
    "brands": "distinct brands of {es} {w}",
    "calendar_month": "month",
    "calendar_day": "day of the month",
    "calendar_weekday": "day of the week",
    "calendar_left": "days left of the month",
    "market_count": "popularity of the items of {es} {w}",
    "market_trend": "trend of the popularity of the items of {es} {w}",
    "attribute": "{event}",
}


def _taste(thing: str, things: str) -> dict[str, str]:
    return {
        f"top_{thing}": f"favourite {thing} of {{rows}} {{w}}",
        f"{thing}_share1": f"share of {{rows}} in the favourite {thing} {{w}}",
        f"{thing}_share3": f"share of {{rows}} in the three favourite {things} {{w}}",
        f"{thing}_entropy": f"variety of {things} of {{rows}} {{w}}",
        f"{thing}_drift": f"how far the {things} of {{rows}} {{w}} are from those so far",
    }


def _pair(thing: str, link: str) -> dict[str, str]:
    it = f"{link} this {thing}"
    return {
        f"{thing}_count": f"{{es}} {it} {{w}}",
        f"{thing}_user_share": f"share of {{es}} that are {it} {{w}}",
        f"{thing}_days": f"days with {{es}} {it} {{w}}",
        f"{thing}_amount": f"amount of {{es}} {it} {{w}}",
        f"{thing}_recency_days": f"days since the last {{e}} {it}",
        f"{thing}_tenure_days": f"days since the first {{e}} {it}",
        f"{thing}_interval_days": f"usual days between {{es}} {it}",
        f"{thing}_overdue": f"days since the last {{e}} {it} over the usual gap",
        f"{thing}_rank": f"place of this {thing} among the user's by {{es}} so far",
        f"{thing}_buyers": f"users with {{es}} {it} {{w}}",
        f"{thing}_trend": f"trend of users with {{es}} {it} {{w}}",
        f"{thing}_price_ratio": f"price of this {thing} {{w}} over what the user usually pays",
    }


_CANDIDATES = {
    "item_similar_score": "how well this item goes with what the user had",
    "item_similar_rank": "place of this item among those that go with what the user had",
    "item_affinity_score": "how well this item goes with what the user had, itself included",
    "item_affinity_rank": "place of this item among those that go with what the user had, itself included",
    "item_popular_rank": "place of this item among all by users with {es} {w}",
}

#: By the name of the measure.
_TITLES = (
    _PLAIN
    | _taste("category", "categories")
    | _taste("brand", "brands")
    | _pair("item", "{link}")
    | _pair("category", "in")
    | _CANDIDATES
)
