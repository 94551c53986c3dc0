"""compare: a winner only where the difference is real, and only on the same rows."""

import json
import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from command_line import ecbehave
from shops import PREFERENCE, Shop, shop_log
from stage_runs import Runs

from ecbehave.errors import ConfigError, DataError
from ecbehave.stages.compare import Entry, compare, entry_of

FOREST = {"kind": "random_forest", "trees": 20}
CONFIGS: dict[str, dict[str, Any]] = {
    "forest": {"model": FOREST},
    "other_seed": {"model": FOREST, "seed": 1},
    "constant": {"model": {"kind": "base_rate"}, "evaluate": {"bootstrap": 100, "require_improvement": True}},
    "knn": PREFERENCE,
    "popular": PREFERENCE | {"model": {"kind": "popularity"}},
}
BINARY, RANKING = ("forest", "other_seed", "constant"), ("knn", "popular")


def made(folder: Path, n_users: int = 60) -> Shop:
    shop = Shop(folder)
    shop.write(shop_log(n_users=n_users))
    shop.write_items()
    for name, settings in CONFIGS.items():
        shop.config(name, **settings)
    return shop


def files(shop: Shop, *names: str) -> list[Path]:
    return [shop.folder / f"{name}.yaml" for name in names]


#: A fit of its own for each of two test cutoffs, and one fit for both.
CUTOFFS = {"train": 2, "step": "7d", "test": 2}
QUICK: dict[str, Any] = {"evaluate": {"bootstrap": 100}, "features": {"groups": []}}
BUYS = {"model": {"kind": "rfm"}} | QUICK
LISTS = PREFERENCE | {"model": {"kind": "popularity"}} | QUICK
SPLITS: dict[str, dict[str, Any]] = {
    "rolling": BUYS | {"split": CUTOFFS | {"rolling": True}},
    "once": BUYS | {"split": CUTOFFS},
    "rolling_lists": LISTS | {"split": CUTOFFS | {"rolling": True}},
    "once_lists": LISTS | {"split": CUTOFFS},
}


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A shop whose configs have all been evaluated by `compare --run`; not to be changed."""
    shop = made(tmp_path_factory.mktemp("compare") / "shop")
    for names in (BINARY, RANKING):
        done = ecbehave("compare", *files(shop, *names), "--run", "--quiet", "--threads", "1")
        assert (done.code, done.err) == (0, "")
    return shop


def entry(shop: Shop, name: str) -> Entry:
    return entry_of(Runs(shop, shop.folder / f"{name}.yaml").context(), run=False)


@pytest.fixture(scope="module")
def entries(judged: Shop) -> dict[str, Entry]:
    return {name: entry(judged, name) for name in CONFIGS}


def named(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {model["name"]: model for model in result["models"]}


# ---- what it says


def test_two_seeds_of_one_model_are_tied_and_the_cheapest_is_chosen(judged: Shop):
    result = ecbehave("compare", *files(judged, *BINARY), "--json", "--resamples", "200").json
    models = named(result)
    assert models["forest"]["metric"]["value"] != models["other_seed"]["metric"]["value"]
    assert {name: model["standing"] for name, model in models.items()} == {
        "forest": "tied",
        "other_seed": "tied",
        "constant": "behind",
    }
    cheapest = min(("forest", "other_seed"), key=lambda name: models[name]["train_seconds"])
    assert (result["winner"], result["choice"]) == (None, cheapest)
    assert [name for name, model in models.items() if model["is_choice"]] == [cheapest]
    first, second = (model["name"] for model in result["models"][:2])
    assert result["verdict"] == (
        f"There is no winner: in AUROC, {first} and {second} cannot be told apart. The cheapest of them to train is "
        f"{cheapest} ({models[cheapest]['train_seconds']:.1f} s). NOT clearly better than its baseline: constant "
        f"(against rfm)."
    )


def test_a_real_difference_has_a_winner(judged: Shop):
    result = ecbehave("compare", *files(judged, "constant", "forest"), "--json").json
    assert [(m["name"], m["standing"]) for m in result["models"]] == [
        ("forest", "winner"),
        ("constant", "behind"),
    ]
    assert (result["winner"], result["choice"]) == ("forest", "forest")
    assert result["verdict"].startswith(
        "The winner is forest: its AUROC is really above that of every other model."
    )
    [pair] = result["pairs"]
    assert (pair["first"], pair["second"], pair["is_real"]) == ("forest", "constant", True)
    assert 0 < pair["low"] < pair["value"] < pair["high"]
    assert result["models"][0]["to_best"] is None
    of_loser = result["models"][1]["to_best"]
    assert of_loser == {key: -pair[mirrored] for key, mirrored in
                        (("value", "value"), ("low", "high"), ("high", "low"))}  # fmt: skip


def test_a_difference_that_does_not_count_makes_no_winner(judged: Shop):
    asked = ("compare", *files(judged, "constant", "forest"), "--json", "--least", "0.6")
    result = ecbehave(*asked).json
    assert (result["winner"], result["least_difference"]) == (None, 0.6)
    assert {model["standing"] for model in result["models"]} == {"tied"}


@pytest.mark.parametrize("names", [BINARY, RANKING])
def test_values_and_costs_are_those_that_were_published(judged: Shop, names: tuple[str, ...]):
    result = ecbehave("compare", *files(judged, *names), "--json").json
    assert {"command", "status", "rows", "seconds", "peak_memory_bytes"} <= set(result)
    assert (result["command"], result["status"]) == ("compare", "done")
    values = [model["metric"]["value"] for model in result["models"]]
    assert values == sorted(values, reverse=True)
    for name, model in named(result).items():
        folder = judged.workspace / name
        metrics = json.loads((folder / "evaluation" / "metrics.json").read_text())
        run = json.loads((folder / "model" / "manifest.json").read_text())["run"]
        published = metrics["metrics"][result["headline"]]
        assert model["metric"]["value"] == pytest.approx(published["value"], rel=1e-12)
        assert model["metric"]["low"] == pytest.approx(published["low"], abs=0.1)
        assert model["metric"]["high"] == pytest.approx(published["high"], abs=0.1)
        assert (model["kind"], model["baseline"]) == (metrics["model"], metrics["baseline"])
        assert model["against_baseline"] == metrics["verdict"]["standing"]
        assert model["beats_baseline"] == (metrics["verdict"]["standing"] == "better")
        assert (model["train_seconds"], model["peak_memory_bytes"]) == (
            run["seconds"],
            run["peak_memory_bytes"],
        )
        assert model["evaluation"] == str(folder / "evaluation")
        assert result["rows"] == metrics["n_rows"]


@pytest.mark.parametrize("names", [("rolling", "once"), ("rolling_lists", "once_lists")])
def test_rolling_origins_are_judged_at_all_of_their_cutoffs(tmp_path: Path, names: tuple[str, str]):
    shop = Shop(tmp_path / "shop")
    shop.write(shop_log(n_users=40))
    shop.write_items()
    for name in names:
        shop.config(name, **SPLITS[name])
    result = ecbehave("compare", *files(shop, *names), "--run", "--json", "--threads", "1").json
    stored = {
        name: json.loads((shop.workspace / name / "evaluation" / "metrics.json").read_text())
        for name in names
    }
    assert result["rows"] == stored[names[0]]["n_rows"] == stored[names[1]]["n_rows"]
    value = {name: model["metric"]["value"] for name, model in named(result).items()}
    published = stored[names[0]]["metrics"][result["headline"]]["value"]
    assert value[names[0]] == pytest.approx(published, rel=1e-12)
    # Beside rolling origins, one fit is judged in their way.
    means = [at["model"] for at in stored[names[1]]["per_cutoff"]]
    is_binary = result["headline"] == "auroc"
    assert result["is_mean_over_cutoffs"] == is_binary
    expected = sum(means) / 2 if is_binary else stored[names[1]]["metrics"][result["headline"]]["value"]
    assert value[names[1]] == pytest.approx(expected, rel=1e-12)


def test_order_of_configs_changes_nothing(judged: Shop):
    orders = [BINARY, BINARY[::-1]]
    results = [ecbehave("compare", *files(judged, *names), "--json").json for names in orders]
    for result in results:
        del result["seconds"], result["peak_memory_bytes"]
    assert results[0] == results[1]


def test_plain_lines_for_cron(judged: Shop):
    done = ecbehave("compare", *files(judged, "constant", "forest"))
    assert (done.code, done.err) == (0, "")
    header, first, second, verdict = done.out.splitlines()
    assert re.split(r"  +", header) == [
        "model", "kind", "AUROC", "to the best", "train", "memory", "beats its baseline", "verdict",
    ]  # fmt: skip
    number = r"-?\d\.\d+"
    interval = rf"{number} \({number} to {number}\)"
    assert re.fullmatch(
        rf"forest +random_forest +{interval} +\d+\.\d s +[\d,]+ MB +\S.* \(rfm\) +winner", first
    )
    assert re.fullmatch(
        rf"constant +base_rate +{interval} +{interval} +\d+\.\d s +[\d,]+ MB +NO, unclear \(rfm\) +behind",
        second,
    )
    assert verdict.startswith("The winner is forest: ")


def test_a_table_for_a_person_at_a_terminal(judged: Shop):
    reader, writer = pty.openpty()
    command = [sys.executable, "-m", "ecbehave", "compare", *map(str, files(judged, "constant", "forest"))]
    environment = os.environ | {"COLUMNS": "200", "TERM": "xterm"}
    with subprocess.Popen(command, stdout=writer, stderr=subprocess.PIPE, env=environment) as process:
        os.close(writer)
        seen = b""
        while part := _read(reader):
            seen += part
        assert process.wait() == 0
    os.close(reader)
    text = seen.decode()
    assert "┏" in text
    assert re.search(r"│.* forest .*│.* random_forest .*│.* winner .*│", text)
    assert "The winner is forest: " in text


def _read(reader: int) -> bytes:
    try:
        return os.read(reader, 4096)
    except OSError:  # the other end is closed
        return b""


def test_help_names_it():
    assert re.search(r"^  compare +Judge several models", ecbehave("--help").out, re.MULTILINE)
    text = ecbehave("compare", "--help").out
    options = (
        "run",
        "resamples",
        "least",
        "set",
        "workspace",
        "threads",
        "memory",
        "quiet",
        "json",
        "log-format",
        "wait",
    )
    assert all(f"--{option} " in text for option in options)


# ---- the state that it finds


def test_a_config_that_was_not_evaluated_says_what_to_run(judged: Shop, tmp_path: Path):
    shop = made(tmp_path / "fresh")
    done = ecbehave("compare", *files(shop, "forest", "constant"))
    assert done.code == 4
    assert done.error == (
        f"{shop.workspace}/forest/evaluation does not exist yet; run: ecbehave evaluate --config "
        f"{shop.folder}/forest.yaml (or `ecbehave run`, which does all that is stale)"
    )
    changed = judged.folder / "changed.yaml"
    changed.write_text((judged.folder / "forest.yaml").read_text() + "name: forest\n")
    done = ecbehave("compare", changed, *files(judged, "constant"), "--workspace", judged.workspace)
    assert done.code == 0
    changed.write_text(changed.read_text().replace("trees: 20", "trees: 21"))
    done = ecbehave("compare", changed, *files(judged, "constant"))
    changed.unlink()
    assert done.code == 4
    assert "these settings have changed: model.trees; run: ecbehave train" in done.error


def test_scores_that_somebody_has_changed_are_refused(judged: Shop, tmp_path: Path):
    shop = Shop(tmp_path / "copy")
    shutil.copytree(judged.folder, shop.folder, dirs_exist_ok=True)
    scores = shop.workspace / "forest" / "evaluation" / "test_scores.parquet"
    content = bytearray(scores.read_bytes())
    content[len(content) // 2] ^= 1
    scores.write_bytes(content)
    done = ecbehave("compare", *files(shop, "forest", "constant"))
    assert done.code == 4
    assert done.error == (
        f"{scores.parent} is not what the evaluate stage published: test_scores.parquet is changed. Nothing of it was "
        f"used; make it again with --force"
    )


def test_run_does_what_is_stale_and_nothing_else(judged: Shop, tmp_path: Path):
    shop = Shop(tmp_path / "copy")
    shutil.copytree(judged.folder, shop.folder, dirs_exist_ok=True)
    shop.config("constant", model={"kind": "base_rate"}, seed=3)
    published = (shop.workspace / "forest" / "evaluation" / "manifest.json").stat().st_mtime_ns
    done = ecbehave("compare", *files(shop, "forest", "constant"), "--run", "--threads", "1")
    assert done.code == 0
    assert "train: base_rate on 4 cutoffs" in done.err
    assert "random_forest" not in done.err
    assert (shop.workspace / "forest" / "evaluation" / "manifest.json").stat().st_mtime_ns == published


def test_a_value_is_replaced_in_every_config(judged: Shop, tmp_path: Path):
    shop = Shop(tmp_path / "copy")
    shutil.copytree(judged.folder, shop.folder, dirs_exist_ok=True)
    shop.config("other_rule", model={"kind": "base_rate"}, baseline={"kind": "base_rate"})
    both = ("compare", *files(shop, "constant", "other_rule"), "--threads", "1")
    changed = ("--set", "seed=7", "--set", "evaluate.bootstrap=120")
    assert ecbehave(*both, "--run", *changed).code == 0
    for name in ("constant", "other_rule"):
        manifest = json.loads((shop.workspace / name / "evaluation" / "manifest.json").read_text())
        assert manifest["seed"] == 7
        assert manifest["config"]["evaluate"]["bootstrap"] == 120
    assert ecbehave(*both, *changed).code == 0
    assert ecbehave(*both).code == 4
    done = ecbehave(*both, "--set", "sed=7")
    assert (done.code, done.error) == (2, "--set: sed: unknown key; did you mean 'seed'?")


def test_one_config_is_nothing_to_compare(judged: Shop):
    done = ecbehave("compare", *files(judged, "forest"))
    assert (done.code, done.error) == (
        2,
        "compare takes two configs or more: ecbehave compare a.yaml b.yaml",
    )


@pytest.mark.parametrize(("option", "value"), [("--resamples", "99"), ("--least", "-0.1")])
def test_numbers_out_of_range_are_refused(judged: Shop, option: str, value: str):
    done = ecbehave("compare", *files(judged, "forest", "constant"), option, value)
    assert (done.code, done.out) == (2, "")
    assert f"Invalid value for '{option}'" in done.err


def test_configs_that_take_each_others_place_are_refused(judged: Shop):
    config = judged.folder / "forest.yaml"
    done = ecbehave("compare", config, config)
    assert (done.code, done.error) == (
        2,
        f"{config} and {config} have the same name, forest, in the same workspace, so one takes the place of the "
        f"other; give each a name of its own",
    )


# ---- the same rows, or nothing


def refusal(first: Entry, second: Entry) -> str:
    with pytest.raises(ConfigError) as caught:
        compare([first, second], 100, 0.001)
    start = f"{first.config_file} and {second.config_file} cannot be compared: "
    end = (
        " All models must be judged on the same rows; give the configs the same dataset, clean, task, split and "
        "evaluate.k, and run them again"
    )
    message = str(caught.value)
    assert message.startswith(start)
    assert message.endswith(end)
    return message.removeprefix(start).removesuffix(end)


def test_other_questions_are_refused(judged: Shop):
    done = ecbehave("compare", *files(judged, "forest", "knn"))
    assert done.code == 2
    assert (
        "cannot be compared: the first is about churn, the second about preference. These settings differ: "
        "split.train, task.active_within, task." in done.error
    )


def test_the_target_of_pairs_is_part_of_the_question(entries: dict[str, Entry]):
    other = replace(entries["forest"], question="purchase of category")
    assert (
        refusal(entries["forest"], other)
        == "the first is about churn, the second about purchase of category."
    )


def test_other_windows_are_refused(entries: dict[str, Entry]):
    first = entries["forest"]
    [window] = first.windows
    longer = replace(window, end=window.end + timedelta(days=7))
    asks = first.asks | {"task": first.asks["task"] | {"horizon": "21d"}}
    assert refusal(first, replace(first, windows=[longer], asks=asks)) == (
        "the test windows differ, 1 cutoff (2024-04-16), labels 2024-04-16 to 2024-04-29 and 1 cutoff (2024-04-16), "
        "labels 2024-04-16 to 2024-05-06. These settings differ: task.horizon."
    )


@pytest.mark.parametrize("name", ["forest", "knn"])
def test_other_rows_are_refused(entries: dict[str, Entry], name: str):
    first = entries[name]
    n, keys = first.truth.height, first.keys
    shown = " ".join(map(str, first.truth.select(keys).row(2)))
    assert refusal(
        first, replace(first, truth=first.truth.with_row_index().filter(pl.col("index") != 2).drop("index"))
    ) == (f"1 of {n} rows were judged only in the first and 0 of {n - 1} only in the second, e.g. {shown}.")


def test_other_labels_are_refused(entries: dict[str, Entry]):
    first = entries["forest"]
    is_turned = pl.int_range(pl.len()) < 4
    turned = first.truth.with_columns(label=pl.when(is_turned).then(1 - pl.col("label")).otherwise("label"))
    three = "; ".join(" ".join(map(str, row)) for row in first.truth.select(first.keys).head(3).rows())
    assert refusal(first, replace(first, truth=turned)) == (
        f"4 of {first.truth.height} rows have another label, e.g. {three}."
    )


def test_other_lengths_of_lists_are_refused(entries: dict[str, Entry]):
    first = entries["knn"]
    other = replace(first, metrics=first.metrics | {"headline": "ndcg@5"})
    assert refusal(first, other) == "the first is judged by ndcg@10, the second by ndcg@5."


# ---- when nothing can be said


def few(found: Entry, keep: Callable[[pl.DataFrame], pl.DataFrame]) -> Entry:
    return replace(found, truth=keep(found.truth), values=keep(found.values))


def test_too_few_users_have_no_winner(entries: dict[str, Entry]):
    pair = [few(entries[name], lambda frame: frame.head(30)) for name in ("forest", "constant")]
    # It knows everything.
    pair[0] = replace(pair[0], values=pair[0].truth.rename({"label": "value"}).cast({"value": pl.Float64}))
    assert compare(pair, 100, 0.001)["winner"] == "forest"
    result = compare([few(one, lambda frame: frame.head(29)) for one in pair], 100, 0.001)
    cheapest = min(result["models"], key=lambda model: float(model["train_seconds"]))
    assert result["winner"] is None
    assert not result["pairs"][0]["is_real"]
    assert result["verdict"].startswith(
        f"Too few users to tell models apart: 29 were judged, and it takes 30. The cheapest of them to train is "
        f"{cheapest['name']} ("
    )


@pytest.mark.parametrize("is_rolling", [False, True])
def test_labels_of_one_class_have_no_winner(entries: dict[str, Entry], is_rolling: bool):
    first = entries["forest"]
    same = replace(
        first,
        truth=first.truth.with_columns(label=pl.lit(0, pl.Int8)),
        asks=first.asks | {"split": first.asks["split"] | {"rolling": is_rolling}},
    )
    with pytest.raises(DataError) as caught:
        compare([same, same], 100, 0.001)
    assert str(caught.value) == (
        f"the test labels have one class only: 0 of {first.truth.height} rows are 1, so no model can be better than "
        f"another; change task.horizon or task.active_within, or set split.test higher"
    )


def test_with_rolling_origins_each_cutoff_is_judged_apart(entries: dict[str, Entry]):
    """A fit for each cutoff: what differs between the scales of their scores must not count."""

    def two_cutoffs(found: Entry, shift: float, *, rolling: bool) -> Entry:
        later = pl.col("cutoff") + timedelta(days=7)
        values = found.values.with_columns(cutoff=later, value=pl.col("value") + shift)
        return replace(
            found,
            truth=pl.concat([found.truth, found.truth.with_columns(cutoff=later)]).sort(found.keys),
            values=pl.concat([found.values, values]).sort(found.keys),
            asks=found.asks | {"split": found.asks["split"] | {"rolling": rolling}},
        )

    first, plain = entries["forest"], compare([entries["forest"], entries["constant"]], 100, 0.001)
    pair = [two_cutoffs(first, 100, rolling=True), two_cutoffs(entries["constant"], 0, rolling=False)]
    value = named(plain)["forest"]["metric"]["value"]
    assert named(compare(pair, 100, 0.001))["forest"]["metric"]["value"] == pytest.approx(value, rel=1e-12)
    said = "AUROC is the mean over the test cutoffs: each was scored by a fit of its own."
    result = compare(pair, 100, 0.001)
    assert result["is_mean_over_cutoffs"]
    assert result["verdict"].endswith(f" {said}")
    pooled = compare([two_cutoffs(first, 100, rolling=False), pair[1]], 100, 0.001)
    assert named(pooled)["forest"]["metric"]["value"] < value - 0.05
    assert not pooled["is_mean_over_cutoffs"]
    assert said not in pooled["verdict"]
    alone = replace(first, asks=pair[0].asks)
    assert not compare([alone, entries["constant"]], 100, 0.001)["is_mean_over_cutoffs"]
