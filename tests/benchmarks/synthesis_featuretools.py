"""Peer: deep feature synthesis by featuretools: `synthesis_featuretools.py DATA_FOLDER ASKED.parquet OUT.parquet`."""

import sys
import warnings
from pathlib import Path

import featuretools as ft
import pandas as pd

warnings.simplefilter("ignore")  # it uses what pandas is about to drop

#: Its defaults, and the time since the last event.
AGGREGATIONS = ["count", "sum", "mean", "std", "max", "min", "skew", "num_unique", "mode", "time_since_last"]
DEPTH = 2
#: Lengths of history; None is all of it.
WINDOWS = (None, "28 days")
COLUMNS = [
    "household_id",
    "basket_id",
    "product_id",
    "quantity",
    "sales_value",
    "retail_disc",
    "coupon_disc",
    "transaction_timestamp",
]


def read(data: Path, households: pd.Series) -> ft.EntitySet:
    """Return households, their baskets and transactions, and the products in them."""
    transactions = pd.read_parquet(data / "transactions.parquet", columns=COLUMNS)
    transactions = transactions[transactions["household_id"].isin(households)].reset_index(drop=True)
    transactions["row"] = range(len(transactions))
    products = pd.read_parquet(data / "products.parquet", columns=["product_id", "product_category", "brand"])
    products = products[products["product_id"].isin(transactions["product_id"])]
    found = ft.EntitySet("complete_journey")
    found.add_dataframe(transactions, "transactions", index="row", time_index="transaction_timestamp")
    found.add_dataframe(products, "products", index="product_id")
    found.add_relationship("products", "product_id", "transactions", "product_id")
    found.normalize_dataframe(
        "transactions", "baskets", "basket_id", additional_columns=["household_id"], make_time_index=True
    )
    found.normalize_dataframe("baskets", "households", "household_id", make_time_index=False)
    return found


def main(data: Path, asked: Path, out: Path) -> None:
    """Write one row per asked household and time, which is not part of its history."""
    rows = pd.read_parquet(asked)
    log = read(data, rows["household_id"])
    tables = []
    for window in WINDOWS:
        table, _ = ft.dfs(
            entityset=log,
            target_dataframe_name="households",
            cutoff_time=rows,
            cutoff_time_in_index=True,
            training_window=window,
            include_cutoff_time=False,
            agg_primitives=AGGREGATIONS,
            max_depth=DEPTH,
        )
        tables.append(table if window is None else table.add_suffix(f" of {window}"))
    table = pd.concat(tables, axis=1)
    for column in table.columns:
        if isinstance(table[column].dtype, pd.CategoricalDtype):
            table[column] = table[column].astype("str").where(table[column].notna())
    table.index.names = ["user_id", "cutoff"]
    table.reset_index().to_parquet(out)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
