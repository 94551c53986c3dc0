"""The six stages; each file reads top to bottom, and only its `run` touches the disk."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ecbehave.artifacts import Artifact, Spec, Workspace, changed_keys
from ecbehave.config import Config
from ecbehave.errors import ArtifactError
from ecbehave.progress import Progress


@dataclass(frozen=True)
class Context:
    """What a stage is given."""

    config: Config
    public: Mapping[str, Any]
    """The resolved config as plain data, with `${NAME}` in place of secrets."""
    workspace: Workspace
    progress: Progress
    threads: int
    memory_bytes: int
    config_file: str
    """The config's file, for messages that say what to run."""
    force: bool = False
    masked: Callable[[str], str] = str
    """Puts `${NAME}` back in place of what came from the environment."""


def upstream(context: Context, stage: str, name: str, spec_of: Callable[[Context], Spec]) -> Artifact:
    """Return the artifact that another stage has published, if it is what the config asks for.

    Raises:
        ArtifactError: it is missing, or was made from other settings or other data.
    """
    remedy = f"run: ecbehave {stage} --config {context.config_file} (or `ecbehave run`, which does all that is stale)"
    artifact = context.workspace.read(name)
    if artifact is None:
        raise ArtifactError(f"{context.workspace.root / name} does not exist yet; {remedy}")
    wanted = spec_of(context)
    if artifact.fingerprint != wanted.fingerprint:
        keys = changed_keys(artifact.manifest["config"], wanted.config)
        why = (
            f"these settings have changed: {', '.join(keys[:5])}"
            if keys
            else "what it was made from has changed"
        )
        raise ArtifactError(f"{artifact.path} is out of date: {why}; {remedy}")
    return artifact
