"""A killed fit goes on from its checkpoint, and ends with the same bytes as one that nobody disturbed."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from taught import Rows, Seen, Small, files, weights
from torch import Tensor

from ecbehave.models.deep.checkpoints import Place, Store, key_of
from ecbehave.models.deep.loop import Learned, Run, train
from ecbehave.models.deep.optimisers import Optimiser
from ecbehave.models.deep.ranks import Ranks
from ecbehave.models.deep.settings import Training
from ecbehave.models.deep.watching import Plan
from ecbehave.models.protocol import Options

HOW = Training(learning_rate=0.01, epochs=4, schedule="cosine", warmup=0.1, clip=1.0, accumulate=2)


class Killed(BaseException):
    """What no code catches."""


class Fatal(Rows):
    """Stops in the middle of a step."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.left = after

    def split(self, batch: Tensor, n: int) -> Sequence[Tensor]:
        if self.left == 0:
            raise Killed
        self.left -= 1
        return super().split(batch, n)


def fit(
    folder: Path | None,
    rows: Rows | None = None,
    *,
    how: Training = HOW,
    threads: int = 1,
    seed: int = 0,
    key: str = "key",
    plan: Plan | None = None,
    seconds: float = 0.0,
) -> tuple[bytes, Learned, list[str]]:
    net, seen = Small(), Seen()
    store = None if folder is None else Store(folder, key, seconds)
    learned = train(net, rows or Rows(), how, Run(seed, threads, "small", seen, store), plan)
    return weights(net), learned, seen.said


@pytest.fixture(scope="module")
def undisturbed() -> tuple[bytes, Learned, list[str]]:
    return fit(None)


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint after each step, however long it takes."""
    monkeypatch.setattr("ecbehave.models.deep.checkpoints._SHARE", float("inf"))


@pytest.mark.parametrize("rule", ["sgd", "adam", "adamw", "adagrad"])
@pytest.mark.usefixtures("often")
def test_every_rule_goes_on_where_it_was(tmp_path: Path, rule: Any) -> None:
    how = HOW.model_copy(update={"optimizer": rule, "l1": 1e-3})
    expected = fit(None, how=how)
    with pytest.raises(Killed):
        fit(tmp_path, Fatal(18), how=how)
    found = fit(tmp_path, how=how, threads=2)
    # Seven batches an epoch, two a step: the 18th one was the second of the third epoch's second step.
    assert found[2] == ["train: small: goes on in epoch 3, after 10 steps of an earlier run"]
    assert found[0] == expected[0]
    assert found[1].curves == expected[1].curves


@pytest.mark.parametrize(("after", "where"), [(3, "epoch 1, after 1 step"), (14, "epoch 3, after 8 steps")])
@pytest.mark.usefixtures("often")
def test_from_the_first_epoch_and_from_the_end_of_one(
    tmp_path: Path, undisturbed: tuple[bytes, Learned, list[str]], after: int, where: str
) -> None:
    with pytest.raises(Killed):
        fit(tmp_path, Fatal(after))
    found = fit(tmp_path)
    assert found[2] == [f"train: small: goes on in {where} of an earlier run"]
    assert (found[0], found[1].curves) == (undisturbed[0], undisturbed[1].curves)


@pytest.mark.usefixtures("often")
def test_the_best_weights_and_the_cuts_are_known_again(tmp_path: Path) -> None:
    how = Training(learning_rate=0.01, epochs=9, patience=3, schedule="plateau")

    def judged(rows: Rows, n_before: int = 0) -> Rows:
        rows.given = [1, 5, 2, 3, 1, 0][n_before:]
        return rows

    expected = fit(None, judged(Rows()), how=how)
    assert expected[1].curves.best == 2
    with pytest.raises(Killed):
        fit(tmp_path, judged(Fatal(30)), how=how)
    found = fit(tmp_path, judged(Rows(), 4), how=how)
    assert (found[0], found[1].curves, found[1].plan) == (
        expected[0],
        expected[1].curves,
        expected[1].plan,
    )


def test_what_has_ended_is_not_trained_again(
    tmp_path: Path, undisturbed: tuple[bytes, Learned, list[str]]
) -> None:
    fit(tmp_path, seconds=99)
    before = files(tmp_path)
    found = fit(tmp_path, Fatal(0))
    assert (found[0], found[1].curves) == (undisturbed[0], undisturbed[1].curves)
    assert files(tmp_path) == before
    assert len(before) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 1},
        {"key": "other"},
        {"plan": Plan(4)},
        {"how": HOW.model_copy(update={"learning_rate": 0.02})},
        {"how": HOW.model_copy(update={"batch": 3})},
    ],
)
def test_what_is_of_another_fit_is_not_taken(tmp_path: Path, other: dict[str, Any]) -> None:
    fit(tmp_path)
    found, expected = fit(tmp_path, **other), fit(None, **other)
    assert found[0] == expected[0]
    assert not any("goes on" in line for line in found[2])
    assert len(files(tmp_path)) == 2


@pytest.mark.parametrize("n_bytes", [0, 100, 2000])
def test_what_is_damaged_is_not_taken(
    tmp_path: Path, undisturbed: tuple[bytes, Learned, list[str]], n_bytes: int
) -> None:
    fit(tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:n_bytes])
    assert fit(tmp_path)[0] == undisturbed[0]


def test_what_was_changed_is_not_taken(tmp_path: Path, undisturbed: tuple[bytes, Learned, list[str]]) -> None:
    fit(tmp_path)
    (file,) = tmp_path.iterdir()
    content = bytearray(file.read_bytes())
    content[300] ^= 1
    file.write_bytes(content)
    assert fit(tmp_path)[0] == undisturbed[0]


@pytest.mark.usefixtures("often")
def test_the_time_of_earlier_runs_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    how, clock = HOW.model_copy(update={"max_seconds": 0.5}), [100.0]
    monkeypatch.setattr("ecbehave.models.deep.loop.time.monotonic", lambda: clock[0])

    class Slow(Fatal):
        def split(self, batch: Tensor, n: int) -> Sequence[Tensor]:
            clock[0] += 0.2
            return super().split(batch, n)

    with pytest.raises(Killed):
        fit(tmp_path, Slow(3), how=how)
    started = clock[0]
    found = fit(tmp_path, Slow(99), how=how)
    assert found[1].curves.ended == "max_seconds"
    assert found[1].seconds >= 0.5
    assert clock[0] - started < found[1].seconds


def test_a_checkpoint_is_not_due_too_often(tmp_path: Path) -> None:
    """With 60 seconds between them, only the ends of epochs are kept."""
    with pytest.raises(Killed):
        fit(tmp_path, Fatal(12), seconds=60)
    assert fit(tmp_path)[2] == ["train: small: goes on in epoch 2, after 4 steps of an earlier run"]


def test_checkpoints_take_no_more_than_a_small_share_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter([0.0, 100.0, 105.0])
    monkeypatch.setattr("ecbehave.models.deep.checkpoints.time.monotonic", lambda: next(now))
    net = Small()
    file = Store(tmp_path, "key", 60).of(net, {}, Ranks())
    assert [file.is_due(at) for at in (59.9, 60)] == [False, True]
    # It takes from 100 to 105, so the next one has to wait for 5 / 0.05 seconds.
    file.write(net, Optimiser(net, HOW), Place(), {}, torch.zeros(2, dtype=torch.float64))
    assert [file.is_due(at) for at in (166, 204.9, 205)] == [False, False, True]


SCRIPT = """
    import sys, time
    from pathlib import Path
    import taught
    from test_deep_checkpoints import fit
    from ecbehave.models.deep import checkpoints

    class Slow(taught.Rows):
        def split(self, batch, n):
            time.sleep(0.02)
            return super().split(batch, n)

    checkpoints._SHARE = float("inf")
    fit(Path(sys.argv[1]), Slow())
"""


@pytest.mark.parametrize("threads", [2])
def test_killed_in_the_middle_of_it(
    tmp_path: Path, undisturbed: tuple[bytes, Learned, list[str]], threads: int
) -> None:
    """Kill a process at three different places, and go on with another number of threads."""
    here = Path(__file__)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(here.parent), str(here.parents[1])])}
    n_killed = 0
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(SCRIPT), str(tmp_path)], env=environment
        )
        before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
        deadline = time.monotonic() + 60
        while {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.npz")} in ({}, before):
            assert process.poll() is None, "it was to be killed before it is ready"
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        n_killed += process.wait(10) == -signal.SIGKILL
    assert n_killed == 2
    found = fit(tmp_path, threads=threads)
    assert "goes on in epoch" in found[2][0]
    assert (found[0], found[1].curves) == (undisturbed[0], undisturbed[1].curves)


def test_the_key_is_of_settings_and_of_every_byte() -> None:
    one = np.arange(6, dtype=np.int64)
    keys = [
        key_of({"a": 1}, [one]),
        key_of({"a": 2}, [one]),
        key_of({"a": 1}, [one[::-1]]),
        key_of({"a": 1}, [one.reshape(2, 3)]),
        key_of({"a": 1}, [one.view(np.float64)]),
        key_of({"a": 1}, [one, one[:0]]),
        key_of({"a": 1}, [np.int64(3)]),  # type: ignore[list-item]
        key_of({"a": 1}),
    ]
    assert len(set(keys)) == len(keys)
    assert key_of({"b": 2, "a": 1}, [one.copy()]) == key_of({"a": 1, "b": 2}, [one])


def test_a_run_is_made_of_what_the_stage_has_decided(tmp_path: Path) -> None:
    seen = Seen()
    run = Run.of(Options(3, 2, checkpoints=tmp_path, watcher=seen), "net", "key")
    assert run == Run(3, 2, "net", seen, Store(tmp_path, "key"))
    assert Run.of(Options(3, 2), "net", "key") == Run(3, 2, "net")
