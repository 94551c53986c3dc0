"""What a net learns from a table: the label of each row, or which of a user's candidates come true.

Shapes: N rows, C columns, L lists of candidates.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ecbehave.metrics.classification import log_loss
from ecbehave.models.deep.fixed_blocks import exact, in_fixed_blocks
from ecbehave.models.deep.noise import Noise

Ints = NDArray[np.int64]
Values = NDArray[np.float32]

#: A ranking's batch has an eighth as many users as other batches have rows: each has many rows.
_ROWS_PER_LIST = 8
#: Length of the lists that are judged.
_K = 10


def shuffled(n: int, size: int, rng: np.random.Generator) -> Iterator[Ints]:
    """Yield the numbers from 0 to n - 1 in a random order, `size` of them at once."""
    order = rng.permutation(n)
    for start in range(0, n, size):
        yield order[start : start + size]


def parts_of(rows: Ints, n: int) -> Sequence[Ints]:
    """Return at most `n` parts, as equal as can be, none of them empty."""
    return np.array_split(rows, min(n, rows.size))


class Labels:
    """The label of each row, by its log loss."""

    unit = "rows"
    metric_name = "minus log loss"

    def __init__(
        self,
        values: Values,
        label: NDArray[np.int8],
        weight: NDArray[np.float64] | None,
        batch: int,
        smoothing: float,
    ) -> None:
        """Take the train rows.

        Args:
            values: [N, C].
            label: [N], 0 or 1.
            weight: [N]; None where all rows count the same.
            batch: rows of a batch.
            smoothing: share of each label that is replaced by one half.
        """
        self._values, self._batch = torch.from_numpy(values), batch
        self._target = torch.from_numpy(label.astype(np.float32) * (1 - smoothing) + smoothing / 2)
        given = np.ones(label.size) if weight is None else weight
        self._weight = torch.from_numpy(given.astype(np.float32))
        self._later: tuple[Values, NDArray[np.int8], NDArray[np.float64] | None] | None = None
        self.n_batches = -(-label.size // batch)

    def judge_on(self, values: Values, label: NDArray[np.int8], weight: NDArray[np.float64] | None) -> None:
        """Take later rows, by which `metric` judges; arguments as of the train rows."""
        self._later = values, label, weight

    def batches(self, rng: np.random.Generator) -> Iterator[Ints]:
        """Yield row numbers."""
        return shuffled(len(self._target), self._batch, rng)

    def split(self, batch: Ints, n: int) -> Sequence[Ints]:
        """Return parts of a batch."""
        return parts_of(batch, n)

    def loss(self, net: nn.Module, shard: Ints, noise: Noise) -> tuple[Tensor, Tensor | float]:
        """Return the weighted sum of log losses, and the sum of the weights."""
        device, rows = next(net.parameters()).device, torch.from_numpy(shard)
        # Under autocast it may have come in 16 bits.
        score = net(self._values[rows].to(device), noise).float()
        weight = self._weight[rows].to(device)
        each = functional.binary_cross_entropy_with_logits(
            score, self._target[rows].to(device), weight, reduction="sum"
        )
        return each, weight.sum()

    def metric(self, net: nn.Module) -> float | None:
        """Return the mean log loss of the later rows, negative."""
        if self._later is None:
            return None
        values, label, weight = self._later
        score = scores_of(net, values)
        return -log_loss(label, 1 / (1 + np.exp(-score)), weight)


class Candidates:
    """Which of the candidates of each user come true, by the cross-entropy of the whole list.

    Source: Cao et al. (2007), Learning to rank: from pairwise approach to listwise approach, section 4.2 (top one
    probability), with the true items as equally good.
    """

    unit = "lists"
    metric_name = f"ndcg@{_K}"

    def __init__(
        self, values: Values, label: NDArray[np.int8], lengths: Ints, batch: int, smoothing: float
    ) -> None:
        """Take the candidates of train cutoffs.

        Args:
            values: [N, C], those of a list together.
            label: [N].
            lengths: [L] of the lists; a list without a true item teaches nothing.
            batch: as in the config.
            smoothing: share of the target that is spread evenly over the list.
        """
        self._values = torch.from_numpy(values)
        start = np.cumsum(lengths) - lengths
        n_true = np.add.reduceat(label, start, dtype=np.int64) if lengths.size else lengths
        share = np.repeat((1 - smoothing) / np.maximum(n_true, 1), lengths)
        self._target = torch.from_numpy(
            (label * share + smoothing / np.repeat(lengths, lengths)).astype(np.float32)
        )
        self._start, self._length = start[n_true > 0], lengths[n_true > 0]
        self._batch = -(-batch // _ROWS_PER_LIST)
        self.n_batches = -(-self._start.size // self._batch)
        self._later: tuple[Values, NDArray[np.int8], Ints] | None = None

    def judge_on(self, values: Values, label: NDArray[np.int8], lengths: Ints) -> None:
        """Take later lists, by which `metric` judges; arguments as of the train rows."""
        self._later = values, label, lengths

    def batches(self, rng: np.random.Generator) -> Iterator[Ints]:
        """Yield numbers of lists."""
        return shuffled(self._start.size, self._batch, rng)

    def split(self, batch: Ints, n: int) -> Sequence[Ints]:
        """Return parts of a batch."""
        return parts_of(batch, n)

    def loss(self, net: nn.Module, shard: Ints, noise: Noise) -> tuple[Tensor, Tensor | float]:
        """Return the sum of the lists' losses, and their number."""
        device, length = next(net.parameters()).device, self._length[shard]
        first = np.cumsum(length) - length
        rows = np.arange(length.sum()) + np.repeat(self._start[shard] - first, length)
        owner = torch.from_numpy(np.repeat(np.arange(length.size), length)).to(device)
        score = net(self._values[rows].to(device), noise).float()
        logs = score - log_sums(score, owner, length.size)[owner]
        return -(logs * self._target[rows].to(device)).sum(), float(length.size)

    def metric(self, net: nn.Module) -> float | None:
        """Return the mean NDCG@10 of the later lists that have a true item; of equal scores the first come first."""
        if self._later is None:
            return None
        values, label, lengths = self._later
        return ndcg(scores_of(net, values), label, lengths)


def log_sums(score: Tensor, owner: Tensor, n: int) -> Tensor:  # [N], [N] -> [n]
    """Return the logarithm of the sum of exponentials of each list's scores."""
    highest = score.new_full((n,), -torch.inf).scatter_reduce(0, owner, score.detach(), "amax")
    return highest + torch.zeros_like(highest).index_add(0, owner, (score - highest[owner]).exp()).log()


def ndcg(score: NDArray[np.float64], label: NDArray[np.int8], lengths: Ints) -> float:
    """Return the mean NDCG@10 of the lists with a true item; 0 without any.

    Args:
        score: [N], those of a list together.
        label: [N].
        lengths: [L].
    """
    owner = np.repeat(np.arange(lengths.size), lengths)
    order = np.lexsort((-score, owner))
    rank = np.arange(owner.size) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    worth = np.where(rank < _K, 1 / np.log2(rank + 2.0), 0.0)
    gained = np.bincount(owner, worth * label[order], lengths.size)
    n_true = np.bincount(owner, label, lengths.size).astype(np.int64)
    ideal = np.append(0, np.cumsum(1 / np.log2(np.arange(_K) + 2.0)))[np.minimum(n_true, _K)]
    has_any = n_true > 0
    return float((gained[has_any] / ideal[has_any]).mean()) if has_any.any() else 0.0


def scores_of(net: nn.Module, values: Values) -> NDArray[np.float64]:
    """Return the score of each row [N]."""
    return in_fixed_blocks(exact(net), values)
