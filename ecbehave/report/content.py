"""What the evaluation page shows, as plain frozen data that a stage fills in.

Nothing here knows where the numbers come from, and nothing knows how they are drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ecbehave.report.binary_content import BinaryDetail
from ecbehave.report.compared import MetricRow, Verdict
from ecbehave.report.numbers import Unit
from ecbehave.report.ranking_content import RankingDetail
from ecbehave.report.rating_content import RatingDetail


@dataclass(frozen=True)
class SplitRow:
    """One split: its cutoffs and label days in words, and its rows."""

    name: str
    cutoffs: str
    label_days: str
    n_rows: int
    n_positive: int | None = None
    base_rate: float | None = None


@dataclass(frozen=True)
class CountRow:
    """How many rows there are at one point on the way from the raw file to the score."""

    stage: str
    name: str
    rows: int
    note: str = ""


@dataclass(frozen=True)
class CutoffRow:
    """The deciding metric at one test cutoff."""

    cutoff: str
    n_rows: int
    model: float | None
    baseline: float | None


@dataclass(frozen=True)
class SpreadRow:
    """A metric from one test cutoff to the next."""

    label: str
    model: "OverCutoffs"
    baseline: "OverCutoffs"
    n_better: int
    """Cutoffs at which the model is better than the baseline."""
    unit: Unit = "ratio"


@dataclass(frozen=True)
class OverCutoffs:
    """A metric of one model over the cutoffs at which it is defined; None where there are too few."""

    n: int
    mean: float | None
    deviation: float | None
    """Standard deviation from cutoff to cutoff."""
    low: float | None
    high: float | None


@dataclass(frozen=True)
class TrialRow:
    """Settings that tuning tried."""

    number: int
    """From 1 on; the first ones are the config's own."""
    settings: Sequence[str]
    """Value by value, in the order of `Tuning.keys`."""
    scores: Sequence[float]
    """The metric at each origin."""


@dataclass(frozen=True)
class Tuning:
    """What tuning tried, and what it came to."""

    metric: str
    """E.g. `AUROC`."""
    origins: Sequence[str]
    """Cutoffs at which each trial was judged."""
    keys: Sequence[str]
    """Keys of the model that were searched."""
    n_trials: int
    n_pruned: int
    n_failed: int
    best: TrialRow | None
    """None where no trial ended in time."""
    given: TrialRow | None
    """The config's own settings; None where they could not be judged."""
    others: Sequence[TrialRow] = ()
    """The next best ones, best first."""
    importance: Sequence[tuple[str, float]] = ()
    """Key, and what share of the differences between trials it makes; the most important one first."""


@dataclass(frozen=True)
class TrainedNet:
    """How the training of a net went, epoch by epoch."""

    name: str
    unit: str
    """What losses are means over, in the plural."""
    loss: Sequence[float]
    metric: Sequence[float]
    """Of the validation window, higher being better; empty where there was none."""
    metric_name: str
    best: int
    """The epoch, from 1, whose weights were kept; 0 where the time was up before the first one was over."""
    ended: str
    """`epochs`, `patience`, `max_seconds` or `diverged`."""


@dataclass(frozen=True)
class Importance:
    """What the model looks at; `in_words` says how the numbers are computed."""

    features: Sequence[tuple[str, float]]
    """Name and importance, in any order."""
    in_words: str


@dataclass(frozen=True)
class FamilyRow:
    """What is lost when a family of features is shuffled."""

    name: str
    in_words: str
    n_features: int
    drop: float
    """Mean over the shuffles."""
    spread: float
    """Standard deviation over the shuffles."""


@dataclass(frozen=True)
class Permutation:
    """What the scores rest on, by family."""

    families: Sequence[FamilyRow]
    """The largest drop first."""
    auroc: float
    """With nothing shuffled, on the rows that are looked at."""
    repeats: int
    n_rows: int
    n_users: int
    is_sample: bool
    """Whether users were drawn; otherwise these are all test rows."""


@dataclass(frozen=True)
class ExampleRow:
    """A test row, what the model says of it and why, and what came of it."""

    keys: Sequence[str]
    score: float
    probability: float
    reasons: Sequence[str]
    is_positive: bool


@dataclass(frozen=True)
class Examples:
    """A few test rows of one cutoff."""

    cutoff: str
    keys: Sequence[str]
    """Names of the keys, e.g. `user_id`."""
    outcome: str
    """What the label asks, e.g. `Churned?`."""
    rows: Sequence[ExampleRow]
    """The highest score first."""


@dataclass(frozen=True)
class LeftOut:
    """Features that the model was not given."""

    n_features: int
    """All features of the table."""
    reasons: Sequence[tuple[str, str, str]]
    """Feature, the rule that left it out (`constant`, `near-duplicate`, `rank`), and what the rule says of it."""


@dataclass(frozen=True)
class Report:
    """Everything the evaluation page shows."""

    title: str
    verdict: Verdict
    label_in_words: str
    population_in_words: str
    model: str
    """Kind of the model, e.g. `boosting`."""
    baseline: str
    """Kind of the baseline, e.g. `rfm`."""
    metrics: Sequence[MetricRow]
    """The first one is the one that the verdict speaks of; rows of one group stand together."""
    detail: BinaryDetail | RankingDetail | RatingDetail
    splits: Sequence[SplitRow]
    """In time order; the last one is the one judged."""
    counts: Sequence[CountRow]
    """From raw file to score; rows of one stage stand together."""
    facts: Sequence[tuple[str, str]] = ()
    per_cutoff: Sequence[CutoffRow] = ()
    spread: Sequence[SpreadRow] = ()
    """The same metrics over all test cutoffs; empty where there is one."""
    tuning: Tuning | None = None
    training: Sequence[TrainedNet] = ()
    """The nets that the model is made of, in the order in which they were trained."""
    importance: Importance | None = None
    permutation: Permutation | None = None
    examples: Examples | None = None
    left_out: LeftOut | None = None
    notes: Sequence[str] = ()
    config_yaml: str = ""
