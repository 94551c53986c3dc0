"""How much a user looks at before a purchase: usually, and since the last one."""

import numpy as np

from ecbehave.inputs.facts import ANY
from ecbehave.inputs.feature_names import ALL, FeatureName
from ecbehave.inputs.ordering import running
from ecbehave.inputs.scene import Columns, Scene, share


def build(scene: Scene) -> Columns:
    """Yield views and visits, up to the last purchase and after it."""
    h, purchases = scene.histories, scene.of("purchase")
    n_orders = scene.orders.starts.counts()[ALL]
    has_bought = purchases.now > purchases.start
    # At one instant nothing comes first: what lies at the time of the purchase belongs to it.
    last = purchases.last(purchases.take(h.tie_end))
    counted = {"depth": ("view", h.is_of("view")), "visits": (ANY, scene.sessions.visits.is_first)}
    for measure, (event, flags) in counted.items():
        sums, everything = running(flags), scene.everything
        before = np.where(has_bought, sums[last] - sums[everything.start], 0)
        after = sums[everything.now] - sums[everything.start] - before
        yield FeatureName(f"{measure}_now", event), after
        yield FeatureName(f"{measure}_usual", event), share(before, n_orders)
