"""When in the day and in the week, on the shop's clock."""

from ecbehave.inputs.facts import ANY
from ecbehave.inputs.feature_names import FeatureName
from ecbehave.inputs.histories import MICROSECONDS_PER_DAY
from ecbehave.inputs.scene import Columns, Scene, share

_QUARTERS = ("night_share", "morning_share", "afternoon_share", "evening_share")
#: 1970-01-01 was a Thursday, the fourth day of the week.
_EPOCH_WEEKDAY = 3


def build(scene: Scene) -> Columns:
    """Yield the shares of each quarter of the day and of the weekend."""
    h, everything = scene.histories, scene.everything
    quarter = h.local % MICROSECONDS_PER_DAY // (MICROSECONDS_PER_DAY // 4)
    marked = {measure: quarter == i for i, measure in enumerate(_QUARTERS)}
    marked["weekend_share"] = (h.day + _EPOCH_WEEKDAY) % 7 >= 5
    counts = everything.counts()
    for measure, flags in marked.items():
        for window, n in everything.totals(flags).items():
            yield FeatureName(measure, ANY, window), share(n, counts[window])
