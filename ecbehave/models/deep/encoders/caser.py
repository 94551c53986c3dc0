"""Filters across and along the last few events of a user, at every place of the sequence at once.

B sequences, L events, D width, R reach, F filters of each height.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from ecbehave.models.deep.encoders import Encoder
from ecbehave.models.deep.noise import Noise, dropout
from ecbehave.models.deep.weights import initialise

#: Horizontal filters of each height and vertical ones, as many as in the authors' code.
_N_HORIZONTAL, _N_VERTICAL = 16, 4


class Caser(Encoder):
    """Horizontal filters find what stands together in the last R events, vertical ones weigh their places.

    For each height h up to R, F filters look at h events in a row; the highest value over the last R events counts.
    Where there is no event, zeros are looked at. Time is read from the events only.

    Source: Tang and Wang (2018), Personalized top-N sequential recommendation via convolutional sequence embedding,
    sections 3.2 and 3.3, without the vector of the user. Costs B L D (R^2 F + 4 R) multiplications.
    """

    def __init__(self, width: int, reach: int, p: float, rng: torch.Generator) -> None:
        """Make it.

        Args:
            width: D.
            reach: R.
            p: share that is dropped of what the filters find.
            rng: for the first weights.
        """
        super().__init__()
        self.reach, self.p = reach, p
        self.across = nn.ModuleList(nn.Linear(h * width, _N_HORIZONTAL) for h in range(1, reach + 1))
        self.along = nn.Linear(reach, _N_VERTICAL, bias=False)
        self.together = nn.Linear(reach * _N_HORIZONTAL + _N_VERTICAL * width, width)
        self.back = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        initialise(self, rng)

    def forward(self, x: Tensor, when: Tensor, noise: Noise | None) -> Tensor:  # noqa: ARG002
        """Return what is known after each event [B, L, D]; see `encoders`."""
        length = x.shape[1]
        padded = functional.pad(x, (0, 0, self.reach - 1, 0))
        beside = torch.cat(
            [padded[:, at:][:, :length] for at in range(self.reach)], 2
        )  # [B, L, R D], oldest first
        found = torch.cat([functional.relu(self._highest(beside)), self._weighed(beside, x.shape[2])], 2)
        inner = functional.relu(self.together(dropout(found, self.p, noise)))
        made: Tensor = self.norm(self.back(inner))
        return made

    def last(self, x: Tensor, when: Tensor, at: Tensor, noise: Noise | None) -> Tensor:
        """Return what is known after the last event [B, D]; see `encoders`. No more than R events are looked at."""
        place = at[:, None] + torch.arange(1 - self.reach, 1, device=at.device)
        rows = torch.arange(len(x), device=x.device)[:, None]
        # A filter that ended before the first event has seen zeros, as here.
        newest = x[rows, place.clamp(min=0)] * (place >= 0)[..., None]
        found: Tensor = self(newest, when, noise)
        return found[:, -1]

    def _highest(self, beside: Tensor) -> Tensor:
        """The highest value of each filter over the last events [B, L, R F], the lowest filters last."""
        layers = cast("list[nn.Linear]", list(self.across)[::-1])
        # Filters of fewer events are those of all, with zeros for the older ones: one product makes them all.
        weight = torch.cat(
            [functional.pad(one.weight, (beside.shape[2] - one.in_features, 0)) for one in layers]
        )
        bias = torch.cat([one.bias for one in layers])
        values = functional.linear(beside, weight, bias)
        highest = [values[..., :_N_HORIZONTAL]]
        # A filter that ended before the first event has seen zeros. Each turn takes in one end more, of what is lower.
        for _ in range(self.reach - 1):
            bias, values = bias[_N_HORIZONTAL:], values[..., _N_HORIZONTAL:]
            first = bias.to(values.dtype).expand(len(values), 1, -1)
            values = torch.maximum(values, torch.cat([first, values[:, :-1]], 1))
            highest.append(values[..., :_N_HORIZONTAL])
        return torch.cat(highest, 2)

    def _weighed(self, beside: Tensor, width: int) -> Tensor:
        """The last events, weighed by their place in several ways [B, L, 4 D]."""
        by_place = beside.view(*beside.shape[:2], self.reach, width).transpose(2, 3)  # [B, L, D, R]
        found: Tensor = self.along(by_place)
        return found.flatten(2)
