"""AdaBoost: shallow trees that vote, each grown on what the trees before it got wrong."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from ecbehave.config.model import ModelConfig
from ecbehave.inputs.types import TableInput, Transform
from ecbehave.metrics.classification import auroc
from ecbehave.models.ensemble.class_weight import PositiveWeight, positive_factor, row_weights
from ecbehave.models.ensemble.tree_model import TreeModel
from ecbehave.models.ensemble.tree_text import Floats, Trees, binned, leaves_of, run_parameters
from ecbehave.models.labels import pooled
from ecbehave.models.protocol import InputType, Options
from ecbehave.models.search import Domain, Real, Whole


class AdaBoostConfig(ModelConfig):
    """AdaBoost of shallow trees (SAMME)."""

    kind: Literal["adaboost"]
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.1
    """How much each tree's vote counts, and how much more the rows that it got wrong weigh for the next tree."""
    max_trees: Annotated[int, Field(gt=0)] = 500
    """Most trees."""
    patience: Annotated[int, Field(gt=0)] = 100
    """Trees without a better validation AUROC before stopping."""
    depth: Annotated[int, Field(gt=0, le=10)] = 2
    """Splits between the root of a tree and a leaf, at most."""
    min_rows_per_leaf: Annotated[int, Field(gt=0)] = 50
    """Fewest train rows in a leaf."""
    feature_share: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Share of the features that each tree may use."""
    positive_weight: PositiveWeight = "balanced"
    """Weight of a row with label 1 at the start, where one with label 0 weighs 1; `balanced` gives both labels the same
    total."""


class AdaBoost(TreeModel[AdaBoostConfig]):
    """Each tree votes 1 or -1; the score is the weighted sum of the votes, log-odds in theory.

    Source: Zhu et al. (2009), Multi-class AdaBoost, algorithm 2 (SAMME), for two classes; the weight of a tree is
    multiplied by the learning rate, as in scikit-learn.
    """

    config_class: ClassVar[type[ModelConfig]] = AdaBoostConfig
    inputs: ClassVar[Mapping[str, InputType]] = {"binary": "table", "ranking": "table"}
    transform: ClassVar[Transform] = Transform()
    search: ClassVar[Mapping[str, Domain]] = {
        "learning_rate": Real(0.02, 1.0, log=True),
        "depth": Whole(1, 5),
        "min_rows_per_leaf": Whole(10, 500, log=True, share_of_rows=0.05),
        "feature_share": Real(0.05, 1.0),
    }

    def fit(self, train: Sequence[TableInput], valid: Sequence[TableInput], options: Options) -> Self:
        """Grow trees; without a validation window as many as the fit before has kept.

        Raises:
            DataError: there is only one class.
        """
        table = pooled(train)
        factor = positive_factor(self.config.positive_weight, table.label)
        parameters = run_parameters(options, table.n_rows) | self._parameters()
        ballot = _Ballot(parameters, table, row_weights(table.label, factor))
        if valid:
            n_trees = self._best_number(ballot, TableInput.concat(valid))
        else:
            most = self.trees_.n_trees or self.config.max_trees
            while ballot.n_trees < most and ballot.add_tree(self.config.learning_rate):
                pass
            n_trees = max(ballot.n_trees, 1)
        self.trees_ = Trees(ballot.counted(n_trees), table.features, n_trees)
        return self

    def _best_number(self, ballot: "_Ballot", later: TableInput) -> int:
        """Grow trees until they do not get better; return how many are best."""
        ballot.watch(later)
        best, kept, config = -np.inf, 1, self.config
        while ballot.n_trees < min(config.max_trees, kept + config.patience):
            if not ballot.add_tree(config.learning_rate):
                break
            reached = auroc(later.label, ballot.later)
            if reached > best:
                best, kept = reached, ballot.n_trees
        return kept

    def _parameters(self) -> dict[str, Any]:
        """On signs, the least squares of a split order as its weighted Gini impurities do."""
        config = self.config
        return {
            "objective": "none",
            "learning_rate": 1.0,
            "num_leaves": 2**config.depth,
            "max_depth": config.depth,
            "min_data_in_leaf": config.min_rows_per_leaf,
            "min_sum_hessian_in_leaf": 0.0,
            "feature_pre_filter": False,  # without any feature left, LightGBM would fail
            "feature_fraction": config.feature_share,
        }


class _Ballot:
    """Trees under way, and the weights that their mistakes have given to the train rows.

    LightGBM grows a tree whose leaves are mean signs, and adds them to sums that it keeps by row. What a row is told
    by the tree is the sign of what its sum has moved.
    """

    def __init__(self, parameters: dict[str, Any], table: TableInput, weight: Floats | None) -> None:
        import lightgbm as lgb

        self._parameters = parameters
        self._data = binned(table, parameters=parameters)
        self._booster = lgb.Booster(parameters, self._data)
        self._sign = np.where(table.label == 1, 1.0, -1.0)
        self._weight = np.ones(table.n_rows) if weight is None else weight
        self._sums = [np.zeros(table.n_rows)]
        self._powers: list[float] = []
        self.later = np.empty(0)
        """Weighted sum of the votes on each row of the window that is watched [N]."""

    @property
    def n_trees(self) -> int:
        return len(self._powers)

    def watch(self, later: TableInput) -> None:
        """Count the votes on these rows too."""
        self._booster.add_valid(binned(later, like=self._data, parameters=self._parameters), "later")
        self._sums.append(np.zeros(later.n_rows))
        self.later = np.zeros(later.n_rows)

    def add_tree(self, learning_rate: float) -> bool:
        """Grow a tree and weigh its votes; return whether there was one that is better than chance."""
        weight = self._weight / self._weight.mean()
        if self._booster.update(fobj=lambda *_: (-weight * self._sign, weight)):
            return False
        votes = self._votes()
        is_wrong = votes[0] != self._sign
        error = float(weight[is_wrong].sum() / weight.sum())
        if error >= 0.5:
            return False
        # A tree without a mistake would have all the power; scikit-learn gives it 1.
        power = learning_rate * float(np.log((1 - error) / error)) if error else 1.0
        self._weight = np.where(is_wrong, weight * np.exp(power), weight)
        self._powers.append(power)
        if len(votes) > 1:
            self.later += power * votes[1]
        return True

    def _votes(self) -> list[Floats]:
        """Return what the newest tree says of the train rows, and of those that are watched."""
        sums: list[Floats] = []

        def look(sums_of_rows: Floats, _: object) -> tuple[str, float, bool]:
            sums.append(sums_of_rows.copy())
            return "votes", 0.0, True

        self._booster.eval_train(look)
        self._booster.eval_valid(look)
        votes = [np.where(now > before, 1.0, -1.0) for now, before in zip(sums, self._sums, strict=True)]
        self._sums = sums
        return votes

    def counted(self, n_trees: int) -> Any:
        """Return the first trees as a `lightgbm.Booster`, each leaf with the power of its tree behind its sign."""
        import lightgbm as lgb

        for n, (n_leaves, power) in enumerate(zip(leaves_of(self._booster), self._powers, strict=False)):
            for leaf in range(n_leaves):
                vote = 1 if self._booster.get_leaf_output(n, leaf) > 0 else -1
                self._booster.set_leaf_output(n, leaf, vote * power)
        return lgb.Booster(model_str=self._booster.model_to_string(num_iteration=n_trees))
