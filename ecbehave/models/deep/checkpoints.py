"""Checkpoints: all that a killed fit needs to go on as if nothing had happened.

Randomness needs no state: it depends on the seed and the place alone.
"""

import hashlib
import io
import json
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray
from torch import Tensor, nn

from ecbehave.models.deep.optimisers import Optimiser
from ecbehave.models.deep.ranks import Ranks
from ecbehave.models.deep.watching import Ending

#: A checkpoint within an epoch at most so often; and no more of the time than this share for any of them.
SECONDS = 60.0
#: Raised when a checkpoint of before cannot be gone on from.
_VERSION = 1
_SHARE = 0.05


@dataclass
class Place:
    """Where a fit is, and what it has seen so far."""

    epoch: int = 0
    """Epochs that are over."""
    batch: int = 0
    """Batches of the next one that were learned from."""
    step: int = 0
    losses: list[float] = field(default_factory=list)
    metrics: list[float] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)
    """Epochs after which the learning rate was made smaller."""
    best: int = 0
    """The best epoch, from 1."""
    seconds: float = 0.0
    ended: Ending | None = None


@dataclass(frozen=True)
class Checkpoint:
    """What was read, but for what was put into the net and the optimiser."""

    place: Place
    best: dict[str, Tensor]
    sums: NDArray[np.float64]
    """[2]: the losses of the epoch so far, and their number."""


@dataclass(frozen=True)
class Store:
    """A folder of checkpoints, and what the net and its data were made of."""

    folder: Path
    key: str
    """Of the config and of the data, see `key_of`: what has another key is another fit."""
    seconds: float = SECONDS

    def of(self, net: nn.Module, key: Mapping[str, Any], ranks: Ranks) -> "File":
        """Return the file of one fit.

        Args:
            net: with its first weights.
            key: what else decides about the fit.
            ranks: the processes of which the first one reads and writes.
        """
        weights = [value.detach().cpu().numpy() for value in net.state_dict().values()]
        name = key_of(
            {"net": list(net.state_dict()), "key": self.key, "version": _VERSION} | dict(key), weights
        )
        return File(self.folder / f"{name[:24]}.npz", self.seconds, ranks)


class File:
    """The checkpoint of one fit."""

    def __init__(self, path: Path, seconds: float, ranks: Ranks) -> None:
        self._path, self._seconds, self._ranks = path, seconds, ranks
        self._written, self._took = time.monotonic(), 0.0

    def is_due(self, now: float) -> bool:
        """Tell whether the last one was long enough ago."""
        return now - self._written >= max(self._seconds, self._took / _SHARE)

    def write(
        self, net: nn.Module, optimiser: Optimiser, place: Place, best: Mapping[str, Tensor], sums: Tensor
    ) -> None:
        """Write a checkpoint, so that a kill leaves either this one or the one before."""
        started = time.monotonic()
        parts = {"net": net.state_dict(), "optimiser": optimiser.state(), "best": best}
        arrays = {
            f"{part}/{name}": value.detach().cpu().numpy()
            for part, of in parts.items()
            for name, value in of.items()
        }
        arrays["sums"] = sums.cpu().numpy()
        arrays["place"] = np.frombuffer(json.dumps(asdict(place)).encode(), np.uint8)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        new = self._path.with_suffix(".new")
        with new.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)
        _sync(self._path.parent)
        self._written = time.monotonic()
        self._took = self._written - started

    def read(self, net: nn.Module, optimiser: Optimiser) -> Checkpoint | None:
        """Put what was written into the net and the optimiser; None where there is nothing, or nothing whole."""
        arrays = _arrays(self._ranks.from_first(self._bytes()))
        if arrays is None:
            return None
        place = Place(**json.loads(arrays.pop("place").tobytes()))
        net.load_state_dict(_part(arrays, "net"))
        optimiser.restore(_part(arrays, "optimiser"))
        device = next(net.parameters()).device
        best = {name: value.to(device) for name, value in _part(arrays, "best").items()}
        return Checkpoint(place, best, arrays["sums"])

    def _bytes(self) -> bytes:
        try:
            return self._path.read_bytes() if self._ranks.is_first else b""
        except FileNotFoundError:
            return b""


def _arrays(content: bytes) -> dict[str, NDArray[Any]] | None:
    """Return what a file holds; None where its bytes are not those that were written, which zip files can tell."""
    try:
        with NpzFile(io.BytesIO(content), allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (ValueError, EOFError, BadZipFile):
        return None


def _part(arrays: Mapping[str, NDArray[Any]], part: str) -> dict[str, Tensor]:
    """Return the arrays of one part, in memory of torch."""
    return {
        name.removeprefix(f"{part}/"): torch.from_numpy(value).clone()
        for name, value in arrays.items()
        if name.startswith(f"{part}/")
    }


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def key_of(settings: Mapping[str, Any], arrays: Iterable[NDArray[Any]] = ()) -> str:
    """Return a hash of settings and of the bytes of arrays, for `Store.key`."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    for array in arrays:
        whole = np.ascontiguousarray(array)
        digest.update(f"{whole.dtype}{whole.shape}".encode())
        digest.update(whole.view(np.uint8).reshape(-1).data if whole.ndim else whole.tobytes())
    return digest.hexdigest()
