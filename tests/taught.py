"""A small net with something planted to learn, for tests of the training loop."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ecbehave.models.deep.noise import Noise, dropout, generator
from ecbehave.models.deep.watching import Curves, Moment
from ecbehave.models.deep.weights import initialise

#: What the rows follow: two of the inputs say nothing.
TRUE = torch.tensor([1.0, -2.0, 3.0, 0.0, 0.0])


class Small(nn.Module):
    """Two layers, with dropout between them."""

    def __init__(self, seed: int = 0, p: float = 0.1) -> None:
        super().__init__()
        self.p = p
        self.layers = nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.LayerNorm(16), nn.Linear(16, 1))
        initialise(self, generator(seed))

    def forward(self, x: Tensor, noise: Noise | None = None) -> Tensor:
        found: Tensor = self.layers(dropout(x, self.p, noise))[:, 0]
        return found


class Line(nn.Module):
    """Weights that are the answer."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, 5))

    def forward(self, x: Tensor, noise: Noise | None = None) -> Tensor:
        return (dropout(x, 0.0, noise) @ self.weight.T)[:, 0]


class Rows:
    """Squared error of rows that follow `TRUE`; the metric is minus the mean error on later ones."""

    unit, metric_name = "rows", "minus mse"

    def __init__(self, n: int = 203, batch: int = 32, *, is_judged: bool = True, error: float = 0.1) -> None:
        rng = np.random.default_rng(3)
        self.batch, self.is_judged = batch, is_judged
        self.x = torch.from_numpy(rng.normal(size=(n + 100, 5)).astype(np.float32)).clone()
        self.y = self.x @ TRUE + error * torch.from_numpy(rng.normal(size=n + 100).astype(np.float32))
        self.n = n
        self.n_batches = -(-n // batch)
        self.given: list[Any] = []
        """The metrics to return instead, one after the other."""

    def batches(self, rng: np.random.Generator) -> Iterator[Tensor]:
        order = torch.from_numpy(rng.permutation(self.n))
        yield from order.split(self.batch)

    def split(self, batch: Tensor, n: int) -> Sequence[Tensor]:
        return batch.tensor_split(min(n, len(batch)))

    def loss(self, net: nn.Module, shard: Tensor, noise: Noise) -> tuple[Tensor, Tensor | float]:
        return (net(self.x[shard], noise) - self.y[shard]).square().sum(), float(len(shard))

    def metric(self, net: nn.Module) -> float | None:
        if self.given:
            return float(self.given.pop(0))
        if not self.is_judged:
            return None
        later = slice(self.n, None)
        return -float((net(self.x[later]) - self.y[later]).square().mean())


class Seen:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.moments: list[Moment] = []
        self.curves: list[Curves] = []

    def say(self, message: str) -> None:
        self.said.append(message)

    def show(self, moment: Moment) -> None:
        self.moments.append(moment)

    def learned(self, curves: Curves) -> None:
        self.curves.append(curves)


def weights(net: nn.Module) -> bytes:
    """The bytes of all weights."""
    return b"".join(value.detach().numpy().tobytes() for value in net.state_dict().values())


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
