"""Beside featuretools: deep feature synthesis with cutoff times, and the same LightGBM on both tables."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from ablation import compare
from accuracy import KEYS
from measure import HERE, SPLITS, Bench, Ecbehave, Measured, measure
from peer_models import lightgbm_scores
from section import Section, gigabytes, interval

from ecbehave.artifacts import Workspace
from ecbehave.inputs.types import TableInput
from ecbehave.stages.features import read_inputs

CONFIG = "churn"
STAGES = ("ingest", "clean", "features")
SPLIT = ("split.train=4", "split.test=2")
#: One household in so many: what it can finish in minutes.
ONE_IN = 3
#: It needs an older pandas, hence an environment of its own; `make bench` makes it.
PYTHON = Path(sys.prefix) / "featuretools" / "bin" / "python"
#: Set by hand before anything was measured, the same for both.
TREES: dict[str, Any] = {
    "n_estimators": 300,
    "learning_rate": 0.03,
    "num_leaves": 7,
    "min_child_samples": 50,
    "colsample_bytree": 0.3,
    "subsample": 0.7,
    "subsample_freq": 1,
    "reg_lambda": 5.0,
}


@dataclass(frozen=True)
class Table:
    """Features of the same train and test rows."""

    train: pl.DataFrame
    test: pl.DataFrame
    features: Sequence[str]


def sections(bench: Bench) -> Iterator[Section]:
    """Compare time and memory per row, then accuracy."""
    if not PYTHON.exists():
        raise RuntimeError(f"{PYTHON} is missing; make bench makes it, with requirements-featuretools.txt")
    folder = bench.scratch / "synthesis"
    ecbehave = Ecbehave(folder / "workspace")
    runs = [ecbehave.run(stage, CONFIG, *SPLIT)[0] for stage in STAGES]
    ours, n_rows = _ours(ecbehave.workspace)
    print("  synthesis_featuretools.py", file=sys.stderr, flush=True)
    keys = pl.concat([ours.train, ours.test]).select(*KEYS)
    measured, theirs = _theirs(folder, bench.data / "complete-journey", keys, ours)
    n_asked = keys.height
    rows = [
        _cost("ecbehave ingest + clean + features", runs, n_rows, len(ours.features), measured, n_asked),
        _cost("ecbehave features alone", runs[2:], n_rows, len(ours.features), measured, n_asked),
        _cost("featuretools 1.31.0", [measured], n_asked, len(theirs.features), measured, n_asked),
    ]
    data = f"Complete Journey; featuretools: one household in {ONE_IN}, ecbehave: all; seed 0"
    header = [
        "tool",
        "rows",
        "features",
        "wall time",
        "ms per row",
        "peak memory",
        "time per row, featuretools / this",
        "memory, featuretools / this",
    ]
    notes = [
        "deep feature synthesis to depth 2 from households, baskets, transactions and products, with its default "
        "aggregations and the time since the last: of all history, and of the 28 days before the cutoff",
        "each process starts from the source files; time per row: wall time over the rows of its table",
    ]
    yield Section("Beside deep feature synthesis: cost", header, rows, data, ecbehave.commands, notes)
    yield _accuracy(ours, theirs)


def _ours(workspace: Path) -> tuple[Table, int]:
    """Return our table of the sample, and how many rows the whole one has."""
    inputs = Workspace(workspace).read(f"{CONFIG}/inputs")
    if inputs is None:
        raise RuntimeError(f"the features stage has published nothing in {workspace}")
    timezone = inputs.manifest["config"]["dataset"]["timezone"]
    tables = {s: TableInput.concat(read_inputs(inputs, "table", s, timezone)) for s in SPLITS}
    is_sampled = pl.col("user_id").cast(pl.Int64) % ONE_IN == 0
    train, test = (tables[split].frame.filter(is_sampled) for split in ("train", "test"))
    return Table(train, test, tables["train"].features), sum(t.n_rows for t in tables.values())


def _theirs(folder: Path, data: Path, keys: pl.DataFrame, ours: Table) -> tuple[Measured, Table]:
    """Let featuretools build its table of the rows that ours has."""
    asked, out = folder / "asked.parquet", folder / "featuretools.parquet"
    keys.select(
        household_id=pl.col("user_id").cast(pl.Int64), time=pl.col("cutoff").dt.replace_time_zone(None)
    ).write_parquet(asked)
    measured = measure(
        [str(PYTHON), str(HERE / "synthesis_featuretools.py"), str(data), str(asked), str(out)]
    )
    built = pl.read_parquet(out).with_columns(
        pl.col("user_id").cast(pl.String), pl.col("cutoff").cast(ours.train.schema["cutoff"])
    )
    features = [c for c in built.columns if c not in KEYS]
    train, test = (
        part.select(*KEYS, "label").join(built, on=KEYS, how="left", validate="1:1")
        for part in (ours.train, ours.test)
    )
    return measured, Table(train, test, features)


def _cost(
    tool: str, runs: Sequence[Measured], n_rows: int, n_features: int, peer: Measured, n_peer: int
) -> list[str]:
    seconds, peak = sum(r.seconds for r in runs), max(r.tree_bytes for r in runs)
    per_row = seconds / n_rows
    ratios = [f"{peer.seconds / n_peer / per_row:.1f}", f"{peer.tree_bytes / peak:.2f}"]
    cells = [f"{n_rows:,}", f"{n_features}", f"{seconds:.1f} s", f"{1e3 * per_row:.2f}", gigabytes(peak)]
    return [tool, *cells, *ratios]


def _accuracy(ours: Table, theirs: Table) -> Section:
    compared = compare(_scored(ours), _scored(theirs))
    rows = [
        [
            metric.upper(),
            interval(compared["model"][metric]),
            interval(compared["baseline"][metric]),
            interval(compared["difference"][metric], "+"),
        ]
        for metric in ("auroc", "auprc")
    ]
    n_cutoffs = ours.test["cutoff"].n_unique()
    data = (
        f"churn in 28 days, one household in {ONE_IN}: {ours.train.height:,} train rows, {ours.test.height:,} rows of "
        f"{n_cutoffs} test cutoffs; seed 0"
    )
    settings = ", ".join(f"{k} {v}" for k, v in TREES.items())
    notes = [
        f"LGBMClassifier, the same for both, set by hand beforehand: {settings}; texts are categories",
        "in brackets: 95 % interval over 1,000 paired resamples of users",
    ]
    header = ["metric", "on our table", "on featuretools' table", "ours - theirs"]
    return Section("Beside deep feature synthesis: the same LightGBM on both", header, rows, data, [], notes)


def _scored(table: Table) -> pl.DataFrame:
    """Return the keys, labels and scores of the test rows."""
    scores = lightgbm_scores(table.train, table.test, table.features, **TREES)
    return table.test.select(*KEYS, "label").join(scores, on=KEYS, validate="1:1")
