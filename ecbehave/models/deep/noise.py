"""Randomness inside of a net, from a generator of its own: the same for any number of threads."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

_LEVELS = 1 << 16


def generator(seed: int, *place: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a generator for one place in a run, e.g. a step and a shard; other places get others."""
    # Without its length a place would be the same as one with zeros after it.
    words: Sequence[int] = (len(place), seed, *place)
    (state,) = np.random.SeedSequence(words).generate_state(1, np.uint64)
    return torch.Generator(device).manual_seed(int(state))


class Noise:
    """What a net may draw from while it learns; nets are given None when they are asked."""

    def __init__(self, rng: torch.Generator, step: int = 0) -> None:
        self.rng = rng
        """On the device of the net."""
        self.step = step
        """Steps made before this one, e.g. for a weight that grows with them."""

    def dropout(self, x: Tensor, p: float) -> Tensor:
        """Return `x` with each value set to 0 with probability `p`, and the others made larger by 1 / (1 - p).

        `p` is rounded to 1/65536: a draw of 64 bits decides about four values, which is several times faster than
        one draw for each.

        Source: Srivastava et al. (2014), Dropout, section 4.
        """
        dropped = round(p * _LEVELS)
        if dropped == 0:
            return x
        kept = self._levels(x) >= dropped - _LEVELS // 2
        return x * kept.to(x.dtype).mul_(_LEVELS / (_LEVELS - dropped))

    def _levels(self, x: Tensor) -> Tensor:
        """Return int16 numbers in the shape of `x`, each as likely as any other."""
        n_words = -(-x.numel() // 4)
        words = torch.empty(n_words, dtype=torch.int64, device=x.device)
        words.random_(-(1 << 63), None, generator=self.rng)
        return words.view(torch.int16)[: x.numel()].view(x.shape)

    def normal(self, like: Tensor) -> Tensor:
        """Return standard normal numbers in the shape of `like`."""
        return torch.empty_like(like).normal_(generator=self.rng)

    def uniform(self, *shape: int) -> Tensor:
        """Return numbers from [0, 1) as float32."""
        return torch.rand(shape, generator=self.rng, device=self.rng.device)

    def integers(self, high: int, *shape: int) -> Tensor:
        """Return whole numbers from [0, high) as int64."""
        return torch.randint(high, shape, generator=self.rng, device=self.rng.device)


def dropout(x: Tensor, p: float, noise: Noise | None) -> Tensor:
    """Return `noise.dropout(x, p)`, and `x` itself where there is no noise."""
    return x if noise is None else noise.dropout(x, p)
