"""Names of features: `<measure>_<event>_<window>`."""

from dataclasses import dataclass

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
        """Unit, formula, what null means, and family."""
        return MEASURES[self.measure]

    @property
    def fact(self) -> tuple[str, str]:
        """What the feature is about, whatever the window: the event, and the family of measures."""
        return self.event, self.meaning.family
