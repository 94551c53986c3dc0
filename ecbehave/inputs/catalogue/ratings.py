"""How pleased a user is: ratings, and how they compare with what others gave the item."""

import numpy as np

from ecbehave.inputs.catalogue.prices import MILLION, usual_before
from ecbehave.inputs.facts import ANY
from ecbehave.inputs.feature_names import FeatureName
from ecbehave.inputs.histories import THOUSAND, UNKNOWN
from ecbehave.inputs.scene import Columns, Scene, share


def build(scene: Scene) -> Columns:
    """Yield count, mean, and mean difference to the item's mean of earlier months."""
    rows = scene.everything.where(scene.histories.columns["rating"] != UNKNOWN)
    rating = scene.column("rating", rows)
    totals, counts = rows.totals(rating), rows.counts()
    usual = usual_before(scene, rows, "item_id", scene.market.ratings)
    is_known = ~np.isnan(usual)
    compared = rows.where(is_known)
    gap = (rating[is_known] - usual[is_known]) / THOUSAND
    gaps, n_compared = compared.totals(np.rint(gap * MILLION).astype(np.int64)), compared.counts()
    for window, n in counts.items():
        yield FeatureName("rating_count", ANY, window), n
        yield FeatureName("rating_mean", ANY, window), share(totals[window], n) / THOUSAND
        yield FeatureName("rating_gap", ANY, window), share(gaps[window], n_compared[window]) / MILLION
