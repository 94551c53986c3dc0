"""The section `clean`: what is refused, what is cut, and how bad the data may be."""

import difflib
from datetime import date, timedelta
from typing import Annotated, Literal

from pydantic import Field, field_validator

from ecbehave.config.values import Day, Duration, Section, Share
from ecbehave.schema import EVENT_COLUMNS

OutlierColumn = Literal["price", "quantity", "amount"]


class Outlier(Section):
    """Values above a quantile of all earlier calendar months; the first month is left as it is."""

    quantile: Annotated[float, Field(gt=0.5, lt=1)] = 0.999
    """Share of earlier values below the limit."""
    action: Literal["clip", "quarantine"] = "clip"
    """`clip` lowers the value to the limit, `quarantine` refuses the row."""


class Quality(Section):
    """What the data quality report makes `clean` fail for (exit 3); without a limit, it only reports."""

    max_null_share: dict[str, Share] = {}
    """Column of the log to the largest share of a source's rows in which it may be missing or unreadable."""
    max_duplicate_share: Share | None = None
    """Largest share of a source's rows that may be exact duplicates."""
    late_after: Duration = timedelta(days=7)
    """A row is late that comes so long after its time: after `received_at`, where a source maps it, or else after
    what earlier files of the source already reach to."""
    max_late_share: Share | None = None
    """Largest share of a source's rows that may be late."""
    max_bot_share: Share | None = None
    """Largest share of all rows that may be refused as bot-like."""
    max_gap: Duration | None = None
    """Longest believable run of whole days without an event, of a type that comes on most days."""
    max_volume_change: Annotated[float, Field(gt=1)] | None = None
    """Largest believable factor between a day's events of a type and what is usual on that weekday."""
    min_events_per_day: Annotated[int, Field(gt=0)] | None = None
    """Fewest believable events on a whole day of the log."""
    look_back: Duration | None = None
    """`max_gap`, `max_volume_change` and `min_events_per_day` look at this time before the log's end; by default at
    all of it."""

    @field_validator("max_null_share")
    @classmethod
    def _has_columns(cls, shares: dict[str, float]) -> dict[str, float]:
        unknown = [c for c in shares if c not in EVENT_COLUMNS]
        if unknown:
            close = difflib.get_close_matches(unknown[0], EVENT_COLUMNS, 1)
            hint = f"; did you mean {close[0]!r}?" if close else "."
            raise ValueError(
                f"the log has no column {', '.join(unknown)}{hint} It has {', '.join(EVENT_COLUMNS)}"
            )
        return shares


class Clean(Section):
    """What is refused, and what is cut."""

    earliest: Day = date(1990, 1, 1)
    """Events before this day are impossible; so are events a day after their file was written."""
    max_price: Annotated[float, Field(gt=0)] = 1_000_000
    """Highest believable price and amount, in the shop's currency."""
    max_quantity: Annotated[float, Field(gt=0)] = 1_000_000
    """Highest believable quantity."""
    max_events_per_user_day: Annotated[int, Field(gt=0)] = 2_000
    """A user with more events on one day is bot-like: refused from the first one too many on."""
    max_events_per_user: Annotated[int, Field(gt=0)] = 200_000
    """A user's events after this many are refused as bot-like."""
    max_refused_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    """The stage fails when a larger share of the rows is refused."""
    outliers: dict[OutlierColumn, Outlier] = {}
    """Columns whose highest values are cut."""
    quality: Quality = Quality()
    """Limits of the data quality report."""
