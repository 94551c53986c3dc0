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
    """Preference by `shop_log`, and one user of an item that nobody else had; all stages done; not to be changed."""
    odd = {"user": "odd", "item": "i99", "kind": "purchase", "price": 1.0, "quantity": 1, "order": "o"}
    odd["time"] = "2024-04-28 10:00:00"
    log = pl.concat([shop_log(), pl.DataFrame([odd], schema=shop_log(2, 20).schema)])
    return _done(tmp_path_factory.mktemp("listing") / "shop", log, **PREFERENCE)


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[..., Runs]:
    """Return a maker of copies: the same shop in a folder of its own, with some settings replaced."""

    def copy(runs: Runs, **settings: Any) -> Runs:
        folder = tmp_path / "copy"
        shutil.copytree(runs.shop.folder, folder, dirs_exist_ok=True)
        moved = Shop.__new__(Shop)
        moved.folder, moved.raw, moved.workspace = folder, folder / "raw", folder / "work"
        moved.settings = runs.shop.settings | settings
        return Runs(moved, moved.config(**settings))

    return copy
