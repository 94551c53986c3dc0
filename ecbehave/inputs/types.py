"""The containers that models read."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Literal, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array

from ecbehave.buckets import user_hash
from ecbehave.config.features import Encode, Impute, Normalise
from ecbehave.inputs.facts import LogFacts
from ecbehave.inputs.sequence_events import COLUMNS, UserEvents, user_events
from ecbehave.schema import TABLE_KEYS, TARGETS


@dataclass(frozen=True)
class Transform:
    """How the table is made ready for a model; the keys are those of `features`. The defaults suit trees.

    Trees split a code as often as they need to: columns for each category took more memory, and scored the same.
    """

    encode: Encode = "ordinal"
    normalise: Normalise = "none"
    log: bool = False
    impute: Impute = "none"
    missing_flags: bool = False
    max_categories: int = 20


@dataclass(frozen=True)
class TableInput:
    """One row per population member and cutoff, sorted by cutoff and user; or per pair of one and its target."""

    frame: pl.DataFrame
    """`TABLE_KEYS`, the target of pairs (one of `TARGETS`), `label` (Int8) where it is known, and the features:
    Float32, or String for categories; null is unknown."""
    features: tuple[str, ...]

    @property
    def categorical(self) -> tuple[str, ...]:
        """Features that hold categories; a model reads numbers, so they are encoded first."""
        return tuple(f for f in self.features if self.frame.schema[f] == pl.String)

    @property
    def key_names(self) -> tuple[str, ...]:
        """`user_hash`, `user_id`, `cutoff`, and of pairs the target."""
        return (*TABLE_KEYS, *(name for name in TARGETS if name in self.frame.columns))

    @property
    def keys(self) -> pl.DataFrame:
        """The keys of every row."""
        return self.frame.select(self.key_names)

    @property
    def n_rows(self) -> int:
        """Number of rows N."""
        return self.frame.height

    @cached_property
    def values(self) -> NDArray[np.float32]:
        """Features as a matrix [N, F]; NaN is unknown. All of them must be numbers."""
        return self.frame.select(pl.col(self.features).fill_null(np.nan)).to_numpy(order="c")

    @cached_property
    def label(self) -> NDArray[np.int8]:
        """Labels [N], 0 or 1."""
        return self.frame["label"].to_numpy()

    @classmethod
    def concat(cls, parts: Sequence["TableInput"]) -> "TableInput":
        """Put several cutoffs below one another."""
        return cls(pl.concat([p.frame for p in parts]), parts[0].features)


@dataclass(frozen=True)
class MatrixInput:
    """Who had which item how often before a cutoff: U users, I items, P pairs.

    Where the target of the task is a category, categories stand in the place of items.
    """

    cutoff: datetime
    users: pl.DataFrame
    """[U] `user_hash`, `user_id`, `is_asked` (member of the population), sorted by the first two."""
    items: pl.DataFrame
    """[I] `item_id`, sorted: the catalogue as known at the cutoff; `category`, the last one known."""
    pairs: pl.DataFrame
    """[P] `user` and `item` (row numbers in the two above), `event_type`, `n_events`; of the last one `days_since`,
    `place` (how many later instants with an item the user has, 0 for the newest) and `rating` (null for none)."""
    labels: pl.DataFrame | None = None
    """`user_id`, `item_id` of the true items, where they are known."""
    barred: csr_array | None = None
    """[U, I] marks what must not be listed to a user; None bars nothing."""
    barred_items: NDArray[np.bool_] | None = None
    """[I] marks what must not be listed to anybody; None bars nothing."""

    @property
    def asked(self) -> NDArray[np.int64]:
        """Row numbers of the users in the population."""
        return self.users["is_asked"].arg_true().to_numpy().astype(np.int64)

    @property
    def n_listable(self) -> int:
        """Number of items that may be listed to anybody."""
        return self.items.height - (0 if self.barred_items is None else int(self.barred_items.sum()))

    def csr(self, pairs: pl.DataFrame, weight: NDArray[np.float64]) -> csr_array:
        """Return pairs as a users x items matrix [U, I]; weights of equal pairs add up, in the order given."""
        shape = (self.users.height, self.items.height)
        return csr_array((weight, (pairs["user"].to_numpy(), pairs["item"].to_numpy())), shape=shape)


@dataclass(frozen=True, eq=False)
class SequenceLog:
    """The events [E] of all users [U], user after user: what every cutoff's sequences are slices of.

    Arrays may be memory-mapped, and cannot be written to.
    """

    users: pl.DataFrame
    """[U] `user_hash`, `user_id`, sorted by both."""
    offsets: NDArray[np.int64]
    """[U + 1] user `u` has the events from `offsets[u]` up to `offsets[u + 1]`, ascending in time."""
    items: pl.Series
    """`item_id` by number; like the two below numbered as they come, so that a number says nothing of its own."""
    categories: pl.Series
    """`category` by number."""
    event_types: pl.Series
    """`event_type` by number."""
    ts: NDArray[np.int64]
    """[E] microseconds (UTC)."""
    item: NDArray[np.int32]
    """[E] number in `items`; -1 for none."""
    category: NDArray[np.int32]
    """[E] number in `categories`; -1 for none."""
    event_type: NDArray[np.int32]
    """[E] number in `event_types`."""
    price: NDArray[np.float32]
    """[E] per unit; NaN for unknown."""
    dwell: NDArray[np.float32]
    """[E] seconds; NaN for unknown."""
    hour: NDArray[np.uint8]
    """[E] hour of the week on the shop's clock: 0 begins on Monday at midnight, 167 is the last one."""

    @property
    def n_events(self) -> int:
        """Number of events E."""
        return self.ts.size

    @classmethod
    def of(cls, events: pl.DataFrame, timezone: str = "UTC") -> Self:
        """Return a log in memory.

        Args:
            events: `user_id`, `ts`, `event_type`, and any other columns of `sequence_events.COLUMNS`.
            timezone: the shop's calendar.
        """
        missing = [name for name in COLUMNS if name not in events.columns and name != "user_hash"]
        rows = events.with_columns(pl.lit(None, COLUMNS[name]).alias(name) for name in missing)
        if "user_hash" not in rows.columns:
            rows = rows.with_columns(user_hash(rows["user_id"]))
        return cls.from_events(user_events(rows.lazy(), LogFacts((), tuple(events.columns)), timezone))

    @classmethod
    def from_events(cls, events: UserEvents) -> Self:
        """Return all events there are."""
        names = events.names
        return cls(
            events.users,
            events.offsets,
            names["item"],
            names["category"],
            names["event_type"],
            **events.arrays,
        )


@dataclass(frozen=True)
class SequenceInput:
    """The events of every user up to an instant: slices of a log.

    A model may read of user `u` the events from `starts[u]` up to `ends[u]`, and no others.
    """

    cutoff: datetime
    log: SequenceLog
    ends: NDArray[np.int64]
    """[U] position in the log after the user's last event that is known; `starts[u]` where there is none."""
    now: NDArray[np.int64]
    """[U] the instant (microseconds) as of which a user is asked: the cutoff, or in leave-one-out one of his own."""
    target: Literal["item", "category"] = "item"
    """What the task calls items: the log's items, or its categories."""

    @property
    def starts(self) -> NDArray[np.int64]:
        """[U] position in the log of each user's first event."""
        return self.log.offsets[:-1]

    def rows(self, user_ids: pl.Series) -> NDArray[np.int64]:
        """Return the row number of each user in `log.users`; -1 for one who is not there."""
        known = self.log.users.select("user_id").with_row_index("row")
        found = (
            user_ids.alias("user_id").to_frame().join(known, on="user_id", how="left", maintain_order="left")
        )
        return found["row"].cast(pl.Int64).fill_null(-1).to_numpy()


@dataclass(frozen=True)
class Inputs:
    """What is known at one cutoff, in the forms that a model asks for."""

    cutoff: datetime
    table: TableInput | None = None
    matrix: MatrixInput | None = None
    sequence: SequenceInput | None = None

    def as_history(self) -> "Inputs":
        """Return what needs no future to be known: the matrix, without its labels, and the sequences."""
        matrix = None if self.matrix is None else replace(self.matrix, labels=None)
        return Inputs(self.cutoff, matrix=matrix, sequence=self.sequence)
