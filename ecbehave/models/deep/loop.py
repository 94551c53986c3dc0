"""The loop that teaches a net: steps, epochs, when to stop, and which weights are kept."""

import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Generic, Self

import numpy as np
import torch
from torch import Tensor

from ecbehave.errors import DataError
from ecbehave.models.deep import ranks
from ecbehave.models.deep.checkpoints import Place, Store
from ecbehave.models.deep.devices import Mapped, pick_precision, workers
from ecbehave.models.deep.optimisers import Optimiser
from ecbehave.models.deep.schedules import Schedule
from ecbehave.models.deep.settings import Training
from ecbehave.models.deep.shards import Net, Objective, Shards
from ecbehave.models.deep.watching import Curves, Moment, Plan, Watcher
from ecbehave.models.protocol import Options

_SHOW_SECONDS = 0.2


@dataclass(frozen=True)
class Run:
    """What the run decides about a fit, not the config."""

    seed: int
    threads: int
    name: str = "net"
    """What is trained, for people."""
    watcher: Watcher | None = None
    store: Store | None = None
    """Where a killed fit finds what it had come to."""

    @classmethod
    def of(cls, options: Options, name: str, key: str) -> Self:
        """Return what the stage has decided.

        Args:
            options: the stage's.
            name: of what is trained, for people: `transformer`, or more where a kind trains several nets.
            key: of the config and the data, see `checkpoints.key_of`.
        """
        store = None if options.checkpoints is None else Store(options.checkpoints, key)
        return cls(options.seed, options.threads, name, options.watcher, store)


@dataclass(frozen=True)
class Learned:
    """What a fit came to; the net has the weights of the best epoch."""

    curves: Curves
    plan: Plan
    """For a fit without a validation window."""
    seconds: float
    per_second: float
    """Events or rows learned from per second, the time of validation counted in."""


def train(net: Net, objective: Objective[Net], how: Training, run: Run, plan: Plan | None = None) -> Learned:
    """Train a net in place, on the device where it is.

    On a CPU the same seed gives the same weights, to the byte, with any number of threads, and also when a killed fit
    goes on from its checkpoint.

    Args:
        net: its weights have their first values.
        objective: what it learns, and from what.
        how: the config.
        run: seed, threads, who looks on, and where checkpoints go.
        plan: what an earlier fit has found out, for a fit that has no validation window.

    Raises:
        DataError: there is nothing to learn from, or the loss was no number in the first epoch.
        ConfigError: the hardware does not have what the config asks for.
    """
    device = next(net.parameters()).device
    together = ranks.joined(device)
    # On a GPU shards are for less memory at once, so there is one at a time.
    with workers(run.threads if device.type == "cpu" else 1) as mapped:
        return _Fit(net, objective, how, run, plan, mapped, together).run()


class _Fit(Generic[Net]):
    """One fit, and its place in it."""

    def __init__(
        self,
        net: Net,
        objective: Objective[Net],
        how: Training,
        run: Run,
        plan: Plan | None,
        mapped: Mapped,
        together: ranks.Ranks,
    ) -> None:
        self.net, self.objective, self.how, self.plan = net, objective, how, plan
        self.name, self.seed, self.ranks = run.name, run.seed, together
        self.watcher = run.watcher if together.is_first else None
        precision = pick_precision(how.precision, next(net.parameters()).device)
        self.shards = Shards(net, objective, run.seed, precision, mapped, together, how.batch)
        self.optimiser = Optimiser(net, how)
        steps_per_epoch = -(-objective.n_batches // how.accumulate)
        self.schedule = Schedule(how, steps_per_epoch)
        self.n_epochs = how.epochs if plan is None else plan.epochs
        self.n_steps = max(steps_per_epoch * self.n_epochs, 1)
        self.place = Place()
        self.sums = torch.zeros(2, dtype=torch.float64, device=self.shards.gradients[0].device)
        self.best: dict[str, Tensor] = {}
        key = {
            "seed": run.seed,
            "how": how.model_dump(mode="json"),
            "plan": repr(plan),
            "type": str(precision),
        }
        self.store = None if run.store is None else run.store.of(net, key, together)
        self.started = self.shown = time.monotonic()
        self.seconds_before, self.learned_from = 0.0, 0.0

    def run(self) -> Learned:
        """Go on from the last checkpoint to the end."""
        self._resume()
        while self.place.ended is None:
            self._epoch()
        if self.best:
            self.net.load_state_dict(self.best)
        return self._learned()

    def _resume(self) -> None:
        found = None if self.store is None else self.store.read(self.net, self.optimiser)
        if found is None:
            return
        self.place, self.best = found.place, found.best
        self.sums.copy_(torch.from_numpy(found.sums))
        self.seconds_before = self.place.seconds
        # What was learned from before does not count for the speed of this run.
        self.learned_from = -float(self.sums[1])
        if self.place.ended is None:
            n = self.place.step
            self._say(
                f"goes on in epoch {self.place.epoch + 1}, after {n:,} step{'s' * (n != 1)} of an earlier run"
            )

    def _epoch(self) -> None:
        """Go on to the end of the epoch, or until the time is up."""
        rng = np.random.default_rng([self.seed, self.place.epoch])
        batches = islice(self.objective.batches(rng), self.place.batch, None)
        for group in _groups(batches, self.how.accumulate):
            self._step(group)
            if self._is_time_up():
                self._end_early()
                return
            self._look()
        self._end_epoch()

    def _step(self, batches: list[Any]) -> None:
        n_shards = self.shards.n
        summed = self.shards.add_up(batches, self.place.step)
        if self.shards.n > n_shards:
            self._say(f"too little memory for {n_shards} shards of a batch; goes on with {self.shards.n}")
        cuts = self.place.cuts if self.plan is None else self.plan.cuts
        n_cuts = sum(epoch <= self.place.epoch for epoch in cuts)
        self.optimiser.step(self.shards.gradients, self.schedule.rate(self.place.step, n_cuts))
        self.sums += summed
        self.place.step += 1
        self.place.batch += len(batches)

    def _is_time_up(self) -> bool:
        if self.how.max_seconds is None:
            return False
        return bool(self.ranks.number_from_first(self._seconds() >= self.how.max_seconds))

    def _seconds(self) -> float:
        return self.seconds_before + time.monotonic() - self.started

    def _end_early(self) -> None:
        """Keep the best epoch; where none was validated, what was learned so far."""
        self.place.ended = "max_seconds"
        what = f"epoch {self.place.best} is kept" if self.best else "the last weights are kept"
        self._say(f"the time was up in epoch {self.place.epoch + 1} of {self.n_epochs}; {what}")
        self._write()

    def _end_epoch(self) -> None:
        loss = self._mean_loss()
        if not math.isfinite(loss):
            self._end_diverged(loss)
            return
        place = self.place
        place.epoch, place.batch = place.epoch + 1, 0
        place.losses.append(loss)
        self.learned_from += float(self.sums[1])
        self.sums.zero_()
        self._judge()
        if place.epoch >= self.n_epochs:
            place.ended = "epochs"
        elif self.best and place.epoch - place.best >= self.how.patience:
            place.ended = "patience"
            self._say(f"no better in {self.how.patience} epochs; epoch {place.best} is kept")
        self._show(loss, is_epoch_end=True)
        self._write()

    def _mean_loss(self) -> float:
        loss, weight = self.sums.tolist()
        if weight == 0:
            raise DataError(
                f"train: {self.name} finds no {self.objective.unit} to learn from in its train data; lengthen the "
                f"history, set split.train higher, or bring more data"
            )
        return float(loss / weight)

    def _end_diverged(self, loss: float) -> None:
        """Keep the best epoch; where there is none yet, nothing of use was learned.

        Raises:
            DataError: it was the first epoch, or there is no validation window.
        """
        where = f"the loss became {loss} in epoch {self.place.epoch + 1}"
        if not self.best:
            raise DataError(
                f"train: {where} of {self.name}; set training.learning_rate (now {self.how.learning_rate:g}) lower, or "
                f"training.clip to 1"
            )
        self.place.ended = "diverged"
        self._say(f"{where}; epoch {self.place.best} is kept")
        self._write()

    def _judge(self) -> None:
        """Find out whether the weights of this epoch are the best ones."""
        place = self.place
        metric = None if self.plan is not None else self._metric()
        if metric is None:
            place.best = place.epoch
            return
        if not self.best or metric > place.metrics[place.best - 1]:
            place.best = place.epoch
            self.best = {name: value.clone() for name, value in self.net.state_dict().items()}
        place.metrics.append(metric)
        since = place.epoch - max([place.best, *place.cuts])
        if self.how.schedule == "plateau" and since >= max(self.how.patience // 2, 1):
            place.cuts.append(place.epoch)

    def _metric(self) -> float | None:
        with torch.no_grad():
            found = self.objective.metric(self.net) if self.ranks.is_first else None
        # There is no NaN among metrics, so it can stand for none.
        number = self.ranks.number_from_first(math.nan if found is None else found)
        return None if math.isnan(number) else number

    def _look(self) -> None:
        """Show where training is, and write a checkpoint, when it is time to."""
        now = time.monotonic()
        if self.watcher is not None and now - self.shown >= _SHOW_SECONDS:
            loss, weight = self.sums.tolist()
            self._show(loss / max(weight, 1.0), is_epoch_end=False)
            self.shown = now
        if self.store is not None and self.store.is_due(now):
            self._write()

    def _show(self, loss: float, *, is_epoch_end: bool) -> None:
        if self.watcher is None:
            return
        place, seconds = self.place, max(time.monotonic() - self.started, 1e-9)
        done = min(place.step / self.n_steps, 1.0)
        left = self._seconds() / done * (1 - done) if done else math.inf
        if self.how.max_seconds is not None:
            left = min(left, max(self.how.max_seconds - self._seconds(), 0.0))
        self.watcher.show(
            Moment(
                name=self.name,
                epoch=place.epoch if is_epoch_end else place.epoch + 1,
                epochs=self.n_epochs,
                done=done,
                loss=loss,
                metric=place.metrics[-1] if place.metrics else None,
                metric_name=self.objective.metric_name,
                per_second=(self.learned_from + float(self.sums[1])) / seconds,
                unit=self.objective.unit,
                seconds_left=left,
                is_epoch_end=is_epoch_end,
            )
        )

    def _say(self, message: str) -> None:
        if self.watcher is not None:
            self.watcher.say(f"train: {self.name}: {message}")

    def _write(self) -> None:
        if self.store is not None and self.ranks.is_first:
            place = replace(self.place, seconds=self._seconds())
            self.store.write(self.net, self.optimiser, place, self.best, self.sums)

    def _learned(self) -> Learned:
        place, seconds = self.place, self._seconds()
        curves = Curves(
            name=self.name,
            unit=self.objective.unit,
            loss=tuple(place.losses),
            metric=tuple(place.metrics),
            metric_name=self.objective.metric_name if place.metrics else "",
            best=place.best,
            ended=place.ended or "epochs",
        )
        if self.watcher is not None:
            self.watcher.learned(curves)
        plan = self.plan or Plan(
            max(place.best, 1), tuple(epoch for epoch in place.cuts if epoch < place.best)
        )
        return Learned(curves, plan, seconds, self.learned_from / max(seconds - self.seconds_before, 1e-9))


def _groups(batches: Iterable[Any], n: int) -> Iterator[list[Any]]:
    """Yield the batches of one step after the other; the last ones may be fewer."""
    iterator = iter(batches)
    while group := list(islice(iterator, n)):
        yield group
