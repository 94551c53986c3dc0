"""Vectors of users beside the scores."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from shops import PREFERENCE, Shop, shop_log
from stage_runs import Runs

from ecbehave.errors import ConfigError

ALL = ("ingest", "clean", "features", "train", "predict")
NET: dict[str, Any] = {
    "kind": "rnn",
    "width": 8,
    "layers": 1,
    "training": {"epochs": 1},
    "pretrain": {"epochs": 0, "horizons": []},
}
CHURN = {"task": {"kind": "churn", "active_within": "21d", "horizon": "14d"}}


def runs(folder: Path, **settings: Any) -> Runs:
    shop = Shop(folder)
    shop.write(shop_log())
    shop.write_items()
    return Runs(shop, shop.config(**settings))


@pytest.mark.parametrize("task", [CHURN, PREFERENCE])
def test_everybody_who_is_asked_has_a_vector(task: dict[str, Any], tmp_path: Path) -> None:
    asked = runs(tmp_path, **task | {"model": NET, "predict": {"embeddings": True}})
    done = asked.do(*ALL)
    folder = done.artifact.path
    vectors, scores = (pl.read_parquet(folder / f"{name}.parquet") for name in ("embeddings", "scores"))
    assert vectors.schema == {"user_id": pl.String, "embedding": pl.List(pl.Float32)}
    assert vectors["user_id"].to_list() == scores["user_id"].unique(maintain_order=True).to_list()
    assert set(vectors["embedding"].list.len()) == {8}
    assert done.artifact.manifest["counts"]["embeddings"] == vectors.height
    # Users differ, and each number of the vector tells some of them apart.
    assert vectors["embedding"].n_unique() > vectors.height / 2


def test_no_vectors_unless_asked_for(tmp_path: Path) -> None:
    done = runs(tmp_path, **CHURN | {"model": NET}).do(*ALL)
    assert not (done.artifact.path / "embeddings.parquet").exists()
    assert "embeddings" not in done.artifact.manifest["counts"]


@pytest.mark.parametrize("kind", ["boosting", "voting"])
def test_kinds_that_have_none(kind: str, tmp_path: Path) -> None:
    members = {"members": [{"kind": "rfm"}, {"kind": "boosting"}]} if kind == "voting" else {}
    asked = runs(tmp_path, **CHURN | {"model": {"kind": kind} | members, "predict": {"embeddings": True}})
    asked.do("ingest", "clean")
    with pytest.raises(ConfigError) as caught:
        asked.do("features")
    assert str(caught.value) == (
        f"predict.embeddings: {kind} has no vector of a user; these kinds do: cnn, rnn, transformer. Take the key out, "
        f"or choose one of them"
    )
