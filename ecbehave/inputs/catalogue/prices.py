"""What the user pays for a piece: on the mean, and against what is usual in the category."""

import numpy as np
import polars as pl

from ecbehave.inputs.feature_names import FeatureName
from ecbehave.inputs.histories import UNITS_PER_CURRENCY, UNKNOWN
from ecbehave.inputs.market import MonthlyMeans, month_of
from ecbehave.inputs.ordering import Integers
from ecbehave.inputs.scene import Columns, Scene, share
from ecbehave.inputs.timeline import Timeline

#: Ratios and differences are added up in millionths.
MILLION = 1_000_000
#: Beyond any believable ratio; keeps sums within their 64 bits.
_HIGHEST_RATIO = 1_000_000


def build(scene: Scene) -> Columns:
    """Yield the mean price."""
    rows, price = priced(scene)
    totals, counts = rows.totals(price), rows.counts()
    for window, n in counts.items():
        mean = share(totals[window], n) / UNITS_PER_CURRENCY
        yield FeatureName("price_mean", scene.facts.main, window), mean


def build_level(scene: Scene) -> Columns:
    """Yield the mean of price over the mean price that the category had in all earlier months."""
    rows, price = priced(scene)
    usual = usual_before(scene, rows, "category", scene.market.prices)
    is_known = usual > 0
    ratio = np.minimum(price[is_known] / usual[is_known], _HIGHEST_RATIO)
    compared = rows.where(is_known)
    totals, counts = compared.totals(np.rint(ratio * MILLION).astype(np.int64)), compared.counts()
    for window, n in counts.items():
        yield FeatureName("price_level", scene.facts.main, window), share(totals[window], n) / MILLION


def priced(scene: Scene) -> tuple[Timeline, Integers]:
    """Return the rows that have a price, and the prices."""
    rows = scene.of(scene.facts.main)
    rows = rows.where(scene.column("unit_price", rows) != UNKNOWN)
    return rows, scene.column("unit_price", rows)


def usual_before(
    scene: Scene, rows: Timeline, column: str, means: MonthlyMeans
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the mean of each row's item or category in all months before the row's; NaN for none."""
    local = pl.DataFrame({"ts": rows.take(scene.histories.local)})
    months = local.select(month_of(pl.col("ts").cast(pl.Datetime("us")))).to_series().to_numpy()
    return means.known(scene.histories.names[column], scene.column(column, rows), months)
