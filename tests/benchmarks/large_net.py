"""A transformer of over 100 million weights on a simulated log: instants a second, memory, share of the limit.

It takes a GPU where torch sees one, and the CPU otherwise. As a program, `large_net.py FOLDER WIDTH SECONDS`, it trains
one net on the log in a folder.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import torch
from measure import HERE, Bench, Measured, measure
from section import Section, gigabytes
from simulated import N_ITEMS, SEED, in_words, simulate

from ecbehave.inputs.types import Inputs, SequenceInput, SequenceLog
from ecbehave.models import model_class
from ecbehave.models.deep.devices import autocast, pick_device, pick_precision
from ecbehave.models.deep.weights import count_weights
from ecbehave.models.making import make
from ecbehave.models.protocol import Options

LAYERS = 8
#: Width to about how many weights there are, those of items not counted in.
WIDTHS = {512: "20M", 1024: "84M"}
DEFAULT = 300_000
SECONDS = 120.0
#: Rows and columns of the matrices whose product tells how fast the device can be; and how often it is computed.
_SIZE = {"cuda": 8192, "cpu": 2048}
_REPEATS = 10


def sections(bench: Bench) -> Iterator[Section]:
    """Train nets of two sizes, each in a process of its own."""
    n_events = bench.n_events[0] if bench.n_events else DEFAULT
    shop = simulate(bench.scratch / "large", n_events)
    rows = []
    for width, about in WIDTHS.items():
        print(f"  width {width}", file=sys.stderr, flush=True)
        command = [sys.executable, str(HERE / "large_net.py"), str(shop.folder), str(width), str(SECONDS)]
        rows.append([f"{width}, {about} and items", *_cells(measure(command))])
    yield Section(
        "A large net",
        [
            "width",
            "weights",
            "device, numbers",
            "instants a second",
            "of the device's limit",
            "peak memory",
            "of the device",
        ],
        rows,
        f"simulated, a year, every type of event, {in_words(shop.n_events)} events, {N_ITEMS:,} items; seed {SEED}",
        [shop.command],
        [
            f"transformer, {LAYERS} layers; the next items of every event, loss: sampled with 1,024 negatives; "
            f"{SECONDS:.0f} s",
            "instants a second: an instant is all that a user does at one time",
            "of the device's limit: 6 operations a weight of the encoder and an instant, without what attention and "
            "the loss take, as a share of what a product of two large matrices does there a second",
        ],
    )


def _cells(done: Measured) -> list[str]:
    told = json.loads(done.stdout.splitlines()[-1])
    used = 6 * told["n_encoder"] * told["per_second"] / told["limit"]
    return [
        f"{told['n_weights'] / 1e6:,.0f}M",
        f"{told['device']}, {told['precision']}",
        f"{told['per_second']:,.0f}",
        f"{used:.0%} of {told['limit'] / 1e9:,.0f} GFLOP/s",
        gigabytes(done.peak_bytes),
        gigabytes(told["device_bytes"]) if told["device_bytes"] else "-",
    ]


class _Speed:
    """Keeps how fast training was at last, since it began."""

    per_second = 0.0

    def say(self, message: str) -> None:
        """Print a message."""
        print(f"  {message}", file=sys.stderr, flush=True)

    def show(self, moment: Any) -> None:
        """Note how fast training is."""
        self.per_second = moment.per_second

    def learned(self, curves: Any) -> None:
        """Nothing is left to note."""


def main() -> None:
    """Train a net for so many seconds."""
    folder, width, seconds = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    history = _history(folder)
    device = pick_device("auto")
    precision = pick_precision("auto", device)
    names = history.sequence.log.event_types
    settings = {
        "kind": "transformer",
        "event_weights": dict.fromkeys(names, 1.0),
        "width": width,
        "layers": LAYERS,
        "loss": "sampled",
        "item_vectors": "random",
        "training": {"batch": 256 if device.type == "cuda" else 32, "max_seconds": seconds, "warmup": 0.01},
    }
    kind = model_class("transformer")
    model = make(kind.config_class.model_validate(settings), "ranking")
    speed = _Speed()
    model.fit([history], [], Options(0, os.cpu_count() or 1, output="ranking", watcher=speed))
    net = model.kind.net_
    told = {
        "n_weights": count_weights(net),
        "n_encoder": count_weights(net.encoder),
        "per_second": speed.per_second,
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "CPU",
        "precision": str(precision).removeprefix("torch."),
        "limit": _limit(device, precision),
        "device_bytes": torch.cuda.max_memory_allocated() if device.type == "cuda" else 0,
    }
    print(json.dumps(told))


def _history(folder: Path) -> Inputs:
    columns = ["user_id", "item_id", "ts", "event_type"]
    events = pl.read_parquet(folder / "events" / "*.parquet", columns=columns)
    log = SequenceLog.of(events)
    cutoff = events["ts"].max()
    ends = log.offsets[1:]
    return Inputs(cutoff, sequence=SequenceInput(cutoff, log, ends, log.ts[ends - 1] + 1))


def _limit(device: torch.device, precision: torch.dtype) -> float:
    """Return how many operations a product of two large matrices does a second."""
    size = _SIZE[device.type]
    torch.set_num_threads(os.cpu_count() or 1)
    a, b = torch.ones(2, size, size, device=device)

    def multiply() -> None:
        for _ in range(_REPEATS):
            torch.mm(a, b)
        if device.type == "cuda":
            torch.cuda.synchronize()

    with torch.no_grad(), autocast(device, precision):
        multiply()
        started = time.perf_counter()
        multiply()
        seconds = time.perf_counter() - started
    return float(2 * size**3 * _REPEATS / seconds)


if __name__ == "__main__":
    main()
