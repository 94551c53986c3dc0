"""A shop whose raw log is given row by row, for tests of what clean makes of it."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
from shops import Shop
from stage_runs import Runs, table

from ecbehave.artifacts import Artifact, Outcome
from ecbehave.schema import EVENTS_RAW, QUARANTINE

NEW_YORK = "America/New_York"
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
GOOD: dict[str, Any] = {
    "user_id": "u1",
    "ts": datetime(2024, 4, 1, 10, tzinfo=UTC),
    "event_type": "view",
    "item_id": "i1",
    "received_at": NOON,
}


def raw(*rows: dict[str, Any]) -> pl.DataFrame:
    """Rows as ingested: a good view, but for what is given."""
    return pl.DataFrame([GOOD | row for row in rows], schema=EVENTS_RAW)


class Desk:
    """A shop whose log is given row by row, written at a fixed time."""

    columns = ("user", "item", "kind", "time", "price", "quantity", "order", "category")

    def __init__(self, folder: Path) -> None:
        self.shop = Shop(folder)
        self.runs = Runs(self.shop, self.shop.folder / "shop.yaml")
        mapped = {"user_id": "user", "item_id": "item", "ts": "time", "price": "price"}
        mapped |= {"quantity": "quantity", "order_id": "order", "category": "category"}
        self.sources: list[dict[str, Any]] = [
            {
                "path": "raw/events*.csv",
                "columns": mapped,
                "event_type": {"column": "kind"},
                "timezone": "UTC",
            }
        ]

    def put(self, *rows: dict[str, Any], name: str = "events.csv", at: datetime = NOON) -> None:
        """Write views of u1 and i1, but for what is given."""
        view = {"user": "u1", "item": "i1", "kind": "view", "time": "2024-04-01 10:00:00"}
        pl.DataFrame([view | row for row in rows], schema=dict.fromkeys(self.columns, pl.String)).write_csv(
            self.shop.raw / name
        )
        os.utime(self.shop.raw / name, (at.timestamp(), at.timestamp()))

    def write_side(self, name: str, text: str, at: datetime = NOON) -> None:
        """Write a file of a side table."""
        path = self.shop.raw / name
        path.write_text(text, encoding="utf-8")
        os.utime(path, (at.timestamp(), at.timestamp()))

    def clean(self, timezone: str = "UTC", **settings: Any) -> Outcome:
        dataset = {"sources": self.sources, "timezone": timezone}
        self.shop.config(dataset=dataset, clean={"max_refused_share": 1} | settings)
        return self.runs.do("ingest", "clean")


def events(artifact: Artifact) -> pl.DataFrame:
    return table(artifact, "events/*.parquet")


def quarantine(artifact: Artifact) -> pl.DataFrame:
    empty = pl.DataFrame(schema=QUARANTINE)
    return pl.concat([empty, *map(pl.read_parquet, artifact.files("quarantine/*.parquet"))])
