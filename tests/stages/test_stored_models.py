"""A model that begins with the net of another run: time, freshness and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from shops import Shop, shop_log
from stage_runs import Runs

from ecbehave.errors import ArtifactError, DataError

TO_TRAIN = ("ingest", "clean", "features", "train")
NET: dict[str, Any] = {"kind": "rnn", "width": 8, "layers": 1, "training": {"epochs": 1}}
LISTS = {"kind": "preference", "active_within": "28d", "horizon": "14d"}
CHURN = {"kind": "churn", "active_within": "21d", "horizon": "14d"}
#: The last windows of four months: what comes before them is known to the source.
EARLY = {"step": "7d", "train": 1, "test": 8}
LATE = {"step": "7d", "train": 2}


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    made = Shop(tmp_path)
    made.write(shop_log())
    made.write_items()
    return made


def first(shop: Shop, *, refit: bool = False, seed: int = 0, **settings: Any) -> Runs:
    """The run whose net is the source."""
    wanted = {"task": LISTS, "split": EARLY, "model": NET, "predict": {"refit": refit}, "seed": seed}
    return Runs(shop, shop.config("first", **wanted | settings))


def second(shop: Shop, **settings: Any) -> Runs:
    """The run that begins with it; the folder is named as a person would, from where the YAML file is."""
    model = NET | {"pretrain": {"source": "work/first", "epochs": 1, "horizon_epochs": 1}}
    return Runs(shop, shop.config("second", **{"task": CHURN, "split": LATE, "model": model} | settings))


def test_a_source_of_the_same_shop(shop: Shop) -> None:
    first(shop).do(*TO_TRAIN)
    done = second(shop).do(*TO_TRAIN)
    assert done.status == "done"
    assert second(shop).do("train").status == "skipped"
    # Where the source is decides nothing, so that no place is in what is published.
    told = done.artifact.manifest["config"]["model"]["pretrain"]["source"]
    metas = [
        json.loads(path.read_text())["config"]["pretrain"]["source"]
        for path in sorted(done.artifact.path.glob("*/meta.json"))
        if "pretrain" in json.loads(path.read_text())["config"]
    ]
    assert [told, *metas] == ["first"] * 3
    assert second(shop).do("evaluate", "predict").status == "done"


def test_another_source_makes_another_model(shop: Shop) -> None:
    first(shop).do(*TO_TRAIN)
    one = second(shop).do(*TO_TRAIN).artifact
    first(shop, seed=1).do(*TO_TRAIN)
    again = second(shop).do("train")
    assert again.status == "done"
    assert again.artifact.fingerprint != one.fingerprint


@pytest.mark.parametrize("members", [False, True])
def test_a_source_that_knows_the_labels(members: bool, shop: Shop) -> None:
    """Also where the net is only a part of the model."""
    first(shop, split={"step": "7d", "train": 1}).do(*TO_TRAIN)
    net = NET | {"pretrain": {"source": "work/first", "epochs": 1, "horizon_epochs": 1}}
    model = {"kind": "voting", "members": [{"kind": "rfm"}, net]} if members else net
    asked = second(shop, model=model)
    asked.do("ingest", "clean", "features")
    with pytest.raises(DataError) as caught:
        asked.do("train")
    key = "model.members.1.pretrain.source" if members else "model.pretrain.source"
    assert str(caught.value).startswith(
        f"{key}: {shop.folder}/work/first has learned from events until 2024-04-"
    )
    assert "a higher split.test there" in str(caught.value)
    assert not (shop.folder / "work" / "second" / "model").exists()


def test_of_a_source_that_was_refitted_the_judged_part_is_taken(shop: Shop) -> None:
    first(shop, refit=True).do(*TO_TRAIN)
    assert second(shop).do(*TO_TRAIN).status == "done"


def test_there_is_no_model_where_the_source_should_be(shop: Shop) -> None:
    """That is said before the inputs are built, which may take long."""
    asked = second(shop)
    asked.do("ingest", "clean")
    with pytest.raises(ArtifactError) as caught:
        asked.do("features")
    assert str(caught.value) == (
        f"model.pretrain.source: there is no trained model in {shop.folder}/work/first; name the folder of a run in "
        f"its workspace, and train that one first"
    )


def test_a_source_with_a_changed_file(shop: Shop) -> None:
    path = first(shop).do(*TO_TRAIN).artifact.path
    asked = second(shop)
    asked.do("ingest", "clean", "features")
    file = path / "fitted" / "net.npz"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(ArtifactError, match=r"fitted/net\.npz is changed"):
        asked.do("train")
