"""A small kind that reads sequences, for tests of all that hands them on: what a user had last, and when."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Literal, Self, cast

import numpy as np
import polars as pl
import pytest
from scipy.sparse import csr_array

from ecbehave.config.model import ModelConfig
from ecbehave.inputs.types import Inputs, MatrixInput, SequenceInput, TableInput
from ecbehave.models import KINDS, PLAIN, config_class, model_class
from ecbehave.models.protocol import Block, Options
from ecbehave.models.storage import load_json, save_json


class RecentConfig(ModelConfig):
    """The later, the better."""

    kind: Literal["recent"]


class Recent:
    """Learns nothing, but keeps what it was given to learn from."""

    config_class: ClassVar[type[ModelConfig]] = RecentConfig
    inputs: ClassVar[Mapping[str, Any]] = dict.fromkeys(("binary", "pairs", "ranking"), "sequence")

    def __init__(self, config: RecentConfig) -> None:
        self.config = config
        self.given_: list[Any] = []

    def fit(self, train: Sequence[Inputs], valid: Sequence[Inputs], options: Options) -> Self:
        del options
        self.given_ = [[_about(part) for part in parts] for parts in (train, valid)]
        return self

    def predict(self, data: Inputs, k: int) -> pl.DataFrame:
        """Score a user by how many days ago the last event was."""
        del k
        table, sequence = cast("TableInput", data.table), cast("SequenceInput", data.sequence)
        rows = sequence.rows(table.frame["user_id"])
        days = (sequence.now - sequence.log.ts[sequence.ends - 1])[rows] / 86_400e6
        return table.keys.with_columns(score=pl.Series(-days))

    def scores(self, data: Inputs) -> Iterator[Block]:
        """Score an item by how many events ago it was: one over that."""
        matrix, sequence = cast("MatrixInput", data.matrix), cast("SequenceInput", data.sequence)
        log, asked = sequence.log, matrix.asked
        names = log.items if sequence.target == "item" else log.categories
        numbers = (log.item if sequence.target == "item" else log.category).astype(np.int64)
        place = {name: n for n, name in enumerate(matrix.items["item_id"].to_list())}
        column = np.array([*(place.get(name, -1) for name in names.to_list()), -1])
        found = np.zeros((asked.size, matrix.items.height))
        for n, row in enumerate(sequence.rows(matrix.users["user_id"])[asked].tolist()):
            first, end = (sequence.starts[row], sequence.ends[row]) if row >= 0 else (0, 0)
            for position in range(first, end):
                if column[numbers[position]] >= 0:
                    found[n, column[numbers[position]]] = 1 / (end - position)
        yield asked, csr_array(found)

    def save(self, folder: Path) -> None:
        save_json(folder / "recent.json", {"given": self.given_})

    @classmethod
    def load(cls, folder: Path, config: RecentConfig) -> Self:
        loaded = cls(config)
        loaded.given_ = load_json(folder / "recent.json")["given"]
        return loaded


def _about(part: Inputs) -> list[Any]:
    sequence = cast("SequenceInput", part.sequence)
    n_known = int((sequence.ends - sequence.starts).sum())
    forms = [name for name in ("table", "matrix") if getattr(part, name) is not None]
    has_labels = part.matrix is not None and part.matrix.labels is not None
    return [f"{part.cutoff:%m-%d}", n_known, *forms, *["labels"] * has_labels]


@contextmanager
def registered() -> Iterator[None]:
    """Register the kind by one line, next to a module of its own."""
    module = ModuleType("ecbehave.models.recent")
    module.Recent = Recent  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, module.__name__, module)
        patch.setitem(PLAIN, "recent", "recent:Recent")
        patch.setitem(KINDS, "recent", "recent:Recent")
        config_class.cache_clear()
        yield
    config_class.cache_clear()
    model_class.cache_clear()
