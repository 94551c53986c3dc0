"""Candidates of a ranking, at each cutoff: chosen with all users in sight, then read bucket by bucket."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import rmtree

import polars as pl

from ecbehave.inputs.facts import ANY
from ecbehave.inputs.suggestions import Sources
from ecbehave.inputs.types import MatrixInput
from ecbehave.models.best import best_per_row
from ecbehave.models.cf.item_knn import ItemKnn, ItemKnnConfig
from ecbehave.models.protocol import Options
from ecbehave.models.top_k import listable
from ecbehave.tables import TableWriter


@dataclass(frozen=True)
class CandidateLists:
    """The candidates of several requests, in files of their own until the table is built."""

    folder: Path
    sources: Sources
    threads: int

    def make(self, request: str, data: MatrixInput) -> None:
        """Choose the candidates of everybody who is asked.

        Args:
            request: the name under which they are read again.
            data: what is known at the cutoff; labels are not looked at.
        """
        with TableWriter(self._file(request), self.sources.schema()) as writer:
            for rows in candidates(self.sources, data, self.threads):
                writer.write(rows)

    def of(self, request: str, users: pl.Series) -> pl.DataFrame:
        """Return the candidates of a bucket.

        Args:
            request: which ones.
            users: hashes of the bucket's users.
        """
        stored = pl.scan_parquet(self._file(request))
        if users.is_empty():
            return stored.head(0).collect()
        return stored.filter(pl.col("user_hash").is_between(users.min(), users.max())).collect()

    def remove(self) -> None:
        """Delete what was made."""
        rmtree(self.folder, ignore_errors=True)

    def _file(self, request: str) -> Path:
        return self.folder / f"{request}.parquet"


def candidates(sources: Sources, data: MatrixInput, threads: int) -> Iterator[pl.DataFrame]:
    """Yield the candidates of some users of the population after the others; see `Known.of`."""
    knn = _neighbours(sources, data, threads)
    known, history = sources.at(data), knn.history(data)
    again = ItemKnnConfig(kind="item_knn").repeat_weight
    for users, similar in knn.scores(data):
        n = sources.candidates.similar
        most_similar = best_per_row(listable(data, users, similar, n), n)
        yield known.of(users, similar, most_similar, again * history[users])


def _neighbours(sources: Sources, data: MatrixInput, threads: int) -> ItemKnn:
    """Return what goes with what as of the cutoff; repeats are a source of their own, and add nothing here."""
    weights = ItemKnnConfig(kind="item_knn").event_weights
    event, types = sources.events[0], data.pairs["event_type"].unique().sort()
    others = types.to_list() if event == ANY else [event]
    weights = dict.fromkeys(others, 1.0) | weights
    knn = ItemKnn(ItemKnnConfig(kind="item_knn", event_weights=weights, repeat_weight=0))
    if not types.is_in(list(weights)).any():
        return knn
    return knn.fit([replace(data, labels=None)], [], Options(seed=0, threads=threads))
