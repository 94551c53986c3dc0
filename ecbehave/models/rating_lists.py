"""Lists by the rating that is expected, of what a user has not rated."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import polars as pl
from scipy.sparse import csr_array

from ecbehave.inputs.types import MatrixInput
from ecbehave.models.cf.biases import clipped, rated
from ecbehave.models.protocol import Block
from ecbehave.models.top_k import top_k


def without_rated(data: MatrixInput) -> MatrixInput:
    """Bar to each user what that user has rated, on top of what is barred already.

    Raises:
        DataError: nobody has rated anything.
    """
    known = rated(data)
    had = data.csr(known, np.ones(known.height)).astype(np.bool_)
    return replace(data, barred=had if data.barred is None else csr_array(had + data.barred))


def rating_lists(data: MatrixInput, blocks: Iterable[Block], k: int) -> Iterator[pl.DataFrame]:
    """Yield the k items with the highest predicted rating, by blocks of users.

    Args:
        data: what was rated, and what is barred.
        blocks: predicted ratings of every item, which may lie beyond the scale.
        k: length of the lists.

    Yields:
        `user_id`, `item_id`, `score` (the predicted rating, within the scale), best first.

    Raises:
        DataError: nobody has rated anything.
    """
    known = rated(data)
    for users, scores in blocks:
        listed = top_k(data, users, scores, k)
        yield listed.with_columns(score=clipped(listed["score"].to_numpy(), known))
