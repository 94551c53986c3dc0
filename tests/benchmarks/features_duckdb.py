"""Peer: windowed aggregates in DuckDB SQL, as one would write it by hand: `features_duckdb.py REQUESTS.json TABLE`.

With `VIEW` for `TABLE`, the log is read again for each cutoff and never held: slower, and less memory.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb

#: How each kind of log is read.
EVENTS = {
    "complete_journey": """
        CREATE {how} events AS
        SELECT household_id AS user_id, product_id AS item_id, product_category AS category,
            basket_id AS order_id, 'purchase' AS event_type, sales_value AS amount,
            transaction_timestamp::TIMESTAMP AS ts,
            ((transaction_timestamp::TIMESTAMP AT TIME ZONE 'UTC') AT TIME ZONE '{timezone}')::DATE AS day
        FROM '{log}/transactions.parquet' LEFT JOIN '{log}/products.parquet' USING (product_id)""",
    "clean": """
        CREATE {how} events AS
        SELECT user_id, item_id, category, order_id, event_type, amount, ts AT TIME ZONE 'UTC' AS ts,
            (ts AT TIME ZONE '{timezone}')::DATE AS day
        FROM '{log}/events/*.parquet'""",
    "shop": """
        CREATE {how} events AS
        SELECT user_id, item_id, category, order_id, event_type,
            coalesce(amount, price * quantity) AS amount, ts AT TIME ZONE 'UTC' AS ts,
            (ts AT TIME ZONE '{timezone}')::DATE AS day
        FROM (SELECT DISTINCT user_id, item_id, event_type, ts, session_id, order_id, price, quantity, amount,
                discount, coupon, rating, dwell_seconds FROM '{log}/events/*.parquet')
        LEFT JOIN (SELECT item_id, category FROM '{log}/items.parquet') USING (item_id)""",
}

FEATURES = """
WITH population AS (SELECT DISTINCT user_id FROM events WHERE ts >= '{since}' AND ts < '{cutoff}' AND {active}),
history AS (SELECT * FROM events SEMI JOIN population USING (user_id) WHERE ts < '{cutoff}'),
found AS (
    SELECT DISTINCT user_id, {when_found} AS label FROM events
    WHERE ts >= '{cutoff}' AND ts < '{end}' AND event_type = '{label_event}'
),
counts AS (SELECT user_id, {counts} FROM history GROUP BY user_id),
{distinct},
baskets AS (
    SELECT user_id, order_id, min(ts) AS ts FROM history WHERE event_type = 'purchase' GROUP BY user_id, order_id
),
gaps AS (
    SELECT *, epoch(ts - lag(ts) OVER (PARTITION BY user_id ORDER BY ts, order_id)) / 86400 AS gap FROM baskets
),
orders AS (
    SELECT user_id, {orders}, avg(gap) AS mean, stddev_samp(gap) AS std, max(gap) AS longest,
        arg_max(gap, (ts, order_id)) AS latest, epoch('{cutoff}'::TIMESTAMP - max(ts)) / 86400 AS since_last
    FROM gaps GROUP BY user_id
)
SELECT user_id::VARCHAR AS user_id, '{cutoff}'::TIMESTAMP AS cutoff,
    coalesce(label, 1 - {when_found})::TINYINT AS label, {columns}
FROM population JOIN counts USING (user_id) {joins} LEFT JOIN orders USING (user_id) LEFT JOIN found USING (user_id)
ORDER BY user_id
"""

#: The last time of each value by event type: it was there in every window that reaches back to then.
DISTINCT = """
last_{measure} AS (
    SELECT user_id, event_type, {column}, max(ts) AS ts FROM history WHERE {column} IS NOT NULL GROUP BY ALL
),
{measure} AS (SELECT user_id, {by_type} FROM last_{measure} GROUP BY user_id)"""
DISTINCT_ANY = """,
{measure}_any AS (
    SELECT user_id, {any} FROM (SELECT user_id, {column}, max(ts) AS ts FROM last_{measure} GROUP BY ALL)
    GROUP BY user_id
)"""
COLUMNS = {"items": "item_id", "categories": "category", "days": "day"}

#: A feature in the final select; by default it is a sum that is 0 where nothing was found.
DERIVED = {
    "trend": "(2 * count_{e}_{w} - both_{e}_{w}) / nullif(both_{e}_{w}, 0)",
    "recency_days": "epoch('{cutoff}'::TIMESTAMP - last_{e}) / 86400",
    "tenure_days": "epoch('{cutoff}'::TIMESTAMP - first_{e}) / 86400",
    "repeat_share": "1 - coalesce(items_{e}_all, 0) / nullif(known_{e}, 0)",
    "basket_amount": "amount_purchase_{w} / nullif(orders_purchase_{w}, 0)",
    "interval_mean_days": "mean",
    "interval_std_days": "std",
    "interval_max_days": "longest",
    "interval_last_days": "latest",
    "irregularity": "CASE WHEN mean > 0 THEN std / mean END",
    "overdue": "CASE WHEN mean > 0 THEN since_last / mean END",
}


def is_of(event: str) -> str:
    """Return the condition that a row is of an event type."""
    return "true" if event == "any" else f"event_type = '{event}'"


def per_window(
    request: dict[str, Any], measure: str, event: str, aggregate: str = "count(*)"
) -> Iterator[str]:
    """Yield one aggregate per window and one over all history, named as ours."""
    for span in request["spans"]:
        condition = f"{is_of(event)} AND ts >= '{span['start']}'"
        yield f"{aggregate} FILTER ({condition}) AS {measure}_{event}_{span['name']}"
    yield f"{aggregate} FILTER ({is_of(event)}) AS {measure}_{event}_all"


def counts(request: dict[str, Any], event: str) -> Iterator[str]:
    """Yield what one pass over the history gives of an event type."""
    yield from per_window(request, "count", event)
    yield from per_window(request, "amount", event, "sum(amount)")
    for span in request["spans"]:
        yield f"count(*) FILTER ({is_of(event)} AND ts >= '{span['before']}') AS both_{event}_{span['name']}"
    for name, aggregate in (("last", "max(ts)"), ("first", "min(ts)"), ("known", "count(item_id)")):
        yield f"{aggregate} FILTER ({is_of(event)}) AS {name}_{event}"


def distinct(request: dict[str, Any], measure: str, events: list[str]) -> str:
    """Return the subqueries that count the distinct values of a column."""
    by_type = [sql for e in events if e != "any" for sql in per_window(request, measure, e)]
    parts = {"measure": measure, "column": COLUMNS[measure], "by_type": ", ".join(by_type)}
    sql = DISTINCT.format(**parts)
    if "any" in events:
        sql += DISTINCT_ANY.format(**parts, any=", ".join(per_window(request, measure, "any")))
    return sql.strip()


def column(feature: dict[str, str], cutoff: str) -> str:
    """Return the SQL of one feature in the final select."""
    sql = DERIVED.get(feature["measure"], "coalesce({name}, 0)")
    parts = {"name": feature["name"], "e": feature["event"], "w": feature["window"], "cutoff": cutoff}
    return f"({sql.format(**parts)})::FLOAT AS {feature['name']}"


def query(request: dict[str, Any], asked: dict[str, Any]) -> str:
    """Return the SQL of one cutoff."""
    events = asked["events"]
    tables = [*COLUMNS, *(f"{m}_any" for m in COLUMNS if "any" in events)]
    return FEATURES.format(
        cutoff=request["cutoff"],
        since=request["since"],
        end=request["end"],
        active=is_of(asked["active"]),
        label_event=asked["label_event"],
        when_found=asked["when_found"],
        counts=", ".join(sql for event in events for sql in counts(request, event)),
        distinct=", ".join(distinct(request, measure, events) for measure in COLUMNS),
        orders=", ".join(per_window(request, "orders", "any")).replace("orders_any", "orders_purchase"),
        joins=" ".join(f"LEFT JOIN {table} USING (user_id)" for table in tables),
        columns=", ".join(column(f, request["cutoff"]) for f in asked["features"]),
    )


def main(requests: Path, how: str) -> None:
    """Write one Parquet file per cutoff, beside the requests."""
    asked = json.loads(requests.read_text(encoding="utf-8"))
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(f"SET temp_directory = '{requests.parent / 'spill'}'")
    connection.execute(EVENTS[asked["kind"]].format(how=how, log=asked["log"], timezone=asked["timezone"]))
    for request in asked["cutoffs"]:
        target = requests.parent / f"{request['name']}.parquet"
        connection.execute(f"COPY ({query(request, asked)}) TO '{target}' (FORMAT parquet)")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
