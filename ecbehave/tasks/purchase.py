"""Who buys?"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import polars as pl

from ecbehave.config.task import PurchaseTask
from ecbehave.config.values import duration_in_words
from ecbehave.tasks.activity import AskedOfActive, of_type, users, with_label

_COLUMNS = {"item": "item_id", "category": "category"}


@dataclass(frozen=True)
class Purchase(AskedOfActive[PurchaseTask]):
    """A user with any event in the last `active_within` who purchases within the horizon."""

    name: ClassVar[str] = "purchase"
    output: ClassVar[Literal["binary"]] = "binary"
    headline: ClassVar[str] = "auroc"

    @property
    def target(self) -> str | None:
        """Column of what a user is paired with; None for a purchase of anything."""
        return _COLUMNS.get(self.config.target)

    @property
    def population_in_words(self) -> str:
        """Who is asked, and about what."""
        if self.target is None:
            return super().population_in_words
        recent, popular = self.config.candidates.recent, self.config.candidates.popular
        when = (
            "before the cutoff" if recent is None else f"in the {duration_in_words(recent)} before the cutoff"
        )
        best = f", and with the {popular} bought by most users" if popular else ""
        thing = self.config.target
        return f"{super().population_in_words}, paired with every {thing} that the user had any event with {when}{best}"

    @property
    def label_in_words(self) -> str:
        """What is true."""
        what = "" if self.target is None else f" of the {self.config.target}"
        horizon = duration_in_words(self.horizon)
        return f"buys (1): at least one purchase{what} within {horizon} from the cutoff on; else 0"

    def labels(self, future: pl.LazyFrame, population: pl.LazyFrame) -> pl.LazyFrame:
        """Return the population; `label` is 1 for who purchases in the label window. With a target, the true pairs."""
        purchases = of_type(future, "purchase")
        if self.target is None:
            return with_label(population, users(purchases), when_found=1)
        bought = purchases.filter(pl.col(self.target).is_not_null())
        return bought.join(population, on="user_id", how="semi").select("user_id", self.target).unique()
