"""Do probabilities mean what they say? Calibration error beside what chance alone would show, by method."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from accuracy import FOUR_WINDOWS
from measure import Bench, Ecbehave
from section import Section
from simulated import simulate

from ecbehave.metrics.chance import LEVEL, N_DRAWS, calibration_chance
from ecbehave.metrics.classification import N_BINS, auroc, calibration_error
from ecbehave.metrics.known_rates import at_known_rates

METHODS = ("auto", "platt", "beta", "isotonic")
METHOD_KEY = "calibration.method"
#: Users of the simulated shop; 45 % of them are in the test population.
N_USERS, EVENTS_PER_USER, DAYS = 450_000, 15, 180
#: Everybody who came within three months is asked about, and few features are enough to have probabilities.
SIMULATED = ("task.active_within=91d", "features.groups=[]", "split.train=2")
HEADER = [
    "log and question",
    "n",
    "method",
    "AUROC, scores",
    "AUROC, probabilities",
    "calibration error",
    "by chance",
    "error, rate of each cutoff known",
]


@dataclass(frozen=True)
class _Log:
    name: str
    config: str
    settings: Sequence[str] = ()
    needs_retailrocket: bool = False


LOGS = (
    _Log("Complete Journey, churn 28 d", "churn"),
    _Log("the same, four test cutoffs", "churn", FOUR_WINDOWS),
    _Log("Complete Journey, purchase 7 d", "purchase"),
    _Log("the same, four test cutoffs", "purchase", FOUR_WINDOWS),
    _Log("Retailrocket buyers, purchase 14 d", "retailrocket_purchase", needs_retailrocket=True),
    _Log("the same, four test cutoffs", "retailrocket_purchase", ("split.test=4",), needs_retailrocket=True),
)


def sections(bench: Bench) -> Iterator[Section]:
    """Judge each method on real logs, and on a simulated one with about 200,000 test users."""
    rows: list[list[str]] = []
    commands: list[str] = []
    for log in LOGS:
        if bench.has_retailrocket or not log.needs_retailrocket:
            ran, of_log = _rows(log, bench.scratch / "calibration" / log.config)
            rows, commands = rows + of_log, commands + ran
    folder, n_events = bench.scratch / "calibration" / "shop", N_USERS * EVENTS_PER_USER
    shop = simulate(folder, n_events, days=DAYS, events_per_user=EVENTS_PER_USER)
    simulated = _Log("simulated, purchase 14 d", "simulated", SIMULATED)
    ran, of_log = _rows(simulated, bench.scratch / "calibration" / "simulated")
    notes = [
        "boosting with its defaults, learned before the validation window; each method is learned on that window, and "
        "judged on the test windows after it",
        f"calibration error: over {N_BINS} bins of equal mass; by chance: what {LEVEL:.0%} of {N_DRAWS:,} draws of "
        "labels with exactly these probabilities stay below",
        "rate of each cutoff known: the log-odds of each test cutoff are shifted by the one number that makes the mean "
        "probability the rate; what goes away is drift of the base rate, and what remains is shape",
    ]
    commands = [*commands, shop.command, *ran]
    data = "Complete Journey, Retailrocket buyers, and a simulated shop; seed 0"
    yield Section("Calibration", HEADER, rows + of_log, data, commands, notes)


def _rows(log: _Log, workspace: Path) -> tuple[list[str], list[list[str]]]:
    ecbehave = Ecbehave(workspace)
    rows = []
    for method in METHODS:
        ecbehave.run("run", log.config, *log.settings, f"{METHOD_KEY}={method}", "predict.refit=false")
        scores = pl.read_parquet(workspace / log.config / "evaluation" / "test_scores.parquet")
        rows.append([log.name, f"{scores.height:,}", method, *_cells(scores)])
    return ecbehave.commands, rows


def _cells(scores: pl.DataFrame) -> list[str]:
    label, probability = scores["label"].to_numpy(), scores["probability"].to_numpy()
    numbers = (
        auroc(label, scores["score"].to_numpy()),
        auroc(label, probability),
        calibration_error(label, probability),
        calibration_chance(probability, np.random.default_rng(0)),
        calibration_error(label, at_known_rates(label, probability, scores["cutoff"])),
    )
    return [f"{number:.4f}" for number in numbers]
