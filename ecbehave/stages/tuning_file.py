"""The trials of a search on disk: plain JSON, so that a search goes on after a kill."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ecbehave.errors import ArtifactError
from ecbehave.models.tuner import Trial


def load(path: Path) -> list[Trial]:
    """Read the trials of an earlier run; none where there was none.

    Raises:
        ArtifactError: the file is not what `store` wrote.
    """
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return [Trial(**trial | {"scores": tuple(trial["scores"])}) for trial in stored]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ArtifactError(
            f"{path} cannot be read ({error}); delete it, and the search begins anew"
        ) from error


def store(path: Path, trials: Sequence[Trial]) -> None:
    """Write the trials so that a kill leaves either these or those before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    with new.open("w", encoding="utf-8") as file:
        json.dump([asdict(trial) for trial in trials], file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
