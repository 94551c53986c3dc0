"""How popular the items are that a user touches, and whether they are rising."""

from ecbehave.inputs.facts import ANY
from ecbehave.inputs.feature_names import FeatureName
from ecbehave.inputs.scene import Columns, Scene, share, trend
from ecbehave.inputs.timeline import Totals


def build(scene: Scene) -> Columns:
    """Yield the mean popularity of items, and its trend."""
    rows = scene.with_value("item_id", ANY)
    items = scene.column("item_id", rows)
    names, cutoffs = scene.histories.names["item_id"], [moment.cutoff for moment, _ in scene.asked.moments]
    known = {cutoff: scene.market.counts(names, cutoff) for cutoff in cutoffs}

    def counted(which: int) -> Totals:
        return rows.totals_at(lambda moment: known[moment.cutoff][which][items])

    n_rows, now, before = rows.counts(), counted(0), counted(1)
    for window, n in n_rows.items():
        yield FeatureName("market_count", ANY, window), share(now[window], n)
        yield FeatureName("market_trend", ANY, window), trend(now[window], before[window])
