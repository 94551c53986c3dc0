"""When a shop is busy: a factor per hour, and the clock that runs at its speed.

On the season's clock every Poisson process of the shop has a constant rate. All instants are seconds since 1970 (UTC),
all times on the clock are days, and a day of average business takes one.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ecbehave.simulate.settings import DAY

Floats = NDArray[np.float64]

HOUR = 3_600
#: From Monday on.
_WEEKDAYS = np.array([0.95, 0.92, 0.94, 0.98, 1.05, 1.14, 1.02])
#: From midnight on: quiet nights, a rise at noon, most of it in the evening.
_HOURS = np.array(
    [
        *(0.35, 0.2, 0.12, 0.1, 0.12, 0.2, 0.4, 0.7, 0.95, 1.1, 1.2, 1.25),
        *(1.35, 1.25, 1.15, 1.15, 1.2, 1.3, 1.5, 1.8, 2.0, 1.9, 1.45, 0.8),
    ]
)
_YEARLY = 0.15
_SUMMER_LOW = 196
_THURSDAY = 3


@dataclass(frozen=True)
class Season:
    """Factors of consecutive hours."""

    start: int
    """Instant at which the first hour begins."""
    factors: Floats
    """Intensity of each hour, relative to an average one."""

    @classmethod
    def of(cls, start: int, n_days: int) -> "Season":
        """Return the season of `n_days` from midnight `start` on: weekday x hour of the day x yearly wave."""
        days = start // DAY + np.arange(n_days)
        # 1 January 1970 was a Thursday; the wave needs no leap years.
        weekly = _WEEKDAYS[(days + _THURSDAY) % 7] / _WEEKDAYS.mean()
        yearly = 1 - _YEARLY * np.cos(2 * np.pi * (days % 365.25 - _SUMMER_LOW) / 365.25)
        return cls(start, np.outer(weekly * yearly, _HOURS / _HOURS.mean()).ravel())

    @property
    def end(self) -> int:
        """Return the instant at which the last hour ends."""
        return self.start + len(self.factors) * HOUR

    def _marks(self) -> tuple[Floats, Floats]:
        instants = self.start + np.arange(len(self.factors) + 1, dtype=np.float64) * HOUR
        return instants, np.concatenate(([0.0], np.cumsum(self.factors) * (HOUR / DAY)))

    def elapsed(self, instants: ArrayLike) -> Floats:
        """Return the time on the clock since `start`; before it 0, and after the end no more than there."""
        marks, clock = self._marks()
        return np.interp(np.asarray(instants, dtype=np.float64), marks, clock)

    def instants(self, elapsed: ArrayLike) -> Floats:
        """Return the instants at which the clock shows `elapsed`."""
        marks, clock = self._marks()
        return np.interp(np.asarray(elapsed, dtype=np.float64), clock, marks)

    def pieces(self, start: float, end: float) -> list[tuple[float, float]]:
        """Return the stretches of constant intensity between two instants, as (days, factor)."""
        inner = np.arange(np.floor(start / HOUR) + 1, np.ceil(end / HOUR)) * HOUR
        edges = np.concatenate(([start], inner, [end]))
        hours = ((edges[:-1] - self.start) // HOUR).astype(np.int64)
        lengths = np.diff(edges) / DAY
        return list(zip(lengths.tolist(), self.factors[hours].tolist(), strict=True))
