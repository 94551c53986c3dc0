import re
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from ecbehave.config import Config
from ecbehave.config.decision import ProbabilityDecision
from ecbehave.config.file import Loaded, load
from ecbehave.config.model import ModelConfig
from ecbehave.config.reference import json_schema, reference
from ecbehave.config.values import Duration, format_duration
from ecbehave.config.yaml import to_yaml
from ecbehave.errors import ConfigError
from ecbehave.models import config_class


class Trees(ModelConfig):
    """Toy trees."""

    kind: Literal["trees"]
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Weight of each tree."""
    leaves: Annotated[int, Field(ge=2)] = 15
    """Most leaves of a tree."""
    odd: list[int] | str = "none"
    """Takes what the messages have no words of their own for."""


class Rfm(ModelConfig):
    """Toy rule."""

    kind: Literal["rfm"]


class Popularity(ModelConfig):
    """Toy list."""

    kind: Literal["popularity"]
    window: Duration | Literal["all"] = timedelta(days=28)
    """Time that counts."""
    weights: dict[str, float] = Field(default={"view": 0.2})
    """Weight of an event | by type."""


Model = Annotated[Trees | Rfm | Popularity, Field(discriminator="kind")]


class ToyConfig(Config):
    """One run."""

    model: Model
    """The model, chosen by `kind`."""
    baseline: Model
    """The rule to beat."""


QUOTES = "; a value with special characters (: # * & @ % { [) needs quotes"

GOOD = """\
workspace: ../work
dataset:
  sources:
    - path: data/*.csv
      columns: {user_id: user, ts: time}
      event_type: purchase
task: {kind: churn}
model: {kind: trees}
"""


def write(folder: Path, text: str, name: str = "churn.yaml") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def read(path: Path, *overrides: str, workspace: str | None = None) -> Loaded[ToyConfig]:
    return load(path, ToyConfig, overrides, workspace)


def refusal(path: Path, *overrides: str, workspace: str | None = None) -> str:
    """The message without the folder of the test."""
    with pytest.raises(ConfigError) as error:
        read(path, *overrides, workspace=workspace)
    assert error.value.exit_code == 2
    return str(error.value).replace(f"{path.parent}/", "")


def test_a_short_file_is_filled_with_defaults(tmp_path: Path) -> None:
    loaded = read(write(tmp_path, GOOD))
    assert loaded.config.name == "churn"
    assert loaded.config.task.horizon == timedelta(days=28)
    assert loaded.config.baseline == Rfm(kind="rfm")
    assert loaded.public["task"] == {
        "kind": "churn",
        "event": "purchase",
        "active_within": "28d",
        "horizon": "28d",
    }
    assert list(loaded.public) == list(ToyConfig.model_fields)


def test_values_are_what_yaml_1_2_makes_of_them(tmp_path: Path) -> None:
    text = GOOD.replace(
        "event_type: purchase", 'event_type: {column: "010", map: {1: view, no: cart, 2024-01-01: buy}}'
    )
    text += "clean: {earliest: 2020-02-03, max_price: 1.5e3}\npredict: {as_of: '2024-05-06', refit: False}\n"
    text += "seed: 12\ndecision: {kind: probability, threshold: .5}\n"
    config = read(write(tmp_path, text)).config
    event_type = config.dataset.sources[0].event_type
    assert not isinstance(event_type, str)
    assert event_type is not None
    assert event_type.column == "010"
    assert event_type.map == {"1": "view", "no": "cart", "2024-01-01": "buy"}
    assert config.clean.earliest == date(2020, 2, 3)
    assert config.clean.max_price == 1500
    assert config.predict.as_of == date(2024, 5, 6)
    assert (config.predict.refit, config.seed) == (False, 12)
    assert config.decision == ProbabilityDecision(kind="probability", threshold=0.5)


def test_a_date_stays_the_text_that_was_written_where_text_is_expected(tmp_path: Path) -> None:
    assert read(write(tmp_path, GOOD + "name: 2024-01-01\n")).config.name == "2024-01-01"


def test_null_takes_back_what_the_base_says_and_a_byte_order_mark_is_no_harm(tmp_path: Path) -> None:
    source = GOOD.replace("event_type", "timezone: null\n      event_type")
    path = tmp_path / "churn.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + source.encode())
    assert read(path).config.dataset.sources[0].timezone is None


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "seed: 1e3",
            'seed: 1e3 is text to some YAML readers; write 1.0e+3 or 1000 for the number, or "1e3" for text',
        ),
        ("seed: 010", 'seed: 010 is octal to some YAML readers; write 10 for the number, or "010" for text'),
        ("seed: 12:30", 'seed: 12:30 is a number in base 60 to some YAML readers; write "12:30" for text'),
        ("name: 1:30", 'name: 1:30 is a number in base 60 to some YAML readers; write "1:30" for text'),
        ("name: no", 'name: no is false to some YAML readers; write false, or "no" for text'),
        (
            "predict: {refit: On}",
            'predict.refit: On is true to some YAML readers; write true, or "On" for text',
        ),
        (
            "predict: {refit: off}",
            'predict.refit: off is false to some YAML readers; write false, or "off" for text',
        ),
        (
            "predict: {refit: yes}",
            'predict.refit: yes is true to some YAML readers; write true, or "yes" for text',
        ),
        ("predict: {refit: 'no'}", "predict.refit: must be true or false, not 'no'"),
        ("predict: {refit: 1}", "predict.refit: must be true or false, not 1"),
        ("seed: '5'", "seed: must be a whole number >= 0 and < 2147483648, not '5'"),
        ("seed: 1_000", "seed: must be a whole number >= 0 and < 2147483648, not '1_000'"),
        ("seed: 5.0", "seed: must be a whole number >= 0 and < 2147483648, not 5.0"),
        ("seed: -1", "seed: must be a whole number >= 0 and < 2147483648, not -1"),
        ("seed: true", "seed: must be a whole number >= 0 and < 2147483648, not true"),
        (
            "seed: !!int x",
            "seed: the tag tag:yaml.org,2002:int has no meaning here; write the value without it",
        ),
        ("seed: !env X", "seed: the tag !env has no meaning here; write the value without it"),
        ("clean: {max_price: .nan}", "clean.max_price: must be a number > 0, not '.nan'"),
        ("name: 5", "name: must be text that matches ^[A-Za-z0-9][A-Za-z0-9_.-]*$, not 5"),
        ("name: a b", "name: must be text that matches ^[A-Za-z0-9][A-Za-z0-9_.-]*$, not 'a b'"),
        ("sed: 1", "sed: unknown key; did you mean 'seed'?"),
        ("extend: a.yaml", "extend: unknown key; did you mean 'extends'?"),
        (
            "zzz: 1",
            "zzz: unknown key; use one of name, workspace, dataset, clean, task, split, features, model, "
            "baseline, tune, calibration, decision, evaluate, predict, seed, extends",
        ),
        ("split: {stepp: 7d}", "split.stepp: unknown key; did you mean 'step'?"),
        (
            "split: {extends: a}",
            "split.extends: unknown key; use one of kind, step, train, validation, test, rolling, fit_on_validation",
        ),
        ("split:", "split: must be a mapping, not empty (null)"),
        ("split: [1]", "split: must be a mapping, not a list"),
        (
            "split: {step: 28}",
            "split.step: a duration is a whole number with a unit, such as 7d, 12h or 30m; got 28",
        ),
        (
            "features: {windows: []}",
            "features.windows: must be a non-empty list of durations, not an empty list",
        ),
        (
            "features: {windows: {a: 7d}}",
            "features.windows: must be a non-empty list of durations, not a mapping",
        ),
        ("features: {windows: [14d, 7d]}", "features.windows: windows must ascend, each once"),
        ("evaluate: {k: [5, x]}", "evaluate.k.1: must be a whole number > 0, not 'x'"),
        (
            "evaluate: {threshold: 0.5}",
            "evaluate.threshold: unknown key; use one of bootstrap, segments, k, permutation_rows, "
            "require_improvement, truth",
        ),
        (
            "decision: {kind: probability, threshold: 2}",
            "decision.threshold: must be a number > 0 and < 1, not 2",
        ),
        (
            "decision: {kind: profits}",
            "decision.kind: unknown kind 'profits'; did you mean 'profit'?",
        ),
        ("decision: {top: 5}", "decision.kind: missing; use one of f1, capacity, profit, probability"),
        (
            "decision: {kind: capacity, top: 5, control_share: 1.0}",
            "decision.control_share: must be a number >= 0 and < 1, not 1.0",
        ),
        (
            "decision: {kind: profit, value: 10, cost: 3, success_rate: 0.2}",
            "decision: targeting would never pay: it costs 3, and brings value x success_rate = 2 at most; check the "
            "three",
        ),
        (
            "calibration: {method: isotone}",
            "calibration.method: must be one of auto, platt, beta, isotonic, not 'isotone'; did you mean 'isotonic'?",
        ),
        (
            "predict: {as_of: latst}",
            "predict.as_of: must be latest or a date (YYYY-MM-DD), not 'latst'; did you mean 'latest'?",
        ),
        ("predict: {as_of: soon}", "predict.as_of: must be latest or a date (YYYY-MM-DD), not 'soon'"),
        ("clean: {earliest: soon}", "clean.earliest: a day is written as 2024-12-31; got 'soon'"),
        ("clean: {outliers: {prize: {}}}", "clean.outliers.prize: unknown key; did you mean 'price'?"),
        (
            "clean: {outliers: 5}",
            "clean.outliers: must be a mapping with keys price, quantity, amount, not 5",
        ),
        (
            "clean: {outliers: {price: {action: clipp}}}",
            "clean.outliers.price.action: must be one of clip, quarantine, not 'clipp'; did you mean 'clip'?",
        ),
        ("baseline: {kind: fmr}", "baseline.kind: unknown kind 'fmr'; did you mean 'rfm'?"),
        ("baseline: {kind: [x]}", "baseline.kind: unknown kind a list; use one of trees, rfm, popularity"),
        ("baseline: {}", "baseline.kind: missing; use one of trees, rfm, popularity"),
        ("baseline: rfm", "baseline: must be a mapping with kind: trees, rfm or popularity, not 'rfm'"),
        (
            "baseline: {kind: popularity, windw: 7d}",
            "baseline.windw: unknown key; did you mean 'window'?",
        ),
        ("baseline: {kind: popularity, window: 7}", "baseline.window: must be a duration or all, not 7"),
        ("baseline: {kind: popularity, weights: {a: x}}", "baseline.weights.a: must be a number, not 'x'"),
        ("baseline: {kind: trees, odd: [x]}", "baseline.odd.0: Input should be a valid integer"),
        ("seed: 1\nseed: 2", "seed: the key stands twice, first on line 9; keep one"),
        ("workspace: x", "workspace: the key stands twice, first on line 1; keep one"),
    ],
)
def test_each_wrong_value_has_a_message_of_its_own(tmp_path: Path, line: str, message: str) -> None:
    last_line = 8 + len(line.splitlines())
    assert refusal(write(tmp_path, GOOD + line + "\n")) == f"churn.yaml, line {last_line}: {message}"


def test_a_long_value_is_cut_in_the_message(tmp_path: Path) -> None:
    message = refusal(write(tmp_path, f"{GOOD}seed: {'x' * 300}\n"))
    assert message.endswith(f"not '{'x' * 76}...")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("event_type: 5", "line 6: dataset.sources.0.event_type: must be text or a mapping, not 5"),
        (
            "event_type: {colum: x}",
            "line 6: dataset.sources.0.event_type.column: missing; it must be text\n"
            "  churn.yaml, line 6: dataset.sources.0.event_type.colum: unknown key; did you mean 'column'?",
        ),
        ("delimiter: ab", "line 6: dataset.sources.0.delimiter: must be a single character, not 'ab'"),
        (
            "table: item",
            "line 6: dataset.sources.0.table: must be one of events, items, users, not 'item'; "
            "did you mean 'items'?",
        ),
        ("timezone: 5", "line 6: dataset.sources.0.timezone: must be text, not 5"),
        (
            "timezone: Berlin",
            "line 6: dataset.sources.0.timezone: unknown time zone 'Berlin'; "
            "use an IANA name such as Europe/Berlin",
        ),
        (
            "format: null",
            "line 4: dataset.sources.0: event_type is missing: a constant such as purchase, or "
            "{column: ..., map: {...}}",
        ),
    ],
)
def test_a_message_leads_to_the_entry_of_a_list(tmp_path: Path, source: str, message: str) -> None:
    text = refusal(write(tmp_path, GOOD.replace("event_type: purchase", source)))
    assert text.removeprefix("2 problems:\n  ") == f"churn.yaml, {message}"


def test_missing_keys_are_named_with_what_they_must_be(tmp_path: Path) -> None:
    assert refusal(write(tmp_path, "seed: 0\ntask: {kind: churn}\ndataset:\n  timezone: UTC\n")) == (
        "3 problems:\n"
        "  churn.yaml: workspace: missing; it must be text\n"
        "  churn.yaml: model: missing; it must be a mapping with kind: trees, rfm or popularity\n"
        "  churn.yaml, line 3: dataset.sources: missing; it must be a non-empty list of mappings"
    )
    assert refusal(write(tmp_path, GOOD.replace("task: {kind: churn}\n", ""))) == (
        "churn.yaml: task: missing; it must be a mapping with kind: churn, purchase or preference"
    )


def test_all_problems_of_a_file_come_in_one_message_in_the_order_of_lines(tmp_path: Path) -> None:
    text = GOOD.replace("kind: churn", "kind: churn, horizn: 7d, event: no") + "seed: x\nzzz: 1\n"
    lines = refusal(write(tmp_path, text)).splitlines()
    assert lines[0] == "4 problems:"
    assert [re.match(r"  churn.yaml, line (\d+): (\S+):", line).groups() for line in lines[1:]] == [  # type: ignore[union-attr]
        ("7", "task.event"),
        ("7", "task.horizn"),
        ("9", "seed"),
        ("10", "zzz"),
    ]


def test_more_than_ten_problems_are_counted(tmp_path: Path) -> None:
    text = GOOD + "".join(f"zz{i}: 1\n" for i in range(13))
    lines = refusal(write(tmp_path, text)).splitlines()
    assert (lines[0], lines[-1], len(lines)) == ("13 problems:", "  and 3 more", 12)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "churn.yaml: the file is empty; write keys such as dataset, task and model"),
        ("# nothing\n", "churn.yaml: the file is empty; write keys such as dataset, task and model"),
        ("- a\n", "churn.yaml: must hold keys with values (task: ...), not a list"),
        ("task\n", "churn.yaml: must hold keys with values (task: ...), not a single value"),
        ("task:\n\tkind: churn\n", "churn.yaml, line 2: YAML cannot be indented with tabs; use spaces"),
        (
            "name: a: b\n",
            f"churn.yaml, line 1: not valid YAML: mapping values are not allowed here{QUOTES}",
        ),
        (
            "a: 1\nname: *.csv\n",
            "churn.yaml, line 2: not valid YAML: "
            f"expected alphabetic or numeric character, but found '.'{QUOTES}",
        ),
        (
            "a: 1\n---\nb: 1\n",
            f"churn.yaml, line 2: not valid YAML: but found another document{QUOTES}",
        ),
        (
            "a: 1\nname: {{ x }}\n",
            "churn.yaml, line 2: a key must be text, not a list or mapping; "
            "text that starts with { needs quotes",
        ),
        (
            "a: 1\nb: \x07\n",
            "churn.yaml, line 2: the control character '\\x07' is not allowed in YAML; remove it",
        ),
        ("[" * 5000, "churn.yaml: nested too deeply, or an alias that contains itself"),
        ("a: &a [*a]", "churn.yaml: nested too deeply, or an alias that contains itself"),
    ],
)
def test_a_file_that_holds_no_config(tmp_path: Path, text: str, message: str) -> None:
    assert refusal(write(tmp_path, text)) == message


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "churn.yaml"
    assert refusal(path) == "churn.yaml: there is no such file; give the path of a YAML file"
    path.mkdir()
    assert refusal(path) == "churn.yaml: is a folder; give the path of a YAML file"
    latin = tmp_path / "latin.yaml"
    latin.write_bytes("a: 1\nname: Käse\n".encode("latin-1"))
    assert refusal(latin) == "latin.yaml, line 2: is not UTF-8; save the file with that encoding"
    below_a_file = latin / "churn.yaml"
    assert refusal(below_a_file) == "churn.yaml: cannot be read: Not a directory"


def test_anchors_are_read(tmp_path: Path) -> None:
    text = GOOD.replace("{kind: trees}", "&m {kind: trees, leaves: 7}") + "baseline: *m\n"
    assert read(write(tmp_path, text)).config.baseline == Trees(kind="trees", leaves=7)


# extends


def test_extends_merges_mappings_and_replaces_the_rest(tmp_path: Path) -> None:
    base = (
        GOOD.replace("{kind: churn}", "{kind: churn, horizon: 7d}")
        + "features: {windows: [7d, 14d]}\nseed: 1\n"
    )
    write(tmp_path, base + "split: {train: 3}\n", "base/base.yaml")
    write(tmp_path, "extends: base/base.yaml\nsplit: {test: 2}\nfeatures: {windows: [3d]}\n", "middle.yaml")
    config = read(write(tmp_path, "extends: middle.yaml\nseed: 2\nsplit: {test: 4}\n")).config
    assert (config.split.train, config.split.test, config.seed) == (3, 4, 2)
    assert config.features.windows == [timedelta(days=3)]
    assert config.task.horizon == timedelta(days=7)
    assert config.name == "churn"
    # Paths start from the folder of the file that says them.
    assert config.workspace == str(tmp_path / "work")
    assert config.dataset.sources[0].path == str(tmp_path / "base/data/*.csv")


def test_a_changed_kind_drops_what_belongs_to_the_other_kind(tmp_path: Path) -> None:
    write(tmp_path, GOOD.replace("kind: trees", "kind: trees, leaves: 7"), "base.yaml")
    same = read(write(tmp_path, "extends: base.yaml\nmodel: {kind: trees, learning_rate: 0.5}\n")).config
    assert same.model == Trees(kind="trees", leaves=7, learning_rate=0.5)
    other = read(write(tmp_path, "extends: base.yaml\nmodel: {kind: popularity}\n")).config
    assert other.model == Popularity(kind="popularity")


def test_a_message_names_the_file_of_the_value(tmp_path: Path) -> None:
    write(tmp_path, GOOD + "seed: x\n", "base.yaml")
    assert refusal(write(tmp_path, "extends: base.yaml\nspilt: {}\n")) == (
        "2 problems:\n"
        "  base.yaml, line 9: seed: must be a whole number >= 0 and < 2147483648, not 'x'\n"
        "  churn.yaml, line 2: spilt: unknown key; did you mean 'split'?"
    )


@pytest.mark.parametrize(
    ("extends", "message"),
    [
        (
            "none.yaml",
            "none.yaml: there is no such file (churn.yaml extends it); give the path of a YAML file",
        ),
        ("other", "other: is a folder (churn.yaml extends it); give the path of a YAML file"),
        (
            "churn.yaml",
            "churn.yaml: extends: goes in a circle: churn.yaml -> churn.yaml; take one of them out",
        ),
        (
            "b.yaml",
            "other/../churn.yaml: extends: goes in a circle: churn.yaml -> b.yaml -> other/../churn.yaml; "
            "take one of them out",
        ),
        ("[a.yaml]", "churn.yaml, line 2: extends: must be the path of one YAML file"),
        (
            "no",
            'churn.yaml, line 2: extends: no is false to some YAML readers; write false, or "no" for text',
        ),
    ],
)
def test_extends_that_leads_nowhere(tmp_path: Path, extends: str, message: str) -> None:
    write(tmp_path, "extends: other/../churn.yaml\n", "b.yaml")
    (tmp_path / "other").mkdir()
    assert refusal(write(tmp_path, f"seed: 1\nextends: {extends}\n")) == message


# Paths


def test_paths_start_from_the_file_or_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, GOOD, "configs/churn.yaml")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", "/home/ann")
    assert read(path).config.workspace == str(tmp_path / "work")
    assert read(Path("../configs/churn.yaml")).config.workspace == str(tmp_path / "work")
    assert read(path, workspace="w").config.workspace == str(tmp_path / "here/w")
    assert read(path, "workspace=w").config.workspace == str(tmp_path / "here/w")
    assert read(path, "workspace=w", workspace="/abs/w").config.workspace == "/abs/w"
    assert read(path, workspace="~/w").config.workspace == "/home/ann/w"
    source = read(path, "dataset.sources.0.path='*.csv'").config.dataset.sources[0]
    assert source.path == str(tmp_path / "here/*.csv")
    assert (
        refusal(path, workspace="~nobody-here/w")
        == "--workspace: workspace: there is no home folder for ~nobody-here"
    )


def test_a_base_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    write(tmp_path, GOOD, "home/base.yaml")
    assert read(write(tmp_path, "extends: ~/base.yaml\n")).config.workspace == str(tmp_path / "work")


# Environment


def test_a_secret_is_in_the_config_and_nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    monkeypatch.setenv("DAY", "2024-05-06")
    monkeypatch.setenv("ROOT", "/data")
    monkeypatch.setenv("SUB", "sub")
    text = GOOD.replace("user_id: user", 'user_id: "a-${SECRET}-${DAY}"') + "predict: {as_of: '${DAY}'}\n"
    text = text.replace("data/*.csv", "${SUB}/../*.csv").replace("../work", "${ROOT}/work")
    loaded = read(write(tmp_path, text))
    source = loaded.config.dataset.sources[0]
    assert source.columns["user_id"] == "a-hunter2-2024-05-06"
    assert source.path == str(tmp_path / "sub/../*.csv")
    assert loaded.config.workspace == "/data/work"
    assert loaded.config.predict.as_of == date(2024, 5, 6)
    public = loaded.public
    assert public["dataset"]["sources"][0]["columns"]["user_id"] == "a-${SECRET}-${DAY}"
    assert public["dataset"]["sources"][0]["path"] == str(tmp_path / "${SUB}/../*.csv")
    assert public["workspace"] == "${ROOT}/work"
    assert public["predict"]["as_of"] == "${DAY}"
    assert "hunter2" not in to_yaml(public) + repr(loaded)
    assert read(write(tmp_path / "elsewhere", to_yaml(public))) == loaded


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "seed: ${SECRET}",
            "seed: must be a whole number >= 0 and < 2147483648, not '${SECRET}'; "
            "an environment variable gives text",
        ),
        (
            "baseline: {kind: '${SECRET}'}",
            "baseline.kind: unknown kind '${SECRET}'; use one of trees, rfm, popularity",
        ),
        (
            "split: {step: '${SECRET}'}",
            "split.step: a duration is a whole number with a unit, such as 7d, 12h or 30m; got '${SECRET}'",
        ),
        (
            "predict: {as_of: '${SECRET}'}",
            "predict.as_of: must be latest or a date (YYYY-MM-DD), not '${SECRET}'; "
            "an environment variable gives text",
        ),
        (
            "features: {windows: ['${LONG}', '${SHORT}']}",
            "features.windows: the value that its environment variable holds is not accepted",
        ),
        (
            "baseline: {kind: '${KIND}', leaves: '${SHORT}'}",
            "baseline.leaves: must be a whole number >= 2, not '${SHORT}'; "
            "an environment variable gives text",
        ),
        (
            "baseline: {kind: '${KIND}', odd: ['${SHORT}']}",
            "baseline.odd.0: the value that its environment variable holds is not accepted",
        ),
        ("name: ${UNSET}-${SECRET}", "name: the environment variable UNSET is not set"),
        (
            "name: ${SECRET:-x}",
            "name: a placeholder is the name of an environment variable in braces, such as ${DB_PASSWORD}",
        ),
    ],
)
def test_a_message_never_shows_what_a_variable_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, message: str
) -> None:
    for name, value in {"SECRET": "hunter2", "LONG": "99d", "SHORT": "77d", "KIND": "trees"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("UNSET", raising=False)
    with pytest.raises(ConfigError) as error:
        read(write(tmp_path, GOOD + line + "\n"))
    assert str(error.value) == f"{tmp_path}/churn.yaml, line 9: {message}"
    assert error.value.__context__ is None


# Overrides


def test_overrides_are_typed_as_in_the_file(tmp_path: Path) -> None:
    overrides = [
        "features.windows=[7d, 14d]",
        "dataset.sources.0.timezone=Asia/Tokyo",
        "dataset.sources.0.event_type.column=what",
        "predict.refit=false",
        "dataset.sources.0.format=",
        "seed=3",
        "seed=4",
    ]
    config = read(write(tmp_path, GOOD), *overrides).config
    assert config.features.windows == [timedelta(days=7), timedelta(days=14)]
    source = config.dataset.sources[0]
    assert (source.timezone, source.format) == ("Asia/Tokyo", None)
    assert source.event_type is not None
    assert not isinstance(source.event_type, str)
    assert source.event_type.column == "what"
    assert (config.predict.refit, config.seed) == (False, 4)


def test_an_override_of_the_kind_drops_the_other_keys_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD.replace("kind: trees", "kind: trees, leaves: 7"))
    assert read(path, "model.kind=trees", "model.learning_rate=0.5").config.model == Trees(
        kind="trees", leaves=7, learning_rate=0.5
    )
    assert read(path, "model.window=3d", "model.kind=popularity").config.model == Popularity(
        kind="popularity", window=timedelta(days=3)
    )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("task.horizn=7d", "--set: task.horizn: unknown key; did you mean 'horizon'?"),
        ("spilt.step=7d", "--set: spilt: unknown key; did you mean 'split'?"),
        (
            "task.horizon=7",
            "--set: task.horizon: a duration is a whole number with a unit, such as 7d, 12h or 30m; got 7",
        ),
        ("seed.x=7", "--set: seed: must be a whole number >= 0 and < 2147483648, not a mapping"),
        ("model.kind=tree", "--set: model.kind: unknown kind 'tree'; did you mean 'trees'?"),
        (
            "model.learning_rate=1e-3",
            "--set: model.learning_rate: 1e-3 is text to some YAML readers; "
            'write 1.0e-3 or 0.001 for the number, or "1e-3" for text',
        ),
        ("task.horizon", "--set: 'task.horizon' is not of the form KEY=VALUE, such as task.horizon=28d"),
        ("=5", "--set: '=5' is not of the form KEY=VALUE, such as task.horizon=28d"),
        ("task..step=5", "--set: 'task..step=5' is not of the form KEY=VALUE, such as task.horizon=28d"),
        (
            "dataset.sources.1.table=items",
            "--set: dataset.sources.1: dataset.sources is a list; give a position from 0 to 0 instead of '1'",
        ),
        (
            "dataset.sources.table=items",
            "--set: dataset.sources.table: dataset.sources is a list; "
            "give a position from 0 to 0 instead of 'table'",
        ),
        (
            "features.windows=[7d",
            f"--set: features.windows: not valid YAML: expected ',' or ']', but got '<stream end>'{QUOTES}",
        ),
        ("split={step: 7d, step: 7d}", "--set: split.step: the key stands twice; keep one"),
        ("extends=a.yaml", "--set: extends: unknown key; did you mean 'extends'?"),
    ],
)
def test_an_override_that_does_not_fit(tmp_path: Path, override: str, message: str) -> None:
    assert refusal(write(tmp_path, GOOD), override) == message


def test_an_override_below_an_empty_list(tmp_path: Path) -> None:
    assert refusal(write(tmp_path, GOOD), "dataset.sources=[]", "dataset.sources.0.path=x") == (
        "--set: dataset.sources.0: dataset.sources is an empty list"
    )


# Round trip

_names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]*", fullmatch=True)
_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12).filter(lambda t: "${" not in t)
_traps = st.sampled_from(
    ["no", "On", "010", "12:30", "1e-3", "1.5", "null", "~", "2024-01-01", "", "true", "*", "a: b", "#"]
)
_durations = st.integers(1, 10**6).map(lambda s: format_duration(timedelta(seconds=s)))
_trees: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "name": _names,
        "workspace": st.just("/w"),
        "dataset": st.fixed_dictionaries(
            {
                "sources": st.lists(
                    st.fixed_dictionaries(
                        {
                            "path": _texts.map(lambda t: f"/{t}"),
                            "columns": st.fixed_dictionaries(
                                {"user_id": _texts | _traps, "ts": _texts | _traps}
                            ),
                            "event_type": _texts
                            | _traps
                            | st.fixed_dictionaries(
                                {"column": _traps, "map": st.dictionaries(_texts | _traps, _texts | _traps)}
                            ),
                            "delimiter": st.sampled_from(",;|\t: #-"),
                        }
                    ),
                    min_size=1,
                    max_size=2,
                )
            }
        ),
        "task": st.fixed_dictionaries({"kind": st.just("churn"), "horizon": _durations}),
        "features": st.fixed_dictionaries({"windows": st.just(["30m", "12h", "7d"])}),
        "model": st.fixed_dictionaries(
            {
                "kind": st.just("trees"),
                "learning_rate": st.floats(0, 1, exclude_min=True, allow_subnormal=False),
            }
        ),
        "predict": st.fixed_dictionaries(
            {"as_of": st.dates().map(str) | st.just("latest"), "refit": st.booleans()}
        ),
    }
)


@settings(deadline=None)
@given(tree=_trees)
def test_what_is_shown_loads_back_to_the_same_config(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[str, Any]
) -> None:
    folder = tmp_path_factory.mktemp("round")
    first = read(write(folder, to_yaml(tree)))
    assert first.config.dataset.sources[0].columns == tree["dataset"]["sources"][0]["columns"]
    again = read(write(folder, to_yaml(first.public), "again.yaml"))
    assert again == first


def test_the_shown_config_reads_well(tmp_path: Path) -> None:
    text = to_yaml(read(write(tmp_path, GOOD)).public)
    assert text.startswith(
        f"name: churn\nworkspace: {tmp_path.parent}/work\ndataset:\n  sources:\n  - kind: files\n"
    )
    assert "  windows: [7d, 28d, 91d]\n" in text
    assert "  earliest: 1990-01-01\n" in text
    # Any other YAML reader sees the same values, dates aside.
    assert yaml.safe_load(text)["model"] == {
        "kind": "trees",
        "learning_rate": 0.1,
        "leaves": 15,
        "odd": "none",
    }


# JSON Schema and reference


def _accepts(schema: dict[str, Any], value: Any, root: dict[str, Any]) -> bool:
    """Enough of JSON Schema for what pydantic makes of a config."""
    target = root["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else {}
    is_scalar_right = (
        _has_type(schema.get("type"), value)
        and value in schema.get("enum", [value])
        and value == schema.get("const", value)
        and re.search(schema.get("pattern", ""), str(value)) is not None
    )
    return (
        is_scalar_right
        and (not target or _accepts(target, value, root))
        and ("anyOf" not in schema or any(_accepts(s, value, root) for s in schema["anyOf"]))
        and all(
            _accepts(schema.get("items", {}), v, root) for v in (value if isinstance(value, list) else [])
        )
        and (not isinstance(value, dict) or _accepts_keys(schema, value, root))
    )


def _accepts_keys(schema: dict[str, Any], value: dict[str, Any], root: dict[str, Any]) -> bool:
    known, other = schema.get("properties", {}), schema.get("additionalProperties", True)
    below = [(known.get(key, other), v) for key, v in value.items()]
    is_known = all(part is True or (part is not False and _accepts(part, v, root)) for part, v in below)
    return is_known and set(schema.get("required", ())) <= set(value)


def _has_type(name: str | None, value: Any) -> bool:
    classes = {
        "string": str,
        "object": dict,
        "array": list,
        "boolean": bool,
        "integer": int,
        "null": type(None),
    }
    if name in ("integer", "number") and isinstance(value, bool):
        return False
    return name is None or isinstance(value, classes.get(name, (int, float)))


def _without(tree: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {k: v for k, v in tree.items() if k not in keys}


def test_an_editor_accepts_what_loads_and_refuses_what_does_not(tmp_path: Path) -> None:
    schema = json_schema(ToyConfig)
    public = read(write(tmp_path, GOOD)).public
    short = yaml.safe_load(GOOD)
    assert _accepts(schema, public, schema)
    assert _accepts(schema, short, schema)
    assert _accepts(
        schema, {"extends": "base.yaml", "task": {"horizon": "7d"}, "dataset": {"timezone": "UTC"}}, schema
    )
    assert not _accepts(schema, _without(short, "task"), schema)
    assert not _accepts(schema, short | {"task": {"kind": "churn", "target": "any"}}, schema)
    assert not _accepts(schema, short | {"task": {"kind": "chrun"}}, schema)
    assert not _accepts(schema, short | {"split": {"step": 7}}, schema)
    assert not _accepts(schema, short | {"split": {"step": "7 days"}}, schema)
    assert not _accepts(schema, short | {"sed": 1}, schema)
    no_columns = {"sources": [_without(short["dataset"]["sources"][0], "columns")]}
    assert not _accepts(schema, short | {"dataset": no_columns}, schema)


def test_the_schema_describes_each_key_and_its_default() -> None:
    schema = json_schema(ToyConfig)
    horizon = schema["$defs"]["ChurnTask"]["properties"]["horizon"]
    assert horizon["default"] == "28d"
    assert horizon["description"].startswith("Who does not have it")
    assert schema["$defs"]["Features"]["properties"]["windows"]["default"] == ["7d", "28d", "91d"]
    assert schema["properties"]["extends"]["type"] == "string"
    assert "oneOf" not in str(schema)
    assert "discriminator" not in str(schema)


def test_a_section_that_several_kinds_share_is_named_once() -> None:
    titles = re.findall(r"^#### (.*`model.training`.*)$", reference(config_class()), re.MULTILINE)
    assert titles == [
        "`model.training` and `model.base.training` and `model.net.training` and `baseline.training` and "
        "`baseline.base.training` and `baseline.net.training`"
    ]


def test_the_reference_has_each_section_and_kind_once() -> None:
    text = reference(ToyConfig)
    assert re.findall(r"^#### (.*)$", text, re.MULTILINE) == [
        "Top level",
        "`dataset`",
        "`dataset.sources.N`",
        "`dataset.sources.N.event_type`",
        "`clean`",
        "`clean.outliers.KEY`",
        "`clean.quality`",
        "`task`, kind `churn`",
        "`task`, kind `purchase`",
        "`task.candidates`",
        "`task`, kind `preference`",
        "`task.candidates`",
        "`task.items`",
        "`split`",
        "`features`",
        "`features.select`",
        "`model` and `baseline`, kind `trees`",
        "`model` and `baseline`, kind `rfm`",
        "`model` and `baseline`, kind `popularity`",
        "`tune`",
        "`tune.space.KEY`",
        "`calibration`",
        "`decision`, kind `f1`",
        "`decision`, kind `capacity`",
        "`decision`, kind `profit`",
        "`decision`, kind `probability`",
        "`evaluate`",
        "`predict`",
    ]
    for row in [
        "| `workspace` | text | required | Folder of all artifacts, relative to the YAML file's folder or "
        "absolute. |",
        "| `split` | mapping |  | Cutoffs, global in time; the latest complete horizon is the last test "
        "window. |",
        "| `baseline` | mapping with kind: trees, rfm or popularity |  | The rule to beat. |",
        "| `horizon` | duration | `7d` | A purchase in this time from the cutoff on counts. |",
        "| `windows` | non-empty list of durations | `[7d, 28d, 91d]` | Lengths of history that features are "
        "computed over, besides all of it. |",
        "| `window` | duration or all | `28d` | Time that counts. |",
        "| `weights` | mapping of text to number | `{view: 0.2}` | Weight of an event \\| by type. |",
        "| `refit` | true or false | `true` | Fit once more, with the same settings, on the validation and "
        "test windows too, before scoring. |",
    ]:
        assert row in text.splitlines()
    assert "#### `model` and `baseline`, kind `rfm`\n\nToy rule.\n\nNo further keys.\n" in text


def test_each_table_row_of_the_reference_has_four_cells() -> None:
    rows = [line for line in reference(ToyConfig).splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {5}
