"""What the data quality page shows, as plain frozen data that `clean` fills in; `quality.json` holds the same."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

from ecbehave.report.numbers import significant

ColumnKind = Literal["number", "time", "text"]


@dataclass(frozen=True)
class ColumnQuality:
    """One column of one source."""

    name: str
    kind: ColumnKind
    nulls: int
    """Rows without a value that could be read."""
    unparsed: int
    """Of those, rows with a value that could not."""
    low: float | str | None
    """Smallest number, earliest time (ISO 8601, UTC), or fewest characters of a text."""
    high: float | str | None
    values: Sequence[str] | None
    """Every value of a text column; None where they are many or long, and for other columns."""


@dataclass(frozen=True)
class SourceQuality:
    """One source of events, over all of its files."""

    key: str
    """Where it stands in the config: `dataset.sources[0]`."""
    path: str
    """End of its glob, e.g. `raw/events*.csv`."""
    files: int
    rows: int
    refused: int
    duplicates: int
    """Rows dropped since another is equal in every column, whichever source that one came from."""
    late: int
    has_received_at: bool
    """Lateness is taken from `received_at`, not from what earlier files reach to."""
    columns: Sequence[ColumnQuality]


@dataclass(frozen=True)
class RefusedRule:
    """Rows that one rule has refused."""

    rule: str
    rows: int
    examples: Sequence[str]
    remedy: str


@dataclass(frozen=True)
class Bot:
    """A bot-like user and how many rows were refused for that."""

    user_id: str
    rows: int


@dataclass(frozen=True)
class Outliers:
    """Values of a column above the limit of earlier months."""

    column: str
    clipped: int
    refused: int


@dataclass(frozen=True)
class Volume:
    """Clean rows of an event type per day of the log."""

    event_type: str
    rows: Sequence[int]
    """One per day from the log's first one on."""
    usual: Sequence[float | None]
    """Median of the same weekday in the four weeks before; None where those are not all known."""


@dataclass(frozen=True)
class Gap:
    """Whole days without an event of a type that is expected on them."""

    event_type: str
    start: date
    end: date
    """The last such day, included."""
    is_open: bool
    """Nothing of that type comes after it."""

    @property
    def days(self) -> int:
        """Return the length in days."""
        return (self.end - self.start).days + 1


@dataclass(frozen=True)
class Change:
    """Days in a row with far more or far fewer events of a type than usual."""

    event_type: str
    start: date
    end: date
    day: date
    """The day that is furthest off."""
    rows: int
    usual: float

    @property
    def factor(self) -> float:
        """Return how many times more, or fewer, events than usual; never under 1."""
        return max(self.rows / self.usual, self.usual / self.rows)


@dataclass(frozen=True)
class Finding:
    """Something to look at."""

    text: str
    remedy: str
    share: float
    """Share of the rows, or of the days, that it is about."""
    is_failure: bool
    """It exceeds a limit of `clean.quality`."""


@dataclass(frozen=True)
class Quality:
    """All that is on the page."""

    rows: int
    refused: int
    duplicates: int
    clean: int
    files: int
    late_after: str
    """In words: `7 days`."""
    first_day: date | None
    """Of the clean log; None where no row is left."""
    begins: date | None
    """First day, but for a few stray events before it."""
    last_day: date | None
    findings: Sequence[Finding]
    """Failures first, then by share."""
    sources: Sequence[SourceQuality]
    volumes: Sequence[Volume]
    """By number of rows, the largest first."""
    gaps: Sequence[Gap]
    changes: Sequence[Change]
    """The largest factor first."""
    refused_rules: Sequence[RefusedRule]
    n_bots: int
    bots: Sequence[Bot]
    """Those with the most rows."""
    outliers: Sequence[Outliers]
    limits: Mapping[str, str]
    """Dotted key to limit, as in the config, of those that are set."""

    @property
    def failures(self) -> list[str]:
        """Return the sentences about limits that are exceeded."""
        return [finding.text for finding in self.findings if finding.is_failure]


def share_of(part: int, whole: int) -> str:
    """Write a part of rows or days as a share with up to three digits: `0.0817 %`, `5 %`."""
    text = significant(100 * part / whole) if whole else "0"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text} %"
