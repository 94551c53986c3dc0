"""What the evaluation page shows of predicted ratings, as plain frozen data."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class RatingRow:
    """Test rows with the same true rating."""

    rating: float
    n_rows: int
    mean: float
    """Mean of what the model predicts."""
    baseline_mean: float
    rmse: float
    baseline_rmse: float


@dataclass(frozen=True)
class RatingDetail:
    """The table of a rating task."""

    n_rows: int
    rows: Sequence[RatingRow]
    """By true rating, ascending."""
