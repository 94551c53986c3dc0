"""Ten and a hundred million events in 4 GB: seconds per million must not grow, nor memory."""

import shutil
from collections.abc import Iterator

from measure import Bench, Ecbehave, Measured
from section import Section, gigabytes
from simulated import N_ITEMS, in_words, simulate

STAGES = ("ingest", "clean", "features")
MEMORY = "4GB"
DIRT = 0.01
DEFAULT = (10_000_000,)


def sections(bench: Bench) -> Iterator[Section]:
    """Measure the three stages at each size."""
    rows: list[list[str]] = []
    commands: list[str] = []
    base: dict[str, float] = {}
    for n_events in bench.n_events or DEFAULT:
        folder = bench.scratch / f"scale-{n_events}"
        shop = simulate(folder / "shop", n_events, f"--dirt={DIRT}")
        ecbehave = Ecbehave(folder / "workspace")
        runs = {stage: ecbehave.run(stage, "simulated", memory=MEMORY)[0] for stage in STAGES}
        commands += [shop.command, *ecbehave.commands]
        for stage, measured in [*runs.items(), ("together", _together(list(runs.values())))]:
            per_million = measured.seconds / shop.n_events * 1e6
            ratio = per_million / base.setdefault(stage, per_million)
            rows.append([in_words(shop.n_events), stage, *_cells(measured, per_million), f"{ratio:.2f}"])
        shutil.rmtree(folder)
    header = [
        "events",
        "stage",
        "wall time",
        "s per million",
        "peak, process",
        "peak, with children",
        "ratio",
    ]
    data = (
        f"simulated, a year, every type of event, {DIRT:.0%} of the rows with a flaw, 20,000 users per million "
        f"events, {N_ITEMS:,} items; seed 0"
    )
    notes = [
        f"features: the whole catalogue at four cutoffs; each stage is a process of its own with --memory {MEMORY}; "
        f"one run",
        "peak, with children: the resident sizes of the process and its children, added up every 50 ms",
        "ratio: seconds per million against those at the smallest size",
    ]
    yield Section(f"Scale, with --memory {MEMORY}", header, rows, data, commands, notes)


def _together(runs: list[Measured]) -> Measured:
    peak, tree = max(r.peak_bytes for r in runs), max(r.tree_bytes for r in runs)
    return Measured("", sum(r.seconds for r in runs), peak, tree)


def _cells(measured: Measured, per_million: float) -> list[str]:
    peaks = [gigabytes(measured.peak_bytes), gigabytes(measured.tree_bytes)]
    return [f"{measured.seconds:.1f} s", f"{per_million:.2f}", *peaks]
