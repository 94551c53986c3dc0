"""README cannot rot: its commands run, its YAML loads, its reference is what the config classes say."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from shops import ROOT

from ecbehave.config.file import load
from ecbehave.config.reference import reference
from ecbehave.models import KINDS, config_class
from ecbehave.stages.rules import row_rule

README = (ROOT / "README.md").read_text(encoding="utf-8")
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[str]:
    return [line[2:] for block in blocks("console") for line in block.splitlines() if line.startswith("$ ")]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of what the README's commands use."""
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    (tmp_path / "data-samples").symlink_to(ROOT / "data-samples")
    return tmp_path


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        command,
        shell=True,
        cwd=folder,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_every_command_runs_and_prints_what_the_readme_shows(project: Path) -> None:
    assert len(commands()) >= 8
    shown = iter(re.split(r"^\$ .*\n", "".join(blocks("console")), flags=re.MULTILINE)[1:])
    for command in commands():
        done = shell(command, project)
        assert done.returncode == 0, done.stderr
        printed = (done.stderr + done.stdout).replace(f"{project}/", "")
        expected = [re.sub(r" +\d+\.\d s ", " ", line) for line in next(shown).splitlines() if line.strip()]
        actual = [re.sub(r" +\d+\.\d s ", " ", line) for line in printed.splitlines()]
        assert [line for line in expected if line not in actual] == []


def test_the_two_commands_are_targets_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.findall(r"^make (\w+)", blocks("sh")[0], flags=re.MULTILINE) == ["demo", "test"]
    assert {"demo", "test"} <= set(re.findall(r"^(\w+):", makefile, flags=re.MULTILINE))


def test_the_yaml_for_an_own_shop_loads_and_is_short(tmp_path: Path) -> None:
    text, *_ = blocks("yaml")
    path = tmp_path / "shop.yaml"
    path.write_text(text, encoding="utf-8")
    assert load(path, config_class()).config.name == "shop"
    assert len(text.splitlines()) < 30


def test_the_pieces_of_yaml_fit_into_it(tmp_path: Path) -> None:
    whole, *pieces = blocks("yaml")
    (tmp_path / "shop.yaml").write_text(whole, encoding="utf-8")
    assert len(pieces) >= 2
    for piece in pieces:
        path = tmp_path / "piece.yaml"
        path.write_text(f"extends: shop.yaml\n{piece}", encoding="utf-8")
        load(path, config_class())


def test_the_config_reference_is_generated() -> None:
    between = README.split("<!-- config reference -->\n")[1].split("<!-- /config reference -->")[0]
    assert between.strip() == reference(config_class()).strip()


def test_every_rule_and_kind_is_described() -> None:
    from ecbehave.config.clean import Clean

    rules = set(re.findall(r'"([a-z]+_[a-z_]+)"', str(row_rule(Clean(), "UTC", needs_item=True))))
    assert {"missing_user", "absurd_quantity"} <= rules
    assert [
        r
        for r in sorted(rules - {"event_type", "user_id", "item_id", "received_at"})
        if f"`{r}`" not in README
    ] == []
    assert [kind for kind in KINDS if f"| `{kind}` |" not in README] == []


@pytest.mark.parametrize("path", [p for p in CONFIGS if p.stem != "grocery"], ids=lambda p: p.stem)
def test_every_shipped_config_loads(path: Path) -> None:
    loaded = load(path, config_class())
    assert loaded.config.name == path.stem
    assert path.read_text(encoding="utf-8").startswith("# ")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace for several configs, which share what is the same for all."""
    return tmp_path_factory.mktemp("workspace")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["churn_baseline", "purchase_baseline", "preference_baseline"])
def test_every_shipped_baseline_config_runs(name: str, workspace: Path) -> None:
    done = shell(f"ecbehave run --config configs/{name}.yaml --workspace {workspace} --quiet", ROOT)
    assert done.returncode == 0, done.stderr
    assert list(workspace.glob(f"{name}/predictions/as_of=*/scores.parquet"))
