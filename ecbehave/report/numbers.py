"""Numbers as people read them: thousands separators, as many digits as the uncertainty allows."""

import math
from typing import Literal

NOT_DEFINED = "n/a"

Unit = Literal["ratio", "percent", "times"]
"""`ratio` 0.851, `percent` 85.1 % of a stored 0.851, `times` 3.42x."""

_SCALE: dict[Unit, float] = {"ratio": 1, "percent": 100, "times": 1}
_SUFFIX: dict[Unit, str] = {"ratio": "", "percent": " %", "times": "x"}
_DIFFERENCE_SUFFIX: dict[Unit, str] = {"ratio": "", "percent": " points", "times": "x"}
_MIN_DECIMALS: dict[Unit, int] = {"ratio": 3, "percent": 1, "times": 2}
_MAX_DECIMALS = 6


def count(n: int | None) -> str:
    """Write a number of things: `1,469,307`."""
    return NOT_DEFINED if n is None else f"{n:,}"


def share_of_rows(n: float) -> str:
    """Write a number of rows that a tie may have split: `189.2`, but `190`."""
    return f"{n:,.1f}".removesuffix(".0")


def fixed(value: float | None, decimals: int = 3) -> str:
    """Write a number with this many decimals, never as `-0.000`."""
    if value is None:
        return NOT_DEFINED
    return f"{round(value, decimals) + 0.0:,.{decimals}f}"


def money(value: float | None) -> str:
    """Write an amount in the shop's currency: `1,204`, but `12.30` where cents count."""
    if value is None:
        return NOT_DEFINED
    return fixed(value, 0 if abs(value) >= 100 else 2)


def percent(value: float | None, decimals: int = 1) -> str:
    """Write a share of one as `21.3 %`."""
    return NOT_DEFINED if value is None else f"{fixed(value * 100, decimals)} %"


def significant(value: float, digits: int = 3) -> str:
    """Write a number of unknown size: `0.0123`, `1.23`, `12,300`."""
    if value == 0:
        return "0"
    decimals = digits - 1 - math.floor(math.log10(abs(value)))
    return fixed(round(value, decimals), max(0, decimals))


def decimals_for(unit: Unit, width: float | None) -> int:
    """Return the decimals that show an interval of this `width` (stored units) with two digits.

    Never fewer than the usual ones of the unit: 3 for a ratio, 1 for a percentage, 2 for a multiple.
    """
    usual = _MIN_DECIMALS[unit]
    if not width:
        return usual
    return min(_MAX_DECIMALS, max(usual, math.ceil(-math.log10(width * _SCALE[unit])) + 1))


def in_unit(value: float | None, unit: Unit, decimals: int) -> str:
    """Write a metric's value in its unit."""
    if value is None:
        return NOT_DEFINED
    return f"{fixed(value * _SCALE[unit], decimals)}{_SUFFIX[unit]}"


def in_usual_unit(value: float | None, unit: Unit) -> str:
    """Write a metric's value in its unit, with the usual decimals of the unit."""
    return in_unit(value, unit, _MIN_DECIMALS[unit])


def difference_in_unit(value: float | None, unit: Unit, decimals: int) -> str:
    """Write a difference of two values in their unit; percentages differ by points."""
    if value is None:
        return NOT_DEFINED
    return f"{fixed(value * _SCALE[unit], decimals)}{_DIFFERENCE_SUFFIX[unit]}"


def signed_in_unit(value: float | None, unit: Unit, decimals: int) -> str:
    """Write a difference with its sign: `+0.020`."""
    plus = "+" if value is not None and round(value * _SCALE[unit], decimals) > 0 else ""
    return plus + difference_in_unit(value, unit, decimals)


def interval(low: float | None, high: float | None, unit: Unit, decimals: int) -> str:
    """Write the bounds of an interval without a unit: `0.008 to 0.033`; empty where there is none."""
    if low is None or high is None:
        return ""
    scale = _SCALE[unit]
    return f"{fixed(low * scale, decimals)} to {fixed(high * scale, decimals)}"
