"""Fits that take long: what a person sees of them, what is kept for the case of a kill, and how they went.

Checkpoints are in `NAME/training/`, until the model that they were for is published.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ecbehave.models.deep.watching import Curves, Moment
from ecbehave.models.protocol import Options
from ecbehave.progress import Progress, Show, in_words

_FOLDER = "training"


class LongFits:
    """The fits of one run of train."""

    def __init__(self, folder: Path, fingerprint: str, progress: Progress) -> None:
        """Name the folder of checkpoints.

        Args:
            folder: of the config, in the workspace.
            fingerprint: of the model that is being made.
            progress: of the run.
        """
        self._all = folder / _FOLDER
        self._own = self._all / fingerprint[:16]
        self._progress = progress
        self.curves: dict[str, list[dict[str, Any]]] = {}
        """How the fits went, by part of the model; a part that is made of others may have several."""

    def forget(self) -> None:
        """Delete all checkpoints."""
        if self._all.exists():
            shutil.rmtree(self._all)

    @contextmanager
    def follow(self, part: str, options: Options) -> Iterator[Options]:
        """Yield options with which a fit keeps what it has come to, and says how it goes.

        Args:
            part: of the model.
            options: without.
        """
        with self._progress.follow("train") as show:
            watcher = _Watcher(self._progress, show)
            yield replace(options, checkpoints=self._own / part, watcher=watcher)
            if watcher.curves:
                self.curves[part] = [asdict(curves) for curves in watcher.curves]


class _Watcher:
    """Hands on what a fit says."""

    def __init__(self, progress: Progress, show: Show) -> None:
        self._progress, self._show = progress, show
        self.curves: list[Curves] = []

    def say(self, message: str) -> None:
        self._progress.say(message)

    def show(self, moment: Moment) -> None:
        self._show(moment.done, told(moment), moment.is_epoch_end)

    def learned(self, curves: Curves) -> None:
        self.curves.append(curves)


def told(moment: Moment) -> str:
    """Say where a fit is."""
    metric = "" if moment.metric is None else f", {moment.metric_name} {moment.metric:.4f}"
    left = "" if moment.done >= 1 else f", {in_words(moment.seconds_left)} left at most"
    return (
        f"{moment.name}: epoch {moment.epoch} of {moment.epochs}: loss {moment.loss:.4f}{metric}{left}, "
        f"{moment.per_second:,.0f} {moment.unit}/s"
    )
