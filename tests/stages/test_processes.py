"""What several processes may do together."""

import pytest
from command_line import ecbehave
from planted_shops import ASKING
from stage_runs import Runs

from ecbehave.cli import _cores
from ecbehave.errors import ConfigError
from ecbehave.stages import processes

TWO = {"WORLD_SIZE": "2", "RANK": "0"}


@pytest.mark.parametrize(
    ("environment", "n", "is_follower"),
    [({}, 1, False), (TWO, 2, False), (TWO | {"RANK": "1"}, 2, True), ({"RANK": "1"}, 1, False)],
)
def test_who_follows(environment: dict[str, str], n: int, is_follower: bool) -> None:
    assert processes.n_processes(environment) == n
    assert processes.is_follower(environment) is is_follower


def test_only_train_is_shared(asking: Runs) -> None:
    config = asking.context().config
    processes.check("train", config, TWO)
    processes.check("evaluate", config, {})
    for command in ("run", "evaluate"):
        with pytest.raises(ConfigError) as caught:
            processes.check(command, config, TWO)
        assert str(caught.value) == (
            "2 processes were started together (WORLD_SIZE is 2), but only ecbehave train can be shared; "
            f"run ecbehave {command} without torchrun"
        )


def test_a_search_is_not_shared(asking: Runs) -> None:
    searching = Runs(asking.shop, asking.config, ["tune.trials=2"]).context().config
    assert ASKING["model"]["kind"] == searching.model.kind
    processes.check("train", searching, {})
    with pytest.raises(ConfigError) as caught:
        processes.check("train", searching, TWO)
    assert str(caught.value) == (
        "tune: 2 processes cannot search for settings together; search in one process, and train with the tuned.yaml "
        "that it leaves"
    )


def test_the_command_line_refuses_too(asking: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    done = ecbehave("evaluate", "--config", asking.config)
    assert (done.code, done.error.split(",")[0]) == (
        2,
        "2 processes were started together (WORLD_SIZE is 2)",
    )


def test_processes_on_one_machine_share_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(16)))
    for n, threads in ((None, 16), ("4", 4), ("32", 1)):
        if n is not None:
            monkeypatch.setenv("LOCAL_WORLD_SIZE", n)
        assert _cores() == threads
