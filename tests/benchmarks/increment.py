"""Files of new days: what a night costs against a rebuild, and whether both end with the same bytes."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import polars as pl
from measure import Bench, Ecbehave, Measured
from section import Section, gigabytes
from simulated import Shop, in_words, replace, simulate

CONFIG = "simulated"
STAGES = ("ingest", "clean")
DEFAULT = (10_000_000,)
#: Days of the log, each in a file, and how many of them come anew: 1 % of the log.
LOGS = {100: 1, 365: 4}
#: Days before the last one of which some rows come late, and one of how many rows does.
LATE_DAYS, LATE_ROWS = (1, 3, 8), 1_000
HEADER = [
    "events",
    "days",
    "what",
    "ingest",
    "clean",
    "together",
    "of the rebuild",
    "peak memory",
    "files rewritten",
]


def sections(bench: Bench) -> Iterator[Section]:
    """Measure at each size."""
    rows: list[list[str]] = []
    commands: list[str] = []
    for n_events in bench.n_events or DEFAULT:
        for n_days, n_new in LOGS.items():
            folder = bench.scratch / f"increment-{n_events}-{n_days}"
            shop = simulate(folder / "shop", n_events, "--days-per-file=1", "--dirt=0.01", days=n_days)
            found, ran = _nights(folder, shop, n_new)
            rows += [[in_words(shop.n_events), f"{n_days}", *row] for row in found]
            commands += [shop.command, *ran]
            shutil.rmtree(folder)
    data = "simulated, a file a day, every type of event, 1 % of the rows with a flaw; seed 0"
    days = ", ".join(f"{d}" for d in LATE_DAYS)
    notes = [
        f"late rows: one in {LATE_ROWS:,} of the days {days} before the last, in a file of their own",
        "the rebuild starts from an empty workspace; after each night the two folders clean/ hold the same bytes, "
        "but for what the manifest says of the run",
        "files rewritten: of those in clean/, whose content is another than before",
    ]
    yield Section("A nightly increment of 1 %", HEADER, rows, data, commands, notes)


def _nights(folder: Path, shop: Shop, n_new: int) -> tuple[list[list[str]], list[str]]:
    """Clean all but the last days, add them, and then rows that come late; returns rows of the table and commands."""
    aside = folder / "aside"
    aside.mkdir()
    last = shop.events[-n_new:]
    late = _hold_back(shop, aside / "late.parquet")
    for file in last:
        file.rename(aside / file.name)
    nightly = Ecbehave(folder / "nightly")
    _run(nightly)
    rows = []
    days = "a new day" if n_new == 1 else f"{n_new} new days"
    for what, files in ((days, [file.name for file in last]), ("late rows", [late.name])):
        for name in files:
            (aside / name).rename(shop.folder / "events" / name)
        before = stored(nightly.workspace)
        night = _run(nightly)
        rebuild = Ecbehave(folder / "rebuild")
        whole = _run(rebuild)
        after = stored(nightly.workspace)
        if after != stored(rebuild.workspace):
            raise RuntimeError(f"{what}: clean/ is not what a rebuild makes")
        n_changed = sum(before.get(path) != digest for path, digest in after.items())
        rows.append([what, *_cells(night, whole), f"{n_changed} of {len(after)}"])
        rows.append([f"{what}: rebuild", *_cells(whole, whole), f"all {len(after)}"])
        shutil.rmtree(rebuild.workspace)
    return rows, nightly.commands


def _run(ecbehave: Ecbehave) -> list[Measured]:
    return [ecbehave.run(stage, CONFIG)[0] for stage in STAGES]


def _cells(runs: list[Measured], whole: list[Measured]) -> list[str]:
    seconds = [r.seconds for r in runs]
    total = sum(seconds)
    share = total / sum(r.seconds for r in whole)
    peak = gigabytes(max(r.tree_bytes for r in runs))
    return [*(f"{s:.1f} s" for s in [*seconds, total]), f"{share:.3f}", peak]


def _hold_back(shop: Shop, out: Path) -> Path:
    """Move rows of some of the last days to a file of their own."""
    held = []
    for days in LATE_DAYS:
        file = shop.events[-1 - days]
        rows = pl.read_parquet(file).with_row_index("row")
        is_late = pl.col("row") % LATE_ROWS == 0
        held.append(rows.filter(is_late).drop("row"))
        replace(file, rows.filter(~is_late).drop("row"))
    pl.concat(held, how="vertical_relaxed").write_parquet(out)
    return out


def stored(workspace: Path) -> dict[str, str]:
    """Return a digest of every file of the clean log; of the manifest without what it says of the run."""
    folder = workspace / "clean"
    digests = {}
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            content = file.read_bytes()
            if file.name == "manifest.json":
                manifest = json.loads(content)
                content = json.dumps({k: v for k, v in manifest.items() if k != "run"}).encode()
            digests[str(file.relative_to(folder))] = hashlib.sha256(content).hexdigest()
    return digests
