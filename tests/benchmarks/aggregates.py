"""The same windowed aggregates by us and by peers, at sizes at which memory and time count."""

import shutil
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

from measure import Bench, Ecbehave, KilledError, Measured
from peer_features import PEERS, TOLERANCE, Kind, count_equal, requests, run_peer
from section import Section, gigabytes
from simulated import N_ITEMS, Shop, in_words, keep_three_types, simulate

from ecbehave.artifacts import Artifact, Workspace

CONFIG = "aggregates"
DEFAULT = (5_000_000,)
#: Above this size each tool runs once, and pandas not at all.
SMALL = 5_000_000
#: What part of a simulated log is left of it.
SHARE = 0.83
DATA = (
    "simulated, a year, views, carts and purchases, 1 % of the rows twice, 24,000 users per million events, "
    f"{N_ITEMS:,} items; seed 0"
)
OURS = "ecbehave"
HEADER = ["events", "tool", "wall time", "peak memory", "time / ours", "memory / ours", "values equal"]


def sections(bench: Bench) -> Iterator[Section]:
    """Measure at each size, features alone and the whole way from the source files."""
    alone: list[list[str]] = []
    whole: list[list[str]] = []
    commands: list[str] = []
    asked_for = ""
    for n_events in bench.n_events or DEFAULT:
        size = _Size(bench, n_events)
        commands += [size.shop.command, *size.ecbehave.commands]
        alone += size.alone()
        whole += size.whole()
        asked_for = f"{len(size.inputs.info['features'])} aggregates at four cutoffs"
        shutil.rmtree(size.folder)
    once = f"median of {bench.repeats} runs up to {in_words(SMALL)} events, of one above"
    notes = [
        "the peers read our clean log (Parquet) and write the same population, labels and features: "
        "tests/benchmarks/features_duckdb.py, features_pandas.py, features_polars.py",
        f"values equal: within {TOLERANCE:g}, before any time is taken; {once}",
        "DuckDB: the log in a table; view: read again for each cutoff",
        "Polars: one lazy query per cutoff over the whole log, by its default engine and by the streaming one",
        "aim at 50M: the fastest peer takes 1.50 of our time or more, and none under 4.00 of our memory",
    ]
    yield Section(f"{asked_for}, from the clean log", HEADER, alone, DATA, commands, notes)
    notes = [
        "DuckDB reads the source files, drops exact duplicates by SELECT DISTINCT, joins the items, and does the rest "
        "as above; it stores, checks and judges nothing on the way",
        "ecbehave: ingest, clean and features, with everything that they do; the largest peak of the three",
    ]
    yield Section(f"{asked_for}, from the source files", HEADER, whole, DATA, commands, notes)


class _Size:
    """A simulated log, our runs on it, and the peers."""

    def __init__(self, bench: Bench, n_events: int) -> None:
        self.folder = bench.scratch / f"aggregates-{n_events}"
        self.shop: Shop = keep_three_types(simulate(self.folder / "shop", round(n_events / SHARE)))
        self.is_small = n_events <= SMALL
        self.repeats = bench.repeats if self.is_small else 1
        self.ecbehave = Ecbehave(self.folder / "workspace")
        self.before = [self.ecbehave.run(stage, CONFIG)[0] for stage in ("ingest", "clean")]
        self.features = [self._features() for _ in range(self.repeats)]
        found = Workspace(self.ecbehave.workspace).read(f"{CONFIG}/inputs")
        if found is None:
            raise RuntimeError(f"the features stage has published nothing in {self.ecbehave.workspace}")
        self.inputs: Artifact = found

    def _features(self) -> Measured:
        shutil.rmtree(self.ecbehave.workspace / CONFIG, ignore_errors=True)
        return self.ecbehave.run("features", CONFIG)[0]

    def alone(self) -> list[list[str]]:
        """Compare what reads the clean log."""
        peers = [name for name in PEERS if name != "pandas" or self.is_small]
        return self._rows(peers, "clean", self.ecbehave.workspace / "clean", _median(self.features))

    def whole(self) -> list[list[str]]:
        """Compare what reads the source files."""
        parts = [*self.before, _median(self.features)]
        peak, tree = max(p.peak_bytes for p in parts), max(p.tree_bytes for p in parts)
        ours = Measured("", sum(p.seconds for p in parts), peak, tree)
        return self._rows(["DuckDB"], "shop", self.shop.folder, ours)

    def _rows(self, peers: Sequence[str], kind: Kind, log: Path, ours: Measured) -> list[list[str]]:
        asked = requests(self.inputs, kind, log)
        rows = [self._row(OURS, ours, ours, "")]
        for name in peers:
            out = self.folder / f"{kind}-{name}"
            try:
                first = run_peer(name, asked, out / "values")
                n_equal = count_equal(self.inputs.path / "table", out / "values", asked)
                again = range(self.repeats if self.is_small else 0)
                runs = [run_peer(name, asked, out / f"{i}") for i in again] or [first]
            except KilledError:
                rows.append([in_words(self.shop.n_events), name, "out of memory", *[""] * 4])
            else:
                rows.append(self._row(name, _median(runs), ours, f"all {n_equal:,}"))
            shutil.rmtree(out)
        return rows

    def _row(self, tool: str, measured: Measured, ours: Measured, checked: str) -> list[str]:
        ratios = [measured.seconds / ours.seconds, measured.tree_bytes / ours.tree_bytes]
        cells = [f"{measured.seconds:.1f} s", gigabytes(measured.tree_bytes), *(f"{r:.2f}" for r in ratios)]
        return [in_words(self.shop.n_events), tool, *cells, checked]


def _median(runs: Sequence[Measured]) -> Measured:
    peaks = [
        int(statistics.median(values))
        for values in zip(*((r.peak_bytes, r.tree_bytes) for r in runs), strict=True)
    ]
    return Measured("", statistics.median(r.seconds for r in runs), *peaks)
