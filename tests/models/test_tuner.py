"""What tuning tries next: the search space, TPE without memory, and giving up early."""

import json
import logging
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from ecbehave.config.model import ModelConfig, Searched
from ecbehave.errors import ConfigError
from ecbehave.models import KINDS, model_class
from ecbehave.models.search import Choice, Domain, Real, Whole, for_rows
from ecbehave.models.tuner import (
    Trial,
    changed,
    check_installed,
    current,
    importance,
    is_hopeless,
    propose,
    search_space,
)

SPACE: dict[str, Domain] = {"x": Real(0.001, 1.0, log=True), "n": Whole(1, 64), "c": Choice(("a", "b", None))}


def config(kind: str, **settings: Any) -> ModelConfig:
    return model_class(kind).config_class.model_validate({"kind": kind} | settings)


def refused(given: dict[str, Searched], model: ModelConfig | None = None) -> str:
    with pytest.raises(ConfigError) as error:
        search_space(model or config("boosting"), given)
    return str(error.value)


def ran(space: dict[str, Domain], n: int, goal: Any, seed: int = 0) -> list[Trial]:
    trials: list[Trial] = []
    for _ in range(n):
        values = propose(space, trials, seed)
        trials.append(Trial(values, "complete", (goal(values),)))
    return trials


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_takes_both_ends_of_all_that_it_names_to_search(kind: str) -> None:
    model = config(kind)
    for key, domain in getattr(model_class(kind), "search", {}).items():
        ends = domain.values if isinstance(domain, Choice) else (domain.low, domain.high)
        for value in ends:
            assert current(changed(model, {key: value}), [key]) == {key: value}
        if not isinstance(domain, Choice):
            assert domain.low < domain.high
            assert not domain.log or domain.low > 0


def test_boosting_searches_from_the_start_where_it_stands() -> None:
    model = config("boosting")
    space = search_space(model, None)
    assert "learning_rate" in space
    assert set(current(model, space)) == set(space)


@pytest.mark.parametrize(
    ("n_rows", "low", "high"),
    [(100_000, 20, 1_000), (10_000, 20, 500), (2_000, 20, 100), (240, 2, 12), (0, 1, 2)],
)
def test_on_few_rows_leaves_of_many_are_not_tried(n_rows: int, low: int, high: int) -> None:
    space: dict[str, Domain] = {"leaf": Whole(20, 1_000, log=True, share_of_rows=0.05)}
    assert for_rows(space | SPACE, n_rows) == SPACE | {"leaf": Whole(low, high, log=True, share_of_rows=0.05)}


def test_the_parameter_that_matters_is_found() -> None:
    trials = ran(SPACE, 20, lambda values: values["n"] / 10)
    found = importance(SPACE, trials, 0)
    assert sum(found.values()) == pytest.approx(1)
    assert found["n"] > 0.8
    assert found == importance(SPACE, trials, 0), "it is seeded"
    outside = [
        Trial({"x": 5.0, "n": 1, "c": "a"}, "complete", (99.0,)),
        Trial(trials[0].values, "pruned", (99.0,)),
        Trial(trials[0].values, "failed"),
    ]
    assert found == importance(SPACE, [*trials, *outside], 0)


def test_of_few_or_equal_trials_nothing_is_said() -> None:
    assert importance(SPACE, ran(SPACE, 9, lambda values: values["x"]), 0) == {}
    assert set(importance(SPACE, ran(SPACE, 10, lambda values: values["x"]), 0)) == set(SPACE)
    assert importance(SPACE, ran(SPACE, 12, lambda _: 0.5), 0) == {}


def test_a_given_space_replaces_what_the_kind_names() -> None:
    given = {
        "learning_rate": Searched(low=0.01, high=0.1, log=True),
        "leaves": Searched(low=4, high=64),
        "l2": Searched(low=1, high=10),
        "patience": Searched(values=[50, 100]),
    }
    assert search_space(config("boosting"), given) == {
        "learning_rate": Real(0.01, 0.1, log=True),
        "leaves": Whole(4, 64),
        "l2": Real(1.0, 10.0),
        "patience": Choice((50, 100)),
    }


def test_a_part_of_a_model_is_searched_by_its_dotted_keys() -> None:
    model = config("bagging", base={"kind": "boosting", "leaves": 5})
    space = search_space(model, None)
    assert space["base.learning_rate"] == search_space(config("boosting"), None)["learning_rate"]
    assert search_space(model, {"base.leaves": Searched(low=2, high=9)}) == {"base.leaves": Whole(2, 9)}
    other = changed(model, {"base.leaves": 8})
    assert current(other, ["base.leaves", "base.kind"]) == {"base.leaves": 8, "base.kind": "boosting"}
    assert current(model, ["base.leaves"]) == {"base.leaves": 5}, "the one before stays as it was"


def test_a_member_is_searched_by_its_position() -> None:
    model = config("voting", members=[{"kind": "boosting"}, {"kind": "rfm"}])
    space = search_space(model, None)
    assert {key.rpartition(".")[0] for key in space} == {"members.0"}
    other = changed(model, {"members.0.leaves": 12})
    assert current(other, ["members.0.leaves"]) == {"members.0.leaves": 12}
    assert "no such key" in refused({"members.2.leaves": Searched(low=2, high=9)}, model)


def test_space_that_a_model_does_not_take_is_refused() -> None:
    assert refused({"learnig_rate": Searched(low=0.1, high=0.2)}) == (
        "tune.space.learnig_rate: the model has no such key; did you mean 'learning_rate'?"
    )
    assert refused({"kind": Searched(values=["rfm"])}) == (
        "tune.space.kind: tuning stays within a kind; compare kinds with `ecbehave compare`"
    )
    assert refused({"base.kind": Searched(values=["rfm"])}, config("bagging")).startswith(
        "tune.space.base.kind: tuning stays within a kind"
    )
    assert refused({"learning_rate": Searched(low=0.5, high=2)}) == (
        "tune.space.learning_rate: the model does not take 2.0: Input should be less than or equal to 1"
    )
    assert refused({"leaves": Searched(low=1, high=8)}) == (
        "tune.space.leaves: the model does not take 1: Input should be greater than or equal to 2"
    )
    assert refused({"leaves": Searched(values=[4, 8.5])}).startswith(
        "tune.space.leaves: the model does not take 8.5: Input should be a valid integer"
    )
    assert refused({"leaves": Searched(low=2.5, high=8)}).startswith(
        "tune.space.leaves: the model does not take 2.5"
    )


def test_a_key_far_from_any_other_is_answered_with_all_of_them() -> None:
    assert refused({"zzz": Searched(values=[1])}, config("rfm")).startswith(
        "tune.space.zzz: the model has no such key; it has "
    )


def test_a_kind_with_nothing_to_search_is_refused() -> None:
    with pytest.raises(ConfigError) as error:
        search_space(config("base_rate"), None)
    assert str(error.value) == (
        "tune: the kind base_rate names nothing to search; take tune out, or say in tune.space what to try"
    )


def test_proposals_lie_in_the_space_and_read_easily() -> None:
    trials = ran(SPACE, 30, lambda _: 0.0)
    for trial in trials:
        assert 0.001 <= trial.values["x"] <= 1
        assert float(f"{trial.values['x']:.4g}") == trial.values["x"]
        assert isinstance(trial.values["n"], int)
        assert 1 <= trial.values["n"] <= 64
        assert trial.values["c"] in ("a", "b", None)
    assert len({json.dumps(t.values) for t in trials}) == 30


def test_proposals_follow_from_seed_and_history_alone() -> None:
    def goal(values: Any) -> float:
        return -abs(np.log10(values["x"]) + 1.3) - abs(values["n"] - 20) / 20

    trials = ran(SPACE, 25, goal)
    assert trials == ran(SPACE, 25, goal)
    again = trials[:12]
    for expected in trials[12:]:
        values = propose(SPACE, again, 0)
        assert values == expected.values, "a search that was interrupted goes on as it would have"
        again.append(expected)
    assert propose(SPACE, trials, 1) != propose(SPACE, trials, 0)


def test_the_search_finds_the_planted_optimum() -> None:
    def goal(values: Any) -> float:
        return -((np.log10(values["x"]) + 1.3) ** 2) - ((values["n"] - 20) / 30) ** 2 - (values["c"] != "b")

    half = [max(t.scores[0] for t in ran(SPACE, 60, goal, seed)) for seed in range(3)]
    assert min(half) > -0.1
    late = [t.values for t in ran(SPACE, 60, goal)[30:]]
    assert sum(v["c"] == "b" for v in late) > 20, "it has learned which choice is the good one"


def test_a_trial_outside_of_the_space_teaches_nothing() -> None:
    known = ran(SPACE, 12, lambda v: v["x"])
    outside = [
        Trial({"x": 5.0, "n": 3, "c": "a"}, "complete", (1e9,)),
        Trial({"x": 0.5, "n": 3, "c": "z"}, "complete", (1e9,)),
        Trial({"x": 0.5, "n": True, "c": True}, "complete", (1e9,)),
        Trial({"x": None, "n": 1, "c": "a"}, "complete", (1e9,)),
    ]
    failed = [Trial({"x": 0.5, "n": 3, "c": "a"}, "failed")] * 4
    assert propose(SPACE, known + outside, 0) == propose(SPACE, known + failed, 0)
    inside = [Trial({"x": 0.5, "n": 3, "c": "a"}, "complete", (1e9,))] * 4
    assert propose(SPACE, known + outside, 0) != propose(SPACE, known + inside, 0)


def test_a_pruned_trial_teaches_where_not_to_look() -> None:
    space: dict[str, Domain] = {"x": Real(0.0, 1.0)}
    good = [Trial({"x": 0.8 + n / 100}, "complete", (1.0, 1.0)) for n in range(8)]
    bad = [Trial({"x": n / 20}, "pruned", (0.0,)) for n in range(8)]
    proposed = [propose(space, good + bad, seed)["x"] for seed in range(12)]
    assert sum(x > 0.5 for x in proposed) >= 11


def test_half_of_the_finished_trials_decide_what_is_given_up() -> None:
    finished = [Trial({}, "complete", (0.5 + n / 10, 0.9)) for n in range(5)]  # first origin: 0.5 to 0.9
    others = [Trial({}, "pruned", (0.99,)), Trial({}, "failed")]
    assert is_hopeless([0.69], finished + others)
    assert not is_hopeless([0.7], finished + others), "as good as the median"
    assert not is_hopeless([0.0], finished[:4] + others), "too few to tell"
    assert is_hopeless([0.9, 0.69], finished), "the mean of both origins: 0.795 below 0.8"
    assert not is_hopeless([0.9, 0.71], finished)


def test_optuna_is_asked_for_before_anything_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    check_installed()
    monkeypatch.setattr("ecbehave.models.tuner.find_spec", lambda _: None)
    with pytest.raises(ConfigError) as error:
        check_installed()
    assert str(error.value) == (
        "tune needs the package optuna, which is not installed; install it with `pip install 'ecbehave[tune]'`, "
        "or take tune out of the config"
    )


def test_nothing_but_our_own_lines_gets_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    import optuna

    before = optuna.logging.get_verbosity()
    propose(SPACE, [], 0)
    assert capfd.readouterr().err == ""
    assert optuna.logging.get_verbosity() == before == logging.INFO


def test_optuna_is_loaded_only_to_tune() -> None:
    code = "import sys, ecbehave.models.tuner, ecbehave.cli; sys.exit('optuna' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
