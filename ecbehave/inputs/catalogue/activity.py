"""How often, how much, how long ago, and how regularly: the counts behind every other group. Always built."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ecbehave.inputs.feature_names import ALL, FeatureName
from ecbehave.inputs.histories import UNITS_PER_CURRENCY, Histories
from ecbehave.inputs.ordering import NEVER, changes
from ecbehave.inputs.scene import Columns, Scene, days_since, share, trend
from ecbehave.inputs.timeline import Timeline, Totals

_MICROSECONDS_PER_SECOND = 1_000_000
_SECONDS_PER_DAY = 86_400
#: Longer than any gap, in seconds, and short enough for as many users as there may be.
_FAR = 1 << 34


def build(scene: Scene) -> Columns:
    """Yield the features of every event type, and of orders."""
    for event in scene.facts.groups:
        yield from _of_event(scene, event)
    if "purchase" in scene.facts.event_types:
        yield from _of_orders(scene)


def _of_event(scene: Scene, event: str) -> Columns:
    rows = scene.of(event)
    counts = rows.counts()
    for window, count in counts.items():
        yield FeatureName("count", event, window), count
    for window, total in rows.totals(scene.column("amount", rows)).items():
        yield FeatureName("amount", event, window), total / UNITS_PER_CURRENCY
    distinct: dict[str, Totals] = {
        "items": scene.distinct("item_id", event),
        "categories": scene.distinct("category", event),
        "days": distinct_days(scene.histories, rows),
    }
    for measure, per_window in distinct.items():
        for window, n in per_window.items():
            yield FeatureName(measure, event, window), n
    for window, before in rows.counts_before().items():
        yield FeatureName("trend", event, window), trend(counts[window], before)
    ts = rows.take(scene.histories.ts)
    for measure, seen in (("recency_days", rows.last(ts)), ("tenure_days", rows.first(ts))):
        days = days_since(scene.asked, seen)
        yield FeatureName(measure, event), np.where(counts[ALL] > 0, days, np.nan)
    n_with_item = rows.up_to_now(scene.column("item_id", rows) >= 0)
    yield FeatureName("repeat_share", event), 1 - share(distinct["items"][ALL], n_with_item)


def distinct_days(histories: Histories, rows: Timeline) -> Totals:
    """Count days per window: rows are in the order of time, so that a day comes again in the next row or never."""
    user, day, ts = (rows.take(column) for column in (histories.user, histories.day, histories.ts))
    when = np.full(ts.size, NEVER)
    is_same = ~(changes(user) | changes(day))[1:]
    when[:-1][is_same] = ts[1:][is_same]
    return rows.distinct(when)


def _of_orders(scene: Scene) -> Columns:
    orders, rows = scene.orders.starts, scene.orders.rows
    amounts = rows.totals(scene.column("amount", rows))
    for window, n in orders.counts().items():
        yield FeatureName("orders", "purchase", window), n
        yield FeatureName("basket_amount", "purchase", window), share(amounts[window] / UNITS_PER_CURRENCY, n)
    for measure, values in _intervals(scene, orders):
        yield FeatureName(measure, "purchase"), values


def _intervals(scene: Scene, orders: Timeline) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Yield what the whole seconds between orders say."""
    h = scene.histories
    user, ts = orders.take(h.user).astype(np.int64), orders.take(h.ts)
    gap = np.diff(ts, prepend=ts[:1]) // _MICROSECONDS_PER_SECOND
    gap[changes(user)] = 0
    # The longest one so far, anew for each user: users ascend.
    longest = np.maximum.accumulate(user * _FAR + gap) - user * _FAR
    n = np.maximum(orders.counts()[ALL] - 1, 0).astype(np.float64)
    total, squares = orders.up_to_now(gap).astype(np.float64), orders.up_to_now(gap**2)
    mean = share(total, n) / _SECONDS_PER_DAY
    variance = share(squares - share(total * total, n), n - 1)
    std = np.where(n >= 2, np.sqrt(np.maximum(variance, 0)) / _SECONDS_PER_DAY, np.nan)
    has_rhythm = np.where(total > 0, mean, np.nan)
    yield "interval_mean_days", mean
    yield "interval_std_days", std
    yield "interval_max_days", np.where(n > 0, orders.last(longest) / _SECONDS_PER_DAY, np.nan)
    yield "interval_last_days", np.where(n > 0, orders.last(gap) / _SECONDS_PER_DAY, np.nan)
    yield "irregularity", std / has_rhythm
    yield "overdue", days_since(scene.asked, orders.last(ts)) / has_rhythm
