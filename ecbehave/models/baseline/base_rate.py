"""Everybody has the same probability: the share of positives in training."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
import polars as pl

from ecbehave.config.model import ModelConfig
from ecbehave.inputs.types import TableInput
from ecbehave.models.labels import pooled
from ecbehave.models.protocol import InputType, Options
from ecbehave.models.storage import load_json, reading, save_json


class BaseRateConfig(ModelConfig):
    """The share of positives in training, for everybody."""

    kind: Literal["base_rate"]


class BaseRate:
    """Scores every row with the log-odds of the train labels."""

    config_class: ClassVar[type[ModelConfig]] = BaseRateConfig
    inputs: ClassVar[Mapping[str, InputType]] = {"binary": "table"}

    def __init__(self, config: BaseRateConfig) -> None:
        self.config = config
        self.log_odds_ = 0.0

    def fit(self, train: Sequence[TableInput], valid: Sequence[TableInput], options: Options) -> Self:
        """Count the positives."""
        del valid, options
        rate = float(pooled(train).label.mean())
        self.log_odds_ = float(np.log(rate / (1 - rate)))
        return self

    def predict(self, data: TableInput, k: int = 0) -> pl.DataFrame:
        """Return the keys with the same `score` on every row."""
        del k
        return data.keys.with_columns(score=pl.lit(self.log_odds_, pl.Float64))

    def save(self, folder: Path) -> None:
        """Write the rate."""
        save_json(folder / "base_rate.json", {"log_odds": self.log_odds_})

    @classmethod
    def load(cls, folder: Path, config: BaseRateConfig) -> Self:
        """Read what `save` wrote."""
        model = cls(config)
        stored = load_json(folder / "base_rate.json")
        with reading(folder / "base_rate.json"):
            model.log_odds_ = float(stored["log_odds"])
        return model
