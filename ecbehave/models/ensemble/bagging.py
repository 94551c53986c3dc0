"""Bagging: the mean of models of one kind, each fitted on its own part of the users."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from ecbehave.config.model import ModelConfig
from ecbehave.inputs.types import Inputs, TableInput
from ecbehave.models import one_of, tabular
from ecbehave.models.ensemble.blend import Blend
from ecbehave.models.protocol import Options

if TYPE_CHECKING:
    Base = ModelConfig
else:
    Base = one_of(tabular())


class BaggingConfig(ModelConfig):
    """The mean of several models of one kind, each fitted on its own part of the users."""

    kind: Literal["bagging"]
    base: Annotated[Base, Field(validate_default=True)] = cast("ModelConfig", {"kind": "boosting"})
    """The model, chosen by `kind`, of those that read the table."""
    n_models: Annotated[int, Field(ge=2, le=100)] = 8
    """How many are fitted."""
    user_share: Annotated[float, Field(gt=0, lt=1)] = 0.7
    """Share of the train users that each of them sees, drawn without replacement, with all their rows."""

    def parts(self) -> dict[str, ModelConfig]:
        """Return the one kind."""
        return {"base": self.base}


class Bagging(Blend):
    """Users are drawn, not rows: rows of one user at several cutoffs are no independent witnesses.

    Source: Bühlmann and Yu (2002), Analyzing bagging, section 3 (subagging: without replacement).
    """

    config_class: ClassVar[type[ModelConfig]] = BaggingConfig

    def member_configs(self) -> Sequence[ModelConfig]:
        """Return the same config for each."""
        return [self.config.base] * int(self.config.n_models)

    def signals(self, data: Inputs) -> NDArray[np.float64]:
        """Return the scores [N, M]: those of one kind have the same scale, in a ranking too."""
        return np.column_stack([member.score(data) for member in self.members_])

    def fit(self, train: Sequence[Inputs], valid: Sequence[Inputs], options: Options) -> Self:
        """Fit each on its users; all of them stop on the whole validation window."""
        labelled = [part for part in train if part.table is not None]
        users = np.unique(np.concatenate([_users(part) for part in labelled]))
        n_drawn = max(round(self.config.user_share * users.size), 1)
        for n, member in enumerate(self.members_):
            rng = np.random.default_rng([options.seed, n])
            drawn = np.sort(rng.choice(users, n_drawn, replace=False))
            own = replace(options, seed=int(rng.integers(2**31)))
            member.fit([_of_users(part, drawn) for part in labelled], valid, own)
        return self


def _users(part: Inputs) -> NDArray[np.uint64]:
    return cast("TableInput", part.table).frame["user_hash"].unique().to_numpy()


def _of_users(part: Inputs, drawn: NDArray[np.uint64]) -> Inputs:
    table = cast("TableInput", part.table)
    rows = table.frame.filter(pl.col("user_hash").is_in(pl.Series(drawn).implode()))
    return Inputs(part.cutoff, TableInput(rows, table.features))
