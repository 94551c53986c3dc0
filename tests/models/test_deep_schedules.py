"""The learning rate by step."""

import math

import pytest

from ecbehave.models.deep.schedules import Schedule
from ecbehave.models.deep.settings import Training


def rates(steps_per_epoch: int = 5, n: int = 20, n_cuts: int = 0, **how: object) -> list[float]:
    schedule = Schedule(Training(learning_rate=2.0, epochs=4, **how), steps_per_epoch)  # type: ignore[arg-type]
    return [schedule.rate(step, n_cuts) for step in range(n)]


def test_constant() -> None:
    assert rates() == [2.0] * 20


def test_warmup_is_a_line_to_the_peak() -> None:
    found = rates(warmup=0.2)
    assert found[:5] == [0.5, 1.0, 1.5, 2.0, 2.0]
    assert found[-1] == 2.0


def test_the_cosine_falls_from_the_peak_to_zero() -> None:
    found = rates(n=21, schedule="cosine", warmup=0.2)
    assert found[:4] == [0.5, 1.0, 1.5, 2.0]
    assert found[4:] == pytest.approx([1 + math.cos(math.pi * k / 16) for k in range(17)])
    assert found[20] == pytest.approx(0, abs=1e-12)
    assert Schedule(Training(schedule="cosine", epochs=1), 2).rate(99, 0) == 0, "no rise after the end"


def test_the_plateau_takes_stairs() -> None:
    assert rates(schedule="plateau", n=1, n_cuts=2) == pytest.approx([2 * 0.09])
    assert rates(schedule="plateau", n=1, n_cuts=2, warmup=0.5) == [0.2], "not during the warm-up"
    assert rates(n=1, n_cuts=2) == [2.0], "for the plateau only"
