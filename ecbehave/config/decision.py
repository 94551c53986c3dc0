"""The section `decision`: who is targeted."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ecbehave.config.values import Section


class Targeting(Section):
    """What the ways to decide share."""

    control_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the targeted users to leave alone, drawn by the seed, so that the effect of targeting can be seen later
    by comparing them with the others."""


class F1Decision(Targeting):
    """Target from the probability on that had the best F1 on the validation windows."""

    kind: Literal["f1"] = "f1"
    """The rule."""


class CapacityDecision(Targeting):
    """Target the highest scores, as many as can be handled."""

    kind: Literal["capacity"]
    """The rule."""
    top: Annotated[int, Field(gt=0)]
    """Number of rows to target: users, or pairs of a user and an item or a category."""


class ProfitDecision(Targeting):
    """Target where it pays: where probability x `success_rate` x `value` is at least `cost`."""

    kind: Literal["profit"]
    """The rule."""
    value: Annotated[float, Field(gt=0)]
    """What a positive row is worth if targeting succeeds, in the shop's currency: the margin of a churner who stays."""
    cost: Annotated[float, Field(gt=0)]
    """What it costs to target a row, positive or not."""
    success_rate: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the targeted positive rows with which targeting succeeds."""

    @model_validator(mode="after")
    def _can_pay(self) -> Self:
        gain = self.value * self.success_rate
        if self.cost >= gain:
            raise ValueError(
                f"targeting would never pay: it costs {self.cost:g}, and brings value x success_rate = {gain:g} at "
                f"most; check the three"
            )
        return self


class ProbabilityDecision(Targeting):
    """Target from a probability on."""

    kind: Literal["probability"]
    """The rule."""
    threshold: Annotated[float, Field(gt=0, lt=1)]
    """Probability from which a row is targeted."""


DecisionConfig = Annotated[
    F1Decision | CapacityDecision | ProfitDecision | ProbabilityDecision, Field(discriminator="kind")
]
