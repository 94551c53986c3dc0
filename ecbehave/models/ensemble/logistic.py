"""Logistic regression with an L1 penalty, an L2 penalty, or both: its reasons are its terms."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field, model_validator
from scipy.special import expit

from ecbehave.config.model import ModelConfig
from ecbehave.inputs.types import TableInput, Transform
from ecbehave.metrics.classification import log_loss
from ecbehave.models.ensemble.class_weight import PositiveWeight, positive_factor, row_weights
from ecbehave.models.ensemble.elastic_net import Block, Penalty, fit_penalised
from ecbehave.models.labels import pooled
from ecbehave.models.protocol import InputType, Options
from ecbehave.models.search import Choice, Domain, Real
from ecbehave.models.storage import load_json, reading, save_json

Floats = NDArray[np.float64]

_ROWS_PER_BLOCK = 16_384
#: What `strength: auto` tries, each fit starting from the one before; the first one leaves next to nothing.
_STRENGTHS = (0.1, 0.03, 0.01, 0.003, 0.001, 0.0003, 0.0001)
#: Worse log losses in a row after which weaker penalties are not tried.
_PATIENCE = 2
#: Stands in for `auto` where there is no window to choose by.
_USUAL_STRENGTH = 0.003
_USUAL_L1_SHARE = 0.5


class LogisticConfig(ModelConfig):
    """Logistic regression (L1, L2, elastic net)."""

    kind: Literal["logistic"]
    penalty: Literal["l1", "l2", "elastic_net"] = "l2"
    """On the coefficients of features of equal spread: their sizes (`l1`, which leaves features out), their squares
    (`l2`), or both (`elastic_net`)."""
    strength: Literal["auto"] | Annotated[float, Field(gt=0)] = "auto"
    """Weight of the penalty next to the mean log loss of a row; `auto` takes the best one of the validation window."""
    l1_share: Annotated[float, Field(gt=0, lt=1)] = _USUAL_L1_SHARE
    """Share of the sizes in the penalty; for `penalty: elastic_net`."""
    positive_weight: PositiveWeight = 1.0
    """Weight of a row with label 1, where one with label 0 weighs 1; `balanced` gives both labels the same total."""

    @model_validator(mode="after")
    def _has_use_for_share(self) -> Self:
        # Not `model_fields_set`: a stored config says all of its keys.
        if self.l1_share != _USUAL_L1_SHARE and self.penalty != "elastic_net":
            raise ValueError("l1_share is for penalty: elastic_net; take it out, or set penalty")
        return self


class Logistic:
    """The score is the log-odds; a feature's term is 0 at its mean, and where it is unknown.

    Columns are brought to the same spread here, whatever `features.normalise` says: the penalty is to be fair.
    """

    config_class: ClassVar[type[ModelConfig]] = LogisticConfig
    inputs: ClassVar[Mapping[str, InputType]] = {"binary": "table", "ranking": "table"}
    transform: ClassVar[Transform] = Transform(
        encode="one_hot", log=True, impute="median", missing_flags=True
    )
    search: ClassVar[Mapping[str, Domain]] = {
        "penalty": Choice(("l1", "l2", "elastic_net")),
        "strength": Real(1e-5, 0.3, log=True),
    }

    def __init__(self, config: LogisticConfig) -> None:
        self.config = config
        self.features_: tuple[str, ...] = ()
        self.centres_, self.spreads_ = np.empty(0), np.empty(0)
        """[F], of the train rows."""
        self.coefficients_ = np.empty(0)
        """[F], for columns as they are."""
        self.intercept_ = 0.0
        """Score of a row with the means."""
        self.strength_ = 0.0

    def fit(self, train: Sequence[TableInput], valid: Sequence[TableInput], options: Options) -> Self:
        """Fit the coefficients; without a validation window with the strength that the fit before has chosen.

        Raises:
            DataError: there is only one class.
        """
        del options
        from threadpoolctl import threadpool_limits

        table = pooled(train)
        self.features_ = table.features
        self._measure(table)
        # The last digit of a sum over a million rows depends on the number of threads that add it up.
        with threadpool_limits(1):
            if self.config.strength == "auto" and valid:
                self._choose(table, TableInput.concat(valid))
            else:
                said = self.config.strength
                self.strength_ = (self.strength_ or _USUAL_STRENGTH) if said == "auto" else said
                self._learn(table, self.strength_, self._start(table))
        return self

    def _measure(self, table: TableInput) -> None:
        columns = (_column(table, feature) for feature in table.features)
        self.centres_, self.spreads_ = np.array([_centre_and_spread(column) for column in columns]).T

    def _choose(self, table: TableInput, later: TableInput) -> None:
        """Take the strength with the least log loss on a later window."""
        factor = positive_factor(self.config.positive_weight, table.label)
        weight = row_weights(later.label, factor)
        at, best, n_worse = self._start(table), np.inf, 0
        found = (at, _STRENGTHS[0])
        for strength in _STRENGTHS:
            at = self._learn(table, strength, at)
            loss = log_loss(later.label, expit(self._score(later)), weight)
            n_worse = 0 if loss < best else n_worse + 1
            if loss < best:
                best, found = loss, (at, strength)
            if n_worse == _PATIENCE:
                break
        at, self.strength_ = found
        self._take(at)

    def _start(self, table: TableInput) -> Floats:
        factor = positive_factor(self.config.positive_weight, table.label)
        n_positive = float(table.label.sum())
        intercept = np.log(factor * n_positive / (table.n_rows - n_positive))
        return np.append(np.zeros(len(table.features)), intercept)

    def _learn(self, table: TableInput, strength: float, start: Floats) -> Floats:
        """Fit with one strength; returns the coefficients of columns with the spread 1, and the intercept [F + 1]."""
        l1_share = {"l1": 1.0, "l2": 0.0}.get(self.config.penalty, self.config.l1_share)
        is_penalised = np.append(np.ones(len(table.features)), 0.0)
        penalty = Penalty(strength * l1_share * is_penalised, strength * (1 - l1_share) * is_penalised)
        at = fit_penalised(lambda: self._blocks(table), penalty, start)
        self._take(at)
        return at

    def _take(self, at: Floats) -> None:
        self.coefficients_, self.intercept_ = at[:-1] / self.spreads_, float(at[-1])

    def _blocks(self, table: TableInput) -> Iterator[Block]:
        """Give the design of some rows after another, so that it never takes the memory of all."""
        factor = positive_factor(self.config.positive_weight, table.label)
        for first in range(0, table.n_rows, _ROWS_PER_BLOCK):
            rows = table.frame[first : first + _ROWS_PER_BLOCK]
            label = rows["label"].to_numpy()
            known = rows.select(pl.col(table.features).cast(pl.Float64).fill_null(np.nan)).to_numpy()
            design = np.ones((rows.height, len(table.features) + 1))
            design[:, :-1] = np.nan_to_num((known - self.centres_) / self.spreads_, nan=0.0)
            weight = row_weights(label, factor)
            yield design, label.astype(np.float64), np.ones(rows.height) if weight is None else weight

    def predict(self, data: TableInput, k: int = 0) -> pl.DataFrame:
        """Return the keys with the log-odds as `score`."""
        del k
        return data.keys.with_columns(score=pl.Series(self._score(data), dtype=pl.Float64))

    def _score(self, data: TableInput) -> Floats:
        # One term after the other: a matrix product would round a row differently in other company.
        score = np.full(data.n_rows, self.intercept_)
        for n, coefficient in enumerate(self.coefficients_):
            if coefficient:
                score += self._term(data, n)
        return score

    def _term(self, data: TableInput, n: int) -> Floats:
        column = _column(data, self.features_[n])
        term: Floats = np.nan_to_num((column - self.centres_[n]) * self.coefficients_[n], nan=0.0)
        return term

    def contributions(self, data: TableInput) -> Floats:
        """Return the terms [N, F + 1]; the last column is the score of a row with the means of the train rows."""
        terms = [self._term(data, n) for n in range(len(self.features_))]
        return np.column_stack([*terms, np.full(data.n_rows, self.intercept_)])

    def importance(self) -> Mapping[str, float]:
        """Return each feature's share of all the coefficients, of columns with the same spread."""
        size = np.abs(self.coefficients_ * self.spreads_)
        return dict(zip(self.features_, (size / max(size.sum(), 1e-12)).tolist(), strict=True))

    def save(self, folder: Path) -> None:
        """Write the coefficients, and where each column's term is 0."""
        stored = {
            "features": self.features_,
            "coefficients": self.coefficients_.tolist(),
            "centres": self.centres_.tolist(),
            "spreads": self.spreads_.tolist(),
            "intercept": self.intercept_,
            "strength": self.strength_,
        }
        save_json(folder / "logistic.json", stored)

    @classmethod
    def load(cls, folder: Path, config: LogisticConfig) -> Self:
        """Read what `save` wrote."""
        model = cls(config)
        stored = load_json(folder / "logistic.json")
        with reading(folder / "logistic.json"):
            model.features_ = tuple(stored["features"])
            model.coefficients_, model.centres_, model.spreads_ = (
                np.array([float(number) for number in stored[name]])
                for name in ("coefficients", "centres", "spreads")
            )
            model.intercept_, model.strength_ = float(stored["intercept"]), float(stored["strength"])
        return model


def _column(table: TableInput, feature: str) -> Floats:
    """Return a feature [N]; NaN is unknown."""
    return table.frame[feature].cast(pl.Float64).fill_null(np.nan).to_numpy()


def _centre_and_spread(column: Floats) -> tuple[float, float]:
    """Return the mean of what is known, and the deviation where the mean stands in for what is not."""
    is_known = ~np.isnan(column)
    if not is_known.any():
        return 0.0, 1.0
    known = column[is_known]
    centre = float(known.mean())
    # The deviation of equal values is not 0 but rounding.
    spread = 1.0 if np.ptp(known) == 0 else float(np.sqrt(((known - centre) ** 2).sum() / column.size))
    return centre, spread
