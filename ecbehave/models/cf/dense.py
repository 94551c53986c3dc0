"""Dense scores in blocks of users, of bounded size."""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array

from ecbehave.models.protocol import Block
from ecbehave.parallel import in_order

F = TypeVar("F", np.float32, np.float64)

#: Scores of one block: 32 MB.
BLOCK_SCORES = 4_000_000
#: Most users of one block; more make no product quicker.
_BLOCK_USERS = 512
#: Most blocks that are made at once.
_MOST_BLOCKS = 8


def product(users: NDArray[Any], items: NDArray[F], height: int) -> NDArray[F]:
    """Return the products of some users with all items, computed as of `height` users: a product of other shape
    could differ in the last digit."""
    padded = np.zeros((height, items.shape[1]), items.dtype)
    padded[: users.shape[0]] = users
    found: NDArray[F] = (padded @ items.T)[: users.shape[0]]
    return found


def in_blocks(score: Callable[[slice], Block], n_users: int, n_items: int) -> Iterator[Block]:
    """Yield blocks of scores, some of them made at once, while BLAS is held to one thread."""
    from threadpoolctl import ThreadpoolController

    controller, threads = ThreadpoolController(), min(pl.thread_pool_size(), _MOST_BLOCKS)
    height = min(BLOCK_SCORES // max(n_items, 1) + 1, _BLOCK_USERS)
    starts = range(0, n_users, height)
    for first in range(0, len(starts), threads):
        with controller.limit(limits=1, user_api="blas"):
            slices = [slice(start, start + height) for start in starts[first : first + threads]]
            made = list(in_order(score, slices, threads))
        # Between blocks, whoever takes them may use BLAS as before.
        yield from made


def with_repeats(scores: NDArray[F], history: csr_array, weight: float) -> NDArray[F]:
    """Add what users had before, in place; to nothing where there is no score.

    Args:
        scores: [B, I]; minus infinity where there is none.
        history: [B, I] what each user had, weighted.
        weight: how much that counts.
    """
    if weight > 0:
        own = np.repeat(np.arange(history.shape[0]), np.diff(history.indptr)), history.indices
        before = np.where(scores[own] == -np.inf, 0, scores[own])
        scores[own] = before + weight * history.data
    return scores
