"""What the evaluation page shows, as plain frozen data that a stage fills in.

Nothing here knows where the numbers come from, and nothing knows how they are drawn.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from ecbehave.report.numbers import Unit, decimals_for, difference_in_unit, in_unit, interval

Standing = Literal["better", "unclear", "worse", "undefined"]
"""How the model stands to its baseline; `unclear` when the interval of the difference contains zero."""


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval; `None`, also given as NaN, is not defined."""

    value: float | None = None
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        # A metric without a value is NaN in a table; the page has one word for it.
        for name in ("value", "low", "high"):
            number = getattr(self, name)
            if number is not None and not math.isfinite(number):
                object.__setattr__(self, name, None)

    @property
    def width(self) -> float | None:
        """Return high minus low, where both are defined."""
        return None if self.low is None or self.high is None else self.high - self.low

    def negated(self) -> "Interval":
        """Return the interval of the value with the other sign."""

        def minus(x: float | None) -> float | None:
            return None if x is None else -x

        return Interval(minus(self.value), minus(self.high), minus(self.low))


@dataclass(frozen=True)
class MetricRow:
    """One metric of the model beside its baseline."""

    name: str
    """The metric's key in `metrics.json`, e.g. `auroc`."""
    label: str
    """The metric's name for people, e.g. `AUROC`."""
    model: Interval
    baseline: Interval
    difference: Interval
    """Model minus baseline, in the metric's own direction, with its paired interval."""
    lower_is_better: bool = False
    unit: Unit = "ratio"
    group: str = ""
    """Heading under which the row stands in the table, e.g. `New items`."""
    note: str = ""
    """What else is to know of the metric, in a few words."""

    @property
    def improvement(self) -> Interval:
        """Return the difference with the sign turned so that above zero is better."""
        return self.difference.negated() if self.lower_is_better else self.difference

    @property
    def standing(self) -> Standing:
        """Return how the model stands to its baseline in this metric."""
        gain = self.improvement
        if self.model.value is None or self.baseline.value is None or gain.value is None:
            return "undefined"
        if gain.low is not None and gain.low > 0:
            return "better"
        if gain.high is not None and gain.high < 0:
            return "worse"
        return "unclear"

    @property
    def decimals(self) -> int:
        """Return the decimals of all numbers of the row: enough to see the difference."""
        return decimals_for(self.unit, self.difference.width)


@dataclass(frozen=True)
class Verdict:
    """The first line of the page."""

    standing: Standing
    text: str


def verdict(
    row: MetricRow, baseline: str, undefined_because: str = "the test rows hold one class only"
) -> Verdict:
    """Say in one sentence whether the model beats its baseline.

    Args:
        row: the metric that decides.
        baseline: kind of the baseline, e.g. `rfm`.
        undefined_because: why the metric has no value, for the case that it has none.
    """
    standing = row.standing
    if standing == "undefined":
        return Verdict(
            standing,
            f"The model cannot be compared with the baseline {baseline}: "
            f"{row.label} is not defined, because {undefined_because}.",
        )
    opening = {
        "better": "The model beats the baseline",
        "unclear": "The model does NOT clearly beat the baseline",
        "worse": "The model is worse than the baseline",
    }[standing]
    model, rule = (in_unit(side.value, row.unit, row.decimals) for side in (row.model, row.baseline))
    return Verdict(
        standing, f"{opening} {baseline}: {row.label} {model} against {rule}, {_by_how_much(row)}."
    )


def _by_how_much(row: MetricRow) -> str:
    gain = row.improvement
    is_loss = gain.value is not None and gain.value < 0
    shown = gain.negated() if is_loss else gain
    size = difference_in_unit(shown.value, row.unit, row.decimals)
    if size == difference_in_unit(0, row.unit, row.decimals):
        change = "no difference"
    else:
        change = f"{'worse' if is_loss else 'better'} by {size}"
    bounds = interval(shown.low, shown.high, row.unit, row.decimals)
    if not bounds:
        return f"{change} (without an interval)"
    zero = ", which contains zero" if row.standing == "unclear" else ""
    return f"{change} (95 % interval {bounds}{zero})"


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


@dataclass(frozen=True)
class BarAtK:
    """One metric of the ranking at one length of the list."""

    k: int
    model: Interval
    baseline: Interval


@dataclass(frozen=True)
class RankingPlot:
    """One metric of the ranking, e.g. `NDCG`, at every k."""

    label: str
    bars: Sequence[BarAtK]
    unit: Unit = "ratio"


@dataclass(frozen=True)
class RankingDetail:
    """Plots of a ranking task."""

    plots: Sequence[RankingPlot]


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
    detail: BinaryDetail | RankingDetail
    splits: Sequence[SplitRow]
    """In time order; the last one is the one judged."""
    counts: Sequence[CountRow]
    """From raw file to score; rows of one stage stand together."""
    facts: Sequence[tuple[str, str]] = ()
    per_cutoff: Sequence[CutoffRow] = ()
    spread: Sequence[SpreadRow] = ()
    """The same metrics over all test cutoffs; empty where there is one."""
    tuning: Tuning | None = None
    importance: Importance | None = None
    permutation: Permutation | None = None
    examples: Examples | None = None
    left_out: LeftOut | None = None
    notes: Sequence[str] = ()
    config_yaml: str = ""
