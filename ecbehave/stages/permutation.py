"""What the scores rest on: how far the AUROC of the test windows drops when a family of features is shuffled."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecbehave.inputs.feature_names import FeatureName
from ecbehave.inputs.types import Inputs, TableInput
from ecbehave.metrics.classification import auroc
from ecbehave.models.protocol import Predictor

#: Shuffles of each family; their spread tells how far the drop can be trusted.
REPEATS = 5
#: Shuffled rows that are scored at a time, so that memory is bounded.
_AT_A_TIME = 50_000

Floats = NDArray[np.float64]


class Fit(NamedTuple):
    """A model, and the test windows that it is judged on."""

    model: Predictor
    tests: Sequence[Inputs]


def permutation(fits: Sequence[Fit], max_rows: int, seed: int) -> dict[str, Any]:
    """Return the drop of AUROC by family; empty where there is none, or no row may be looked at.

    There is none where AUROC is not defined, or where a model does not look at features.

    The features of a family are shuffled together among the rows of a cutoff, the same way for every family. A
    family that another one tells as well drops little: the model still has the other.

    Args:
        fits: models of yes-or-no tasks, each with its test windows; AUROC is the mean of theirs.
        max_rows: about so many rows are looked at, those of users drawn at random.
        seed: of the draw and the shuffles.

    Returns:
        `n_rows`, `n_users`, `repeats`, `auroc`, and `families`: `family`, `n_features`, `drop` (mean) and `spread`
        (standard deviation over the repeats), the largest drop first.

    Cost: families x repeats predictions of each row.
    """
    if not all(fit.model.reads_table for fit in fits):
        return {}
    drawn = _drawn(fits, max_rows, seed)
    label = [np.concatenate([table_of(data).label for data in fit.tests]) for fit in drawn]
    whole = [np.concatenate([fit.model.score(data) for data in fit.tests]) for fit in drawn]
    base = _mean_auroc(label, whole)
    if np.isnan(base):
        return {}
    families = _families(table_of(drawn[0].tests[0]).features)
    shuffled = [_fit_shuffled(fit, families, seed) for fit in drawn]
    found = []
    for n, (family, members) in enumerate(families.items()):
        drops = [base - _mean_auroc(label, [fit[n, repeat] for fit in shuffled]) for repeat in range(REPEATS)]
        found.append(
            {
                "family": family,
                "n_features": len(members),
                "drop": float(np.mean(drops)),
                "spread": float(np.std(drops, ddof=1)),
            }
        )
    found.sort(key=lambda f: -cast("float", f["drop"]))
    users = pl.concat([table_of(data).frame["user_hash"] for fit in drawn for data in fit.tests])
    return {
        "n_rows": users.len(),
        "n_users": users.n_unique(),
        "repeats": REPEATS,
        "auroc": base,
        "families": found,
    }


def table_of(data: Inputs) -> TableInput:
    """Return the table, which the inputs of a yes-or-no task always have."""
    return cast("TableInput", data.table)


def _families(features: Sequence[str]) -> dict[str, list[str]]:
    """Return the features of each family."""
    families: dict[str, list[str]] = {}
    for feature in features:
        families.setdefault(FeatureName.parse(feature).meaning.family, []).append(feature)
    return families


def _mean_auroc(label: Sequence[NDArray[np.int8]], score: Sequence[Floats]) -> float:
    """Return the mean AUROC of several fits, over those for which it is defined; NaN for none."""
    each = [auroc(y, s) for y, s in zip(label, score, strict=True)]
    defined = [value for value in each if not np.isnan(value)]
    return float(np.mean(defined)) if defined else float("nan")


def _drawn(fits: Sequence[Fit], max_rows: int, seed: int) -> list[Fit]:
    """Return the fits with the rows of some users: all of them, or so many as make `max_rows` on the mean."""
    tables = [table_of(data).frame["user_hash"] for fit in fits for data in fit.tests]
    rows = pl.concat(tables)
    users = rows.unique().sort()
    n_users = users.len() if rows.len() <= max_rows else users.len() * max_rows // rows.len()
    rng = np.random.default_rng(seed)
    chosen = users.gather(np.sort(rng.choice(users.len(), n_users, replace=False))).implode()
    return [Fit(fit.model, [_of_users(data, chosen) for data in fit.tests]) for fit in fits]


def _of_users(data: Inputs, users: pl.Series) -> Inputs:
    table = table_of(data)
    rows = table.frame.filter(pl.col("user_hash").is_in(users))
    return replace(data, table=TableInput(rows, table.features))


def _fit_shuffled(fit: Fit, families: Mapping[str, Sequence[str]], seed: int) -> Floats:
    """Return the scores of all test rows [families, repeats, N], each with one family shuffled."""
    return np.concatenate([_shuffled(fit.model, data, families, seed) for data in fit.tests], axis=2)


def _shuffled(model: Predictor, data: Inputs, families: Mapping[str, Sequence[str]], seed: int) -> Floats:
    """Return the scores of one cutoff's rows [families, repeats, n], each with one family shuffled."""
    table = table_of(data)
    rng = np.random.default_rng([seed, int(data.cutoff.timestamp())])
    orders = [rng.permutation(table.n_rows) for _ in range(REPEATS)]

    jobs = [(members, order) for members in families.values() for order in orders]
    n_at_once = max(_AT_A_TIME // max(table.n_rows, 1), 1)
    scores = []
    for start in range(0, len(jobs), n_at_once):
        several = pl.concat(
            table.frame.with_columns(table.frame.select(members)[order].get_columns())
            for members, order in jobs[start : start + n_at_once]
        )
        scores.append(model.score(replace(data, table=TableInput(several, table.features))))
    return np.concatenate(scores).reshape(len(families), REPEATS, table.n_rows)
