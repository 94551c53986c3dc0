"""A small shop with a planted habit, and ways to run the pipeline on it."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("ECBEHAVE_DATA", ROOT.parent / "shared" / "data"))


def shop_log(n_users: int = 60, n_days: int = 120, seed: int = 0) -> pl.DataFrame:
    """A log with views, carts and purchases; users with an even number buy every week until half of them stop.

    Columns as a raw CSV would have them: user, item, kind, time (naive UTC), price, quantity, order.
    Timestamps have ties: everything of one visit happens within few seconds, often in the same one.
    """
    rng = np.random.default_rng(seed)
    start = datetime(2024, 1, 1, tzinfo=UTC)
    rows: list[dict[str, Any]] = []
    for user in range(n_users):
        gap = 7.0 if user % 2 == 0 else 21.0
        stop = rng.uniform(0.4, 1.0) * n_days if user % 4 == 0 else n_days
        day = float(rng.uniform(0, gap))
        favourites = rng.choice(40, size=4, replace=False)
        while day < stop:
            visit = start + timedelta(days=day)
            for n in range(int(rng.integers(1, 5))):
                item = int(rng.choice(favourites)) if rng.random() < 0.7 else int(rng.integers(40))
                time = visit + timedelta(seconds=int(rng.integers(0, 3)))
                base = {"user": f"u{user:03d}", "item": f"i{item:02d}", "time": f"{time:%Y-%m-%d %H:%M:%S}"}
                price = round(5 + item * 0.5, 2)
                rows.append(base | {"kind": "view", "price": price, "quantity": None, "order": None})
                if rng.random() < 0.7:
                    rows.append(base | {"kind": "cart", "price": price, "quantity": 1, "order": None})
                if rng.random() < 0.6:
                    order = f"o{user}-{int(day * 100)}"
                    rows.append(
                        base | {"kind": "purchase", "price": price, "quantity": 1 + n % 2, "order": order}
                    )
            day += float(rng.normal(gap, gap / 6))
    schema = {
        "user": str,
        "item": str,
        "kind": str,
        "time": str,
        "price": float,
        "quantity": int,
        "order": str,
    }
    return pl.DataFrame(rows, schema=schema).sort("time", "user", "kind", "item")


def shop_items() -> pl.DataFrame:
    """The items of `shop_log`, in four categories."""
    return pl.DataFrame(
        {
            "item": [f"i{i:02d}" for i in range(40)],
            "category": [f"c{i % 4}" for i in range(40)],
            "brand": [f"b{i % 7}" for i in range(40)],
        }
    )


class Shop:
    """A folder with raw files, a config and a workspace."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.workspace = folder / "work"
        self.raw = folder / "raw"
        self.raw.mkdir(parents=True)
        self.settings: dict[str, Any] = {
            "workspace": "work",
            "dataset": {
                "sources": [
                    {
                        "path": "raw/events*.csv",
                        "columns": {
                            "user_id": "user",
                            "item_id": "item",
                            "ts": "time",
                            "price": "price",
                            "quantity": "quantity",
                            "order_id": "order",
                        },
                        "event_type": {"column": "kind"},
                    },
                    {
                        "table": "items",
                        "path": "raw/items.csv",
                        "columns": {"item_id": "item", "category": "category", "brand": "brand"},
                    },
                ]
            },
            "task": {"kind": "churn", "active_within": "21d", "horizon": "14d"},
            "split": {"step": "7d", "train": 4},
            "features": {"windows": ["7d", "28d"]},
            "model": {"kind": "boosting", "max_trees": 40, "min_rows_per_leaf": 5},
            "evaluate": {"bootstrap": 100, "k": [5, 10]},
        }

    def write(self, log: pl.DataFrame, name: str = "events.csv") -> Path:
        """Write a raw file of the log."""
        path = self.raw / name
        log.write_csv(path)
        return path

    def write_items(self) -> None:
        """Write the side table."""
        shop_items().write_csv(self.raw / "items.csv")

    def config(self, name: str = "shop", **changes: Any) -> Path:
        """Write the config, with some sections replaced."""
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(self.settings | changes, sort_keys=False), encoding="utf-8")
        return path

    def run(
        self, *arguments: str, config: Path | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `ecbehave` as a process of its own: command, then options."""
        command, *options = arguments
        return subprocess.run(
            [sys.executable, "-m", "ecbehave", command, "--config", str(config or self.config()), *options],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | environment,
        )

    def json(self, *arguments: str, config: Path | None = None) -> dict[str, Any]:
        """Run with --json, demand success, and return what was printed."""
        done = self.run(*arguments, "--json", config=config)
        assert done.returncode == 0, done.stderr
        result: dict[str, Any] = json.loads(done.stdout)
        return result


PREFERENCE = {
    "task": {"kind": "preference", "active_within": "28d", "horizon": "14d"},
    "split": {"step": "7d", "train": 1},
    "model": {"kind": "item_knn", "min_users": 2},
}


def data_files(folder: Path) -> dict[str, bytes]:
    """Return every published file below a folder; of manifests, what does not depend on the moment of the run."""
    found: dict[str, bytes] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not path.is_file() or name == ".lock":
            continue
        content = path.read_bytes()
        if path.name == "manifest.json":
            manifest = json.loads(content)
            del manifest["run"]
            content = json.dumps(manifest, sort_keys=True).encode()
        found[name] = content
    return found
