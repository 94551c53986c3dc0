"""The table input: point-in-time features per user.

Every aggregate is a sum, count, minimum or maximum of integers (instants in microseconds, money in 1/10,000 of
the currency): exact, so that neither the order of rows nor threads nor buckets can change a value.
"""

from collections.abc import Sequence
from datetime import datetime

import polars as pl

from ecbehave.inputs.feature_names import ALL, ANY, FeatureName
from ecbehave.windows import Span, days_until

_UNITS_PER_CURRENCY = 10_000
_USER = "user_id"
_DISTINCT = {"items": "item_id", "categories": "category", "days": "day"}


def features(
    history: pl.LazyFrame,
    population: pl.LazyFrame,
    cutoff: datetime,
    spans: Sequence[Span],
    event_types: Sequence[str],
    timezone: str,
) -> pl.LazyFrame:
    """Return the population with its features.

    Args:
        history: events before the cutoff, of at least the population's users.
        population: `user_hash`, `user_id`, and what else is to be kept.
        cutoff: the instant at which the features are known.
        spans: the windows that end at the cutoff.
        event_types: types that get features of their own; all others count under `any` only.
        timezone: the shop's calendar, for distinct days.

    Returns:
        One row per row of `population` in the order of (`user_hash`, `user_id`), features as Float32. Counts
        and sums are 0 where there was nothing; averages, recencies and shares are null where they are unknown.
    """
    events = history.with_columns(
        event_type=pl.when(pl.col("event_type").is_in(list(event_types)))
        .then("event_type")
        .otherwise(pl.lit(ANY)),
        day=pl.col("ts").dt.convert_time_zone(timezone).dt.date(),
        units=_units("amount"),
    )
    known = groups(event_types)
    parts = [_counts(events, spans), *(_distinct(events, spans, m, key) for m, key in _DISTINCT.items())]
    table = population
    for event in known:
        for part in parts:
            table = table.join(_of_event(part, event), on=_USER, how="left")
    if "purchase" in event_types:
        table = table.join(_orders(events, spans, cutoff), on=_USER, how="left")
    table = _derive(table, cutoff, spans, event_types)
    return table.sort("user_hash", _USER)


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


def _units(column: str) -> pl.Expr:
    return (pl.col(column).fill_null(0) * _UNITS_PER_CURRENCY).round().cast(pl.Int64)


def _since(span: Span, ts: str = "ts") -> pl.Expr:
    return pl.col(ts) >= span.start


def _counts(events: pl.LazyFrame, spans: Sequence[Span]) -> pl.LazyFrame:
    """Return counts, amounts, first and last time per user and event type, `any` included."""
    per_type = events.group_by(_USER, "event_type").agg(
        pl.len().cast(pl.Int64).alias(f"count_{ALL}"),
        pl.col("item_id").count().cast(pl.Int64).alias(f"itemised_{ALL}"),
        pl.col("units").sum().alias(f"amount_{ALL}"),
        pl.col("ts").max().alias("last"),
        pl.col("ts").min().alias("first"),
        *(_since(s).sum().cast(pl.Int64).alias(f"count_{s.name}") for s in spans),
        *((pl.col("ts") >= s.before).sum().cast(pl.Int64).alias(f"count2_{s.name}") for s in spans),
        *(pl.col("units").filter(_since(s)).sum().alias(f"amount_{s.name}") for s in spans),
    )
    together = per_type.group_by(_USER).agg(
        pl.col("^(count|count2|itemised|amount)_.*$").sum(), pl.col("last").max(), pl.col("first").min()
    )
    return _with_any(per_type, together)


def _distinct(events: pl.LazyFrame, spans: Sequence[Span], measure: str, key: str) -> pl.LazyFrame:
    """Return distinct values of `key` per user and event type: those whose last time lies in the window."""
    last = events.filter(pl.col(key).is_not_null()).group_by(_USER, "event_type", key).agg(pl.col("ts").max())
    last = _with_any(last, last.group_by(_USER, key).agg(pl.col("ts").max()))
    return last.group_by(_USER, "event_type").agg(
        pl.len().cast(pl.Int64).alias(f"{measure}_{ALL}"),
        *(_since(s).sum().cast(pl.Int64).alias(f"{measure}_{s.name}") for s in spans),
    )


def _with_any(per_type: pl.LazyFrame, together: pl.LazyFrame) -> pl.LazyFrame:
    named = per_type.filter(pl.col("event_type") != ANY)
    return pl.concat([named, together.with_columns(event_type=pl.lit(ANY))], how="diagonal")


def _of_event(part: pl.LazyFrame, event: str) -> pl.LazyFrame:
    """Return the rows of one event type, columns renamed `count_28d` -> `count_purchase_28d`."""

    def rename(column: str) -> str:
        if column == _USER:
            return column
        measure, _, window = column.partition("_")
        return f"{measure}_{event}_{window}" if window else f"{column}_{event}"

    return part.filter(pl.col("event_type") == event).drop("event_type").rename(rename)


_INTERVALS = (
    "interval_mean_days",
    "interval_std_days",
    "interval_max_days",
    "interval_last_days",
    "irregularity",
    "overdue",
)
_SECONDS_PER_DAY = 86_400


def _orders(events: pl.LazyFrame, spans: Sequence[Span], cutoff: datetime) -> pl.LazyFrame:
    """Return the number of orders per window and the gaps between orders per user."""
    order = pl.coalesce("order_id", pl.col("ts").dt.timestamp().cast(pl.String))
    orders = (
        events.filter(pl.col("event_type") == "purchase")
        .group_by(_USER, order=order)
        .agg(pl.col("ts").min())
        .sort(_USER, "ts", "order")
        .with_columns(gap=pl.col("ts").diff().over(_USER, order_by=["ts", "order"]).dt.total_seconds())
    )
    n, total, squares = (pl.col(c).cast(pl.Float64) for c in ("n_gaps", "sum_gap", "sum_gap2"))
    mean = total / n / _SECONDS_PER_DAY
    variance = (squares - total * total / n) / (n - 1)
    std = pl.when(n >= 2).then(variance.clip(lower_bound=0).sqrt() / _SECONDS_PER_DAY)
    recency = days_until(cutoff, pl.col("last_order"))
    return (
        orders.group_by(_USER)
        .agg(
            pl.len().cast(pl.Int64).alias(f"orders_purchase_{ALL}"),
            *(_since(s).sum().cast(pl.Int64).alias(f"orders_purchase_{s.name}") for s in spans),
            n_gaps=pl.col("gap").count(),
            sum_gap=pl.col("gap").sum(),
            sum_gap2=(pl.col("gap") ** 2).sum(),
            max_gap=pl.col("gap").max(),
            last_gap=pl.col("gap").sort_by("ts", "order").last(),
            last_order=pl.col("ts").max(),
        )
        .with_columns(
            pl.when(n > 0).then(mean).alias("interval_mean_days_purchase_all"),
            std.alias("interval_std_days_purchase_all"),
            (pl.col("max_gap") / _SECONDS_PER_DAY).alias("interval_max_days_purchase_all"),
            (pl.col("last_gap") / _SECONDS_PER_DAY).alias("interval_last_days_purchase_all"),
            pl.when(total > 0).then(std / mean).alias("irregularity_purchase_all"),
            pl.when(total > 0).then(recency / mean).alias("overdue_purchase_all"),
        )
        .drop("n_gaps", "sum_gap", "sum_gap2", "max_gap", "last_gap", "last_order")
    )


def _derive(
    table: pl.LazyFrame, cutoff: datetime, spans: Sequence[Span], event_types: Sequence[str]
) -> pl.LazyFrame:
    """Turn the joined integers into features: recencies, trends, shares; nothing is 0 where it counts."""
    known = groups(event_types)
    windows = [*(s.name for s in spans), ALL]
    zero = [f"{m}_{e}_{w}" for e in known for m in ("count", "amount", *_DISTINCT) for w in windows]
    zero += [f"count2_{e}_{s.name}" for e in known for s in spans]
    has_orders = "purchase" in known
    zero += [f"orders_purchase_{w}" for w in windows] * has_orders
    derived: list[pl.Expr] = []
    for event in known:
        derived += [
            days_until(cutoff, pl.col(f"last_{event}")).alias(f"recency_days_{event}_{ALL}"),
            days_until(cutoff, pl.col(f"first_{event}")).alias(f"tenure_days_{event}_{ALL}"),
            _share_of_repeats(event),
            *(_trend(event, s.name) for s in spans),
        ]
    amounts = [(pl.col(f"amount_{e}_{w}") / _UNITS_PER_CURRENCY).name.keep() for e in known for w in windows]
    baskets = [
        pl.when(pl.col(f"orders_purchase_{w}") > 0)
        .then(pl.col(f"amount_purchase_{w}") / pl.col(f"orders_purchase_{w}"))
        .alias(f"basket_amount_purchase_{w}")
        for w in windows
    ] * has_orders
    names = feature_columns(spans, event_types)
    return (
        table.with_columns(pl.col(zero).fill_null(0))
        .with_columns(*derived, *amounts)
        .with_columns(baskets)
        .with_columns(pl.col(names).cast(pl.Float32))
        .drop("^(last|first)_.*$", "^(count2|itemised)_.*$")
    )


def _share_of_repeats(event: str) -> pl.Expr:
    n_events, n_items = pl.col(f"itemised_{event}_{ALL}"), pl.col(f"items_{event}_{ALL}")
    return pl.when(n_events > 0).then(1 - n_items / n_events).alias(f"repeat_share_{event}_{ALL}")


def _trend(event: str, window: str) -> pl.Expr:
    now, both = pl.col(f"count_{event}_{window}"), pl.col(f"count2_{event}_{window}")
    return pl.when(both > 0).then((2 * now - both) / both).alias(f"trend_{event}_{window}")
