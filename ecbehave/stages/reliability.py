"""Do probabilities mean what they say? On all test rows, by segment, and where the base rate drifts between windows."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np
import polars as pl

from ecbehave.artifacts import Artifact
from ecbehave.errors import ConfigError
from ecbehave.inputs.feature_names import ANY, FeatureName
from ecbehave.inputs.titles import title
from ecbehave.inputs.types import TableInput
from ecbehave.metrics.chance import calibration_chance, odds_ratio, z_of_two_rates
from ecbehave.metrics.classification import calibration_error, reliability
from ecbehave.metrics.known_rates import at_known_rates
from ecbehave.metrics.segments import by_segment, segments
from ecbehave.schema import TARGETS
from ecbehave.stages import features
from ecbehave.windows import label

#: A base rate drifts where its odds change by more than this factor, and by more than chance (95 %).
DRIFT_FACTOR = 1.2
_Z = 1.96
#: Of what segments tell by default: how long ago, and how often.
_MEASURES = ("recency_days", "days")


def calibration_facts(rows: pl.DataFrame, seed: int) -> dict[str, Any]:
    """Return the calibration error of model and baseline, beside what chance alone does on as many rows.

    And what of it would remain, had the base rate of each cutoff been known, which no method can know.

    Args:
        rows: `cutoff`, `label`, `probability`, `baseline_probability` of the test rows.
        seed: of the draws.
    """
    y = rows["label"]
    facts: dict[str, Any] = {
        side: {
            "error": calibration_error(y, rows[column]),
            "at_known_rates": calibration_error(y, at_known_rates(y, rows[column], rows["cutoff"])),
            "chance": calibration_chance(rows[column], np.random.default_rng(seed)),
        }
        for side, column in (("model", "probability"), ("baseline", "baseline_probability"))
    }
    return facts | {"bins": reliability(y, rows["probability"]).to_dicts()}


def segment_facts(
    test: TableInput, rows: pl.DataFrame, wanted: Sequence[str] | None, timezone: str
) -> list[dict[str, Any]]:
    """Return how the probabilities do in each segment of the test rows, and at each of several test cutoffs.

    Args:
        test: the test rows with their features.
        rows: `cutoff`, `label` and `probability` of the same rows, in the same order.
        wanted: features or attributes; None for how long ago and how often the user had events.
        timezone: the shop's calendar.

    Raises:
        ConfigError: one of them is not in the table.
    """

    def facts(feature: str, in_words: str, segment: pl.Series) -> dict[str, Any]:
        of_segment = by_segment(rows["label"], rows["probability"], segment).to_dicts()
        return {"feature": feature, "in_words": in_words, "segments": of_segment}

    found = [
        facts(feature, title(FeatureName.parse(feature)), segments(test.frame[feature]))
        for feature in _chosen(test.features, wanted)
    ]
    cutoffs = rows["cutoff"].unique().sort().to_list()
    if len(cutoffs) > 1:
        named = rows["cutoff"].replace_strict(
            {c: label(c, timezone) for c in cutoffs}, return_dtype=pl.String
        )
        found.append(facts("cutoff", "test cutoff", named))
    return found


def _chosen(known: Sequence[str], wanted: Sequence[str] | None) -> list[str]:
    """Return the features that segments go by."""
    if wanted is None:
        things = [f"{target.removesuffix('_id')}_" for target in TARGETS] + [""]
        usual = [[f"{t}{m}_{e}_all" for t in things for e in ("purchase", ANY)] for m in _MEASURES]
        return [next(name for name in names if name in known) for names in usual if set(names) & set(known)]
    chosen = []
    for name in wanted:
        names = [name, str(FeatureName("attribute", name))]
        feature = next((n for n in names if n in known), None)
        if feature is None:
            close = get_close_matches(name, known, 1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ConfigError(
                f"evaluate.segments: the table has no feature or attribute {name!r}{hint} `ecbehave config features` "
                f"lists what there can be"
            )
        chosen.append(feature)
    return chosen


@dataclass(frozen=True)
class Drift:
    """The base rate from one split's windows to those of the next."""

    earlier: str
    later: str
    earlier_rate: float
    later_rate: float
    z: float
    odds_ratio: float

    @property
    def is_drift(self) -> bool:
        """Whether it is more than chance, and more than `DRIFT_FACTOR`."""
        factor = max(self.odds_ratio, 1 / self.odds_ratio)
        return abs(self.z) > _Z and factor > DRIFT_FACTOR

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers, for `metrics.json`."""
        return asdict(self) | {"is_drift": self.is_drift}

    def in_words(self) -> str:
        """Say what drifts, and what it means."""
        rises = self.later_rate > self.earlier_rate
        before, after = (f"{100 * rate:.1f} %" for rate in (self.earlier_rate, self.later_rate))
        return (
            f"the base rate {'rises' if rises else 'falls'} from {before} in the {self.earlier} to {after} in the "
            f"{self.later} windows, by more than chance (z = {self.z:.1f}) and by more than a factor of "
            f"{DRIFT_FACTOR:g} in the odds, so that probabilities learned before are too {'low' if rises else 'high'} "
            f"after it. If such weeks come and go, set split.validation higher: calibration then learns from several "
            f"windows"
        )


def drifts(inputs: Artifact, timezone: str) -> list[Drift]:
    """Return how the base rate changes from the train to the validation and from there to the test windows."""
    sums = {}
    for split in ("train", "validation", "test"):
        places = features.places_of(inputs, split, timezone)
        sums[split] = tuple(
            sum(inputs.counts[f"{p}.{what}"] for p in places) for what in ("positives", "rows")
        )
    found = []
    for earlier, later in (("train", "validation"), ("validation", "test")):
        (positives, rows), (later_positives, later_rows) = sums[earlier], sums[later]
        if not rows or not later_rows:
            continue
        sides = (positives, later_positives), (rows, later_rows)
        rates = positives / rows, later_positives / later_rows
        found.append(Drift(earlier, later, *rates, z_of_two_rates(*sides), odds_ratio(*sides)))
    return found
