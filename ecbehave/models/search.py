"""The search space of a kind: which values tuning may try for each of its parameters.

A kind declares `search: ClassVar[Mapping[str, Domain]]`; the names are fields of its config. Nothing is
imported here, so that a kind may declare its space without the tuning library being installed.
"""

from __future__ import annotations

from dataclasses import dataclass

Scalar = bool | int | float | str | None


@dataclass(frozen=True)
class Whole:
    """Whole numbers from `low` to `high`, both included; evenly on a log scale if `log`."""

    low: int
    high: int
    log: bool = False


@dataclass(frozen=True)
class Real:
    """Real numbers from `low` to `high`; evenly on a log scale if `log`."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True)
class Choice:
    """One of the listed values."""

    values: tuple[Scalar, ...]


Domain = Whole | Real | Choice
