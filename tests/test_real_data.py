"""Real logs of other shops, where they are at hand: parsing, event mapping, populations and labels."""

import csv
from datetime import timedelta
from pathlib import Path

import polars as pl
from shops import Shop


def test_a_multi_category_store_with_raw_events(tmp_path: Path, shared_data: Path) -> None:
    """REES46: three hours, so everything can be cleaned, and nothing can be learned."""
    path = shared_data / "rees46-sample" / "2019-Oct.csv"
    mapped = {
        "user_id": "user_id",
        "item_id": "product_id",
        "ts": "event_time",
        "category": "category_code",
        "brand": "brand",
        "price": "price",
        "session_id": "user_session",
    }
    source = {"path": str(path), "columns": mapped, "event_type": {"column": "event_type"}}
    shop = Shop(tmp_path / "shop")
    shop.config(dataset={"sources": [source]})
    config = shop.folder / "shop.yaml"
    shop.json("ingest", config=config)
    counts = shop.json("clean", config=config)["counts"]
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    distinct = {(row["event_type"], *(row[column].strip() for column in mapped.values())) for row in rows}
    assert (counts["raw"], counts["clean"]) == (len(rows), len(distinct))
    assert (counts["quarantined"], counts["duplicates"]) == (0, len(rows) - len(distinct))
    done = shop.run("features", config=config)
    assert done.returncode == 3
    assert "no complete horizon for every cutoff" in done.stderr


def test_a_shop_with_views_carts_and_purchases(tmp_path: Path, shared_data: Path) -> None:
    """Retailrocket: who is asked and who buys, counted once more from the raw file."""
    path = shared_data / "retailrocket-buyers" / "events.parquet"
    columns = {"user_id": "user_id", "item_id": "item_id", "ts": "ts"}
    shop = Shop(tmp_path / "shop")
    config = shop.config(
        dataset={
            "sources": [{"path": str(path), "columns": columns, "event_type": {"column": "event_type"}}]
        },
        task={"kind": "purchase", "active_within": "28d", "horizon": "14d"},
        split={"train": 2},
    )
    for command in ("ingest", "clean", "features", "train", "evaluate"):
        shop.json(command, config=config)
    judged = pl.read_parquet(shop.workspace / "shop" / "evaluation" / "test_scores.parquet")
    cutoff = judged["cutoff"][0]
    raw = pl.read_parquet(path).with_columns(
        pl.col("user_id").cast(pl.String), pl.col("event_type").cast(pl.String)
    )
    active = raw.filter(pl.col("ts").is_between(cutoff - timedelta(days=28), cutoff, closed="left"))
    window = raw.filter(pl.col("ts").is_between(cutoff, cutoff + timedelta(days=14), closed="left"))
    buyers = set(window.filter(pl.col("event_type") == "purchase")["user_id"])
    assert sorted(judged["user_id"]) == sorted(active["user_id"].unique())
    assert set(judged.filter(pl.col("label") == 1)["user_id"]) == buyers & set(judged["user_id"])
    assert 0 < judged["label"].sum() < judged.height
