"""Causal convolutions over a user's events, each layer looking back twice as far as the one before.

B sequences, L events, D width, R reach.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from ecbehave.models.deep.encoders import Encoder, here
from ecbehave.models.deep.noise import Noise, dropout
from ecbehave.models.deep.weights import initialise

#: After a layer whose filters step over 128 events, the next ones begin at 1 again.
_N_DILATIONS = 8


class Dilated(Encoder):
    """Layers of gated causal convolutions, each after a norm and beside a residual.

    A filter of layer n looks at R events, 2^n apart; where there is none, at zeros. Time is read from the events only.

    Source: van den Oord et al. (2016), WaveNet, sections 2.1 and 2.4; for the next item: Yuan et al. (2019), A simple
    convolutional generative network for next item recommendation. Gates: Dauphin et al. (2017), Language modeling with
    gated convolutional networks, equation 1. Costs B L D^2 (2 R + 1) multiplications per layer.
    """

    reads_scaled = True

    def __init__(self, width: int, layers: int, reach: int, p: float, rng: torch.Generator) -> None:
        """Make it.

        Args:
            width: D.
            layers: of convolutions.
            reach: R, events that a filter looks at.
            p: share that is dropped of what each layer adds.
            rng: for the first weights.
        """
        super().__init__()
        steps = [2 ** (layer % _N_DILATIONS) for layer in range(layers)]
        self.layers = nn.ModuleList(_Layer(width, reach, step, p) for step in steps)
        self.norm = nn.LayerNorm(width)
        initialise(self, rng)

    def forward(self, x: Tensor, when: Tensor, noise: Noise | None) -> Tensor:  # noqa: ARG002
        """Return what is known after each event [B, L, D]; see `encoders`."""
        return self._read(x, noise, None)

    def last(self, x: Tensor, when: Tensor, at: Tensor, noise: Noise | None) -> Tensor:  # noqa: ARG002
        """Return what is known after the last event [B, D]; see `encoders`. The last layer looks for it alone."""
        return self._read(x, noise, at)[:, 0]

    def _read(self, x: Tensor, noise: Noise | None, at: Tensor | None) -> Tensor:
        for layer in self.layers[:-1]:
            x = layer(x, noise)
        found: Tensor = self.norm(self.layers[-1](x, noise, at))
        return found


class _Layer(nn.Module):
    """One gated convolution."""

    def __init__(self, width: int, reach: int, step: int, p: float) -> None:
        super().__init__()
        self.reach, self.step, self.p = reach, step, p
        self.norm = nn.LayerNorm(width)
        self.filters = nn.Linear(reach * width, 2 * width)
        self.back = nn.Linear(width, width)

    def forward(self, x: Tensor, noise: Noise | None, at: Tensor | None = None) -> Tensor:
        """Return the events [B, L, D] with what the layer adds, or only the one at place `at` [B]: [B, 1, D]."""
        length = x.shape[1]
        padded = functional.pad(self.norm(x), (0, 0, (self.reach - 1) * self.step, 0))
        parts = [padded[:, n * self.step :][:, :length] for n in range(self.reach)]
        if at is not None:
            x, parts = here(x, at), [here(part, at) for part in parts]
        # One product with the events of a filter side by side is faster than a convolution over the channels.
        beside = torch.cat(parts, 2)  # [B, L, R D]
        return x + dropout(self.back(functional.glu(self.filters(beside))), self.p, noise)
