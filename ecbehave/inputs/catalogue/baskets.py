"""The size and value of orders: mean, spread and trend."""

import numpy as np
from numpy.typing import NDArray

from ecbehave.inputs.feature_names import ALL, FeatureName
from ecbehave.inputs.histories import UNITS_PER_CURRENCY
from ecbehave.inputs.ordering import Integers
from ecbehave.inputs.scene import Columns, Scene, share, trend
from ecbehave.inputs.timeline import Totals

_CENTS_PER_CURRENCY = 100
_UNITS_PER_CENT = UNITS_PER_CURRENCY // _CENTS_PER_CURRENCY


def build(scene: Scene) -> Columns:
    """Yield rows and money per order."""
    rows, n_orders = scene.orders.rows, scene.orders.starts.counts()
    cents = np.rint(scene.column("amount", rows) / _UNITS_PER_CENT).astype(np.int64)
    n_rows, money = rows.counts(), rows.totals(cents)
    for window, n in n_orders.items():
        yield FeatureName("basket_size", "purchase", window), share(n_rows[window], n)
    for measure, totals in (("basket_trend", money), ("size_trend", n_rows)):
        yield from _trends(scene, measure, totals, n_orders)
    money_spread = _spread(scene, cents, money[ALL], n_orders[ALL])
    yield FeatureName("basket_spread", "purchase"), money_spread / _CENTS_PER_CURRENCY
    ones = np.ones(cents.size, np.int64)
    yield FeatureName("size_spread", "purchase"), _spread(scene, ones, n_rows[ALL], n_orders[ALL])


def _trends(scene: Scene, measure: str, totals: Totals, n_orders: Totals) -> Columns:
    ever = share(totals[ALL], n_orders[ALL])
    for window in scene.asked.spans:
        recent = share(totals[window], n_orders[window])
        yield FeatureName(measure, "purchase", window), trend(recent, ever)


def _spread(scene: Scene, values: Integers, total: Integers, n: Integers) -> NDArray[np.float64]:
    """Return the deviation of the sums of orders, each as far as it has come by the cutoff."""
    orders = scene.orders
    # The square of an order's sum grows with each of its rows: (s + v)^2 - s^2.
    growth = values * (values + 2 * orders.visits.sum_before(values))
    squares = orders.rows.up_to_now(growth)
    variance = share(squares - share(total.astype(np.float64) ** 2, n), n - 1)
    return np.where(n >= 2, np.sqrt(np.maximum(variance, 0)), np.nan)
