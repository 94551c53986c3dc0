"""An autoencoder of what users had. Imports no torch before it is asked to learn or to load."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_array

from ecbehave.config.model import ModelConfig
from ecbehave.config.values import Duration, Section, parse_duration
from ecbehave.errors import DataError
from ecbehave.inputs.types import Inputs, MatrixInput, TableInput
from ecbehave.metrics.classification import log_loss
from ecbehave.models.cf.profiles import Weighing
from ecbehave.models.cf.votes import vectors_of
from ecbehave.models.deep.settings import Training
from ecbehave.models.deep.watching import Plan
from ecbehave.models.ensemble.class_weight import PositiveWeight, positive_factor
from ecbehave.models.labels import labels_of, pooled
from ecbehave.models.protocol import Block, Options, Reads
from ecbehave.models.search import Domain, Real, Whole
from ecbehave.models.storage import load_json, reading, save_json

if TYPE_CHECKING:
    from ecbehave.models.deep.denoising import Autoencoder as Net
    from ecbehave.models.deep.history_objectives import Histories, Judge

Floats = NDArray[np.float64]

#: Later rows whose labels are judged at most.
_JUDGED_ROWS = 100_000
#: Items that are told beside a label at most: more take long, and say little of it.
_MOST_ITEMS = 5_000
_FILE = "autoencoder"


class Variational(Section):
    """The code is drawn from a distribution while the net learns, and held near a standard normal one."""

    kl_weight: Annotated[float, Field(gt=0)] = 0.2
    """Weight of the divergence from the normal distribution, in the end."""
    kl_steps: Annotated[int, Field(gt=0)] = 200
    """Steps until then: the weight rises from 0."""


class AutoencoderConfig(ModelConfig):
    """What a user had, told again from a short code; for churn and purchase of anything, the label beside it."""

    kind: Literal["autoencoder"]
    event_weights: dict[str, Annotated[float, Field(gt=0)]] = Field(
        default={"view": 0.2, "click": 0.2, "cart": 0.5, "purchase": 1.0}
    )
    """Weight of one event by type; types not named do not count."""
    half_life: Duration = parse_duration("60d")
    """Time after which an event counts half."""
    min_users: Annotated[int, Field(gt=0)] = 2
    """An item that fewer users had takes no part; it is recommended again to those who had it."""
    width: Annotated[int, Field(gt=0, le=8192)] = 128
    """Units of the layers before and after the code."""
    code: Annotated[int, Field(gt=0, le=8192)] = 64
    """Length of the code."""
    variational: Variational | None = None
    """Draw the code while the net learns; `{}` takes the defaults. By default only the input is noisy."""
    input_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Share of what a user had that is left out at random while the net learns to tell all of it."""
    initialisation: Literal["normal", "xavier", "kaiming"] = "xavier"
    """How weights are drawn at first."""
    repeat_weight: Annotated[float, Field(ge=0)] = 2.0
    """Added to the score of what the user had before, times the number of those events by weight; without it, the
    score is the chance of an item as a share of that of the user's likeliest one."""
    items_weight: Annotated[float, Field(ge=0)] = 0.05
    """Where a label is asked for: weight of telling the items, where telling the label has 1."""
    positive_weight: PositiveWeight = 1.0
    """Where a label is asked for: weight of a row with label 1, where one with label 0 weighs 1; `balanced` gives both
    labels the same total."""
    training: Training = Field(
        default_factory=lambda: Training(
            learning_rate=2e-3, weight_decay=0.01, batch=128, epochs=40, patience=4
        )
    )
    """How the net is trained; a batch has so many users."""


class Autoencoder:
    """A code of each user's history, learned on the newest one; a user at any cutoff is encoded from the history.

    Lists: the score is the chance of an item, where the user's likeliest one has 1, and what was had before on top. A
    label: the history of every user at every train cutoff, with how much and how lately the user did something (as
    `user_knn` has it), is one row; the score is the log-odds.

    Source: Liang, Krishnan, Hoffman and Jebara (2018), Variational autoencoders for collaborative filtering.
    """

    config_class: ClassVar[type[ModelConfig]] = AutoencoderConfig
    inputs: ClassVar[Mapping[str, Reads]] = {"binary": "all", "pairs": "matrix", "ranking": "matrix"}
    search: ClassVar[Mapping[str, Domain]] = {
        "width": Whole(32, 512, log=True),
        "code": Whole(16, 256, log=True),
        "input_dropout": Real(0.1, 0.8),
        "repeat_weight": Real(0.0, 6.0),
        "training.learning_rate": Real(3e-4, 1e-2, log=True),
    }

    def __init__(self, config: AutoencoderConfig) -> None:
        self.config = config
        self.items_ = pl.Series("item_id", [], dtype=pl.String)
        self.n_levels_ = 0
        """Inputs beside the items; 0 where no label was learned."""
        self.net_: Net | None = None
        self.plan_: Plan | None = None

    @property
    def _weighing(self) -> Weighing:
        return Weighing(self.config.event_weights, self.config.half_life)

    def fit(self, train: Sequence[Any], valid: Sequence[Any], options: Options) -> Self:
        """Learn; without a validation window for as many epochs as were best in the fit before.

        Raises:
            DataError: no event counts, or too few users had any item, or the labels cannot teach the question.
        """
        if isinstance(train[-1], Inputs):
            return self._fit_labels([part for part in train if part.table is not None], valid, options)
        from ecbehave.models.deep import history_scores, judging

        newest: MatrixInput = train[-1]
        had = history_scores.had(newest, self._weighing)
        self._choose_items(had, newest)
        # Another order of users must change nothing.
        order = newest.users.select(pl.arg_sort_by("user_hash", "user_id")).to_series().to_numpy()
        inputs = history_scores.inputs_of(csr_array(had[order]), newest.items["item_id"], self.items_)
        inputs = csr_array(inputs[np.flatnonzero(np.diff(inputs.indptr))])
        judge: Judge = _nothing
        if valid and valid[-1].labels is not None:
            later = judging.judged(valid[-1])

            def judge(net: "Net") -> float:
                return judging.ndcg(later, self._list_scores(later, net))

        objective = self._objective(inputs, judge, "users", judging.METRIC)
        return self._learn(objective, 0, bool(valid), options)

    def _fit_labels(self, labelled: Sequence[Inputs], valid: Sequence[Inputs], options: Options) -> Self:
        from ecbehave.models.deep.history_objectives import Labelled
        from ecbehave.models.deep.history_scores import had, log_odds_of

        label = pooled([cast("TableInput", part.table) for part in labelled]).label
        newest = cast("MatrixInput", labelled[-1].matrix)
        self._choose_items(had(newest, self._weighing), newest, _MOST_ITEMS)
        inputs = self._described(labelled)
        factor = positive_factor(self.config.positive_weight, label)
        judge: Judge = _nothing
        if valid:
            parts = _thinned(valid)
            later, later_label = self._described(parts), labels_of(parts)

            def judge(net: "Net") -> float:
                chance = 1 / (1 + np.exp(-log_odds_of(net, later)))
                return -log_loss(later_label, chance, np.where(later_label == 1, factor, 1.0))

        objective = self._objective(inputs, judge, "rows", "minus log loss")
        weight = np.where(label == 1, factor, 1.0).astype(np.float32)
        objective.tell_labels(Labelled(label.astype(np.float32), weight, self.config.items_weight))
        return self._learn(objective, inputs.shape[1] - self.items_.len(), bool(valid), options)

    def _choose_items(self, had: csr_array, data: MatrixInput, most: int | None = None) -> None:
        """Let the items take part that enough users had, and of these at most so many that most users had."""
        if had.nnz == 0:
            raise DataError(
                f"autoencoder has no events to learn from: none of {', '.join(self.config.event_weights)} "
                f"occurs with an item; set model.event_weights to the log's event types"
            )
        n_users = np.bincount(had.indices, minlength=had.shape[1])
        if n_users.max() < self.config.min_users:
            raise DataError(
                f"autoencoder has no items to learn from: {self.config.min_users} users had none of the "
                f"{had.shape[1]:,} items, and {n_users.max():,} the most frequent one; set model.min_users lower"
            )
        order = np.argsort(-n_users, kind="stable")[:most]
        self.items_ = data.items["item_id"].gather(np.sort(order[n_users[order] >= self.config.min_users]))

    def _objective(self, inputs: csr_array, judge: "Judge", unit: str, metric_name: str) -> "Histories":
        from ecbehave.models.deep.history_objectives import Drawing, Histories

        config, variational = self.config, self.config.variational
        drawing = Drawing(config.input_dropout)
        if variational is not None:
            drawing = replace(drawing, kl_weight=variational.kl_weight, kl_steps=variational.kl_steps)
        n_items, batch = self.items_.len(), config.training.batch
        return Histories(inputs, n_items, batch, drawing, judge, unit, metric_name)

    def _learn(self, objective: "Histories", n_levels: int, is_judged: bool, options: Options) -> Self:
        from ecbehave.models.deep.checkpoints import key_of
        from ecbehave.models.deep.devices import pick_device
        from ecbehave.models.deep.loop import Run, train
        from ecbehave.models.deep.noise import generator
        from ecbehave.models.deep.weights import initialise

        device = pick_device(self.config.training.device)
        self.n_levels_ = n_levels
        net = self._new_net()
        initialise(net, generator(options.seed), self.config.initialisation)
        key = key_of(self.config.model_dump(mode="json"), objective.arrays)
        run = Run.of(options, self.config.kind, key)
        plan = None if is_judged else self.plan_
        self.plan_ = train(net.to(device), objective, self.config.training, run, plan).plan
        self.net_ = net.cpu()
        return self

    def _new_net(self) -> "Net":
        from ecbehave.models.deep.denoising import Autoencoder as Net

        config = self.config
        is_variational = config.variational is not None
        return Net(
            self.items_.len(), self.n_levels_, config.width, config.code, is_variational=is_variational
        )

    def scores(self, data: MatrixInput) -> Iterator[Block]:
        """Yield the scores of every item for some users of the population after the others, dense.

        An item that the model does not know has a score for those only who had it, and a user who had only such items
        has no other scores.
        """
        yield from self._list_scores(data, cast("Net", self.net_))

    def _list_scores(self, data: MatrixInput, net: "Net") -> Iterator[Block]:
        from ecbehave.models.deep.history_scores import list_scores

        return list_scores(net, self.items_, data, self._weighing, self.config.repeat_weight)

    def predict(self, data: Inputs, k: int) -> pl.DataFrame:
        """Return the keys of the table with the log-odds as `score`."""
        from ecbehave.models.deep.history_scores import log_odds_of

        del k
        score = log_odds_of(cast("Net", self.net_), self._described([data]))
        return cast("TableInput", data.table).keys.with_columns(score=pl.Series(score, dtype=pl.Float64))

    def _described(self, parts: Sequence[Inputs]) -> csr_array:
        """Return the inputs of all rows of the tables, one cutoff after the other [N, K + levels]."""
        from scipy.sparse import vstack

        rows = [
            vectors_of(part, cast("TableInput", part.table).frame["user_id"], self.items_, self._weighing)
            for part in parts
        ]
        return csr_array(vstack(rows, format="csr"))

    def save(self, folder: Path) -> None:
        """Write item ids as JSON, and the weights as arrays."""
        from ecbehave.models.deep.weights import save_net

        plan = cast("Plan", self.plan_)
        stored = {
            "item_id": self.items_.to_list(),
            "n_levels": self.n_levels_,
            "epochs": plan.epochs,
            "cuts": plan.cuts,
        }
        save_json(folder / f"{_FILE}.json", stored)
        save_net(folder / f"{_FILE}.npz", cast("Net", self.net_))

    @classmethod
    def load(cls, folder: Path, config: AutoencoderConfig) -> Self:
        """Read what `save` wrote.

        Raises:
            ArtifactError: the folder does not hold a model of this kind.
        """
        from ecbehave.models.deep.weights import load_net

        model, stored = cls(config), load_json(folder / f"{_FILE}.json")
        with reading(folder / f"{_FILE}.json"):
            model.items_ = pl.Series("item_id", [*stored["item_id"]], dtype=pl.String)
            model.n_levels_ = int(stored["n_levels"])
            model.plan_ = Plan(int(stored["epochs"]), tuple(int(epoch) for epoch in stored["cuts"]))
            model.net_ = model._new_net()
        load_net(folder / f"{_FILE}.npz", model.net_)
        return model


def _nothing(net: "Net") -> None:
    """Judge nothing: there are no later labels."""
    del net


def _thinned(parts: Sequence[Inputs]) -> list[Inputs]:
    """Return every n-th row of the tables, so that not too many are judged after each epoch."""
    tables = [cast("TableInput", part.table) for part in parts]
    step = max(-(-sum(table.n_rows for table in tables) // _JUDGED_ROWS), 1)
    return [
        replace(part, table=TableInput(table.frame.gather_every(step), table.features))
        for part, table in zip(parts, tables, strict=True)
    ]
