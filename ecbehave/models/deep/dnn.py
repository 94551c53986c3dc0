"""A multilayer perceptron on the table. Imports no torch before it is asked to learn or to load."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from ecbehave.config.model import ModelConfig
from ecbehave.inputs.types import TableInput, Transform
from ecbehave.models.deep.settings import Training
from ecbehave.models.deep.watching import Plan
from ecbehave.models.ensemble.class_weight import PositiveWeight, positive_factor, row_weights
from ecbehave.models.labels import pooled
from ecbehave.models.protocol import InputType, Options
from ecbehave.models.search import Domain, Real, Whole
from ecbehave.models.storage import load_json, reading, save_json

if TYPE_CHECKING:
    from ecbehave.models.deep.perceptron import Perceptron
    from ecbehave.models.deep.row_objectives import Candidates, Labels

Floats = NDArray[np.float64]
Share = Annotated[float, Field(ge=0, lt=1)]

#: Train rows that are explained to find out which features matter.
_EXPLAINED = 1_000
#: Later rows that are judged after each epoch at most.
_JUDGED = 100_000


class DnnConfig(ModelConfig):
    """A multilayer perceptron on the features of the table."""

    kind: Literal["dnn"]
    layers: Annotated[int, Field(ge=0, le=64)] = 2
    """Residual blocks of two layers each; 0 leaves one layer."""
    width: Annotated[int, Field(ge=1, le=8192)] = 128
    """Units of a layer."""
    pieces: Annotated[int, Field(ge=1, le=256)] = 8
    """Pieces, of about as many train rows each, that the values of a feature are cut into; the net learns a slope for
    each piece."""
    activation: Literal["relu", "gelu", "silu"] = "relu"
    """What a unit makes of its sum."""
    initialisation: Literal["normal", "xavier", "kaiming"] = "xavier"
    """How weights are drawn at first."""
    dropout: Share = 0.2
    """Share of the units that are left out at random while the net learns."""
    input_dropout: Share = 0.0
    """The same, for the pieces of features."""
    label_smoothing: Share = 0.0
    """Share of each label that is replaced by one half, or of a ranking by all of a user's candidates alike."""
    positive_weight: PositiveWeight = 1.0
    """Weight of a row with label 1, where one with label 0 weighs 1; `balanced` gives both labels the same total.
    Not for rankings."""
    training: Training = Field(default_factory=lambda: Training(weight_decay=0.01, patience=3))
    """How the net is trained; a batch of a ranking has the candidates of an eighth as many users."""


class Dnn:
    """Residual layers on numbers that are encoded piecewise; the log loss of labels, the softmax of lists.

    The score is the log-odds; in a ranking, a number that only orders.

    Source: Gorishniy et al. (2021), Revisiting deep learning models for tabular data, section 3.2; Gorishniy et al.
    (2022), On embeddings for numerical features in tabular deep learning, section 3.2.
    """

    config_class: ClassVar[type[ModelConfig]] = DnnConfig
    inputs: ClassVar[Mapping[str, InputType]] = {"binary": "table", "ranking": "table"}
    transform: ClassVar[Transform] = Transform(
        encode="one_hot", normalise="standard", log=True, impute="median", missing_flags=True
    )
    search: ClassVar[Mapping[str, Domain]] = {
        "layers": Whole(1, 4),
        "width": Whole(32, 512, log=True),
        "pieces": Whole(2, 32, log=True),
        "dropout": Real(0.0, 0.6),
        "input_dropout": Real(0.0, 0.4),
    }

    def __init__(self, config: DnnConfig) -> None:
        self.config = config
        self.columns_: tuple[str, ...] = ()
        self.net_: Perceptron | None = None
        self.importance_: list[float] = []
        self.plan_: Plan | None = None

    def fit(self, train: Sequence[TableInput], valid: Sequence[TableInput], options: Options) -> Self:
        """Learn; without a validation window for as many epochs as were best in the fit before.

        Raises:
            DataError: there is only one class, or the loss diverges.
        """
        from ecbehave.models.deep.checkpoints import key_of
        from ecbehave.models.deep.devices import pick_device
        from ecbehave.models.deep.loop import Run
        from ecbehave.models.deep.loop import train as learn
        from ecbehave.models.deep.noise import generator
        from ecbehave.models.deep.perceptron import Perceptron
        from ecbehave.models.deep.weights import initialise

        table, config = pooled(train), self.config
        device, values = pick_device(config.training.device), _values(table)
        net = Perceptron.cut_by(values, config.pieces, config.width, config.layers, config.activation)
        initialise(net, generator(options.seed), config.initialisation)
        net.dropout, net.input_dropout = config.dropout, config.input_dropout
        later = TableInput.concat(valid) if valid else None
        if options.output == "ranking":
            objective: Labels | Candidates = self._candidates(table, values, later)
        else:
            objective = self._labels(table, values, later, net)
        key = key_of(config.model_dump(mode="json"), [values, table.label])
        run = Run.of(options, config.kind, key)
        plan = None if valid else self.plan_
        self.plan_ = learn(net.to(device), objective, config.training, run, plan).plan
        self.columns_, self.net_ = table.features, net.cpu()
        self._weigh(values)
        return self

    def _labels(
        self, table: TableInput, values: NDArray[np.float32], later: TableInput | None, net: "Perceptron"
    ) -> "Labels":
        from ecbehave.models.deep.row_objectives import Labels

        config = self.config
        factor = positive_factor(config.positive_weight, table.label)
        weight = row_weights(table.label, factor)
        n_yes = int(table.label.sum())
        # So that the first steps need not find the rate of all.
        net.start_at(float(np.log(factor * n_yes / (table.n_rows - n_yes))))
        objective = Labels(values, table.label, weight, config.training.batch, config.label_smoothing)
        if later is not None:
            step = -(-later.n_rows // _JUDGED)
            kept = TableInput(later.frame.gather_every(max(step, 1)), later.features)
            objective.judge_on(_values(kept), kept.label, row_weights(kept.label, factor))
        return objective

    def _candidates(
        self, table: TableInput, values: NDArray[np.float32], later: TableInput | None
    ) -> "Candidates":
        from ecbehave.models.deep.row_objectives import Candidates

        training, smoothing = self.config.training, self.config.label_smoothing
        objective = Candidates(values, table.label, _lengths(table), training.batch, smoothing)
        if later is not None:
            objective.judge_on(_values(later), later.label, _lengths(later))
        return objective

    def _weigh(self, values: NDArray[np.float32]) -> None:
        """Find out how much each column has to do with the scores of some train rows."""
        step = -(-values.shape[0] // _EXPLAINED)
        size = np.abs(self._contributions(values[::step])[:, :-1]).mean(axis=0)
        n_columns, total = size.size, size.sum()
        self.importance_ = (size / total if total > 0 else np.full(n_columns, 1 / n_columns)).tolist()

    def predict(self, data: TableInput, k: int = 0) -> pl.DataFrame:
        """Return the keys with the net's `score`."""
        from ecbehave.models.deep.row_objectives import scores_of

        del k
        return data.keys.with_columns(score=pl.Series(scores_of(self._net, _values(data)), dtype=pl.Float64))

    def contributions(self, data: TableInput) -> Floats:
        """Return additive contributions [N, C + 1], about fifty times as slow as `predict`.

        They are integrated gradients; what the numeric integral leaves of the score is handed out in proportion to
        their size. The last column is the score of the mean of the encoded train rows.
        """
        return self._contributions(_values(data))

    def _contributions(self, values: NDArray[np.float32]) -> Floats:
        from ecbehave.models.deep.fixed_blocks import exact, in_fixed_blocks
        from ecbehave.models.deep.perceptron import drivers
        from ecbehave.models.deep.row_objectives import scores_of

        net, n_columns = exact(self._net), values.shape[1]
        score = scores_of(net, values)
        base = in_fixed_blocks(net.score, self._net.usual.numpy()[None])[0]
        parts = in_fixed_blocks(lambda block: drivers(net, block), values, n_columns)
        size = np.abs(parts)
        total = size.sum(axis=1, keepdims=True)
        share = np.divide(size, total, out=np.full_like(size, 1 / n_columns), where=total > 0)
        parts += share * (score - base - parts.sum(axis=1))[:, None]
        return np.column_stack([parts, np.full(values.shape[0], base)])

    def importance(self) -> Mapping[str, float]:
        """Return each column's share of the contributions to the scores of some train rows."""
        return dict(zip(self.columns_, self.importance_, strict=True))

    @property
    def _net(self) -> "Perceptron":
        net: Any = self.net_
        return net  # type: ignore[no-any-return]

    def save(self, folder: Path) -> None:
        """Write the weights as arrays, and the rest as JSON."""
        from ecbehave.models.deep.weights import save_net

        plan = self.plan_ or Plan(self.config.training.epochs)
        stored = {
            "columns": self.columns_,
            "pieces": self._net.n_pieces,
            "importance": self.importance_,
            "epochs": plan.epochs,
            "cuts": plan.cuts,
        }
        save_json(folder / "dnn.json", stored)
        save_net(folder / "dnn.npz", self._net)

    @classmethod
    def load(cls, folder: Path, config: DnnConfig) -> Self:
        """Read what `save` wrote.

        Raises:
            ArtifactError: the folder does not hold a model of this kind.
        """
        model, stored = cls(config), load_json(folder / "dnn.json")
        from ecbehave.models.deep.perceptron import Perceptron
        from ecbehave.models.deep.weights import load_net

        with reading(folder / "dnn.json"):
            model.columns_ = tuple(stored["columns"])
            model.importance_ = [float(share) for share in stored["importance"]]
            model.plan_ = Plan(int(stored["epochs"]), tuple(int(epoch) for epoch in stored["cuts"]))
            pieces = [int(n) for n in stored["pieces"]]
            if not len(model.columns_) == len(pieces) == len(model.importance_):
                raise ValueError("there are not as many pieces and shares as columns")
            model.net_ = Perceptron(pieces, config.width, config.layers, config.activation)
        load_net(folder / "dnn.npz", model._net)
        return model


def _values(table: TableInput) -> NDArray[np.float32]:
    """Return the features [N, C]; what is unknown, where nothing stands in for it, is 0."""
    return np.nan_to_num(table.values, nan=0.0)


def _lengths(table: TableInput) -> NDArray[np.int64]:
    """Return how many candidates each user has at each cutoff, in the order of the rows."""
    runs = table.frame.select(pl.struct("cutoff", "user_hash", "user_id").rle().struct.field("len"))
    return runs.to_series().to_numpy().astype(np.int64)
