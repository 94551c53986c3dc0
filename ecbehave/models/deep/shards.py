"""The gradient of a batch, put together from those of its shards."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from ecbehave.errors import DataError
from ecbehave.models.deep.devices import Mapped, autocast
from ecbehave.models.deep.noise import Noise, generator
from ecbehave.models.deep.ranks import Ranks

#: Rows or sequences of a shard on a CPU, and fewest and most shards of a batch, whatever the number of threads: what
#: every shard costs, as the gradient of what stands for all items, is not to be more than what it computes.
_SHARD, _FEWEST, _MOST = 64, 2, 4

Net = TypeVar("Net", bound=nn.Module)
Taught_contra = TypeVar("Taught_contra", bound=nn.Module, contravariant=True)


class Objective(Protocol[Taught_contra]):
    """What a net is to learn, and from what."""

    unit: str
    """What the weights of `loss` count, in the plural: `events`, `rows`, `users`."""
    metric_name: str
    """What `metric` is, e.g. `ndcg@10`."""
    n_batches: int
    """Batches of an epoch."""

    def batches(self, rng: np.random.Generator) -> Iterator[Any]:
        """Yield the batches of one epoch, on the host; the cheaper, the sooner a killed run has come back to its place.

        Args:
            rng: the same for the same epoch; nothing else may decide about the order.
        """

    def split(self, batch: Any, n: int) -> Sequence[Any]:
        """Return at most `n` shards that make the batch together, none of them empty.

        Which rows are in a shard must depend on the batch and on `n` only.
        """

    def loss(self, net: Taught_contra, shard: Any, noise: Noise) -> tuple[Tensor, Tensor | float]:
        """Return the sum of the losses of a shard, and the number (or weight) of those that were summed.

        It is called from several threads at once. The net's device is to be found out from its weights.
        """

    def metric(self, net: Taught_contra) -> float | None:
        """Return how good the net is on the later validation window, higher being better; None without one."""


class Shards(Generic[Net]):
    """Computes the gradient of one step, by shards that are the same for any number of threads.

    On a CPU a batch is a fixed number of shards, each computed by one thread; what they come to is added in order. On
    a GPU it is one shard, as long as the memory is enough. Of several processes each has its part of the shards.
    """

    def __init__(
        self,
        net: Net,
        objective: Objective[Net],
        seed: int,
        precision: torch.dtype,
        mapped: Mapped,
        ranks: Ranks,
        batch: int,
    ) -> None:
        self._net, self._objective, self._seed = net, objective, seed
        self._weights = [weight for weight in net.parameters() if weight.requires_grad]
        self._device = self._weights[0].device
        self._precision, self._mapped, self._ranks = precision, mapped, ranks
        self.n = least_multiple(ranks.size, on_cpu(batch) if self._device.type == "cpu" else 1)
        self.gradients = [torch.zeros_like(weight) for weight in self._weights]
        """Of the last step, in memory of their own: what autograd returns may be shared by several weights."""

    def add_up(self, batches: Sequence[Any], step: int) -> Tensor:
        """Put the gradient of the mean loss over some batches into `gradients`.

        Returns:
            float64 [2]: the sum of the losses, and their number.

        Raises:
            DataError: even one row is too large for the memory of the GPU.
        """
        while True:
            sums, is_full = self._try(batches, step)
            if not is_full:
                break
            self._more_shards(batches)
        weight = torch.where(sums[1] > 0, sums[1], 1.0).to(self.gradients[0].dtype)
        for gradient in self.gradients:
            gradient.div_(weight)
        return sums

    def _try(self, batches: Sequence[Any], step: int) -> tuple[Tensor, bool]:
        """Return the sums over all processes, and whether one of them had too little memory."""
        is_full = False
        # What the error holds on to is free again only when this block is left.
        try:
            sums = self._of_this_rank(batches, step)
        except torch.OutOfMemoryError:
            sums, is_full = torch.zeros(2, dtype=torch.float64, device=self._device), True
        if self._ranks.size == 1:
            return sums, is_full
        told = torch.cat([sums, sums.new_tensor([is_full])])
        self._ranks.add_up([told])
        is_full = bool(told[2] > 0)
        if not is_full:
            self._ranks.add_up(self.gradients)
        return told[:2], is_full

    def _of_this_rank(self, batches: Sequence[Any], step: int) -> Tensor:
        for gradient in self.gradients:
            gradient.zero_()
        sums = torch.zeros(2, dtype=torch.float64, device=self._device)
        for number, batch in enumerate(batches):
            shards = self._objective.split(batch, self.n)
            own = [(i, shards[i]) for i in self._ranks.share(self.n) if i < len(shards)]
            for found, summed in self._mapped(partial(self._one, (step, number)), own):
                sums += summed
                for gradient, part in zip(self.gradients, found, strict=True):
                    if part is not None:
                        gradient.add_(part)
        return sums

    def _one(
        self, place: tuple[int, int], numbered: tuple[int, Any]
    ) -> tuple[Sequence[Tensor | None], Tensor]:
        """Return the gradients of one shard, None for a weight that it does not use, and its sums."""
        number, shard = numbered
        noise = Noise(generator(self._seed, *place, number, device=self._device), place[0])
        with torch.enable_grad(), autocast(self._device, self._precision):
            loss, weight = self._objective.loss(self._net, shard, noise)
        found = torch.autograd.grad(loss, self._weights, allow_unused=True)
        return found, torch.stack([loss.detach().double(), self._number(weight)])

    def _number(self, value: Tensor | float) -> Tensor:
        return torch.as_tensor(value, dtype=torch.float64, device=self._device).detach()

    def _more_shards(self, batches: Sequence[Any]) -> None:
        if max(len(self._objective.split(batch, 2 * self.n)) for batch in batches) <= self.n:
            raise DataError(
                f"train: the memory of the {self._device.type} device is too small for a single one of the "
                f"{self._objective.unit}; make the net or its sequences smaller, or set training.device: cpu"
            )
        self.n *= 2
        if self._device.type == "cuda":
            torch.cuda.empty_cache()


def on_cpu(batch: int) -> int:
    """Return into how many shards a batch of so many rows or sequences is cut on a CPU."""
    return min(max(-(-batch // _SHARD), _FEWEST), _MOST)


def least_multiple(of: int, at_least: int) -> int:
    """Return the least multiple of one number that is not less than another."""
    return -(-at_least // of) * of
