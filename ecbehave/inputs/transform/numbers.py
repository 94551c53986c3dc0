"""Numbers made ready for a model: logarithm, a value for the unknown, and a scale."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecbehave.config.features import Normalise
from ecbehave.inputs.types import TableInput, Transform

Known = NDArray[np.float64]

#: A longer tail to the right than an exponential's half; counts and money are well above it.
_SKEWED = 1.0


@dataclass(frozen=True)
class Scale:
    """`(log(x) - centre) / width`, the unknown filled in before; the default changes nothing."""

    log: bool = False
    fill: float | None = None
    """Stands in for the unknown, in the unit of the feature; None leaves it unknown."""
    centre: float = 0.0
    width: float = 1.0

    def __post_init__(self) -> None:
        numbers = (self.centre, self.width, 0.0 if self.fill is None else self.fill)
        if not np.isfinite(numbers).all() or self.width <= 0:
            raise ValueError(f"a scale needs finite numbers and a width above 0, not {self}")

    @classmethod
    def fit(cls, known: Known, settings: Transform) -> Self:
        """Learn from the known values [N] of the train rows; without any, the scale changes nothing."""
        log = settings.log and _skewness(known) > _SKEWED
        fill = None if settings.impute == "none" else 0.0
        if settings.impute == "median" and known.size:
            fill = float(np.median(known))
        logged = _logged(known) if log else known
        centre, width = _SCALES[settings.normalise](logged) if known.size else (0.0, 1.0)
        return cls(log, fill, centre, width or 1.0)

    def apply(self, column: pl.Expr) -> pl.Expr:
        """Return the column on the scale, as Float32."""
        if self == Scale():
            return column.cast(pl.Float32)
        value = column.cast(pl.Float64)
        if self.fill is not None:
            value = value.fill_null(self.fill)
        if self.log:
            value = signed_log(value)
        return ((value - self.centre) / self.width).cast(pl.Float32)


@dataclass(frozen=True)
class Numeric:
    """A feature that is a number."""

    feature: str
    scale: Scale
    has_flag: bool
    """There is a column for whether it is unknown."""
    kind: Literal["numeric"] = "numeric"

    @classmethod
    def fit(cls, train: Sequence[TableInput], feature: str, settings: Transform) -> Self:
        """Learn the scale from the train rows."""
        column = pooled_column(train, feature)
        has_flag = settings.missing_flags and column.null_count() > 0
        return cls(feature, Scale.fit(known_values(column), settings), has_flag)

    def columns(self) -> dict[str, pl.Expr]:
        """Return name and formula of each column that a model reads."""
        column = pl.col(self.feature)
        flag = {is_null(self.feature): column.is_null().cast(pl.Float32)} if self.has_flag else {}
        return {self.feature: self.scale.apply(column)} | flag


def pooled_column(train: Sequence[TableInput], feature: str) -> pl.Series:
    """Return a feature of all train rows, without copying it."""
    return pl.concat([part.frame[feature] for part in train], rechunk=False)


def known_values(column: pl.Series) -> Known:
    """Return the values that are known, in the order of the rows."""
    return column.drop_nulls().to_numpy().astype(np.float64)


def is_null(feature: str) -> str:
    """Name the column that says whether a feature is unknown."""
    return f"{feature}=null"


def signed_log(value: pl.Expr) -> pl.Expr:
    """Return log(1 + |x|) with the sign of x."""
    return value.sign() * value.abs().log1p()


def _logged(known: Known) -> Known:
    # By the same code that transforms rows later: another library may round differently.
    return pl.select(signed_log(pl.lit(pl.Series(known)))).to_series().to_numpy()


def _skewness(known: Known) -> float:
    """Return the third standardised moment; 0 where nothing varies."""
    if known.size == 0 or np.ptp(known) == 0:
        return 0.0
    deviation = known - known.mean()
    squared = deviation * deviation
    # A third power by `**` takes thirty times as long.
    return float(np.mean(squared * deviation) / np.mean(squared) ** 1.5)


def _unscaled(known: Known) -> tuple[float, float]:
    del known
    return 0.0, 1.0


def _standard(known: Known) -> tuple[float, float]:
    # The deviation of equal values is not 0 but rounding.
    return float(known.mean()), float(known.std()) if np.ptp(known) else 0.0


def _min_max(known: Known) -> tuple[float, float]:
    return float(known.min()), float(np.ptp(known))


def _robust(known: Known) -> tuple[float, float]:
    """Where half of the values are equal, the middle half has no width; the deviation stands in."""
    low, median, high = np.quantile(known, [0.25, 0.5, 0.75])
    return float(median), float(high - low) or _standard(known)[1]


#: Known values to centre and width; a width of 0 stands for values that are all equal.
_SCALES: dict[Normalise, Callable[[Known], tuple[float, float]]] = {
    "none": _unscaled,
    "standard": _standard,
    "min_max": _min_max,
    "robust": _robust,
}
