"""Peer: windowed aggregates in Polars, one lazy query per cutoff over the whole log, as one would write it at once.

`features_polars.py REQUESTS.json ENGINE`, where the engine is `in-memory` or `streaming`.
"""

import json
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

COLUMNS = {"items": "item_id", "categories": "category", "days": "day"}
MICROSECONDS_PER_DAY = 86_400_000_000


def read_events(asked: dict[str, Any]) -> pl.LazyFrame:
    """Return the clean log with its days, times without a zone."""
    local = pl.col("ts").dt.convert_time_zone(asked["timezone"])
    columns = ("user_id", "item_id", "category", "order_id", "event_type", "amount")
    return pl.scan_parquet(f"{asked['log']}/events/*.parquet").select(
        *columns, pl.col("ts").dt.replace_time_zone(None), day=local.dt.date()
    )


def is_of(event: str) -> pl.Expr:
    """Mark the rows of an event type."""
    return pl.lit(value=True) if event == "any" else pl.col("event_type") == event


def starts(request: dict[str, Any]) -> dict[str, datetime]:
    """Return where each window starts."""
    windows = {s["name"]: datetime.fromisoformat(s["start"]) for s in request["spans"]}
    return windows | {"all": datetime.min.replace(year=1900)}


def days(duration: pl.Expr) -> pl.Expr:
    """Return a duration in days."""
    return duration.dt.total_microseconds() / MICROSECONDS_PER_DAY


def counts(request: dict[str, Any], event: str, cutoff: datetime) -> Iterator[pl.Expr]:
    """Yield what one pass over the history gives of an event type."""
    rows, ts = is_of(event), pl.col("ts")
    for window, start in starts(request).items():
        is_in = rows & (ts >= start)
        yield is_in.sum().alias(f"count_{event}_{window}")
        yield pl.when(is_in).then("amount").sum().alias(f"amount_{event}_{window}")
    for span in request["spans"]:
        both = rows & (ts >= datetime.fromisoformat(span["before"]))
        yield both.sum().alias(f"both_{event}_{span['name']}")
    own = pl.when(rows).then("ts")
    yield days(cutoff - own.max()).alias(f"recency_days_{event}_all")
    yield days(cutoff - own.min()).alias(f"tenure_days_{event}_all")
    yield (rows & pl.col("item_id").is_not_null()).sum().alias(f"known_{event}")


def distinct(history: pl.LazyFrame, request: dict[str, Any], measure: str, event: str) -> pl.LazyFrame:
    """Count distinct values: the last time of each lies in the window."""
    column = COLUMNS[measure]
    rows = history.filter(is_of(event), pl.col(column).is_not_null())
    last = rows.group_by("user_id", column).agg(pl.col("ts").max())
    windows = starts(request).items()
    return last.group_by("user_id").agg(
        (pl.col("ts") >= start).sum().alias(f"{measure}_{event}_{window}") for window, start in windows
    )


def orders(history: pl.LazyFrame, request: dict[str, Any], cutoff: datetime) -> pl.LazyFrame:
    """Return orders per window, and the gaps between them."""
    purchases = history.filter(is_of("purchase"))
    baskets = (
        purchases.group_by("user_id", "order_id").agg(pl.col("ts").min()).sort("user_id", "ts", "order_id")
    )
    gap = days(pl.col("ts").diff().over("user_id"))
    mean, std = pl.col("interval_mean_days_purchase_all"), pl.col("interval_std_days_purchase_all")
    since_last = days(cutoff - pl.col("latest"))
    return (
        baskets.with_columns(gap=gap)
        .group_by("user_id", maintain_order=True)
        .agg(
            *((pl.col("ts") >= s).sum().alias(f"orders_purchase_{w}") for w, s in starts(request).items()),
            pl.col("gap").mean().alias("interval_mean_days_purchase_all"),
            pl.col("gap").std().alias("interval_std_days_purchase_all"),
            pl.col("gap").max().alias("interval_max_days_purchase_all"),
            pl.col("gap").last().alias("interval_last_days_purchase_all"),
            latest=pl.col("ts").max(),
        )
        .with_columns(
            pl.when(mean > 0).then(std / mean).alias("irregularity_purchase_all"),
            pl.when(mean > 0).then(since_last / mean).alias("overdue_purchase_all"),
        )
    )


def feature(asked: dict[str, str]) -> pl.Expr:
    """Return one feature of the joined table."""
    name, event, window = asked["name"], asked["event"], asked["window"]

    def count(measure: str) -> pl.Expr:
        return pl.col(f"{measure}_{event}_{window}").fill_null(0)

    match asked["measure"]:
        case "count" | "amount" | "orders" | "items" | "categories" | "days" as measure:
            value = count(measure)
        case "trend":
            value = pl.when(count("both") > 0).then(
                (2 * count("count").cast(pl.Int64) - count("both")) / count("both")
            )
        case "repeat_share":
            known = pl.col(f"known_{event}")
            value = pl.when(known > 0).then(1 - count("items") / known)
        case "basket_amount":
            value = pl.when(count("orders") > 0).then(count("amount") / count("orders"))
        case _:
            value = pl.col(name)
    return value.cast(pl.Float32).alias(name)


def query(events: pl.LazyFrame, request: dict[str, Any], asked: dict[str, Any]) -> pl.LazyFrame:
    """Return population, labels and features of one cutoff."""
    cutoff, end, since = (datetime.fromisoformat(request[k]) for k in ("cutoff", "end", "since"))
    ts = pl.col("ts")
    recent = events.filter(ts >= since, ts < cutoff, is_of(asked["active"]))
    population = recent.select("user_id").unique()
    history = events.filter(ts < cutoff).join(population, on="user_id", how="semi")
    future = events.filter(ts >= cutoff, ts < end, is_of(asked["label_event"]))
    found = future.select("user_id", label=pl.lit(asked["when_found"], pl.Int8)).unique()
    names = asked["events"]
    table = history.group_by("user_id").agg(e for name in names for e in counts(request, name, cutoff))
    parts = [distinct(history, request, measure, name) for measure in COLUMNS for name in names]
    for part in [*parts, orders(history, request, cutoff), found]:
        table = table.join(part, on="user_id", how="left")
    label = pl.col("label").fill_null(1 - asked["when_found"])
    return table.select("user_id", label, *map(feature, asked["features"])).sort("user_id")


def main(requests: Path, engine: str) -> None:
    """Write one Parquet file per cutoff, beside the requests."""
    asked = json.loads(requests.read_text(encoding="utf-8"))
    events = read_events(asked)
    for request in asked["cutoffs"]:
        table = query(events, request, asked).collect(engine=engine)  # type: ignore[call-overload]
        table.write_parquet(requests.parent / f"{request['name']}.parquet")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
