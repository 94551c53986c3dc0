"""What a simulated shop is asked to be."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Literal, get_args

from ecbehave.errors import ConfigError

Format = Literal["parquet", "csv", "csv.gz"]

DAY = 86_400
_LONGEST = 3_650
_MOST_EVENTS = 2_000


@dataclass(frozen=True)
class Settings:
    """A shop and its log."""

    users: int
    items: int = 2_000
    days: int = 180
    """Days of the log, from `first_day` on, in UTC."""
    first_day: date = date(2024, 1, 1)
    events_per_user: float = 50.0
    """Mean number of events per user of the whole log; the visit rates follow from it."""
    seed: int = 0
    format: Format = "parquet"
    days_per_file: int | None = None
    """Days in one file; by default as many whole days as make half a million events."""
    dirt: float = 0.0
    """Share of the rows that have something wrong."""

    @property
    def start(self) -> int:
        """Return the first instant of the log, in seconds since 1970."""
        return int(datetime.combine(self.first_day, time(), UTC).timestamp())

    @property
    def end(self) -> int:
        """Return the instant at which the log ends, in seconds since 1970."""
        return self.start + self.days * DAY


def read_settings(first_day: str, output_format: str, **numbers: float | None) -> Settings:
    """Return settings from what stands on the command line.

    Args:
        first_day: the log's first day, as 2024-12-31.
        output_format: `parquet`, `csv` or `csv.gz`.
        numbers: the other fields of `Settings`.

    Raises:
        ConfigError: a value is out of range, or no day, or no format.
    """
    try:
        day = datetime.strptime(first_day, "%Y-%m-%d").date()
    except ValueError:
        raise ConfigError(f"--start takes a day such as 2024-12-31, not {first_day!r}") from None
    if not 1970 <= day.year <= 2200:
        raise ConfigError(f"--start takes a day from 1970 to 2200, not {first_day}")
    if output_format not in get_args(Format):
        raise ConfigError(f"--format takes {', '.join(get_args(Format))}, not {output_format!r}")
    settings = Settings(first_day=day, format=output_format, **numbers)  # type: ignore[arg-type]
    limits: dict[str, tuple[float | None, float, float]] = {
        "--users": (settings.users, 1, 100_000_000),
        "--items": (settings.items, 1, 10_000_000),
        "--days": (settings.days, 1, _LONGEST),
        "--events-per-user": (settings.events_per_user, 0.1, _MOST_EVENTS),
        "--days-per-file": (settings.days_per_file, 1, _LONGEST),
        "--dirt": (settings.dirt, 0, 0.5),
        "--seed": (settings.seed, 0, 2**31 - 1),
    }
    for option, (value, low, high) in limits.items():
        if value is not None and not low <= value <= high:
            raise ConfigError(f"{option} takes a number from {low:,} to {high:,}, not {value:,}")
    return settings
