"""compare: the published evaluations of several configs -> which model is better, and whether that is real.

Not a stage of its own: it reads what `evaluate` has published, and writes nothing.
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ecbehave.artifacts import Artifact, changed_keys
from ecbehave.errors import ConfigError, DataError, GateError
from ecbehave.metrics.bootstrap import LOWER_IS_BETTER
from ecbehave.metrics.contest import Contest, contest_of_means, contest_of_scores
from ecbehave.metrics.keyed import KEYS
from ecbehave.metrics.rating import RATING_KEYS, contest_of_errors
from ecbehave.report.comparison import in_words
from ecbehave.stages import Context, clean, evaluate, features, ingest, train, upstream
from ecbehave.stages.metric_words import FEWEST_USERS
from ecbehave.tasks import make_task
from ecbehave.windows import Window, describe

#: Difference of AUROC, NDCG or RMSE below which two models count as tied: another seed moves a model as much.
LEAST_DIFFERENCE = 0.001

_STAGES = (ingest, clean, features, train, evaluate)
#: Sections of a config that say which rows are judged.
_ASKS = ("dataset", "clean", "task", "split")
#: Not a config's seed: the order of the configs must not change the draws.
_SEED = 0


@dataclass(frozen=True)
class Entry:
    """One config with its evaluation."""

    name: str
    config_file: str
    asks: dict[str, Any]
    """The sections of the config that say which rows are judged."""
    question: str
    """The task, and of pairs their target."""
    windows: list[Window]
    timezone: str
    truth: pl.DataFrame
    """The keys of what was judged, sorted, and `label`; of a ranking, a row per true item, with label 1; of ratings,
    the true one."""
    values: pl.DataFrame
    """The keys of the judged rows, sorted, and `value`: the score or predicted rating, or of a ranking the headline
    metric of the user."""
    metrics: dict[str, Any]
    """What `evaluate` has stored."""
    model: dict[str, Any]
    """Seconds and peak memory of training."""
    evaluation: Path

    @property
    def headline(self) -> str:
        """The metric that decides."""
        return str(self.metrics["headline"])

    @property
    def keys(self) -> list[str]:
        """What a judged row is told by."""
        return [name for name in self.truth.columns if name != "label"]


def check_apart(contexts: Sequence[Context]) -> None:
    """Refuse configs that would take each other's place.

    Raises:
        ConfigError: there are fewer than two, or two have the same artifacts.
    """
    if len(contexts) < 2:
        raise ConfigError("compare takes two configs or more: ecbehave compare a.yaml b.yaml")
    seen: dict[Path, Context] = {}
    for context in contexts:
        place = (context.workspace.root / context.config.name).resolve()
        if place in seen:
            raise ConfigError(
                f"{seen[place].config_file} and {context.config_file} have the same name, {context.config.name}, in "
                f"the same workspace, so one takes the place of the other; give each a name of its own"
            )
        seen[place] = context


def entry_of(context: Context, *, run: bool) -> Entry:
    """Return a config's evaluation; the caller holds the lock of its workspace.

    Args:
        context: the config and its workspace.
        run: do first what is stale, from ingest to evaluate.

    Raises:
        ArtifactError: there is no evaluation yet, or it is out of date.
    """
    if run:
        for stage in _STAGES:
            # A model that the gate stops has been evaluated all the same.
            with suppress(GateError):
                stage.run(context)
    evaluation = upstream(context, "evaluate", evaluate.name(context), evaluate.spec)
    model = upstream(context, "train", train.name(context), train.spec)
    inputs = upstream(context, "features", features.name(context), features.spec)
    for artifact in (evaluation, inputs):
        artifact.verify()
    metrics = json.loads((evaluation.path / "metrics.json").read_text(encoding="utf-8"))
    scores = pl.read_parquet(evaluation.path / "test_scores.parquet")
    task, timezone = make_task(context.config.task), context.config.dataset.timezone
    # With rolling origins, each fit has a test window of its own.
    origins = range(len(features.origins_in(inputs)))
    windows = [w for origin in origins for w in features.windows_of(inputs, "test", origin)]
    if task.output == "binary":
        keys = scores.columns[: scores.columns.index("label")]
        truth, value = scores.select(*keys, "label").sort(keys), "score"
    elif task.output == "rating":
        keys = list(RATING_KEYS)
        truth, value = scores.select(*keys, label="rating").sort(keys), "predicted"
    else:
        places = [p for origin in origins for p in features.places_of(inputs, "test", timezone, origin)]
        keys, truth, value = list(KEYS), _true_items(inputs, windows, places), metrics["headline"]
    return Entry(
        context.config.name,
        context.config_file,
        {section: context.public[section] for section in _ASKS},
        task.name if task.target is None else f"{task.name} of {task.target}",
        windows,
        timezone,
        truth,
        scores.select(*keys, value=value).sort(keys),
        metrics,
        dict(model.manifest["run"]),
        evaluation.path,
    )


def _true_items(inputs: Artifact, windows: Sequence[Window], places: Sequence[str]) -> pl.DataFrame:
    """Return every true item of the test windows, which are stored in these places."""
    parts = [
        pl.read_parquet(inputs.path / "matrix" / place / "labels.parquet").select(
            "user_id", pl.lit(window.cutoff).alias("cutoff"), "item_id", label=pl.lit(1, pl.Int8)
        )
        for window, place in zip(windows, places, strict=True)
    ]
    return pl.concat(parts).sort(*KEYS, "item_id")


def compare(entries: Sequence[Entry], n_resamples: int, least: float) -> dict[str, Any]:
    """Compare models that were judged on the same rows.

    Args:
        entries: two or more.
        n_resamples: draws of users.
        least: the smallest difference that counts.

    Returns:
        What `--json` prints, models best first.

    Raises:
        ConfigError: they were not judged on the same rows.
        DataError: the rows cannot tell models apart.
    """
    for other in entries[1:]:
        _check_same_rows(entries[0], other)
    by_cutoff = _is_by_cutoff(entries)
    contest = _contest(entries, n_resamples, by_cutoff=by_cutoff)
    is_real = contest.is_real(least) & (contest.n_users >= FEWEST_USERS)
    best = contest.best
    tied = [i for i in range(len(entries)) if not is_real[best, i]]
    winner = best if tied == [best] else None
    choice = min(tied, key=lambda i: float(entries[i].model["seconds"]))
    order = sorted(range(len(entries)), key=lambda i: -contest.difference[i, best])
    shown = contest.negated() if entries[0].headline in LOWER_IS_BETTER else contest
    models = [
        _model(entries[i], shown, i, best)
        | {
            "standing": "winner" if i == winner else "tied" if i in tied else "behind",
            "is_choice": i == choice,
        }
        for i in order
    ]
    result: dict[str, Any] = {
        "question": entries[0].question,
        "headline": entries[0].headline,
        "is_mean_over_cutoffs": by_cutoff,
        "rows": entries[0].values.height,
        "n_users": contest.n_users,
        "n_resamples": n_resamples,
        "least_difference": least,
        "models": models,
        "pairs": [
            {"first": entries[i].name, "second": entries[j].name, "is_real": bool(is_real[i, j])}
            | _difference(shown, i, j)
            for n, i in enumerate(order)
            for j in order[n + 1 :]
        ],
        "winner": None if winner is None else entries[winner].name,
        "choice": entries[choice].name,
    }
    return result | {"verdict": " ".join(in_words(result, FEWEST_USERS))}


def _is_by_cutoff(entries: Sequence[Entry]) -> bool:
    """Whether rows of different cutoffs may not be sorted by score together.

    With rolling origins each test cutoff is scored by a fit of its own, and `evaluate` takes the mean over the fits.
    A model of one fit is judged in the same way beside such a one.
    """
    is_rolling = any(entry.asks["split"]["rolling"] for entry in entries)
    return entries[0].headline == "auroc" and is_rolling and entries[0].truth["cutoff"].n_unique() > 1


def _contest(entries: Sequence[Entry], n_resamples: int, *, by_cutoff: bool) -> Contest:
    first, names = entries[0], [f"model_{n}" for n in range(len(entries))]
    rows = first.values.drop("value").hstack(
        [entry.values["value"].alias(name) for name, entry in zip(names, entries, strict=True)]
    )
    rng = np.random.default_rng(_SEED)
    if first.headline == "rmse":
        return contest_of_errors(rows.with_columns(rating=first.truth["label"]), names, n_resamples, rng)
    if first.headline != "auroc":
        return contest_of_means(rows, names, n_resamples, rng)
    parts = first.truth.partition_by("cutoff") if by_cutoff else [first.truth]
    if not any(part["label"].n_unique() == 2 for part in parts):
        raise DataError(
            f"the test labels have one class only: {int(first.truth['label'].sum()):,} of {rows.height:,} rows are 1, "
            f"so no model can be better than another; change task.horizon or task.active_within, or set split.test "
            f"higher"
        )
    rows = rows.with_columns(first.truth["label"])
    return contest_of_scores(rows, names, n_resamples, rng, first.keys, by_cutoff=by_cutoff)


def _model(entry: Entry, contest: Contest, place: int, best: int) -> dict[str, Any]:
    verdict = entry.metrics["verdict"]["standing"]
    return {
        "name": entry.name,
        "config": entry.config_file,
        "kind": entry.metrics["model"],
        "metric": dict(contest.models[place]),
        "to_best": None if place == best else _difference(contest, place, best),
        "train_seconds": entry.model["seconds"],
        "peak_memory_bytes": entry.model["peak_memory_bytes"],
        "baseline": entry.metrics["baseline"],
        "against_baseline": verdict,
        "beats_baseline": verdict == "better",
        "evaluation": str(entry.evaluation),
    }


def _difference(contest: Contest, first: int, second: int) -> dict[str, float]:
    value, margin = float(contest.difference[first, second]), float(contest.margin[first, second])
    return {"value": value, "low": value - margin, "high": value + margin}


def _check_same_rows(first: Entry, other: Entry) -> None:
    found = _what_differs(first, other)
    if found is None:
        return
    settings = changed_keys(first.asks, other.asks)
    why = f" These settings differ: {', '.join(settings[:5])}." if settings else ""
    raise ConfigError(
        f"{first.config_file} and {other.config_file} cannot be compared: {found}.{why} All models must be judged on "
        f"the same rows; give the configs the same dataset, clean, task, split and evaluate.k, and run them again"
    )


def _what_differs(first: Entry, other: Entry) -> str | None:
    if first.question != other.question:
        return f"the first is about {first.question}, the second about {other.question}"
    if first.headline != other.headline:
        return f"the first is judged by {first.headline}, the second by {other.headline}"
    if first.windows != other.windows:
        days = [describe(entry.windows, entry.timezone) for entry in (first, other)]
        return f"the test windows differ, {days[0]} and {days[1]}"
    if not first.truth.select(first.keys).equals(other.truth.select(other.keys)):
        only = [a.truth.join(b.truth, on=first.keys, how="anti") for a, b in ((first, other), (other, first))]
        return (
            f"{only[0].height:,} of {first.truth.height:,} rows were judged only in the first and "
            f"{only[1].height:,} of {other.truth.height:,} only in the second, {_examples(pl.concat(only), first.keys)}"
        )
    changed = first.truth.filter(first.truth["label"] != other.truth["label"])
    if changed.height:
        return f"{changed.height:,} of {first.truth.height:,} rows have another label, {_examples(changed, first.keys)}"
    return None


def _examples(rows: pl.DataFrame, keys: Sequence[str]) -> str:
    return "e.g. " + "; ".join(" ".join(map(str, row)) for row in rows.sort(keys).head(3).select(keys).rows())
