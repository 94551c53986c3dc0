"""Nets over sequences beside RecBole's: targets and lists a second, memory, and the NDCG that is reached.

As a program, `nets_speed.py FILE KIND LOSS EPOCHS`, it trains one of ours and lists items by it.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from beauty import read
from deep_beauty import Data, judge
from measure import HERE, Bench, Measured, measure
from section import Section, gigabytes

from ecbehave.models import model_class
from ecbehave.models.making import make
from ecbehave.models.protocol import Options

#: It needs older packages, hence an environment of its own; `make bench` makes it.
PYTHON = Path(sys.prefix) / "recbole" / "bin" / "python"
PEERS = {"transformer": "SASRec", "rnn": "GRU4Rec"}
EPOCHS, LENGTH = 3, 20
#: Width, length, loss and about as many targets a step as the peer has: 512, of 6 a sequence.
SETTINGS: dict[str, Any] = {
    "event_weights": {"review": 1.0},
    "min_events": 1,
    "shared_rows": 0,
    "width": 64,
    "length": 50,
    "dropout": 0.2,
    "input_dropout": 0.2,
    "training": {"epochs": EPOCHS, "batch": 88, "learning_rate": 0.002, "patience": EPOCHS},
}


def sections(bench: Bench) -> Iterator[Section]:
    """Compare on Amazon Beauty, where it is."""
    folder = bench.scratch / "recbole"
    file = _prepared(bench, folder)
    if file is None:
        return
    rows = []
    for kind, peer in PEERS.items():
        own, theirs = _commands(file, folder, kind, peer)
        commands = {
            f"ecbehave {kind}": [*own, "softmax", str(EPOCHS)],
            f"ecbehave {kind}, loss: sampled": [*own, "sampled", str(EPOCHS)],
            f"RecBole {peer}": [*theirs, str(EPOCHS)],
        }
        for who, command in commands.items():
            print(f"  {who}", file=sys.stderr, flush=True)
            rows.append([who, *_cells(measure(command))])
    yield Section(
        "Training beside RecBole 1.2.1",
        [
            "net",
            "targets",
            "an epoch",
            "targets a second",
            "NDCG@10",
            "lists of 20",
            "peak memory",
        ],
        rows,
        "Amazon Beauty, leave-one-out; NDCG of the validation items over all users, all items ranked but those had",
        notes=[
            f"{EPOCHS} epochs, full cross-entropy but for loss: sampled, hidden size 64, at most 50 items, all cores, "
            "one run; RecBole: 512 prefixes a step and its other defaults; ours: 88 sequences, as many targets, other "
            "settings in tests/benchmarks/nets_speed.py",
            "an epoch: the mean, without validation; NDCG and lists: of the weights after the last one",
        ],
    )


def until_best(bench: Bench) -> Iterator[Section]:
    """Train the peers to their best NDCG, which takes hours, and ours until it is as good."""
    folder = bench.scratch / "recbole_best"
    file = _prepared(bench, folder)
    if file is None:
        return
    rows = []
    for kind, peer in bench.chosen(PEERS).items():
        own, theirs = _commands(file, folder, kind, peer)
        print(f"  RecBole {peer}", file=sys.stderr, flush=True)
        curve = [
            json.loads(line) for line in measure([*theirs, "best"]).stdout.splitlines() if line[:1] == "{"
        ]
        best = max(curve, key=lambda told: float(told["ndcg"]))
        rows.append([f"RecBole {peer}, at its best", str(best["epoch"]), *_reached(best)])
        for loss in ("softmax", "sampled"):
            for epochs in range(1, best["epoch"] + 1):
                print(f"  ecbehave {kind}, loss: {loss}, {epochs} epochs", file=sys.stderr, flush=True)
                told = json.loads(measure([*own, loss, str(epochs)]).stdout.splitlines()[-1])
                if told["ndcg"] >= best["ndcg"] or epochs == best["epoch"]:
                    rows.append(
                        [
                            f"ecbehave {kind}, loss: {loss}",
                            str(epochs),
                            *_reached(told | {"seconds": epochs * told["seconds"]}),
                        ]
                    )
                    break
    yield Section(
        "Time to the best NDCG of RecBole 1.2.1",
        ["net", "epochs", "training", "NDCG@10"],
        rows,
        "Amazon Beauty, leave-one-out; NDCG of the validation items over all users, all items ranked but those had",
        notes=[
            "RecBole stops after five epochs without a better NDCG; of ours, the fewest epochs that reach as much, or "
            "as many as RecBole's; the seconds leave validation out; settings as in the part recbole"
        ],
    )


def _reached(told: dict[str, Any]) -> list[str]:
    return [f"{told['seconds']:,.0f} s", f"{told['ndcg']:.4f}"]


def _prepared(bench: Bench, folder: Path) -> Path | None:
    """Write the log as RecBole reads it; returns the file it is from, where it is."""
    if not PYTHON.exists():
        raise RuntimeError(f"{PYTHON} is missing; make bench makes it, with requirements-recbole.txt")
    file = bench.data / "amazon-beauty" / "Beauty.txt"
    if not file.is_file():
        return None
    _write(read(file), folder / "beauty" / "beauty.inter")
    return file


def _commands(file: Path, folder: Path, kind: str, peer: str) -> tuple[list[str], list[str]]:
    """Return the commands that train one of ours and one of RecBole's, without the loss and the epochs."""
    own = [sys.executable, str(HERE / "nets_speed.py"), str(file), kind]
    return own, [str(PYTHON), str(HERE / "peer_recbole.py"), str(folder), peer]


def _write(histories: pl.Series, file: Path) -> None:
    """Write the log as RecBole reads it; the order of a user's items is their time."""
    file.parent.mkdir(parents=True)
    frame = pl.DataFrame(
        {"user_id:token": pl.int_range(len(histories), eager=True), "item_id:token": histories}
    )
    rows = frame.explode("item_id:token").with_columns(
        pl.int_range(pl.len()).over("user_id:token").cast(pl.Float64).alias("timestamp:float")
    )
    rows.write_csv(file, separator="\t")


def _cells(done: Measured) -> list[str]:
    told = json.loads(done.stdout.splitlines()[-1])
    return [
        f"{told['n_targets']:,}",
        f"{told['seconds']:.1f} s",
        f"{told['n_targets'] / told['seconds']:,.0f}",
        f"{told['ndcg']:.4f}",
        f"{told['n_lists'] / told['listing']:,.0f} a second",
        gigabytes(done.peak_bytes),
    ]


def main() -> None:
    """Train a net, judge it on the validation items, and list items for everybody."""
    data = Data.of(read(Path(sys.argv[1])))
    kind, loss, epochs = sys.argv[2], sys.argv[3], int(sys.argv[4])
    training = SETTINGS["training"] | {"epochs": epochs}
    settings = {"kind": kind} | SETTINGS | {"loss": loss, "training": training}
    model = make(model_class(kind).config_class.model_validate(settings), "ranking")
    known, later = data.without(2), data.without(1)
    options = Options(seed=0, threads=os.cpu_count() or 1, output="ranking")
    started = time.perf_counter()
    model.fit([known.as_history()], [], options)
    seconds = time.perf_counter() - started
    target = data.items.search_sorted(data.histories.list.get(-2)).to_numpy().astype(np.int64)
    ndcg = judge(model, known, target)[1]
    started = time.perf_counter()
    n_lists = model.lists(later, LENGTH)["user_id"].n_unique()
    listing = time.perf_counter() - started
    n_targets = int((known.sequence.ends - known.sequence.starts - 1).sum())
    told = {"seconds": seconds / epochs, "ndcg": ndcg, "n_targets": n_targets}
    print(json.dumps(told | {"listing": listing, "n_lists": n_lists}))


if __name__ == "__main__":
    main()
