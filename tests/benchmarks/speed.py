"""Seconds and peak memory of the whole pipeline, stage by stage, and of other tools for the part that they can do."""

import json
import statistics
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from measure import HERE, Ecbehave, Measured, measure
from section import Section, gigabytes

from ecbehave.config import parse_duration
from ecbehave.stages.features import windows_of
from ecbehave.artifacts import Artifact, Workspace
from ecbehave.windows import Window, label, shift, spans

DATA = "Complete Journey, all of it: 1,469,307 rows, 2,469 households; seed 0"
CHURN = "churn"
STAGES = ("ingest", "clean", "features", "train", "evaluate", "predict")
PEERS = {"DuckDB": "features_duckdb.py", "pandas": "features_pandas.py"}

#: Relative and absolute difference of two features that count as equal: they are Float32.
TOLERANCE = 1e-4


def whole_run(scratch: Path, repeats: int) -> Section:
    """Measure all six stages from an empty workspace, and the same command again."""
    first: list[Measured] = []
    again: list[Measured] = []
    n_rewritten = 0
    for repeat in range(repeats):
        ecbehave = Ecbehave(scratch / f"whole-{repeat}")
        first.append(ecbehave.run("run", CHURN)[0])
        before = _fingers(ecbehave.workspace)
        measured, result = ecbehave.run("run", CHURN)
        after = _fingers(ecbehave.workspace)
        again.append(measured)
        n_rewritten += sum(after[path] != before.get(path) for path in after) + len(before.keys() - after.keys())
        if any(stage["status"] != "skipped" for stage in result["stages"]):
            raise RuntimeError(f"the second run was not skipped: {result['stages']}")
    rows = [
        ["first run, wall time", *_seconds(first), "< 60 s"],
        ["first run, peak memory", *_sizes(first), "< 2 GB"],
        ["second run, wall time", *_seconds(again), "< 2 s"],
        ["second run, peak memory", *_sizes(again), ""],
        ["second run, files rewritten", f"{n_rewritten} of {len(after)}", "", "0"],
    ]
    notes = [
        "a file counts as rewritten when its inode, size or time of change is another; all but .lock are compared"
    ]
    header = ["churn in 28 days, boosting, six stages", f"median of {repeats}", "each", "aim"]
    return Section("The whole pipeline", header, rows, DATA, ecbehave.commands, notes)


def _fingers(workspace: Path) -> dict[str, tuple[int, int, int]]:
    found = {}
    for path in workspace.rglob("*"):
        if path.is_file() and path.name != ".lock":
            stat = path.stat()
            found[str(path)] = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
    return found


def _seconds(runs: Sequence[Measured]) -> list[str]:
    values = [r.seconds for r in runs]
    return [f"{statistics.median(values):.1f} s", ", ".join(f"{v:.1f}" for v in values)]


def _sizes(runs: Sequence[Measured]) -> list[str]:
    values = [r.peak_bytes for r in runs]
    return [gigabytes(statistics.median(values)), ", ".join(f"{v / 1e9:.2f}" for v in values)]


def stages_and_peers(scratch: Path, data: Path, repeats: int) -> list[Section]:
    """Measure each stage as a process of its own, then the peers on the same cutoffs, and check their values."""
    runs: dict[str, list[Measured]] = {stage: [] for stage in STAGES}
    for repeat in range(repeats):
        ecbehave = Ecbehave(scratch / f"stages-{repeat}")
        for stage in STAGES:
            runs[stage].append(ecbehave.run(stage, CHURN)[0])
    per_stage = [[stage, *_seconds(r), *_sizes(r)[:1]] for stage, r in runs.items()]
    header = ["stage", f"median of {repeats}", "each", "peak memory"]
    stages = Section("Each stage as a process of its own", header, per_stage, DATA, ecbehave.commands)
    return [stages, _peers(scratch, ecbehave, data, repeats, runs)]


def _peers(
    scratch: Path, ecbehave: Ecbehave, data: Path, repeats: int, runs: dict[str, list[Measured]]
) -> Section:
    inputs = Workspace(ecbehave.workspace).read(f"{CHURN}/inputs")
    if inputs is None:
        raise RuntimeError(f"no inputs in {ecbehave.workspace}")
    asked = requests(inputs)
    file = scratch / "requests.json"
    file.write_text(json.dumps(asked), encoding="utf-8")
    parts = [runs["clean"], runs["features"]]
    ours = sum(_median_seconds(part) for part in parts)
    our_peak = max(_median_peak(part) for part in parts)
    only = _median_seconds(runs["features"])
    rows = [["ecbehave clean + features", f"{ours:.1f} s", gigabytes(our_peak), "1.00", "1.00", ""]]
    rows.append(["ecbehave features alone", f"{only:.1f} s", gigabytes(_median_peak(runs["features"])),
                 f"{only / ours:.2f}", f"{_median_peak(runs['features']) / our_peak:.2f}", ""])
    for name, script in PEERS.items():
        measured = [_peer(script, file, data, scratch / f"{name}-{i}", asked) for i in range(repeats)]
        checked = differences(inputs.path / "table", scratch / f"{name}-0", asked)
        seconds, peak = _median_seconds(measured), _median_peak(measured)
        rows.append(
            [name, f"{seconds:.1f} s", gigabytes(peak), f"{seconds / ours:.2f}", f"{peak / our_peak:.2f}", checked]
        )
    notes = [
        "the peers read the source files, and write the same population, labels and 40 features for the same cutoffs",
        "ecbehave also refuses bad rows, drops duplicates, sorts, hashes and syncs its files, and writes manifests",
        f"every value of the peers was compared with ours before its time was taken (relative {TOLERANCE:g})",
    ]
    header = ["tool", f"median of {repeats}", "peak memory", "time / ours", "memory / ours", "values compared"]
    title = f"Windowed features for {len(asked['cutoffs'])} cutoffs beside other tools"
    return Section(title, header, rows, DATA, [], notes)


def _median_seconds(runs: Sequence[Measured]) -> float:
    return statistics.median(r.seconds for r in runs)


def _median_peak(runs: Sequence[Measured]) -> float:
    return statistics.median(r.peak_bytes for r in runs)


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
            "spans": [{"name": s.name, "start": _naive(s.start), "before": _naive(s.before)} for s in windows],
        }

    cutoffs = [request(split, w) for split in inputs.info["splits"] for w in windows_of(inputs, split)]
    return {"timezone": timezone, "features": inputs.info["features"], "cutoffs": cutoffs}


def _naive(instant: datetime) -> str:
    """Write an instant the way the source has it: UTC without saying so."""
    return instant.replace(tzinfo=None).isoformat(sep=" ")


def _peer(script: str, file: Path, data: Path, out: Path, asked: dict[str, Any]) -> Measured:
    for request in asked["cutoffs"]:
        (out / request["name"]).parent.mkdir(parents=True, exist_ok=True)
    print(f"  {script}", file=sys.stderr, flush=True)
    return measure([sys.executable, str(HERE / script), str(file), str(data / "complete-journey"), str(out)])


def differences(ours: Path, theirs: Path, asked: dict[str, Any]) -> str:
    """Compare every label and feature of all cutoffs.

    Raises:
        RuntimeError: population, labels or a feature differ by more than the tolerance.
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
                raise RuntimeError(f"{theirs} {request['name']} {feature}: ours {a[where]}, theirs {b[where]}")
            n += a.size
    return f"all {n:,} equal"
