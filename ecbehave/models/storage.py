"""Model files that cannot run code: JSON, plain arrays and LightGBM's text."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecbehave.errors import ArtifactError

_SUFFIXES = (".json", ".npz", ".txt")


def save_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a mapping as JSON."""
    path.write_text(json.dumps(content, indent=1, sort_keys=True), encoding="utf-8")


def load_json(path: Path) -> dict[str, Any]:
    """Read a mapping.

    Raises:
        ArtifactError: the file is missing or no JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    if not isinstance(content, dict):
        raise _unreadable(path, "it is no JSON object")
    return content


def save_arrays(path: Path, **arrays: NDArray[Any]) -> None:
    """Write numeric arrays to an `.npz` file."""
    np.savez(path, allow_pickle=False, **arrays)


def load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read arrays; an object array, which would be a pickle, is refused.

    Raises:
        ArtifactError: the file is missing, damaged, or holds anything but plain arrays.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise _unreadable(path, error) from error


def check_folder(folder: Path) -> None:
    """Refuse a model folder that holds anything but the kinds of file that we write ourselves.

    Raises:
        ArtifactError: there is a file of another kind, such as a pickle.
    """
    for path in sorted(p for p in folder.rglob("*") if not p.is_dir()):
        if path.is_symlink() or path.suffix not in _SUFFIXES:
            raise _unreadable(path, f"a model holds {', '.join(_SUFFIXES)} files only")


def _unreadable(path: Path, why: object) -> ArtifactError:
    return ArtifactError(
        f"model file {path} was refused: {why}; train again, or take the folder from its source"
    )
