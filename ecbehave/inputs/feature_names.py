"""Names of features, `<measure>_<event>_<window>`, and what they say in words."""

import math
from dataclasses import dataclass

ALL = "all"

#: Measure to (unit and formula, phrase). `{v}` is the value, `{e}` the event, `{w}` the window in words.
MEASURES: dict[str, tuple[str, str]] = {
    "count": ("events", "{v} {e} events {w}"),
    "amount": ("sum of amounts, in the shop's currency", "{e} amount of {v} {w}"),
    "items": ("distinct items", "{v} distinct items ({e}) {w}"),
    "categories": ("distinct categories", "{v} distinct categories ({e}) {w}"),
    "days": ("distinct days of the shop's calendar with the event", "{e} on {v} days {w}"),
    "trend": (
        "(n - n before) / (n + n before) against the window before; null without events",
        "{e} trend of {v} {w}",
    ),
    "recency_days": ("days since the last event; null without one", "last {e} {v} days ago"),
    "tenure_days": ("days since the first event; null without one", "first {e} {v} days ago"),
    "orders": (
        "orders: distinct order_id, or distinct times where there is none; each at the time of its first row",
        "{v} orders {w}",
    ),
    "basket_amount": ("amount per order; null without orders", "{v} per order {w}"),
    "interval_mean_days": (
        "mean days between orders; null under two orders",
        "usual gap of {v} days between orders",
    ),
    "interval_std_days": (
        "deviation of the days between orders; null under three orders",
        "gaps vary by {v} days",
    ),
    "interval_max_days": (
        "longest gap between orders in days; null under two orders",
        "longest gap of {v} days",
    ),
    "interval_last_days": ("last gap between orders in days; null under two orders", "last gap of {v} days"),
    "irregularity": (
        "deviation over mean of the gaps; null under three orders",
        "gaps vary {v} times their mean",
    ),
    "overdue": (
        "days since the last order over the mean gap; null under two orders",
        "{v} times the usual gap since the last order",
    ),
    "repeat_share": (
        "1 - distinct items / events with an item; null without one",
        "{v} of {e} events repeat an item {w}",
    ),
}


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

    def sentence(self, value: float) -> str:
        """Say in words what the feature has as its value: `last purchase 41 days ago`."""
        window = "so far" if self.window == ALL else f"in the last {self.window}"
        if math.isnan(value):
            meaning = MEASURES[self.measure][0].split(";")[0].split(":")[0]
            return f"unknown {meaning} ({self.event})"
        return MEASURES[self.measure][1].format(v=_short(value), e=self.event, w=window)


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
