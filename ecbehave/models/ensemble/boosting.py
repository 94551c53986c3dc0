"""Gradient boosted trees (LightGBM), stopped early on the validation window."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, ClassVar, Literal, Self

import polars as pl
from pydantic import Field, model_validator

from ecbehave.config.model import ModelConfig
from ecbehave.errors import ConfigError, DataError
from ecbehave.inputs.types import TableInput, Transform
from ecbehave.models.ensemble.class_weight import PositiveWeight, positive_factor, row_weights
from ecbehave.models.ensemble.tree_model import TreeModel
from ecbehave.models.ensemble.tree_text import Trees, binned, run_parameters
from ecbehave.models.labels import pooled
from ecbehave.models.protocol import InputType, Options
from ecbehave.models.search import Domain, Real, Whole

#: LightGBM's own limit, since it looks at pairs of them.
_MOST_CANDIDATES = 10_000

Share = Annotated[float, Field(gt=0, le=1)]


class BoostingConfig(ModelConfig):
    """Gradient boosted trees (LightGBM)."""

    kind: Literal["boosting"]
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.03
    """Weight of each tree."""
    max_trees: Annotated[int, Field(gt=0)] = 2_000
    """Most trees; the validation window usually stops much earlier."""
    patience: Annotated[int, Field(gt=0)] = 100
    """Trees without a better validation log loss (a better NDCG, where items are ranked) before stopping."""
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
    positive_weight: PositiveWeight = 1.0
    """Weight of a row with label 1, where one with label 0 weighs 1; `balanced` gives both labels the same total.
    Not for rankings."""
    monotone: dict[str, Literal["increasing", "decreasing"]] = Field(default_factory=dict)
    """Feature to how the score may follow it, all else being equal."""
    ranking_loss: Literal["lambdarank", "xendcg"] = "lambdarank"
    """Where items are ranked: what the trees are to get right, pairs of candidates (`lambdarank`) or whole lists of
    them (`xendcg`)."""
    rank_depth: Annotated[int, Field(gt=0)] = 20
    """Where items are ranked: the top of the list, so many items long, is what the trees are to get right."""
    rank_norm: bool = True
    """Where items are ranked: let long and short lists of candidates count alike; for `ranking_loss: lambdarank`."""

    @model_validator(mode="after")
    def _has_use_for_norm(self) -> Self:
        if not self.rank_norm and self.ranking_loss != "lambdarank":
            raise ValueError("rank_norm is for ranking_loss: lambdarank; take it out, or set ranking_loss")
        return self


class Boosting(TreeModel[BoostingConfig]):
    """Binary log loss on the pooled train cutoffs; a loss of lists, where the rows are the candidates of users.

    The score is the log-odds; in a ranking, a number that only orders.

    Source: Burges (2010), From RankNet to LambdaRank to LambdaMART, section 7; Bruch (2021), An alternative cross
    entropy loss for learning-to-rank, section 3 (XE-NDCG).
    """

    config_class: ClassVar[type[ModelConfig]] = BoostingConfig
    inputs: ClassVar[Mapping[str, InputType]] = {"binary": "table", "ranking": "table"}
    transform: ClassVar[Transform] = Transform()
    search: ClassVar[Mapping[str, Domain]] = {
        "learning_rate": Real(0.01, 0.1, log=True),
        "leaves": Whole(3, 63, log=True),
        "min_rows_per_leaf": Whole(20, 1_000, log=True, share_of_rows=0.05),
        "feature_share": Real(0.05, 1.0),
        "row_share": Real(0.4, 1.0),
        "l2": Real(0.1, 100.0, log=True),
    }

    def fit(self, train: Sequence[TableInput], valid: Sequence[TableInput], options: Options) -> Self:
        """Grow trees; without a validation window as many as the fit before has kept.

        Raises:
            ConfigError: `monotone` names a feature that there is not.
            DataError: there is only one class, or a user has too many candidates.
        """
        import lightgbm as lgb

        table = pooled(train)
        is_ranking = options.output == "ranking"
        factor = 1.0 if is_ranking else positive_factor(self.config.positive_weight, table.label)
        parameters = run_parameters(options, table.n_rows) | self._parameters(table.features, is_ranking)
        data = _rows(table, factor, is_ranking)
        if valid:
            later = _rows(TableInput.concat(valid), factor, is_ranking, data)
            stop = lgb.early_stopping(self.config.patience, verbose=False)
            booster = lgb.train(parameters, data, self.config.max_trees, [later], callbacks=[stop])
            n_trees = max(booster.best_iteration, 1)
        else:
            n_trees = self.trees_.n_trees or self.config.max_trees
            booster = lgb.train(parameters, data, n_trees)
        self.trees_ = Trees(booster, table.features, n_trees)
        return self

    def _parameters(self, features: Sequence[str], is_ranking: bool) -> dict[str, Any]:
        config = self.config
        parameters: dict[str, Any] = {
            "objective": "binary",
            "metric": "binary_logloss",
            "learning_rate": config.learning_rate,
            "num_leaves": config.leaves,
            "min_data_in_leaf": config.min_rows_per_leaf,
            "feature_fraction": config.feature_share,
            "bagging_fraction": config.row_share,
            "bagging_freq": int(config.row_share < 1),
            "lambda_l2": config.l2,
        }
        if config.monotone:
            parameters["monotone_constraints"] = _directions(config.monotone, features)
        return parameters | (self._ranking_parameters() if is_ranking else {})

    def _ranking_parameters(self) -> dict[str, Any]:
        config = self.config
        parameters: dict[str, Any] = {"metric": "ndcg", "eval_at": [config.rank_depth]}
        if config.ranking_loss == "xendcg":
            return parameters | {"objective": "rank_xendcg"}
        return parameters | {
            "objective": "lambdarank",
            "lambdarank_truncation_level": config.rank_depth,
            "lambdarank_norm": config.rank_norm,
        }


def _rows(table: TableInput, factor: float, is_ranking: bool, like: Any = None) -> Any:
    group = _candidates(table) if is_ranking else None
    return binned(table, row_weights(table.label, factor), group, like)


def _candidates(table: TableInput) -> list[int]:
    """Return how many candidates each user has at each cutoff, in the order of the rows."""
    runs = table.frame.select(
        pl.struct("cutoff", "user_hash", "user_id").rle().struct.field("len")
    ).to_series()
    most = runs.max()
    if isinstance(most, int) and most > _MOST_CANDIDATES:
        raise DataError(
            f"a user has {most:,} candidates at one cutoff, but boosting ranks at most {_MOST_CANDIDATES:,}; "
            f"lower task.candidates"
        )
    return runs.to_list()


def _directions(monotone: Mapping[str, str], features: Sequence[str]) -> list[int]:
    """Return 1, -1 or 0 (no constraint) for each feature."""
    for name in monotone:
        if name not in features:
            close = get_close_matches(name, features, 1)
            raise ConfigError(
                f"model.monotone.{name}: the model is given no feature of this name"
                f"{f'; did you mean {close[0]!r}?' if close else '.'} It may have been left out by features.select, "
                f"or made into other columns; take it out"
            )
    sign = {"increasing": 1, "decreasing": -1}
    return [sign[monotone[name]] if name in monotone else 0 for name in features]
