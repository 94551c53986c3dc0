"""What the stages that judge share: the fits that are judged, and what comes of it."""

from dataclasses import dataclass, field
from typing import Any

import polars as pl

from ecbehave.inputs.types import Inputs
from ecbehave.metrics.bootstrap import Comparison
from ecbehave.models.protocol import Predictor
from ecbehave.report.content import Examples
from ecbehave.tasks import Task


@dataclass(frozen=True)
class Fitted:
    """A fit of the model and one of its baseline, and the test windows that both are judged on."""

    tests: list[Inputs]
    sides: list[tuple[Predictor, dict[str, Any]]]
    """The model and what is known of it, then the baseline."""
    known_items: pl.Series
    """`item_id` of every item that they were fitted with; empty where they read no matrix."""


@dataclass(frozen=True)
class Judged:
    """The model beside its baseline on all test windows."""

    task: Task
    headline: str
    comparison: Comparison
    rows: pl.DataFrame
    """Per-row test scores (binary), or per-user metrics (ranking)."""
    per_cutoff: list[dict[str, Any]]
    facts: dict[str, Any] = field(default_factory=dict)
    """Further numbers: thresholds, confusion and what is reached of the truth, or coverage and users left out."""
    examples: Examples | None = None
    """A few test rows with their reasons."""
