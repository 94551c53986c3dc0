"""Random forest: many deep trees, each of other rows, and each split of other features; the mean of their shares."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field
from scipy.special import logit

from ecbehave.config.model import ModelConfig
from ecbehave.inputs.types import TableInput, Transform
from ecbehave.models.ensemble.class_weight import PositiveWeight, positive_factor, row_weights
from ecbehave.models.ensemble.tree_model import TreeModel
from ecbehave.models.ensemble.tree_text import Floats, Trees, binned, leaves_of, run_parameters
from ecbehave.models.labels import pooled
from ecbehave.models.protocol import InputType, Options
from ecbehave.models.search import Choice, Domain, Real, Whole

#: Counts of labels that LightGBM keeps for the leaves that it may still split, in MB; others are counted again.
_COUNTS_MB = 256
#: Nearer to its base than this, a share lies on the tangent of its log-odds.
_NEAR = 1e-9

Share = Annotated[float, Field(gt=0, le=1)]


class RandomForestConfig(ModelConfig):
    """Random forest, or extremely randomised trees."""

    kind: Literal["random_forest"]
    trees: Annotated[int, Field(gt=0)] = 300
    """Number of trees."""
    splits: Literal["best", "random"] = "best"
    """Where a feature is split: at the best of all places, or at a random one (extremely randomised trees)."""
    leaves: Annotated[int, Field(ge=2)] = 512
    """Most leaves of a tree."""
    min_rows_per_leaf: Annotated[int, Field(gt=0)] = 20
    """Fewest train rows in a leaf."""
    feature_share: Share = 0.1
    """Share of the features that each split may use; with `splits: random`, half of them is a good start."""
    row_share: Annotated[float, Field(gt=0, lt=1)] = 0.632
    """Share of the train rows that each tree sees, drawn without replacement."""
    positive_weight: PositiveWeight = 1.0
    """Weight of a row with label 1, where one with label 0 weighs 1; `balanced` gives both labels the same total."""


class RandomForest(TreeModel[RandomForestConfig]):
    """Grown by LightGBM, which bins the features once: the trees of scikit-learn, in a fraction of the time.

    A leaf's share of label 1 counts one more row with the overall share, so that no share is 0 or 1. The score is the
    log-odds of the mean share.
    """

    config_class: ClassVar[type[ModelConfig]] = RandomForestConfig
    inputs: ClassVar[Mapping[str, InputType]] = {"binary": "table", "ranking": "table"}
    transform: ClassVar[Transform] = Transform()
    search: ClassVar[Mapping[str, Domain]] = {
        "splits": Choice(("best", "random")),
        "min_rows_per_leaf": Whole(5, 200, log=True, share_of_rows=0.05),
        "feature_share": Real(0.03, 1.0, log=True),
        "row_share": Real(0.3, 0.9),
    }

    def fit(self, train: Sequence[TableInput], valid: Sequence[TableInput], options: Options) -> Self:
        """Grow all trees on the pooled train cutoffs.

        Raises:
            DataError: there is only one class.
        """
        del valid
        import lightgbm as lgb

        table = pooled(train)
        factor = positive_factor(self.config.positive_weight, table.label)
        parameters = run_parameters(options, table.n_rows) | self._parameters()
        weight = row_weights(table.label, factor)
        booster = lgb.train(parameters, binned(table, weight), self.config.trees)
        # LightGBM lets a tree that found nothing to split by say 0.
        share = float(np.average(table.label, weights=weight))
        for n, n_leaves in enumerate(leaves_of(booster)):
            if n_leaves == 1:
                booster.set_leaf_output(n, 0, share)
        self.trees_ = Trees(booster, table.features, self.config.trees)
        return self

    def _parameters(self) -> dict[str, Any]:
        """On labels 0 and 1, the least squares of a split order as its Gini impurities do."""
        config = self.config
        return {
            "objective": "regression",
            "boosting": "rf",
            "num_leaves": config.leaves,
            "min_data_in_leaf": config.min_rows_per_leaf,
            "min_sum_hessian_in_leaf": 0.0,
            "feature_fraction_bynode": config.feature_share,
            "bagging_fraction": config.row_share,
            "bagging_freq": 1,
            "extra_trees": config.splits == "random",
            "lambda_l2": 1.0,
            "histogram_pool_size": _COUNTS_MB,
        }

    def scores_of_rows(self, data: TableInput) -> Floats:
        """Return the log-odds of the mean share [N]."""
        return np.asarray(logit(self.trees_.predict(data) / self.trees_.n_trees))

    def contributions(self, data: TableInput) -> Floats:
        """Return additive contributions to the score [N, F + 1], about a hundred times as slow as `predict`.

        They are those to the mean share, all stretched by what a row's log-odds moved for each point of its share.
        """
        found = self.trees_.contributions(data) / self.trees_.n_trees
        moved, base = found[:, :-1].sum(axis=1), found[:, -1]
        is_near = np.abs(moved) < _NEAR
        tangent = 1 / (base * (1 - base))
        chord = (logit(base + moved) - logit(base)) / np.where(is_near, 1, moved)
        found[:, :-1] *= np.where(is_near, tangent, chord)[:, None]
        found[:, -1] = logit(base)
        return found
