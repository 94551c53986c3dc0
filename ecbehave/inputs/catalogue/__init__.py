"""The catalogue: every group of features, what it needs of the log, and how it is built."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ecbehave.inputs.catalogue import (
    activity,
    attributes,
    baskets,
    calendar,
    depth,
    funnel,
    popularity,
    prices,
    ratings,
    returns,
    rhythm,
    savings,
    sessions,
    taste,
)
from ecbehave.inputs.facts import LogFacts
from ecbehave.inputs.scene import Columns, Scene

_MAP_COLUMN = "map it in dataset.sources[].columns"


@dataclass(frozen=True)
class Group:
    """Features that need the same of a log."""

    name: str
    says: str
    """What it is about, in words."""
    build: Callable[[Scene], Columns]
    columns: tuple[str, ...] = ()
    """Columns that must have values."""
    events: tuple[str, ...] = ()
    """Event types that must have come."""
    otherwise: Callable[[LogFacts], str | None] | None = None
    """Returns what else is missing."""
    market: str | None = None
    """The sums over all users that it needs."""

    def lacks(self, facts: LogFacts) -> str | None:
        """Return why the log does not support it, as a sentence; None where it does."""
        events = [e for e in self.events if e not in facts.event_types]
        if events:
            return f"the log has no {events[0]} event before the last train cutoff"
        columns = [c for c in self.columns if c not in facts.columns]
        if columns:
            return f"the log has no {columns[0]}; {_MAP_COLUMN}"
        return self.otherwise(facts) if self.otherwise else None


def _lacks_browsing(facts: LogFacts) -> str | None:
    if set(facts.event_types) <= {"purchase", "return"}:
        return "the log has nothing but purchases, and their times are those of orders"
    return None


def _lacks_price(facts: LogFacts) -> str | None:
    if facts.has("price") or facts.has("amount", "quantity"):
        return None
    return f"the log has neither price nor amount with quantity; {_MAP_COLUMN}"


def _lacks_steps(facts: LogFacts) -> str | None:
    if funnel.steps(facts):
        return None
    return "the log has no two steps of a purchase, such as view and cart, before the last train cutoff"


def _lacks_attributes(facts: LogFacts) -> str | None:
    return None if facts.attributes else "there is no users table; add a source with table: users"


#: In the order of their columns.
GROUPS = (
    Group("activity", "counts, recency, orders and their rhythm", activity.build),
    Group("sessions", "visits: number, length, depth, bounces", sessions.build, otherwise=_lacks_browsing),
    Group("rhythm", "time of day and of the week", rhythm.build),
    Group("depth", "what comes before a purchase", depth.build, events=("purchase", "view")),
    Group("baskets", "size and value of orders: mean, spread, trend", baskets.build, events=("purchase",)),
    Group("prices", "prices paid", prices.build, otherwise=_lacks_price),
    Group(
        "price_level",
        "prices against what is usual in the category",
        prices.build_level,
        columns=("category",),
        otherwise=_lacks_price,
        market="prices",
    ),
    Group("discounts", "use of discounts", savings.build_discounts, columns=("discount",)),
    Group("coupons", "use of coupons", savings.build_coupons, columns=("coupon",)),
    Group("returns", "returns against purchases", returns.build, events=("purchase", "return")),
    Group("funnel", "rates from step to step", funnel.build, otherwise=_lacks_steps),
    Group(
        "abandonment",
        "carts without a purchase",
        funnel.build_abandonment,
        events=("cart", "purchase"),
        columns=("item_id",),
    ),
    Group("ratings", "ratings given", ratings.build, columns=("item_id", "rating"), market="ratings"),
    Group("categories", "taste in categories", taste.build_categories, columns=("category",)),
    Group("brands", "taste in brands", taste.build_brands, columns=("brand",)),
    Group("calendar", "the date of the cutoff", calendar.build),
    Group(
        "popularity",
        "how popular the user's items are",
        popularity.build,
        columns=("item_id",),
        market="items",
    ),
    Group("attributes", "the users table", attributes.build, otherwise=_lacks_attributes),
)

#: The group that is always built: rules and the count of new users rest on it.
ALWAYS = GROUPS[0].name


def chosen(facts: LogFacts, names: Sequence[str]) -> list[Group]:
    """Return the groups that are asked for and that the log supports.

    Args:
        facts: what the log has.
        names: the groups that are asked for.
    """
    return [g for g in GROUPS if g.name in (ALWAYS, *names) and g.lacks(facts) is None]


def left_out(facts: LogFacts, names: Sequence[str]) -> dict[str, str]:
    """Return why groups are not built, by name."""
    unnamed = "features.groups does not name it"
    reasons = {g.name: g.lacks(facts) if g.name in (ALWAYS, *names) else unnamed for g in GROUPS}
    return {name: why for name, why in reasons.items() if why is not None}
