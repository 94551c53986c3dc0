"""How large the steps are in the course of training."""

import math

from ecbehave.models.deep.settings import Training

CUT = 0.3


class Schedule:
    """The learning rate by step: up along a line, then constant, along a cosine, or down in stairs.

    Source: Loshchilov and Hutter (2017), SGDR: Stochastic gradient descent with warm restarts, eq. 5 (one period).
    """

    def __init__(self, how: Training, steps_per_epoch: int) -> None:
        self._how = how
        self._n_steps = max(steps_per_epoch * how.epochs, 1)
        self._warmup = math.floor(how.warmup * self._n_steps)

    def rate(self, step: int, n_cuts: int) -> float:
        """Return the learning rate of a step.

        Args:
            step: steps before it.
            n_cuts: how often the validation metric got no better for long.
        """
        peak = self._how.learning_rate
        if step < self._warmup:
            return peak * (step + 1) / self._warmup
        if self._how.schedule == "plateau":
            return peak * CUT**n_cuts
        if self._how.schedule == "constant":
            return peak
        share = min((step - self._warmup) / max(self._n_steps - self._warmup, 1), 1.0)
        return peak * (1 + math.cos(math.pi * share)) / 2
