"""Causal self-attention over a user's events, which knows how long ago each was.

B sequences, L events, D width, H heads, E width of a head.
"""

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn import functional

from ecbehave.models.deep.encoders import Encoder, here
from ecbehave.models.deep.noise import Noise, dropout
from ecbehave.models.deep.weights import initialise

#: Levels of the time between two events: the logarithm of its minutes to the base of 2, up to two years.
_N_GAPS = 21
_MINUTES = 1440.0
#: Slowest turn of the rotary positions, per event.
_SLOWEST = 1e-4
_MASKED = -1e9


class Attention(Encoder):
    """Layers of attention and gated feed-forward nets, each after a norm and beside a residual.

    What an event asks of an earlier one depends on both, on the number of events between them (by turning queries and
    keys: Su et al. (2021), RoFormer, section 3.2), and on the time between them (a learned number for each head and
    level of the logarithm of the time, added to the scores and shared by the layers, as Raffel et al. (2020), Exploring
    the limits of transfer learning, section 2.1, do with positions; intervals as in Li et al. (2020), Time interval
    aware self-attention for sequential recommendation). At first all times count alike.

    Source: Vaswani et al. (2017), Attention is all you need; norms come first as in Xiong et al. (2020), On layer
    normalization in the transformer architecture; gates as in Shazeer (2020), GLU variants improve transformer,
    equation 6. Costs B L D (14 D + 4 L) multiplications per layer, and 4 B H L^2 bytes for the times.
    """

    reads_scaled = True

    def __init__(self, width: int, layers: int, heads: int, p: float, rng: torch.Generator) -> None:
        """Make it.

        Args:
            width: D.
            layers: of attention, each with a feed-forward net.
            heads: H; the width divides into them, evenly for each.
            p: share that is dropped of what each layer adds, and inside of the feed-forward nets.
            rng: for the first weights.
        """
        super().__init__()
        self.heads = heads
        self.layers = nn.ModuleList(_Layer(width, heads, p) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        initialise(self, rng)
        self.by_gap = nn.Parameter(torch.zeros(heads, _N_GAPS))

    def forward(self, x: Tensor, when: Tensor, noise: Noise | None) -> Tensor:
        """Return what is known after each event [B, L, D]; see `encoders`."""
        found: Tensor = self._read(x, when, noise, None)
        return found

    def last(self, x: Tensor, when: Tensor, at: Tensor, noise: Noise | None) -> Tensor:
        """Return what is known after the last event [B, D]; see `encoders`. The last layer asks for it alone."""
        return self._read(x, when, noise, at)[:, 0]

    def _read(self, x: Tensor, when: Tensor, noise: Noise | None, at: Tensor | None) -> Tensor:
        turns = _turns(x.shape[1], x.shape[2] // self.heads, x)
        bias = self._bias(when).to(x.dtype)
        for layer in self.layers[:-1]:
            x = layer(x, turns, bias, noise)
        found: Tensor = self.norm(self.layers[-1](x, turns, bias, noise, at))
        return found

    def _bias(self, when: Tensor) -> Tensor:
        """What the time between two events adds to their scores [B, H, L, L]; of later events, as good as nothing."""
        n_sequences, length = when.shape
        gap = (when[:, None, :] - when[:, :, None]).clamp(min=0)  # [B, L, L]: of the row to an earlier column
        level = torch.log2(1 + gap * _MINUTES).clamp(max=_N_GAPS - 1).int().flatten()
        found: Tensor = _OfLevel.apply(self.by_gap, level)  # type: ignore[no-untyped-call]
        found = found.view(self.heads, n_sequences, length, length).transpose(0, 1)
        is_later = torch.ones(length, length, dtype=torch.bool, device=when.device).triu(1)
        return found.masked_fill(is_later, _MASKED)


class _OfLevel(torch.autograd.Function):
    """Columns of a small table [H, n] by number [M]: [H, M]; counts its gradient, far faster than torch does."""

    @staticmethod
    def forward(ctx: FunctionCtx, table: Tensor, level: Tensor) -> Tensor:
        ctx.save_for_backward(level)
        ctx.n_levels = table.shape[1]  # type: ignore[attr-defined]
        return table.index_select(1, level)

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, None]:
        (level,) = ctx.saved_tensors  # type: ignore[attr-defined]
        summed = [torch.bincount(level, own, ctx.n_levels) for own in grad.reshape(len(grad), -1)]  # type: ignore[attr-defined]
        return torch.stack(summed).to(grad.dtype), None


class _Layer(nn.Module):
    """One layer of attention, and its feed-forward net."""

    def __init__(self, width: int, heads: int, p: float) -> None:
        super().__init__()
        self.heads, self.p = heads, p
        hidden = 2 * width
        self.norm_attention, self.norm_forward = nn.LayerNorm(width), nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width, bias=False)
        self.together = nn.Linear(width, width, bias=False)
        self.gate_and_value = nn.Linear(width, 2 * hidden)
        self.back = nn.Linear(hidden, width)

    def forward(
        self, x: Tensor, turns: Tensor, bias: Tensor, noise: Noise | None, at: Tensor | None = None
    ) -> Tensor:
        """Return the events [B, L, D] with what the layer adds, or only the one at place `at` [B]: [B, 1, D]."""
        found = self._attend(self.norm_attention(x), turns, bias, at)
        x = (x if at is None else here(x, at)) + dropout(found, self.p, noise)
        gate, value = self.gate_and_value(self.norm_forward(x)).chunk(2, dim=-1)
        inner = dropout(functional.silu(gate) * value, self.p, noise)
        return x + dropout(self.back(inner), self.p, noise)

    def _attend(self, x: Tensor, turns: Tensor, bias: Tensor, at: Tensor | None) -> Tensor:
        n_sequences, length, width = x.shape
        made = self.queries_keys_values(x).view(n_sequences, length, 3, self.heads, width // self.heads)
        turned = _turned(made[:, :, :2], turns).to(made.dtype)
        query, key, value = turned[:, :, 0], turned[:, :, 1], made[:, :, 2]
        if at is not None:
            query, bias = here(query, at), here(bias.transpose(1, 2), at).transpose(1, 2)
        seen = functional.scaled_dot_product_attention(
            query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), bias.to(made.dtype)
        )  # [B, H, L, E]
        found: Tensor = self.together(seen.transpose(1, 2).flatten(2))
        return found


def _turns(length: int, width: int, like: Tensor) -> Tensor:
    """The turn of each pair of numbers at each place, as complex numbers [L, 1, 1, E / 2]."""
    at = torch.arange(length, device=like.device, dtype=like.dtype)
    speed = _SLOWEST ** (torch.arange(0, width, 2, device=like.device, dtype=like.dtype) / width)
    angle = at[:, None, None, None] * speed
    return torch.polar(torch.ones_like(angle), angle)


def _turned(x: Tensor, turns: Tensor) -> Tensor:
    """Queries and keys [B, L, 2, H, E], turned by their place."""
    pairs = torch.view_as_complex(x.to(turns.real.dtype).view(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * turns).flatten(-2)
