"""The search space of a kind: which values tuning may try for each of its parameters.

A kind declares `search: ClassVar[Mapping[str, Domain]]`; the names are fields of its config. Nothing is
imported here, so that a kind may declare its space without the tuning library being installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

Scalar = bool | int | float | str | None


@dataclass(frozen=True)
class Whole:
    """Whole numbers from `low` to `high`, both included; evenly on a log scale if `log`."""

    low: int
    high: int
    log: bool = False
    share_of_rows: float | None = None
    """For a number of rows: `high` is no more than this share of those that a fit learns from."""


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


def for_rows(space: Mapping[str, Domain], n_rows: int) -> dict[str, Domain]:
    """Return what is worth a search where a fit learns from so many rows."""
    return {key: _for_rows(domain, n_rows) for key, domain in space.items()}


def _for_rows(domain: Domain, n_rows: int) -> Domain:
    if not isinstance(domain, Whole) or domain.share_of_rows is None:
        return domain
    high = min(domain.high, max(int(domain.share_of_rows * n_rows), 2))
    return replace(domain, low=min(domain.low, max(high // 5, 1)), high=high)
