"""The section `dataset`: where raw rows come from."""

import difflib
import re
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from ecbehave.config.values import Section, TimeZone
from ecbehave.schema import EVENT_COLUMNS, ITEMS, ORIGIN


class EventTypeColumn(Section):
    """The event type stands in a column of the source."""

    column: str
    """Name of the source's column."""
    map: dict[str, str] = {}
    """Source value to event type, e.g. `{addtocart: cart}`; values not named pass through in lower case."""


class FileSource(Section):
    """Files on disk, named by a glob; each file is one batch."""

    kind: Literal["files"] = "files"
    """Where rows come from."""
    table: Literal["events", "items", "users"] = "events"
    """`events` is the log; `items` and `users` are side tables."""
    path: str
    """Glob of files, relative to the YAML file's folder or absolute."""
    format: Literal["csv", "jsonl", "parquet"] | None = None
    """File format; by default read off the suffix (`.csv.gz` is CSV, gzipped)."""
    columns: dict[str, str]
    """Our column: the source's column."""
    event_type: str | EventTypeColumn | None = None
    """Event type of every row (`purchase`), or the column that holds it."""
    timezone: TimeZone | None = None
    """Zone of timestamps that carry none; by default `dataset.timezone`."""
    time_format: str = "auto"
    """`auto` (ISO 8601 or epoch numbers), `epoch_s`, `epoch_ms`, or a pattern such as `%d.%m.%Y %H:%M`."""
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    """Separator of a CSV file."""
    encoding: str = "utf-8"
    """Text encoding of CSV and JSON lines, e.g. `latin-1`."""
    timeless: bool = False
    """Of `users`: the attributes have always held (region, year of birth). Otherwise a row counts from its
    `known_from` on, or else from the time at which its file was written."""

    @field_validator("delimiter")
    @classmethod
    def _separates(cls, delimiter: str) -> str:
        if delimiter in '"\r\n':
            raise ValueError("a quote or a line end cannot separate the fields of a row")
        return delimiter

    @field_validator("time_format")
    @classmethod
    def _has_pattern(cls, time_format: str) -> str:
        if time_format not in ("auto", "epoch_s", "epoch_ms") and "%" not in time_format:
            raise ValueError(
                "time_format is auto, epoch_s, epoch_ms or a strptime pattern such as %d.%m.%Y %H:%M"
            )
        if re.search(r"(?<!\.)%f", time_format):
            raise ValueError("write the fraction of a second with its dot: .%f")
        return time_format

    known: ClassVar[dict[str, tuple[str, ...]]] = {
        "events": tuple(c for c in EVENT_COLUMNS if c != "event_type"),
        "items": tuple(ITEMS),
        "users": (),
    }
    required: ClassVar[dict[str, tuple[str, ...]]] = {
        "events": ("user_id", "ts"),
        "items": ("item_id",),
        "users": ("user_id",),
    }

    @model_validator(mode="after")
    def _check_columns(self) -> Self:
        missing = [c for c in self.required[self.table] if c not in self.columns]
        if missing:
            raise ValueError(f"columns must name the source's column for {', '.join(missing)}")
        known = self.known[self.table]
        unknown = [c for c in self.columns if known and c not in known]
        if unknown:
            close = difflib.get_close_matches(unknown[0], known, 1)
            hint = f"; did you mean {close[0]!r}?" if close else "."
            raise ValueError(
                f"columns has no place for {', '.join(unknown)} in table {self.table}{hint} "
                f"It takes {', '.join(known)}"
            )
        reserved = [c for c in self.columns if c in ORIGIN or c == "unparsed"]
        if reserved:
            raise ValueError(f"columns cannot name {', '.join(reserved)}: the tool writes that itself")
        if self.table == "events" and self.event_type is None:
            raise ValueError(
                "event_type is missing: a constant such as purchase, or {column: ..., map: {...}}"
            )
        if self.table != "events" and self.event_type is not None:
            raise ValueError(f"event_type has no meaning in table {self.table}")
        if self.timeless and (self.table != "users" or "known_from" in self.columns):
            raise ValueError("timeless is for a users table that maps no known_from")
        return self


class Dataset(Section):
    """The shop's raw data."""

    sources: Annotated[list[FileSource], Field(min_length=1)]
    """Where raw rows come from."""
    timezone: TimeZone = "UTC"
    """The shop's calendar: cutoffs are midnights in this zone."""
    changed_files: Literal["fail", "replace"] = "fail"
    """What to do when a file that was ingested before has other content now."""

    @field_validator("sources")
    @classmethod
    def _has_events(cls, sources: list[FileSource]) -> list[FileSource]:
        if not any(s.table == "events" for s in sources):
            raise ValueError("at least one source must have table: events")
        return sources
