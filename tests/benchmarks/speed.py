"""Seconds and peak memory of the whole pipeline, stage by stage, and of other tools for the part that they can do."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from measure import Ecbehave, Measured
from peer_features import PEERS, TOLERANCE, count_equal, requests, run_peer
from section import Section, gigabytes

from ecbehave.artifacts import Workspace

DATA = "Complete Journey, all of it: 1,469,307 rows, 2,469 households; seed 0"
CHURN = "churn"
#: The part of the catalogue that the peers do by hand.
ONLY_AGGREGATES = "features.groups=[]"
BY_HAND = ("DuckDB", "pandas")
STAGES = ("ingest", "clean", "features", "train", "evaluate", "predict")

Runs = Sequence[Measured]


def whole_run(scratch: Path, repeats: int) -> Section:
    """Measure all six stages from an empty workspace, and the same command again."""
    first: list[Measured] = []
    again: list[Measured] = []
    n_changed: list[int] = []
    n_done: list[int] = []
    for repeat in range(repeats):
        ecbehave = Ecbehave(scratch / f"whole-{repeat}")
        first.append(ecbehave.run("run", CHURN)[0])
        before = _stored(ecbehave.workspace)
        measured, result = ecbehave.run("run", CHURN)
        again.append(measured)
        after = _stored(ecbehave.workspace)
        n_changed.append(sum(before.get(p) != after.get(p) for p in before.keys() | after.keys()))
        n_done.append(sum(stage["status"] != "skipped" for stage in result["stages"]))
    rows = [
        ["first run: wall time", *_seconds(first), "under 60 s"],
        ["first run: peak memory", *_sizes(first), "under 2 GB"],
        ["same run again: wall time", *_seconds(again), "under 2 s"],
        ["same run again: peak memory", *_sizes(again), ""],
        [f"same run again: files rewritten, of {len(after)}", *_counts(n_changed), "0"],
        [f"same run again: stages done, of {len(STAGES)}", *_counts(n_done), "0"],
    ]
    notes = [
        "peak memory: the largest resident size of the process, as the kernel tells its parent (wait4)",
        "rewritten: inode, size or time of a file is another than before; every file but .lock is compared",
    ]
    header = ["churn in 28 days, boosting, six stages", f"median of {repeats}", "each", "aim"]
    return Section("The whole pipeline", header, rows, DATA, ecbehave.commands, notes)


def _stored(workspace: Path) -> dict[str, tuple[int, int, int]]:
    """Return inode, size and time of change of every file."""
    stats = {str(p): p.stat() for p in workspace.rglob("*") if p.is_file() and p.name != ".lock"}
    return {path: (s.st_ino, s.st_size, s.st_mtime_ns) for path, s in stats.items()}


def stages_and_peers(scratch: Path, data: Path, repeats: int) -> list[Section]:
    """Measure each stage as a process of its own, and the peers on the same cutoffs."""
    runs: dict[str, list[Measured]] = {stage: [] for stage in STAGES}
    aggregates: list[Measured] = []
    for repeat in range(repeats):
        ecbehave = Ecbehave(scratch / f"stages-{repeat}")
        for stage in STAGES:
            runs[stage].append(ecbehave.run(stage, CHURN)[0])
        aggregates.append(ecbehave.run("features", CHURN, ONLY_AGGREGATES)[0])
    rows = [[stage, *_seconds(r), *_sizes(r)] for stage, r in runs.items()]
    header = ["stage", f"wall time, median of {repeats}", "each", "peak memory", "each"]
    stages = Section("Each stage as a process of its own", header, rows, DATA, ecbehave.commands)
    return [stages, _peers(scratch, ecbehave.workspace, data, repeats, runs["clean"], aggregates)]


def _peers(
    scratch: Path, workspace: Path, data: Path, repeats: int, clean: Runs, aggregates: Runs
) -> Section:
    inputs = Workspace(workspace).read(f"{CHURN}/inputs")
    if inputs is None:
        raise RuntimeError(f"the features stage has published nothing in {workspace}")
    asked = requests(inputs, "complete_journey", data / "complete-journey")
    ours = [clean, aggregates]
    our_seconds, our_peak = sum(map(_median_seconds, ours)), max(map(_median_peak, ours))

    def row(tool: str, seconds: float, peak: float, checked: str) -> list[str]:
        ratios = [f"{seconds / our_seconds:.2f}", f"{peak / our_peak:.2f}"]
        return [tool, f"{seconds:.1f} s", gigabytes(peak), *ratios, checked]

    rows = [row("ecbehave clean + features", our_seconds, our_peak, "")]
    rows.append(row("ecbehave features alone", *_medians(aggregates), ""))
    for name in BY_HAND:
        # The first run is for the values; only the runs after it count.
        run_peer(name, asked, scratch / f"{name}-values")
        n_equal = count_equal(inputs.path / "table", scratch / f"{name}-values", asked)
        measured = [run_peer(name, asked, scratch / f"{name}-{i}") for i in range(repeats)]
        rows.append(row(name, *_medians(measured), f"all {n_equal:,}"))
    n_cutoffs, n_features = len(asked["cutoffs"]), len(asked["features"])
    notes = [
        f"the peers read the source files and write the same population, labels and {n_features} features of the "
        f"same {n_cutoffs} cutoffs: tests/benchmarks/{', '.join(PEERS[n][0] for n in BY_HAND)}",
        f"features alone: ecbehave features --set {ONLY_AGGREGATES}, which is what the peers do",
        f"values equal: within {TOLERANCE:g}, before any time is taken",
        "ecbehave also judges every row, drops duplicates, sorts into a total order, stores the log by bucket, checks "
        "and syncs what it writes, and starts two processes; the peers do none of this",
    ]
    header = [
        "tool",
        f"wall time, median of {repeats}",
        "peak memory",
        "time / ours",
        "memory / ours",
        "values equal",
    ]
    return Section(f"Windowed features of {n_cutoffs} cutoffs", header, rows, DATA, [], notes)


def _counts(values: Sequence[int]) -> list[str]:
    return [f"{statistics.median(values):.0f}", ", ".join(map(str, values))]


def _medians(runs: Runs) -> tuple[float, float]:
    return _median_seconds(runs), _median_peak(runs)


def _median_seconds(runs: Runs) -> float:
    return statistics.median(r.seconds for r in runs)


def _median_peak(runs: Runs) -> float:
    return statistics.median(r.peak_bytes for r in runs)


def _seconds(runs: Runs) -> list[str]:
    return [f"{_median_seconds(runs):.1f} s", ", ".join(f"{r.seconds:.1f}" for r in runs)]


def _sizes(runs: Runs) -> list[str]:
    return [gigabytes(_median_peak(runs)), ", ".join(f"{r.peak_bytes / 1e9:.2f}" for r in runs)]
