"""Soft voting: a weighted mean of calibrated log-odds, with weights found on the validation window."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ecbehave.config.model import ModelConfig
from ecbehave.inputs.types import Inputs
from ecbehave.models import PLAIN, one_of
from ecbehave.models.calibration import Platt
from ecbehave.models.ensemble.blend import Blend
from ecbehave.models.labels import labels_of
from ecbehave.models.protocol import Options

if TYPE_CHECKING:
    Member = ModelConfig
else:
    Member = one_of([*PLAIN, "bagging"])

#: Votes that the selection gives, and votes that all members share from the start: one window alone is too little
#: to tell members of about the same worth apart, and their plain mean is hard to beat.
_STEPS, _SHARED = 50, 50

_MEMBERS = [{"kind": kind} for kind in ("boosting", "logistic", "random_forest")]


class MembersConfig(ModelConfig):
    """Several models of any kinds."""

    members: Annotated[list[Member], Field(min_length=2, validate_default=True)] = cast(
        "list[ModelConfig]", _MEMBERS
    )
    """The models, each chosen by `kind`."""

    def parts(self) -> dict[str, ModelConfig]:
        """Return each member."""
        return {f"members.{n}": member for n, member in enumerate(self.members)}


class VotingConfig(MembersConfig):
    """A weighted vote of several kinds."""

    kind: Literal["voting"]


class Voting(Blend):
    """Greedy selection with replacement: again and again the member that lowers the log loss of the mean most.

    Half of the votes are shared by all from the start. Source: Caruana et al. (2004), Ensemble selection from
    libraries of models, sections 2.1 and 2.2 (selection with replacement, from an initial ensemble).
    """

    config_class: ClassVar[type[ModelConfig]] = VotingConfig

    def fit(self, train: Sequence[Inputs], valid: Sequence[Inputs], options: Options) -> Self:
        """Fit all members, and find their weights; a refit keeps the weights."""
        self.fit_members(train, valid, options)
        taught = [self.teaching(part) for part in valid]
        # Where no true item is among the candidates, nothing tells the members apart.
        if taught and np.ptp(label := labels_of(taught)):
            signals = np.concatenate([self.signals(part) for part in taught])
            scales = [Platt.fit(signals[:, m], label) for m in range(signals.shape[1])]
            slope = np.array([scale.slope for scale in scales])
            intercept = np.array([scale.intercept for scale in scales])
            self.shares_ = _votes(signals * slope + intercept, label)
            self.weights_ = self.shares_ * slope
            self.intercept_ = float(self.shares_ @ intercept)
        return self


def _votes(log_odds: NDArray[np.float64], label: NDArray[np.int8]) -> NDArray[np.float64]:
    """Return each member's share of the steps [M].

    Args:
        log_odds: [N, M], calibrated.
        label: [N], 0 or 1.
    """
    sign = np.where(label == 1, -1.0, 1.0)
    n_members = log_odds.shape[1]
    counts, total = np.full(n_members, _SHARED / n_members), _SHARED * log_odds.mean(axis=1)
    for step in range(_SHARED + 1, _SHARED + _STEPS + 1):
        losses = [np.logaddexp(0, sign * (total + own) / step).mean() for own in log_odds.T]
        best = int(np.argmin(losses))
        counts[best] += 1
        total += log_odds[:, best]
    shares: NDArray[np.float64] = counts / counts.sum()
    return shares
