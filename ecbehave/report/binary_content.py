"""What the evaluation page shows of a yes-or-no task: its plots and tables, as plain frozen data."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ecbehave.report.compared import Interval


@dataclass(frozen=True)
class Curve:
    """A line: `x` ascends or descends, `y` belongs to it point by point; `name` goes into the legend."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True)
class CalibrationBin:
    """Rows with about the same probability."""

    mean_probability: float
    observed_rate: float
    n_rows: int


@dataclass(frozen=True)
class ScoreHistogram:
    """How many rows of each class fall between neighbouring edges."""

    edges: Sequence[float]
    """Ascending, one more than there are bins."""
    positives: Sequence[int]
    negatives: Sequence[int]

    @classmethod
    def of(cls, scores: NDArray[np.float64], is_positive: NDArray[np.bool_], n_bins: int = 40) -> Self:
        """Count scores of shape (rows,) into equal bins from zero, or the lowest score, to the highest."""
        low = min(0.0, float(scores.min(initial=0)))
        high = max(float(scores.max(initial=0)), low + 1e-9)
        edges = np.linspace(low, high, n_bins + 1)
        positives, negatives = (np.histogram(scores[m], edges)[0] for m in (is_positive, ~is_positive))
        return cls(edges.tolist(), positives.tolist(), negatives.tolist())


@dataclass(frozen=True)
class Confusion:
    """Counts of rows that are flagged, and of the others."""

    tp: int
    fp: int
    fn: int
    tn: int
    threshold: float | None
    """Probability from which a row is flagged; None where so many rows are, whatever their probability."""
    origin: str = ""
    """Where the threshold comes from; without one, who is flagged: `The 500 highest scores of each cutoff`."""


@dataclass(frozen=True)
class SegmentRow:
    """Rows that have something in common, e.g. a category."""

    feature: str
    """What they have in common, in words; rows of one feature stand together."""
    segment: str
    n_rows: int
    mean_probability: float
    observed_rate: float
    chance: float
    """How far the two are apart by chance alone, in 95 % of all cases where the probabilities are right."""

    @property
    def error(self) -> float:
        """Return mean probability minus observed rate."""
        return self.mean_probability - self.observed_rate


@dataclass(frozen=True)
class Profit:
    """What targeting would have brought on the test rows, in the shop's currency."""

    curves: Sequence[Curve]
    """Share of rows, highest scores first, against what targeting them brings; the model first."""
    n_targeted: int
    model: Interval
    baseline: Interval
    difference: Interval
    """Model minus baseline."""
    expected: float
    """What the model's probabilities promised for the rows that it targets."""
    everybody: float
    """What targeting all rows would have brought."""


@dataclass(frozen=True)
class DecileRow:
    """A tenth of the rows by score; decile 1 has the highest scores. Ties make counts fractional."""

    decile: int
    n_rows: float
    n_positive: float
    mean_probability: float | None = None


@dataclass(frozen=True)
class BinaryDetail:
    """Plots and tables of a yes-or-no task.

    Curves come with the model first and the baseline next, and are empty where they are not defined.
    """

    positives: str
    """Who the label is true for, plural: `churners`."""
    negatives: str
    """Who it is false for, plural: `non-churners`."""
    n_rows: int
    n_positive: int
    roc: Sequence[Curve] = ()
    """False positive rate against true positive rate."""
    precision_recall: Sequence[Curve] = ()
    """Recall against precision."""
    gains: Sequence[Curve] = ()
    """Share of rows, highest scores first, against share of positives among them."""
    calibration: Sequence[CalibrationBin] = ()
    calibration_error: float | None = None
    calibration_chance: float | None = None
    """Calibration error that a perfectly calibrated model stays under in 95 % of all cases."""
    segments: Sequence[SegmentRow] = ()
    profit: Profit | None = None
    scores: ScoreHistogram | None = None
    confusion: Confusion | None = None
    deciles: Sequence[DecileRow] = ()

    @property
    def base_rate(self) -> float:
        """Return the share of positives."""
        return self.n_positive / max(1, self.n_rows)
