"""Lists for anonymous sessions: a session is a user whose whole history is the items that it lists."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
from scipy.sparse import csr_array, vstack

from ecbehave.config.model import ModelConfig
from ecbehave.config.scoring import Predict
from ecbehave.errors import ConfigError, DataError
from ecbehave.inputs.barred import bar
from ecbehave.inputs.facts import ANY
from ecbehave.inputs.histories import microseconds
from ecbehave.inputs.types import Inputs, MatrixInput, SequenceInput, SequenceLog
from ecbehave.models import COMPOSITE, PLAIN, model_class, reads
from ecbehave.models.protocol import Predictor
from ecbehave.schema import MATRIX_USERS, SESSION_SCORES, TS
from ecbehave.sources.given import fingerprint, read_frame, require, text
from ecbehave.stages.lists import complete_lists
from ecbehave.tables import TableWriter

KEY = "predict.sessions"
FILE = "sessions.parquet"

#: Sessions that are worked on at once.
_AT_ONCE = 50_000
#: Before the id of a session that stands among users, one of whom may be called the same.
_MARK = "\0"


def sessions_fingerprint(config: Predict) -> dict[str, str]:
    """Return the content of the file of sessions, as an input of the scores; empty without one.

    Raises:
        DataError: it cannot be read.
    """
    return {} if config.sessions is None else {KEY: fingerprint(Path(config.sessions), KEY)}


def check_sessions(model: ModelConfig) -> None:
    """Refuse to ask a kind that needs more than a list of items.

    Raises:
        ConfigError: the kind does not answer sessions; the message names those that do.
    """
    if model.kind in COMPOSITE or not serves(model.kind):
        able = ", ".join(kind for kind in PLAIN if serves(kind))
        raise ConfigError(
            f"{KEY}: {model.kind} needs to know more than the items of a session; these kinds do not: {able}. "
            f"Take the key out, or choose one of them"
        )


def serves(kind: str) -> bool:
    """Tell whether a kind answers for who has nothing but a list of items."""
    found = model_class(kind)
    return reads(found, "ranking") in ("matrix", "sequence") and not getattr(
        found, "counts_at_scoring", False
    )


def event_of(model: ModelConfig, event: str) -> str:
    """Return the event type that a session's items count as: what the kind weighs most, or else the task's.

    Args:
        model: a kind that may have `event_weights`; of equal weights the first one counts.
        event: of the task; `any` is seen as a view.
    """
    weights: Mapping[str, float] = getattr(model, "event_weights", None) or {}
    if weights:
        return max(weights, key=lambda name: weights[name])
    return "view" if event == ANY else event


def read_sessions(path: Path) -> pl.DataFrame:
    """Read sessions.

    Args:
        path: Parquet, CSV or JSON lines with `session_id` and `item_ids` (a list, the oldest item first), or with
            `session_id` and `item_id`, a row for each item, the oldest first.

    Returns:
        `session_id`, `item_id` (null for a session without items), sessions by id, their items in the given order.

    Raises:
        DataError: the file cannot be read, lacks a column, has rows without a session, or a list twice.
    """
    frame = read_frame(path, KEY)
    items = "item_ids" if "item_ids" in frame.columns else "item_id"
    require(frame, ["session_id", items], path, KEY)
    n_nameless = frame["session_id"].null_count()
    if n_nameless:
        raise DataError(f"{KEY}: {n_nameless:,} rows of {path} have no session_id; give each one")
    frame = frame.select(text(frame["session_id"], path, KEY), items)
    if items == "item_ids":
        frame = _one_row_per_item(frame, path)
    return frame.select("session_id", text(frame["item_id"], path, KEY)).sort(
        "session_id", maintain_order=True
    )


def _one_row_per_item(frame: pl.DataFrame, path: Path) -> pl.DataFrame:
    if not isinstance(frame.schema["item_ids"], pl.List):
        raise DataError(
            f"{KEY}: column item_ids of {path} has type {frame.schema['item_ids']}, not a list; give lists in Parquet "
            f"or JSON lines, or a row for each item with columns session_id and item_id"
        )
    twice = frame.filter(pl.col("session_id").is_duplicated())["session_id"].unique().sort()
    if twice.len():
        shown = ", ".join(twice.head(3)) + (", ..." if twice.len() > 3 else "")
        raise DataError(
            f"{KEY}: {twice.len():,} sessions of {path} have more than one list ({shown}); give each session one"
        )
    return frame.explode("item_ids", empty_as_null=True).rename({"item_ids": "item_id"})


def in_blocks(sessions: pl.DataFrame, n: int) -> Iterator[pl.DataFrame]:
    """Yield so many whole sessions at once, in their order."""
    is_first = (sessions["session_id"] != sessions["session_id"].shift()).fill_null(value=True)
    starts = is_first.arg_true().to_list()
    for first in range(0, len(starts), n):
        end = starts[first + n] if first + n < len(starts) else sessions.height
        yield sessions[starts[first] : end]


def unknown_items(sessions: pl.DataFrame, catalogue: MatrixInput) -> pl.Series:
    """Return the distinct items of sessions that the catalogue lacks, sorted."""
    items = sessions.select("item_id").drop_nulls().unique()
    return items.join(catalogue.items, on="item_id", how="anti")["item_id"].sort()


@dataclass(frozen=True)
class Catalogue:
    """What sessions are given lists from."""

    night: MatrixInput
    """Its items may be listed, and what its users had is popular."""
    rules: pl.DataFrame | None
    """What must not be listed (`MATRIX_RULES`)."""
    event_type: str
    """What the items of sessions count as."""
    timezone: str | None = None
    """The shop's calendar, for a kind that reads sequences; None where it does not."""

    def write(self, file: Path, model: Predictor, sessions: pl.DataFrame, k: int) -> dict[str, int]:
        """Write a list for each session.

        Args:
            file: the score file.
            model: a kind that answers sessions; see `check_sessions`.
            sessions: see `read_sessions`.
            k: length of the lists.

        Returns:
            Counts: `sessions`, and `cold_sessions` among them, to which the model has nothing to list.
        """
        counts = {"sessions": sessions["session_id"].n_unique(), "cold_sessions": 0}
        with TableWriter(file, SESSION_SCORES) as writer:
            for block in in_blocks(sessions, _AT_ONCE):
                data = self.as_users(block)
                sequence = None if self.timezone is None else self.as_sequences(block, self.timezone)
                known = Inputs(data.cutoff, matrix=data, sequence=sequence)
                lists = pl.concat(model.list_blocks(known, k))
                rows = complete_lists(lists, self._among_users(data), k).with_columns(
                    session_id=pl.col("user_id").str.strip_prefix(_MARK)
                )
                counts["cold_sessions"] += int(rows.filter(pl.col("rank") == 1)["is_cold"].sum())
                writer.write(rows)
        return counts

    def as_users(self, sessions: pl.DataFrame) -> MatrixInput:
        """Return whole sessions, sorted, as users who are asked; items that nobody has had are passed over."""
        users = _users(sessions)
        items = self.night.items.select("item_id").with_row_index("item")
        pairs = (
            sessions.join(
                users.select("session_id", user="user_hash"), on="session_id", maintain_order="left"
            )
            .join(items, on="item_id", maintain_order="left")
            # Each item has an instant of its own.
            .with_columns(place=pl.int_range(pl.len(), dtype=pl.UInt32).reverse().over("user"))
            .group_by("user", "item")
            .agg(n_events=pl.len().cast(pl.UInt32), place=pl.col("place").min())
            .sort("user", "item")
            .select("user", "item", **self._measured())
        )
        data = MatrixInput(
            self.night.cutoff,
            users.select(*MATRIX_USERS).match_to_schema(MATRIX_USERS, integer_cast="upcast"),
            self.night.items,
            pairs,
        )
        return data if self.rules is None else bar(data, self.rules)

    def as_sequences(self, sessions: pl.DataFrame, timezone: str) -> SequenceInput:
        """Return whole sessions as sequences: an item comes a second after the other, the last one at the cutoff.

        One without any item that the catalogue has is not in the log.

        Args:
            sessions: sorted, as in `as_users`.
            timezone: the shop's calendar.
        """
        cutoff = self.night.cutoff
        n_later = pl.int_range(pl.len()).reverse().over("session_id")
        events = (
            sessions.join(self.night.items, on="item_id", maintain_order="left")
            .join(_users(sessions), on="session_id", maintain_order="left")
            .select(
                pl.col("user_hash").cast(pl.UInt64),
                "user_id",
                "item_id",
                "category",
                ts=pl.lit(cutoff, TS) - pl.duration(seconds=n_later),
                event_type=pl.lit(self.event_type),
            )
        )
        log = SequenceLog.of(events, timezone)
        now = np.full(log.users.height, microseconds(cutoff))
        return SequenceInput(cutoff, log, log.offsets[1:], now)

    def _measured(self) -> dict[str, pl.Expr]:
        return {
            "event_type": pl.lit(self.event_type),
            "n_events": pl.col("n_events"),
            "days_since": pl.lit(0.0, pl.Float32),
            "place": pl.col("place"),
            "rating": pl.lit(None, pl.Float32),
        }

    def _among_users(self, sessions: MatrixInput) -> MatrixInput:
        """Return what users had, with sessions as the only ones who are asked: users tell what is popular."""
        others = self.night.users.with_columns(is_asked=pl.lit(value=False))
        barred = sessions.barred
        if barred is not None:
            nothing = csr_array((others.height, barred.shape[1]), dtype=np.bool_)
            barred = csr_array(vstack([nothing, barred], format="csr"))
        users = pl.concat([others, sessions.users])
        return replace(sessions, users=users, pairs=self.night.pairs, barred=barred)


def _users(sessions: pl.DataFrame) -> pl.DataFrame:
    """Return `session_id` of each session with what it has as a user: `user_hash`, `user_id`, `is_asked`."""
    names = sessions.select(pl.col("session_id").unique(maintain_order=True))
    return names.with_row_index("user_hash").with_columns(
        user_id=_MARK + pl.col("session_id"), is_asked=pl.lit(value=True)
    )
