"""Recency, frequency and money: the rule of every direct marketer, as a logistic regression on their logarithms."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecbehave.config.model import ModelConfig
from ecbehave.inputs.types import TableInput
from ecbehave.models.labels import pooled
from ecbehave.models.protocol import InputType, Options
from ecbehave.models.storage import load_json, reading, save_json

_NEVER_DAYS = 3650.0


class RfmConfig(ModelConfig):
    """Logistic regression on the logarithms of recency, frequency and money."""

    kind: Literal["rfm"]


class Rfm:
    """Reads three features of purchases, or of any event where the log has no purchases.

    Where pairs are asked, they are those of the pair: how long ago, on how many days, and for how much.
    """

    config_class: ClassVar[type[ModelConfig]] = RfmConfig
    inputs: ClassVar[Mapping[str, InputType]] = {"binary": "table"}

    def __init__(self, config: RfmConfig) -> None:
        self.config = config
        self.columns_: list[str] = []
        self.coefficients_: NDArray[np.float64] = np.zeros(3)
        self.intercept_ = 0.0

    def fit(self, train: Sequence[TableInput], valid: Sequence[TableInput], options: Options) -> Self:
        """Fit the regression, slightly regularised."""
        del valid, options
        from sklearn.linear_model import LogisticRegression
        from threadpoolctl import threadpool_limits

        table = pooled(train)
        self.columns_ = _columns(table.features)
        design = self._design(table)
        centre, spread = design.mean(axis=0), design.std(axis=0)
        spread[np.ptp(design, axis=0) == 0] = 1  # the deviation of equal values is not 0 but rounding
        # The last digit of a sum over a million rows depends on the number of threads that add it up.
        with threadpool_limits(1):
            regression = LogisticRegression().fit((design - centre) / spread, table.label)
        self.coefficients_ = regression.coef_[0] / spread
        self.intercept_ = float(regression.intercept_[0] - self.coefficients_ @ centre)
        return self

    def _design(self, data: TableInput) -> NDArray[np.float64]:
        """Return the logarithms [N, 3]; a user without the event gets a recency of ten years."""
        recency, frequency, money = (data.frame[c].to_numpy().astype(np.float64) for c in self.columns_)
        recency = np.where(np.isnan(recency), _NEVER_DAYS, recency)
        return np.log1p(np.maximum(np.column_stack([recency, frequency, money]), 0))

    def predict(self, data: TableInput, k: int = 0) -> pl.DataFrame:
        """Return the keys with the log-odds as `score`."""
        del k
        # A matrix product would round a row differently in other company.
        score = (self._design(data) * self.coefficients_).sum(axis=1) + self.intercept_
        return data.keys.with_columns(score=pl.Series(score, dtype=pl.Float64))

    def save(self, folder: Path) -> None:
        """Write the coefficients and the names of their columns."""
        stored = {
            "columns": self.columns_,
            "coefficients": self.coefficients_.tolist(),
            "intercept": self.intercept_,
        }
        save_json(folder / "rfm.json", stored)

    @classmethod
    def load(cls, folder: Path, config: RfmConfig) -> Self:
        """Read what `save` wrote."""
        model = cls(config)
        stored = load_json(folder / "rfm.json")
        with reading(folder / "rfm.json"):
            model.columns_ = list(stored["columns"])
            model.coefficients_ = np.array([float(c) for c in stored["coefficients"]])
            model.intercept_ = float(stored["intercept"])
        return model


def _columns(features: Sequence[str]) -> list[str]:
    of = next(
        (p for p in ("item_", "category_") if any(f.startswith(f"{p}recency_days_") for f in features)), ""
    )
    names = [f for f in features if f.startswith(f"{of}recency_days_")]
    events = [n.removeprefix(f"{of}recency_days_").removesuffix("_all") for n in names]
    event = next((e for e in ("purchase", "any") if e in events), events[0])
    return [f"{of}{measure}_{event}_all" for measure in ("recency_days", "days", "amount")]
