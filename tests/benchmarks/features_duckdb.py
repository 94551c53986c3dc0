"""Peer: the table input of a purchase log as DuckDB SQL: `features_duckdb.py REQUESTS.json DATA_FOLDER OUT_FOLDER`."""

import json
import sys
from pathlib import Path
from typing import Any

import duckdb

EVENTS = """
CREATE TABLE events AS
SELECT household_id AS user_id, product_id AS item_id, product_category AS category, basket_id AS order_id,
    sales_value AS amount, transaction_timestamp::TIMESTAMP AS ts,
    ((transaction_timestamp::TIMESTAMP AT TIME ZONE 'UTC') AT TIME ZONE '{timezone}')::DATE AS day
FROM '{data}/transactions.parquet' LEFT JOIN '{data}/products.parquet' USING (product_id)
"""

FEATURES = """
WITH history AS (SELECT * FROM events WHERE ts < '{cutoff}'),
population AS (
    SELECT DISTINCT user_id, '{cutoff}'::TIMESTAMP AS cutoff FROM history WHERE ts >= '{since}'
),
labels AS (SELECT DISTINCT user_id, 0 AS label FROM events WHERE ts >= '{cutoff}' AND ts < '{end}'),
counts AS (
    SELECT user_id, {counts}, {amounts}, {counts_before},
        epoch('{cutoff}'::TIMESTAMP - max(ts)) / 86400 AS recency_days_purchase_all,
        epoch('{cutoff}'::TIMESTAMP - min(ts)) / 86400 AS tenure_days_purchase_all
    FROM history GROUP BY user_id
),
items AS (SELECT user_id, {items} FROM
    (SELECT user_id, item_id, max(ts) AS ts FROM history GROUP BY ALL) GROUP BY user_id),
categories AS (SELECT user_id, {categories} FROM
    (SELECT user_id, category, max(ts) AS ts FROM history WHERE category IS NOT NULL GROUP BY ALL) GROUP BY user_id),
days AS (SELECT user_id, {days} FROM
    (SELECT user_id, day, max(ts) AS ts FROM history GROUP BY ALL) GROUP BY user_id),
baskets AS (SELECT user_id, order_id, min(ts) AS ts FROM history GROUP BY user_id, order_id),
gaps AS (
    SELECT *, epoch(ts - lag(ts) OVER (PARTITION BY user_id ORDER BY ts, order_id)) / 86400 AS gap FROM baskets
),
orders AS (
    SELECT user_id, {orders}, avg(gap) AS mean, stddev_samp(gap) AS std, max(gap) AS longest,
        arg_max(gap, (ts, order_id)) AS latest, epoch('{cutoff}'::TIMESTAMP - max(ts)) / 86400 AS since_last
    FROM gaps GROUP BY user_id
)
SELECT user_id::VARCHAR AS user_id, cutoff, coalesce(label, 1)::TINYINT AS label, {columns}
FROM population JOIN counts USING (user_id) JOIN items USING (user_id) LEFT JOIN categories USING (user_id)
JOIN days USING (user_id) JOIN orders USING (user_id) LEFT JOIN labels USING (user_id)
ORDER BY user_id
"""

#: Features that are more than a column of the subqueries.
DERIVED = {
    "repeat_share_purchase_all": "1 - items_purchase_all / count_purchase_all",
    "interval_mean_days_purchase_all": "mean",
    "interval_std_days_purchase_all": "std",
    "interval_max_days_purchase_all": "longest",
    "interval_last_days_purchase_all": "latest",
    "irregularity_purchase_all": "CASE WHEN mean > 0 THEN std / mean END",
    "overdue_purchase_all": "CASE WHEN mean > 0 THEN since_last / mean END",
}


def per_window(starts: dict[str, str], measure: str, aggregate: str = "count(*)") -> str:
    """Return one aggregate per window and one over all history, named as ours."""
    windows = [
        f"{aggregate} FILTER (ts >= '{start}') AS {measure}_purchase_{w}" for w, start in starts.items()
    ]
    return ", ".join([*windows, f"{aggregate} AS {measure}_purchase_all"])


def column(name: str) -> str:
    """Return the SQL of one feature in the final select."""
    measure, _, window = name.rpartition("_purchase_")
    if measure == "trend":
        now, both = f"count_purchase_{window}", f"count2_purchase_{window}"
        sql = f"(2 * {now} - {both}) / nullif({both}, 0)"
    elif measure == "basket_amount":
        sql = f"amount_purchase_{window} / nullif(orders_purchase_{window}, 0)"
    elif measure in ("recency_days", "tenure_days"):
        sql = name
    else:
        sql = DERIVED.get(name, f"coalesce({name}, 0)")
    return f"({sql})::FLOAT AS {name}"


def query(request: dict[str, Any], features: list[str]) -> str:
    """Return the SQL of one cutoff."""
    starts = {s["name"]: s["start"] for s in request["spans"]}
    before = [
        f"count(*) FILTER (ts >= '{s['before']}') AS count2_purchase_{s['name']}" for s in request["spans"]
    ]
    return FEATURES.format(
        cutoff=request["cutoff"],
        since=request["since"],
        end=request["end"],
        counts=per_window(starts, "count"),
        amounts=per_window(starts, "amount", "sum(amount)"),
        counts_before=", ".join(before),
        **{m: per_window(starts, m) for m in ("items", "categories", "days", "orders")},
        columns=", ".join(column(f) for f in features),
    )


def main(requests: Path, data: Path, out: Path) -> None:
    """Write one Parquet file per cutoff."""
    asked = json.loads(requests.read_text(encoding="utf-8"))
    connection = duckdb.connect()
    connection.execute(EVENTS.format(data=data, timezone=asked["timezone"]))
    for request in asked["cutoffs"]:
        target = out / f"{request['name']}.parquet"
        connection.execute(f"COPY ({query(request, asked['features'])}) TO '{target}' (FORMAT parquet)")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
