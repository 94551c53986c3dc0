"""What `boosting` costs beyond LightGBM itself, and what it takes to score ten million users."""

import json
import shutil
import statistics
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from boosting_fit import N_TREES, WHO
from measure import HERE, Bench, Ecbehave, Measured, measure
from section import Section, gigabytes
from simulated import Shop, in_words, simulate

N_CUTOFFS, ROWS_PER_CUTOFF, N_VALID, N_FEATURES = 4, 250_000, 100_000, 150
UNKNOWN = 0.2
SMALL_SHOP, CROWD = 500_000, 1_000_000
#: Days of the small shop, and of the crowd that comes after it.
DAYS, CROWD_DAYS = 180, 28
VISITORS_PER_FILE = 250_000
MEMORY = "2GB"


def sections(bench: Bench) -> Iterator[Section]:
    """Measure fit, then prediction."""
    yield _fit(bench.scratch / "boosting-fit", bench.repeats)
    yield _predict(bench.scratch / "boosting-predict", max(bench.n_events or (CROWD,)))


def _fit(folder: Path, repeats: int) -> Section:
    folder.mkdir()
    *train, valid = _tables(folder)
    runs: dict[str, list[Measured]] = {who: [] for who in WHO}
    scores: dict[str, np.ndarray] = {}
    for _ in range(repeats):
        for who, done in runs.items():
            out = folder / f"{who}.npy"
            command = [sys.executable, str(HERE / "boosting_fit.py"), who, ",".join(map(str, train))]
            print(f"  boosting_fit.py {who}", file=sys.stderr, flush=True)
            done.append(measure([*command, str(valid), str(out)]))
            scores[who] = np.load(out)
    shutil.rmtree(folder)
    apart = float(np.abs(scores["ecbehave"] - scores["LightGBM"]).max())
    cost = {who: _cost(done) for who, done in runs.items()}
    bare = cost["LightGBM"]
    rows = [
        [who, *_cells(mine), *(f"{a / b:.2f}" for a, b in zip(mine, bare, strict=True))]
        for who, mine in cost.items()
    ]
    header = [
        "who",
        f"fit, median of {repeats}",
        "whole process",
        "peak memory",
        "fit / LightGBM's",
        "process / LightGBM's",
        "memory / LightGBM's",
    ]
    n_rows = N_CUTOFFS * ROWS_PER_CUTOFF
    data = (
        f"{n_rows:,} train rows of {N_CUTOFFS} cutoffs and {N_VALID:,} validation rows x {N_FEATURES} features, "
        f"normal, {UNKNOWN:.0%} unknown; seed 0"
    )
    notes = [
        f"{N_TREES} trees with the same parameters, in processes of their own that read the same Parquet files: "
        "tests/benchmarks/boosting_fit.py",
        "fit: the call alone, with the default selection and transformation of features in ours",
        f"largest difference between the scores of the validation rows: {apart:g}",
    ]
    return Section("What boosting costs beyond LightGBM", header, rows, data, [], notes)


def _tables(folder: Path) -> list[Path]:
    """Write the train cutoffs and the validation window; a tenth of the features tell something."""
    rng = np.random.default_rng(0)
    weight = np.where(np.arange(N_FEATURES) < N_FEATURES // 10, rng.normal(size=N_FEATURES), 0) / 4
    files = []
    for i, n_rows in enumerate([ROWS_PER_CUTOFF] * N_CUTOFFS + [N_VALID]):
        values = rng.normal(size=(n_rows, N_FEATURES)).astype(np.float32)
        label = rng.random(n_rows) < 1 / (1 + np.exp(1 - values @ weight))
        values[rng.random(values.shape, dtype=np.float32) < UNKNOWN] = np.nan
        keys = {
            "user_hash": np.arange(n_rows, dtype=np.uint64),
            "user_id": np.arange(n_rows).astype(str),
            "cutoff": [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=14 * i)] * n_rows,
            "label": label.astype(np.int8),
        }
        features = {f"feature_{j}": values[:, j] for j in range(N_FEATURES)}
        files.append(folder / f"part_{i}.parquet")
        pl.DataFrame(keys | features, nan_to_null=True).write_parquet(files[-1])
    return files


def _cost(runs: Sequence[Measured]) -> tuple[float, float, float]:
    """Return the medians of the seconds of the fit, the seconds of the process, and the bytes at its peak."""
    fit = statistics.median(json.loads(r.stdout)["seconds"] for r in runs)
    return fit, statistics.median(r.seconds for r in runs), statistics.median(r.peak_bytes for r in runs)


def _cells(cost: tuple[float, float, float]) -> list[str]:
    return [f"{cost[0]:.1f} s", f"{cost[1]:.1f} s", gigabytes(cost[2])]


def _predict(folder: Path, n_visitors: int) -> Section:
    """Train on a small shop, let a crowd come, and score everybody who came."""
    shop = simulate(folder / "shop", SMALL_SHOP, days=DAYS)
    ecbehave = Ecbehave(folder / "workspace")
    for stage in ("ingest", "clean", "features", "train"):
        ecbehave.run(stage, "simulated", memory=MEMORY)
    _let_in(shop, n_visitors)
    runs = {
        stage: ecbehave.run(stage, "simulated", memory=MEMORY) for stage in ("ingest", "clean", "predict")
    }
    measured, result = runs["predict"]
    n_scored = result["rows"]
    shutil.rmtree(folder)
    rows = [
        [
            f"{n_scored:,}",
            f"{measured.seconds:.1f} s",
            f"{measured.seconds / n_scored * 1e6:.1f} s",
            gigabytes(measured.peak_bytes),
            gigabytes(measured.tree_bytes),
        ]
    ]
    header = ["users scored", "wall time", "per million", "peak, process", "peak, with children"]
    data = (
        f"simulated: a shop of {in_words(shop.n_events)} events in {DAYS} days; then {n_visitors:,} new users, with a "
        f"view and a purchase each, in {CROWD_DAYS} days; seed 0"
    )
    notes = [
        f"`predict --memory {MEMORY}` builds the features of everybody who came within 28 days, scores them, and says "
        "why for the 100,000 highest scores; one run",
    ]
    return Section("Scoring a crowd", header, rows, data, [shop.command, *ecbehave.commands], notes)


def _let_in(shop: Shop, n_visitors: int) -> None:
    """Add files of new users to a shop's log, after its last day."""
    rng = np.random.default_rng(0)
    schema = pl.read_parquet_schema(shop.events[0])
    items = pl.read_parquet(shop.folder / "items.parquet")["item_id"]
    first = pl.read_parquet(shop.events[-1])["ts"].max()
    for start in range(0, n_visitors, VISITORS_PER_FILE):
        user = np.repeat(np.arange(start, min(start + VISITORS_PER_FILE, n_visitors)), 2)
        known = pl.DataFrame(
            {
                "user_id": pl.Series(user).cast(pl.String).str.pad_start(10, "v"),
                "item_id": items.gather(rng.integers(items.len(), size=user.size)),
                "event_type": np.tile(["view", "purchase"], user.size // 2),
                "ts": pl.Series(rng.integers(CROWD_DAYS * 86_400, size=user.size) * 1_000_000).cast(
                    pl.Duration("us")
                )
                + first,
            }
        )
        unknown = [
            pl.lit(None, dtype).alias(name) for name, dtype in schema.items() if name not in known.columns
        ]
        rows = known.with_columns(unknown).select(pl.col(name).cast(dtype) for name, dtype in schema.items())
        rows.sort("ts").write_parquet(shop.folder / "events" / f"visitors_{start:010}.parquet")
