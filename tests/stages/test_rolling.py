"""Rolling origins: a fit for each test cutoff, as it would have been made at that time."""

import json
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import polars as pl
import pytest
from shops import PREFERENCE, Shop, data_files, shop_log
from stage_runs import Runs, table

from ecbehave.artifacts import Artifact, Workspace
from ecbehave.stages import features
from ecbehave.stages.over_cutoffs import on_one_scale
from ecbehave.windows import Window

ROLLING = {"step": "7d", "train": 2, "test": 3, "rolling": True}
ONE = {"step": "7d", "train": 2, "test": 1}
LISTS: dict[str, Any] = {key: PREFERENCE[key] for key in ("task", "model")}


def done(folder: Path, log: pl.DataFrame, *stages: str, **settings: Any) -> Runs:
    shop = Shop(folder)
    shop.write(log)
    shop.write_items()
    runs = Runs(shop, shop.config(**settings))
    runs.do("ingest", "clean", "features", "train", "evaluate", *stages)
    return runs


@pytest.fixture(scope="module")
def rolling(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Churn with three fits; not to be changed."""
    return done(tmp_path_factory.mktemp("rolling") / "shop", shop_log(), "predict", split=ROLLING)


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Preference with three fits; not to be changed."""
    return done(tmp_path_factory.mktemp("lists") / "shop", shop_log(), split=ROLLING, **LISTS)


def artifact(runs: Runs, name: str) -> Artifact:
    found = Workspace(runs.shop.workspace).read(f"shop/{name}")
    assert found is not None
    return found


def metrics(runs: Runs) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((runs.shop.workspace / "shop/evaluation/metrics.json").read_text())
    return found


def model(runs: Runs, part: str) -> dict[str, bytes]:
    found = data_files(runs.shop.workspace / "shop/model" / part)
    assert found
    return found


def known_by(window: Window) -> pl.DataFrame:
    """The log as it was when the labels of a window were known."""
    return shop_log().filter(pl.col("time") < f"{window.end:%Y-%m-%d %H:%M:%S}")


@pytest.mark.parametrize("origin", [0, 2])
def test_each_fit_is_the_one_that_would_have_been_made_then(
    rolling: Runs, tmp_path: Path, origin: int
) -> None:
    """The log is cut off after a test window, and everything made anew with one fit."""
    [window] = features.windows_of(artifact(rolling, "inputs"), "test", origin)
    then = done(tmp_path / "shop", known_by(window), split=ONE)
    assert features.windows_of(artifact(then, "inputs"), "test") == [window], "the log ends on that day"
    prefix = f"origin-{origin + 1}/" if origin < 2 else ""
    for part in ("fitted", "baseline"):
        assert model(rolling, f"{prefix}{part}") == model(then, part)
    at, alone = metrics(rolling)["per_cutoff"][origin], metrics(then)
    assert at["cutoff"] == window.cutoff.isoformat()
    for side, values in (("metrics", alone["metrics"]), ("baseline_metrics", alone["baseline_metrics"])):
        assert at[side] == {name: pytest.approx(v["value"]) for name, v in values.items()}
    scores = [table(artifact(runs, "evaluation"), "test_scores.parquet") for runs in (rolling, then)]
    assert scores[0].filter(cutoff=window.cutoff).equals(scores[1])


@pytest.mark.parametrize("origin", [0, 2])
def test_each_fit_of_lists_is_the_one_that_would_have_been_made_then(
    lists: Runs, tmp_path: Path, origin: int
) -> None:
    [window] = features.windows_of(artifact(lists, "inputs"), "test", origin)
    then = done(tmp_path / "shop", known_by(window), split=ONE, **LISTS)
    prefix = f"origin-{origin + 1}/" if origin < 2 else ""
    for part in ("fitted", "baseline"):
        assert model(lists, f"{prefix}{part}") == model(then, part)
    at, alone = metrics(lists)["per_cutoff"][origin], metrics(then)
    assert at["metrics"] == {name: pytest.approx(v["value"]) for name, v in alone["metrics"].items()}
    assert at["model"] == at["metrics"]["ndcg@10"]


def test_the_model_that_scores_is_the_last_one(rolling: Runs, tmp_path: Path) -> None:
    one = done(tmp_path / "shop", shop_log(), "predict", split=ONE)
    assert model(rolling, "refit") == model(one, "refit")
    night = "predictions/as_of=2024-04-29"
    assert table(artifact(rolling, night), "scores.parquet").equals(
        table(artifact(one, night), "scores.parquet")
    )


def test_each_cutoff_is_built_once(rolling: Runs) -> None:
    inputs = artifact(rolling, "inputs")
    origins = features.origins_in(inputs)
    cutoffs = {w.cutoff for o in origins for part in o.named().values() for w in part}
    assert len(cutoffs) == 8, "three fits of two train, one validation and one test cutoff"
    assert len(inputs.files("table/*/*.parquet")) == 8
    assert len(inputs.files("table/earlier/*.parquet")) == 4
    for n, origin in enumerate(origins):
        for split, windows in origin.named().items():
            read = features.read_all(inputs, ["table"], split, "UTC", n)
            assert [data.cutoff for data in read] == [w.cutoff for w in windows]
            for data in read:
                assert data.table is not None
                assert data.table.frame["cutoff"].unique().to_list() == [data.cutoff]


def test_features_are_those_that_the_first_fit_could_have_known(tmp_path: Path) -> None:
    """Reviews begin after the last train cutoff of the first fit, and before that of the last one."""
    event = {"user": "u001", "item": "i01", "kind": "review", "time": "2024-03-10 10:00:00"}
    reviews = pl.DataFrame([event])
    shop = Shop(tmp_path / "shop")
    shop.write(pl.concat([shop_log(), reviews], how="diagonal"))
    shop.write_items()
    found = []
    for split in (ROLLING, ONE):
        runs = Runs(shop, shop.config(split=split))
        runs.do("ingest", "clean", "features")
        found.append(any("review" in feature for feature in artifact(runs, "inputs").info["features"]))
    assert found == [False, True]


def test_metrics_are_means_with_their_spread_over_time(rolling: Runs) -> None:
    found = metrics(rolling)
    assert found["n_fits"] == 3
    assert len(found["per_cutoff"]) == 3
    for name, interval in found["metrics"].items():
        values = [at["metrics"][name] for at in found["per_cutoff"]]
        rule = [at["baseline_metrics"][name] for at in found["per_cutoff"]]
        assert interval["value"] == pytest.approx(mean(values))
        over = found["over_time"][name]
        assert over["model"] == pytest.approx(
            {
                "n": 3,
                "mean": mean(values),
                "deviation": stdev(values),
                "low": min(values),
                "high": max(values),
            }
        )
        assert over["difference"]["mean"] == pytest.approx(mean(values) - mean(rule))
    assert found["per_cutoff"][0]["model"] == found["per_cutoff"][0]["metrics"]["auroc"]


def test_the_report_tells_of_the_fits_and_the_spread(rolling: Runs, lists: Runs) -> None:
    page = (rolling.shop.workspace / "shop/evaluation/report.html").read_text(encoding="utf-8")
    assert (
        "Each of the 3 test cutoffs is judged by a fit of its own, on as many train and validation cutoffs before it, "
        "and metrics are means over the test cutoffs. The train and validation rows shown are those of the last fit."
    ) in page
    inputs = artifact(rolling, "inputs")
    days = [f"{o.test[0].cutoff:%Y-%m-%d}" for o in features.origins_in(inputs)]
    assert f"3: {days[0]} to {days[-1]}" in page
    assert ">earlier rows<" in page
    assert ">Deviation<" in page
    page = (lists.shop.workspace / "shop/evaluation/report.html").read_text(encoding="utf-8")
    assert "before it. The train and validation rows" in page
    assert ">Deviation<" in page


def test_one_fit_on_several_test_cutoffs_has_a_spread_too(tmp_path: Path) -> None:
    runs = done(tmp_path / "shop", shop_log(), split=ONE | {"test": 2})
    found = metrics(runs)
    assert found["n_fits"] == 1
    assert found["over_time"]["auroc"]["model"]["n"] == 2
    assert not (runs.shop.workspace / "shop/model/origin-1").exists()
    page = (runs.shop.workspace / "shop/evaluation/report.html").read_text(encoding="utf-8")
    assert "a fit of its own" not in page
    assert ">Deviation<" in page


def test_one_test_cutoff_has_no_spread(tmp_path: Path) -> None:
    runs = done(tmp_path / "shop", shop_log(), split=ONE)
    assert metrics(runs)["over_time"] == {}
    assert ">Deviation<" not in (runs.shop.workspace / "shop/evaluation/report.html").read_text()


def test_all_fits_are_tuned_on_what_lies_before_the_first_test_cutoff(tmp_path: Path) -> None:
    split = ROLLING | {"train": 4}
    tune = {"trials": 2, "space": {"leaves": {"low": 2, "high": 9}}}
    runs = done(tmp_path / "shop", shop_log(), split=split, tune=tune)
    lines = [line for line in runs.said if line.startswith(("features: and", "train: boosting on "))]
    assert lines == [
        "features: and for 2 fits before that, the first judged at 2024-04-02",
        *(f"train: boosting on 4 cutoffs, fit {n} of 3" for n in (1, 2, 3)),
    ]
    first = features.origins_in(artifact(runs, "inputs"))[0]
    tuning = artifact(runs, "model").info["tuning"]
    assert tuning["origins"] == [first.validation[0].cutoff.isoformat()]
    assert first.validation[0].end <= first.test[0].cutoff
    trials = tuning["trials"]
    chosen = trials[tuning["best"]]["values"]["leaves"]
    for part in ("origin-1/fitted", "origin-2/fitted", "fitted", "refit"):
        meta = json.loads((runs.shop.workspace / "shop/model" / part / "meta.json").read_text())
        assert meta["config"]["leaves"] == chosen
    page = (runs.shop.workspace / "shop/evaluation/report.html").read_text(encoding="utf-8")
    assert 'id="tuning"' in page
    assert "2 settings tried." in page


def test_rows_of_several_fits_are_sorted_together_by_probability() -> None:
    rows = pl.DataFrame(
        {
            "score": [1.0, 100.0],
            "probability": [0.9, 0.1],
            "baseline_score": [5.0, 1.0],
            "baseline_probability": [0.2, 0.3],
        }
    )
    assert on_one_scale(rows, 1).equals(rows)
    found = on_one_scale(rows, 2)
    assert found["score"].to_list() == [0.9, 0.1]
    assert found["baseline_score"].to_list() == [0.2, 0.3]
