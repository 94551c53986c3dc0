"""What train does for fits that take long: what is said, what is kept for a kill, and what is told of them after."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from planted_shops import ASKING
from shops import Shop
from stage_runs import Runs, Said

from ecbehave.artifacts import Artifact
from ecbehave.models.deep.watching import Curves, Moment
from ecbehave.models.protocol import Options
from ecbehave.progress import Progress, Show
from ecbehave.stages import train
from ecbehave.stages.long_fits import LongFits, told

CopyOf = Callable[..., Runs]
NET = {
    "kind": "rnn",
    "width": 8,
    "layers": 1,
    "pretrain": {"epochs": 0, "horizons": []},
    "training": {"epochs": 2, "patience": 9, "batch": 64, "learning_rate": 0.01, "device": "cpu"},
}
MOMENT = Moment("net", 3, 20, 0.2, 1.25, 0.0512, "ndcg@10", 12_345.6, "events", 130, is_epoch_end=True)


def test_where_a_fit_is_in_words() -> None:
    assert told(MOMENT) == (
        "net: epoch 3 of 20: loss 1.2500, ndcg@10 0.0512, 2 min left at most, 12,346 events/s"
    )
    last = Moment("net", 20, 20, 1, 1.25, None, "ndcg@10", 12_345.6, "rows", 0, is_epoch_end=True)
    assert told(last) == "net: epoch 20 of 20: loss 1.2500, 12,346 rows/s"


def test_what_a_fit_says_is_handed_on(tmp_path: Path) -> None:
    progress = Said()
    fits = LongFits(tmp_path, "f" * 64, progress)
    curves = Curves("net", "events", (1.0, 0.5), (0.1, 0.2), "ndcg@10", 2)
    with fits.follow("fitted", Options(3, 2)) as options:
        assert options.checkpoints == tmp_path / "training" / ("f" * 16) / "fitted"
        assert (options.seed, options.threads) == (3, 2)
        assert options.watcher is not None
        options.watcher.say("train: net: hello")
        options.watcher.show(MOMENT)
        options.watcher.learned(curves)
    with fits.follow("refit", Options(3, 2)):
        pass
    assert progress.lines == ["train: net: hello"], "the first lines come after ten seconds"
    [found] = fits.curves.pop("fitted")
    assert (found["name"], found["best"], list(found["metric"])) == ("net", 2, [0.1, 0.2])
    assert not fits.curves
    fits.forget()
    assert not (tmp_path / "training").exists()


class Interrupted(Progress):
    """A run that is stopped when a fit has come somewhere."""

    def __init__(self, at: int) -> None:
        super().__init__(quiet=True)
        self.left = at

    @contextmanager
    def follow(self, what: str, seconds: float = 0) -> Iterator[Show]:
        del what, seconds

        def show(share: float, text: str, is_milestone: bool) -> None:
            self.left -= is_milestone
            if self.left < 0:
                raise KeyboardInterrupt

        yield show


def model_files(runs: Runs) -> dict[str, bytes]:
    folder = runs.shop.workspace / "shop/model"
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.npz")}


@pytest.fixture(scope="module")
def netted(asking: Runs, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """A shop with a net, all stages done; not to be changed."""
    shop = Shop(tmp_path_factory.mktemp("netted") / "shop")
    shutil.copytree(asking.shop.folder, shop.folder, dirs_exist_ok=True)
    runs = Runs(shop, shop.config(**ASKING | {"model": NET}))
    runs.do("features", "train", "evaluate")
    return runs


def trained(runs: Runs) -> Artifact:
    artifact = runs.context().workspace.read("shop/model")
    assert artifact is not None
    return artifact


def test_how_it_went_is_told(netted: Runs) -> None:
    info = trained(netted).info["training"]
    assert list(info) == ["fitted", "refit"]
    [first], [again] = info.values()
    assert (len(first["loss"]), len(first["metric"]), first["ended"]) == (2, 2, "epochs")
    assert (len(again["loss"]), len(again["metric"]), again["ended"]) == (first["best"], 0, "epochs")
    page = (netted.shop.workspace / "shop/evaluation/report.html").read_text(encoding="utf-8")
    assert f"<h3>Loss: {first['name']}</h3>" in page
    assert f"<h3>Validation: {first['name']}</h3>" in page
    assert f"{first['name']}: 2 epochs; epoch {first['best']} is kept" in page
    assert not (netted.shop.workspace / "shop/training").exists()


def test_an_interrupted_training_goes_on(netted: Runs, copy_of: CopyOf) -> None:
    runs = copy_of(netted, **ASKING | {"model": NET})
    expected, info = model_files(runs), trained(runs).info["training"]
    context = runs.context(force=True)
    with context.workspace.lock("test", 0, print), pytest.raises(KeyboardInterrupt):
        train.run(replace(context, progress=Interrupted(1)))
    [kept] = (runs.shop.workspace / "shop/training").rglob("*.npz")
    assert kept.parent.name == "fitted"
    shutil.rmtree(runs.shop.workspace / "shop/model")

    runs.threads = 2
    runs.do("train")
    assert any("goes on in epoch 2, after" in line for line in runs.said)
    assert model_files(runs) == expected
    assert trained(runs).info["training"] == info
    assert not (runs.shop.workspace / "shop/training").exists()


def test_force_starts_anew(netted: Runs, copy_of: CopyOf) -> None:
    runs = copy_of(netted, **ASKING | {"model": NET})
    context = runs.context(force=True)
    with context.workspace.lock("test", 0, print), pytest.raises(KeyboardInterrupt):
        train.run(replace(context, progress=Interrupted(1)))
    assert list((runs.shop.workspace / "shop/training").rglob("*.npz"))
    runs.do("train", force=True)
    assert not any("goes on" in line for line in runs.said)
    assert not (runs.shop.workspace / "shop/training").exists()


def test_two_processes_train_one_model(netted: Runs, copy_of: CopyOf) -> None:
    """As torchrun starts them: the first one publishes, and the other one leaves nothing and says nothing."""
    runs = copy_of(netted, **ASKING | {"model": NET})
    alone = trained(runs).info["training"]
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    shared = {
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    arguments = [sys.executable, "-m", "ecbehave", "train", "--config", str(runs.config), "--force", "--json"]
    before = sorted(runs.shop.workspace.rglob("*"))
    processes = [
        subprocess.Popen(
            arguments,
            env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert json.loads(outputs[0][0])["status"] == "done"
    assert outputs[1] == ("", "")
    assert sorted(runs.shop.workspace.rglob("*")) == before
    both = trained(runs).info["training"]
    for part in ("fitted", "refit"):
        for found_here, expected in zip(both[part], alone[part], strict=True):
            assert found_here["loss"] == pytest.approx(expected["loss"], rel=1e-4)


def test_a_follower_trains_nothing_that_is_there(netted: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert train.run(netted.context()).status == "skipped"
