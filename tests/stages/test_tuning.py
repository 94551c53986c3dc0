"""Tuning as part of train: what is tried, how it is judged, and that a search survives whatever ends it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import polars as pl
import pytest
from command_line import ecbehave
from shops import PREFERENCE, Shop, data_files, shop_log
from sklearn.metrics import roc_auc_score
from stage_runs import Runs

from ecbehave.artifacts import Artifact, Workspace
from ecbehave.config.model import Searched
from ecbehave.errors import ArtifactError, ConfigError, DataError
from ecbehave.inputs.types import Inputs
from ecbehave.models import making, tuner
from ecbehave.models.protocol import Options
from ecbehave.stages import features, train, tuning
from ecbehave.stages.lists import complete_lists
from ecbehave.stages.tuning import Tuned
from ecbehave.stages.tuning_file import load, store
from ecbehave.tasks import make_task

BOOSTING = {"kind": "boosting", "max_trees": 30, "min_rows_per_leaf": 5, "learning_rate": 0.1}
SPACE = {
    "learning_rate": {"low": 0.02, "high": 0.5, "log": True},
    "leaves": {"low": 2, "high": 16},
    "l2": {"values": [0.5, 5.0, 50.0]},
}
SETTINGS: dict[str, Any] = {"split": {"step": "7d", "train": 6}, "model": BOOSTING}
TUNE: dict[str, Any] = {"trials": 7, "origins": 2, "space": SPACE}
N = TUNE["trials"]


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """A shop whose inputs are built; not to be changed."""
    return _ready(tmp_path_factory.mktemp("ready") / "shop", shop_log(), **SETTINGS)


@pytest.fixture(scope="module")
def tuned(ready: Runs, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """The same after tuning; not to be changed."""
    runs = _copy(ready, tmp_path_factory.mktemp("tuned") / "shop", tune=TUNE)
    runs.do("train")
    return runs


@pytest.fixture
def tune(ready: Runs, tmp_path: Path) -> Callable[..., Runs]:
    """Return a maker of shops that are ready to be tuned, with other settings."""

    def make(**settings: Any) -> Runs:
        folder = tmp_path / f"shop-{len(list(tmp_path.iterdir()))}"
        return _copy(ready, folder, **{"tune": TUNE} | settings)

    return make


def _ready(folder: Path, log: pl.DataFrame, **settings: Any) -> Runs:
    shop = Shop(folder)
    shop.write(log)
    shop.write_items()
    runs = Runs(shop, shop.config(**settings))
    runs.do("ingest", "clean", "features")
    return runs


def _copy(runs: Runs, folder: Path, **settings: Any) -> Runs:
    shutil.copytree(runs.shop.folder, folder)
    shop = Shop.__new__(Shop)
    shop.folder, shop.workspace, shop.raw = folder, folder / "work", folder / "raw"
    shop.settings = runs.shop.settings
    return Runs(shop, shop.config(**SETTINGS | settings))


def artifact(runs: Runs, name: str) -> Artifact:
    found = Workspace(runs.shop.workspace).read(f"shop/{name}")
    assert found is not None
    return found


def info_of(runs: Runs) -> dict[str, Any]:
    found: dict[str, Any] = artifact(runs, "model").info["tuning"]
    return found


def trials_of(runs: Runs) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = info_of(runs)["trials"]
    return found


def searched(runs: Runs, *, force: bool = False) -> Tuned:
    """The search alone, as train would do it."""
    context, inputs = runs.context(force=force), artifact(runs, "inputs")
    [origin, *_] = features.origins_in(inputs)
    ends = {w.cutoff: w.end for windows in origin.named().values() for w in windows}
    output = make_task(context.config.task).output
    options = Options(context.config.seed, 1, output, context.config.features, ends)
    assert context.config.tune is not None
    return tuning.search(context, context.config.tune, inputs, options)


def file_of(runs: Runs) -> Path:
    [file] = (runs.shop.workspace / "shop/tuning").iterdir()
    return file


def models(runs: Runs) -> dict[str, bytes]:
    """The model files, without what says how they came about."""
    files = data_files(runs.shop.workspace / "shop/model")
    return {name: content for name, content in files.items() if "/" in name}


def lines_of(runs: Runs, prefix: str = "tune: trial") -> list[str]:
    return [line for line in runs.said if line.startswith(prefix)]


def test_the_first_trial_is_the_config_and_the_best_one_is_fitted(tuned: Runs) -> None:
    info = info_of(tuned)
    assert info["metric"] == "auroc"
    assert len(info["trials"]) == N
    assert info["trials"][0]["values"] == {"learning_rate": 0.1, "leaves": 7, "l2": 5.0}
    means = [fmean(t["scores"]) if t["state"] == "complete" else -1 for t in info["trials"]]
    assert info["best"] == means.index(max(means)) > 0, "something better than the config is found here"
    stored = json.loads((tuned.shop.workspace / "shop/model/fitted/meta.json").read_text())["config"]
    assert stored == stored | BOOSTING | info["trials"][info["best"]]["values"]
    assert all(set(t["values"]) == set(SPACE) for t in info["trials"])
    assert "seconds" not in info["trials"][0], "the artifact does not depend on the machine"


def test_each_trial_is_judged_by_fits_on_what_was_known(tuned: Runs) -> None:
    """By hand: the latest window and the one before that can be predicted; AUROC by scikit-learn."""
    context, inputs = tuned.context(), artifact(tuned, "inputs")
    windows = [w for split in ("train", "validation") for w in features.windows_of(inputs, split)]
    data = {
        d.cutoff: d
        for split in ("train", "validation")
        for d in features.read_all(inputs, ["table"], split, "UTC")
    }
    cutoffs = [w.cutoff for w in windows]  # train 0 to 5, a week apart; validation 6, two weeks later
    chains = [([0, 1, 2, 3], 5, 6), ([0, 1], 3, 5)]
    assert info_of(tuned)["origins"] == [cutoffs[o].isoformat() for *_, o in chains]
    options = Options(0, 1, "binary", context.config.features, {w.cutoff: w.end for w in windows})
    for n in (0, info_of(tuned)["best"]):
        trial = trials_of(tuned)[n]
        config = tuner.changed(context.config.model, trial["values"])
        for score, (known, valid, origin) in zip(trial["scores"], chains, strict=True):
            asked = data[cutoffs[origin]]
            model = making.make(config, "binary")
            model.fit([data[cutoffs[t]] for t in known], [data[cutoffs[valid]]], options)
            assert asked.table is not None
            assert score == pytest.approx(roc_auc_score(asked.table.label, model.score(asked)), abs=1e-12)


def test_progress_names_the_trial_the_best_and_the_time_and_bad_trials_are_given_up(
    tune: Callable[..., Runs],
) -> None:
    runs = tune(tune=TUNE | {"trials": 14})
    info = searched(runs).info
    lines = lines_of(runs)
    assert len(lines) == 14
    best = -1.0
    for n, (line, trial) in enumerate(zip(lines, info["trials"], strict=True)):
        assert line.startswith(f"tune: trial {n + 1} of 14: ")
        if trial["state"] == "complete":
            best = max(best, fmean(trial["scores"]))
            assert f": auroc {fmean(trial['scores']):.4f}; best {best:.4f} (trial " in line
        else:
            assert f": given up after 1 of 2 origins; best {best:.4f} (trial " in line
        assert line.endswith((" s left", " min left")) == (n < 13)
    assert f"(trial {info['best'] + 1})" in lines[-1]
    finished = [t["scores"] for t in info["trials"] if t["state"] == "complete"]
    pruned = [t["scores"] for t in info["trials"] if t["state"] == "pruned"]
    assert pruned, "fourteen trials, and none was bad"
    assert {len(scores) for scores in finished} == {2}
    assert {len(scores) for scores in pruned} == {1}
    assert max(pruned)[0] < max(scores[0] for scores in finished)


def test_the_winning_config_makes_the_same_model_without_tuning(tuned: Runs, tmp_path: Path) -> None:
    runs = _copy(tuned, tmp_path / "shop", tune=TUNE)
    before = models(runs)
    winner = tmp_path / "winner.yaml"
    shutil.copy(runs.shop.workspace / "shop/model/tuned.yaml", winner)
    text = winner.read_text(encoding="utf-8")
    assert text.startswith("# The config that tuning found")
    assert "\ntune:" not in text
    assert str(tuned.shop.workspace) in text, "it says where the data is"
    text = text.replace(str(tuned.shop.folder), str(runs.shop.folder))
    winner.write_text(text, encoding="utf-8")
    again = Runs(runs.shop, winner)
    assert again.do("features").status == "skipped"
    assert again.do("train").status == "done"
    assert lines_of(again) == []
    assert models(again) == before
    assert not (runs.shop.workspace / "shop/model/tuned.yaml").exists()


def test_a_tuned_model_is_judged_and_scores(tuned: Runs, tmp_path: Path) -> None:
    runs = _copy(tuned, tmp_path / "shop", tune=TUNE)
    # The workspace moved with the shop, so only what follows is made.
    assert runs.do("train").status == "skipped"
    runs.do("evaluate", "predict")
    assert (runs.shop.workspace / "shop/predictions/as_of=2024-04-29/scores.parquet").exists()


def test_same_seed_same_bytes_with_one_and_two_threads(tuned: Runs, tune: Callable[..., Runs]) -> None:
    runs = tune()
    runs.threads = 2
    runs.do("train")
    assert trials_of(runs) == trials_of(tuned)
    assert models(runs) == models(tuned)


def interrupted(runs: Runs, prefix: str) -> str:
    """Train until a line is said that begins so, as if somebody pressed Ctrl-C then; returns the line."""
    context, lines = runs.context(), []

    def interrupt(message: str) -> None:
        if message.startswith(prefix):
            lines.append(message)
            raise KeyboardInterrupt

    context.progress.say = interrupt  # type: ignore[method-assign]
    with context.workspace.lock("test", 0, print), pytest.raises(KeyboardInterrupt):
        train.run(context)
    return lines[0]


def test_a_search_that_was_interrupted_goes_on_as_it_would_have(
    tuned: Runs, tune: Callable[..., Runs]
) -> None:
    runs = tune()
    interrupted(runs, "tune: trial 3")
    assert len(load(file_of(runs))) == 3
    runs.do("train")
    assert runs.said[0] == "tune: goes on after 3 trials of an earlier run"
    assert len(lines_of(runs)) == N - 3
    assert trials_of(runs) == trials_of(tuned)
    assert models(runs) == models(tuned)


def test_a_search_that_was_killed_goes_on_as_it_would_have(tuned: Runs, tune: Callable[..., Runs]) -> None:
    runs = tune()
    command = ["train", "--config", str(runs.config), "--threads", "1"]
    process = subprocess.Popen([sys.executable, "-m", "ecbehave", *command], stderr=subprocess.DEVNULL)
    folder = runs.shop.workspace / "shop/tuning"
    while not list(folder.glob("*.json")) and process.poll() is None:
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (runs.shop.workspace / "shop/model").exists(), "killed too late to tell anything"
    runs.do("train")
    assert runs.said[0].startswith("tune: goes on after ")
    assert trials_of(runs) == trials_of(tuned)
    assert models(runs) == models(tuned)


def test_a_finished_search_is_not_repeated(tuned: Runs, tmp_path: Path) -> None:
    runs = _copy(tuned, tmp_path / "shop", tune=TUNE, predict={"refit": False})
    assert runs.do("train").status == "done", "the refit is left out now"
    assert lines_of(runs) == []
    assert trials_of(runs) == trials_of(tuned)
    changed = {"tune": TUNE | {"trials": 1}, "predict": {"refit": False}}
    fewer = Runs(runs.shop, runs.shop.config(**SETTINGS | changed))
    assert fewer.do("train").status == "done", "another search makes another model"
    assert trials_of(fewer) == trials_of(tuned)[:1]


def test_more_trials_continue_and_fewer_take_the_first_ones(tuned: Runs, tmp_path: Path) -> None:
    runs = _copy(tuned, tmp_path / "more", tune=TUNE | {"trials": N + 2})
    trials = searched(runs).info["trials"]
    assert len(lines_of(runs)) == 2
    assert [*map(listed, trials[:N])] == trials_of(tuned)
    assert len(trials) == N + 2
    runs = _copy(tuned, tmp_path / "fewer", tune=TUNE | {"trials": 1})
    info = searched(runs).info
    assert lines_of(runs) == []
    assert [*map(listed, info["trials"])] == trials_of(tuned)[:1]
    assert info["best"] == 0


def listed(trial: dict[str, Any]) -> dict[str, Any]:
    """A trial as JSON has it."""
    return trial | {"scores": list(trial["scores"])}


def test_force_begins_anew(tuned: Runs, tmp_path: Path) -> None:
    runs = _copy(tuned, tmp_path / "shop", tune=TUNE)
    store(file_of(runs), load(file_of(runs))[:2])
    trials = searched(runs, force=True).info["trials"]
    assert len(lines_of(runs)) == N
    assert [*map(listed, trials)] == trials_of(tuned)


def test_what_is_tuned_names_the_search(tuned: Runs, tmp_path: Path) -> None:
    others: list[dict[str, Any]] = [
        {"seed": 5},
        {"model": BOOSTING | {"l2": 4.0}},
        {"tune": TUNE | {"origins": 1}},
        {"tune": TUNE | {"space": SPACE | {"l2": {"values": [1.0, 2.0]}}}},
        {"features": {"windows": ["7d", "28d"], "max_categories": 7}},
    ]
    runs = _copy(tuned, tmp_path / "shop", tune=TUNE)
    for other in others:
        changed = {"tune": TUNE} | other
        changed["tune"] = changed["tune"] | {"trials": 1}
        runs = Runs(runs.shop, runs.shop.config(**SETTINGS | changed))
        searched(runs)
        assert len(lines_of(runs)) == 1, other
    # Not what does not change the trials: how much time there is, and what is made of the winner.
    changed = {"tune": TUNE | {"max_seconds": 1e6}, "predict": {"refit": False}}
    runs = Runs(runs.shop, runs.shop.config(**SETTINGS | changed))
    searched(runs)
    assert lines_of(runs) == []


def test_another_seed_tries_other_settings(tuned: Runs, tmp_path: Path) -> None:
    runs = _copy(tuned, tmp_path / "shop", tune=TUNE | {"trials": 2, "origins": 1}, seed=1)
    first, second = searched(runs).info["trials"]
    assert first["values"] == trials_of(tuned)[0]["values"]
    assert second["values"] != trials_of(tuned)[1]["values"]


def test_the_test_windows_do_not_matter(tuned: Runs, tmp_path: Path) -> None:
    [window] = features.windows_of(artifact(tuned, "inputs"), "test")
    log = shop_log()
    later = pl.col("time") >= f"{window.cutoff:%Y-%m-%d %H:%M:%S}"
    # Half of what is known from then on never happened; the last day stays, so that the windows do.
    kept = log.filter(~later | (pl.col("user") < "u030") | (pl.col("time") >= "2024-04-29"))
    assert kept.height < log.height
    runs = _ready(tmp_path / "shop", kept, **SETTINGS | {"tune": TUNE})
    assert artifact(runs, "inputs").info["splits"] == artifact(tuned, "inputs").info["splits"]
    assert [*map(listed, searched(runs).info["trials"])] == trials_of(tuned)


def test_the_time_limit_is_kept_within_a_trial(tune: Callable[..., Runs]) -> None:
    """A fit of hours is stopped; the model stays as the config has it."""
    endless = {"kind": "boosting", "max_trees": 1_000_000, "patience": 1_000_000, "min_rows_per_leaf": 5}
    limited = {"trials": 3, "max_seconds": 0.5, "space": {"leaves": {"low": 4, "high": 9}}}
    runs = tune(model=endless, tune=limited)
    started = time.monotonic()
    found = searched(runs)
    assert time.monotonic() - started < 30
    assert found.info["best"] is None
    assert found.info["trials"] == []
    assert runs.said == [
        "tune: trial 1 of 3: stopped, the time is up",
        "tune: the time was up before any trial ended; the model stays as it is",
    ]
    [stopped] = load(file_of(runs))
    assert stopped.state == "stopped"
    assert 0.5 <= stopped.seconds < 30
    assert found.model == runs.context().config.model
    searched(runs)
    assert load(file_of(runs)) == [stopped], "the time was up before"


def test_the_time_of_earlier_runs_counts_and_more_time_goes_on(tuned: Runs, tmp_path: Path) -> None:
    runs = _copy(tuned, tmp_path / "shop", tune=TUNE | {"max_seconds": 120})
    trials = load(file_of(runs))
    slow = [replace(trial, seconds=40.0) for trial in trials[:2]]
    store(file_of(runs), [*slow, tuner.Trial(trials[2].values, "stopped", seconds=40.0)])
    found = searched(runs).info
    assert lines_of(runs) == []
    assert [*map(listed, found["trials"])] == trials_of(tuned)[:2]
    runs = Runs(runs.shop, runs.shop.config(**SETTINGS | {"tune": TUNE | {"max_seconds": 6000}}))
    found = searched(runs).info
    assert lines_of(runs)[0].startswith("tune: trial 3 of 7: ")
    assert lines_of(runs)[0].endswith("; 2 min left"), "four trials, half a minute each so far"
    assert [*map(listed, found["trials"])] == trials_of(tuned), "what was stopped is tried again"


def test_the_time_left_is_no_more_than_the_limit(tuned: Runs, tmp_path: Path) -> None:
    runs = _copy(tuned, tmp_path / "shop", tune=TUNE | {"trials": 1000, "max_seconds": 1020})
    store(file_of(runs), [replace(trial, seconds=10.0) for trial in load(file_of(runs))[:2]])
    line = interrupted(runs, "tune: trial 3 of 1000")
    assert line.endswith((" 16 min left", " 17 min left")), "a thousand trials would take hours"


def test_settings_that_fail_are_passed_over(tune: Callable[..., Runs]) -> None:
    runs = tune(tune={"trials": 6, "origins": 1, "space": {"leaves": {"values": [7, 200_000]}}})
    info = searched(runs).info
    failed = [t for t in info["trials"] if t["values"]["leaves"] == 200_000]
    assert failed
    assert all(t["state"] == "failed" and "131072" in t["why"] and t["scores"] == () for t in failed)
    assert info["best"] == 0
    assert any("failed (" in line and "; best " in line for line in lines_of(runs))
    twins = [t for t in info["trials"] if t["values"]["leaves"] == 7]
    assert len(twins) > 1
    assert all(t == info["trials"][0] for t in twins)
    stored = load(file_of(runs))
    assert [t.seconds > 0 for t in stored if t.values["leaves"] == 7] == [True] + [False] * (len(twins) - 1)


def test_all_settings_failing_is_an_error(tune: Callable[..., Runs]) -> None:
    hopeless = {"trials": 3, "space": {"leaves": {"values": [200_000, 300_000]}}}
    runs = tune(model=BOOSTING | {"leaves": 200_000}, tune=hopeless)
    with pytest.raises(DataError) as error:
        searched(runs)
    text = str(error.value)
    assert text.startswith("tune: none of 3 trials could be judged; the first one: ")
    assert "131072" in text
    assert text.endswith("Take tune out to fit the model as it is, or change tune.space")


def test_too_few_cutoffs_say_how_many_it_takes(tmp_path: Path) -> None:
    runs = _ready(tmp_path / "shop", shop_log(), **{"split": {"step": "7d", "train": 2}, "tune": TUNE})
    with pytest.raises(DataError) as error:
        searched(runs)
    assert str(error.value) == (
        "tune: no cutoff can be judged by a fit on what was known before it: among 2 train and 1 validation cutoffs, "
        "none has labels to judge by, and earlier ones to train and to validate on whose labels were known; "
        "set split.train to at least 3, or take tune out"
    )
    fixed = Runs(runs.shop, runs.shop.config(split={"step": "7d", "train": 3}, tune={"trials": 3}))
    fixed.do("features")
    info = searched(fixed).info
    assert len(info["origins"]) == 1
    # Nor is anything tried that so few rows leave no choice of.
    known = features.read_all(artifact(fixed, "inputs"), ["table"], "train", "UTC")[0].table
    assert known is not None
    tried = [trial["values"]["min_rows_per_leaf"] for trial in info["trials"][1:]]
    assert max(tried) <= known.n_rows / 20


def test_lists_are_tuned_by_ndcg(tmp_path: Path) -> None:
    space = {"min_users": {"low": 1, "high": 6}}
    settings = PREFERENCE | {"split": {"step": "7d", "train": 4}, "tune": {"trials": 4, "space": space}}
    runs = _ready(tmp_path / "shop", shop_log(), **settings)
    context, info, inputs = runs.context(), searched(runs).info, artifact(runs, "inputs")
    assert info["metric"] == "ndcg@10"
    assert info["trials"][0]["values"] == {"min_users": 2}
    [asked] = features.read_all(inputs, ["matrix"], "validation", "UTC")
    learned = features.read_all(inputs, ["matrix"], "train", "UTC")
    assert info["origins"] == [asked.cutoff.isoformat()]
    for trial in info["trials"]:
        model = making.make(tuner.changed(context.config.model, trial["values"]), "ranking")
        model.fit([*learned[:2], learned[3].as_history()], [learned[3]], Options(0, 1, "ranking"))
        assert [*trial["scores"]] == [pytest.approx(_ndcg_by_hand(model.lists(asked, 10), asked), abs=1e-12)]


def _ndcg_by_hand(lists: pl.DataFrame, asked: Inputs) -> float:
    """NDCG@10 user by user, lists filled up with what most users had in the last 28 days."""
    assert asked.matrix is not None
    assert asked.matrix.labels is not None
    full = complete_lists(lists, asked.matrix, 10)
    found = []
    for user in asked.matrix.labels["user_id"].unique(maintain_order=True):
        true = set(asked.matrix.labels.filter(user_id=user)["item_id"])
        listed = full.filter(user_id=user).sort("rank")["item_id"].to_list()
        gain = sum(1 / np.log2(rank + 2) for rank, item in enumerate(listed) if item in true)
        found.append(gain / sum(1 / np.log2(rank + 2) for rank in range(min(len(true), 10))))
    return float(np.mean(found))


def test_a_file_of_trials_that_cannot_be_read_is_named(tuned: Runs, tmp_path: Path) -> None:
    for n, content in enumerate(("[{", '[{"values": {}}]', '{"a": 1}', '[{"what": 1}]')):
        runs = _copy(tuned, tmp_path / f"{n}", tune=TUNE, seed=0, predict={"refit": False})
        file_of(runs).write_text(content)
        with pytest.raises(
            ArtifactError, match=r"shop/tuning/\w+\.json cannot be read .*; delete it, and the"
        ):
            searched(runs)


def test_trials_are_read_as_they_were_written(tmp_path: Path) -> None:
    trials = [
        tuner.Trial({"a": 0.1 + 0.2, "b": None, "c": True, "d": "x"}, "complete", (1 / 3, 0.5), None, 1.25),
        tuner.Trial({"a": 1}, "failed", (), "no", 0.0),
    ]
    path = tmp_path / "folder" / "trials.json"
    assert load(path) == []
    store(path, trials)
    assert load(path) == trials
    assert [t.seconds for t in load(path)] == [1.25, 0.0]
    assert [p.name for p in path.parent.iterdir()] == ["trials.json"]


def test_settings_that_cannot_be_tuned_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    shop = Shop(tmp_path / "shop")
    unknown = shop.config(tune={"space": {"leafs": {"low": 2, "high": 9}}})
    done = ecbehave("run", "--config", unknown)
    assert (done.code, done.error) == (
        2,
        "tune.space.leafs: the model has no such key; did you mean 'leaves'?",
    )
    assert not shop.workspace.exists()


def test_no_optuna_no_tuning(tune: Callable[..., Runs], monkeypatch: pytest.MonkeyPatch) -> None:
    context = tune().context()
    tuning.check(context)
    monkeypatch.setattr(tuner, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="tune needs the package optuna, which is not installed"):
        tuning.check(context)
    tuning.check(tune(tune=None).context())


@pytest.mark.parametrize(
    ("searched", "what"),
    [
        ({"low": 1}, "give low and high, or values"),
        ({}, "give low and high, or values"),
        ({"values": [1], "low": 1}, "give either values, or low and high"),
        ({"values": [1], "log": True}, "give either values, or low and high"),
        ({"low": 3, "high": 3}, "low must be below high, but they are 3 and 3"),
        ({"low": 0, "high": 3, "log": True}, "on a log scale low must be above 0, but it is 0"),
    ],
)
def test_what_is_no_range_and_no_list(searched: dict[str, Any], what: str, tmp_path: Path) -> None:
    shop = Shop(tmp_path / "shop")
    done = ecbehave("config", "show", "--config", shop.config(tune={"space": {"leaves": searched}}))
    assert done.code == 2
    assert done.error.endswith(f"tune.space.leaves: {what}")


def test_a_range_and_a_list_are_taken() -> None:
    assert Searched(low=-1, high=0).values is None
    assert Searched(values=[None, True, 1, 1.5, "a"]).values == [None, True, 1, 1.5, "a"]
