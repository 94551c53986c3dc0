"""The matrix input: who had which item how often before a cutoff."""

from datetime import datetime
from pathlib import Path

import polars as pl

from ecbehave.inputs.types import MatrixInput
from ecbehave.schema import PAIRS
from ecbehave.windows import days_until


def pairs(history: pl.LazyFrame, cutoff: datetime) -> pl.LazyFrame:
    """Return one row per user, item and event type, sorted by these.

    Args:
        history: events before the cutoff.
        cutoff: the instant at which the counts are known.
    """
    return (
        history.filter(pl.col("item_id").is_not_null())
        .group_by("user_hash", "user_id", "item_id", "event_type")
        .agg(n_events=pl.len().cast(pl.UInt32), days_since=days_until(cutoff, pl.col("ts").max()))
        .select(*PAIRS)
        .sort("user_hash", "user_id", "item_id", "event_type")
    )


def read_matrix(folder: Path, cutoff: datetime, *, has_labels: bool) -> MatrixInput:
    """Read what the features stage stored for one cutoff."""
    users = pl.read_parquet(folder / "users.parquet")
    stored = pl.read_parquet(folder / "pairs.parquet")
    items = stored.select(pl.col("item_id").unique().sort())
    indexed = (
        stored.join(_numbered(users, "user_id", "user"), on="user_id", maintain_order="left")
        .join(_numbered(items, "item_id", "item"), on="item_id", maintain_order="left")
        .select("user", "item", "event_type", "n_events", "days_since")
    )
    labels = pl.read_parquet(folder / "labels.parquet") if has_labels else None
    return MatrixInput(cutoff, users, items, indexed, labels)


def _numbered(frame: pl.DataFrame, key: str, name: str) -> pl.DataFrame:
    return frame.select(key).with_row_index(name)
