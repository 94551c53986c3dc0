"""A weighted sum of the scores of several models: what bagging, voting and stacking end in."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecbehave.config.model import ModelConfig
from ecbehave.inputs.types import Inputs, MatrixInput, TableInput
from ecbehave.models.candidate_scores import candidate_scores
from ecbehave.models.ensemble import shortlist
from ecbehave.models.making import load, make
from ecbehave.models.protocol import DRIVERS, Block, InputType, Options, Output, Predictor
from ecbehave.models.single import best_of
from ecbehave.models.storage import load_json, reading, save_json
from ecbehave.models.top_k import LIST

_FILE = "blend.json"


class Blend:
    """Members of any kind, each with a weight; a kind that is made of others says in `fit` how it learns both."""

    inputs: ClassVar[Mapping[str, InputType]] = {}

    def __init__(self, config: Any, output: Output) -> None:
        self.config, self.output = config, output
        self.members_: list[Predictor] = [make(member, output) for member in self.member_configs()]
        self.weights_: NDArray[np.float64] = np.ones(len(self.members_)) / len(self.members_)
        self.intercept_ = 0.0
        self.shares_ = self.weights_
        """[M], of the importance of all members."""

    def member_configs(self) -> Sequence[ModelConfig]:
        """Return the config of each member."""
        return list(self.config.parts().values())

    @property
    def explains(self) -> bool:
        """Whether all members can say what drove a score, and the scores of members are added up as they are."""
        return self.output != "ranking" and all(member.explains for member in self.members_)

    @property
    def reads_table(self) -> bool:
        """Whether any feature of the table has a say in the scores."""
        return any(member.reads_table for member in self.members_)

    def event_drivers(self, data: Inputs, rows: NDArray[np.int64], n: int) -> pl.DataFrame:
        """Return nothing: the scores of several models have no drivers in common."""
        del data, rows, n
        return pl.DataFrame(schema=DRIVERS)

    def signals(self, data: Inputs) -> NDArray[np.float64]:
        """Return what is weighted [N, M], for each row of the table.

        These are the scores; but in a ranking, where scores of different kinds have nothing in common, minus the
        logarithm of the place that each gives to a user's candidate.
        """
        scores = [member.score(data) for member in self.members_]
        if self.output == "ranking":
            scores = [_places(cast("TableInput", data.table), score) for score in scores]
        return np.column_stack(scores)

    def score(self, data: Inputs) -> NDArray[np.float64]:
        """Return the weighted sum for each row of the table [N]."""
        # A matrix product would round a row differently in other company.
        total: NDArray[np.float64] = (self.signals(data) * self.weights_).sum(axis=1) + self.intercept_
        return total

    def lists(self, data: Inputs, k: int) -> pl.DataFrame:
        """Return `user_id`, `item_id`, `score`: at most `k` rows for each user, best first."""
        return pl.concat([pl.DataFrame(schema=LIST), *self.list_blocks(data, k)])

    def list_blocks(self, data: Inputs, k: int) -> Iterator[pl.DataFrame]:
        """Yield `lists`: of all users at once where there is a table, the rows of which are known already."""
        for part in self._with_candidates(data, k):
            yield best_of(cast("TableInput", part.table), self.score(part), k)

    def item_scores(self, data: Inputs) -> Iterator[Block]:
        """Yield the scores of the candidates."""
        for part in self._with_candidates(data, shortlist.LENGTH):
            yield candidate_scores(
                cast("MatrixInput", part.matrix), cast("TableInput", part.table), self.score(part)
            )

    def _with_candidates(self, data: Inputs, k: int) -> Iterator[Inputs]:
        """Yield what is known with the table; where no member reads one, with the best items of each member."""
        if data.table is not None:
            yield data
            return
        for part in shortlist.in_parts(data):
            yield shortlist.shortlist(self.members_, part, k)

    def teaching(self, data: Inputs) -> Inputs:
        """Return labelled rows of a cutoff that weights are learned from, when the members are fitted."""
        if data.table is not None:
            return data
        return shortlist.shortlist(self.members_, shortlist.teaching(data), shortlist.LENGTH)

    def contributions(self, data: Inputs) -> NDArray[np.float64]:
        """Return additive contributions to the score [N, F + 1], by feature of the table; the last is the base."""
        parts = [w * m.contributions(data) for w, m in zip(self.weights_, self.members_, strict=True)]
        total: NDArray[np.float64] = np.sum(parts, axis=0)
        total[:, -1] += self.intercept_
        return total

    def importance(self) -> Mapping[str, float]:
        """Return a share of the total importance per feature that any member was given."""
        total: dict[str, float] = {}
        for share, member in zip(self.shares_.tolist(), self.members_, strict=True):
            for feature, part in member.importance().items():
                total[feature] = total.get(feature, 0.0) + share * part
        return total

    def left_out(self) -> Mapping[str, Any]:
        """Return the features that no member was given, each with the reason that the first one has."""
        first, *others = [member.left_out() for member in self.members_]
        return {feature: why for feature, why in first.items() if all(feature in other for other in others)}

    def fit_members(self, train: Sequence[Inputs], valid: Sequence[Inputs], options: Options) -> None:
        """Fit every member on the same rows."""
        for member in self.members_:
            member.fit(train, valid, options)

    def save(self, folder: Path) -> None:
        """Write the weights, and each member into a folder of its own."""
        stored = {
            "weights": self.weights_.tolist(),
            "intercept": self.intercept_,
            "shares": self.shares_.tolist(),
        }
        save_json(folder / _FILE, stored)
        for n, member in enumerate(self.members_):
            own = folder / f"member-{n:02}"
            own.mkdir()
            member.save(own)

    @classmethod
    def load(cls, folder: Path, config: Any, output: Output) -> Self:
        """Read what `save` wrote.

        Raises:
            ArtifactError: the folder does not hold such a model.
        """
        model = cls(config, output)
        stored = load_json(folder / _FILE)
        n_members = len(model.members_)
        with reading(folder / _FILE):
            model.weights_ = _floats(stored["weights"], n_members)
            model.shares_ = _floats(stored["shares"], n_members)
            model.intercept_ = float(stored["intercept"])
        model.members_ = [
            load(folder / f"member-{n:02}", member, output) for n, member in enumerate(model.member_configs())
        ]
        return model


def _floats(values: Any, n: int) -> NDArray[np.float64]:
    floats = np.array([float(v) for v in values])
    if floats.size != n:
        raise ValueError(f"{n} members need {n} numbers each, found {floats.size}")
    return floats


def _places(table: TableInput, score: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return minus the logarithm of each row's place among its user's rows of the cutoff; ties share the mean place."""
    place = pl.col("score").rank("average", descending=True).over("cutoff", "user_hash", "user_id")
    keyed = table.keys.with_columns(score=pl.Series(score, dtype=pl.Float64))
    places: NDArray[np.float64] = keyed.select(place).to_series().to_numpy()
    return -np.log(places)
