"""Who buys?"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import polars as pl

from ecbehave.config import PurchaseTask, duration_in_words
from ecbehave.tasks.activity import AskedOfActive, of_type, users, with_label


@dataclass(frozen=True)
class Purchase(AskedOfActive[PurchaseTask]):
    """A user with any event in the last `active_within` who purchases within the horizon."""

    name: ClassVar[str] = "purchase"
    output: ClassVar[Literal["binary"]] = "binary"
    headline: ClassVar[str] = "auroc"

    @property
    def label_in_words(self) -> str:
        """What is true."""
        return f"buys (1): at least one purchase within {duration_in_words(self.horizon)} from the cutoff on; else 0"

    def labels(self, future: pl.LazyFrame, population: pl.LazyFrame) -> pl.LazyFrame:
        """Return the population; `label` is 1 for who purchases in the label window."""
        return with_label(population, users(of_type(future, "purchase")), when_found=1)
