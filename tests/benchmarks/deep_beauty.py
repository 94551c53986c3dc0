"""The next item of each user: nets over sequences on Amazon Beauty, leave-one-out, beside published figures.

As a program, `deep_beauty.py FILE KIND '{"width": 128}'`, it prints the figures of the validation items.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import polars as pl
from beauty import PUBLISHED, K, as_matrix, figures, read
from beauty import SETTINGS as NEIGHBOURS
from measure import Bench
from numpy.typing import NDArray
from scipy.sparse import csr_array
from section import Section

from ecbehave.inputs.types import Inputs, SequenceInput, SequenceLog
from ecbehave.models import model_class
from ecbehave.models.making import make
from ecbehave.models.protocol import Options, Predictor

_DAY = 86_400_000_000
_SHARED: dict[str, Any] = {
    "event_weights": {"review": 1.0},
    "length": 50,
    "min_events": 1,
    "shared_rows": 0,
    "width": 128,
    "training": {
        "batch": 128,
        "epochs": 6,
        "learning_rate": 0.002,
        "patience": 5,
        "schedule": "cosine",
        "warmup": 0.05,
        "weight_decay": 0.01,
    },
}
#: Three times as fast as the full softmax here.
_SAMPLED: dict[str, Any] = {"loss": "sampled", "negatives": 2048}
#: Chosen on the validation items, with weights that know neither these nor the test items.
SETTINGS: dict[str, dict[str, Any]] = {
    "transformer": _SHARED | {"dropout": 0.4, "input_dropout": 0.4},
    "rnn": _SHARED | _SAMPLED | {"layers": 1, "dropout": 0.5, "input_dropout": 0.5},
    "cnn": _SHARED | _SAMPLED | {"dropout": 0.4, "input_dropout": 0.4},
}


@dataclass(frozen=True)
class Data:
    """Everybody's items, with as many of the last ones unknown as is wanted."""

    histories: pl.Series
    items: pl.Series
    log: SequenceLog

    @classmethod
    def of(cls, histories: pl.Series) -> "Data":
        """Return the data, users in a random order; an item comes a day after the other."""
        histories = histories.sample(fraction=1, shuffle=True, seed=0)
        user = pl.int_range(len(histories), eager=True, dtype=pl.UInt64)
        rows = pl.DataFrame({"user_hash": user, "item_id": histories}).explode("item_id")
        events = rows.select(
            "user_hash",
            "item_id",
            user_id=pl.col("user_hash").cast(pl.String).str.zfill(5),
            ts=pl.from_epoch(pl.int_range(pl.len()).over("user_hash") * _DAY, "us").dt.replace_time_zone(
                "UTC"
            ),
            event_type=pl.lit("review"),
        )
        return cls(histories, histories.explode().unique().sort(), SequenceLog.of(events))

    def without(self, n_unknown: int) -> Inputs:
        """Return what is known without the last items of everybody; the next one is the label."""
        matrix = as_matrix(self.histories, n_unknown, self.items)
        matrix = replace(
            matrix,
            items=matrix.items.with_columns(category=pl.lit(None, pl.String)),
            labels=pl.DataFrame(
                {"user_id": matrix.users["user_id"], "item_id": self.histories.list.get(-n_unknown)}
            ),
            barred=matrix.csr(matrix.pairs, np.ones(matrix.pairs.height)),
        )
        ends = self.log.offsets[1:] - n_unknown
        sequence = SequenceInput(matrix.cutoff, self.log, ends, self.log.ts[ends - 1] + _DAY)
        return Inputs(matrix.cutoff, matrix=matrix, sequence=sequence)


class Told:
    """Prints how training goes."""

    def say(self, message: str) -> None:
        """Print a message."""
        print(f"  {message}", file=sys.stderr, flush=True)

    def show(self, moment: Any) -> None:
        """Print an epoch that is over."""
        if moment.is_epoch_end:
            print(
                f"  epoch {moment.epoch}: loss {moment.loss:.4f}, {moment.metric_name} {moment.metric or 0:.4f}, "
                f"{moment.per_second:,.0f} {moment.unit} a second",
                file=sys.stderr,
                flush=True,
            )

    def learned(self, curves: Any) -> None:
        """Nothing is left to print."""


def judge(model: Predictor, asked: Inputs, target: NDArray[np.int64]) -> tuple[float, float]:
    """Return HR@10 and NDCG@10 of the item that comes next [U], what was had before being left out."""
    return figures(*places(model, asked, target), target.size)


def places(
    model: Predictor, asked: Inputs, target: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return how many items score higher than the one that comes next [U], and how many the same, itself among them."""
    assert asked.matrix is not None
    barred = asked.matrix.barred
    higher, tied = [], []
    for users, block in model.item_scores(asked):
        scores = _dense(block)
        own = scores[np.arange(users.size), target[users], None].copy()
        if barred is not None:
            scores[barred[users].toarray() > 0] = -np.inf
        higher.append((scores > own).sum(axis=1))
        tied.append((scores == own).sum(axis=1))
    return np.concatenate(higher), np.concatenate(tied)


def _dense(block: csr_array | NDArray[np.float64]) -> NDArray[np.float64]:
    if not isinstance(block, csr_array):
        return block
    scores = np.full(block.shape, -np.inf)
    row = np.repeat(np.arange(block.shape[0]), np.diff(block.indptr))
    scores[row, block.indices] = block.data
    return scores


def fitted(kind: str, settings: Mapping[str, Any], data: Data, seed: int) -> Any:
    """Fit a vote of item_knn and a net on all but the last two items of everybody.

    The second last item says when the net is to stop, and how much each of the two counts.
    """
    members = [{"kind": "item_knn"} | NEIGHBOURS, {"kind": kind} | settings]
    config = model_class("voting").config_class.model_validate({"kind": "voting", "members": members})
    known = data.without(2)
    return make(config, "ranking").fit([known.as_history()], [known], _options(seed))


def _options(seed: int) -> Options:
    return Options(seed=seed, threads=os.cpu_count() or 1, output="ranking", watcher=Told())


def sections(bench: Bench) -> Iterator[Section]:
    """Rank all items for all users, where the data are there."""
    file = bench.data / "amazon-beauty" / "Beauty.txt"
    if file.is_file():
        yield _section(Data.of(read(file)), bench)


def _section(data: Data, bench: Bench) -> Section:
    test = data.items.search_sorted(data.histories.list.last()).to_numpy().astype(np.int64)
    rows = []
    for kind, settings in bench.chosen(SETTINGS).items():
        found: dict[str, list[tuple[float, float]]] = {}
        seconds = []
        for seed in range(bench.repeats):
            print(f"  {kind}, seed {seed}", file=sys.stderr, flush=True)
            started = time.perf_counter()
            vote = fitted(kind, settings, data, seed)
            seconds.append(time.perf_counter() - started)
            _judge_both(found, kind, vote, data, test)
            vote.fit([data.without(1).as_history()], [], _options(seed))
            _judge_both(found, f"{kind}, refitted", vote, data, test)
        times = [f"{fmean(seconds):,.0f} s", *[""] * (len(found) - 1)]
        rows += [
            [name, *_spread(figures_of), spent]
            for (name, figures_of), spent in zip(found.items(), times, strict=True)
        ]
    return Section(
        "Next item of a user: nets",
        ["model", f"HR@{K}", f"NDCG@{K}", "fit"],
        [*rows, *([*row, ""] for row in PUBLISHED)],
        f"Amazon Beauty, 5-core, as prepared for S3-Rec: {len(data.histories):,} users",
        notes=[
            f"mean of {bench.repeats} seeds, with the standard deviation of several; the protocol is that of the part "
            "beauty; fit: of the net and of item_knn",
            *(f"{kind}: {settings}" for kind, settings in bench.chosen(SETTINGS).items()),
        ],
    )


def _judge_both(
    found: dict[str, list[tuple[float, float]]],
    name: str,
    vote: Any,
    data: Data,
    target: NDArray[np.int64],
) -> None:
    """Add the figures of the net, and those of its vote with item_knn, to those that were found."""
    asked = data.without(1)
    for of, model in ((name, vote.members_[1]), (f"{name}, and item_knn", vote)):
        judged = judge(model, asked, target)
        print(f"  {of}: {judged[0]:.4f} {judged[1]:.4f}", file=sys.stderr, flush=True)
        found.setdefault(of, []).append(judged)


def _spread(found: Sequence[tuple[float, float]]) -> list[str]:
    columns = zip(*found, strict=True)
    return [
        f"{fmean(values):.4f} ({stdev(values):.4f})" if len(values) > 1 else f"{values[0]:.4f}"
        for values in columns
    ]


def main() -> None:
    """Fit a kind with changed settings, and print the figures of the validation items, which chose the epochs."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("kind", choices=SETTINGS)
    parser.add_argument("changes", type=json.loads)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    data = Data.of(read(asked.file))
    vote = fitted(asked.kind, SETTINGS[asked.kind] | asked.changes, data, asked.seed)
    target = data.items.search_sorted(data.histories.list.get(-2)).to_numpy().astype(np.int64)
    net = vote.members_[1]
    for name, model in ((asked.kind, net), ("and item_knn", vote)):
        hit_rate, ndcg = judge(model, data.without(2), target)
        told = {"model": name, "epochs": net.kind.plan_.epochs, "shares": vote.shares_.tolist()}
        print(json.dumps({**asked.changes, **told, "hit_rate": round(hit_rate, 5), "ndcg": round(ndcg, 5)}))


if __name__ == "__main__":
    main()
