"""Names of features, `<measure>_<event>_<window>`, and what they say in words."""

import math
from dataclasses import dataclass

from ecbehave.config import duration_in_words, parse_duration
from ecbehave.inputs.facts import ANY
from ecbehave.inputs.measures import ALL, MEASURES, Measure

__all__ = ["ALL", "ANY", "MEASURES", "FeatureName"]


@dataclass(frozen=True)
class FeatureName:
    """The parts of a feature's name."""

    measure: str
    event: str
    """An event type, or what else is measured: `cutoff`, or an attribute of users."""
    window: str = ALL

    def __str__(self) -> str:
        return f"{self.measure}_{self.event}_{self.window}"

    @classmethod
    def parse(cls, text: str) -> "FeatureName":
        """Split a name into its parts; the event may hold underscores.

        Raises:
            ValueError: the text is no feature name.
        """
        rest, _, window = text.rpartition("_")
        for measure in MEASURES:
            event = rest.removeprefix(f"{measure}_")
            if event != rest and event and window:
                return cls(measure, event, window)
        raise ValueError(f"{text!r} is not <measure>_<event>_<window>")

    @property
    def meaning(self) -> Measure:
        """Unit, formula, and what null means."""
        return MEASURES[self.measure]

    @property
    def fact(self) -> tuple[str, str]:
        """What the feature is about, whatever the window: the event, and how often, how long ago, and so on."""
        return self.event, self.meaning.fact

    def in_words(self) -> str:
        """Name the feature for people: `days since the last purchase`."""
        window = "so far" if self.window == ALL else f"in the last {_duration_in_words(self.window)}"
        event, events = ("event", "events") if self.event == ANY else (self.event, f"{self.event} events")
        return self.meaning.words.format(e=event, es=events, w=window)

    def sentence(self, value: float | str | None) -> str:
        """Say in words what the feature has as its value: `days since the last purchase: 41`."""
        return f"{self.in_words()}: {_in_words(value)}"


def _duration_in_words(window: str) -> str:
    return duration_in_words(parse_duration(window))


def _in_words(value: float | str | None) -> str:
    if isinstance(value, str):
        return value
    if value is None or math.isnan(value):
        return "unknown"
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
