"""Fixtures that all tests may use."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from hypothesis import settings
from shops import SHARED, Shop, shop_log

# How long an example takes depends on what else the machine does.
settings.register_profile("ecbehave", deadline=None)
settings.load_profile("ecbehave")


@pytest.fixture
def shared_data() -> Path:
    """The folder of real data sets; the test is skipped where it is missing."""
    if not SHARED.is_dir():
        pytest.skip(f"real data sets are not at {SHARED}; set ECBEHAVE_DATA to their folder")
    return SHARED


@pytest.fixture
def make_shop(tmp_path: Path) -> Callable[..., Shop]:
    """Return a maker of shops; each has the log and items of above unless told otherwise."""

    def make(name: str = "shop", log: pl.DataFrame | None = None) -> Shop:
        shop = Shop(tmp_path / name)
        shop.write(shop_log() if log is None else log)
        shop.write_items()
        return shop

    return make


@pytest.fixture
def shop(make_shop: Callable[..., Shop]) -> Shop:
    """A shop with the log and items of above."""
    return make_shop()
