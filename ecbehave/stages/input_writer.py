"""Builds inputs bucket by bucket: the only code that does, for training, evaluation and prediction."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecbehave.artifacts import Artifact
from ecbehave.buckets import user_hash
from ecbehave.config.task import PreferenceTask, PurchaseTask
from ecbehave.inputs import matrix, table
from ecbehave.inputs.barred import may_be_listed
from ecbehave.inputs.facts import ANY, LogFacts
from ecbehave.inputs.histories import microseconds
from ecbehave.inputs.pairs import Asking, PairTable
from ecbehave.inputs.sequence_events import COLUMNS as SEQUENCE_COLUMNS
from ecbehave.inputs.sequence_events import UserEvents, user_events
from ecbehave.inputs.sequence_writer import SequenceWriter
from ecbehave.inputs.suggestions import Sources
from ecbehave.memory import FEWEST_ROWS, give_back, rows_at_once
from ecbehave.models.protocol import InputType
from ecbehave.parallel import in_order
from ecbehave.schema import MATRIX_LABELS, MATRIX_USERS, PAIRS, RATING_LABELS, TABLE_KEYS
from ecbehave.stages import Context, clean
from ecbehave.stages.candidates import CandidateLists
from ecbehave.stages.filtering import apply_filters, check_filters, filters_of
from ecbehave.tables import TableWriters
from ecbehave.tasks import Task, make_task
from ecbehave.windows import future, held_out, history, last_items, shift

#: What tasks read of the log.
_COLUMNS = ("user_hash", "user_id", "ts", "event_type", "item_id")
#: Where candidates are kept until the table is built.
_LISTS = ".candidates"

#: Measured resident bytes while a bucket's features are made: per event, and per value of a feature.
_BYTES_PER_EVENT, _BYTES_PER_VALUE = 350, 12
#: And where they are sequences, too, so much more for each event.
_BYTES_PER_SEQUENCE_EVENT = 200
#: With more events per user than this, the events themselves are what takes the memory.
_MOST_EVENTS_PER_USER = 10

T = TypeVar("T")
Known_co = TypeVar("Known_co", covariant=True)


@dataclass(frozen=True)
class Request:
    """An input to build: where, as known when, and with which labels."""

    folder: str
    cutoff: datetime
    end: datetime | None = None
    """End of the label window; None for no labels."""
    n_later: int | None = None
    """Leave-one-out: how many of the user's own items come after the one in question; None where the cutoff is one in
    time."""


class _Sums(Protocol[T, Known_co]):
    """What collects sums over all users, bucket by bucket."""

    def columns(self) -> list[str]: ...
    def partial(self, events: pl.LazyFrame) -> T: ...
    def add(self, partial: T) -> None: ...
    def market(self) -> Known_co: ...


class InputWriter:
    """Builds inputs bucket by bucket; the only code that does, for training, evaluation and prediction."""

    def __init__(
        self,
        context: Context,
        task: Task,
        log: Artifact,
        facts: LogFacts,
        writers: TableWriters,
        stage: str = "features",
    ) -> None:
        self._stage, self._rows_at_once = stage, 0
        self._context, self._task, self._log, self._writers = context, task, log, writers
        self._timezone = context.config.dataset.timezone
        self.catalogue = catalogue_of(context, facts)
        self.schema = self.catalogue.schema()
        self.counts: dict[str, int] = {}
        self._filters = filters_of(context.config.task)
        self._rules: dict[str, pl.DataFrame] = {}

    def build(self, asked: Mapping[InputType, Sequence[Request]]) -> None:
        """Write inputs, from one pass over the log; one more where features need sums over all users, and one more
        where the rows of a table are candidates, which are chosen from the matrix.

        Args:
            asked: which inputs of each kind; a table of candidates needs the matrix of the same requests.
        """
        tables, matrices, sequences = (asked.get(kind, []) for kind in ("table", "matrix", "sequence"))
        self._rows_at_once = self._plan(len(tables), has_sequences=bool(sequences))
        catalogue = self.catalogue
        if tables and isinstance(catalogue, PairTable) and catalogue.sources is not None:
            lists = CandidateLists(self._writers.folder / _LISTS, catalogue.sources, self._context.threads)
            self._pass(matrices, sequences, None)
            self._writers.finish()
            self._filter(matrices)
            self._choose(tables, lists)
            self._pass([], [], self._pair_tables(catalogue, tables, lists))
            lists.remove()
        else:
            self._pass(matrices, sequences, self._tables(tables) if tables else None)
            self._writers.finish()
            self._filter(matrices)

    def _pass(
        self,
        matrices: Sequence[Request],
        sequences: Sequence[Request],
        tables_of: Callable[[pl.DataFrame], list["_Part"]] | None,
    ) -> None:
        """Write matrices, sequences and tables bucket by bucket."""

        def made(bucket: pl.DataFrame) -> tuple[list[_Part], "_Slices | None"]:
            parts = tables_of(bucket) if tables_of else []
            for request in matrices:
                parts += self._matrix(request, bucket.lazy())
            return parts, self._slices(sequences, bucket.lazy()) if sequences else None

        wanted = [*(self.catalogue.columns() if tables_of else ()), *(matrix.COLUMNS if matrices else ())]
        wanted += SEQUENCE_COLUMNS if sequences else ()
        wanted = list(dict.fromkeys([*_COLUMNS, *wanted]))
        with ExitStack() as stack:
            stored = stack.enter_context(self._sequence_writer()) if sequences else None
            for parts, slices in self._each(wanted, made):
                for part in parts:
                    self._writers.open(part.file, part.schema).write(part.rows)
                    for what, n in part.counts.items():
                        self.counts[what] = self.counts.get(what, 0) + n
                if stored and slices:
                    stored.write(slices.events, slices.instants)
                # Else, what buckets leave free in between adds up: half a gigabyte with ten million users.
                give_back()

    def _sequence_writer(self) -> SequenceWriter:
        target = "category" if self._task.target == "category" else "item"
        return SequenceWriter(self._writers.folder / "sequence", target)

    def _filter(self, requests: Sequence[Request]) -> None:
        """Decide what must not be listed, once all users are known, and take it out of what is true."""
        if not self._filters:
            return
        for request in requests:
            folder = self._writers.folder / "matrix" / request.folder
            known = matrix.items_of(pl.scan_parquet(folder / "pairs.parquet"))
            if request.end is None:
                check_filters(
                    self._filters, known, lambda what: self._context.progress.say(f"{self._stage}: {what}")
                )
            self._rules[request.folder], n_users = apply_filters(folder, known, self._filters)
            if n_users is not None:
                self.counts[f"{request.folder}.positives"] = n_users

    def _choose(self, requests: Sequence[Request], lists: CandidateLists) -> None:
        """Choose the candidates of each request from its matrix."""
        with self._context.progress.track(f"{self._stage}: candidates", len(requests)) as advance:
            for request in requests:
                stored = self._writers.folder / "matrix" / request.folder
                lists.make(request.folder, matrix.read_matrix(stored, request.cutoff, has_labels=False))
                advance(1)

    def _plan(self, n_tables: int, *, has_sequences: bool) -> int:
        """Return how many events may be worked on at once.

        Raises:
            ConfigError: the memory is too little.
        """
        rows_per_user = self.catalogue.rows_per_user if isinstance(self.catalogue, PairTable) else 1
        n_values = len(self.schema) * n_tables * rows_per_user
        per_event = _BYTES_PER_EVENT + int(_BYTES_PER_VALUE * n_values / self._events_per_user())
        per_event += _BYTES_PER_SEQUENCE_EVENT * has_sequences
        memory, threads, n_events = (
            self._context.memory_bytes,
            self._context.threads,
            self._log.info["n_events"],
        )
        return rows_at_once(self._stage, memory, threads, per_event, n_events, work=rows_per_user)

    def _events_per_user(self) -> float:
        """Return how many events users have on the mean: fewer mean more users, each with features, in a bucket."""
        _, buckets = clean.read_log(self._log, ["user_hash"], FEWEST_ROWS)
        with closing(buckets):
            # One bucket tells: users are spread over them by chance.
            users = next(buckets)["user_hash"]
        return min(users.len() / max(users.n_unique(), 1), _MOST_EVENTS_PER_USER) or 1

    def _each(self, columns: Sequence[str], made: Callable[[pl.DataFrame], T]) -> Iterator[T]:
        """Yield what a function makes of each bucket, in their order."""
        n_buckets, buckets = clean.read_log(self._log, columns, self._rows_at_once)
        with self._context.progress.track(self._stage, n_buckets) as advance:
            for result in in_order(made, buckets, self._context.threads):
                yield result
                advance(1)

    def _asked(self, request: Request, events: pl.LazyFrame) -> tuple[pl.LazyFrame, pl.LazyFrame | None]:
        """Return the population and, where they are asked for, its labels."""
        cutoff = request.cutoff
        since = shift(cutoff, -self._task.active_within, self._timezone)
        population = self._task.population(events.filter(history(cutoff, since)))
        if request.end is None:
            return population, None
        labels = self._task.labels(events.filter(future(cutoff, request.end)), population)
        if request.folder in self._rules:
            labels = may_be_listed(labels, events.filter(history(cutoff)), self._rules[request.folder])
        return population, labels

    def _cut(
        self, request: Request, events: pl.LazyFrame
    ) -> tuple[pl.LazyFrame, pl.LazyFrame, pl.LazyFrame | None]:
        """Return the history at a cutoff, the population and its labels."""
        if request.n_later is None:
            return events.filter(history(request.cutoff)), *self._asked(request, events)
        cut = held_out(events, self._is_item(), request.n_later, request.cutoff, self._end())
        return cut.history, cut.population, cut.labels

    def _is_item(self) -> pl.Expr:
        """Select the events whose items leave-one-out asks about."""
        is_item = pl.col("item_id").is_not_null()
        event = cast("PreferenceTask", self._context.config.task).event
        return is_item if event == ANY else is_item & (pl.col("event_type") == event)

    def _end(self) -> datetime:
        return clean.end_of(self._log, self._timezone)

    def _slices(self, requests: Sequence[Request], events: pl.LazyFrame) -> "_Slices":
        """Return a bucket's events before the latest cutoff, and up to when each request knows them."""
        latest = max(request.cutoff for request in requests)
        found = user_events(events.filter(history(latest)), self.catalogue.facts, self._timezone)
        instants = {request.folder: self._known_until(request, events, found) for request in requests}
        return _Slices(found, instants)

    def _known_until(
        self, request: Request, events: pl.LazyFrame, found: UserEvents
    ) -> int | NDArray[np.int64]:
        """Return the instant before which a request knows events: for all users, or in leave-one-out for each."""
        if request.n_later is None:
            return microseconds(request.cutoff)
        own = last_items(events, self._is_item(), request.n_later, self._end()).collect()
        ends = found.users.join(own, on=["user_hash", "user_id"], how="left", maintain_order="left")[
            "own_end"
        ]
        return ends.dt.timestamp("us").fill_null(microseconds(self._end())).to_numpy()

    def _tables(self, requests: Sequence[Request]) -> Callable[[pl.DataFrame], list["_Part"]]:
        """Return the function that makes the tables of a bucket."""
        catalogue = self.catalogue
        if isinstance(catalogue, PairTable):
            return self._pair_tables(catalogue, requests, None)
        market = self._market(catalogue.market_sums(request.cutoff for request in requests))
        users = _Users(self._log, catalogue.facts)

        def made(bucket: pl.DataFrame) -> list[_Part]:
            asked = [(self._rows(request, bucket.lazy()), request.cutoff) for request in requests]
            built = catalogue.features(bucket.lazy(), asked, market, users.of(bucket))
            return [self._table(request, rows) for request, rows in zip(requests, built, strict=True)]

        return made

    def _pair_tables(
        self, catalogue: PairTable, requests: Sequence[Request], lists: CandidateLists | None
    ) -> Callable[[pl.DataFrame], list["_Part"]]:
        """Return the function that makes the tables of a bucket's pairs."""
        market = self._market(catalogue.market_sums([request.cutoff for request in requests]))

        def made(bucket: pl.DataFrame) -> list[_Part]:
            asked = [self._asking(request, bucket, lists) for request in requests]
            built = catalogue.tables(bucket.lazy(), asked, market)
            return [
                self._table(request, rows, asking.true_pairs)
                for request, rows, asking in zip(requests, built, asked, strict=True)
            ]

        return made

    def _asking(self, request: Request, bucket: pl.DataFrame, lists: CandidateLists | None) -> Asking:
        population, labels = self._asked(request, bucket.lazy())
        true_pairs = None if labels is None else labels.collect()
        chosen = None if lists is None else lists.of(request.folder, bucket["user_hash"])
        return Asking(population.collect(), true_pairs, request.cutoff, chosen)

    def _market(self, sums: _Sums[T, Known_co]) -> Known_co:
        if sums.columns():
            columns = ["user_hash", *sums.columns()]
            for part in self._each(columns, lambda bucket: sums.partial(bucket.lazy())):
                sums.add(part)
        return sums.market()

    def _rows(self, request: Request, events: pl.LazyFrame) -> pl.DataFrame:
        population, labels = self._asked(request, events)
        rows = population if labels is None else labels
        return rows.with_columns(cutoff=pl.lit(request.cutoff, TABLE_KEYS["cutoff"])).collect()

    def _table(self, request: Request, rows: pl.DataFrame, true_pairs: pl.DataFrame | None = None) -> "_Part":
        # The rows of a ranking are those of its matrix: the users who are asked.
        of_rows, of_true = ("candidates", "true_candidates") if self._is_ranking else ("rows", "positives")
        counts = {f"{request.folder}.{of_rows}": rows.height}
        if request.end is not None:
            counts[f"{request.folder}.{of_true}"] = int(rows["label"].sum())
        if true_pairs is not None:
            # More than the positives: some were no candidates.
            counts[f"{request.folder}.true_pairs"] = true_pairs.height
        target = self.catalogue.target if isinstance(self.catalogue, PairTable) else None
        schema = table.table_schema(self.schema, target, is_labelled=request.end is not None)
        return _Part(f"table/{request.folder}.parquet", rows, schema, counts)

    @property
    def _is_ranking(self) -> bool:
        return self._task.output != "binary"

    def _matrix(self, request: Request, events: pl.LazyFrame) -> list["_Part"]:
        known, population, labels = self._cut(request, events)
        target = self._task.target or "item_id"
        asked = population.select("user_id", is_asked=pl.lit(value=True))
        users = (
            known.select("user_hash", "user_id")
            .unique()
            .join(asked, on="user_id", how="left")
            .with_columns(pl.col("is_asked").fill_null(value=False))
            .sort("user_hash", "user_id")
            .collect()
        )
        folder = f"matrix/{request.folder}"
        # Of a table, too, these are the rows that are counted; where there is one, it counts them itself.
        n_asked = {f"{request.folder}.rows": int(users["is_asked"].sum())} if self._is_ranking else {}
        pairs = matrix.pairs(known, request.cutoff, target).collect()
        parts = [
            _Part(f"{folder}/users.parquet", users, MATRIX_USERS, n_asked),
            _Part(f"{folder}/pairs.parquet", pairs, PAIRS, {}),
        ]
        if labels is not None and self._is_ranking:
            schema = RATING_LABELS if self._task.output == "rating" else MATRIX_LABELS
            true_items = (
                labels.join(population, on="user_id")
                .sort("user_hash", "user_id", "item_id")
                .select(*schema)
                .collect()
            )
            n_positive = {f"{request.folder}.positives": true_items["user_id"].n_unique()}
            parts.append(_Part(f"{folder}/labels.parquet", true_items, schema, n_positive))
        return parts


@dataclass(frozen=True)
class _Slices:
    """A bucket's events, with the instants of each request; see `SequenceWriter.write`."""

    events: UserEvents
    instants: Mapping[str, int | NDArray[np.int64]]


@dataclass(frozen=True)
class _Part:
    """A bucket's rows of a stored table, with what is counted of them."""

    file: str
    rows: pl.DataFrame
    schema: Mapping[str, Any]
    counts: Mapping[str, int]


class _Users:
    """The users table in the order of hashes, so that a bucket's part is a slice."""

    def __init__(self, log: Artifact, facts: LogFacts) -> None:
        # As categories, a text that many users share is in memory once.
        read = pl.read_parquet(users_file(log)).with_columns(pl.col(facts.attributes).cast(pl.Categorical))
        self._rows = read.with_columns(user_hash(read["user_id"])).sort("user_hash", maintain_order=True)
        self._hashes = self._rows["user_hash"].to_numpy()

    def of(self, bucket: pl.DataFrame) -> pl.DataFrame:
        """Return the rows of a bucket's users."""
        hashes = bucket["user_hash"].to_numpy()
        if hashes.size == 0:
            return self._rows.clear()
        start = int(np.searchsorted(self._hashes, hashes.min(), "left"))
        end = int(np.searchsorted(self._hashes, hashes.max(), "right"))
        return self._rows.slice(start, end - start)


def users_file(log: Artifact) -> Path:
    """Return the clean users table."""
    return log.path / "users" / "users.parquet"


def catalogue_of(context: Context, facts: LogFacts) -> table.Catalogue | PairTable:
    """Return the features that the config asks for and that the log supports."""
    config, asked, timezone = context.config.features, context.config.task, context.config.dataset.timezone
    windows, gap = tuple(config.windows), config.session_gap
    if isinstance(asked, PreferenceTask):
        others = [ANY] if ANY in facts.groups and asked.event != ANY else []
        sources = Sources(asked.candidates, (asked.event, *others), windows, timezone)
        return PairTable(facts, "item_id", asked.candidates, windows, gap, timezone, sources)
    target = make_task(asked).target
    if isinstance(asked, PurchaseTask) and target is not None:
        return PairTable(facts, target, asked.candidates, windows, gap, timezone)
    return table.Catalogue(facts, tuple(config.groups), windows, gap, timezone)
