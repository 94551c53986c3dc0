"""The table of trials, from what train has recorded."""

from typing import Any

from ecbehave.report.content import TrialRow
from ecbehave.stages.tuning_report import tuning_content


def trial(n: int, *scores: float, state: str = "complete") -> dict[str, Any]:
    values = {"rate": n / 1000, "leaves": n, "deep": None, "on": n % 2 == 0, "how": "a"}
    return {"values": values, "state": state, "scores": list(scores), "why": None}


def info(
    trials: list[dict[str, Any]], best: int | None, importance: dict[str, float] | None = None
) -> dict[str, Any]:
    origins = ["2024-03-31T22:00:00+00:00", "2024-03-24T23:00:00+00:00"]
    found = {"metric": "ndcg@10", "origins": origins, "best": best, "trials": trials}
    return found | {"importance": importance or {}}


def test_the_best_the_configured_and_the_next_best() -> None:
    trials = [trial(0, 0.5, 0.4), trial(1, 0.9, state="pruned"), trial(2, state="failed")]
    trials += [trial(n, 0.5 + n / 100, 0.5) for n in range(3, 16)]
    found = tuning_content(info(trials, 15), "Europe/Berlin")
    assert found.metric == "NDCG@10"
    assert found.origins == ["2024-04-01", "2024-03-25"]
    assert found.keys == ["rate", "leaves", "deep", "on", "how"]
    assert (found.n_trials, found.n_pruned, found.n_failed) == (16, 1, 1)
    assert found.best == TrialRow(16, ["0.015", "15", "null", "false", "a"], [0.65, 0.5])
    assert found.given == TrialRow(1, ["0", "0", "null", "true", "a"], [0.5, 0.4])
    assert [row.number for row in found.others] == [15, 14, 13, 12, 11, 10, 9, 8, 7]


def test_the_config_is_the_best_one() -> None:
    importance = {"rate": 0.2, "leaves": 0.5, "deep": 0.3}
    found = tuning_content(info([trial(0, 0.5, 0.4), trial(3, 0.3, 0.2)], 0, importance), "UTC")
    assert found.importance == [("leaves", 0.5), ("deep", 0.3), ("rate", 0.2)]
    assert found.best == found.given
    assert [row.number for row in found.others] == [2]


def test_the_config_failed_and_another_did_not() -> None:
    found = tuning_content(info([trial(0, state="failed"), trial(3, 0.3, 0.2)], 1), "UTC")
    assert found.given is None
    assert found.best is not None
    assert found.others == []


def test_nothing_was_judged_in_time() -> None:
    found = tuning_content(info([], None), "UTC")
    assert (found.best, found.given, found.n_trials, list(found.keys)) == (None, None, 0, [])
