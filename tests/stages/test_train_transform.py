"""Selection and transformation in a run: what is made again, what is stored, and what the report says of it."""

import json
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
from planted_shops import ASKING
from shops import Shop, data_files, shop_items, shop_log
from stage_runs import Runs

from ecbehave.artifacts import Artifact
from ecbehave.errors import ArtifactError

CopyOf = Callable[..., Runs]
WINDOWS = ASKING["features"]


def with_features(**settings: Any) -> dict[str, Any]:
    return ASKING | {"features": WINDOWS | settings}


def model_of(runs: Runs) -> Artifact:
    artifact = runs.context().workspace.read("shop/model")
    assert artifact is not None
    return artifact


def report_of(runs: Runs) -> str:
    return (runs.shop.workspace / "shop/evaluation/report.html").read_text(encoding="utf-8")


KEEP_4 = {"keep": 4, "max_correlation": 0.999}


def test_the_model_is_made_again_and_the_table_is_not(asking: Runs, copy_of: CopyOf) -> None:
    settings: list[dict[str, Any]] = [
        {"encode": "target"},
        {"normalise": "standard"},
        {"log": True},
        {"impute": "median"},
        {"missing_flags": True},
        {"max_categories": 5},
        {"select": {"keep": 4}},
    ]
    for changed in settings:
        runs = copy_of(asking, **with_features(**changed))
        assert runs.do("features").status == "skipped"
        with pytest.raises(
            ArtifactError, match=r"shop/model is out of date: these settings have changed: features\."
        ):
            runs.do("evaluate")
        [key] = changed
        with pytest.raises(ArtifactError, match=rf"was trained with other settings: features\.{key}"):
            runs.do("predict")


def test_scores_go_through_what_the_model_was_fitted_on(asking: Runs, copy_of: CopyOf) -> None:
    """What decides is kept, so the scores stay good; probabilities stay near those of the plain table."""
    settings = {
        "normalise": "standard",
        "impute": "median",
        "missing_flags": True,
        "log": True,
        "select": KEEP_4,
    }
    runs = copy_of(asking, **with_features(**settings))
    runs.do("train", "evaluate", "predict")
    metrics = json.loads((runs.shop.workspace / "shop/evaluation/metrics.json").read_text())
    plain = json.loads((asking.shop.workspace / "shop/evaluation/metrics.json").read_text())
    assert metrics["metrics"]["auroc"]["value"] > 0.95
    assert metrics["baseline_metrics"] == plain["baseline_metrics"]


def test_each_model_keeps_its_own_transformation(asking: Runs, copy_of: CopyOf) -> None:
    folder = asking.shop.workspace / "shop/model"
    assert {path.parent.name for path in folder.rglob("transform.json")} == {"fitted", "refit"}
    runs = copy_of(asking, **with_features(normalise="standard") | {"baseline": ASKING["model"]})
    runs.do("features", "train", "evaluate", "predict")
    folder = runs.shop.workspace / "shop/model"
    stored = {path.parent.name: path.read_text() for path in folder.rglob("transform.json")}
    assert set(stored) == {"fitted", "baseline", "refit"}
    assert stored["fitted"] == stored["baseline"] != stored["refit"]


def test_manifest_and_report_say_what_was_left_out_and_why(asking: Runs, copy_of: CopyOf) -> None:
    runs = copy_of(asking, **with_features(select=KEEP_4, normalise="min_max"))
    runs.do("train")
    said, model = runs.said, model_of(runs)
    selection, n_all = model.info["selection"], len(model.info["features"])
    assert len(selection) == n_all - 4
    assert [s["feature"] for s in selection] == [
        f for f in model.info["features"] if f in {s["feature"] for s in selection}
    ]
    assert {s["rule"] for s in selection} == {"constant", "near-duplicate", "rank"}
    assert model.info["transform"]["normalise"] == "min_max"
    assert set(model.info["importance"]) == set(model.info["features"]) - {s["feature"] for s in selection}
    assert f"train: {n_all - 4} of {n_all} features left out" in said
    runs.do("evaluate")
    page = report_of(runs)
    n = {rule: sum(s["rule"] == rule for s in selection) for rule in ("constant", "near-duplicate", "rank")}
    for words in (
        f"The model was given 4 of {n_all} features.",
        f"{n['constant']} with one value in all train rows",
        f"{n['near-duplicate']} that follow another one",
        f"{n['rank']} ranked too low",
        *(f"{s['feature']}: {s['why']}" for s in selection),
    ):
        assert words in page


def test_where_nothing_is_left_out_nothing_is_said(asking: Runs, copy_of: CopyOf) -> None:
    runs = copy_of(asking, **with_features(select={"drop_constant": False}))
    runs.do("train")
    assert not any("left out" in line for line in runs.said)
    runs.do("evaluate")
    assert model_of(runs).info["selection"] == []
    assert "Features left out" not in report_of(runs)


def test_a_kind_that_reads_by_name_says_nothing_of_either(asking: Runs, copy_of: CopyOf) -> None:
    runs = copy_of(asking, **with_features(select=KEEP_4) | {"model": {"kind": "rfm"}})
    runs.do("features", "train", "evaluate")
    assert {"selection", "transform"}.isdisjoint(model_of(runs).info)


def test_the_model_is_the_same_whatever_the_threads(asking: Runs, copy_of: CopyOf) -> None:
    settings = with_features(select=KEEP_4, normalise="robust", log=True)
    stored = []
    for threads in (1, 3):
        runs = copy_of(asking, **settings)
        runs.threads = threads
        runs.do("train")
        stored.append(data_files(runs.shop.workspace / "shop/model"))
    assert stored[0] == stored[1]


def test_a_category_that_comes_after_the_train_cutoffs_is_not_in_the_judged_model(
    make_shop: Callable[..., Shop],
) -> None:
    """Whatever is bought after 8 April, between the validation and the test cutoff, is of a new category."""
    is_late = pl.col("time") >= "2024-04-08"
    shop = make_shop(log=shop_log().with_columns(item=pl.when(is_late).then(pl.lit("i77")).otherwise("item")))
    pl.concat(
        [shop_items(), pl.DataFrame({"item": ["i77"], "category": ["late"], "brand": ["late"]})]
    ).write_csv(shop.raw / "items.csv")
    for encode in ("one_hot", "target"):
        runs = Runs(shop, shop.config(features={"windows": ["7d", "28d"], "encode": encode}))
        runs.do("ingest", "clean", "features", "train", "evaluate", "predict")
        stored = {
            part: (shop.workspace / "shop/model" / part / "transform.json").read_text()
            for part in ("fitted", "refit")
        }
        assert '"c0"' in stored["fitted"]
        assert '"late"' not in stored["fitted"]
        assert '"late"' in stored["refit"]
