"""Who is targeted: the config's rule on scores and probabilities, and who is left alone as a control."""

from dataclasses import dataclass
from datetime import date
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecbehave.config.decision import CapacityDecision, DecisionConfig, ProbabilityDecision, ProfitDecision
from ecbehave.metrics.bootstrap import compare_sums
from ecbehave.metrics.decision import Money

_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


@dataclass(frozen=True)
class Rule:
    """The rule of one model; exactly one of `threshold` and `top` is there."""

    threshold: float | None
    """Probability from which a row is targeted."""
    top: int | None
    """Number of rows to target at a cutoff, the highest scores first."""
    origin: str
    """Where the number comes from, in words."""

    @classmethod
    def of(cls, decision: DecisionConfig, meta: dict[str, Any]) -> Self:
        """Return the rule for a model.

        Args:
            decision: the config's.
            meta: what is known of the model; it holds the threshold that its validation window has taught.
        """
        if isinstance(decision, CapacityDecision):
            return cls(None, decision.top, "decision.top")
        if isinstance(decision, ProfitDecision):
            return cls(money_of(decision).threshold, None, "where targeting starts to pay")
        if isinstance(decision, ProbabilityDecision):
            return cls(decision.threshold, None, "decision.threshold")
        return cls(float(meta["f1_threshold"]), None, "the best F1 of the validation window")

    def targets(self, probability: NDArray[np.float64], place: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tell which rows are targeted [N].

        Args:
            probability: [N].
            place: [N] the row's place by descending score among all rows of its cutoff, from 0 on.
        """
        is_targeted = np.ones(probability.size, np.bool_)
        if self.threshold is not None:
            is_targeted &= probability >= self.threshold
        if self.top is not None:
            is_targeted &= place < self.top
        return is_targeted


def money_of(decision: ProfitDecision) -> Money:
    """Return what targeting costs and brings."""
    return Money(decision.value * decision.success_rate, decision.cost)


def profit_facts(
    decision: DecisionConfig, rows: pl.DataFrame, n_resamples: int, rng: np.random.Generator
) -> dict[str, Any]:
    """Return what targeting would have brought on the test rows, in the shop's currency; empty without a price.

    Args:
        decision: the config's.
        rows: `user_id`, `label`, `probability`, `is_targeted`, `baseline_is_targeted`.
        n_resamples: draws of users behind the intervals.
        rng: source of the draws.
    """
    if not isinstance(decision, ProfitDecision):
        return {}
    money, label = money_of(decision), rows["label"]
    brought = rows.select(
        "user_id",
        profit=money.of_rows(label, rows["is_targeted"]),
        baseline_profit=money.of_rows(label, rows["baseline_is_targeted"]),
    )
    realised = compare_sums(brought, ["profit"], n_resamples, rng)
    everybody = np.ones(rows.height, bool)
    facts: dict[str, Any] = {side: dict(of_side["profit"]) for side, of_side in realised.items()}  # type: ignore[index]
    facts["expected"] = float(money.of_rows(rows["probability"], rows["is_targeted"]).sum())
    facts["everybody"] = float(money.of_rows(label, everybody).sum())
    return {"profit": facts}


def is_control(user_hash: NDArray[np.uint64], as_of: date, seed: int, share: float) -> NDArray[np.bool_]:
    """Tell which users belong to the control group of a night [N].

    It depends on the user, the night and the seed alone: not on who else is scored, nor on the order, and all pairs
    of a user fall on the same side.

    Args:
        user_hash: [N].
        as_of: last day of history.
        seed: of the run.
        share: of the users, 0 to below 1.
    """
    night = _mixed(_mixed(np.array([seed], np.uint64)) + np.uint64(as_of.toordinal()))
    return (_mixed(user_hash ^ night) >> np.uint64(11)) * 2.0**-53 < share


def _mixed(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return numbers that look random, other ones for each value.

    Source: the output function of SplitMix64: Steele, Lea and Flood (2014), Fast splittable pseudorandom number
    generators, with the constants of Stafford's variant 13.
    """
    value = value + np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * _MIX[0]
    value = (value ^ (value >> np.uint64(27))) * _MIX[1]
    return value ^ (value >> np.uint64(31))
