"""Which active customer stops?"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import polars as pl

from ecbehave.config.task import ChurnTask
from ecbehave.config.values import duration_in_words
from ecbehave.tasks.activity import AskedOfActive, in_words, of_type, users, with_label


@dataclass(frozen=True)
class Churn(AskedOfActive[ChurnTask]):
    """A customer with the event in the last `active_within` who does not have it within the horizon."""

    name: ClassVar[str] = "churn"
    output: ClassVar[Literal["binary"]] = "binary"
    headline: ClassVar[str] = "auroc"

    @property
    def population_in_words(self) -> str:
        """Who is asked."""
        event = in_words(self.config.event)
        return f"every user with {event} in the {duration_in_words(self.active_within)} before the cutoff"

    @property
    def label_in_words(self) -> str:
        """What is true."""
        event = in_words(self.config.event).removeprefix("a ").removeprefix("an ").removeprefix("any ")
        return f"churned (1): no {event} within {duration_in_words(self.horizon)} from the cutoff on; else stayed (0)"

    def population(self, recent: pl.LazyFrame) -> pl.LazyFrame:
        """Return users with the event in the activity window."""
        return users(of_type(recent, self.config.event))

    def labels(self, future: pl.LazyFrame, population: pl.LazyFrame) -> pl.LazyFrame:
        """Return the population; `label` is 1 for who has no event in the label window."""
        return with_label(population, users(of_type(future, self.config.event)), when_found=0)
