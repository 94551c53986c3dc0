"""The command line: what it loads, prints and returns."""

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from command_line import ecbehave
from shops import PREFERENCE, Shop, shop_log

from ecbehave import __version__
from ecbehave.cli import STAGES

#: Not pydantic: typer itself loads it.
HEAVY = ("lightgbm", "sklearn", "scipy", "numpy", "polars", "pyarrow", "torch", "yaml")
#: DESIGN.md, section 6.
KEYS = {"command", "status", "artifact", "fingerprint", "rows", "seconds", "peak_memory_bytes"}


def python(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )


def loaded_by(*arguments: str) -> set[str]:
    """The packages that a command has loaded when it ends."""
    code = (
        "import sys\n"
        "from ecbehave.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: code = end.code\n"
        "else: code = 0\n"
        "print('\\nLOADED', code or 0, *{name.split('.')[0] for name in sys.modules})"
    )
    done = python(code, *arguments)
    assert "\nLOADED 0 " in done.stdout, done.stderr
    return set(done.stdout.rpartition("\nLOADED 0 ")[2].split())


@pytest.mark.parametrize(
    "arguments", [("--help",), ("run", "--help"), ("config", "--help"), ("config", "show", "--help")]
)
def test_help_loads_nothing_heavy(arguments: tuple[str, ...]) -> None:
    loaded = loaded_by(*arguments)
    assert loaded.isdisjoint(HEAVY)
    assert "rich" not in loaded
    assert "typer" in loaded


def test_it_names_its_version() -> None:
    shown = ecbehave("--version")
    assert (shown.code, shown.out) == (0, f"ecbehave {__version__}\n")
    assert metadata.version("ecbehave") == __version__
    assert loaded_by("--version").isdisjoint(HEAVY)
    assert "--version " in ecbehave("--help").out


def test_help_names_every_command_and_option() -> None:
    text = ecbehave("--help").out
    for name in (*STAGES, "run", "config"):
        assert re.search(rf"^  {name} +[A-Z]", text, re.MULTILINE)
    text = ecbehave("run", "--help").out
    for option in (
        "config",
        "set",
        "workspace",
        "threads",
        "memory",
        "force",
        "quiet",
        "json",
        "log-format",
        "wait",
    ):
        assert f"--{option} " in text


def test_no_command_is_a_request_for_help() -> None:
    done = ecbehave()
    assert done.code == 2
    assert "Commands:" in done.out + done.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("bogus",), "Error: No such command 'bogus'."),
        (("run",), "Error: Missing option '--config' / '-c'."),
        (("run", "--confg", "x.yaml"), "Error: No such option: --confg"),
        (("run", "-c", "x.yaml", "--threads", "0"), "Error: Invalid value for '--threads': "),
        (("run", "-c", "x.yaml", "--log-format", "xml"), "Error: Invalid value for '--log-format': "),
        (("run", "-c", "x.yaml", "more"), "Error: Got unexpected extra argument"),
    ],
)
def test_wrong_usage_exits_with_2_in_plain_words(arguments: tuple[str, ...], message: str) -> None:
    done = ecbehave(*arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines()[-1].startswith(message)
    assert done.err.isascii()  # no boxes


@pytest.mark.parametrize("size", ["4 bananas", "GB", "-1GB", "4PB", "", "4"])
def test_a_wrong_size_of_memory(shop: Shop, size: str) -> None:
    done = ecbehave("run", "--config", shop.config(), f"--memory={size}")
    assert done.code == 2
    assert done.error == f"--memory takes a size such as 4GB or 512MB, not {size!r}"


@pytest.mark.parametrize("wait", ["soon", "5", "-1m"])
def test_a_wrong_time_to_wait(shop: Shop, wait: str) -> None:
    done = ecbehave("run", "--config", shop.config(), f"--wait={wait}")
    assert done.code == 2
    assert (
        done.error
        == f"--wait: a duration is a whole number with a unit, such as 7d, 12h or 30m; got {wait!r}"
    )


@pytest.mark.parametrize(("size", "shown"), [("200B", "1MB"), ("1MB", "1MB"), ("0.2GB", "200MB")])
def test_too_little_memory_is_refused_with_what_is_enough(shop: Shop, size: str, shown: str) -> None:
    config = shop.config()
    assert ecbehave("ingest", "--config", config).code == 0
    done = ecbehave("clean", "--config", config, "--memory", size, "--threads", "1")
    assert done.code == 2
    enough = re.fullmatch(
        f"--memory {shown} is too little for clean on this log with 1 thread: it takes (.*); allow that",
        done.error,
    )
    assert enough
    assert not (shop.workspace / "clean").exists()
    assert ecbehave("clean", "--config", config, "--memory", enough[1], "--threads", "1").code == 0


@pytest.mark.parametrize("threads", ["1", "3"])
def test_threads_are_those_of_polars(shop: Shop, threads: str) -> None:
    code = (
        "import sys\nfrom ecbehave.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "import polars as pl\nprint(pl.thread_pool_size())"
    )
    done = python(code, "ingest", "--config", str(shop.config()), "--threads", threads)
    assert done.stdout.splitlines()[-1] == threads


# What a run prints


@pytest.fixture(scope="module")
def done_shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A shop where everything is up to date, run as cron would; not to be changed."""
    shop = Shop(tmp_path_factory.mktemp("done") / "shop")
    shop.write(shop_log())
    shop.write_items()
    done = shop.run("run", FORCE_COLOR="", TERM="xterm-256color")
    assert done.returncode == 0
    (shop.folder / "stdout").write_text(done.stdout)
    (shop.folder / "stderr").write_text(done.stderr)
    return shop


def test_cron_gets_plain_lines_on_stderr_and_the_result_on_stdout(done_shop: Shop) -> None:
    err, out = ((done_shop.folder / name).read_text() for name in ("stderr", "stdout"))
    assert "\x1b" not in err + out
    assert "\r" not in err + out
    started = [line.split(":")[0].strip() for line in err.splitlines()]
    assert [s for s in STAGES if s in started] == list(STAGES)
    lines = out.splitlines()
    assert [line.split()[:2] for line in lines[:6]] == [[stage, "done"] for stage in STAGES]
    assert lines[6].startswith("The model ")
    evaluation, predictions = (done_shop.workspace / "shop" / n for n in ("evaluation", "predictions"))
    assert lines[7:] == [
        f"report: {evaluation}/report.html",
        f"scores: {predictions}/as_of=2024-04-29/scores.parquet",
    ]


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of every file and folder, but for the lock."""
    found = {str(p): p.stat() for p in folder.rglob("*") if p.name != ".lock"}
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in found.items()}


def test_a_run_that_is_up_to_date_rewrites_nothing(done_shop: Shop) -> None:
    before = stamps(done_shop.workspace)
    result = ecbehave("run", "--config", done_shop.config(), "--json").json
    assert result["status"] == "skipped"
    assert [(s["command"], s["status"]) for s in result["stages"]] == [(s, "skipped") for s in STAGES]
    assert stamps(done_shop.workspace) == before


def test_a_run_that_is_up_to_date_loads_neither_lightgbm_nor_scikit_learn(done_shop: Shop) -> None:
    loaded = loaded_by("run", "--config", str(done_shop.config()))
    assert loaded.isdisjoint({"lightgbm", "sklearn", "torch", "rich"})
    assert "polars" in loaded


def test_json_is_one_object_with_the_promised_keys(done_shop: Shop) -> None:
    config = done_shop.config()
    for stage in STAGES:
        done = ecbehave(stage, "--config", config, "--json")
        assert done.out.count("\n") == 1
        result = done.json
        assert result.keys() >= KEYS
        assert (result["command"], result["status"]) == (stage, "skipped")
        artifact = Path(result["artifact"])
        manifest = json.loads((artifact / "manifest.json").read_text())
        assert (manifest["stage"], manifest["fingerprint"]) == (stage, result["fingerprint"])
        assert result["rows"] == sum(f["rows"] or 0 for f in manifest["files"].values())
        assert result["counts"] == manifest["counts"]
        assert result["peak_memory_bytes"] > 10_000_000


def test_json_of_evaluate_and_predict_and_run(done_shop: Shop) -> None:
    config = done_shop.config()
    evaluated, predicted, whole = (
        ecbehave(command, "--config", config, "--json").json for command in ("evaluate", "predict", "run")
    )
    stored = json.loads((done_shop.workspace / "shop/evaluation/metrics.json").read_text())
    assert evaluated["metrics"] == stored["metrics"]
    assert evaluated["baseline"] == stored["baseline_metrics"]
    assert evaluated["difference"] == stored["difference"]
    assert evaluated["verdict"] == stored["verdict"]
    assert Path(evaluated["report"]).name == "report.html"
    assert pl.read_parquet(predicted["path"]).height == predicted["rows"]
    assert whole.keys() == KEYS | {
        "stages", "verdict", "metrics", "baseline", "difference", "report", "path"
    }  # fmt: skip
    for key in ("verdict", "metrics", "baseline", "difference", "report"):
        assert whole[key] == evaluated[key]
    for key in ("path", "artifact", "fingerprint", "rows"):
        assert whole[key] == predicted[key]
    assert (whole["command"], whole["status"]) == ("run", "skipped")
    assert [s["command"] for s in whole["stages"]] == list(STAGES)


def test_force_does_everything_again(done_shop: Shop, shop: Shop) -> None:
    config = shop.config()
    assert ecbehave("ingest", "--config", config, "--json").json["status"] == "done"
    assert ecbehave("ingest", "--config", config, "--json").json["status"] == "skipped"
    assert ecbehave("ingest", "--config", config, "--json", "--force").json["status"] == "done"


def test_quiet_leaves_the_result_and_errors(shop: Shop) -> None:
    config = shop.config()
    done = ecbehave("ingest", "--config", config, "--quiet", "--json")
    assert (done.err, done.json["status"]) == ("", "done")
    done = ecbehave("ingest", "--config", config, "-q")
    assert done.err == ""
    assert re.fullmatch(
        rf"ingest    skipped  +3,515 rows +[0-9.]+ s   {re.escape(str(shop.workspace))}/events_raw\n",
        done.out,
    )
    done = ecbehave("features", "--config", config, "--quiet")
    assert done.code == 4
    assert "clean does not exist yet" in done.error


def test_lines_for_machines_are_json(shop: Shop) -> None:
    config = shop.config()
    done = ecbehave("ingest", "--config", config, "--log-format", "json")
    (line,) = [json.loads(line) for line in done.err.splitlines()]
    assert line.keys() == {"time", "level", "message"}
    assert (line["level"], line["message"]) == ("info", "ingest: 2 new of 2 files, 3,475 event rows")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", line["time"])
    for option in (("--log-format", "json"), ("--log-format=json",)):
        done = ecbehave("predict", "--config", config, *option)
        assert (done.code, done.out) == (4, "")
        (line,) = [json.loads(line) for line in done.err.splitlines()]
        assert line["level"] == "error"
        assert "does not exist yet" in line["message"]


# Options that change the config


def test_set_replaces_values_and_is_typed(shop: Shop) -> None:
    config = shop.config()
    done = ecbehave("config", "show", "-c", config, "--set", "seed=7", "--set", "task.horizon=21d")
    shown = yaml.safe_load(done.out)
    assert (shown["seed"], shown["task"]["horizon"]) == (7, "21d")
    done = ecbehave("run", "--config", config, "--set", "seed=seven")
    assert done.code == 2
    assert done.error == "--set: seed: must be a whole number >= 0 and < 2147483648, not 'seven'"


def test_another_workspace(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = shop.config()
    monkeypatch.chdir(tmp_path)
    result = ecbehave("ingest", "--config", config, "--workspace", "elsewhere", "--json").json
    assert result["artifact"] == str(tmp_path / "elsewhere/events_raw")
    assert not shop.workspace.exists()


def test_config_show_prints_a_config_that_loads_to_the_same(shop: Shop, tmp_path: Path) -> None:
    done = ecbehave("config", "show", "--config", shop.config())
    assert done.err == ""
    shown = yaml.safe_load(done.out)
    assert shown["name"] == "shop"
    assert shown["baseline"] == {"kind": "rfm"}
    assert shown["model"]["learning_rate"] == 0.03
    again = tmp_path / "again.yaml"
    again.write_text(done.out)
    assert ecbehave("config", "show", "--config", again).out == done.out


def test_config_schema_is_a_json_schema_of_every_kind() -> None:
    done = ecbehave("config", "schema")
    schema = json.loads(done.out)
    assert schema["title"] == "Config"
    text = done.out
    for kind in ("boosting", "item_knn", "rfm", "popularity", "churn", "purchase", "preference"):
        assert f'"{kind}"' in text


# What is missing or stale


#: Of predict, which may use an older model, see test_nightly.py.
UPSTREAM = {
    "clean": ("ingest", "events_raw", "dataset.timezone=Asia/Tokyo", "dataset.sources"),
    "features": ("clean", "clean", "clean.max_price=77", "clean.max_price"),
    "train": ("features", "shop/inputs", "features.windows=[3d]", "features.windows"),
    "evaluate": ("train", "shop/model", "model.leaves=3", "model.leaves"),
}


@pytest.mark.parametrize("stage", UPSTREAM)
def test_what_is_missing_is_named_with_the_command_that_makes_it(shop: Shop, stage: str) -> None:
    config = shop.config()
    before = {"clean": 0, "features": 1, "train": 2, "evaluate": 3}[stage]
    for command in STAGES[:before]:
        assert ecbehave(command, "--config", config).code == 0
    made_by, artifact, *_ = UPSTREAM[stage]
    done = ecbehave(stage, "--config", config)
    assert done.code == 4
    assert done.error == (
        f"{shop.workspace}/{artifact} does not exist yet; run: ecbehave {made_by} --config {config} "
        f"(or `ecbehave run`, which does all that is stale)"
    )


@pytest.mark.parametrize("stage", UPSTREAM)
def test_what_is_stale_is_named_with_the_settings_that_changed(done_shop: Shop, stage: str) -> None:
    made_by, artifact, override, key = UPSTREAM[stage]
    config = done_shop.config()
    before = stamps(done_shop.workspace)
    done = ecbehave(stage, "--config", config, "--set", override)
    assert done.code == 4
    assert done.error == (
        f"{done_shop.workspace}/{artifact} is out of date: these settings have changed: {key}; "
        f"run: ecbehave {made_by} --config {config} (or `ecbehave run`, which does all that is stale)"
    )
    assert stamps(done_shop.workspace) == before


def test_newer_data_makes_the_stages_after_it_stale(shop: Shop) -> None:
    config = shop.config()
    for stage in ("ingest", "clean", "features"):
        assert ecbehave(stage, "--config", config).code == 0
    shop.write(shop_log(2, 20), "events-2.csv")
    assert ecbehave("ingest", "--config", config).code == 0
    done = ecbehave("train", "--config", config)
    assert done.error == (
        f"{shop.workspace}/clean is out of date: what it was made from has changed; run: ecbehave clean --config "
        f"{config} (or `ecbehave run`, which does all that is stale)"
    )
    whole = ecbehave("run", "--config", config, "--json").json
    assert [s["status"] for s in whole["stages"]] == ["skipped"] + ["done"] * 5


def test_a_run_does_only_what_is_stale(done_shop: Shop, tmp_path: Path) -> None:
    """A second config on the same workspace shares the log."""
    config = done_shop.config("second", **PREFERENCE)
    whole = ecbehave("run", "--config", config, "--json").json
    assert [s["status"] for s in whole["stages"]] == ["skipped"] * 2 + ["done"] * 4
    assert whole["status"] == "done"
    again = ecbehave("run", "--config", config, "--set", "predict.k=3", "--json").json
    assert [s["status"] for s in again["stages"]] == ["skipped"] * 5 + ["done"]


# Exit codes


def test_exit_code_5_after_the_evaluation_is_published(shop: Shop) -> None:
    evaluate = {"bootstrap": 100, "require_improvement": True}
    config = shop.config(model={"kind": "rfm"}, evaluate=evaluate)
    done = ecbehave("run", "--config", config, "--json", "--quiet")
    assert done.code == 5
    printed = json.loads(done.out)
    assert [stage["command"] for stage in printed["stages"]] == [
        "ingest",
        "clean",
        "features",
        "train",
        "evaluate",
    ]
    assert printed["verdict"]["standing"] != "better"
    stored: dict[str, Any] = json.loads((shop.workspace / "shop/evaluation/metrics.json").read_text())
    assert done.err == (
        f"error: quality gate: {stored['verdict']['text']} evaluate.require_improvement demands a clear improvement; "
        f"see {shop.workspace}/shop/evaluation/report.html\n"
    )
    assert not (shop.workspace / "shop/predictions").exists()


def test_exit_code_3_of_data(shop: Shop) -> None:
    done = ecbehave("run", "--config", shop.config(), "--quiet", "--set", "split.train=40")
    assert done.code == 3
    assert done.error.startswith("no complete horizon for every cutoff: ")


def test_interrupted_while_it_waits_for_another_run(shop: Shop) -> None:
    shop.workspace.mkdir()
    with (shop.workspace / ".lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("ecbehave predict (process 1)")
        lock.flush()
        command = [sys.executable, "-m", "ecbehave", "ingest", "--config", str(shop.config())]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        assert process.stderr.readline() == (
            "workspace is in use by ecbehave predict (process 1); waiting up to 600 s\n"
        )
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "")
    assert err == "error: interrupted; nothing half-done was published. Run again to go on\n"


def test_a_bug_is_a_traceback_with_code_1(shop: Shop) -> None:
    code = (
        "import sys\nfrom ecbehave import cli\n"
        "def broken(name): raise ZeroDivisionError('a bug')\n"
        "cli._stage = broken\ncli.main()"
    )
    done = python(code, "ingest", "--config", str(shop.config()))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1] == "ZeroDivisionError: a bug"
