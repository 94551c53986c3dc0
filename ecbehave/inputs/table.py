"""The table input: point-in-time features per user.

Every aggregate is a sum, count, minimum or maximum of integers (instants in microseconds, money in 1/10,000 of
the currency): exact, so that neither the order of rows nor threads nor buckets can change a value.
"""

from collections.abc import Sequence
from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecbehave.inputs.feature_names import ALL, ANY, FeatureName
from ecbehave.inputs.histories import (
    UNITS_PER_CURRENCY,
    Events,
    Histories,
    Integers,
    Orders,
    Timelines,
    running,
)
from ecbehave.windows import Span, days_until

_DISTINCT = ("items", "categories", "days")
_INTERVALS = (
    "interval_mean_days",
    "interval_std_days",
    "interval_max_days",
    "interval_last_days",
    "irregularity",
    "overdue",
)
_SECONDS_PER_DAY = 86_400
_INSTANT = pl.Datetime("us", "UTC")


def features(
    histories: Histories, population: pl.DataFrame, cutoff: datetime, spans: Sequence[Span]
) -> pl.DataFrame:
    """Return the population with its features.

    Args:
        histories: events of at least the population's users, prepared for `groups(...)`.
        population: `user_hash`, `user_id`, and what else is to be kept.
        cutoff: the instant at which the features are known; no event at or after it counts.
        spans: the windows that end at the cutoff.

    Returns:
        One row per row of `population` in the order of (`user_hash`, `user_id`), features as Float32. Counts
        and sums are 0 where there was nothing; averages, recencies and shares are null where they are unknown.
    """
    users = histories.places(population["user_id"])
    totals: dict[str, Integers] = {}
    for event, events in histories.events.items():
        totals |= _totals(events, event, users, cutoff, spans)
    if histories.orders is not None:
        totals |= _order_totals(histories.orders, users, cutoff, spans)
    built = pl.DataFrame(totals).select(_derived(list(histories.events), cutoff, spans))
    return population.hstack(built).sort("user_hash", "user_id")


def groups(event_types: Sequence[str]) -> list[str]:
    """Return the event names that get features: each type, and `any` unless it would repeat the only one.

    A type that is itself called `any` has no features of its own.
    """
    named = [t for t in event_types if t != ANY]
    return named if len(event_types) == len(named) == 1 else [*named, ANY]


def feature_columns(spans: Sequence[Span], event_types: Sequence[str]) -> list[str]:
    """Return the names of all features, in their stored order."""
    windows = [*(s.name for s in spans), ALL]
    names: list[FeatureName] = []
    for event in groups(event_types):
        for measure in ("count", "amount", *_DISTINCT):
            names += [FeatureName(measure, event, w) for w in windows]
        names += [FeatureName("trend", event, s.name) for s in spans]
        names += [FeatureName(m, event, ALL) for m in ("recency_days", "tenure_days", "repeat_share")]
    if "purchase" in event_types:
        names += [FeatureName(m, "purchase", w) for m in ("orders", "basket_amount") for w in windows]
        names += [FeatureName(m, "purchase", ALL) for m in _INTERVALS]
    return [str(n) for n in names]


def _totals(
    events: Events, event: str, users: Integers, cutoff: datetime, spans: Sequence[Span]
) -> dict[str, Integers]:
    """Return counts, sums, and the first and last time of each user's events of one type."""
    now, first = events.before(cutoff, users), events.start(users)
    sums = {"amount": events.units} | {what: events.newest(what, cutoff) for what in _DISTINCT}
    totals = {
        f"itemised_{event}": events.itemised[now] - events.itemised[first],
        f"last_{event}": _where(now > first, events.ts, now - 1),
        f"first_{event}": _where(now > first, events.ts, first),
    }
    for window, start in _starts(events, users, spans).items():
        totals[f"count_{event}_{window}"] = now - start
        for measure, total in sums.items():
            totals[f"{measure}_{event}_{window}"] = total[now] - total[start]
    for span in spans:
        totals[f"count2_{event}_{span.name}"] = now - events.before(span.before, users)
    return totals


def _order_totals(
    orders: Orders, users: Integers, cutoff: datetime, spans: Sequence[Span]
) -> dict[str, Integers]:
    """Return the number of orders per window, and the gaps between orders, of each user."""
    now, first = orders.before(cutoff, users), orders.start(users)
    gaps, squares = running(orders.gap), running(orders.gap**2)
    totals = {
        "n_gaps": np.maximum(now - first - 1, 0),
        "sum_gap": gaps[now] - gaps[first],
        "sum_gap2": squares[now] - squares[first],
        "max_gap": _where(now > first, orders.longest, now - 1),
        "last_gap": _where(now > first, orders.gap, now - 1),
        "last_order": _where(now > first, orders.ts, now - 1),
    }
    for window, start in _starts(orders, users, spans).items():
        totals[f"orders_purchase_{window}"] = now - start
    return totals


def _starts(rows: Timelines, users: Integers, spans: Sequence[Span]) -> dict[str, Integers]:
    """Return the position at which each window starts."""
    return {s.name: rows.before(s.start, users) for s in spans} | {ALL: rows.start(users)}


def _where(is_known: NDArray[np.bool_], values: Integers, rows: Integers) -> Integers:
    """Return the values at some rows; 0 where nothing is known."""
    found = np.zeros(rows.size, np.int64)
    found[is_known] = values[rows[is_known]]
    return found


def _derived(known: Sequence[str], cutoff: datetime, spans: Sequence[Span]) -> list[pl.Expr]:
    """Turn totals into features: recencies, trends, shares; nothing is 0 where it counts."""
    windows = [*(s.name for s in spans), ALL]
    counts = [pl.col(f"{m}_{e}_{w}") for e in known for m in ("count", *_DISTINCT) for w in windows]
    amounts = [(pl.col(f"amount_{e}_{w}") / UNITS_PER_CURRENCY).name.keep() for e in known for w in windows]
    derived = [*counts, *amounts]
    for event in known:
        has_events = pl.col(f"count_{event}_{ALL}") > 0
        for measure, ts in (("recency_days", "last"), ("tenure_days", "first")):
            age = days_until(cutoff, pl.col(f"{ts}_{event}").cast(_INSTANT))
            derived.append(pl.when(has_events).then(age).alias(f"{measure}_{event}_{ALL}"))
        derived += [_share_of_repeats(event), *(_trend(event, s.name) for s in spans)]
    if "purchase" in known:
        derived += [*_baskets(windows), *_intervals(cutoff)]
    return [feature.cast(pl.Float32) for feature in derived]


def _baskets(windows: Sequence[str]) -> list[pl.Expr]:
    orders = [pl.col(f"orders_purchase_{w}") for w in windows]
    amounts = [pl.col(f"amount_purchase_{w}") / UNITS_PER_CURRENCY for w in windows]
    return orders + [
        pl.when(n > 0).then(amount / n).alias(f"basket_amount_purchase_{w}")
        for n, amount, w in zip(orders, amounts, windows, strict=True)
    ]


def _intervals(cutoff: datetime) -> list[pl.Expr]:
    n, total, squares = (pl.col(c).cast(pl.Float64) for c in ("n_gaps", "sum_gap", "sum_gap2"))
    mean = total / n / _SECONDS_PER_DAY
    variance = (squares - total * total / n) / (n - 1)
    std = pl.when(n >= 2).then(variance.clip(lower_bound=0).sqrt() / _SECONDS_PER_DAY)
    recency = days_until(cutoff, pl.col("last_order").cast(_INSTANT))
    intervals = {
        "interval_mean_days": pl.when(n > 0).then(mean),
        "interval_std_days": std,
        "interval_max_days": pl.when(n > 0).then(pl.col("max_gap") / _SECONDS_PER_DAY),
        "interval_last_days": pl.when(n > 0).then(pl.col("last_gap") / _SECONDS_PER_DAY),
        "irregularity": pl.when(total > 0).then(std / mean),
        "overdue": pl.when(total > 0).then(recency / mean),
    }
    return [intervals[m].alias(f"{m}_purchase_{ALL}") for m in _INTERVALS]


def _share_of_repeats(event: str) -> pl.Expr:
    n_events, n_items = pl.col(f"itemised_{event}"), pl.col(f"items_{event}_{ALL}")
    return pl.when(n_events > 0).then(1 - n_items / n_events).alias(f"repeat_share_{event}_{ALL}")


def _trend(event: str, window: str) -> pl.Expr:
    now, both = pl.col(f"count_{event}_{window}"), pl.col(f"count2_{event}_{window}")
    return pl.when(both > 0).then((2 * now - both) / both).alias(f"trend_{event}_{window}")
