"""Names of features, `<measure>_<event>_<window>`, and what they say in words."""

import math
from dataclasses import dataclass

from ecbehave.config import duration_in_words, parse_duration

ALL = "all"
ANY = "any"

#: Measure to (unit and formula, words). `{e}` is the event, `{es}` its plural, `{w}` the window in words.
MEASURES: dict[str, tuple[str, str]] = {
    "count": ("events", "{es} {w}"),
    "amount": ("sum of amounts, in the shop's currency", "amount of {es} {w}"),
    "items": ("distinct items", "distinct items of {es} {w}"),
    "categories": ("distinct categories", "distinct categories of {es} {w}"),
    "days": ("distinct days of the shop's calendar with the event", "days with {es} {w}"),
    "trend": (
        "(n - n before) / (n + n before) against the window before; null without events",
        "trend of {es} {w} against the time before",
    ),
    "recency_days": ("days since the last event; null without one", "days since the last {e}"),
    "tenure_days": ("days since the first event; null without one", "days since the first {e}"),
    "orders": (
        "orders: distinct order_id, or distinct times where there is none; each at the time of its first row",
        "orders {w}",
    ),
    "basket_amount": ("amount per order; null without orders", "amount per order {w}"),
    "interval_mean_days": (
        "mean days between orders; null under two orders",
        "usual days between orders",
    ),
    "interval_std_days": (
        "deviation of the days between orders; null under three orders",
        "deviation of the days between orders",
    ),
    "interval_max_days": (
        "longest gap between orders in days; null under two orders",
        "most days between two orders",
    ),
    "interval_last_days": (
        "last gap between orders in days; null under two orders",
        "days between the last two orders",
    ),
    "irregularity": (
        "deviation over mean of the gaps; null under three orders",
        "irregularity of the days between orders",
    ),
    "overdue": (
        "days since the last order over the mean gap; null under two orders",
        "days since the last order over the usual gap",
    ),
    "repeat_share": (
        "1 - distinct items / events with an item; null without one",
        "share of {es} that repeat an item {w}",
    ),
}


#: Measures that tell the same fact in other words; a row's reasons name each fact once.
_FACTS = {
    "how often": ("count", "items", "categories", "days", "orders"),
    "how much": ("amount", "basket_amount"),
    "how long ago": ("recency_days", "overdue", "interval_last_days"),
    "how regular": ("interval_mean_days", "interval_std_days", "interval_max_days", "irregularity"),
    "since when": ("tenure_days",),
    "up or down": ("trend",),
    "what again": ("repeat_share",),
}
_FACT_OF = {measure: fact for fact, measures in _FACTS.items() for measure in measures}


@dataclass(frozen=True)
class FeatureName:
    """The parts of a feature's name."""

    measure: str
    event: str
    window: str

    def __str__(self) -> str:
        return f"{self.measure}_{self.event}_{self.window}"

    @classmethod
    def parse(cls, text: str) -> "FeatureName":
        """Split a name into its parts; the event may hold underscores.

        Raises:
            ValueError: the text is no feature name.
        """
        rest, _, window = text.rpartition("_")
        for measure in sorted(MEASURES, key=len, reverse=True):
            event = rest.removeprefix(f"{measure}_")
            if event != rest and event and window:
                return cls(measure, event, window)
        raise ValueError(f"{text!r} is not <measure>_<event>_<window>")

    @property
    def fact(self) -> tuple[str, str]:
        """What the feature is about, whatever the window: the event, and how often, how long ago, and so on."""
        return self.event, _FACT_OF[self.measure]

    def in_words(self) -> str:
        """Name the feature for people: `days since the last purchase`."""
        window = "so far" if self.window == ALL else f"in the last {_duration_in_words(self.window)}"
        event, events = ("event", "events") if self.event == ANY else (self.event, f"{self.event} events")
        return MEASURES[self.measure][1].format(e=event, es=events, w=window)

    def sentence(self, value: float) -> str:
        """Say in words what the feature has as its value: `days since the last purchase: 41`."""
        return f"{self.in_words()}: {'unknown' if math.isnan(value) else _short(value)}"


def _duration_in_words(window: str) -> str:
    return duration_in_words(parse_duration(window))


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
