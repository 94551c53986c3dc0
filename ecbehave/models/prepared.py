"""A table model together with what makes the table ready for it: selection, then transformation."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecbehave.config.features import Features
from ecbehave.config.model import ModelConfig
from ecbehave.errors import DataError
from ecbehave.inputs.transform.selection import Dropped, all_but_best, constants, near_duplicates
from ecbehave.inputs.transform.transformer import Transformer
from ecbehave.inputs.types import TableInput, Transform
from ecbehave.metrics.relevance import loss_without, mutual_information, mutual_information_of_codes
from ecbehave.models import model_class
from ecbehave.models.calibration import Platt
from ecbehave.models.labels import pooled
from ecbehave.models.protocol import Explains, Options, ScoresRows
from ecbehave.models.storage import load_json, reading, save_json

_FILE = "transform.json"

#: Contributions take a hundred times as long as scores; so many rows are enough to rank features.
_MOST_RANKED_ROWS = 20_000


class Prepared:
    """Learns and scores like a model; takes the table as it is stored, and gives the model its own."""

    def __init__(self, config: ModelConfig) -> None:
        self.config = config
        self.model = model_class(config.kind)(config)
        self.dropped_: Dropped = {}
        self.transformer_ = Transformer(())

    def fit(self, train: Sequence[TableInput], valid: Sequence[TableInput], options: Options) -> Self:
        """Select on the train cutoffs, and rank on `valid`; a refit, without it, keeps what was selected.

        Raises:
            DataError: the train cutoffs cannot teach the question.
        """
        n_rows = pooled(train).n_rows
        if valid:
            self.dropped_ = self._select(train, valid, options)
        if len(self.dropped_) == len(train[0].features):
            raise DataError(
                f"there is nothing to learn from: each of the {len(self.dropped_)} features has the same value in all "
                f"{n_rows:,} train rows; bring more data, or look at what clean has refused"
            )
        return self._learn(train, valid, options)

    def _select(self, train: Sequence[TableInput], valid: Sequence[TableInput], options: Options) -> Dropped:
        select, features = options.features.select, train[0].features
        dropped = constants(train, features) if select.drop_constant else {}
        if select.max_correlation is not None:
            left = [f for f in features if f not in dropped]
            dropped |= near_duplicates(train, left, select.max_correlation)
        left = [f for f in features if f not in dropped]
        if select.keep is not None and select.keep < len(left):
            later = _thinned(TableInput.concat(valid))
            worth = (
                self._gain(dropped, train, valid, later, options) if select.by == "gain" else _informed(later)
            )
            by = select.by.replace("_", " ")
            dropped |= all_but_best(left, [worth[f] for f in left], select.keep, by)
        return {feature: dropped[feature] for feature in features if feature in dropped}

    def _gain(
        self,
        dropped: Dropped,
        train: Sequence[TableInput],
        valid: Sequence[TableInput],
        later: TableInput,
        options: Options,
    ) -> Mapping[str, float]:
        """Ask a model that can explain itself: of the same kind, or else boosted trees."""
        boosting = model_class("boosting").config_class(kind="boosting")
        config = self.config if isinstance(self.model, Explains) else boosting
        ranker = Prepared(config)
        ranker.dropped_ = dropped
        by_feature = ranker._learn(train, valid, options).contributions(later)
        # Calibrated first: where scores are too bold for the window, every driver of them would seem to do harm.
        calibration = Platt.fit(by_feature.sum(axis=1), later.label)
        by_feature *= calibration.slope
        by_feature[:, -1] += calibration.intercept
        rises = loss_without(by_feature, later.label)
        return dict(zip(later.features, rises.tolist(), strict=True))

    def _learn(self, train: Sequence[TableInput], valid: Sequence[TableInput], options: Options) -> Self:
        kept = [f for f in train[0].features if f not in self.dropped_]
        self.transformer_ = Transformer.fit(
            train, kept, transform_for(self.model, options.features), options.ends
        )
        apply = self.transformer_.apply
        self.model.fit([apply(t) for t in train], [apply(t) for t in valid], options)
        return self

    def predict(self, data: TableInput, k: int = 0) -> pl.DataFrame:
        """Return the keys with the model's `score`."""
        return cast("ScoresRows", self.model).predict(self.transformer_.apply(data), k)

    def save(self, folder: Path) -> None:
        """Write the model, and beside it the transformation as JSON."""
        self.model.save(folder)
        save_json(folder / _FILE, self.transformer_.to_dict())

    @classmethod
    def load(cls, folder: Path, config: ModelConfig) -> Self:
        """Read what `save` wrote.

        Raises:
            ArtifactError: the folder does not hold a model of this kind.
        """
        loaded = cls(config)
        loaded.model = model_class(config.kind).load(folder, config)
        stored = load_json(folder / _FILE)
        with reading(folder / _FILE):
            loaded.transformer_ = Transformer.from_dict(stored)
        return loaded

    def contributions(self, data: TableInput) -> NDArray[np.float64]:
        """Return contributions [N, F + 1] by feature of the stored table; the last column is the base value.

        Only where the model can say what drove a score.
        """
        by_column = self._explaining.contributions(self.transformer_.apply(data))
        return self.transformer_.by_feature(by_column, data.features)

    def importance(self) -> Mapping[str, float]:
        """Return a share of the total importance per feature that the model was given, where it can tell."""
        by_column = self._explaining.importance()
        shares: dict[str, float] = {}
        for column, feature in self.transformer_.source_of.items():
            shares[feature] = shares.get(feature, 0.0) + by_column[column]
        return shares

    @property
    def _explaining(self) -> Explains:
        model: Any = self.model
        return model  # type: ignore[no-any-return]


def transform_for(model: Any, features: Features) -> Transform:
    """Return what the config says of the transformation, and what suits the kind where the config says nothing."""
    said = {f.name: getattr(features, f.name) for f in fields(Transform)}
    return Transform(**(asdict(model.transform) | {key: v for key, v in said.items() if v is not None}))


def _thinned(table: TableInput) -> TableInput:
    """Return every n-th row, so that not too many are left."""
    step = -(-table.n_rows // _MOST_RANKED_ROWS)
    return TableInput(table.frame.gather_every(max(step, 1)), table.features)


def _informed(table: TableInput) -> Mapping[str, float]:
    categorical = set(table.categorical)
    return {f: _information(table.frame[f], table, f in categorical) for f in table.features}


def _information(column: pl.Series, table: TableInput, is_category: bool) -> float:
    if is_category:
        code = column.rank("dense").fill_null(0).to_numpy()
        return mutual_information_of_codes(code, table.label)
    return mutual_information(column.fill_null(np.nan).to_numpy(), table.label)
