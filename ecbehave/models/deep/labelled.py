"""Learning the label of each user at each cutoff from the sequence until then."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ecbehave.models.deep.noise import Noise
from ecbehave.models.deep.sequence_net import SequenceNet
from ecbehave.models.deep.tokens import Reader, Span

#: Lengths are rounded by so many random events before sequences are put in order, so that batches change.
_JITTER = 3.0


class Labelled:
    """One label for each sequence; its loss is the log loss."""

    unit = "rows"
    metric_name = "minus log loss"

    def __init__(
        self,
        reader: Reader,
        span: Span,
        label: NDArray[np.int8],
        batch: int,
        judge: Callable[[SequenceNet], float | None],
    ) -> None:
        """Take what to learn from.

        Args:
            reader: of the train cutoffs.
            span: [N] histories, none of them empty.
            label: [N], 0 or 1.
            batch: sequences.
            judge: the validation metric.
        """
        self._reader, self._span, self._batch, self._judge = reader, span, batch, judge
        self._label = torch.from_numpy(label.astype(np.float32))
        self.n_batches = -(-label.size // batch)

    def batches(self, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
        """Yield rows whose histories are about equally long."""
        order = np.argsort(self._span.n_instants + rng.uniform(0, _JITTER, len(self._span)), kind="stable")
        starts = np.arange(0, order.size, self._batch)
        rng.shuffle(starts)
        for start in starts:
            yield order[start : start + self._batch]

    def split(self, batch: NDArray[np.int64], n: int) -> Sequence[NDArray[np.int64]]:
        """Return parts of a batch."""
        return np.array_split(batch, min(n, batch.size))

    def loss(self, net: SequenceNet, shard: NDArray[np.int64], noise: Noise) -> tuple[Tensor, Tensor | float]:
        """Return the sum of log losses, and the number of rows."""
        device = net.item.weight.device
        logit = net.logits(self._reader.tokens(self._span.take(shard)).to(device), noise)
        label = self._label[torch.from_numpy(shard)].to(device)
        return functional.binary_cross_entropy_with_logits(logit.float(), label, reduction="sum"), float(
            shard.size
        )

    def metric(self, net: SequenceNet) -> float | None:
        """Return the metric of the validation window."""
        return self._judge(net)
