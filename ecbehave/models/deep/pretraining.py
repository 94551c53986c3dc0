"""What a net over sequences learns of unlabelled histories, before it is shown any label."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecbehave.inputs.types import SequenceInput
from ecbehave.models.deep.ahead import Ahead
from ecbehave.models.deep.asking import ask
from ecbehave.models.deep.next_items import NextItems
from ecbehave.models.deep.sequence_config import SequenceConfig
from ecbehave.models.deep.sequence_net import SequenceNet
from ecbehave.models.deep.shards import Objective
from ecbehave.models.deep.tokens import Reader, Span
from ecbehave.models.deep.vocabulary import Vocabulary
from ecbehave.models.deep.watching import Plan

#: Teaches the net an objective of some name, from some data, for so many epochs.
Learn = Callable[[Objective[SequenceNet], str, Sequence[NDArray[Any]], Plan], Any]


@dataclass(frozen=True)
class Pretraining:
    """A net, and how it is taught."""

    net: SequenceNet
    known: Vocabulary
    config: SequenceConfig
    learn: Learn

    def run(self, history: SequenceInput, seed: int) -> None:
        """Learn to foresee the next items, then the events ahead; after that, what the config says stays as it is.

        Args:
            history: what is known at the first train cutoff: no label is in it.
            seed: of the run.
        """
        pretrain = self.config.pretrain
        items = NextItems(Reader(self.known, [history]), self.config, lambda _: None)
        is_learned = pretrain.epochs > 0 and items.has_targets
        if is_learned:
            data = [history.ends, history.now]
            self.learn(items, "next items before labels", data, Plan(pretrain.epochs))
        self.look_ahead(history, seed)
        if is_learned or pretrain.source is not None:
            self.net.freeze(pretrain.freeze)

    def look_ahead(self, history: SequenceInput, seed: int) -> None:
        """Learn to foresee the events ahead, where there is a head for them; see `run`."""
        if self.net.ahead is None:
            return
        pretrain, reader = self.config.pretrain, Reader(self.known, [history])
        ahead = Ahead(reader, pretrain.horizons, self.config.length, self.config.training.batch)
        if ahead.has_targets:
            self.net.ahead.scale(ahead.known(np.random.default_rng(seed)))
            data = [history.ends, history.now]
            self.learn(ahead, "events ahead", data, Plan(pretrain.horizon_epochs))

    def with_foreseen(self, known: NDArray[np.float32], reader: Reader, span: Span) -> NDArray[np.float32]:
        """Return what is known of whole histories [N, Q] and what is foreseen of them, where anything is [N, Q + A]."""
        ahead, device = self.net.ahead, self.net.item.weight.device
        if ahead is None:
            return known
        size = known.shape[1] + ahead.direct.out_features
        return ask(lambda read: self.net.known(read.to(device)), reader, span, size)
