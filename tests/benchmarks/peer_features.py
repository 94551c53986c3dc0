"""What the feature peers are asked for, and whether they answer with our values."""

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from measure import HERE, Measured, measure

from ecbehave.artifacts import Artifact
from ecbehave.config import parse_duration
from ecbehave.stages.features import windows_of
from ecbehave.windows import Window, label, shift, spans

PEERS = {"DuckDB": "features_duckdb.py", "pandas": "features_pandas.py"}

#: Relative and absolute difference of two features that count as equal: they are Float32.
TOLERANCE = 1e-4


def requests(inputs: Artifact) -> dict[str, Any]:
    """Return what the peers are asked for: cutoffs, windows as instants, names of features."""
    config = inputs.manifest["config"]
    timezone = config["dataset"]["timezone"]
    active_within = parse_duration(config["task"]["active_within"])
    lengths = [parse_duration(w) for w in config["features"]["windows"]]

    def request(split: str, window: Window) -> dict[str, Any]:
        windows = spans(window.cutoff, lengths, timezone)
        return {
            "name": f"{split}/{label(window.cutoff, timezone)}",
            "cutoff": _naive(window.cutoff),
            "end": _naive(window.end),
            "since": _naive(shift(window.cutoff, -active_within, timezone)),
            "spans": [
                {"name": s.name, "start": _naive(s.start), "before": _naive(s.before)} for s in windows
            ],
        }

    cutoffs = [request(split, w) for split in inputs.info["splits"] for w in windows_of(inputs, split)]
    return {"timezone": timezone, "features": inputs.info["features"], "cutoffs": cutoffs}


def _naive(instant: datetime) -> str:
    """Write an instant the way the source has it: UTC without saying so."""
    return instant.replace(tzinfo=None).isoformat(sep=" ")


def run_peer(name: str, asked: dict[str, Any], data: Path, out: Path) -> Measured:
    """Let a peer write its tables, one per cutoff, into the folder `out`, which must not exist."""
    for request in asked["cutoffs"]:
        (out / request["name"]).parent.mkdir(parents=True, exist_ok=True)
    file = out / "requests.json"
    file.write_text(json.dumps(asked), encoding="utf-8")
    print(f"  {PEERS[name]}", file=sys.stderr, flush=True)
    return measure(
        [sys.executable, str(HERE / PEERS[name]), str(file), str(data / "complete-journey"), str(out)]
    )


def count_equal(ours: Path, theirs: Path, asked: dict[str, Any]) -> int:
    """Compare population, labels and features of all cutoffs; returns the number of feature values.

    Raises:
        RuntimeError: anything differs, features by more than the tolerance.
    """
    n = 0
    for request in asked["cutoffs"]:
        tables = [pl.read_parquet(folder / f"{request['name']}.parquet") for folder in (ours, theirs)]
        left, right = (t.sort("user_id").with_columns(pl.col(pl.Float32).cast(pl.Float64)) for t in tables)
        if not left.select("user_id", "label").equals(right.select("user_id", "label")):
            raise RuntimeError(f"{theirs} {request['name']}: population or labels differ from ours")
        for feature in asked["features"]:
            a, b = (t[feature].fill_null(np.nan).to_numpy() for t in (left, right))
            is_equal = np.isclose(a, b, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)
            if not is_equal.all():
                where = np.flatnonzero(~is_equal)[:3]
                raise RuntimeError(
                    f"{theirs} {request['name']} {feature}: ours {a[where]}, theirs {b[where]}"
                )
            n += a.size
    return n
