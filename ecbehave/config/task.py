"""The section `task`: what is asked, of whom."""

from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from ecbehave.config.values import Duration, Section


class ChurnTask(Section):
    """Which active customer stops?"""

    kind: Literal["churn"]
    """The question."""
    event: str = "purchase"
    """The event that makes a customer active; `any` for every event."""
    active_within: Duration = timedelta(days=28)
    """Who had the event in this time before the cutoff is asked about."""
    horizon: Duration = timedelta(days=28)
    """Who does not have it in this time from the cutoff on has churned."""


class Candidates(Section):
    """What each user is paired with, for `target: item` and `target: category`; the rest counts as not bought."""

    recent: Duration | None = timedelta(days=91)
    """All that the user had any event with in this time before the cutoff; null takes all history."""
    popular: Annotated[int, Field(ge=0)] = 0
    """And so many of what most users bought in the longest of `features.windows`."""


class PurchaseTask(Section):
    """Who buys?"""

    kind: Literal["purchase"]
    """The question."""
    target: Literal["any", "category", "item"] = "any"
    """What is bought: anything, or for each pair of a user and a candidate, that category or that item."""
    active_within: Duration = timedelta(days=28)
    """Who had any event in this time before the cutoff is asked about."""
    horizon: Duration = timedelta(days=7)
    """A purchase in this time from the cutoff on counts."""
    candidates: Candidates = Candidates()
    """What each user is paired with, where `target` is not `any`."""

    @model_validator(mode="after")
    def _has_use_for_candidates(self) -> Self:
        if self.target == "any" and self.candidates != Candidates():
            raise ValueError("candidates are for target: item or category; take them out, or set target")
        return self


class RankedCandidates(Candidates):
    """What is ranked for each user by kinds that learn from a table, such as `logistic` and `boosting`."""

    popular: Annotated[int, Field(ge=0)] = 20
    """And so many of what most users had the task's event with, or any event, in each of `features.windows`."""
    similar: Annotated[int, Field(gt=0)] = 100
    """And so many that go best with all that the user had, by `item_knn` as known at the cutoff."""


Category = Annotated[str, Field(pattern=r"^[^.]+(\.[^.]+)*$")]


class ListedItems(Section):
    """Which items may be listed; what may not is no true item either."""

    allow: str | None = None
    """File of the only items that may be: one id per line, or CSV or Parquet with a column `item_id`; relative to the
    YAML file's folder or absolute. Null allows all."""
    deny: str | None = None
    """File of items that may not be, likewise."""
    categories: list[Category] = []
    """Only items of these categories, as known at the cutoff, and of those below them: `home` covers `home.kitchen`.
    Empty takes all."""


class PreferenceTask(Section):
    """Which items does a user want next?"""

    kind: Literal["preference"]
    """The question."""
    feedback: Literal["implicit", "explicit"] = "implicit"
    """What shows the preference: `implicit`, that the user has the event with an item, and items are ranked; or
    `explicit`, the rating that the user gives an item, and ratings are predicted."""
    event: str = "purchase"
    """The event that shows the preference; with `explicit` by default `any`, which is whatever has a rating."""
    active_within: Duration = timedelta(days=91)
    """Who had any event in this time before the cutoff gets a list."""
    horizon: Duration = timedelta(days=14)
    """Items with the event in this time from the cutoff on are the true ones."""
    candidates: RankedCandidates = RankedCandidates()
    """What is ranked for each user by kinds that learn from a table; the others rank the whole catalogue."""
    exclude: list[str] = []
    """Event types: what a user had one of these with before the cutoff is neither listed nor true; `any` is every
    type. Empty keeps repeats, which groceries live on."""
    items: ListedItems = ListedItems()
    """Which items may be listed."""

    @model_validator(mode="before")
    @classmethod
    def _default_event(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("feedback") == "explicit":
            return {"event": "any"} | data
        return data

    @model_validator(mode="after")
    def _has_use_for_candidates(self) -> Self:
        if self.feedback == "explicit" and self.candidates != RankedCandidates():
            raise ValueError("candidates are for feedback: implicit; take them out, or set feedback")
        return self


TaskConfig = Annotated[ChurnTask | PurchaseTask | PreferenceTask, Field(discriminator="kind")]
