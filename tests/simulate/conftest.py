"""Simulated logs that several tests read, each made once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ecbehave.simulate.settings import Settings
from ecbehave.simulate.writer import simulate

Simulate = Callable[..., Path]


@pytest.fixture(scope="session")
def log_of(tmp_path_factory: pytest.TempPathFactory) -> Simulate:
    """Return a maker of logs: settings to the folder of a log; equal settings share one."""
    made: dict[tuple[tuple[str, Any], ...], Path] = {}

    def make(**settings: Any) -> Path:
        key = tuple(sorted(settings.items()))
        if key not in made:
            folder = tmp_path_factory.mktemp("simulated") / "log"
            simulate(Settings(**settings), folder)
            made[key] = folder
        return made[key]

    return make


@pytest.fixture(scope="session")
def shop_folder(log_of: Simulate) -> Path:
    """A clean log of 2,000 users, in files of ten days."""
    return log_of(users=2_000, items=300, days=60, events_per_user=25.0, days_per_file=10)


@pytest.fixture(scope="session")
def events(shop_folder: Path) -> pl.DataFrame:
    """Its events, in the order of files and rows."""
    return pl.concat([pl.read_parquet(path) for path in sorted((shop_folder / "events").iterdir())])


@pytest.fixture(scope="session")
def crowd(log_of: Simulate) -> Path:
    """A clean log of very many users, for what only shows in the mean."""
    return log_of(users=30_000, items=300, days=60, events_per_user=15.0)


@pytest.fixture(scope="session")
def purchases(crowd: Path) -> pl.DataFrame:
    """The orders of the many: `user_id`, `ts`, one row each."""
    log = pl.scan_parquet(crowd / "events" / "*.parquet").filter(pl.col("event_type") == "purchase")
    return log.select("order_id", "user_id", "ts").unique().sort("order_id").collect()
