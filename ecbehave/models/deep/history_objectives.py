"""What an autoencoder learns: the items of each user again, and beside them the label of a user at a cutoff.

Shapes: V users (or users at a cutoff), N inputs, K items, B users of a shard, P pairs.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor, nn
from torch.nn import functional

from ecbehave.models.deep.denoising import Autoencoder, Bag, divergence
from ecbehave.models.deep.losses import several_targets
from ecbehave.models.deep.noise import Noise
from ecbehave.models.deep.row_objectives import Ints, parts_of, shuffled

#: How good a net is, the higher the better; None where that cannot be told.
Judge = Callable[[Autoencoder], float | None]


@dataclass(frozen=True)
class Labelled:
    """What else is to be told of each row, and how much that counts."""

    label: NDArray[np.float32]
    """[V], 0 or 1, or in between where labels are smoothed."""
    weight: NDArray[np.float32]
    """[V]."""
    items_weight: float
    """Weight of the items, where the label has 1."""


@dataclass(frozen=True)
class Drawing:
    """How noise comes in."""

    input_dropout: float
    """Share of a user's inputs that are left out."""
    kl_weight: float = 0.0
    """Weight of the divergence of codes from a normal distribution, in the end."""
    kl_steps: int = 1
    """Steps until then."""

    def kl_weight_at(self, step: int) -> float:
        """Return the weight of the divergence at a step."""
        return self.kl_weight * min(step / self.kl_steps, 1.0)


class Histories:
    """The items of each row, by the multinomial likelihood of its code; and the label, by its log loss.

    Source: Liang et al. (2018), equations 2 and 7, with the annealing of section 2.2.2; see `Autoencoder`.
    """

    def __init__(
        self,
        inputs: csr_array,
        n_items: int,
        batch: int,
        drawing: Drawing,
        judge: Judge,
        unit: str,
        metric_name: str,
    ) -> None:
        """Take the train rows.

        Args:
            inputs: [V, N]; the first `n_items` columns are items.
            n_items: K.
            batch: rows of a batch.
            drawing: how noise comes in.
            judge: tells how good a net is.
            unit: what the rows are, in the plural.
            metric_name: what `judge` finds out.
        """
        self._inputs, self._n_items, self._batch, self._drawing = inputs, n_items, batch, drawing
        self._judge, self.unit, self.metric_name = judge, unit, metric_name
        self._labelled: Labelled | None = None
        self.n_batches = -(-inputs.shape[0] // batch)

    @property
    def arrays(self) -> Sequence[NDArray[Any]]:
        """All that is learned from."""
        rows = self._inputs
        told = [] if self._labelled is None else [self._labelled.label, self._labelled.weight]
        return [rows.data, rows.indices, rows.indptr, *told]

    def tell_labels(self, labelled: Labelled) -> None:
        """Let the label be learned, too."""
        self._labelled = labelled

    def batches(self, rng: np.random.Generator) -> Iterator[Ints]:
        """Yield row numbers."""
        return shuffled(self._inputs.shape[0], self._batch, rng)

    def split(self, batch: Ints, n: int) -> Sequence[Ints]:
        """Return parts of a batch."""
        return parts_of(batch, n)

    def loss(self, net: nn.Module, shard: Ints, noise: Noise) -> tuple[Tensor, Tensor | float]:
        """Return the sum of the losses of some rows, and their number or weight."""
        net = cast("Autoencoder", net)
        rows = csr_array(self._inputs[shard])
        bag = Bag.of(rows, net.items.device)
        mean, log_variance = net.code(net.sums(bag, self._drawing.input_dropout, noise))
        code = mean
        if log_variance is not None:
            # Under autocast they may have come in 16 bits.
            mean, log_variance = mean.float(), log_variance.float()
            code = mean + noise.normal(mean) * (0.5 * log_variance).exp()
        hidden = net.hidden(code)
        row = torch.from_numpy(np.repeat(np.arange(shard.size), np.diff(rows.indptr))).to(bag.inputs.device)
        is_item = bag.inputs < self._n_items
        loss = several_targets(hidden, net.items, net.items_bias, row[is_item], bag.inputs[is_item])
        if log_variance is not None:
            loss = loss + self._drawing.kl_weight_at(noise.step) * divergence(mean, log_variance)
        if self._labelled is None:
            return loss, float(shard.size)
        label, weight = (
            torch.from_numpy(values[shard]).to(hidden.device)
            for values in (self._labelled.label, self._labelled.weight)
        )
        score = net.log_odds(hidden).float()
        told = functional.binary_cross_entropy_with_logits(score, label, weight, reduction="sum")
        return told + self._labelled.items_weight * loss, weight.sum()

    def metric(self, net: nn.Module) -> float | None:
        """Return what the judge says."""
        return self._judge(cast("Autoencoder", net))
