"""Lists of a ranking to score files: a block of users after the other, however many there are."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecbehave.config import Config
from ecbehave.config.task import PreferenceTask
from ecbehave.inputs.types import Inputs, MatrixInput
from ecbehave.models import model_class, reads
from ecbehave.models.protocol import Predictor
from ecbehave.models.single import Single
from ecbehave.schema import EMBEDDINGS, RANKING_SCORES, SESSION_SCORES, SIMILAR_ITEMS, SIMILAR_USERS
from ecbehave.stages import Context, embeddings, sessions, similar
from ecbehave.stages.lists import complete_lists
from ecbehave.tables import TableWriter

SCORES = "scores.parquet"
LIST_SCHEMAS = {
    SCORES: RANKING_SCORES,
    sessions.FILE: SESSION_SCORES,
    similar.ITEMS: SIMILAR_ITEMS,
    similar.USERS: SIMILAR_USERS,
    embeddings.FILE: EMBEDDINGS,
}

#: Rows of lists that are completed and written at once.
_ROWS = 1 << 20
#: Users whose vectors are written at once.
_USERS = 1 << 16
_LIST = pl.DataFrame(schema={"user_id": pl.String, "item_id": pl.String, "score": pl.Float64})


def check_lists(config: Config) -> None:
    """Refuse to ask the model for what its kind cannot tell.

    Raises:
        ConfigError: it knows nothing of sessions, or of what is similar, or has no vectors.
    """
    similar.check_similar(config.predict, config.model.kind)
    embeddings.check_embeddings(config)
    if config.predict.sessions is not None:
        sessions.check_sessions(config.model)


@dataclass(frozen=True)
class Night:
    """What is listed as of one day."""

    context: Context
    model: Predictor
    matrix: MatrixInput
    """Who is asked, and what was had when."""
    as_of: date
    folder: Path

    def write_lists(self, parts: Iterable[Inputs]) -> dict[str, int]:
        """Write a list for everybody who is asked; the bytes do not depend on how users come in blocks.

        Args:
            parts: all that is known, in parts with whole users, in the order of the population.

        Returns:
            Counts: `users` with a list, `cold` ones among them, and those `without_list`, to whom all is barred.
        """
        k = self.context.config.predict.k
        columns = (
            pl.lit(self.as_of).alias("as_of"),
            pl.lit(self.context.config.model.kind).alias("model"),
        )
        lists = (rows for part in parts for rows in self.model.list_blocks(part, k))
        n_listed = n_cold = 0
        with TableWriter(self.folder / SCORES, RANKING_SCORES) as writer:
            for users, rows in by_users(lists, self.matrix, max(_ROWS // k, 1)):
                complete = complete_lists(rows, narrowed(self.matrix, users), k)
                first = complete.filter(pl.col("rank") == 1)
                n_listed += first.height
                n_cold += int(first["is_cold"].sum())
                writer.write(complete.with_columns(*columns))
        return {"users": n_listed, "cold": n_cold, "without_list": self.matrix.asked.size - n_listed}

    def write_embeddings(self, known: Inputs) -> dict[str, int]:
        """Write what the net knows of each user, where that is asked for; see `embeddings.EmbeddingWriter`."""
        is_asked = self.context.config.predict.embeddings
        ids, asked = self.matrix.users["user_id"], self.matrix.asked
        with embeddings.EmbeddingWriter(self.folder, getattr(self.model, "kind", None), is_asked) as writer:
            for start in range(0, asked.size, _USERS):
                writer.write(known, ids.gather(asked[start : start + _USERS]))
            return writer.counts

    def write_similar(self) -> dict[str, int]:
        """Write what is similar, where that is asked for; see `similar.write_similar`."""
        config = self.context.config.predict
        return similar.write_similar(self.folder, getattr(self.model, "kind", None), self.matrix, config)

    def write_sessions(self, rules: pl.DataFrame | None) -> dict[str, int]:
        """Write a list for each session, where that is asked for; see `sessions.Catalogue.write`.

        Args:
            rules: what must not be listed.
        """
        config = self.context.config
        if config.predict.sessions is None:
            return {}
        asked = sessions.read_sessions(Path(config.predict.sessions))
        missing = sessions.unknown_items(asked, self.matrix)
        if missing.len():
            shown = ", ".join(missing.head(3)) + (", ..." if missing.len() > 3 else "")
            what = f"passed over {missing.len():,} item{'s' * (missing.len() != 1)} that the log has not"
            self.context.progress.say(f"predict: {sessions.KEY}: {what} ({shown})")
        own = cast("Single", self.model).kind.config
        event = sessions.event_of(own, cast("PreferenceTask", config.task).event)
        is_sequential = reads(model_class(config.model.kind), "ranking") == "sequence"
        timezone = config.dataset.timezone if is_sequential else None
        catalogue = sessions.Catalogue(self.matrix, rules, event, timezone)
        return catalogue.write(self.folder / sessions.FILE, self.model, asked, config.predict.k)


def narrowed(matrix: MatrixInput, users: NDArray[np.int64]) -> MatrixInput:
    """Return a matrix that asks about some users only."""
    is_asked = np.zeros(matrix.users.height, np.bool_)
    is_asked[users] = True
    return replace(matrix, users=matrix.users.with_columns(pl.Series("is_asked", is_asked)))


def by_users(
    lists: Iterable[pl.DataFrame], matrix: MatrixInput, n_users: int
) -> Iterator[tuple[NDArray[np.int64], pl.DataFrame]]:
    """Yield lists by so many users of the population, with those that have none.

    Args:
        lists: frames with whole lists, in the order of the population.
        matrix: who is asked.
        n_users: most users that are yielded at once.

    Returns:
        Row numbers of users, ascending, and their rows.
    """
    asked, ids = matrix.asked, matrix.users["user_id"]
    done, pending = 0, [_LIST]
    for rows in lists:
        if rows.is_empty():
            continue
        pending.append(rows.select(_LIST.columns))
        last = (ids == rows["user_id"][-1]).arg_max()
        place = int(np.searchsorted(asked, last or 0))
        if place + 1 - done >= n_users:
            yield from _cut(pl.concat(pending), asked[done : place + 1], ids, n_users)
            done, pending = place + 1, [_LIST]
    yield from _cut(pl.concat(pending), asked[done:], ids, n_users)


def _cut(
    rows: pl.DataFrame, users: NDArray[np.int64], ids: pl.Series, n_users: int
) -> Iterator[tuple[NDArray[np.int64], pl.DataFrame]]:
    """Yield users, at most so many at once, with their rows."""
    numbered = pl.DataFrame({"user_id": ids.gather(users)}).with_row_index("place")
    place = rows.join(numbered, on="user_id", how="left", maintain_order="left")["place"].to_numpy()
    for start in range(0, users.size, n_users):
        first, end = np.searchsorted(place, [start, start + n_users])
        yield users[start : start + n_users], rows[int(first) : int(end)]
