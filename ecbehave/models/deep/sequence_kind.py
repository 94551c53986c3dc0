"""What all kinds over sequences do alike: they differ in the encoder. Imports no torch before it is needed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecbehave.errors import DataError
from ecbehave.inputs.types import Inputs, SequenceInput, TableInput
from ecbehave.metrics.classification import log_loss
from ecbehave.models.cf.alike import items_alike
from ecbehave.models.deep.item_vectors import item_vectors
from ecbehave.models.deep.judging import later_lists
from ecbehave.models.deep.sequence_config import SequenceConfig
from ecbehave.models.deep.vocabulary import Ints, Vocabulary
from ecbehave.models.labels import pooled
from ecbehave.models.protocol import DRIVERS, Block, Options, Reads, StoredModels
from ecbehave.models.search import Domain, Real, Whole
from ecbehave.models.storage import load_json, reading, save_json

if TYPE_CHECKING:
    import torch

    from ecbehave.models.deep.encoders import Encoder
    from ecbehave.models.deep.next_items import NextItems
    from ecbehave.models.deep.pretraining import Pretraining
    from ecbehave.models.deep.sequence_lists import Lists
    from ecbehave.models.deep.sequence_net import SequenceNet
    from ecbehave.models.deep.shards import Objective
    from ecbehave.models.deep.watching import Plan

    #: How good a net is, the higher the better; None where that cannot be told.
    Judge = Callable[[SequenceNet], float | None]

_FILE, _NAMES, _NET = "sequence.json", "vocabulary", "net.npz"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class SequenceKind(ABC):
    """A net over the events of each user; the encoder of the kind reads them in order.

    Lists and pairs: the net learns to foresee the next items of everybody's history, and an item's score is the
    product of what is known after the newest event with what stands for the item. A label: after that, and after the
    types of events that come within some times ahead, the net learns the labels of the train cutoffs.
    """

    config_class: ClassVar[type[SequenceConfig]]
    inputs: ClassVar[Mapping[str, Reads]] = {"binary": "sequence", "pairs": "sequence", "ranking": "sequence"}

    search: ClassVar[Mapping[str, Domain]] = {
        "layers": Whole(1, 3),
        "dropout": Real(0.0, 0.6),
        "input_dropout": Real(0.0, 0.6),
        "training.learning_rate": Real(3e-4, 1e-2, log=True),
    }

    def __init__(self, config: SequenceConfig) -> None:
        self.config = config
        self.repeat_weight_ = 0.0 if config.repeat_weight == "auto" else config.repeat_weight
        self.vocabulary_: Vocabulary | None = None
        self.net_: SequenceNet | None = None
        self.n_horizons_ = 0
        """Times ahead that the net has been taught to look; none where lists are the question."""
        self.base_ = 0.0
        """Log-odds of who has no events."""
        self.usual_ = np.empty(0, np.float32)
        """Mean of what is known of the whole histories of the train rows; see `Tokens.query`."""
        self.plan_: Plan | None = None
        """What the first fit found out, for a refit."""

    @abstractmethod
    def encoder(self, rng: torch.Generator) -> Encoder:
        """Return the kind's encoder, its first weights drawn."""

    def fit(self, train: Sequence[Inputs], valid: Sequence[Inputs], options: Options) -> Self:
        """Learn to foresee the next items, or the labels of the train cutoffs; `valid` decides when to stop.

        Raises:
            DataError: there is nothing to learn from.
        """
        newest = _sequence(train[-1])
        self.vocabulary_ = Vocabulary.of(newest, self.config.min_events, self.config.shared_rows)
        if options.output == "binary":
            self._fit_labels(train, valid, options)
        else:
            self._fit_items(newest, valid[-1] if valid else None, options)
        return self

    def fit_vectors(self, history: Inputs, options: Options) -> Self:
        """Learn what comes before labels, see `Pretrain`, and no label; see `user_vectors`.

        Raises:
            DataError: there is nothing to learn from.
        """
        from ecbehave.models.deep.watching import Plan

        known = _sequence(history)
        self.vocabulary_ = Vocabulary.of(known, self.config.min_events, self.config.shared_rows)
        self.plan_ = Plan(self.config.pretrain.epochs)
        self.n_horizons_ = len(self.config.pretrain.horizons)
        self._begin(known, options, has_alike=self.config.item_vectors == "alike")
        self._foresee(known, None, options, self.plan_)
        self._pretraining(options).look_ahead(known, options.seed)
        return self

    def _fit_items(self, history: SequenceInput, valid: Inputs | None, options: Options) -> None:
        how, source = self.config.item_vectors, self.config.pretrain.source
        self.n_horizons_ = 0
        # What another net knows of items lies in directions of its own.
        self._begin(history, options, has_alike=how == "alike" or (how == "auto" and source is None))
        self.plan_ = self._foresee(history, valid, options, None if valid else self.plan_)
        later = later_lists(valid)
        if self.config.repeat_weight == "auto" and later is not None:
            self.repeat_weight_ = self._lists(self._net).best_repeat_weight(later)

    def _foresee(
        self, history: SequenceInput, valid: Inputs | None, options: Options, plan: Plan | None
    ) -> Plan:
        """Learn to foresee the next items; returns what a fit without `valid` is to repeat."""
        objective = self._next_items(history, self._judge(valid))
        if not objective.has_targets:
            raise DataError(
                f"{self.config.kind} has nothing to learn from: nobody has an event of the type "
                f"{' or '.join(self.config.event_weights)} with an item after another event; set model.event_weights "
                f"to the log's event types, or bring more data"
            )
        if plan is not None and plan.epochs == 0:
            return plan
        return self._learn(objective, options, "next items", [history.ends, history.now], plan)

    def _judge(self, valid: Inputs | None) -> Judge:
        """Return what tells how good the lists of a net are; without a true item, nothing."""
        later = later_lists(valid)
        return lambda net: None if later is None else self._lists(net).ndcg(later)

    def _next_items(self, history: SequenceInput, judge: Judge) -> NextItems:
        from ecbehave.models.deep.next_items import NextItems
        from ecbehave.models.deep.tokens import Reader

        return NextItems(Reader(self._known, [history]), self.config, judge)

    def _learn(
        self,
        objective: Objective[SequenceNet],
        options: Options,
        name: str,
        data: Sequence[NDArray[Any]],
        plan: Plan | None,
    ) -> Plan:
        """Teach the net, and return what a fit without a validation window is to repeat.

        Args:
            objective: what it learns.
            options: of the stage.
            name: of what is learned.
            data: what tells this fit from others of the same config.
            plan: of an earlier fit.
        """
        from ecbehave.models.deep.checkpoints import key_of
        from ecbehave.models.deep.loop import Run, train

        key = key_of(self.config.model_dump(mode="json"), [*data, self._known.item_rows])
        run = Run.of(options, f"{self.config.kind}, {name}", key)
        return train(self._net, objective, self.config.training, run, plan).plan

    def _fit_labels(self, train: Sequence[Inputs], valid: Sequence[Inputs], options: Options) -> None:
        from ecbehave.models.deep.labelled import Labelled
        from ecbehave.models.deep.tokens import Reader, Span

        labelled = [part for part in train if part.table is not None]
        label = pooled([_table(part) for part in labelled]).label
        self.base_ = float(np.log(label.mean() / (1 - label.mean())))
        self.n_horizons_ = len(self.config.pretrain.horizons)
        self._begin(_sequence(labelled[0]), options, has_alike=self.config.item_vectors == "alike")
        reader = Reader(self._known, [_sequence(part) for part in labelled])
        length = self.config.length
        found = [reader.newest(n, _table(part).frame["user_id"], length) for n, part in enumerate(labelled)]
        span, has_any = (
            Span.concat([own for own, _ in found]),
            np.concatenate([is_there for _, is_there in found]),
        )
        if not len(span):
            raise DataError(
                f"{self.config.kind} has nothing to learn from: nobody in the train populations has any event; "
                f"bring more data"
            )
        known = np.concatenate(
            [reader.query(part, span.take(span.part == part)) for part in range(len(labelled))]
        )
        self.usual_ = known.mean(axis=0)

        pretraining = self._pretraining(options)
        pretraining.run(_sequence(labelled[0]), options.seed)
        self._net.head.begin(pretraining.with_foreseen(known, reader, span), label[has_any])
        judge = partial(self._minus_log_loss, valid)
        objective = Labelled(reader, span, label[has_any], self.config.training.batch, judge)
        plan = None if valid else self.plan_
        self.plan_ = self._learn(objective, options, "labels", [span.end, span.now, label], plan)

    def _pretraining(self, options: Options) -> Pretraining:
        from ecbehave.models.deep.pretraining import Pretraining

        def learn(
            objective: Objective[SequenceNet], name: str, data: Sequence[NDArray[Any]], plan: Plan
        ) -> None:
            self._learn(objective, options, name, data, plan)

        return Pretraining(self._net, self._known, self.config, learn)

    def _begin(self, history: SequenceInput, options: Options, *, has_alike: bool) -> None:
        """Draw the first weights, or take over those of a stored net that knows nothing from after the histories.

        Args:
            history: what items are alike by, and what the other net must not know more than.
            options: of the stage.
            has_alike: whether items that are alike begin so.
        """
        self.net_ = self._new_net(options.seed)
        if has_alike:
            self._net.begin(item_vectors(self._known, history, self.config.width, options.seed))
        pretrain = self.config.pretrain
        if pretrain.source is not None:
            from ecbehave.models.deep.pretrained import take_over

            # In leave-one-out, users are asked as of instants of their own.
            until = _EPOCH + timedelta(microseconds=int(history.now.min()))
            stored = cast("StoredModels", options.stored)
            take_over(self._net, self._known, stored(pretrain.source, until), pretrain.same_catalogue)

    def _minus_log_loss(self, valid: Sequence[Inputs], net: SequenceNet) -> float | None:
        if not valid:
            return None
        score = np.concatenate([self._logits(net, part) for part in valid])
        label = np.concatenate([_table(part).label for part in valid])
        return -log_loss(label, 1 / (1 + np.exp(-score)))

    def predict(self, data: Inputs, k: int) -> pl.DataFrame:
        """Return the keys of the table with `score`: the log-odds of the label."""
        del k
        return _table(data).keys.with_columns(
            score=pl.Series(self._logits(self._net, data), dtype=pl.Float64)
        )

    def _logits(self, net: SequenceNet, data: Inputs) -> NDArray[np.float64]:
        from ecbehave.models.deep.asking import ask
        from ecbehave.models.deep.tokens import Reader

        device = net.item.weight.device
        reader = Reader(self._known, [_sequence(data)])
        span, has_any = reader.newest(0, _table(data).frame["user_id"], self.config.length)
        found = np.full(has_any.size, self.base_)
        found[has_any] = ask(lambda read: net.logits(read.to(device))[:, None], reader, span, 1)[:, 0]
        return found

    def event_drivers(self, data: Inputs, rows: Ints, n: int) -> pl.DataFrame:
        """Return what drove the log-odds of some rows of the table (`DRIVERS`); of who has no events, nothing."""
        from ecbehave.models.deep.drivers import drivers
        from ecbehave.models.deep.tokens import Reader

        reader = Reader(self._known, [_sequence(data)])
        span, has_any = reader.newest(0, _table(data).frame["user_id"].gather(rows), self.config.length)
        asked = pl.Series(np.flatnonzero(has_any))
        found = [pl.DataFrame(schema=DRIVERS), *drivers(self._net, reader, span, self.usual_, n)]
        return pl.concat(found).with_columns(row=asked.gather(pl.concat(found)["row"]))

    def scores(self, data: Inputs) -> Iterator[Block]:
        """Yield the scores of every item for some users of the population after the others, dense.

        Who has no events has no scores, and neither has a new item where no embeddings are shared.
        """
        return self._lists(self._net).scores(data)

    def _lists(self, net: SequenceNet) -> Lists:
        from ecbehave.models.deep.sequence_lists import Lists

        return Lists(net, self._known, self.config, self.repeat_weight_)

    def user_vectors(self, data: Inputs, users: pl.Series) -> NDArray[np.float32]:
        """Return what is known of users after their newest event [N, D]; zeros for one who has none."""
        return self._lists(self._net).states(data, users)[0]

    def similar_items(self, n: int, listed: pl.Series) -> Iterator[pl.DataFrame]:
        """Yield the items whose vectors point most nearly the same way: the cosine of the two."""
        known = self._known
        vectors = self._lists(self._net).vectors(known.item_rows, known.item_categories)
        yield from items_alike(known.item_ids, vectors, n, listed)

    @property
    def _known(self) -> Vocabulary:
        return cast("Vocabulary", self.vocabulary_)

    @property
    def _net(self) -> SequenceNet:
        return cast("SequenceNet", self.net_)

    def _new_net(self, seed: int) -> SequenceNet:
        from ecbehave.models.deep.devices import pick_device
        from ecbehave.models.deep.noise import generator
        from ecbehave.models.deep.sequence_net import SequenceNet, Sizes

        rng = generator(seed)
        net = SequenceNet(
            Sizes.of(self._known, self.n_horizons_),
            self.encoder(rng),
            self.config.width,
            self.config.input_dropout,
            rng,
            is_cosine=self.config.similarity == "cosine",
        )
        return net.to(pick_device(self.config.training.device))

    def save(self, folder: Path) -> None:
        """Write the names that the net knows, and its weights."""
        from ecbehave.models.deep.weights import save_net

        plan = cast("Plan", self.plan_)
        stored = {
            "base": self.base_,
            "usual": self.usual_.tolist(),
            "repeat_weight": self.repeat_weight_,
            "n_horizons": self.n_horizons_,
            "epochs": plan.epochs,
            "cuts": list(plan.cuts),
        }
        save_json(folder / _FILE, stored)
        self._known.save(folder, _NAMES)
        save_net(folder / _NET, self._net)

    @classmethod
    def load(cls, folder: Path, config: SequenceConfig) -> Self:
        """Read what `save` wrote.

        Raises:
            ArtifactError: the folder does not hold a model of this kind.
        """
        from ecbehave.models.deep.watching import Plan
        from ecbehave.models.deep.weights import load_net

        model, stored = cls(config), load_json(folder / _FILE)
        with reading(folder / _FILE):
            model.base_ = float(stored["base"])
            model.repeat_weight_ = float(stored["repeat_weight"])
            model.n_horizons_ = int(stored["n_horizons"])
            model.usual_ = np.array([float(value) for value in stored["usual"]], np.float32)
            model.plan_ = Plan(int(stored["epochs"]), tuple(int(epoch) for epoch in stored["cuts"]))
        model.vocabulary_ = Vocabulary.load(folder, _NAMES)
        model.net_ = model._new_net(0)
        load_net(folder / _NET, model.net_)
        return model


def _sequence(data: Inputs) -> SequenceInput:
    return cast("SequenceInput", data.sequence)


def _table(data: Inputs) -> TableInput:
    return cast("TableInput", data.table)
