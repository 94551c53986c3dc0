"""Several processes that train one net together, as `torchrun` starts them.

Each has its share of every batch; gradients are added up, so that all of them make the same step. The gradients are
those of `torch.autograd.grad`, by threads: DistributedDataParallel waits for `backward`, which is not called.
"""

import atexit
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, distributed

from ecbehave.errors import ConfigError

#: Numbers that are sent at once: small weights go together, for which one message each would take longer.
_BUCKET = 1 << 22


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together; alone, it is the first of one."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    """Where tensors must be to be sent."""

    @property
    def is_first(self) -> bool:
        """Whether this process writes, and says what happens."""
        return self.rank == 0

    def share(self, n: int) -> range:
        """Return which of `n` parts this process has; `n` is a multiple of the number of processes."""
        each = n // self.size
        return range(self.rank * each, (self.rank + 1) * each)

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors of one type by their sums over all processes."""
        if self.size == 1:
            return
        for bucket in _buckets(tensors):
            flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
            distributed.all_reduce(flat)
            for tensor, summed in zip(bucket, torch.split(flat, [t.numel() for t in bucket]), strict=True):
                tensor.copy_(summed.view_as(tensor))

    def from_first(self, content: bytes) -> bytes:
        """Return what the first process has."""
        if self.size == 1:
            return content
        n_bytes = torch.tensor([len(content)], device=self.device)
        distributed.broadcast(n_bytes, 0)
        if self.is_first:
            sent = torch.frombuffer(bytearray(content), dtype=torch.uint8) if content else torch.empty(0)
            sent = sent.to(self.device, torch.uint8)
        else:
            sent = torch.empty(int(n_bytes), dtype=torch.uint8, device=self.device)
        distributed.broadcast(sent, 0)
        return sent.cpu().numpy().tobytes()

    def number_from_first(self, value: float) -> float:
        """Return the number that the first process has."""
        if self.size == 1:
            return value
        sent = torch.tensor([value], dtype=torch.float64, device=self.device)
        distributed.broadcast(sent, 0)
        return float(sent)


def joined(device: torch.device, environment: Mapping[str, str] = os.environ) -> Ranks:
    """Return this process among the others; the first call waits for them.

    Args:
        device: of the net; GPUs send to one another by NCCL, CPUs by Gloo.
        environment: where `torchrun` says who this process is.

    Raises:
        ConfigError: it says so by halves.
    """
    if int(environment.get("WORLD_SIZE", "1")) == 1:
        return Ranks()
    lacking = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in environment]
    if lacking:
        raise ConfigError(
            f"WORLD_SIZE is {environment['WORLD_SIZE']}, but {', '.join(lacking)} is not set; start with torchrun, "
            f"which sets them all, or unset WORLD_SIZE"
        )
    if not distributed.is_initialized():
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
        atexit.register(distributed.destroy_process_group)
    return Ranks(distributed.get_rank(), distributed.get_world_size(), device)


def _buckets(tensors: Sequence[Tensor]) -> list[list[Tensor]]:
    buckets: list[list[Tensor]] = []
    room = 0
    for tensor in tensors:
        if tensor.numel() > room or not buckets:
            buckets.append([])
            room = _BUCKET
        buckets[-1].append(tensor)
        room -= tensor.numel()
    return buckets
