"""Ways to say a value: what templates may use, numbers as people write them, and what is usual for the user.

In a template, `{n}` is the number, `{e}` and `{es}` are the event and its plural, `{row}` and `{rows}` its rows,
`{link}` joins it with an item, `{w}` is the window, and
`{before}` the one before it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import cache

from ecbehave.config.values import duration_in_words, parse_duration
from ecbehave.inputs.facts import ANY
from ecbehave.inputs.feature_names import ALL, FeatureName

#: The user's other features: a name to its value; None is not known.
Beside = Callable[[FeatureName], float | None]

_DAY = timedelta(days=1)
#: Event to what one and many of them are called, and how they go with an item: `searches for` it.
_NOUNS = {
    "view": ("view", "views", "of"),
    "search": ("search", "searches", "for"),
    "click": ("click", "clicks", "on"),
    "cart": ("cart addition", "cart additions", "of"),
    "remove": ("removal from the cart", "removals from the cart", "of"),
    "purchase": ("purchase", "purchases", "of"),
    "return": ("return", "returns", "of"),
    "review": ("review", "reviews", "of"),
    "rating": ("rating", "ratings", "of"),
    "question": ("question", "questions", "about"),
    ANY: ("action", "actions", "on"),
}
#: A row of these events is an item of an order, which people would not call a purchase.
_COUNTED = {"purchase": ("item bought", "items bought"), "return": ("item returned", "items returned")}


@cache
def words(feature: FeatureName) -> dict[str, str]:
    """Return what templates may use, besides the number."""
    event = feature.event
    one, many, link = _NOUNS.get(event, (f"{event} event", f"{event} events", "with"))
    row, rows = _COUNTED.get(event, (one, many))
    length = length_of(feature)
    stretch = "" if length is None else duration_in_words(length).removeprefix("1 ")
    return {
        "e": one,
        "es": many,
        "row": row,
        "rows": rows,
        "link": link,
        "event": event.replace("_", " "),
        "w": f"in the last {stretch}" if stretch else "so far",
        "before": f"in the {stretch} before",
    }


def length_of(feature: FeatureName) -> timedelta | None:
    """Return the length of a feature's window; None is all history."""
    return None if feature.window == ALL else parse_duration(feature.window)


@dataclass(frozen=True)
class Told:
    """A feature of one row that is known, and what else is known of the row."""

    feature: FeatureName
    value: float
    beside: Beside

    def fill(self, template: str, n: str = "") -> str:
        """Put the words and a number into a template."""
        return template.format(n=n, **words(self.feature))

    def other(self, measure: str, window: str = ALL) -> float | None:
        """Return what another measure says of the same event; None if it is not known."""
        return self.beside(FeatureName(measure, self.feature.event, window))

    def usual(self) -> float | None:
        """Return what the feature is over all history; None where it is just that, or not known."""
        return None if self.feature.window == ALL else self.other(self.feature.measure)


#: Says a value, or after it what is usual.
Say = Callable[[Told], str]
Write = Callable[[float], str]

# Numbers


def number(value: float) -> str:
    """Write a number with three digits, or all of a whole one: `1,234`, `12.3`, `0.35`."""
    return f"{value:,.0f}" if abs(value) >= 100 or value == round(value) else f"{value:.3g}"


def rounded(value: float) -> str:
    """Write a mean of counts: `56`, `5.6`, `5`."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}".removesuffix(".0")


def money(value: float) -> str:
    """Write an amount in the shop's currency: `12.40`, `1,234`."""
    return f"{value:,.2f}" if abs(value) < 1000 else f"{value:,.0f}"


def percent(share: float) -> str:
    """Write a share of one: `35 %`, `2.5 %`."""
    return f"{rounded(100 * share)} %"


def days(value: float) -> str:
    """Write a number of days: `41 days`, `2.5 days`, `1 day`, `less than a day`."""
    return "less than a day" if value < 1 else units("day")(value)


def whole_days(value: float) -> str:
    """Write the days that have passed: `41 days`, `1 day`, `less than a day`."""
    return days(value // 1)


def minutes(seconds: float) -> str:
    """Write a number of seconds: `45 seconds`, `5.7 minutes`, `3 hours`."""
    length, unit = next(((n, u) for n, u in ((3600, "hour"), (60, "minute")) if seconds >= n), (1, "second"))
    return units(unit)(seconds / length)


def units(name: str) -> Write:
    """Return what writes a number of something: `8.5 items`, `1 item`."""

    def write(value: float) -> str:
        text = rounded(value)
        return f"{text} {name}{'s' * (text != '1')}"

    return write


# What is usual


def nothing(_: Told) -> str:
    """Say nothing more."""
    return ""


def against_usual(told: Told) -> str:
    """Compare a mean with the one over all history: `, 35 % less than usual`."""
    usual = told.usual()
    if usual is None or usual <= 0:
        return ""
    ratio = told.value / usual
    if abs(ratio - 1) < 0.05:
        return ", as usual"
    if ratio >= 3:
        return f", {rounded(ratio)} times the usual"
    return f", {percent(abs(ratio - 1))} {'more' if ratio > 1 else 'less'} than usual"


def usual_share(told: Told) -> str:
    """Say the share over all history: `; usually 35 %`."""
    usual = told.usual()
    return "" if usual is None else f"; usually {percent(usual)}"


def usual_rate(write: Write = rounded) -> Say:
    """Return what says the mean of all history in such a stretch of time: `; usually 5.6`."""

    def say(told: Told) -> str:
        total, tenure, length = told.usual(), told.other("tenure_days"), length_of(told.feature)
        # A newcomer has no habit yet.
        if total is None or tenure is None or length is None or tenure < 2 * (length / _DAY):
            return ""
        return f"; usually {write(total * (length / _DAY) / tenure)}"

    return say


def count_before(trend: str) -> Say:
    """Return what says the count in the time before, which a trend tells: `, 8 in the 28 days before`."""
    usual = usual_rate()

    def say(told: Told) -> str:
        change = told.other(trend, told.feature.window)
        if change is None:
            return usual(told)
        if change <= -1:
            return told.fill(", but some {before}")
        n = round(told.value * (1 - change) / (1 + change))
        return told.fill(", {n} {before}", f"{n:,}" if n else "none")

    return say


def usual_gap(told: Told) -> str:
    """Say the usual time between orders: `; usual gap 12 days`."""
    gap = told.other("interval_mean_days")
    return "" if gap is None else f"; usual gap {days(gap)}"


# Ways to say a value


def counted(none: str, one: str, many: str, context: Say = nothing) -> Say:
    """Return what says a count: a template for none, one and many."""

    def say(told: Told) -> str:
        template = none if told.value == 0 else one if told.value == 1 else many
        return told.fill(template, number(told.value)) + context(told)

    return say


def valued(template: str, write: Write = number, context: Say = nothing) -> Say:
    """Return what puts a number into a template."""

    def say(told: Told) -> str:
        return told.fill(template, write(told.value)) + context(told)

    return say


def shared(template: str, none: str | None = None) -> Say:
    """Return what says a share of one, and what it is usually; a share of 0 may have a template of its own."""

    def say(told: Told) -> str:
        text = none if none is not None and told.value == 0 else template
        return told.fill(text, percent(told.value)) + usual_share(told)

    return say


def compared(things: str) -> Say:
    """Return what says a trend, (n - m) / (n + m), as the way from m to n: `35 % fewer views in ... than in ...`."""

    def say(told: Told) -> str:
        trend = max(-1.0, min(told.value, 1.0))
        if trend == -1:
            return told.fill(f"no {things} {{w}}, but some {{before}}")
        if trend == 1:
            return told.fill(f"{things} {{w}}, but none {{before}}")
        ratio = (1 + trend) / (1 - trend)
        if abs(ratio - 1) < 0.005:
            return told.fill(f"as many {things} {{w}} as {{before}}")
        if ratio >= 3:
            return told.fill(f"{{n}} times as many {things} {{w}} as {{before}}", rounded(ratio))
        more = "more" if ratio > 1 else "fewer"
        return told.fill(f"{{n}} {more} {things} {{w}} than {{before}}", percent(abs(ratio - 1)))

    return say


def since_last(e: str, gap: str) -> Say:
    """Return what says the days since the last event: `no purchase for 41 days; usual gap 12 days`.

    Args:
        e: template of the event.
        gap: the measure that tells the usual days between two of them.
    """

    def say(told: Told) -> str:
        usual = told.other(gap)
        context = "" if usual is None else f"; usual gap {days(usual)}"
        if told.value < 1:
            return told.fill(f"last {e} less than a day ago") + context
        if usual is not None and told.value <= usual:
            return told.fill(f"last {e} {{n}} ago", whole_days(told.value)) + context
        return told.fill(f"no {e} for {{n}}", whole_days(told.value)) + context

    return say


def overdue(e: str, recency: str, gap: str) -> Say:
    """Return what says the days since the last event over the usual gap, by the two where they are known.

    Args:
        e: template of the event.
        recency: the measure that tells the days since the last one.
        gap: the measure that tells the usual days between two of them.
    """
    since = since_last(e, gap)

    def say(told: Told) -> str:
        n_days = told.other(recency)
        if n_days is None or told.other(gap) is None:
            return told.fill(f"time since the last {e} is {{n}} of the usual gap", percent(told.value))
        return since(Told(FeatureName(recency, told.feature.event), n_days, told.beside))

    return say
