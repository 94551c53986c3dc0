"""What tasks share: durations, and users who did something."""

from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar, Generic, Literal, TypeVar

import polars as pl

from ecbehave.config.task import ChurnTask, PreferenceTask, PurchaseTask
from ecbehave.config.values import duration_in_words

ANY = "any"

#: What models are asked.
Question = Literal["binary", "pairs", "ranking", "rating"]

C = TypeVar("C", bound=ChurnTask | PurchaseTask | PreferenceTask)


@dataclass(frozen=True)
class AskedOfActive(Generic[C]):
    """A question about everybody with any event in the activity window, unless the task says otherwise."""

    config: C
    output: ClassVar[Literal["binary", "ranking", "rating"]]

    @property
    def question(self) -> Question:
        """What models are asked: the output, but `pairs` where it is about a user and a target."""
        return self.output if self.target is None else "pairs"

    @property
    def target(self) -> str | None:
        """Column of what a user is paired with; None where the question is about users alone."""
        return None

    @property
    def active_within(self) -> timedelta:
        """Length of the activity window before the cutoff."""
        return self.config.active_within

    @property
    def horizon(self) -> timedelta:
        """Length of the label window."""
        return self.config.horizon

    @property
    def population_in_words(self) -> str:
        """Who is asked."""
        return f"every user with any event in the {duration_in_words(self.active_within)} before the cutoff"

    def population(self, recent: pl.LazyFrame) -> pl.LazyFrame:
        """Return users with any event in the activity window."""
        return users(recent)


def of_type(events: pl.LazyFrame, event: str) -> pl.LazyFrame:
    """Keep events of one type; `any` keeps all."""
    return events if event == ANY else events.filter(pl.col("event_type") == event)


def users(events: pl.LazyFrame) -> pl.LazyFrame:
    """Return the users of some events, each once."""
    return events.select("user_hash", "user_id").unique()


def with_label(population: pl.LazyFrame, positive: pl.LazyFrame, *, when_found: int) -> pl.LazyFrame:
    """Label the population by whether a user is among `positive`."""
    found = positive.select("user_id", label=pl.lit(when_found, pl.Int8))
    return population.join(found, on="user_id", how="left").with_columns(
        pl.col("label").fill_null(1 - when_found).cast(pl.Int8)
    )


def in_words(event: str) -> str:
    """Name an event with its article."""
    if event == ANY:
        return "any event"
    return f"a{'n' if event[0] in 'aeiou' else ''} {event}"
