"""The sequence input: what every user did, event by event, up to a cutoff."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import polars as pl
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from ecbehave.inputs.histories import microseconds
from ecbehave.inputs.sequence_events import ARRAYS, NAMED
from ecbehave.inputs.sequence_writer import ENDS, NOW, OFFSETS, TARGET, USERS
from ecbehave.inputs.types import SequenceInput, SequenceLog

#: Logs in use, by folder and what tells one that was written anew. Cutoffs of one log share it.
_OPEN: WeakValueDictionary[tuple[str, int, int], SequenceLog] = WeakValueDictionary()


def read_sequence(folder: Path, place: str, cutoff: datetime) -> SequenceInput:
    """Return what was stored for one cutoff; the events are mapped into memory, not read.

    Args:
        folder: of all cutoffs' sequences.
        place: of the cutoff.
        cutoff: the instant.
    """
    ends, now = _mapped(folder / place / ENDS), folder / place / NOW
    return SequenceInput(
        cutoff,
        read_log(folder),
        ends,
        _mapped(now) if now.exists() else np.broadcast_to(np.int64(microseconds(cutoff)), ends.shape),
        json.loads((folder / TARGET).read_text(encoding="utf-8"))["target"],
    )


def read_log(folder: Path) -> SequenceLog:
    """Return the events of all users; as long as somebody uses them, they are the same object for everybody."""
    about = (folder / USERS).stat()
    key = (str(folder.resolve()), about.st_ino, about.st_mtime_ns)
    log = _OPEN.get(key)
    if log is None:
        log = _OPEN[key] = _read_log(folder)
    return log


def _read_log(folder: Path) -> SequenceLog:
    items, categories, event_types = (
        pl.read_parquet(folder / f"{name}_names.parquet")[column] for name, column in NAMED.items()
    )
    arrays: dict[str, NDArray[Any]] = {name: _mapped(folder / f"{name}.npy") for name in ARRAYS}
    users = pl.read_parquet(folder / USERS)
    return SequenceLog(users, _mapped(folder / OFFSETS), items, categories, event_types, **arrays)


def _mapped(file: Path) -> NDArray[Any]:
    return np.asarray(open_memmap(file, mode="r"))
