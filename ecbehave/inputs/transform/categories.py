"""Categories made numbers: a column for each, or a code, a share or a rate."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecbehave.inputs.transform.numbers import Scale, is_null, known_values, pooled_column
from ecbehave.inputs.types import TableInput, Transform
from ecbehave.schema import TABLE_KEYS

#: Rows of the base rate that each category's rate is mixed with, so that a handful of labels does not decide.
SMOOTHING = 20.0


@dataclass(frozen=True)
class Vocabulary:
    """The most frequent categories of the train rows; a category that is not among them is `other`."""

    kept: tuple[str, ...]
    """In alphabetical order."""
    has_other: bool
    has_null: bool

    @classmethod
    def fit(cls, column: pl.Series, most: int) -> Self:
        """Count the categories of the train rows; of equally frequent ones the first in the alphabet is kept."""
        known = column.drop_nulls()
        found = known.value_counts(name="n").sort("n", known.name, descending=[True, False])
        kept = tuple(sorted(found[known.name].head(most).to_list()))
        return cls(kept, found.height > most, column.null_count() > 0)

    @property
    def n_places(self) -> int:
        """Number of places: one for each category, for `other` and for unknown."""
        return len(self.kept) + 2

    def place(self, column: pl.Expr) -> pl.Expr:
        """Return the place of each row's category: 0 to K - 1 in `kept`, K for `other`, K + 1 for unknown."""
        n = len(self.kept)
        found = column.replace_strict(list(self.kept), list(range(n)), default=n, return_dtype=pl.Int64)
        return pl.when(column.is_null()).then(n + 1).otherwise(found if n else n)


@dataclass(frozen=True)
class OneHot:
    """A column of 0 and 1 for each category, and for `other` and unknown where the train rows had them."""

    feature: str
    vocabulary: Vocabulary
    kind: Literal["one_hot"] = "one_hot"

    @classmethod
    def fit(cls, train: Sequence[TableInput], feature: str, settings: Transform) -> Self:
        """Learn the categories of the train rows."""
        return cls(feature, Vocabulary.fit(pooled_column(train, feature), settings.max_categories))

    def columns(self) -> dict[str, pl.Expr]:
        """Return name and formula of each column that a model reads."""
        kept, column = self.vocabulary.kept, pl.col(self.feature)
        # Quoted, so that no category can be taken for another column.
        columns = {
            f"{self.feature}={json.dumps(c, ensure_ascii=False)}": column.eq_missing(pl.lit(c)) for c in kept
        }
        if self.vocabulary.has_other:
            columns[f"{self.feature}=other"] = self.vocabulary.place(column) == len(kept)
        if self.vocabulary.has_null:
            columns[is_null(self.feature)] = column.is_null()
        return {name: is_it.cast(pl.Float32) for name, is_it in columns.items()}


@dataclass(frozen=True)
class Step:
    """Numbers of the categories, for rows from one cutoff on."""

    since: datetime | None
    """The first cutoff that may know them; None for all."""
    values: tuple[float, ...]
    """By place in the vocabulary; the last two are `other` and unknown."""

    def __post_init__(self) -> None:
        if not np.isfinite(self.values).all():
            raise ValueError("the number of a category must be finite")


@dataclass(frozen=True)
class Valued:
    """One column with a number for each category; before the first step it is unknown."""

    feature: str
    vocabulary: Vocabulary
    steps: tuple[Step, ...]
    """In time order."""
    scale: Scale
    kind: Literal["valued"] = "valued"

    def __post_init__(self) -> None:
        n = self.vocabulary.n_places
        if any(len(step.values) != n for step in self.steps):
            raise ValueError(f"{self.feature} needs {n} numbers in each step")

    @classmethod
    def fit(
        cls, train: Sequence[TableInput], feature: str, settings: Transform, ends: Mapping[datetime, datetime]
    ) -> Self:
        """Learn the categories of the train rows, and the number of each.

        Args:
            train: the train cutoffs.
            feature: one of their features.
            settings: `ordinal` takes the place in the alphabet, `frequency` the share of the train rows, `target`
                the rate of positive labels, smoothed towards the rate of all.
            ends: cutoff to the end of its label window; `target` uses a label for rows from that end on.
        """
        vocabulary = Vocabulary.fit(pooled_column(train, feature), settings.max_categories)
        if settings.encode == "target":
            steps = _rates(train, feature, vocabulary, ends)
        else:
            steps = (
                _shares(train, feature, vocabulary) if settings.encode == "frequency" else _places(vocabulary)
            )
        unscaled = cls(feature, vocabulary, steps, Scale())
        # A logarithm would be taken of a code, and has nothing to say there.
        scale = Scale.fit(unscaled.numbers(train), replace(settings, log=False))
        return replace(unscaled, scale=scale)

    def numbers(self, train: Sequence[TableInput]) -> NDArray[np.float64]:
        """Return the number of each train row that has one."""
        return known_values(pl.concat([part.frame.select(self._value()).to_series() for part in train]))

    def columns(self) -> dict[str, pl.Expr]:
        """Return name and formula of the column that a model reads."""
        return {self.feature: self.scale.apply(self._value())}

    def _value(self) -> pl.Expr:
        place = self.vocabulary.place(pl.col(self.feature))
        value = pl.lit(None, pl.Float64)
        for step in self.steps:
            values = pl.lit(pl.Series(step.values, dtype=pl.Float64))
            number = values.gather(place)
            if step.since is None:
                value = number
            else:
                since = pl.lit(step.since.astimezone(UTC), TABLE_KEYS["cutoff"])
                value = pl.when(pl.col("cutoff") >= since).then(number).otherwise(value)
        return value.alias(self.feature)


def _places(vocabulary: Vocabulary) -> tuple[Step, ...]:
    return (Step(None, tuple(float(n) for n in range(vocabulary.n_places))),)


def _shares(train: Sequence[TableInput], feature: str, vocabulary: Vocabulary) -> tuple[Step, ...]:
    n_rows = np.sum([_counted(part, feature, vocabulary) for part in train], axis=0)
    return (Step(None, tuple((n_rows / max(n_rows.sum(), 1)).tolist())),)


def _rates(
    train: Sequence[TableInput], feature: str, vocabulary: Vocabulary, ends: Mapping[datetime, datetime]
) -> tuple[Step, ...]:
    """Return a step for each end of a label window: the rates by all labels that are known then."""
    by_end: dict[datetime, list[TableInput]] = {}
    for part in train:
        if part.n_rows:
            by_end.setdefault(ends[part.frame["cutoff"][0]], []).append(part)
    n_rows, n_positive = np.zeros(vocabulary.n_places), np.zeros(vocabulary.n_places)
    steps = []
    for end in sorted(by_end):
        for part in by_end[end]:
            n_rows += _counted(part, feature, vocabulary)
            n_positive += _counted(part, feature, vocabulary, part.label)
        base_rate = n_positive.sum() / n_rows.sum()
        rates = (n_positive + SMOOTHING * base_rate) / (n_rows + SMOOTHING)
        steps.append(Step(end, tuple(rates.tolist())))
    return tuple(steps)


def _counted(
    part: TableInput, feature: str, vocabulary: Vocabulary, weight: NDArray[np.int8] | None = None
) -> NDArray[np.float64]:
    """Return the rows at each place of the vocabulary, or the sum of their weights."""
    place = part.frame.select(vocabulary.place(pl.col(feature))).to_series().to_numpy()
    return np.bincount(place, weight, vocabulary.n_places).astype(np.float64)
