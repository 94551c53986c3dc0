"""Asks a net about sequences, in blocks of one shape, so that an answer does not depend on who else is asked."""

from collections.abc import Callable, Iterator

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from ecbehave.models.deep.devices import workers
from ecbehave.models.deep.tokens import Reader, Span, Tokens
from ecbehave.models.deep.vocabulary import Ints

#: Sequences of a block.
_HEIGHT = 64
#: Most blocks that are computed at once.
_MOST = 8


def ask(
    answer: Callable[[Tokens], Tensor], reader: Reader, span: Span, size: int, *, has_query: bool = True
) -> NDArray[np.float32]:
    """Return what a net says of each sequence [N, size].

    Args:
        answer: of a batch [B, size]; it is called from several threads, and moves the batch to the net's device.
        reader: of the sequences.
        span: N sequences, none of them empty.
        size: numbers of an answer.
        has_query: see `Reader.tokens`.
    """
    found = np.empty((len(span), size), np.float32)

    def compute(block: tuple[Ints, int]) -> None:
        rows, width = block
        with torch.no_grad():
            read = reader.tokens(span.take(np.resize(rows, _HEIGHT)), width, has_query=has_query)
            found[rows] = answer(read)[: rows.size].float().cpu().numpy()

    with workers(min(pl.thread_pool_size(), _MOST)) as mapped:
        for _ in mapped(compute, _blocks(span.n_instants)):
            pass
    return found


def _blocks(length: Ints) -> Iterator[tuple[Ints, int]]:
    """Yield rows of about equally long sequences, and the length to which they are padded."""
    widths = _widths(length)
    order = np.argsort(widths, kind="stable")
    ends = np.flatnonzero(np.diff(widths[order], append=0))
    start = 0
    for end in (ends + 1).tolist():
        for first in range(start, end, _HEIGHT):
            yield order[first : min(first + _HEIGHT, end)], int(widths[order[first]])
        start = end


def _widths(length: Ints) -> Ints:
    """Return lengths rounded up by at most a quarter, so that few differ."""
    step = 2 ** np.maximum(np.frexp(length - 1)[1].astype(np.int64) - 3, 0)
    rounded: Ints = -(-length // step) * step
    return rounded
