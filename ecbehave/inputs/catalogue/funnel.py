"""How one step leads to the next: from views and searches to carts, and on to purchases."""

import numpy as np

from ecbehave.inputs.facts import ANY, LogFacts
from ecbehave.inputs.feature_names import FeatureName
from ecbehave.inputs.histories import microseconds
from ecbehave.inputs.ordering import LONG_AGO, NEVER, Flags, Integers, changes
from ecbehave.inputs.scene import Columns, Scene, share
from ecbehave.inputs.timeline import Moment

#: A step, and what it may lead to.
_STEPS = {
    "view": ("cart", "purchase"),
    "cart": ("purchase", "remove"),
    "search": ("click", "cart", "purchase"),
}


def steps(facts: LogFacts) -> list[tuple[str, str]]:
    """Return the pairs of steps that the log has."""
    known = facts.event_types
    return [(a, b) for a, nexts in _STEPS.items() for b in nexts if a in known and b in known]


def build(scene: Scene) -> Columns:
    """Yield how many events of the next step there are per event of a step."""
    for step, following_step in steps(scene.facts):
        n_before, n_after = scene.of(step).counts(), scene.of(following_step).counts()
        for window, n in n_before.items():
            yield FeatureName(f"per_{step}", following_step, window), share(n_after[window], n)


def build_abandonment(scene: Scene) -> Columns:
    """Yield the carts whose item the user did not purchase from then on."""
    carts = scene.with_value("item_id", "cart")
    bought = carts.take(_next_purchase(scene))

    def is_abandoned(moment: Moment) -> Flags:
        return bought >= microseconds(moment.cutoff)

    counts = carts.counts()
    for window, n in carts.totals_at(is_abandoned).items():
        yield FeatureName("abandoned_count", "cart", window), n
        yield FeatureName("abandoned_share", "cart", window), share(n, counts[window])


def _next_purchase(scene: Scene) -> Integers:
    """Return when the user next purchases the item of each cart, at its instant or later [n]."""
    h = scene.histories
    order, key = scene.by_value("item_id", ANY)
    order = order[(h.is_of("cart") | h.is_of("purchase"))[order]]
    pair, ts, places = key[order], h.ts[order], np.arange(order.size)
    bought = np.where(h.is_of("purchase")[order], places, order.size)
    next_bought = np.minimum.accumulate(bought[::-1])[::-1]
    # At one instant nothing comes first: a purchase of the same time follows a cart, too.
    tie_start = np.maximum.accumulate(np.where(changes(pair) | changes(ts), places, 0))
    place = next_bought[tie_start]
    is_same = np.append(pair, -1)[place] == pair
    when = np.full(h.ts.size, LONG_AGO)
    when[order] = np.where(is_same, np.append(ts, NEVER)[place], NEVER)
    return when
