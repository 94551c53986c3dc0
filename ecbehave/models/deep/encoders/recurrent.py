"""Recurrent nets over a user's events: GRU and LSTM.

B sequences, L events, D width.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from ecbehave.models.deep.encoders import Encoder
from ecbehave.models.deep.noise import Noise, dropout
from ecbehave.models.deep.weights import initialise


class Recurrent(Encoder):
    """Layers of recurrent cells; each after the first adds to what the one before it found.

    Time is read from the events only, as is where it stands between them.

    Source: Cho et al. (2014), Learning phrase representations using RNN encoder-decoder (`gru`); Hochreiter and
    Schmidhuber (1997), Long short-term memory, with the forget gates of Gers et al. (2000), open at the beginning as in
    Jozefowicz et al. (2015), An empirical exploration of recurrent network architectures (`lstm`); over a
    user's events: Hidasi et al. (2016), Session-based recommendations with recurrent neural networks.
    """

    def __init__(
        self, width: int, layers: int, cell: Literal["gru", "lstm"], p: float, rng: torch.Generator
    ) -> None:
        """Make it.

        Args:
            width: D.
            layers: at least 1.
            cell: `gru` or `lstm`.
            p: share that is dropped of what each layer finds.
            rng: for the first weights.
        """
        super().__init__()
        self.p = p
        make = nn.GRU if cell == "gru" else nn.LSTM
        self.layers = nn.ModuleList(make(width, width, batch_first=True) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        initialise(self, rng)
        if cell == "lstm":
            self._open_forget_gates(width)

    @torch.no_grad()
    def _open_forget_gates(self, width: int) -> None:
        for name, bias in self.layers.named_parameters():
            if name.endswith("bias_ih_l0"):
                bias[width : 2 * width] = 1.0

    def forward(self, x: Tensor, when: Tensor, noise: Noise | None) -> Tensor:  # noqa: ARG002
        """Return what is known after each event [B, L, D]; see `encoders`."""
        x = dropout(self.layers[0](x)[0], self.p, noise)
        for layer in list(self.layers)[1:]:
            x = x + dropout(layer(x)[0], self.p, noise)
        found: Tensor = self.norm(x)
        return found
