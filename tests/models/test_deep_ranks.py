"""Two processes that train one net together learn what one process learns."""

import json
import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch
from taught import Rows, Seen, Small, files
from torch import nn

from ecbehave.errors import ConfigError
from ecbehave.models.deep.checkpoints import Store
from ecbehave.models.deep.loop import Run, train
from ecbehave.models.deep.ranks import Ranks, joined
from ecbehave.models.deep.settings import Training
from ecbehave.models.deep.shards import least_multiple, on_cpu

HERE = Path(__file__)
HOW = Training(learning_rate=0.03, epochs=4, clip=1.0, accumulate=2)


class Few(Rows):
    """Has room for a few rows only in the second process, and no metric there."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        self.rank = rank

    def loss(self, net, shard, noise):  # type: ignore[no-untyped-def]
        if self.rank == 1 and len(shard) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().loss(net, shard, noise)

    def metric(self, net: nn.Module) -> float | None:
        assert self.rank == 0, "the others are told"
        return super().metric(net)


SCRIPT = """
    import json, sys
    from pathlib import Path
    import taught
    from test_deep_ranks import HOW, Few
    from ecbehave.models.deep.checkpoints import Store
    from ecbehave.models.deep.loop import Run, train

    rank, p, folder = int(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3])
    # Each machine may have a disk of its own. The second time there is nothing left to do.
    store, came_to = Store(folder / str(rank), "key"), []
    for _ in range(2):
        net, seen = taught.Small(p=p), taught.Seen()
        curves = train(net, Few(rank), HOW, Run(0, 1, "small", seen, store)).curves
        weights = [value.detach().flatten().tolist() for value in net.parameters()]
        came_to.append([list(curves.loss), list(curves.metric), curves.best, weights, seen.said])
    print(json.dumps(came_to))
"""


def together(tmp_path: Path, p: float) -> list[list[Any]]:
    """What each of two processes came to."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    shared |= {
        "PYTHONPATH": os.pathsep.join([str(HERE.parent), str(HERE.parents[1])]),
        "OMP_NUM_THREADS": "1",
    }
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(SCRIPT), str(rank), str(p), str(tmp_path)],
            env=os.environ | shared | {"RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    return [json.loads(output.splitlines()[-1]) for output in outputs]


def test_two_processes_learn_what_one_learns(tmp_path: Path) -> None:
    net, seen = Small(p=0.0), Seen()
    alone = train(net, Rows(), HOW, Run(0, 1, "small", seen))
    (first, first_again), (second, second_again) = together(tmp_path, 0.0)
    loss, metric, best, weights, said = first
    # The sums are the same numbers, added in another order.
    assert loss == pytest.approx(list(alone.curves.loss), rel=1e-5)
    assert metric == pytest.approx(list(alone.curves.metric), rel=1e-4)
    assert best == alone.curves.best
    for found, expected in zip(weights, net.parameters(), strict=True):
        assert found == pytest.approx(expected.detach().flatten().tolist(), abs=2e-4)
    assert second[:4] == first[:4], "both have the same net"
    assert said == ["train: small: too little memory for 4 shards of a batch; goes on with 8"]
    assert second[4] == [], "only the first one speaks"
    assert [file.split("/")[0] for file in files(tmp_path)] == ["0"], "only the first one writes"
    assert first_again[:4] == second_again[:4] == first[:4], "both go on from what the first one has written"
    assert first_again[4] == []


def test_alone_there_is_nobody_to_wait_for(tmp_path: Path) -> None:
    alone = joined(torch.device("cpu"), {})
    assert (alone, alone.is_first) == (Ranks(), True)
    assert joined(torch.device("cpu"), {"WORLD_SIZE": "1", "RANK": "0"}) == Ranks()
    tensors = [torch.ones(3)]
    alone.add_up(tensors)
    assert tensors[0].tolist() == [1, 1, 1]
    assert alone.from_first(b"x") == b"x"
    assert alone.number_from_first(2.5) == 2.5
    train(Small(), Rows(), Training(epochs=1), Run(0, 1, store=Store(tmp_path, "key")))


def test_who_this_is_has_to_be_said() -> None:
    with pytest.raises(ConfigError) as caught:
        joined(torch.device("cpu"), {"WORLD_SIZE": "2", "RANK": "0"})
    assert str(caught.value) == (
        "WORLD_SIZE is 2, but MASTER_ADDR, MASTER_PORT is not set; start with torchrun, which sets them all, or unset "
        "WORLD_SIZE"
    )


@pytest.mark.parametrize(("batch", "n"), [(1, 2), (128, 2), (129, 3), (256, 4), (4096, 4)])
def test_a_small_batch_is_cut_into_fewer_shards(batch: int, n: int) -> None:
    assert on_cpu(batch) == n


@pytest.mark.parametrize(
    ("n_ranks", "at_least", "n"), [(1, 4, 4), (2, 4, 4), (3, 4, 6), (8, 4, 8), (1, 1, 1), (4, 1, 4)]
)
def test_every_process_has_as_many_shards(n_ranks: int, at_least: int, n: int) -> None:
    assert least_multiple(n_ranks, at_least) == n
    parts = [part for rank in range(n_ranks) for part in Ranks(rank, n_ranks).share(n)]
    assert parts == list(range(n))
