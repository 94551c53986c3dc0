"""Peer: windowed aggregates in pandas, as one would write them by hand: `features_pandas.py REQUESTS.json`."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

DAY = pd.Timedelta(days=1)


def read_complete_journey(log: Path, timezone: str) -> pd.DataFrame:
    """Return the purchases with their categories and days."""
    columns = ["household_id", "product_id", "basket_id", "sales_value", "transaction_timestamp"]
    events = pd.read_parquet(log / "transactions.parquet", columns=columns)
    products = pd.read_parquet(log / "products.parquet", columns=["product_id", "product_category"])
    products["product_category"] = products["product_category"].astype("category")
    events = events.merge(products, on="product_id", how="left")
    events.columns = ["user_id", "items", "order_id", "amount", "ts", "categories"]
    events["event_type"] = "purchase"
    return with_days(events, events["ts"].dt.tz_localize("UTC"), timezone)


def read_clean(log: Path, timezone: str) -> pd.DataFrame:
    """Return our clean log with its days."""
    columns = ["user_id", "item_id", "category", "order_id", "event_type", "amount", "ts"]
    events = pd.read_parquet(log / "events", columns=columns)
    events = events.rename(columns={"item_id": "items", "category": "categories"})
    for text in ("user_id", "items", "categories", "event_type"):
        events[text] = events[text].astype("category")
    return with_days(events, events["ts"], timezone)


def with_days(events: pd.DataFrame, ts: "pd.Series[pd.Timestamp]", timezone: str) -> pd.DataFrame:
    """Add the days; sort by time, so that every window is a slice."""
    events["ts"] = ts.dt.tz_localize(None)
    events["days"] = ts.dt.tz_convert(timezone).dt.tz_localize(None).dt.normalize()
    return events.sort_values("ts", ignore_index=True)


def add_per_window(
    table: pd.DataFrame, rows: pd.DataFrame, measure: str, event: str, starts: dict[str, pd.Timestamp]
) -> None:
    """Count rows per user and window; `rows` have the time of what is counted."""
    for window, start in starts.items():
        table[f"{measure}_{event}_{window}"] = rows.loc[rows["ts"] >= start, "user_id"].value_counts()


def add_counts(
    table: pd.DataFrame, rows: pd.DataFrame, event: str, request: dict[str, Any], cutoff: pd.Timestamp
) -> None:
    """Add counts, amounts, trends, recency and tenure of an event type."""
    add_per_window(table, rows, "count", event, request["starts"])
    for window, start in request["starts"].items():
        recent = rows[rows["ts"] >= start]
        table[f"amount_{event}_{window}"] = recent.groupby("user_id", observed=True)["amount"].sum()
    for span in request["spans"]:
        name = span["name"]
        both = rows.loc[rows["ts"] >= span["before"], "user_id"].value_counts()
        both = both[both > 0].reindex(table.index)
        now = table[f"count_{event}_{name}"].fillna(0)
        table[f"trend_{event}_{name}"] = (2 * now - both) / both
    times = rows.groupby("user_id", observed=True)["ts"].agg(["min", "max"])
    table[f"recency_days_{event}_all"] = (cutoff - times["max"]) / DAY
    table[f"tenure_days_{event}_all"] = (cutoff - times["min"]) / DAY


def add_distinct(
    table: pd.DataFrame, rows: pd.DataFrame, event: str, starts: dict[str, pd.Timestamp]
) -> None:
    """Add distinct items, categories and days: those whose last time lies in the window."""
    for measure in ("items", "categories", "days"):
        known = rows.loc[rows[measure].notna(), ["user_id", measure, "ts"]]
        last = known.drop_duplicates(["user_id", measure], keep="last")
        add_per_window(table, last, measure, event, starts)
    n_known = rows.loc[rows["items"].notna(), "user_id"].value_counts()
    n_known = n_known[n_known > 0].reindex(table.index)
    table[f"repeat_share_{event}_all"] = 1 - table[f"items_{event}_all"] / n_known


def add_orders(
    table: pd.DataFrame, purchases: pd.DataFrame, starts: dict[str, pd.Timestamp], cutoff: pd.Timestamp
) -> None:
    """Add orders per window, money per order, and the gaps between orders."""
    first = purchases.drop_duplicates(["user_id", "order_id"], keep="first")
    orders = first[["user_id", "order_id", "ts"]].sort_values(["user_id", "ts", "order_id"])
    add_per_window(table, orders, "orders", "purchase", starts)
    for window in starts:
        n = table[f"orders_purchase_{window}"]
        table[f"basket_amount_purchase_{window}"] = table[f"amount_purchase_{window}"] / n.where(n > 0)
    orders["gap"] = orders.groupby("user_id", observed=True)["ts"].diff() / DAY
    gaps = orders.groupby("user_id", observed=True)["gap"].agg(["mean", "std", "max", "last"])
    names = {"mean": "interval_mean", "std": "interval_std", "max": "interval_max", "last": "interval_last"}
    for statistic, measure in names.items():
        table[f"{measure}_days_purchase_all"] = gaps[statistic]
    mean = gaps["mean"].where(gaps["mean"] > 0)
    table["irregularity_purchase_all"] = gaps["std"] / mean
    latest = orders.groupby("user_id", observed=True)["ts"].max()
    table["overdue_purchase_all"] = (cutoff - latest) / DAY / mean


def features(events: pd.DataFrame, request: dict[str, Any], asked: dict[str, Any]) -> pd.DataFrame:
    """Return population, labels and features of one cutoff."""
    cutoff, end = pd.Timestamp(request["cutoff"]), pd.Timestamp(request["end"])
    history = events[events["ts"] < cutoff]
    recent = of_type(history[history["ts"] >= request["since"]], asked["active"])
    active = recent["user_id"].unique()
    history = history[history["user_id"].isin(active)]
    table = pd.DataFrame(index=pd.Index(active, name="user_id").sort_values())
    starts = {s["name"]: pd.Timestamp(s["start"]) for s in request["spans"]} | {"all": pd.Timestamp.min}
    for event in asked["events"]:
        rows = of_type(history, event)
        add_counts(table, rows, event, request | {"starts": starts}, cutoff)
        add_distinct(table, rows, event, starts)
    add_orders(table, of_type(history, "purchase"), starts, cutoff)
    zero = ("count", "amount", "items", "categories", "days", "orders")
    names = [f["name"] for f in asked["features"]]
    sums = [f["name"] for f in asked["features"] if f["measure"] in zero]
    table[sums] = table[sums].fillna(0)
    table = table[names].astype("float32")
    is_found = table.index.isin(label_users(events, asked, cutoff, end))
    table.insert(0, "label", np.where(is_found, asked["when_found"], 1 - asked["when_found"]).astype("int8"))
    table.insert(0, "cutoff", cutoff)
    table.index = table.index.astype("str")
    return table.reset_index()


def label_users(events: pd.DataFrame, asked: dict[str, Any], cutoff: pd.Timestamp, end: pd.Timestamp) -> Any:
    """Return the users with the event in the label window."""
    later = of_type(events[(events["ts"] >= cutoff) & (events["ts"] < end)], asked["label_event"])
    return later["user_id"].unique()


def of_type(rows: pd.DataFrame, event: str) -> pd.DataFrame:
    """Keep rows of an event type."""
    return rows if event == "any" else rows[rows["event_type"] == event]


def main(requests: Path) -> None:
    """Write one Parquet file per cutoff, beside the requests."""
    asked = json.loads(requests.read_text(encoding="utf-8"))
    read = read_clean if asked["kind"] == "clean" else read_complete_journey
    events = read(Path(asked["log"]), asked["timezone"])
    for request in asked["cutoffs"]:
        features(events, request, asked).to_parquet(requests.parent / f"{request['name']}.parquet")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
