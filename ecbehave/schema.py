"""Columns, dtypes and keys of every stored table.

All ids are text, all instants are UTC with microseconds, money is in the shop's currency.
"""

import polars as pl

TS = pl.Datetime("us", "UTC")

#: Event types with a meaning of their own; others pass through under their own name.
EVENT_TYPES = (
    "view",
    "search",
    "click",
    "cart",
    "remove",
    "purchase",
    "return",
    "review",
    "rating",
    "question",
)

#: What a source may map onto an event, in canonical order.
EVENT_COLUMNS: dict[str, pl.DataType] = {
    "user_id": pl.String(),
    "ts": TS,
    "event_type": pl.String(),
    "item_id": pl.String(),
    "category": pl.String(),
    "brand": pl.String(),
    "order_id": pl.String(),
    "session_id": pl.String(),
    "price": pl.Float64(),
    "quantity": pl.Float64(),
    "amount": pl.Float64(),
    "discount": pl.Float64(),
    "coupon": pl.Float64(),
    "rating": pl.Float64(),
    "dwell_seconds": pl.Float64(),
    "received_at": TS,
}

#: Where a stored row came from: `batch` is the batch id, `row` the 1-based data row in its file.
ORIGIN: dict[str, pl.DataType] = {"batch": pl.String(), "row": pl.UInt32()}

#: One row per row of the source. `unparsed` holds `column=text` of values that could not be read.
EVENTS_RAW = EVENT_COLUMNS | ORIGIN | {"unparsed": pl.String()}

#: The clean log: one file per period, sorted by EVENT_ORDER. A bucket is a range of `user_hash`.
EVENTS: dict[str, pl.DataType] = {"user_hash": pl.UInt64()} | EVENT_COLUMNS | ORIGIN

#: The total order of events. It depends on the content of a row and on its place in the source only
#: where two rows are equal in every column, so that shuffled source rows give the same results.
EVENT_ORDER = ("user_hash", *EVENT_COLUMNS, *ORIGIN)

#: Refused rows: what was read, and the rule that refused it.
QUARANTINE = EVENTS_RAW | {"rule": pl.String()}

ITEMS: dict[str, pl.DataType] = {
    "item_id": pl.String(),
    "category": pl.String(),
    "brand": pl.String(),
    "price": pl.Float64(),
    "title": pl.String(),
}

#: Side tables as ingested; `users` carries whatever attributes the config maps, as text, and since when they
#: are known (null: they have always held).
ITEMS_RAW = ITEMS | ORIGIN | {"unparsed": pl.String()}
USERS_KEY: dict[str, pl.DataType] = {"user_id": pl.String(), "known_from": TS}

#: What a user may be paired with; one of these is a further key of tables of pairs.
TARGETS: dict[str, pl.DataType] = {"item_id": pl.String(), "category": pl.String()}

#: Keys of the table input; every further column is a feature (Float32).
TABLE_KEYS: dict[str, pl.DataType] = {
    "user_hash": pl.UInt64(),
    "user_id": pl.String(),
    "cutoff": TS,
}

#: The matrix input of one cutoff: all users with an event before it, and their items (or categories, where these are
#: the target of the task). `place`: how many later instants with an item the user has; 0 for the newest one.
MATRIX_USERS: dict[str, pl.DataType] = {
    "user_hash": pl.UInt64(),
    "user_id": pl.String(),
    "is_asked": pl.Boolean(),
}
PAIRS: dict[str, pl.DataType] = {
    "user_hash": pl.UInt64(),
    "user_id": pl.String(),
    "item_id": pl.String(),
    "category": pl.String(),
    "event_type": pl.String(),
    "n_events": pl.UInt32(),
    "days_since": pl.Float32(),
    "place": pl.UInt32(),
    "rating": pl.Float32(),
}
MATRIX_LABELS: dict[str, pl.DataType] = {"user_id": pl.String(), "item_id": pl.String()}
#: The same, where ratings are asked.
RATING_LABELS = MATRIX_LABELS | {"rating": pl.Float64()}
#: What must not be listed: a row with an event type bars to each user the items that he had it with, a row with an item
#: bars that to everybody.
MATRIX_RULES: dict[str, pl.DataType] = {"event_type": pl.String(), "item_id": pl.String()}

#: The sequence input: all users with an event, in the order of the events' arrays.
SEQUENCE_USERS: dict[str, pl.DataType] = {"user_hash": pl.UInt64(), "user_id": pl.String()}

#: Score files. `is_targeted`: the decision is to act on the row. `is_control`: it would be, but the user is left alone,
#: so that the effect of acting can be measured; `is_targeted` is false then.
BINARY_SCORES: dict[str, pl.DataType] = {
    "user_id": pl.String(),
    "as_of": pl.Date(),
    "horizon_end": pl.Date(),
    "score": pl.Float64(),
    "probability": pl.Float64(),
    "decile": pl.UInt8(),
    "is_targeted": pl.Boolean(),
    "is_control": pl.Boolean(),
    "is_cold": pl.Boolean(),
    "reason_1": pl.String(),
    "reason_2": pl.String(),
    "reason_3": pl.String(),
    "model": pl.String(),
}
RANKING_SCORES: dict[str, pl.DataType] = {
    "user_id": pl.String(),
    "rank": pl.UInt32(),
    "item_id": pl.String(),
    "score": pl.Float64(),
    "as_of": pl.Date(),
    "is_cold": pl.Boolean(),
    "model": pl.String(),
}

SESSION_SCORES: dict[str, pl.DataType] = {
    "session_id": pl.String(),
    "rank": pl.UInt32(),
    "item_id": pl.String(),
    "score": pl.Float64(),
    "is_cold": pl.Boolean(),
}
#: What is most like an item or a user, from rank 1 on.
SIMILAR_ITEMS: dict[str, pl.DataType] = {
    "item_id": pl.String(),
    "rank": pl.UInt32(),
    "similar_item_id": pl.String(),
    "similarity": pl.Float64(),
}
SIMILAR_USERS: dict[str, pl.DataType] = {
    "user_id": pl.String(),
    "rank": pl.UInt32(),
    "similar_user_id": pl.String(),
    "similarity": pl.Float64(),
}

#: What a net knows of a user: as many numbers as it is wide.
EMBEDDINGS = {"user_id": pl.String(), "embedding": pl.List(pl.Float32())}


def binary_scores(target: str | None) -> dict[str, pl.DataType]:
    """Return the columns of a score file; of pairs, the target follows the user."""
    if target is None:
        return BINARY_SCORES
    return {"user_id": pl.String(), target: TARGETS[target]} | BINARY_SCORES
