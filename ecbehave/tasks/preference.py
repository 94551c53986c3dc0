"""Which items does a user want next?"""

from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar, Literal

import polars as pl

from ecbehave.config import PreferenceTask, duration_in_words
from ecbehave.tasks.activity import in_words, of_type, users


@dataclass(frozen=True)
class Preference:
    """The items that a user of the last `active_within` has the event with within the horizon."""

    config: PreferenceTask
    name: ClassVar[str] = "preference"
    output: ClassVar[Literal["ranking"]] = "ranking"
    headline: ClassVar[str] = "ndcg"

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

    @property
    def label_in_words(self) -> str:
        """What is true."""
        event = in_words(self.config.event)
        return (
            f"true items: those with {event} by the user within {duration_in_words(self.horizon)} from the cutoff on, "
            f"out of the whole catalogue, repeats included; users without a true item are left out of the means"
        )

    def population(self, recent: pl.LazyFrame) -> pl.LazyFrame:
        """Return users with any event in the activity window."""
        return users(recent)

    def labels(self, future: pl.LazyFrame, population: pl.LazyFrame) -> pl.LazyFrame:
        """Return the true items of the population: `user_id`, `item_id`."""
        wanted = of_type(future, self.config.event).filter(pl.col("item_id").is_not_null())
        return wanted.join(population, on="user_id", how="semi").select("user_id", "item_id").unique()
