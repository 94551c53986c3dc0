"""The BG/NBD model itself: its likelihood, its fit, and the chance of a purchase.

Source: Fader, Hardie and Lee (2005), "Counting Your Customers" the Easy Way, Marketing Science 24(2).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln, digamma, expit, gammaln

Floats = NDArray[np.float64]

#: The fit searches within these: where nobody stops, say, the likelihood has no maximum but at infinity.
_SMALLEST, _LARGEST = 1e-4, 1e6
#: Shapes r, a, b from which the fit starts; alpha follows from how often customers buy.
_STARTS = ((0.3, 0.5, 2.0), (1.0, 1.0, 1.0), (3.0, 0.1, 5.0))


@dataclass(frozen=True)
class Customers:
    """What is known of C customers. The ages are since the first purchase, in any unit of time."""

    x: Floats
    """[C] repeat purchases."""
    t_x: Floats
    """[C] age at the last repeat purchase; says nothing where there is none."""
    T: Floats
    """[C] age now."""

    def by_count(self, function: Callable[[Floats], Floats]) -> Floats:
        """Return a function of `x` [C], computed once for each number of purchases: gamma functions are slow."""
        values, places = self._counts
        return function(values)[places]

    @cached_property
    def _counts(self) -> tuple[Floats, NDArray[np.intp]]:
        return np.unique(self.x, return_inverse=True)


@dataclass(frozen=True)
class RepeatBuying:
    """Purchases at rates ~ gamma(r, alpha) while alive; after each one, an end with a chance ~ beta(a, b)."""

    r: float
    alpha: float
    """In the unit of time of the ages."""
    a: float
    b: float

    @classmethod
    def fit(cls, customers: Customers, n: Floats) -> Self:
        """Return the parameters of the highest likelihood; somebody must have a repeat purchase.

        Takes some fifty passes over the arrays, so equal customers had better be counted.

        Args:
            customers: C customers, each different from the others.
            n: [C] how many there are of each.
        """
        from scipy.optimize import minimize
        from threadpoolctl import threadpool_limits

        gap = (customers.T * n).sum() / (customers.x * n).sum()
        starts = [np.array([r, np.clip(r * gap, _SMALLEST, _LARGEST), a, b]) for r, a, b in _STARTS]
        # Threads would wait for each other at every step of the search, for products of four numbers.
        with threadpool_limits(1, "blas"):
            found = [
                minimize(
                    lambda logs: _loss(np.exp(logs), customers, n),
                    np.log(start),
                    jac=True,
                    method="L-BFGS-B",
                    bounds=[(math.log(_SMALLEST), math.log(_LARGEST))] * start.size,
                    options={"ftol": 1e-11, "gtol": 1e-8, "maxiter": 1_000},
                )
                for start in starts
            ]
        best = min(found, key=lambda result: float(result.fun))
        return cls(*map(float, np.exp(best.x)))

    def log_likelihood(self, customers: Customers) -> Floats:
        """Return the logarithm [C] of equation 6."""
        r, alpha, a, b = self.r, self.alpha, self.a, self.b
        common = customers.by_count(
            lambda x: gammaln(r + x) - gammaln(r) + r * math.log(alpha) + betaln(a, b + x) - betaln(a, b)
        )
        of_alive = -(r + customers.x) * np.log(alpha + customers.T)
        # The likelihoods of being alive and of not being so add up: to alive * (1 + 1 / odds).
        return common + of_alive + np.logaddexp(0, -self.log_odds_alive(customers))

    def log_odds_alive(self, customers: Customers) -> Floats:
        """Return the log-odds [C] of still being a customer; infinite without a repeat purchase."""
        x = customers.x
        silence = np.log(self.alpha + customers.T) - np.log(self.alpha + customers.t_x)
        chances = customers.by_count(lambda x: np.log(np.maximum(self.b + x - 1, self.b) / self.a))
        return np.where(x > 0, chances - (self.r + x) * silence, np.inf)

    def log_odds(self, customers: Customers, horizon: float) -> Floats:
        """Return the log-odds [C] of at least one purchase within the horizon.

        Its probability is P(alive) * (1 - ((alpha + T) / (alpha + T + horizon)) ** (r + x)): the rate of who is
        alive is gamma(r + x, alpha + T), and whether they stop matters only after their next purchase.
        """
        odds = self.log_odds_alive(customers)
        log_alive, log_dead = -np.logaddexp(0, -odds), -np.logaddexp(0, odds)
        log_silent = -(self.r + customers.x) * np.log1p(horizon / (self.alpha + customers.T))
        log_buys = log_alive + np.log(-np.expm1(log_silent))
        return log_buys - np.logaddexp(log_dead, log_alive + log_silent)


def _loss(parameters: Floats, customers: Customers, n: Floats) -> tuple[float, Floats]:
    """Return minus the mean log-likelihood, and its gradient [4] by the logarithms of the parameters."""
    r, alpha, a, b = parameters
    model = RepeatBuying(*map(float, parameters))
    x, t_x, age = customers.x, customers.t_x, customers.T
    odds = model.log_odds_alive(customers)
    alive, dead = expit(odds), expit(-odds)
    log_rate = alive * np.log(alpha + age) + dead * np.log(alpha + t_x)
    by_r = customers.by_count(lambda x: digamma(r + x) - digamma(r) + np.log(alpha)) - log_rate
    by_alpha = r / alpha - (r + x) * (alive / (alpha + age) + dead / (alpha + t_x))
    by_a = customers.by_count(lambda x: digamma(a + b) - digamma(a + b + x)) + dead / a
    by_b = customers.by_count(
        lambda x: digamma(a + b) - digamma(a + b + x) + digamma(b + x) - digamma(b)
    ) - dead / np.maximum(b + x - 1, b)
    gradient = np.array([(n * by).sum() for by in (by_r, by_alpha, by_a, by_b)])
    total = n.sum()
    loss = -(n * model.log_likelihood(customers)).sum() / total
    return float(loss), -gradient / total * parameters
