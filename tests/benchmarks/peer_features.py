"""What the feature peers are asked for, and whether they answer with our values."""

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from measure import HERE, SPLITS, Measured, measure

from ecbehave.artifacts import Artifact
from ecbehave.config.values import parse_duration
from ecbehave.inputs.feature_names import FeatureName
from ecbehave.stages.features import windows_of
from ecbehave.windows import Window, label, shift, spans

#: Each reads the requests, and writes its tables beside them.
PEERS = {
    "DuckDB": ["features_duckdb.py", "TABLE"],
    "DuckDB, view": ["features_duckdb.py", "VIEW"],
    "pandas": ["features_pandas.py"],
    "Polars": ["features_polars.py", "in-memory"],
    "Polars, streaming": ["features_polars.py", "streaming"],
}

#: Relative and absolute difference of two features that count as equal: they are Float32.
TOLERANCE = 1e-4

#: What the peers read: the source files of Complete Journey, our clean log, or the source files of a simulated shop.
Kind = Literal["complete_journey", "clean", "shop"]


def requests(inputs: Artifact, kind: Kind, log: Path) -> dict[str, Any]:
    """Return what the peers are asked for: cutoffs, windows as instants, features, and where the log is.

    Args:
        inputs: ours, of a binary task, with the group `activity` only.
        kind: of log that they read.
        log: its folder.
    """
    config = inputs.manifest["config"]
    timezone, task = config["dataset"]["timezone"], config["task"]
    active_within = parse_duration(task["active_within"])
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

    is_churn = task["kind"] == "churn"
    names = [FeatureName.parse(name) for name in inputs.info["features"]]
    return {
        "kind": kind,
        "log": str(log),
        "timezone": timezone,
        "active": task["event"] if is_churn else "any",
        "label_event": task["event"] if is_churn else "purchase",
        "when_found": int(not is_churn),
        "events": list(dict.fromkeys(n.event for n in names)),
        "features": [
            {"name": str(n), "measure": n.measure, "event": n.event, "window": n.window} for n in names
        ],
        "cutoffs": [request(split, w) for split in SPLITS for w in windows_of(inputs, split)],
    }


def _naive(instant: datetime) -> str:
    """Write an instant the way the source has it: UTC without saying so."""
    return instant.replace(tzinfo=None).isoformat(sep=" ")


def run_peer(name: str, asked: dict[str, Any], out: Path) -> Measured:
    """Let a peer write its tables, one per cutoff, into the folder `out`, which must not exist."""
    for request in asked["cutoffs"]:
        (out / request["name"]).parent.mkdir(parents=True, exist_ok=True)
    file = out / "requests.json"
    file.write_text(json.dumps(asked), encoding="utf-8")
    script, *option = PEERS[name]
    print(f"  {' '.join(PEERS[name])}", file=sys.stderr, flush=True)
    return measure([sys.executable, str(HERE / script), str(file), *option])


def count_equal(ours: Path, theirs: Path, asked: dict[str, Any]) -> int:
    """Compare population, labels and features of all cutoffs; returns the number of feature values.

    Raises:
        RuntimeError: anything differs, features by more than the tolerance.
    """
    n = 0
    for request in asked["cutoffs"]:
        tables = [pl.read_parquet(folder / f"{request['name']}.parquet") for folder in (ours, theirs)]
        left, right = (t.sort("user_id") for t in tables)
        if not left.select("user_id", "label").equals(right.select("user_id", "label")):
            raise RuntimeError(f"{theirs} {request['name']}: population or labels differ from ours")
        for feature in (f["name"] for f in asked["features"]):
            a, b = (t[feature].cast(pl.Float64).fill_null(np.nan).to_numpy() for t in (left, right))
            is_equal = np.isclose(a, b, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)
            if not is_equal.all():
                where = np.flatnonzero(~is_equal)[:3]
                raise RuntimeError(
                    f"{theirs} {request['name']} {feature}: ours {a[where]}, theirs {b[where]}"
                )
            n += a.size
    return n
