"""Nights after the first: new files come in, the model stays, and is asked about the new days."""

import json
from collections.abc import Callable

import polars as pl
import pytest
from shops import Shop, shop_log


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A shop that was run on its first hundred days, and has its other days' file since."""
    log, shop = shop_log(), Shop(tmp_path_factory.mktemp("nightly") / "shop")
    shop.write(log.filter(pl.col("time") < "2024-04-10"))
    shop.write_items()
    shop.json("run")
    shop.write(log.filter(pl.col("time") >= "2024-04-10"), "events-2.csv")
    return shop


def test_scores_of_a_day_before_the_training_ended_are_refused(grown: Shop) -> None:
    done = grown.run("predict", "--set", "predict.as_of=2024-03-01")
    assert done.returncode == 3
    assert done.stderr == (
        "error: predict.as_of is 2024-03-01, but the model has learned from days up to 2024-03-26: its scores would "
        "look into their own future. Take 2024-03-26 or later, or train on a log that ends on 2024-03-01\n"
    )


def test_a_model_made_with_other_settings_is_refused(grown: Shop) -> None:
    changes = ["--set", "features.windows=[14d]", "--set", "model.leaves=5"]
    done = grown.run("predict", *changes)
    assert done.returncode == 4
    assert done.stderr == (
        f"error: {grown.workspace / 'shop' / 'model'} was trained with other settings: model.leaves, features.windows; "
        f"train again, or take them back. To train, run: ecbehave run --config {grown.config()}\n"
    )


def test_a_model_of_another_version_is_refused(grown: Shop) -> None:
    path = grown.workspace / "shop" / "model" / "manifest.json"
    whole = path.read_text()
    path.write_text(json.dumps(json.loads(whole) | {"stage_version": 0}))
    done = grown.run("predict")
    path.write_text(whole)
    assert done.returncode == 4
    assert done.stderr == (
        f"error: {path.parent} was trained by another version of ecbehave; "
        f"run: ecbehave run --config {grown.config()}\n"
    )


def test_a_model_scores_the_days_that_came_after_it_and_is_stale_for_evaluate(grown: Shop) -> None:
    model = (grown.workspace / "shop" / "model" / "manifest.json").read_bytes()
    assert grown.json("ingest")["status"] == "done"
    assert grown.json("clean")["status"] == "done"
    predicted = grown.json("predict")
    scores = pl.read_parquet(predicted["path"])
    assert {str(day) for day in scores["as_of"]} == {"2024-04-29"}
    assert (grown.workspace / "shop" / "model" / "manifest.json").read_bytes() == model
    log = pl.read_parquet(grown.workspace / "clean" / "events" / "*.parquet")
    recent = log.filter((pl.col("event_type") == "purchase") & (pl.col("ts").dt.date() > pl.date(2024, 4, 8)))
    assert sorted(scores["user_id"]) == sorted(recent["user_id"].unique())
    done = grown.run("evaluate")
    assert done.returncode == 4
    assert done.stderr == (
        f"error: {grown.workspace / 'shop' / 'inputs'} is out of date: what it was made from has changed; "
        f"run: ecbehave features --config {grown.config()} (or `ecbehave run`, which does all that is stale)\n"
    )


def test_without_a_model_predict_says_what_to_run(make_shop: Callable[..., Shop]) -> None:
    shop = make_shop()
    shop.json("ingest")
    shop.json("clean")
    done = shop.run("predict")
    assert done.returncode == 4
    assert done.stderr == (
        f"error: {shop.workspace / 'shop' / 'model'} does not exist yet; run: ecbehave run --config {shop.config()}\n"
    )


def test_what_comes_from_the_environment_is_in_no_file_and_no_line(make_shop: Callable[..., Shop]) -> None:
    shop = make_shop("vault-of-secrets")
    sources = shop.settings["dataset"]["sources"]
    hidden = [source | {"path": f"${{VAULT}}/{source['path']}"} for source in sources]
    config = shop.config(dataset={"sources": hidden})
    secret = {"VAULT": str(shop.folder)}
    workspace = str(shop.folder.parent / "elsewhere")
    done = shop.run("run", "--workspace", workspace, config=config, **secret)
    assert done.returncode == 0, done.stderr
    again = shop.run("run", "--workspace", workspace, config=config, **secret)
    assert "skipped" in again.stdout
    assert "done" not in again.stdout
    shop.write(shop_log(seed=1))
    changed = shop.run("ingest", "--workspace", workspace, config=config, **secret)
    assert changed.returncode == 3
    assert changed.stderr.startswith(
        "error: ${VAULT}/raw/events.csv has other content than when it was ingested"
    )
    (shop.raw / "events.csv").unlink()
    missing = shop.run("ingest", "--workspace", f"{workspace}-2", config=config, **secret)
    assert "no file matches ${VAULT}/raw/events*.csv" in missing.stderr
    for text in (done.stdout, done.stderr, again.stderr, changed.stderr, missing.stderr):
        assert "vault-of-secrets" not in text
    for path in (shop.folder.parent / "elsewhere").rglob("*"):
        assert not path.is_file() or b"vault-of-secrets" not in path.read_bytes(), path
