"""A small log, and a short way to read files in tests."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ecbehave.config.dataset import FileSource
from ecbehave.sources import read_chunks

COLUMNS = {"user_id": "user", "ts": "time", "item_id": "item", "price": "price"}
RECEIVED = datetime(2020, 1, 1, tzinfo=UTC)

Read = Callable[..., pl.DataFrame]


def read_file(
    path: Path,
    columns: dict[str, str] | None = None,
    event_type: Any = "purchase",
    timezone: str = "UTC",
    **settings: Any,
) -> pl.DataFrame:
    """Return all rows of a file."""
    if settings.get("table", "events") != "events":
        event_type = None
    source = FileSource(path=str(path), columns=columns or COLUMNS, event_type=event_type, **settings)
    chunks = list(read_chunks(path, source, timezone, RECEIVED, "b1", key="dataset.sources[0]"))
    return pl.concat(chunks) if chunks else pl.DataFrame()


@pytest.fixture
def read() -> Read:
    return read_file


@pytest.fixture
def received() -> datetime:
    return RECEIVED
