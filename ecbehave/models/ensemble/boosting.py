"""Gradient boosted trees (LightGBM), stopped early on the validation window."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from ecbehave.config import ModelConfig
from ecbehave.inputs.types import TableInput, Transform
from ecbehave.models.labels import pooled
from ecbehave.models.protocol import InputType, Options
from ecbehave.models.storage import load_json, reading, save_json

_ROWS_PER_THREAD = 100_000

Share = Annotated[float, Field(gt=0, le=1)]


class BoostingConfig(ModelConfig):
    """Gradient boosted trees (LightGBM)."""

    kind: Literal["boosting"]
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.03
    """Weight of each tree."""
    max_trees: Annotated[int, Field(gt=0)] = 2_000
    """Most trees; the validation window usually stops much earlier."""
    patience: Annotated[int, Field(gt=0)] = 100
    """Trees without a better validation log loss before stopping."""
    leaves: Annotated[int, Field(ge=2)] = 7
    """Most leaves of a tree."""
    min_rows_per_leaf: Annotated[int, Field(gt=0)] = 100
    """Fewest train rows in a leaf."""
    feature_share: Share = 0.2
    """Share of the features that each tree may use."""
    row_share: Share = 0.7
    """Share of the train rows that each tree sees."""
    l2: Annotated[float, Field(ge=0)] = 5.0
    """L2 penalty on leaf values."""


class Boosting:
    """Binary log loss on the pooled train cutoffs."""

    config_class: ClassVar[type[ModelConfig]] = BoostingConfig
    inputs: ClassVar[Mapping[str, InputType]] = {"binary": "table"}
    transform: ClassVar[Transform] = Transform()

    def __init__(self, config: BoostingConfig) -> None:
        self.config = config
        self.booster_: Any = None
        self.features_: list[str] = []
        self.n_trees_ = 0

    def fit(self, train: Sequence[TableInput], valid: Sequence[TableInput], options: Options) -> Self:
        """Grow trees; without a validation window as many as the fit before has kept."""
        import lightgbm as lgb

        table = pooled(train)
        self.features_ = list(table.features)
        data = lgb.Dataset(table.values, table.label, free_raw_data=True)
        stop: list[Any] = []
        sets: list[Any] = []
        if valid:
            later = TableInput.concat(valid)
            sets = [data.create_valid(later.values, later.label)]
            stop = [lgb.early_stopping(self.config.patience, verbose=False)]
        n_trees = self.config.max_trees if valid else self.n_trees_ or self.config.max_trees
        self.booster_ = lgb.train(
            self._params(options, table.n_rows), data, n_trees, valid_sets=sets, callbacks=stop
        )
        self.n_trees_ = max(self.booster_.best_iteration, 1) if valid else n_trees
        return self

    def _params(self, options: Options, n_rows: int) -> dict[str, Any]:
        """LightGBM promises equal results for any number of threads with `deterministic` and a fixed layout."""
        config = self.config
        return {
            "objective": "binary",
            "metric": "binary_logloss",
            "learning_rate": config.learning_rate,
            "num_leaves": config.leaves,
            "min_data_in_leaf": config.min_rows_per_leaf,
            "feature_fraction": config.feature_share,
            "bagging_fraction": config.row_share,
            "bagging_freq": int(config.row_share < 1),
            "lambda_l2": config.l2,
            "seed": options.seed,
            "num_threads": min(_most_threads(n_rows), options.threads),
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
        }

    def predict(self, data: TableInput, k: int = 0) -> pl.DataFrame:
        """Return the keys with the log-odds as `score`."""
        del k
        score = np.empty(0)
        if data.n_rows:
            score = self._apply(data, raw_score=True)
        return data.keys.with_columns(score=pl.Series(score, dtype=pl.Float64))

    def contributions(self, data: TableInput) -> NDArray[np.float64]:
        """Return additive contributions to the log-odds [N, F + 1], about a hundred times as slow as `predict`.

        Source: Lundberg et al. (2020), From local explanations to global understanding, algorithm 2 (TreeSHAP).
        """
        return np.asarray(self._apply(data, pred_contrib=True), dtype=np.float64)

    def _apply(self, data: TableInput, **what: bool) -> Any:
        threads = {"num_threads": 1} if _most_threads(data.n_rows) == 1 else {}
        return self.booster_.predict(data.values, num_iteration=self.n_trees_, **what, **threads)

    def importance(self) -> Mapping[str, float]:
        """Return each feature's share of the total gain."""
        gain = self.booster_.feature_importance("gain", iteration=self.n_trees_)
        return dict(zip(self.features_, (gain / max(gain.sum(), 1e-12)).tolist(), strict=True))

    def save(self, folder: Path) -> None:
        """Write the trees as LightGBM's text."""
        text = self.booster_.model_to_string(num_iteration=self.n_trees_)
        text = re.sub(r"\[num_threads: \d+\]\n", "", text)  # the run's, not the model's
        (folder / "trees.txt").write_text(text, encoding="utf-8")
        save_json(folder / "boosting.json", {"features": self.features_, "n_trees": self.n_trees_})

    @classmethod
    def load(cls, folder: Path, config: BoostingConfig) -> Self:
        """Read what `save` wrote."""
        import lightgbm as lgb

        model = cls(config)
        stored = load_json(folder / "boosting.json")
        with reading(folder / "boosting.json"):
            model.features_, model.n_trees_ = list(stored["features"]), int(stored["n_trees"])
        with reading(folder / "trees.txt"):
            text = (folder / "trees.txt").read_text(encoding="utf-8")
            model.booster_ = lgb.Booster(model_str=text)
        return model


def _most_threads(n_rows: int) -> int:
    """Return how many threads pay: on few rows they wait for one another, for seconds where other jobs run too."""
    return max(n_rows // _ROWS_PER_THREAD, 1)
