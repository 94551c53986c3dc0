"""The day that begins at the cutoff, in the shop's calendar."""

from calendar import monthrange
from collections.abc import Callable
from datetime import date, datetime

from ecbehave.inputs.feature_names import FeatureName
from ecbehave.inputs.scene import Columns, Scene
from ecbehave.windows import local_day

_PARTS: dict[str, Callable[[date], int]] = {
    "calendar_month": lambda day: day.month,
    "calendar_day": lambda day: day.day,
    "calendar_weekday": lambda day: day.isoweekday(),
    "calendar_left": lambda day: monthrange(day.year, day.month)[1] - day.day,
}


def build(scene: Scene) -> Columns:
    """Yield the parts of the date; they are the same for all users of a cutoff."""

    def of_day(part: Callable[[date], int]) -> Callable[[datetime], int]:
        return lambda cutoff: part(local_day(cutoff, scene.timezone))

    for measure, part in _PARTS.items():
        yield FeatureName(measure, "cutoff"), scene.asked.each(of_day(part))
