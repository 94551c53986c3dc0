"""What a user had most often, again; and, where asked for, what users like him had."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_array, diags_array

from ecbehave.config.model import ModelConfig
from ecbehave.errors import DataError
from ecbehave.inputs.types import MatrixInput
from ecbehave.models.best import best_per_row
from ecbehave.models.protocol import Block, Options, Reads
from ecbehave.models.search import Domain, Real
from ecbehave.models.storage import load_json, save_json

#: Users whose neighbours are looked for at once.
_BLOCK_USERS = 256


class PersonalFrequencyConfig(ModelConfig):
    """A user's own items by how often they were had, the latest first where that is equal."""

    kind: Literal["personal_frequency"]
    events: list[str] = Field(default=["purchase"])
    """Event types that count."""
    decay: Annotated[float, Field(gt=0, le=1)] = 0.95
    """How often an item was had is multiplied by this for each later basket, an instant with any item, of the user."""
    neighbours: Annotated[int, Field(ge=0)] = 0
    """Users of the most similar frequencies who have a say, too; it takes long to find them where users are many."""
    neighbour_share: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """Share of the neighbours in the score."""


class PersonalFrequency:
    """Needs no fitting; users without such an event get no list.

    Source: Hu et al. (2020), Modeling personalized item frequency information for next-basket recommendation,
    equations 1 to 3 and 6: frequencies decayed over baskets, mixed with their mean over the nearest users. Here the
    last of an item's events dates all of them, and users are near by the cosine.
    """

    config_class: ClassVar[type[ModelConfig]] = PersonalFrequencyConfig
    inputs: ClassVar[Mapping[str, Reads]] = {"pairs": "matrix", "ranking": "matrix"}
    search: ClassVar[Mapping[str, Domain]] = {"decay": Real(0.8, 1.0)}

    def __init__(self, config: PersonalFrequencyConfig) -> None:
        self.config = config

    def fit(self, train: Sequence[MatrixInput], valid: Sequence[MatrixInput], options: Options) -> Self:
        """Learn nothing, but check that there is something to count.

        Raises:
            DataError: the newest history has none of the events with an item.
        """
        del valid, options
        if not train[-1].pairs["event_type"].is_in(self.config.events).any():
            raise DataError(
                f"personal_frequency has no events to count: none of {', '.join(self.config.events)} occurs with an "
                f"item; set its events to the log's event types"
            )
        return self

    def scores(self, data: MatrixInput) -> Iterator[Block]:
        """Yield how often each user had an item, less the more baskets ago, mixed with the neighbours' mean of it."""
        frequency, users = self._frequency(data), data.asked
        if self.config.neighbours == 0:
            yield users, csr_array(frequency[users])
            return
        unit = _unit_rows(frequency)
        for start in range(0, users.size, _BLOCK_USERS):
            block = users[start : start + _BLOCK_USERS]
            others = csr_array(self._nearest(unit, block) @ frequency)
            share = self.config.neighbour_share
            yield block, csr_array((1 - share) * frequency[block] + share * others)

    def _frequency(self, data: MatrixInput) -> csr_array:
        """Return how often each user had each item [U, I], decayed; the last day decides where that is equal."""
        counted = (
            data.pairs.filter(pl.col("event_type").is_in(self.config.events))
            .group_by("user", "item")
            .agg(pl.col("n_events").sum(), pl.col("days_since").min(), pl.col("place").min())
            .sort("user", "item")
        )
        often = counted["n_events"] + 1 / (1 + counted["days_since"].cast(pl.Float64))
        weight = often.to_numpy() * self.config.decay ** counted["place"].to_numpy().astype(np.float64)
        return data.csr(counted, weight)

    def _nearest(self, unit: csr_array, users: NDArray[np.int64]) -> csr_array:
        """Return the weight of each user's nearest ones [B, U]: all have the same, and they add up to 1."""
        alike = csr_array(unit[users] @ unit.T)
        alike.data[alike.indices == np.repeat(users, np.diff(alike.indptr))] = 0
        alike.eliminate_zeros()
        near = best_per_row(alike, self.config.neighbours)
        n_near = np.diff(near.indptr)
        near.data = np.repeat(1 / np.maximum(n_near, 1), n_near)
        return near

    def save(self, folder: Path) -> None:
        """Write that there is nothing to write."""
        save_json(folder / "personal_frequency.json", {})

    @classmethod
    def load(cls, folder: Path, config: PersonalFrequencyConfig) -> Self:
        """Read what `save` wrote."""
        load_json(folder / "personal_frequency.json")
        return cls(config)


def _unit_rows(matrix: csr_array) -> csr_array:
    """Return rows of length 1; empty ones stay so."""
    length = np.sqrt(np.asarray(matrix.power(2).sum(axis=1)).ravel())
    return csr_array(diags_array(1 / np.where(length > 0, length, 1)) @ matrix)
