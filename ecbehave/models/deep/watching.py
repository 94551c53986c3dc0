"""What a run sees and says of a net that is being trained. Imports no torch."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

#: Why training ended: every epoch was run, the validation metric got no better, the time was up, or the loss was no
#: number any more.
Ending = Literal["epochs", "patience", "max_seconds", "diverged"]


@dataclass(frozen=True)
class Plan:
    """What a first fit has found out, for one without a validation window to repeat."""

    epochs: int
    """Epochs until the weights were best."""
    cuts: tuple[int, ...] = ()
    """Epochs after which `schedule: plateau` made the learning rate smaller."""


@dataclass(frozen=True)
class Curves:
    """How training went; the same whenever the same net is trained on a CPU."""

    name: str
    """What was trained, for people."""
    unit: str
    """What losses are means over, in the plural, e.g. `events`."""
    loss: Sequence[float] = field(default_factory=list)
    """Mean loss in each epoch, as the weights were then."""
    metric: Sequence[float] = field(default_factory=list)
    """Validation metric after each epoch; empty where nothing was validated."""
    metric_name: str = ""
    best: int = 0
    """The epoch, from 1, whose weights were kept; 0 where the time was up before the first one was over."""
    ended: Ending = "epochs"


@dataclass(frozen=True)
class Moment:
    """Where training is."""

    name: str
    """What is trained, for people."""
    epoch: int
    """From 1."""
    epochs: int
    """Most epochs that there can be."""
    done: float
    """Share of all steps."""
    loss: float
    """Mean loss of the epoch so far."""
    metric: float | None
    """Validation metric after the last epoch that is over."""
    metric_name: str
    per_second: float
    """Events or rows learned from per second, since training began or went on."""
    unit: str
    seconds_left: float
    """Until the last epoch is over, or the time is up."""
    is_epoch_end: bool


class Watcher(Protocol):
    """Who follows training."""

    def say(self, message: str) -> None:
        """Take in something that a person should know."""

    def show(self, moment: Moment) -> None:
        """Take in where training is: some times a second, and after each epoch."""

    def learned(self, curves: Curves) -> None:
        """Take in how training went, when it is over."""
