"""Where a net computes, in which numbers, and on how many threads.

torch's own threads are not used on a CPU: how many they are decides how it sums, and so the last digits of a result.
Work is cut into parts that do not depend on the threads, and each part is done by one of them.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Literal, Protocol, TypeVar

import torch

from ecbehave.errors import ConfigError
from ecbehave.parallel import through

T = TypeVar("T")
R = TypeVar("R")

_CPUINFO = Path("/proc/cpuinfo")
#: What Linux calls the instructions, on x86 and on ARM.
_BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}


def pick_device(wanted: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """Return the device to compute on; of several GPUs the one that this process of several has.

    Raises:
        ConfigError: there is no GPU that torch can use, but one is asked for.
    """
    if wanted == "cpu":
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    if wanted == "cuda":
        raise ConfigError(
            f"training.device is cuda, but torch {torch.__version__} sees no GPU here; set device: auto, or install "
            f"a torch that is built for the GPU's driver"
        )
    return torch.device("cpu")


def has_bfloat16(device: torch.device, cpuinfo: Path = _CPUINFO) -> bool:
    """Tell whether the device has instructions for bfloat16."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
    return not _BFLOAT16.isdisjoint(flags.split())


def pick_precision(
    wanted: Literal["auto", "float32", "bfloat16"], device: torch.device, cpuinfo: Path = _CPUINFO
) -> torch.dtype:
    """Return the type to multiply matrices in.

    Raises:
        ConfigError: bfloat16 is asked for, and the hardware does not have it.
    """
    if wanted == "float32" or (wanted == "auto" and device.type == "cpu"):
        return torch.float32
    if has_bfloat16(device, cpuinfo):
        return torch.bfloat16
    if wanted == "bfloat16":
        raise ConfigError(
            f"training.precision is bfloat16, but this {'CPU' if device.type == 'cpu' else 'GPU'} has no instructions "
            f"for it and would only be slower; set precision: auto"
        )
    return torch.float32


def autocast(device: torch.device, precision: torch.dtype) -> AbstractContextManager[object]:
    """Return a context in which matrices are multiplied in `precision`; it holds for the thread that enters it."""
    # Without the cache, which threads share: what is in it belongs to the graph of one of them.
    return torch.autocast(
        device.type, dtype=torch.bfloat16, enabled=precision == torch.bfloat16, cache_enabled=False
    )


class Mapped(Protocol):
    """`map` over threads; results come in the order of the items."""

    def __call__(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Yield the function's value for each item."""


@contextmanager
def workers(threads: int) -> Iterator[Mapped]:
    """Yield a `map` that computes several items at once, each on one thread: the results are those of one thread.

    What a function does must not depend on what another call of it does at the same time. Gradients are off, as they
    have to be switched off for each thread.

    Args:
        threads: how many items are computed at once.
    """
    # Never set back: it is the setting for all that a net does on a CPU.
    torch.set_num_threads(1)
    if threads == 1:
        yield _one_by_one
        return
    with ThreadPoolExecutor(threads, initializer=partial(torch.set_num_threads, 1)) as pool:

        def mapped(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
            # One more than there are threads, so that none of them waits for the next item.
            return through(pool, torch.no_grad()(function), items, threads + 1)

        yield mapped


def _one_by_one(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    return map(torch.no_grad()(function), items)
