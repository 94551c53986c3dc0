"""Voting over kinds that rank all items, through all stages."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from shops import PREFERENCE, Shop, shop_log
from stage_runs import Runs

ALL = ("ingest", "clean", "features", "train", "evaluate", "predict")
MODEL = {"kind": "voting", "members": [{"kind": "item_knn", "min_users": 2}, {"kind": "als", "factors": 4}]}


@pytest.mark.parametrize("split", [{"step": "7d", "train": 1}, {"kind": "leave_one_out"}])
def test_all_stages(split: dict[str, Any], tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.write(shop_log())
    shop.write_items()
    runs = Runs(shop, shop.config(**PREFERENCE | {"model": MODEL, "split": split}))
    folder = runs.do(*ALL).artifact.path
    scores = pl.read_parquet(folder / "scores.parquet")
    assert scores.group_by("user_id").len()["len"].unique().to_list() == [20]
    assert scores["score"].is_not_nan().all()
