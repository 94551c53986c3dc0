"""Shops that have gone through all stages once, and copies of them to change."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from planted_shops import ASKING, asking_log
from shops import PREFERENCE, Shop, shop_log
from stage_runs import Runs

ALL = ("ingest", "clean", "features", "train", "evaluate", "predict")


def _done(folder: Path, log: pl.DataFrame, **settings: Any) -> Runs:
    shop = Shop(folder)
    shop.write(log)
    shop.write_items()
    runs = Runs(shop, shop.config(**settings))
    runs.do(*ALL)
    return runs


@pytest.fixture(scope="session")
def asking(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Churn by `asking_log`, all stages done; not to be changed."""
    return _done(tmp_path_factory.mktemp("asking") / "shop", asking_log(), **ASKING)


@pytest.fixture(scope="session")
def listing(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Preference by `shop_log`, all stages done; not to be changed.

    `odd` had an item that nobody else had, and `seeker` only searched.
    """
    rows = [("odd", "i99", "purchase"), ("seeker", None, "search")]
    others = pl.DataFrame(rows, schema=["user", "item", "kind"], orient="row").with_columns(
        time=pl.lit("2024-04-28 10:00:00")
    )
    log = pl.concat([shop_log(), others], how="diagonal")
    return _done(tmp_path_factory.mktemp("listing") / "shop", log, **PREFERENCE)


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[..., Runs]:
    """Return a maker of copies: the same shop in a folder of its own, with some settings replaced."""

    def copy(runs: Runs, **settings: Any) -> Runs:
        folder = tmp_path / f"copy-{len(list(tmp_path.iterdir()))}"
        moved = Shop(folder)
        shutil.copytree(runs.shop.folder, folder, dirs_exist_ok=True)
        return Runs(moved, moved.config(**settings))

    return copy
