"""A net asked so that a row's answer does not depend on the rows beside it, nor on the number of threads.

Blocks have one size, and sums are float64, of which an answer keeps the digits of float32: the last digit of a product
of matrices depends on where in the matrix a row stands.
"""

from collections.abc import Callable
from copy import deepcopy
from typing import TypeVar

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ecbehave.models.deep.devices import workers

N = TypeVar("N", bound=nn.Module)

#: Rows of a block.
HEIGHT = 256
#: Most blocks that are computed at once.
_MOST = 8


def exact(net: N) -> N:
    """Return a copy of a net that computes with float64, on the CPU."""
    return deepcopy(net).cpu().double()


def in_fixed_blocks(
    answer: Callable[[Tensor], Tensor], values: NDArray[np.float32], width: int | None = None
) -> NDArray[np.float64]:
    """Return what a net says of each row.

    Args:
        answer: a block [HEIGHT, C], float64, to its answers [HEIGHT], or [HEIGHT, `width`]; several threads call it.
        values: [N, C].
        width: numbers for each row; None for one without an axis of its own.
    """
    found = np.empty((values.shape[0], *(() if width is None else (width,))), np.float32)

    def compute(start: int) -> None:
        rows = values[start : start + HEIGHT]
        block = torch.zeros(HEIGHT, values.shape[1], dtype=torch.float64)
        block[: rows.shape[0]] = torch.from_numpy(rows)
        with torch.no_grad():
            found[start : start + rows.shape[0]] = answer(block)[: rows.shape[0]].numpy()

    with workers(min(pl.thread_pool_size(), _MOST)) as mapped:
        for _ in mapped(compute, range(0, values.shape[0], HEIGHT)):
            pass
    return found.astype(np.float64)
