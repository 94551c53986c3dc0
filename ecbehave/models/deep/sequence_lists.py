"""Lists by a net over sequences: what is known of a user, compared with what stands for each item."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array

from ecbehave.inputs.types import Inputs, MatrixInput, SequenceInput
from ecbehave.models.cf.dense import in_blocks, product, with_repeats
from ecbehave.models.cf.profiles import Weighing, by_rows
from ecbehave.models.deep.asking import ask
from ecbehave.models.deep.judging import ndcg
from ecbehave.models.deep.sequence_config import SequenceConfig
from ecbehave.models.deep.sequence_net import SequenceNet
from ecbehave.models.deep.tokens import Reader
from ecbehave.models.deep.vocabulary import Ints, Vocabulary
from ecbehave.models.protocol import Block

#: How much what was had before may count.
_REPEATS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)


@dataclass(frozen=True)
class Lists:
    """Scores of items, by a net with all that it knows by name."""

    net: SequenceNet
    known: Vocabulary
    config: SequenceConfig
    repeat_weight: float
    """Added for what was had before; see `SequenceConfig.repeat_weight`."""

    def scores(self, data: Inputs) -> Iterator[Block]:
        """Yield the scores of every item for some users of the population after the others, dense."""
        matrix = cast("MatrixInput", data.matrix)
        users = matrix.asked
        states, has_any = self.states(data, matrix.users["user_id"].gather(users))
        rows_of, categories = self._numbers(matrix.items)
        # Of 32 bits, as the net has computed them.
        table = self.vectors(rows_of, categories).astype(np.float32)
        is_new = (rows_of == 0) & (categories == 0)
        had = self._had(matrix, users)

        def score(rows: slice) -> Block:
            found = product(states[rows], table, rows.stop - rows.start)
            found[:, is_new] = -np.inf
            found[~has_any[rows]] = -np.inf
            if had is not None:
                found = with_repeats(found, csr_array(had[rows]), self.repeat_weight)
            return users[rows], found

        yield from in_blocks(score, users.size, matrix.items.height)

    def ndcg(self, later: Inputs) -> float:
        """Return how good the lists of the validation window are; see `judging.ndcg`."""
        return ndcg(cast("MatrixInput", later.matrix), self.scores(later))

    def best_repeat_weight(self, later: Inputs) -> float:
        """Return how much what was had before is to count for the best lists of the validation window."""
        # Of equally good ones the first: where nothing may come again, none counts.
        return max(_REPEATS, key=lambda weight: replace(self, repeat_weight=weight).ndcg(later))

    def states(self, data: Inputs, users: pl.Series) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return what is known of users after their newest event [N, D], and who has any [N]."""
        device = self.net.item.weight.device
        reader = Reader(self.known, [cast("SequenceInput", data.sequence)])
        span, has_any = reader.newest(0, users, self.config.length)
        states = np.zeros((has_any.size, self.config.width), np.float32)
        states[has_any] = ask(
            lambda read: self.net.last(read.to(device)), reader, span, self.config.width, has_query=False
        )
        return states, has_any

    def vectors(self, rows: Ints, categories: Ints) -> NDArray[np.float64]:
        """Return what stands for items [I, D], by their numbers in the vocabulary."""
        device = self.net.item.weight.device
        with torch.no_grad():
            table = self.net.table(torch.from_numpy(rows).to(device), torch.from_numpy(categories).to(device))
        found: NDArray[np.float64] = table.double().cpu().numpy()
        return found

    def _numbers(self, items: pl.DataFrame) -> tuple[Ints, Ints]:
        return (
            self.known.rows_of(items["item_id"]),
            self.known.numbers_of(self.known.categories, items["category"]),
        )

    def _had(self, matrix: MatrixInput, users: Ints) -> csr_array | None:
        """Return what users had, weighted [B, I]; None where it does not count."""
        if not self.repeat_weight:
            return None
        pairs = Weighing(self.config.event_weights, self.config.half_life).pairs(matrix)
        shape = (matrix.users.height, matrix.items.height)
        return csr_array(by_rows(pairs["user"], pairs["item"], pairs["weight"].to_numpy(), shape)[users])
