"""Which items does a user want next?"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import polars as pl

from ecbehave.config.task import ListedItems, PreferenceTask
from ecbehave.config.values import duration_in_words
from ecbehave.tasks.activity import ANY, AskedOfActive, in_words, of_type


@dataclass(frozen=True)
class Preference(AskedOfActive[PreferenceTask]):
    """The items that a user of the last `active_within` has the event with within the horizon."""

    name: ClassVar[str] = "preference"
    output: ClassVar[Literal["ranking"]] = "ranking"
    headline: ClassVar[str] = "ndcg"

    @property
    def label_in_words(self) -> str:
        """What is true."""
        event, config = in_words(self.config.event), self.config
        catalogue = "the whole catalogue" if config.items == ListedItems() else "the items that may be listed"
        had = " or ".join(in_words(excluded) for excluded in config.exclude)
        repeats = f"without what the user had {had} with before" if had else "repeats included"
        return (
            f"true items: those with {event} by the user within {duration_in_words(self.horizon)} from the cutoff on, "
            f"out of {catalogue}, {repeats}; users without a true item are left out of the means"
        )

    def labels(self, future: pl.LazyFrame, population: pl.LazyFrame) -> pl.LazyFrame:
        """Return the true items of the population: `user_id`, `item_id`."""
        wanted = of_type(future, self.config.event).filter(pl.col("item_id").is_not_null())
        return wanted.join(population, on="user_id", how="semi").select("user_id", "item_id").unique()


@dataclass(frozen=True)
class RatingPreference(AskedOfActive[PreferenceTask]):
    """The ratings that a user of the last `active_within` gives within the horizon."""

    name: ClassVar[str] = "preference"
    output: ClassVar[Literal["rating"]] = "rating"
    headline: ClassVar[str] = "rmse"

    @property
    def label_in_words(self) -> str:
        """What is true."""
        event = "" if self.config.event == ANY else f", with {in_words(self.config.event)}"
        return (
            f"true ratings: the last one that the user gives an item within {duration_in_words(self.horizon)} from the "
            f"cutoff on{event}; items that nobody had an event with before are left out"
        )

    def labels(self, future: pl.LazyFrame, population: pl.LazyFrame) -> pl.LazyFrame:
        """Return the true ratings of the population: `user_id`, `item_id`, `rating`; of one instant, the highest."""
        given = of_type(future, self.config.event).filter(
            pl.all_horizontal(pl.col("item_id", "rating").is_not_null())
        )
        return (
            given.join(population, on="user_id", how="semi")
            .sort("user_id", "item_id", "ts", "rating")
            .group_by("user_id", "item_id", maintain_order=True)
            .agg(pl.col("rating").last())
        )
