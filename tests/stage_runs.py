"""Runs of single stages in this process, for tests that look at what a stage leaves behind."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

import polars as pl
from shops import Shop

from ecbehave.artifacts import Artifact, Outcome, Workspace
from ecbehave.config.file import load
from ecbehave.models import config_class
from ecbehave.progress import Progress
from ecbehave.stages import Context


class Said(Progress):
    """Keeps the lines instead of writing them."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def say(self, message: str) -> None:
        self.lines.append(message)


@dataclass
class Runs:
    """Stages on one config, one after the other, as `ecbehave run` would do them."""

    shop: Shop
    config: Path
    overrides: Sequence[str] = ()
    memory_bytes: int = 4_000_000_000
    threads: int = 1
    said: list[str] = field(default_factory=list)
    """What the last `do` said."""

    def context(self, *, force: bool = False) -> Context:
        loaded = load(self.config, config_class(), self.overrides)
        workspace = Workspace(Path(loaded.config.workspace))
        progress = Said()
        self.said = progress.lines
        return Context(
            loaded.config,
            loaded.public,
            workspace,
            progress,
            self.threads,
            self.memory_bytes,
            str(self.config),
            force,
        )

    def do(self, *stages: str, force: bool = False) -> Outcome:
        """Run stages under the workspace's lock; returns what the last one came to."""
        context = self.context(force=force)
        with context.workspace.lock("test", 0, context.progress.say):
            for stage in stages:
                outcome: Outcome = import_module(f"ecbehave.stages.{stage}").run(context)
        return outcome


def table(artifact: Artifact, pattern: str) -> pl.DataFrame:
    """Return all rows of an artifact's matching files, in file order."""
    return pl.concat([pl.read_parquet(file) for file in artifact.files(pattern)])
