"""What a person or a log sees while a stage runs; always on stderr."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Literal

Advance = Callable[[int], None]
#: Takes what share is done, where the work is in words, and whether that is worth a line in a log.
Show = Callable[[float, str, bool], None]

#: Lines of one piece of work in a log are so far apart, in seconds.
_BETWEEN_LINES = 10.0


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

    @contextmanager
    def follow(self, what: str, seconds: float = _BETWEEN_LINES) -> Iterator[Show]:
        """Follow work that can say where it is; the block calls what it is given as often as it likes.

        Args:
            what: the work.
            seconds: between two lines at least, but that the last one, when all is done, is always written.
        """
        last = time.monotonic()

        def show(share: float, text: str, is_milestone: bool) -> None:
            nonlocal last
            if is_milestone and (share >= 1 or time.monotonic() - last >= seconds):
                last = time.monotonic()
                self.say(f"{what}: {text}")

        yield show


class TerminalProgress(Progress):
    """A bar per piece of work, for a person at a terminal; those at work at the same time stand together."""

    _open: Any = None

    @contextmanager
    def track(self, what: str, total: int) -> Iterator[Advance]:
        """Show a bar while the block runs, and take it away after."""
        with self._bars() as bars:
            task = bars.add_task(what, total=total, text="")
            try:
                yield lambda done: bars.advance(task, done)
            finally:
                bars.remove_task(task)

    @contextmanager
    def follow(self, what: str, seconds: float = _BETWEEN_LINES) -> Iterator[Show]:
        """Show a bar with words beside it while the block runs, and take it away after."""
        del seconds
        with self._bars() as bars:
            task = bars.add_task(what, total=100, text="")
            try:
                yield lambda share, text, _: bars.update(task, completed=round(100 * share), text=text)
            finally:
                bars.remove_task(task)

    @contextmanager
    def _bars(self) -> Iterator[Any]:
        """Return the bars that are shown already, or begin to show some: there is one place for them."""
        if self._open is not None:
            yield self._open
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar

        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[text]}", markup=False),
        )
        with Bar(*columns, console=Console(stderr=True), transient=True) as bars:
            self._open = bars
            try:
                yield bars
            finally:
                self._open = None


def in_words(seconds: float) -> str:
    """Write how long something will take: `40 s`, `12 min`, `1.5 h`."""
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def make_progress(
    *, log_format: Literal["text", "json"], quiet: bool, masked: Callable[[str], str] = str
) -> Progress:
    """Return bars when a person looks at stderr, and plain lines otherwise; `masked` hides secrets in both."""
    if sys.stderr.isatty() and not quiet and log_format == "text":
        return TerminalProgress(log_format, masked=masked)
    return Progress(log_format, quiet=quiet, masked=masked)
