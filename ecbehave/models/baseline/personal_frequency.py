"""What a user had most often, again."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
import polars as pl
from pydantic import Field

from ecbehave.config import ModelConfig
from ecbehave.errors import DataError
from ecbehave.inputs.types import MatrixInput
from ecbehave.models.protocol import InputType, Options
from ecbehave.models.storage import load_json, save_json
from ecbehave.models.top_k import top_k


class PersonalFrequencyConfig(ModelConfig):
    """A user's own items by how often they were had, the latest first where that is equal."""

    kind: Literal["personal_frequency"]
    events: list[str] = Field(default=["purchase"])
    """Event types that count."""


class PersonalFrequency:
    """Needs no fitting; users without such an event get no list."""

    config_class: ClassVar[type[ModelConfig]] = PersonalFrequencyConfig
    inputs: ClassVar[Mapping[str, InputType]] = {"ranking": "matrix"}

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

    def predict(self, data: MatrixInput, k: int) -> pl.DataFrame:
        """Return each user's `k` most frequent items; `score` is the count plus a share of one for recency."""
        counted = (
            data.pairs.filter(pl.col("event_type").is_in(self.config.events))
            .group_by("user", "item")
            .agg(pl.col("n_events").sum(), pl.col("days_since").min())
            .sort("user", "item")
        )
        weight = counted["n_events"] + 1 / (1 + counted["days_since"].cast(pl.Float64))
        users = data.asked
        return top_k(data, users, data.csr(counted, weight.to_numpy().astype(np.float64))[users], k)

    def save(self, folder: Path) -> None:
        """Write that there is nothing to write."""
        save_json(folder / "personal_frequency.json", {})

    @classmethod
    def load(cls, folder: Path, config: PersonalFrequencyConfig) -> Self:
        """Read what `save` wrote."""
        load_json(folder / "personal_frequency.json")
        return cls(config)
