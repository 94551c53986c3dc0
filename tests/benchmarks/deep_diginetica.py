"""Sessions of an anonymous shop: nets over sequences on Diginetica, beside published figures.

As a program, `deep_diginetica.py FOLDER KIND '{"width": 128}'`, it prints the figures of the sessions held out.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from deep_beauty import Told, places
from diginetica import PUBLISHED, SESSIONS_A_DAY, as_matrix, figures, validation
from diginetica import SETTINGS as NEIGHBOURS
from measure import Bench
from section import Section

from ecbehave.inputs.types import Inputs, SequenceInput, SequenceLog
from ecbehave.models import model_class
from ecbehave.models.making import make
from ecbehave.models.protocol import Options, Predictor

#: Every third of the sessions held out says when to stop, and how much a member of a vote counts.
EVERY = 3
_MINUTE = 60_000_000
_SHARED: dict[str, Any] = {
    "event_weights": {"view": 1.0},
    "length": 20,
    "min_events": 1,
    "shared_rows": 0,
    "loss": "sampled",
    "repeat_weight": 0.0,
}
_TRAINING: dict[str, Any] = {
    "batch": 128,
    "patience": 2,
    "schedule": "cosine",
    "warmup": 0.05,
    "weight_decay": 0.01,
}
#: Chosen on the last train sessions, which were held out.
SETTINGS: dict[str, dict[str, Any]] = {
    "rnn": _SHARED
    | {
        "layers": 1,
        "width": 96,
        "dropout": 0.3,
        "input_dropout": 0.3,
        "training": _TRAINING | {"epochs": 6, "learning_rate": 0.003},
    },
}


def known(sessions: pl.Series, items: pl.Series, *, is_asked: bool) -> Inputs:
    """Return sessions as users, the last one the newest; events a minute apart, since there are no times."""
    age = (len(sessions) - 1 - np.arange(len(sessions))) // SESSIONS_A_DAY
    matrix = as_matrix(sessions, items, age * (not is_asked), is_asked=is_asked)
    rows = matrix.users.with_columns(item_id=sessions).explode("item_id")
    events = rows.select(
        "user_hash",
        "user_id",
        pl.col("item_id").cast(pl.String).str.zfill(6),
        ts=pl.from_epoch(pl.int_range(pl.len()).over("user_hash") * _MINUTE, "us").dt.replace_time_zone(
            "UTC"
        ),
        event_type=pl.lit("view"),
    )
    log = SequenceLog.of(events)
    ends = log.offsets[1:]
    return Inputs(
        matrix.cutoff, matrix=matrix, sequence=SequenceInput(matrix.cutoff, log, ends, log.ts[ends - 1])
    )


def asked(prefixes: pl.Series, targets: pl.Series, items: pl.Series) -> Inputs:
    """Return sessions that go on, and with which item."""
    found = known(prefixes, items, is_asked=True)
    assert found.matrix is not None
    labels = found.matrix.users.select("user_id", item_id=targets.cast(pl.String).str.zfill(6))
    return replace(found, matrix=replace(found.matrix, labels=labels))


def fitted(
    kind: str, settings: Mapping[str, Any], sessions: pl.Series, until: Inputs, items: pl.Series
) -> Any:
    """Fit a vote of user_knn and a net; `until`, which they do not learn from, says when the net is to stop."""
    members = [{"kind": "user_knn"} | NEIGHBOURS, {"kind": kind} | settings]
    config = model_class("voting").config_class.model_validate({"kind": "voting", "members": members})
    history = known(sessions, items, is_asked=False)
    return make(config, "ranking").fit([history.as_history()], [until], _options())


def _options() -> Options:
    return Options(seed=0, threads=os.cpu_count() or 1, output="ranking", watcher=Told())


def judge(model: Predictor, prefixes: Inputs, targets: pl.Series, items: pl.Series) -> tuple[float, float]:
    """Return P@20 and MRR@20 in percent; equal scores share their mean rank."""
    target = items.search_sorted(targets).to_numpy().astype(np.int64)
    higher, tied = places(model, prefixes, target)
    return figures(1 + higher + (tied - 1) / 2)


def sections(bench: Bench) -> Iterator[Section]:
    """Score all test prefixes, where the data are there."""
    folder = bench.data / "diginetica-sessions"
    if folder.is_dir():
        yield _section(folder, bench)


def _section(folder: Path, bench: Bench) -> Section:
    train, test = (pl.read_parquet(folder / f"{part}.parquet") for part in ("train", "test"))
    kept, held, next_of_held = validation(folder, EVERY)
    items = train["item_ids"].explode().unique().sort()
    until = asked(held, next_of_held, items)
    prefixes = asked(test["item_ids"], test["next_item_id"], items)
    rows = []
    for kind, settings in bench.chosen(SETTINGS).items():
        started = time.perf_counter()
        vote = fitted(kind, settings, kept, until, items)
        vote.fit([known(train["item_ids"], items, is_asked=False).as_history()], [], _options())
        seconds = time.perf_counter() - started
        for name, model in ((kind, vote.members_[1]), (f"{kind}, and user_knn", vote)):
            found = judge(model, prefixes, test["next_item_id"], items)
            rows.append([name, *(f"{value:.2f}" for value in found), f"{seconds:,.0f} s"])
            print(f"  {', '.join(rows[-1])}", file=sys.stderr, flush=True)
    return Section(
        "Next item of a session: nets",
        ["model", "P@20", "MRR@20", "both fits"],
        [*rows, *([name, f"{p:.2f}", f"{mrr:.2f}", ""] for name, p, mrr in PUBLISHED)],
        f"Diginetica as prepared for SR-GNN: {train.height:,} train sessions, {test.height:,} test prefixes",
        notes=[
            "full ranking, each prefix counts once; seed 0; fitted without the last train sessions, and with as many "
            "epochs and the same weights of the vote once more with them; the time is of both members",
            *(f"{kind}: {settings}" for kind, settings in bench.chosen(SETTINGS).items()),
            "other rows as published (MGCOT, table 2), on the same files",
        ],
    )


def main() -> None:
    """Fit a kind with changed settings, and print the figures of the sessions held out."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("kind", choices=SETTINGS)
    parser.add_argument("changes", type=json.loads)
    wanted = parser.parse_args()
    kept, held, next_of_held = validation(wanted.folder, EVERY)
    items = kept.explode().unique().sort()
    until = asked(held, next_of_held, items)
    vote = fitted(wanted.kind, SETTINGS[wanted.kind] | wanted.changes, kept, until, items)
    for name, model in ((wanted.kind, vote.members_[1]), ("and user_knn", vote)):
        p, mrr = judge(model, until, next_of_held, items)
        told = {"model": name, "p": round(p, 2), "mrr": round(mrr, 2), "shares": vote.shares_.tolist()}
        print(json.dumps(wanted.changes | told), flush=True)


if __name__ == "__main__":
    main()
