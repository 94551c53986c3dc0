"""What a log can tell: its event types, the columns that have values, and what is known of users."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: The name of all events together.
ANY = "any"


@dataclass(frozen=True)
class LogFacts:
    """What decides which features there are; training and scoring share it, so that both have the same."""

    event_types: tuple[str, ...]
    """Types that came before the last train cutoff."""
    columns: tuple[str, ...] = ()
    """Columns of the log that have a value somewhere."""
    attributes: tuple[str, ...] = ()
    """Columns of the users table."""

    @property
    def groups(self) -> list[str]:
        """The event names that get features: each type, and `any` unless it would repeat the only one.

        A type that is itself called `any` has no features of its own.
        """
        named = [t for t in self.event_types if t != ANY]
        return named if len(self.event_types) == len(named) == 1 else [*named, ANY]

    @property
    def main(self) -> str:
        """The event that shows best what a user likes: a purchase, or else any."""
        return "purchase" if "purchase" in self.event_types else ANY

    def has(self, *columns: str) -> bool:
        """Tell whether all these columns have values."""
        return set(columns) <= set(self.columns)

    def to_info(self) -> dict[str, list[str]]:
        """Return the form that a manifest holds."""
        return {
            "event_types": list(self.event_types),
            "columns": list(self.columns),
            "attributes": list(self.attributes),
        }

    @classmethod
    def from_info(cls, info: Mapping[str, Any]) -> "LogFacts":
        """Read what `to_info` wrote."""
        parts: Sequence[Sequence[str]] = [info[k] for k in ("event_types", "columns", "attributes")]
        return cls(*(tuple(p) for p in parts))
