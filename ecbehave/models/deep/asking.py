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

#: Instants of a block, and its fewest and most sequences.
_INSTANTS, _FEWEST, _HIGHEST = 4096, 64, 256
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
            padded = span.take(np.resize(rows, _height(width)))
            read = reader.tokens(padded, width, has_query=has_query)
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
        width = int(widths[order[start]])
        height = _height(width)
        for first in range(start, end, height):
            yield order[first : min(first + height, end)], width
        start = end


def _height(width: int) -> int:
    """Return how many sequences of a length make a block; of short ones more, which cost little."""
    return min(max(_INSTANTS // width, _FEWEST), _HIGHEST)


def _widths(length: Ints) -> Ints:
    """Return lengths rounded up by at most a quarter, so that few differ."""
    step = 2 ** np.maximum(np.frexp(length - 1)[1].astype(np.int64) - 3, 0)
    rounded: Ints = -(-length // step) * step
    return rounded
