"""What a person or a log sees while a stage runs; always on stderr."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Literal

Advance = Callable[[int], None]


class Progress:
    """Plain lines for cron and logs, as text or as one JSON object a line."""

    def __init__(
        self,
        log_format: Literal["text", "json"] = "text",
        *,
        quiet: bool = False,
        masked: Callable[[str], str] = str,
    ) -> None:
        self._log_format = log_format
        self._quiet = quiet
        self._masked = masked

    def say(self, message: str) -> None:
        """Write one line, unless quiet."""
        if not self._quiet:
            self._write("info", message)

    def error(self, message: str) -> None:
        """Write one message, always."""
        self._write("error", message)

    def _write(self, level: str, message: str) -> None:
        message = self._masked(message)
        if self._log_format == "json":
            line = {
                "time": datetime.now(UTC).isoformat(timespec="seconds"),
                "level": level,
                "message": message,
            }
            print(json.dumps(line, ensure_ascii=False), file=sys.stderr, flush=True)
        else:
            prefix = "error: " if level == "error" else ""
            print(f"{prefix}{message}", file=sys.stderr, flush=True)

    @contextmanager
    def track(self, what: str, total: int) -> Iterator[Advance]:
        """Follow `total` units of work; the block calls what it is given with the units done."""
        del what, total
        yield lambda _done: None


class TerminalProgress(Progress):
    """A bar per piece of work, for a person at a terminal."""

    @contextmanager
    def track(self, what: str, total: int) -> Iterator[Advance]:
        """Show a bar while the block runs, and take it away after."""
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar

        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(what, total=total)
            yield lambda done: bar.advance(task, done)


def make_progress(
    *, log_format: Literal["text", "json"], quiet: bool, masked: Callable[[str], str] = str
) -> Progress:
    """Return bars when a person looks at stderr, and plain lines otherwise; `masked` hides secrets in both."""
    if sys.stderr.isatty() and not quiet and log_format == "text":
        return TerminalProgress(log_format, masked=masked)
    return Progress(log_format, quiet=quiet, masked=masked)
