"""Learning to foresee which items come at a user's next instant."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ecbehave.inputs.types import SequenceInput
from ecbehave.models.deep import losses
from ecbehave.models.deep.judging import METRIC
from ecbehave.models.deep.noise import Noise
from ecbehave.models.deep.sequence_config import SequenceConfig
from ecbehave.models.deep.sequence_net import SequenceNet
from ecbehave.models.deep.tokens import Reader, Span
from ecbehave.models.deep.vocabulary import Ints, Vocabulary, known_events

#: Lengths of sequences are rounded by so many random events before they are put in order, so that batches change.
_JITTER = 3.0
#: Items that all stand before one another, where the config leaves it open.
_MOST_ITEMS = 20_000
#: Items are drawn by their counts to this power.
_POWER = 0.75


class NextItems:
    """After every instant, the items of the user's next one are foreseen: one pass serves a whole sequence.

    Histories longer than a sequence are cut into pieces, elsewhere in each epoch.

    Source of the objective: Hidasi et al. (2016), Session-based recommendations with recurrent neural networks,
    section 3; with all items of a basket as equally true, Liang et al. (2018), equation 2.
    """

    unit = "instants"
    metric_name = METRIC

    def __init__(
        self,
        reader: Reader,
        config: SequenceConfig,
        judge: Callable[[SequenceNet], float | None],
    ) -> None:
        """Take what to learn from.

        Args:
            reader: its only part is the history.
            config: of the kind.
            judge: the validation metric.
        """
        self._reader, self._config, self._judge = reader, config, judge
        data, known = reader.parts[0], reader.vocabulary
        self._rows = torch.from_numpy(known.item_rows)
        self._categories = torch.from_numpy(known.item_categories)
        self._weights = weights_of(known, config)
        self._users = np.flatnonzero(data.ends > data.starts)
        self._first = reader.instant_of(0, data.starts[self._users])
        self._last = reader.instant_of(0, data.ends[self._users] - 1)
        # Steps from one instant to the next.
        n_steps = self._last - self._first
        is_any = n_steps > 0
        self._users, self._first, self._last = (
            values[is_any] for values in (self._users, self._first, self._last)
        )
        self._n_pieces = -(-n_steps[is_any] // config.length)
        # A cut at random makes a piece more of every history that is cut.
        self._n_pieces += self._n_pieces > 1
        self.n_batches = -(-int(self._n_pieces.sum()) // config.training.batch)
        self._sampler = None
        self._loss = config.loss
        if self._loss == "auto":
            self._loss = "softmax" if len(known.item_ids) <= _MOST_ITEMS else "sampled"
        if self._loss != "softmax":
            power = 0.0 if self._loss == "gbce" else _POWER
            self._sampler = losses.Sampler.of(torch.from_numpy(_counts(data, known)), power)

    @property
    def has_targets(self) -> bool:
        """Whether any user has an event of a type that is to be foreseen, after another one."""
        data = self._reader.parts[0]
        rows = np.repeat(np.arange(data.ends.size), np.diff(data.log.offsets))
        number = self._reader.vocabulary.numbers_of(self._reader.vocabulary.event_types, data.log.event_types)
        codes = data.log.item if data.target == "item" else data.log.category
        counts = known_events(data) & (codes >= 0) & (self._weights[number[data.log.event_type]] > 0)
        later = data.log.ts > data.log.ts[np.minimum(data.starts, max(data.log.n_events - 1, 0))][rows]
        return bool((counts & later).any())

    def batches(self, rng: np.random.Generator) -> Iterator[Span]:
        """Yield pieces of histories of about the same length."""
        pieces = self._pieces(rng)
        order = np.argsort(pieces.n_instants + rng.uniform(0, _JITTER, len(pieces)), kind="stable")
        starts = np.arange(0, len(pieces), self._config.training.batch)
        rng.shuffle(starts)
        for start in starts:
            yield pieces.take(order[start : start + self._config.training.batch])

    def _pieces(self, rng: np.random.Generator) -> Span:
        """Cut histories so that every step from an instant to the next lies in one piece."""
        length, count = self._config.length, self._n_pieces
        owner = np.repeat(np.arange(count.size), count)
        number = np.arange(owner.size) - np.repeat(np.cumsum(count) - count, count)
        late = np.where(count > 1, rng.integers(0, length, count.size), 0)[owner]
        first, last = self._first[owner], self._last[owner]
        newest = np.minimum(last + late - number * length, last)
        oldest = np.maximum(last + late - (number + 1) * length, first)
        # Where the cut falls so that nothing is left, the first step counts again.
        is_empty = newest <= oldest
        oldest, newest = np.where(is_empty, first, oldest), np.where(is_empty, first + 1, newest)
        return self._reader.between(0, self._users[owner], oldest, newest)

    def split(self, batch: Span, n: int) -> Sequence[Span]:
        """Return parts of a batch."""
        return [batch.take(rows) for rows in np.array_split(np.arange(len(batch)), min(n, len(batch)))]

    def loss(self, net: SequenceNet, shard: Span, noise: Noise) -> tuple[Tensor, Tensor | float]:
        """Return the sum of the losses of all instants that something follows, and the sum of their weights."""
        device = net.item.weight.device
        follows = self._reader.follows(shard)
        weight = self._weights[follows.event_type]
        position, item, weight = follows.position[weight > 0], follows.item[weight > 0], weight[weight > 0]
        pairs, at = np.unique(position * self._rows.numel() + item, return_index=True)
        position, item = pairs // self._rows.numel(), pairs % self._rows.numel()
        positions, row = np.unique(position, return_inverse=True)
        of_row = np.zeros(positions.size, np.float32)
        np.maximum.at(of_row, row, weight[at])
        states = net.states(self._reader.tokens(shard, has_query=False).to(device), noise)
        hidden = states.flatten(0, 1)[torch.from_numpy(positions).to(device)]
        rows, items, weights = (torch.from_numpy(values).to(device) for values in (row, item, of_row))
        if self._sampler is not None:
            weights = (weights / torch.bincount(rows, minlength=len(hidden)))[rows]
            found = self._sampled(self._sampler, net, hidden[rows], items, weights, noise)
        else:
            table = net.table(self._rows.to(device), self._categories.to(device))
            smoothing = self._config.label_smoothing
            found = losses.several_targets(hidden, table, None, rows, items, smoothing, weights)
        return found, float(of_row.sum())

    def _sampled(
        self,
        sampler: losses.Sampler,
        net: SequenceNet,
        hidden: Tensor,
        item: Tensor,
        weight: Tensor,
        noise: Noise,
    ) -> Tensor:
        n_items = self._rows.numel()
        # As many as all others at most, which is what gBCE's rate counts in.
        drawn = sampler.draw(min(self._config.negatives, max(n_items - 1, 1)), noise.rng)
        # Of a large catalogue most items are neither true nor drawn, and are not read.
        wanted, at = torch.unique(torch.cat([item, drawn]), return_inverse=True)
        item, drawn = at[: len(item)], at[len(item) :]
        rows, categories, log_q = (
            values[wanted.to(values.device)].to(hidden.device)
            for values in (self._rows, self._categories, sampler.log_q)
        )
        table = net.table(rows, categories)
        if self._loss == "gbce":
            return losses.gbce(hidden, table, None, item, drawn, weight=weight, n_items=n_items)
        return losses.sampled_softmax(
            hidden, table, None, item, drawn, log_q, self._config.label_smoothing, weight
        )

    def metric(self, net: SequenceNet) -> float | None:
        """Return the metric of the validation window."""
        return self._judge(net)


def weights_of(known: Vocabulary, config: SequenceConfig) -> NDArray[np.float32]:
    """Return how much it counts to foresee an event, by the number of its type."""
    named = [0.0, *(config.event_weights.get(name, 0.0) for name in known.event_types)]
    return np.array(named, np.float32)


def _counts(data: SequenceInput, known: Vocabulary) -> Ints:
    """Return the events of each item of the vocabulary [K]."""
    codes, names = (
        (data.log.item, data.log.items) if data.target == "item" else (data.log.category, data.log.categories)
    )
    numbers = np.append(known.numbers_of(known.item_ids, names), 0)
    counted: Ints = np.bincount(numbers[codes[known_events(data)]], minlength=len(known.item_ids) + 1)[1:]
    return counted
