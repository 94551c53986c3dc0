"""Who buys?"""

from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar, Literal

import polars as pl

from ecbehave.config import PurchaseTask, duration_in_words
from ecbehave.tasks.activity import of_type, users, with_label


@dataclass(frozen=True)
class Purchase:
    """A user with any event in the last `active_within` who purchases within the horizon."""

    config: PurchaseTask
    name: ClassVar[str] = "purchase"
    output: ClassVar[Literal["binary"]] = "binary"
    headline: ClassVar[str] = "auroc"

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
        return f"buys (1): at least one purchase within {duration_in_words(self.horizon)} from the cutoff on; else 0"

    def population(self, recent: pl.LazyFrame) -> pl.LazyFrame:
        """Return users with any event in the activity window."""
        return users(recent)

    def labels(self, future: pl.LazyFrame, population: pl.LazyFrame) -> pl.LazyFrame:
        """Return the population; `label` is 1 for who purchases in the label window."""
        return with_label(population, users(of_type(future, "purchase")), when_found=1)
