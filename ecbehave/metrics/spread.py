"""How metrics vary from one test cutoff to the next."""

from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from ecbehave.metrics.bootstrap import LOWER_IS_BETTER, binary_values
from ecbehave.metrics.keyed import KEYS
from ecbehave.metrics.tally import Confusion, Floats, Groups

#: Metric to its value at one cutoff; None where it is undefined.
Values = Mapping[str, float | None]


class Spread(TypedDict):
    """A metric over several cutoffs, each counting once; None where too few are defined."""

    n: int
    """Cutoffs at which it is defined."""
    mean: float | None
    deviation: float | None
    """Standard deviation from one cutoff to the next (of a sample: divided by n - 1)."""
    low: float | None
    """Smallest value."""
    high: float | None
    """Largest value."""


class OverTime(TypedDict):
    """A metric of the model, of its baseline, and of model minus baseline, cutoff by cutoff."""

    model: Spread
    baseline: Spread
    difference: Spread
    n_better: int
    """Cutoffs at which the model is better than its baseline."""


def binary_at(label: ArrayLike, score: ArrayLike, probability: ArrayLike, is_targeted: ArrayLike) -> Values:
    """Return the metrics of a yes-or-no task at one cutoff, by `BINARY_METRICS`; see `classification` for each."""
    scores = Groups.of_scores(label, score).tally()
    probabilities = Groups.of_probabilities(label, probability).tally()
    return _defined(binary_values(scores, probabilities, Confusion.of(label, is_targeted)))


def ranking_at(per_user: pl.DataFrame) -> Values:
    """Return the mean of each metric over the users of one cutoff, from `ranking.per_user`."""
    names = [name for name in per_user.columns if name not in KEYS]
    means = per_user.sort(KEYS).select(pl.col(names).mean()).row(0, named=True)
    return _defined({name: np.nan if value is None else value for name, value in means.items()})


def _defined(values: Mapping[str, float]) -> Values:
    return {name: None if np.isnan(value) else float(value) for name, value in values.items()}


def over_time(model: Sequence[Values], baseline: Sequence[Values]) -> dict[str, OverTime]:
    """Return the spread of each metric over cutoffs.

    Args:
        model: the model's metrics, cutoff by cutoff.
        baseline: the same of the baseline.
    """
    return {name: _over_time(name, _series(model, name), _series(baseline, name)) for name in model[0]}


def _series(at: Sequence[Values], name: str) -> Floats:
    return np.array([values[name] for values in at], dtype=np.float64)


def _over_time(name: str, model: Floats, baseline: Floats) -> OverTime:
    difference = model - baseline
    better = -difference if name in LOWER_IS_BETTER else difference
    return {
        "model": _spread(model),
        "baseline": _spread(baseline),
        "difference": _spread(difference),
        "n_better": int((better > 0).sum()),
    }


def _spread(values: Floats) -> Spread:
    known = values[~np.isnan(values)]
    if not known.size:
        return {"n": 0, "mean": None, "deviation": None, "low": None, "high": None}
    return {
        "n": int(known.size),
        "mean": float(known.mean()),
        "deviation": float(known.std(ddof=1)) if known.size > 1 else None,
        "low": float(known.min()),
        "high": float(known.max()),
    }
