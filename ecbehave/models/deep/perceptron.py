"""A row of numbers through layers of units to a score, and which numbers the score is due to.

Shapes: N rows, C columns, W pieces of columns, D units.
"""

from collections.abc import Callable, Sequence
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ecbehave.models.deep.noise import Noise, dropout

#: Rows that are encoded at once where a mean is taken.
_ROWS = 4096

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": functional.relu,
    "gelu": functional.gelu,
    "silu": functional.silu,
}


def pieces_of(values: NDArray[np.float32], most: int) -> list[NDArray[np.float32]]:
    """Return the edges between the pieces of each column: its quantiles, equal ones once.

    Args:
        values: [N, C], all of them known.
        most: pieces of a column at most.
    """
    shares = np.linspace(0, 1, most + 1)
    # Of the values that there are, so that a 0 or 1 is cut between the two and nowhere else.
    cuts = np.quantile(values, shares, axis=0, method="inverted_cdf")
    return [np.unique(column) for column in cuts.T]


class Block(nn.Module):
    """Two layers whose result is added to what they were given; the norm is that of each row alone.

    Source: Gorishniy et al. (2021), Revisiting deep learning models for tabular data, section 3.2.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.into = nn.Linear(width, width)
        self.back = nn.Linear(width, width)

    def forward(
        self, x: Tensor, act: Callable[[Tensor], Tensor], p: float, noise: Noise | None
    ) -> Tensor:  # [N, D] -> [N, D]
        """Return `x` and what the layers add to it."""
        hidden = dropout(act(self.into(self.norm(x))), p, noise)
        return x + dropout(self.back(hidden), p, noise)


class Perceptron(nn.Module):
    """Residual layers on numbers that are encoded piecewise: how far a number has come within each piece, 0 to 1.

    Source: Gorishniy et al. (2022), On embeddings for numerical features in tabular deep learning, section 3.2,
    equation 1; here the first and the last piece end as all others do, so that no outlier reaches far.
    """

    def __init__(self, n_pieces: Sequence[int], width: int, layers: int, activation: str) -> None:
        """Make a net whose weights are still to be drawn.

        Args:
            n_pieces: [C] pieces of each column.
            width: units of a layer.
            layers: residual blocks of two layers each.
            activation: one of `relu`, `gelu`, `silu`.
        """
        super().__init__()
        self.n_pieces = tuple(n_pieces)
        n_all = sum(self.n_pieces)
        self.source: Tensor
        source = torch.from_numpy(np.repeat(np.arange(len(self.n_pieces)), self.n_pieces))
        self.register_buffer("source", source, persistent=False)
        self.low: Tensor
        self.register_buffer("low", torch.zeros(n_all))
        self.length: Tensor
        self.register_buffer("length", torch.ones(n_all))
        self.usual: Tensor
        """[W] the mean of the encoded train rows, which an explanation starts from."""
        self.register_buffer("usual", torch.zeros(n_all))
        self.into = nn.Linear(n_all, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, 1)
        self.dropout, self.input_dropout = 0.0, 0.0
        """Share of units, and of encoded numbers, that are left out while the net learns."""
        self._act = _ACTIVATIONS[activation]

    @classmethod
    def cut_by(cls, values: NDArray[np.float32], most: int, width: int, layers: int, activation: str) -> Self:
        """Make a net whose pieces are those of some rows [N, C]."""
        edges = pieces_of(values, most)
        net = cls([column.size - 1 for column in edges], width, layers, activation)
        net.low.copy_(torch.from_numpy(np.concatenate([column[:-1] for column in edges])))
        net.length.copy_(torch.from_numpy(np.concatenate([np.diff(column) for column in edges])))
        blocks = (values[start : start + _ROWS] for start in range(0, values.shape[0], _ROWS))
        total = sum(net.encoded(torch.from_numpy(rows)).double().numpy().sum(axis=0) for rows in blocks)
        net.usual.copy_(torch.from_numpy(np.asarray(total / values.shape[0])))
        return net

    def start_at(self, score: float) -> None:
        """Let the scores begin around a value."""
        with torch.no_grad():
            self.out.bias.fill_(score)

    def encoded(self, x: Tensor) -> Tensor:  # [N, C] -> [N, W]
        """Return how far each number has come within the pieces of its column, from 0 to 1."""
        return ((x[:, self.source] - self.low) / self.length).clamp(0, 1)

    def score(self, encoded: Tensor, noise: Noise | None = None) -> Tensor:  # [N, W] -> [N]
        """Return the score of encoded rows."""
        hidden = self.into(dropout(encoded, self.input_dropout, noise))
        for block in self.blocks:
            hidden = block(hidden, self._act, self.dropout, noise)
        hidden = dropout(self._act(self.norm(hidden)), self.dropout, noise)
        return self.out(hidden)[:, 0]  # type: ignore[no-any-return]

    def forward(self, x: Tensor, noise: Noise | None = None) -> Tensor:  # [N, C] -> [N]
        """Return a score for each row."""
        return self.score(self.encoded(x), noise)


def drivers(net: Perceptron, x: Tensor, steps: int = 16) -> Tensor:  # [N, C] -> [N, C]
    """Return how much each number has to do with a row's score being another than that of the usual row.

    The gradient is integrated along the straight line from the usual row, encoded, to the row, by the midpoint rule;
    what this leaves of the difference between the two scores, a few percent of it, is not handed out.

    Source: Sundararajan, Taly and Yan (2017), Axiomatic attribution for deep networks, equation 3.
    """
    difference = net.encoded(x) - net.usual
    total = torch.zeros_like(difference)
    with torch.enable_grad():
        for step in range(steps):
            at = (net.usual + difference * ((step + 0.5) / steps)).requires_grad_()
            (slope,) = torch.autograd.grad(net.score(at).sum(), at)
            total += slope / steps
    by_column = torch.zeros_like(x)
    return by_column.index_add_(1, net.source, total * difference)
