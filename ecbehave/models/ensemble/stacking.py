"""Stacking: weights learned from what the members said of cutoffs that were still ahead of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, Self, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.special import expit

from ecbehave.config.model import ModelConfig
from ecbehave.errors import DataError
from ecbehave.inputs.types import Inputs, TableInput
from ecbehave.models.ensemble.blend import Blend
from ecbehave.models.ensemble.voting import MembersConfig
from ecbehave.models.protocol import Options


class StackingConfig(MembersConfig):
    """Several kinds, weighted by a logistic regression on their out-of-time scores."""

    kind: Literal["stacking"]
    origins: Annotated[int, Field(ge=1)] = 3
    """The last so many train cutoffs teach the weights: members are fitted on what was known before each."""
    l2: Annotated[float, Field(ge=0)] = 1.0
    """L2 penalty on the weights of the scaled scores."""


@dataclass(frozen=True)
class _Origin:
    """One train cutoff, and what was known at it."""

    asked: Inputs
    train: Sequence[Inputs]
    valid: Inputs


class Stacking(Blend):
    """Members are fitted anew at each origin, on cutoffs whose labels were known by then; no fold is shuffled.

    Weights are not negative, and each origin has an intercept of its own, so that a rate that moves with the season
    is not taken for a difference between users. Source: Wolpert (1992), Stacked generalization; Breiman (1996),
    Stacked regressions, section 3 (weights that are not negative).
    """

    config_class: ClassVar[type[ModelConfig]] = StackingConfig

    def fit(self, train: Sequence[Inputs], valid: Sequence[Inputs], options: Options) -> Self:
        """Learn the weights on the origins, then fit the members on everything; a refit keeps the weights.

        Raises:
            DataError: there are too few train cutoffs to have any that is ahead of others.
        """
        if valid:
            self._learn_weights(train, options)
        self.fit_members(train, valid, options)
        return self

    def _learn_weights(self, train: Sequence[Inputs], options: Options) -> None:
        signals, labels, n_rows = [], [], []
        for origin in _origins(train, options, self.config.origins):
            at_origin = type(self)(self.config, self.output)
            at_origin.fit_members(origin.train, [origin.valid], options)
            asked = at_origin.teaching(origin.asked)
            signals.append(at_origin.signals(asked))
            labels.append(cast("TableInput", asked.table).label)
            n_rows.append(labels[-1].size)
        known = np.concatenate(signals)
        spread = known.std(axis=0)
        spread[np.ptp(known, axis=0) == 0] = 1
        group = np.repeat(np.arange(len(n_rows)), n_rows)
        weights = _weights(known / spread, np.concatenate(labels), group, self.config.l2)
        self.shares_ = weights / max(weights.sum(), 1e-12)
        self.weights_ = weights / spread


def _origins(train: Sequence[Inputs], options: Options, n: int) -> list[_Origin]:
    """Return the last n train cutoffs at which the labels of two earlier ones were known."""
    labelled = [part for part in train if _has_labels(part)]
    found = []
    for asked in labelled:
        known = [part for part in labelled if options.ends[part.cutoff] <= asked.cutoff]
        if len(known) >= 2 and (asked.table is None or asked.table.n_rows):
            *earlier, last = known
            found.append(_Origin(asked, [*earlier, last.as_history()], last))
    if not found:
        raise DataError(
            f"stacking learns its weights from train cutoffs at which the labels of two earlier ones are known, and of "
            f"the {len(labelled)} there is none; set split.train higher, or choose the kind voting"
        )
    return found[-n:]


def _has_labels(part: Inputs) -> bool:
    return part.table is not None or (part.matrix is not None and part.matrix.labels is not None)


def _weights(
    signals: NDArray[np.float64], label: NDArray[np.int8], group: NDArray[np.int64], l2: float
) -> NDArray[np.float64]:
    """Return the weights [M], none of them negative, of a logistic regression with an intercept per group.

    Args:
        signals: [N, M].
        label: [N], 0 or 1.
        group: [N], from 0 on.
        l2: penalty on half the sum of squared weights.
    """
    from scipy.optimize import minimize

    n_members, n_groups = signals.shape[1], int(group.max()) + 1
    # The search stops at once where values and slopes are huge.
    scale = 1 / (label.size + l2)

    def loss(theta: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights, intercepts = theta[:n_members], theta[n_members:]
        z = (signals * weights).sum(axis=1) + intercepts[group]
        error = expit(z) - label
        value = np.logaddexp(0, z).sum() - (label * z).sum() + l2 / 2 * (weights**2).sum()
        slope = (signals * error[:, None]).sum(axis=0) + l2 * weights
        slopes = np.concatenate([slope, np.bincount(group, error, n_groups)])
        return float(value) * scale, slopes * scale

    start = np.concatenate([np.full(n_members, 1 / n_members), np.zeros(n_groups)])
    bounds = [(0, None)] * n_members + [(None, None)] * n_groups
    # Members say much the same, so that the loss is flat along their differences: L-BFGS-B stops before it is there.
    found = minimize(
        loss, start, jac=True, method="SLSQP", bounds=bounds, options={"ftol": 1e-13, "maxiter": 500}
    )
    return np.asarray(found.x[:n_members])
