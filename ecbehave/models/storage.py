"""Model files that cannot run code: JSON, plain arrays, LightGBM's text, and the config as YAML."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from ecbehave.errors import ArtifactError

_SUFFIXES = (".json", ".npz", ".txt", ".yaml")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Name the model file that cannot be read, or does not hold what its model looks for.

    Raises:
        ArtifactError: the block has raised. A foreign file can make a parser raise anything.
    """
    try:
        yield
    except Exception as error:
        why = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise _unreadable(path, why) from error


def save_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a mapping as JSON."""
    path.write_text(json.dumps(content, indent=1, sort_keys=True), encoding="utf-8")


def load_json(path: Path) -> dict[str, Any]:
    """Read a mapping.

    Raises:
        ArtifactError: the file is missing or no JSON object.
    """
    with reading(path):
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise TypeError("it is no JSON object")
    return content


def save_arrays(path: Path, **arrays: NDArray[Any]) -> None:
    """Write numeric arrays to an `.npz` file."""
    np.savez(path, allow_pickle=False, **arrays)


def load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read arrays; an object array, which would be a pickle, is refused.

    Raises:
        ArtifactError: the file is missing, damaged, or holds anything but plain arrays.
    """
    with reading(path), path.open("rb") as file, NpzFile(file, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def check_folder(folder: Path) -> None:
    """Refuse a model folder that holds anything but the kinds of file that we write ourselves.

    Raises:
        ArtifactError: there is a file of another kind, such as a pickle.
    """
    for path in sorted(p for p in folder.rglob("*") if p.is_symlink() or not p.is_dir()):
        if path.is_symlink() or path.suffix not in _SUFFIXES:
            raise _unreadable(path, f"a model holds {', '.join(_SUFFIXES)} files only")


def _unreadable(path: Path, why: object) -> ArtifactError:
    return ArtifactError(
        f"model file {path} was refused: {why}; train again, or take the folder from its source"
    )
