"""The transformation of the table: fitted on train rows, stored as data, the same for every later row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter, ValidationError

from ecbehave.inputs.transform.categories import OneHot, Valued
from ecbehave.inputs.transform.numbers import Numeric
from ecbehave.inputs.types import TableInput, Transform

Column = Annotated[Numeric | OneHot | Valued, Field(discriminator="kind")]


@dataclass(frozen=True)
class Transformer:
    """What becomes of each feature."""

    parts: tuple[Column, ...]

    @classmethod
    def fit(
        cls,
        train: Sequence[TableInput],
        features: Sequence[str],
        settings: Transform,
        ends: Mapping[datetime, datetime],
    ) -> Self:
        """Learn from train rows alone, one column at a time.

        Args:
            train: one table per cutoff, with labels.
            features: what a model is to be given; the others are left out.
            settings: what is to be done.
            ends: cutoff to the end of its label window, for `encode: target`.
        """
        categorical = set(train[0].categorical)
        parts: list[Column] = []
        for feature in features:
            if feature not in categorical:
                parts.append(Numeric.fit(train, feature, settings))
            elif settings.encode == "one_hot":
                parts.append(OneHot.fit(train, feature, settings))
            else:
                parts.append(Valued.fit(train, feature, settings, ends))
        return cls(tuple(parts))

    def apply(self, table: TableInput) -> TableInput:
        """Return the table as a model reads it: same keys and labels, and Float32 columns named by `source_of`.

        A row's numbers depend on that row alone, on its cutoff and on what was learned. Columns that nothing is
        done to are not copied.
        """
        kept = [name for name in (*table.key_names, "label") if name in table.frame.columns]
        columns = {name: formula for part in self.parts for name, formula in part.columns().items()}
        return TableInput(table.frame.select(*kept, **columns), tuple(columns))

    @cached_property
    def source_of(self) -> dict[str, str]:
        """The feature that each column of the result comes from, in the order of the columns."""
        return {name: part.feature for part in self.parts for name in part.columns()}

    def by_feature(self, contributions: NDArray[np.float64], features: Sequence[str]) -> NDArray[np.float64]:
        """Add up what the columns of one feature contribute.

        Args:
            contributions: [N, C + 1], by column of the result; the last one is the base value.
            features: F names, in the order of the answer.

        Returns:
            [N, F + 1]; a feature that the model was not given contributes nothing.
        """
        place = {feature: n for n, feature in enumerate(features)}
        summed = np.zeros((contributions.shape[0], len(features) + 1))
        for n, source in enumerate(self.source_of.values()):
            summed[:, place[source]] += contributions[:, n]
        summed[:, -1] = contributions[:, -1]
        return summed

    def to_dict(self) -> dict[str, Any]:
        """Return all that was learned, as plain data."""
        plain: dict[str, Any] = _stored().dump_python(self, mode="json")
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """Return what `to_dict` was called on.

        Raises:
            ValueError: something is missing, or not of its type.
        """
        try:
            found: Self = _stored().validate_python(plain)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(step) for step in first["loc"])
            raise ValueError(f"{where}: {first['msg']}") from error
        return found


def _stored() -> TypeAdapter[Any]:
    return TypeAdapter(Transformer)
