"""What train does before it fits, where the config says `tune`: it looks for better settings of the model.

A trial is judged as the model would have been: at several cutoffs of the past, each predicted by a fit on what was
known then. The test windows are not read. Trials are kept in `NAME/tuning/`, so that a killed search goes on.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from ecbehave.artifacts import Artifact, Spec
from ecbehave.config.features import PREPARATION
from ecbehave.config.model import ModelConfig, Tune
from ecbehave.config.yaml import to_yaml
from ecbehave.errors import DataError
from ecbehave.models import tuner
from ecbehave.models.protocol import Options
from ecbehave.models.search import Domain, for_rows
from ecbehave.models.tuner import State, Trial, Values
from ecbehave.progress import in_words
from ecbehave.stages import Context
from ecbehave.stages.time_limit import TimeUp, time_limit
from ecbehave.stages.tuning_file import load, store
from ecbehave.stages.tuning_judge import Judge

VERSION = 1

#: The winning config, in the model's folder.
FILE = "tuned.yaml"
_FOLDER = "tuning"
_HEAD = """\
# The config that tuning found, without the search: it makes the same model.
# Copy it to where your configs are before you train with it: training replaces the folder of this file.
"""
_LONGEST_REASON = 300


@dataclass(frozen=True)
class Tuned:
    """What the search came to."""

    model: ModelConfig
    """The model with the settings that did best."""
    info: Mapping[str, Any]
    """For the manifest and the report; nothing in it depends on how fast the machine is."""


def check(context: Context) -> None:
    """Refuse what cannot be tuned, before anything is computed.

    Raises:
        ConfigError: Optuna is not installed, there is nothing to search, or the model does not take a value of it.
    """
    tune = context.config.tune
    if tune is not None:
        tuner.check_installed()
        tuner.search_space(context.config.model, tune.space)


def search(context: Context, tune: Tune, inputs: Artifact, options: Options) -> Tuned:
    """Try settings until there were `tune.trials` of them or the time is up.

    The time counts what earlier, interrupted runs of the same search have spent on trials. A trial that runs into
    the limit is stopped as Ctrl-C would stop it: at the next step of the fit that is Python, which is one tree or one
    iteration later for most kinds, and at most one call of a library that does all of its work at once.

    Raises:
        DataError: no cutoff can be predicted from earlier ones, or every trial failed.
    """
    space = tuner.search_space(context.config.model, tune.space)
    judge = Judge.read(context, tune, inputs, options)
    if tune.space is None:
        space = for_rows(space, judge.n_rows)
    file = f"{_key(context, inputs, space)[:16]}.json"
    path = context.workspace.root / context.config.name / _FOLDER / file
    trials = [] if context.force else load(path)
    found = _Search(context, tune, space, judge, path, trials)
    with context.progress.track("tune", tune.trials) as advance:
        found.run(advance)
    return found.result()


def _key(context: Context, inputs: Artifact, space: Mapping[str, Domain]) -> str:
    """Name what is searched, but for how long: with a higher limit the same search goes on."""
    public = context.public
    config = {
        "model": public["model"],
        "seed": public["seed"],
        "features": {key: public["features"][key] for key in PREPARATION},
        "origins": public["tune"]["origins"],
        "space": {key: [type(domain).__name__, asdict(domain)] for key, domain in space.items()},
    }
    return Spec("tune", VERSION, config, {"inputs": inputs.fingerprint}).fingerprint


@dataclass
class _Search:
    """One search: what was tried before, and what is tried now."""

    context: Context
    tune: Tune
    space: Mapping[str, Domain]
    judge: Judge
    path: Path
    trials: list[Trial]

    @property
    def tried(self) -> list[Trial]:
        """All trials that count."""
        return [trial for trial in self.trials if trial.state != "stopped"][: self.tune.trials]

    def run(self, advance: Callable[[int], None]) -> None:
        """Go on from what was tried before."""
        if self.trials:
            self.context.progress.say(f"tune: goes on after {len(self.tried)} trials of an earlier run")
        advance(len(self.tried))
        while len(self.tried) < self.tune.trials and self._seconds_left() > 0:
            self.trials.append(self._try(self._next()))
            store(self.path, self.trials)
            self._say()
            advance(1)

    def _seconds_left(self) -> float:
        limit = self.tune.max_seconds
        return float("inf") if limit is None else limit - sum(trial.seconds for trial in self.trials)

    def _next(self) -> Values:
        """Return what to try: first the settings as they are."""
        if not self.tried:
            return tuner.current(self.context.config.model, self.space)
        return tuner.propose(self.space, self.tried, self.context.config.seed)

    def _try(self, values: Values) -> Trial:
        twin = next((trial for trial in self.tried if trial.values == values), None)
        if twin is not None:
            return replace(twin, seconds=0.0)
        started, scores, why = time.monotonic(), list[float](), None
        state: State = "complete"
        try:
            with time_limit(self._seconds_left()):
                config = tuner.changed(self.context.config.model, values)
                for origin in self.judge.origins:
                    scores.append(self.judge(config, origin))
                    if len(scores) < len(self.judge.origins) and tuner.is_hopeless(scores, self.tried):
                        state = "pruned"
                        break
        except TimeUp:
            state = "stopped"
        except Exception as error:
            # Whatever a library says of odd settings; when all trials fail, the first reason is shown.
            state, why = "failed", " ".join((str(error) or type(error).__name__).split())[:_LONGEST_REASON]
        return Trial(values, state, tuple(scores), why, time.monotonic() - started)

    def _say(self) -> None:
        last, best = self.trials[-1], _best(self.tried)
        came_to = {
            "complete": f"{self.judge.metric} {fmean(last.scores or [0]):.4f}",
            "pruned": f"given up after {len(last.scores)} of {len(self.judge.origins)} origins",
            "failed": f"failed ({last.why})",
            "stopped": "stopped, the time is up",
        }[last.state]
        so_far = "" if best is None else f"; best {fmean(self.tried[best].scores):.4f} (trial {best + 1})"
        n = len(self.tried) + (last.state == "stopped")
        self.context.progress.say(
            f"tune: trial {n} of {self.tune.trials}: {came_to}{so_far}{self._left_in_words()}"
        )

    def _left_in_words(self) -> str:
        n_left = self.tune.trials - len(self.tried)
        if n_left == 0 or self._seconds_left() <= 0:
            return ""
        each = fmean(trial.seconds for trial in self.trials)
        return f"; {in_words(min(n_left * each, self._seconds_left()))} left"

    def result(self) -> Tuned:
        """Return the best trial's settings; those of the config, where not even these were judged in time."""
        tried, model = self.tried, self.context.config.model
        best = _best(tried)
        if best is not None:
            return Tuned(tuner.changed(model, tried[best].values), self._info(best))
        if tried:
            raise DataError(
                f"tune: none of {len(tried)} trials could be judged; the first one: {tried[0].why}. "
                f"Take tune out to fit the model as it is, or change tune.space"
            )
        self.context.progress.say("tune: the time was up before any trial ended; the model stays as it is")
        return Tuned(model, self._info(None))

    def _info(self, best: int | None) -> dict[str, Any]:
        trials = [{k: v for k, v in asdict(trial).items() if k != "seconds"} for trial in self.tried]
        cutoffs = [splits.test[0].cutoff.isoformat() for splits in self.judge.origins]
        return {
            "metric": self.judge.metric,
            "origins": cutoffs,
            "best": best,
            "importance": tuner.importance(self.space, self.tried, self.context.config.seed),
            "trials": trials,
        }


def _best(tried: Sequence[Trial]) -> int | None:
    """Return the number of the first trial with the highest mean; None where none was judged at every origin."""
    means = {n: fmean(trial.scores) for n, trial in enumerate(tried) if trial.state == "complete"}
    return max(means, key=lambda n: means[n], default=None)


def winning_yaml(context: Context, tuned: Tuned) -> str:
    """Return the whole config with the settings that did best, and without `tune`."""
    public = {key: value for key, value in context.public.items() if key != "tune"}
    return _HEAD + to_yaml(public | {"model": tuned.model.model_dump(mode="json")})
