"""The section `features`: what a table holds, and how a model is given it."""

from datetime import timedelta
from typing import Annotated, Literal, get_args

from pydantic import Field, field_validator

from ecbehave.config.values import Duration, Section


class Select(Section):
    """Which features a model is given; those that it reads by name stay out of this."""

    drop_constant: bool = True
    """Leave out features with the same value in all train rows."""
    max_correlation: Annotated[float, Field(gt=0, le=1)] | None = None
    """Leave out a number that follows an earlier one with at least this correlation on the train rows, and is
    unknown in the same rows; null keeps it."""
    by: Literal["gain", "mutual_information"] = "gain"
    """What `keep` goes by, on the validation window: `gain` is the rise of the log loss when the feature's
    contribution is taken out."""
    keep: Annotated[int, Field(gt=0)] | None = None
    """Number of features to keep, the best ones; null keeps all."""


Encode = Literal["one_hot", "ordinal", "frequency", "target"]
Normalise = Literal["none", "standard", "min_max", "robust"]
Impute = Literal["none", "median", "zero"]

#: The keys of `features` that train reads: they change what a model is given, but not the stored table.
PREPARATION = ("encode", "normalise", "log", "impute", "missing_flags", "max_categories", "select")

FeatureGroup = Literal[
    "sessions",
    "rhythm",
    "depth",
    "baskets",
    "prices",
    "price_level",
    "discounts",
    "coupons",
    "returns",
    "funnel",
    "abandonment",
    "ratings",
    "categories",
    "brands",
    "calendar",
    "popularity",
    "attributes",
]


class Features(Section):
    """The table input, and how a model is given it: everything of that is learned from the train rows alone."""

    windows: Annotated[list[Duration], Field(min_length=1)] = [
        timedelta(days=7),
        timedelta(days=28),
        timedelta(days=91),
    ]
    """Lengths of history that features are computed over, besides all of it."""
    groups: list[FeatureGroup] = list(get_args(FeatureGroup))
    """Groups of features to build, where the log supports them; counts, recency and orders always are. Tables of pairs
    (`task.target`) have features of their own, and do not read this."""
    session_gap: Duration = timedelta(minutes=30)
    """A longer time without an event ends a session, for events without a `session_id`."""
    encode: Encode | None = None
    """How categories become numbers; `target` takes the rate of labels known before the row's cutoff. By default
    what suits the kind of model; so for the next four keys."""
    normalise: Normalise | None = None
    """Scale of numbers: by mean and deviation, smallest and largest, or median and middle half of the train rows."""
    log: bool | None = None
    """Take the logarithm, log(1 + |x|) with the sign of x, of numbers whose skewness in the train rows is above 1."""
    impute: Impute | None = None
    """What stands in for an unknown number: the median of the train rows, or 0."""
    missing_flags: bool | None = None
    """Add a column that says where a number is unknown, for those that are somewhere in the train rows."""
    max_categories: Annotated[int, Field(gt=0)] = 20
    """Categories with a code of their own, the most frequent ones; rarer and new ones share the code `other`."""
    select: Select = Select()
    """Which features a model is given."""

    @field_validator("windows")
    @classmethod
    def _ascending(cls, windows: list[timedelta]) -> list[timedelta]:
        if sorted(set(windows)) != windows:
            raise ValueError("windows must ascend, each once")
        return windows
