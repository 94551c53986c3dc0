"""Peer: the table input of a purchase log in pandas: `features_pandas.py REQUESTS.json DATA_FOLDER OUT_FOLDER`."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

DAY = pd.Timedelta(days=1)


def read_events(data: Path, timezone: str) -> pd.DataFrame:
    """Return the purchases in time order, so that every window is a slice."""
    columns = ["household_id", "product_id", "basket_id", "sales_value", "transaction_timestamp"]
    events = pd.read_parquet(data / "transactions.parquet", columns=columns)
    products = pd.read_parquet(data / "products.parquet", columns=["product_id", "product_category"])
    products["product_category"] = products["product_category"].astype("category")
    events = events.merge(products, on="product_id", how="left")
    events.columns = ["user_id", "items", "order_id", "amount", "ts", "categories"]
    local = events["ts"].dt.tz_localize("UTC").dt.tz_convert(timezone)
    events["days"] = local.dt.tz_localize(None).dt.normalize()
    return events.sort_values("ts", ignore_index=True)


def add_per_window(
    table: pd.DataFrame, rows: pd.DataFrame, measure: str, starts: dict[str, pd.Timestamp]
) -> None:
    """Count rows per user and window; `rows` have the time of what is counted."""
    for window, start in starts.items():
        table[f"{measure}_purchase_{window}"] = rows.loc[rows["ts"] >= start, "user_id"].value_counts()


def add_counts(
    table: pd.DataFrame, history: pd.DataFrame, request: dict[str, Any], cutoff: pd.Timestamp
) -> None:
    """Add counts, amounts, trends, recency and tenure."""
    add_per_window(table, history, "count", request["starts"])
    for window, start in request["starts"].items():
        recent = history[history["ts"] >= start]
        table[f"amount_purchase_{window}"] = recent.groupby("user_id")["amount"].sum()
    for span in request["spans"]:
        name = span["name"]
        both = history.loc[history["ts"] >= span["before"], "user_id"].value_counts()
        both = both.reindex(table.index)
        now = table[f"count_purchase_{name}"].fillna(0)
        table[f"trend_purchase_{name}"] = (2 * now - both) / both
    times = history.groupby("user_id")["ts"].agg(["min", "max"])
    table["recency_days_purchase_all"] = (cutoff - times["max"]) / DAY
    table["tenure_days_purchase_all"] = (cutoff - times["min"]) / DAY


def add_distinct(table: pd.DataFrame, history: pd.DataFrame, starts: dict[str, pd.Timestamp]) -> None:
    """Add distinct items, categories and days: those whose last time lies in the window."""
    for measure in ("items", "categories", "days"):
        known = history.loc[history[measure].notna(), ["user_id", measure, "ts"]]
        last = known.drop_duplicates(["user_id", measure], keep="last")
        add_per_window(table, last, measure, starts)
    table["repeat_share_purchase_all"] = 1 - table["items_purchase_all"] / table["count_purchase_all"]


def add_orders(
    table: pd.DataFrame, history: pd.DataFrame, starts: dict[str, pd.Timestamp], cutoff: pd.Timestamp
) -> None:
    """Add orders per window, money per order, and the gaps between orders."""
    first = history.drop_duplicates(["user_id", "order_id"], keep="first")
    orders = first[["user_id", "order_id", "ts"]].sort_values(["user_id", "ts", "order_id"])
    add_per_window(table, orders, "orders", starts)
    for window in starts:
        table[f"basket_amount_purchase_{window}"] = (
            table[f"amount_purchase_{window}"] / table[f"orders_purchase_{window}"]
        )
    orders["gap"] = orders.groupby("user_id")["ts"].diff() / DAY
    gaps = orders.groupby("user_id")["gap"].agg(["mean", "std", "max", "last"])
    names = {"mean": "interval_mean", "std": "interval_std", "max": "interval_max", "last": "interval_last"}
    for statistic, measure in names.items():
        table[f"{measure}_days_purchase_all"] = gaps[statistic]
    mean = gaps["mean"].where(gaps["mean"] > 0)
    table["irregularity_purchase_all"] = gaps["std"] / mean
    table["overdue_purchase_all"] = (cutoff - orders.groupby("user_id")["ts"].max()) / DAY / mean


def features(events: pd.DataFrame, request: dict[str, Any], names: list[str]) -> pd.DataFrame:
    """Return population, labels and features of one cutoff."""
    cutoff, end = pd.Timestamp(request["cutoff"]), pd.Timestamp(request["end"])
    history = events[events["ts"] < cutoff]
    asked = np.sort(history.loc[history["ts"] >= request["since"], "user_id"].unique())
    table = pd.DataFrame(index=pd.Index(asked, name="user_id"))
    starts = {s["name"]: pd.Timestamp(s["start"]) for s in request["spans"]} | {"all": pd.Timestamp.min}
    add_counts(table, history, request | {"starts": starts}, cutoff)
    add_distinct(table, history, starts)
    add_orders(table, history, starts, cutoff)
    zero = [
        n for n in names if n.split("_")[0] in ("count", "amount", "items", "categories", "days", "orders")
    ]
    table[zero] = table[zero].fillna(0)
    table = table[names].astype("float32")
    later = events.loc[(events["ts"] >= cutoff) & (events["ts"] < end), "user_id"].unique()
    table.insert(0, "label", (~table.index.isin(later)).astype("int8"))
    table.insert(0, "cutoff", cutoff)
    table.index = table.index.astype("str")
    return table.reset_index()


def main(requests: Path, data: Path, out: Path) -> None:
    """Write one Parquet file per cutoff."""
    asked = json.loads(requests.read_text(encoding="utf-8"))
    events = read_events(data, asked["timezone"])
    for request in asked["cutoffs"]:
        features(events, request, asked["features"]).to_parquet(out / f"{request['name']}.parquet")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
