"""What one row, or two, decide about an event: the rules of `clean` that need no other part of the log."""

from collections.abc import Sequence
from datetime import timedelta

import numpy as np
import polars as pl

from ecbehave.config.clean import Clean
from ecbehave.schema import EVENT_ORDER, ITEMS, ORIGIN, USERS_KEY
from ecbehave.windows import midnight

#: Event types that are about an item; others (search, question) may have none.
_ITEM_EVENTS = ("view", "click", "cart", "remove", "purchase", "return", "review", "rating")
_IS_RETURN = (
    (pl.col("event_type") == "return") | ((pl.col("event_type") == "purchase") & (pl.col("quantity") < 0))
).fill_null(value=False)


def recognise_returns(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Turn purchases of a negative quantity into returns; a return's numbers are positive, as others' are.

    So is money off: some shops write it with a minus.
    """
    positive = [
        pl.when(_IS_RETURN).then(pl.col(c).abs()).otherwise(c).alias(c)
        for c in ("price", "quantity", "amount")
    ]
    return rows.with_columns(
        pl.when(_IS_RETURN).then(pl.lit("return")).otherwise("event_type").alias("event_type"),
        *positive,
        pl.col("discount", "coupon").abs(),
    )


def row_rule(clean: Clean, timezone: str, *, needs_item: bool) -> pl.Expr:
    """Return the rule that refuses a row, or null: the first of them in this order."""
    earliest = midnight(clean.earliest, timezone)
    rules: dict[str, pl.Expr] = {
        "unreadable_row": pl.col("unparsed").str.starts_with("row="),
        "missing_user": pl.col("user_id").is_null(),
        "unparsable_time": pl.col("ts").is_null() & pl.col("unparsed").str.contains(r"(^|; )ts="),
        "missing_time": pl.col("ts").is_null(),
        "impossible_time": (pl.col("ts") < earliest)
        | (pl.col("ts") > pl.col("received_at") + timedelta(days=1)),
        "missing_event_type": pl.col("event_type").is_null(),
        "missing_item": pl.lit(needs_item)
        & pl.col("item_id").is_null()
        & pl.col("event_type").is_in(_ITEM_EVENTS),
        "unparsable_value": pl.col("unparsed").is_not_null(),
        "negative_price": ((pl.col("price") < 0) & (pl.col("event_type") != "return"))
        | ((pl.col("amount") < 0) & ~_IS_RETURN),
        "absurd_price": (pl.col("price").abs() > clean.max_price)
        | (pl.col("amount").abs() > clean.max_price),
        "negative_quantity": (pl.col("quantity") < 0) & ~_IS_RETURN,
        "absurd_quantity": pl.col("quantity").abs() > clean.max_quantity,
    }
    return pl.coalesce(pl.when(refused).then(pl.lit(rule)) for rule, refused in rules.items()).alias("rule")


def split_duplicates(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Sort into the total order of events; of rows equal in every column, keep the one received first.

    Returns:
        The events, and the duplicates of them.
    """
    hashes, ts = rows["user_hash"].to_numpy(), rows["ts"].to_physical().to_numpy()
    order = np.lexsort((ts, hashes))
    is_tied = (np.diff(hashes[order]) == 0) & (np.diff(ts[order]) == 0)
    tied = np.flatnonzero(np.append(is_tied, [False]) | np.insert(is_tied, 0, [False]))
    # Columns without a value cost time and decide nothing.
    content = [c for c in EVENT_ORDER if rows[c].null_count() < rows.height]
    if tied.size:
        among = rows.select(content)[order[tied]]
        order[tied] = order[tied][among.select(pl.arg_sort_by(content)).to_series().to_numpy()]
    rows = rows[order]
    is_duplicate = np.zeros(rows.height, dtype=bool)
    second = np.flatnonzero(is_tied) + 1
    same = [c for c in content if c not in (*ORIGIN, "received_at")]
    after, before = rows.select(same)[second], rows.select(same)[second - 1]
    equal = [after[c].eq_missing(before[c]).alias(c) for c in same]
    is_duplicate[second] = (
        pl.select(pl.all_horizontal(equal)).to_series().to_numpy() if second.size else False
    )
    if not is_duplicate.any():
        return rows, rows.clear()
    return rows.filter(~is_duplicate), rows.filter(is_duplicate)


def latest_items(items: Sequence[pl.LazyFrame]) -> pl.LazyFrame:
    """Return one row per item: the last one of the last file."""
    empty = pl.LazyFrame(schema=ITEMS)
    rows = pl.concat([empty, *(i.select(*ITEMS) for i in items)])
    return rows.filter(pl.col("item_id").is_not_null()).unique("item_id", keep="last").sort("item_id")


def latest_users(users: Sequence[pl.LazyFrame]) -> pl.LazyFrame:
    """Return one row per user and time from which it is known: the last one of the last file.

    Attributes of all files are there; `known_from` is null for what has always held.
    """
    attributes = [u.drop("batch", "row", "unparsed") for u in users]
    rows = pl.concat([pl.LazyFrame(schema=USERS_KEY), *attributes], how="diagonal")
    key = list(USERS_KEY)
    return rows.filter(pl.col("user_id").is_not_null()).unique(key, keep="last").sort(key)


def fill_from_items(rows: pl.LazyFrame, items: pl.LazyFrame) -> pl.LazyFrame:
    """Take category and brand from the item where the event itself does not say; the order of rows is lost."""
    known = items.select("item_id", item_category="category", item_brand="brand")
    return (
        rows.join(known, on="item_id", how="left", maintain_order="none")
        .with_columns(
            category=pl.coalesce("category", "item_category"), brand=pl.coalesce("brand", "item_brand")
        )
        .drop("item_category", "item_brand")
    )
