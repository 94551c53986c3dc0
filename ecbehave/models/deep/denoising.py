"""A net that squeezes what a user had into a short code, and tells from the code what there was.

Shapes: B users, P pairs of a user and an input, N inputs (K items, then levels of activity), D units, Z code.
"""

from typing import NamedTuple, cast

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor, nn
from torch.nn import functional

from ecbehave.models.deep.noise import Noise


class Bag(NamedTuple):
    """The inputs of some users, one user after the other."""

    inputs: Tensor
    """[P] int64."""
    start: Tensor
    """[B] int64, where those of a user begin."""
    weight: Tensor
    """[P] float32."""

    @classmethod
    def of(cls, rows: csr_array, device: torch.device) -> "Bag":
        """Return the stored values of a matrix [B, N]."""
        index, start = rows.indices.astype(np.int64), rows.indptr[:-1].astype(np.int64)
        parts = (index, start, rows.data.astype(np.float32))
        return cls(*(torch.from_numpy(part).to(device) for part in parts))


class Autoencoder(nn.Module):
    """One hidden layer on either side of the code.

    Source: Liang, Krishnan, Hoffman and Jebara (2018), Variational autoencoders for collaborative filtering, sections
    2.1 and 2.4 (Mult-VAE and Mult-DAE).
    """

    def __init__(self, n_items: int, n_levels: int, width: int, code: int, *, is_variational: bool) -> None:
        """Make a net whose weights are still to be drawn.

        Args:
            n_items: K.
            n_levels: further inputs, which are not told from the code; where there are any, a label is.
            width: D.
            code: Z.
            is_variational: whether the code is drawn from a distribution while the net learns.
        """
        super().__init__()
        self.input = nn.Parameter(torch.empty(n_items + n_levels, width))
        self.input_bias = nn.Parameter(torch.zeros(width))
        self.mean = nn.Linear(width, code)
        self.log_variance = nn.Linear(width, code) if is_variational else None
        self.back = nn.Linear(code, width)
        self.items = nn.Parameter(torch.empty(n_items, width))
        self.items_bias = nn.Parameter(torch.zeros(n_items))
        self.label = nn.Linear(width, 1) if n_levels else None

    def sums(self, bag: Bag, p: float, noise: Noise) -> Tensor:  # -> [B, D]
        """Return the weighted sums of what stands for a user's inputs; each input is left out with probability `p`."""
        weight = noise.dropout(bag.weight, p)
        return functional.embedding_bag(
            bag.inputs, self.input, bag.start, mode="sum", per_sample_weights=weight
        )

    def code(self, sums: Tensor) -> tuple[Tensor, Tensor | None]:  # [B, D] -> [B, Z] twice
        """Return the mean of each user's code, and the logarithm of its variance where it has one."""
        hidden = torch.tanh(sums + self.input_bias)
        return self.mean(hidden), None if self.log_variance is None else self.log_variance(hidden)

    def hidden(self, code: Tensor) -> Tensor:  # [B, Z] -> [B, D]
        """Return the layer that items and label are told from."""
        return torch.tanh(self.back(code))

    def log_odds(self, hidden: Tensor) -> Tensor:  # [B, D] -> [B]
        """Return the log-odds of the label."""
        return cast("nn.Linear", self.label)(hidden)[:, 0]  # type: ignore[no-any-return]

    def forward(self, sums: Tensor) -> Tensor:  # [B, D] -> [B, D]
        """Return that layer for the mean of the code."""
        return self.hidden(self.code(sums)[0])


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return how far the users' distributions of codes [B, Z] are from the standard normal one, summed over users.

    Source: Kingma and Welling (2014), Auto-encoding variational Bayes, appendix B.
    """
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum()
