"""What tuning tries next: the search space of a model's config, and Optuna's TPE over it.

Nothing is kept between calls: a proposal follows from the trials so far, the number of the next one and the seed.
So a search that was interrupted goes on exactly as it would have, and nothing but plain trials is stored.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib.util import find_spec
from statistics import fmean, median
from typing import Any, Literal, TypeVar

import numpy as np
from pydantic import ValidationError

from ecbehave.config.model import ModelConfig, Searched
from ecbehave.errors import ConfigError
from ecbehave.models import model_class
from ecbehave.models.search import Choice, Domain, Real, Scalar, Whole

M = TypeVar("M", bound=ModelConfig)

Values = Mapping[str, Scalar]
State = Literal["complete", "pruned", "failed", "stopped"]

#: Trials that must have run to their end before others are given up early.
_FEWEST_FOR_PRUNING = 5
#: And before anything is said of which parameters matter.
_FEWEST_FOR_IMPORTANCE = 10
#: A number such as 0.0347 serves as well as 0.034718249, and people can read it.
_DIGITS = 4


@dataclass(frozen=True)
class Trial:
    """Settings that were tried, and how they did."""

    values: Values
    """Key of the model, with a dot for a part's, to its value."""
    state: State
    """`pruned`: given up after some origins; `stopped`: the time was up, so it does not count as tried."""
    scores: tuple[float, ...] = ()
    """At each origin that it got to, the latest first; higher is better."""
    why: str | None = None
    """What went wrong, where it failed."""
    seconds: float = field(default=0.0, compare=False)


def search_space(config: ModelConfig, given: Mapping[str, Searched] | None) -> dict[str, Domain]:
    """Return what is searched of a model: what the config gives, or else what its kind and those of its parts name.

    Raises:
        ConfigError: there is nothing to search, or the model does not take a value of it.
    """
    if given is not None:
        return {key: _domain(config, key, searched) for key, searched in given.items()}
    space = _declared(config, "")
    if space:
        return space
    raise ConfigError(
        f"tune: the kind {config.kind} names nothing to search; take tune out, or say in tune.space what to try"
    )


def _declared(config: ModelConfig, prefix: str) -> dict[str, Domain]:
    found: Mapping[str, Domain] = getattr(model_class(config.kind), "search", {})
    space = {f"{prefix}{key}": domain for key, domain in found.items()}
    for name, part in config.parts().items():
        space |= _declared(part, f"{prefix}{name}.")
    return space


def _domain(config: ModelConfig, key: str, searched: Searched) -> Domain:
    if key == "kind" or key.endswith(".kind"):
        raise ConfigError(
            f"tune.space.{key}: tuning stays within a kind; compare kinds with `ecbehave compare`"
        )
    if searched.values is not None:
        for value in searched.values:
            _check(config, key, value)
        return Choice(tuple(searched.values))
    low, high = float(searched.low or 0), float(searched.high or 0)
    is_whole = low.is_integer() and high.is_integer() and not _takes(config, key, low + (high - low) / np.pi)
    domain = Whole(int(low), int(high), searched.log) if is_whole else Real(low, high, searched.log)
    _check(config, key, domain.low)
    _check(config, key, domain.high)
    return domain


def _takes(config: ModelConfig, key: str, value: Scalar) -> bool:
    try:
        changed(config, {key: value})
    except (KeyError, ValidationError):
        return False
    return True


def _check(config: ModelConfig, key: str, value: Scalar) -> None:
    try:
        changed(config, {key: value})
    except KeyError as error:
        raise ConfigError(f"tune.space.{key}: {error.args[0]}") from None
    except ValidationError as error:
        why = error.errors(include_url=False)[0]["msg"]
        raise ConfigError(f"tune.space.{key}: the model does not take {value!r}: {why}") from None


def changed(config: M, values: Values) -> M:
    """Return a model's config with other values of some keys.

    Raises:
        KeyError: it has no such key; the argument is a sentence.
        ValidationError: it does not take such a value.
    """
    tree = config.model_dump()
    for key, value in values.items():
        *above, last = key.split(".")
        below = _inside(tree, above)
        if not isinstance(below, dict) or last not in below:
            raise KeyError(_no_such_key(key, tree))
        below[last] = value
    return type(config).model_validate(tree, strict=True)


def current(config: ModelConfig, keys: Iterable[str]) -> dict[str, Scalar]:
    """Return the values that a config has."""
    tree = config.model_dump()
    return {key: _inside(tree, key.split(".")) for key in keys}


def _inside(tree: Any, path: Sequence[str]) -> Any:
    """Return what stands at a path; None where there is no such place."""
    for part in path:
        by_key = {str(n): below for n, below in enumerate(tree)} if isinstance(tree, list | tuple) else tree
        tree = by_key.get(part) if isinstance(by_key, dict) else None
    return tree


def _no_such_key(key: str, tree: Mapping[str, Any]) -> str:
    known = list(_keys(tree, ""))
    close = get_close_matches(key, known, 1)
    hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(known)}"
    return f"the model has no such key; {hint}"


def _keys(tree: Any, prefix: str) -> Iterator[str]:
    """Yield the dotted keys of all single values, without the kinds."""
    below = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in below:
        if isinstance(value, dict | list | tuple):
            yield from _keys(value, f"{prefix}{key}.")
        elif key != "kind":
            yield f"{prefix}{key}"


def propose(space: Mapping[str, Domain], trials: Sequence[Trial], seed: int) -> dict[str, Scalar]:
    """Return what to try next, by the tree-structured Parzen estimator.

    Args:
        space: what is searched.
        trials: all that were tried, in order; those whose values lie outside of the space teach nothing.
        seed: of the whole search.

    Source: Bergstra et al. (2011), Algorithms for hyper-parameter optimization, section 4.
    """
    import optuna

    # A sampler of its own for every trial: its random state need not be kept.
    own_seed = int(np.random.SeedSequence([seed, len(trials)]).generate_state(1)[0])
    with _quiet():
        study = _study(space, trials, optuna.samplers.TPESampler(seed=own_seed))
        proposed = study.ask(_distributions(space)).params
    return {key: _short(proposed[key], domain) for key, domain in space.items()}


def importance(space: Mapping[str, Domain], trials: Sequence[Trial], seed: int) -> dict[str, float]:
    """Return what share of the differences between trials each parameter makes; nothing, of few or equal trials.

    Source: Hutter, Hoos and Leyton-Brown (2014), An efficient approach for assessing hyperparameter importance, fANOVA.
    """
    import optuna

    finished = [t for t in trials if t.state == "complete" and _is_inside(t.values, space)]
    if len(finished) < _FEWEST_FOR_IMPORTANCE or len({fmean(t.scores) for t in finished}) == 1:
        return {}
    with _quiet():
        study = _study(space, finished, optuna.samplers.RandomSampler(seed))
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=seed)
        found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {key: float(found.get(key, 0.0)) for key in space}


def _study(space: Mapping[str, Domain], trials: Sequence[Trial], sampler: Any) -> Any:
    """Return an Optuna study that knows the trials within the space."""
    import optuna

    study, distributions = optuna.create_study(direction="maximize", sampler=sampler), _distributions(space)
    study.add_trials(
        optuna.trial.create_trial(
            params=dict(trial.values),
            distributions=distributions,
            value=fmean(trial.scores) if trial.state == "complete" else None,
            state=optuna.trial.TrialState[trial.state.upper()],
            intermediate_values=dict(enumerate(_means(trial.scores))),
        )
        for trial in trials
        if trial.state in ("complete", "pruned") and _is_inside(trial.values, space)
    )
    return study


def _distributions(space: Mapping[str, Domain]) -> dict[str, Any]:
    return {key: _distribution(domain) for key, domain in space.items()}


def _distribution(domain: Domain) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(domain, Choice):
        return CategoricalDistribution(domain.values)
    if isinstance(domain, Whole):
        return IntDistribution(domain.low, domain.high, log=domain.log)
    return FloatDistribution(domain.low, domain.high, log=domain.log)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Optuna from writing to stderr, where our own lines go."""
    import optuna

    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(level)


def _is_inside(values: Values, space: Mapping[str, Domain]) -> bool:
    return all(_holds(domain, values[key]) for key, domain in space.items())


def _holds(domain: Domain, value: Scalar) -> bool:
    if isinstance(domain, Choice):
        return any(value == own and type(value) is type(own) for own in domain.values)
    return isinstance(value, int | float) and domain.low <= value <= domain.high


def _short(value: Any, domain: Domain) -> Scalar:
    if not isinstance(domain, Real):
        found: Scalar = value
        return found
    return min(max(float(f"{value:.{_DIGITS}g}"), domain.low), domain.high)


def is_hopeless(scores: Sequence[float], trials: Sequence[Trial]) -> bool:
    """Say whether a trial is worth no further origin: after as many, half of the finished trials were better.

    Source: Golovin et al. (2017), Google Vizier, section 3.2.2 (the median stopping rule).
    """
    finished = [trial.scores for trial in trials if trial.state == "complete"]
    if len(finished) < _FEWEST_FOR_PRUNING:
        return False
    return fmean(scores) < median(fmean(others[: len(scores)]) for others in finished)


def _means(scores: Sequence[float]) -> list[float]:
    """Return the mean of the first score, of the first two, and so on."""
    return [fmean(scores[: n + 1]) for n in range(len(scores))]


def check_installed() -> None:
    """Refuse to tune without Optuna.

    Raises:
        ConfigError: it is not installed.
    """
    if find_spec("optuna") is None:
        raise ConfigError(
            "tune needs the package optuna, which is not installed; install it with `pip install 'ecbehave[tune]'`, "
            "or take tune out of the config"
        )
