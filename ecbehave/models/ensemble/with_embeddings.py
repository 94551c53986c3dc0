"""A kind on the table that is also given what a net over sequences knows of each user."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field, model_validator

from ecbehave.config.model import ModelConfig
from ecbehave.inputs.types import Inputs, SequenceInput, TableInput
from ecbehave.models import learning_vectors, model_class, one_of, tabular
from ecbehave.models.making import load, make
from ecbehave.models.protocol import DRIVERS, Block, InputType, LearnsVectors, Options, Output, Predictor

if TYPE_CHECKING:
    Base = ModelConfig
    Net = ModelConfig
else:
    Base, Net = one_of(tabular()), one_of(learning_vectors())

#: What the numbers of a vector are called together where features are named.
TOGETHER = "embedding"


class WithEmbeddingsConfig(ModelConfig):
    """A kind on the table, with what a net over sequences knows of each user as further features."""

    kind: Literal["with_embeddings"]
    base: Annotated[Base, Field(validate_default=True)] = cast("ModelConfig", {"kind": "boosting"})
    """The model, chosen by `kind`, of those that read the table."""
    net: Annotated[Net, Field(validate_default=True)] = cast("ModelConfig", {"kind": "transformer"})
    """The net, chosen by `kind`, of those over sequences. It learns to foresee the next items, and the events ahead
    (`pretrain`), in the histories before the first train cutoff, and is shown no label; `pretrain.source` lets it begin
    with another run's."""

    @model_validator(mode="after")
    def _learns_something(self) -> Self:
        pretrain = cast("Any", self.net).pretrain
        if pretrain.epochs == 0 and not pretrain.horizons and pretrain.source is None:
            raise ValueError(
                "net.pretrain.epochs: 0 and horizons: [] leave a net that has learned nothing; set epochs above 0"
            )
        return self

    def parts(self) -> dict[str, ModelConfig]:
        """Return both."""
        return {"base": self.base, "net": self.net}


class WithEmbeddings:
    """The numbers that the net has for a user stand beside the features of the table.

    A net that had been taught the labels would know them for the rows of the train cutoffs, and for no others, and
    trees would trust it too much; so it learns from what was before all of these cutoffs, and of their labels nothing.
    """

    config_class: ClassVar[type[ModelConfig]] = WithEmbeddingsConfig
    inputs: ClassVar[Mapping[str, InputType]] = {}

    def __init__(self, config: WithEmbeddingsConfig, output: Output) -> None:
        self.config = config
        self.base_: Predictor = make(config.base, output)
        self.net_: LearnsVectors | None = None
        self._told: tuple[SequenceInput, pl.Series, NDArray[np.float32]] | None = None

    def fit(self, train: Sequence[Inputs], valid: Sequence[Inputs], options: Options) -> Self:
        """Fit the net, then the model; a refit, which begins at the same cutoff, keeps the net.

        Raises:
            DataError: one of them has nothing to learn from.
        """
        labelled = [part for part in train if part.table is not None]
        if valid or self.net_ is None:
            net: Any = model_class(self.config.net.kind)(self.config.net)
            self.net_, self._told = net.fit_vectors(labelled[0], options), None
        self.base_.fit([self._wider(p) for p in labelled], [self._wider(p) for p in valid], options)
        return self

    def _wider(self, data: Inputs) -> Inputs:
        """Return what is known with the wider table."""
        table = cast("TableInput", data.table)
        users = table.frame["user_id"].unique(maintain_order=True)
        vectors = self._vectors(data, users)
        names = [f"{TOGETHER}_{n:03d}" for n in range(vectors.shape[1])]
        of_users = pl.DataFrame(vectors, names).with_columns(user_id=users)
        frame = table.frame.join(of_users, on="user_id", how="left", maintain_order="left")
        return replace(data, table=TableInput(frame, (*table.features, *names)))

    def _vectors(self, data: Inputs, users: pl.Series) -> NDArray[np.float32]:
        """Return a vector for each user [N, D]; who asks for the same again, such as with other features, has it at
        once.
        """
        sequence = cast("SequenceInput", data.sequence)
        if self._told is None or self._told[0] is not sequence or not self._told[1].equals(users):
            net = cast("LearnsVectors", self.net_)
            self._told = sequence, users, net.user_vectors(data, users)
        return self._told[2]

    @property
    def explains(self) -> bool:
        """Whether the model can say what drove a score."""
        return self.base_.explains

    @property
    def reads_table(self) -> bool:
        """Whether any feature of the table has a say in the scores."""
        return self.base_.reads_table

    def score(self, data: Inputs) -> NDArray[np.float64]:
        """Return a score for each row of the table [N]."""
        return self.base_.score(self._wider(data))

    def lists(self, data: Inputs, k: int) -> pl.DataFrame:
        """Return `user_id`, `item_id`, `score`: at most `k` rows for each user, best first."""
        return self.base_.lists(self._wider(data), k)

    def list_blocks(self, data: Inputs, k: int) -> Iterator[pl.DataFrame]:
        """Yield `lists` by blocks of users."""
        return self.base_.list_blocks(self._wider(data), k)

    def item_scores(self, data: Inputs) -> Iterator[Block]:
        """Yield the scores of the candidates."""
        return self.base_.item_scores(self._wider(data))

    def contributions(self, data: Inputs) -> NDArray[np.float64]:
        """Return additive contributions to the score [N, F + 1], by feature of the table.

        The last one is the base, with all that the net has added to it: its numbers have no meaning of their own.
        """
        n_features = len(cast("TableInput", data.table).features)
        found = self.base_.contributions(self._wider(data))
        rest = found[:, n_features:].sum(axis=1, keepdims=True)
        return np.hstack([found[:, :n_features], rest])

    def event_drivers(self, data: Inputs, rows: NDArray[np.int64], n: int) -> pl.DataFrame:
        """Return nothing: reasons are told by the features of the table."""
        del data, rows, n
        return pl.DataFrame(schema=DRIVERS)

    def importance(self) -> Mapping[str, float]:
        """Return a share of the total importance per feature, the numbers of the net together as `embedding`."""
        total: dict[str, float] = {}
        for name, share in self.base_.importance().items():
            own = TOGETHER if _is_of_net(name) else name
            total[own] = total.get(own, 0.0) + share
        return total

    def left_out(self) -> Mapping[str, Any]:
        """Return the features of the table that the model was not given, each with the reason."""
        return {name: why for name, why in self.base_.left_out().items() if not _is_of_net(name)}

    def save(self, folder: Path) -> None:
        """Write both, each into a folder of its own."""
        for name, part in (("base", self.base_), ("net", cast("Any", self.net_))):
            (folder / name).mkdir()
            part.save(folder / name)

    @classmethod
    def load(cls, folder: Path, config: WithEmbeddingsConfig, output: Output) -> Self:
        """Read what `save` wrote.

        Raises:
            ArtifactError: the folder does not hold such a model.
        """
        model = cls(config, output)
        model.base_ = load(folder / "base", config.base, output)
        net: Any = model_class(config.net.kind).load(folder / "net", config.net)
        model.net_ = net
        return model


def _is_of_net(name: str) -> bool:
    # No measure of the table begins like this.
    return name.startswith(f"{TOGETHER}_")
