"""What a net knows of each user, as a vector beside the scores: for other models, or to find users who are alike."""

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import polars as pl

from ecbehave.config import Config
from ecbehave.errors import ConfigError
from ecbehave.inputs.types import Inputs
from ecbehave.models import PLAIN, model_class
from ecbehave.models.protocol import UserVectors
from ecbehave.schema import EMBEDDINGS
from ecbehave.tables import TableWriter

FILE = "embeddings.parquet"


def check_embeddings(config: Config) -> None:
    """Refuse to ask a kind for what it does not have.

    Raises:
        ConfigError: it has no vectors; the message names kinds that do.
    """
    if config.predict.embeddings and not _has_vectors(config.model.kind):
        able = ", ".join(kind for kind in PLAIN if _has_vectors(kind))
        raise ConfigError(
            f"predict.embeddings: {config.model.kind} has no vector of a user; these kinds do: {able}. Take the key "
            f"out, or choose one of them"
        )


def _has_vectors(kind: str) -> bool:
    return kind in PLAIN and hasattr(model_class(kind), "user_vectors")


class EmbeddingWriter:
    """Writes `embeddings.parquet`, where it is asked for; counts its rows."""

    def __init__(self, folder: Path, model: Any, is_asked: bool) -> None:
        """Open the file.

        Args:
            folder: where it goes.
            model: the kind itself; see `check_embeddings`.
            is_asked: whether anything is to be written.
        """
        self._model: UserVectors = model
        self._writer = TableWriter(folder / FILE, EMBEDDINGS) if is_asked else None
        self._n_rows = 0

    def write(self, known: Inputs, users: pl.Series) -> None:
        """Write the vectors of some users, each of whom comes once.

        Args:
            known: what is known as of the night.
            users: [N] ids.
        """
        if self._writer is None:
            return
        vectors = self._model.user_vectors(known, users)
        listed = pl.Series("embedding", vectors, dtype=pl.Array(pl.Float32, vectors.shape[1]))
        self._writer.write(pl.DataFrame({"user_id": users, "embedding": listed.arr.to_list()}))
        self._n_rows += users.len()

    @property
    def counts(self) -> dict[str, int]:
        """Number of rows; nothing where none were asked for."""
        return {} if self._writer is None else {"embeddings": self._n_rows}

    def __enter__(self) -> Self:
        if self._writer is not None:
            self._writer.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.__exit__(kind, error, trace)
