"""Writing sequences: bucket after bucket into flat arrays, which are the same whatever the buckets are."""

import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecbehave.inputs.sequence_events import ARRAYS, NAMED, UserEvents
from ecbehave.schema import SEQUENCE_USERS
from ecbehave.tables import TableWriter, write_table

#: Files of the folder, besides one for each of `ARRAYS` and of `NAMED`, and a folder with two more for each cutoff.
OFFSETS, USERS, TARGET = "offsets.npy", "users.parquet", "target.json"
ENDS, NOW = "ends.npy", "now.npy"


class SequenceWriter:
    """Writes the events of users, bucket after bucket, and at each cutoff up to where they are known.

    Names are numbered as they first appear in the order of users and time. Buckets are in the order of users, so that
    the numbers do not depend on how many there are.
    """

    def __init__(self, folder: Path, target: str = "item") -> None:
        """Open the files.

        Args:
            folder: is made.
            target: `item` or `category`: what the task calls items.
        """
        self._folder, self._n_events = folder, 0
        self._stack = ExitStack()
        self._names = {name: _Names() for name in NAMED}
        self._files: dict[str, _ArrayFile] = {}
        self._users = self._stack.enter_context(TableWriter(folder / USERS, SEQUENCE_USERS))
        (folder / TARGET).write_text(json.dumps({"target": target}), encoding="utf-8")
        self._append(OFFSETS, np.zeros(1, np.int64))

    def write(self, events: UserEvents, instants: Mapping[str, int | NDArray[np.int64]]) -> None:
        """Append the events of a bucket's users.

        Args:
            events: of all the bucket's users [u].
            instants: the place of each cutoff, and the instant (microseconds) as of which its users are asked: one for
                all, or one for each of them [u].
        """
        self._users.write(events.users)
        for name, dtype in ARRAYS.items():
            values = events.arrays[name]
            if name in NAMED:
                numbers = self._names[name].numbered(events.names[name])
                # The last one is for events without a name, which have -1.
                values = np.append(numbers, -1)[values]
            self._append(f"{name}.npy", values.astype(dtype, copy=False))
        self._append(OFFSETS, self._n_events + events.offsets[1:])
        for place, instant in instants.items():
            self._append(f"{place}/{ENDS}", self._n_events + known_ends(events, instant))
            if not isinstance(instant, int):
                self._append(f"{place}/{NOW}", instant)
        self._n_events += events.arrays["ts"].size

    def _append(self, name: str, values: NDArray[Any]) -> None:
        if name not in self._files:
            self._files[name] = self._stack.enter_context(_ArrayFile(self._folder / name, values.dtype))
        self._files[name].write(values)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)
        if kind is None:
            for name, column in NAMED.items():
                write_table(self._folder / f"{name}_names.parquet", self._names[name].frame(column))


def known_ends(events: UserEvents, instant: int | NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the position after each user's last event before an instant [u].

    Args:
        events: of u users.
        instant: in microseconds, one for all or one for each user [u].
    """
    starts, ends = events.offsets[:-1], events.offsets[1:]
    of_each = np.broadcast_to(np.asarray(instant, np.int64), starts.shape)
    is_known = events.arrays["ts"] < np.repeat(of_each, ends - starts)
    n_known = np.append(0, np.cumsum(is_known, dtype=np.int64))
    return np.asarray(starts + n_known[ends] - n_known[starts])


class _Names:
    """Names by number, in the order in which they came."""

    def __init__(self) -> None:
        self._known = pl.DataFrame(schema={"name": pl.String, "number": pl.Int32})

    def numbered(self, names: pl.Series) -> NDArray[np.int32]:
        """Return the number of each of some distinct names; new ones get the next numbers."""
        asked = names.alias("name").to_frame()
        found = asked.join(self._known, on="name", how="left", maintain_order="left")
        is_new = found["number"].is_null()
        n_known, n_new = self._known.height, int(is_new.sum())
        new = found.filter(is_new).with_columns(number=pl.int_range(n_known, n_known + n_new, dtype=pl.Int32))
        self._known = pl.concat([self._known, new], rechunk=True)
        numbers = found["number"].fill_null(-1).to_numpy(writable=True)
        numbers[is_new.to_numpy()] = new["number"].to_numpy()
        return numbers

    def frame(self, column: str) -> pl.DataFrame:
        """Return the names by number, as a column of the log."""
        return self._known.select(pl.col("name").alias(column))


class _ArrayFile:
    """A `.npy` file that grows; its header says how long it is once it is closed."""

    def __init__(self, path: Path, dtype: np.dtype[Any]) -> None:
        self._dtype, self._n = dtype.newbyteorder("<"), 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("wb")

    def write(self, values: NDArray[Any]) -> None:
        self._file.write(np.ascontiguousarray(values, self._dtype).data)
        self._n += values.size

    def _write_header(self) -> None:
        about = {"descr": np.lib.format.dtype_to_descr(self._dtype), "fortran_order": False}
        # numpy pads it, so that a longer number takes no more room.
        np.lib.format.write_array_header_1_0(self._file, about | {"shape": (self._n,)})

    def __enter__(self) -> Self:
        self._write_header()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._file:
            if kind is None:
                self._file.seek(0)
                self._write_header()
