"""Keys of the config that are about lists: filters, similar tables, sessions."""

from pathlib import Path
from typing import Any

import pytest
from shops import PREFERENCE, Shop

from ecbehave.config.file import Loaded, load
from ecbehave.errors import ConfigError
from ecbehave.models import config_class


def loaded(folder: Path, **changes: Any) -> Loaded[Any]:
    return load(Shop(folder).config(**PREFERENCE | changes), config_class())


def test_files_are_relative_to_the_yaml_file(tmp_path: Path) -> None:
    task = PREFERENCE["task"] | {"items": {"allow": "lists/allow.txt", "deny": "/data/deny.txt"}}
    config = loaded(tmp_path / "shop", task=task, predict={"sessions": "../s.jsonl"}).config
    folder = (tmp_path / "shop").resolve()
    assert config.task.items.allow == str(folder / "lists/allow.txt")
    assert config.task.items.deny == "/data/deny.txt"
    assert config.predict.sessions == str(folder.parent / "s.jsonl")


def test_defaults_filter_nothing(tmp_path: Path) -> None:
    config = loaded(tmp_path / "shop").config
    assert config.task.exclude == []
    assert config.task.items.model_dump() == {"allow": None, "deny": None, "categories": []}
    assert (config.predict.similar_items, config.predict.similar_users, config.predict.sessions) == (
        0,
        0,
        None,
    )


@pytest.mark.parametrize("path", ["", "a.", ".a", "a..b"])
def test_a_path_with_an_empty_part_is_no_category(tmp_path: Path, path: str) -> None:
    with pytest.raises(ConfigError, match=r"task\.items\.categories\.0"):
        loaded(tmp_path / "shop", task=PREFERENCE["task"] | {"items": {"categories": [path]}})


@pytest.mark.parametrize("key", ["similar_items", "similar_users", "sessions"])
def test_lists_are_for_preference(tmp_path: Path, key: str) -> None:
    churn = {"kind": "churn", "active_within": "21d", "horizon": "14d"}
    value = "s.csv" if key == "sessions" else 5
    with pytest.raises(ConfigError) as error:
        loaded(tmp_path / "shop", task=churn, model={"kind": "rfm"}, predict={key: value})
    assert f"predict.{key} is for the task preference; take it out for churn" in str(error.value)
