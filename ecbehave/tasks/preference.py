"""Which items does a user want next?"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import polars as pl

from ecbehave.config import PreferenceTask, duration_in_words
from ecbehave.tasks.activity import AskedOfActive, in_words, of_type


@dataclass(frozen=True)
class Preference(AskedOfActive[PreferenceTask]):
    """The items that a user of the last `active_within` has the event with within the horizon."""

    name: ClassVar[str] = "preference"
    output: ClassVar[Literal["ranking"]] = "ranking"
    headline: ClassVar[str] = "ndcg"

    @property
    def label_in_words(self) -> str:
        """What is true."""
        event = in_words(self.config.event)
        return (
            f"true items: those with {event} by the user within {duration_in_words(self.horizon)} from the cutoff on, "
            f"out of the whole catalogue, repeats included; users without a true item are left out of the means"
        )

    def labels(self, future: pl.LazyFrame, population: pl.LazyFrame) -> pl.LazyFrame:
        """Return the true items of the population: `user_id`, `item_id`."""
        wanted = of_type(future, self.config.event).filter(pl.col("item_id").is_not_null())
        return wanted.join(population, on="user_id", how="semi").select("user_id", "item_id").unique()
