"""Why a row has its score: the facts about a user that drive it most, each in a sentence with the user's own value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple, Self, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecbehave.inputs.facts import ANY
from ecbehave.inputs.feature_names import ALL, FeatureName
from ecbehave.inputs.sentences import sentence
from ecbehave.inputs.types import Inputs, TableInput
from ecbehave.models.protocol import Predictor
from ecbehave.stages.event_reasons import event_reasons
from ecbehave.tasks import Task

#: The most reasons that a row may have.
COLUMNS = ("reason_1", "reason_2", "reason_3")

#: Rows that are explained at a time: what a model holds for each of them is as wide as the table, and more.
_AT_A_TIME = 4_096

#: Families that tell of an item or a category what holds for all users.
_OF_SHOP = tuple(f"{thing} {family}" for thing in ("item", "category") for family in ("popularity", "prices"))

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


class Drivers(NamedTuple):
    """The n strongest facts of N rows, the strongest first."""

    feature: Integers
    """[N, n] the feature that tells the fact."""
    total: Floats
    """[N, n] what all features of the fact add to the score together; 0 where there is no such fact."""


def reasons(model: Predictor, data: Inputs, rows: Integers, task: Task, n: int) -> pl.DataFrame:
    """Return the reasons for some rows.

    Args:
        model: of any kind; one that reads events one after the other tells of these, and one that cannot explain itself
            gives none.
        data: what is known at a cutoff, with a table of N rows.
        rows: [R] numbers of the rows to explain.
        task: says what a higher score means.
        n: how many reasons a row gets, up to three.

    Returns:
        [N] `reason_1` to `reason_3`, null where there is none.

    Cost: that of about a hundred predictions a row, for trees and for nets over events.
    """
    table = cast("TableInput", data.table)
    facts = Facts.of(table.features)
    found: list[list[str | None]] = [[None] * table.n_rows for _ in COLUMNS]
    if n > 0 and not model.explains:
        chosen = TableInput(table.frame[rows], table.features)
        told = event_reasons(model.event_drivers(data, rows, n), _raised(chosen, task), rows.size, n)
        for column, texts in zip(found, told, strict=False):
            for row, text in zip(rows.tolist(), texts, strict=True):
                column[row] = text
    elif n > 0:
        for start in range(0, rows.size, _AT_A_TIME):
            part = rows[start : start + _AT_A_TIME]
            chosen = TableInput(table.frame[part], table.features)
            by_feature = model.contributions(replace(data, table=chosen))[:, :-1]
            drivers = strongest(by_feature, facts.of_rows(chosen), n, facts.teller)
            for column, texts in zip(found, _told(facts, chosen, drivers, task), strict=False):
                for row, text in zip(part.tolist(), texts, strict=True):
                    column[row] = text
    return pl.DataFrame(
        {name: pl.Series(texts, dtype=pl.String) for name, texts in zip(COLUMNS, found, strict=True)}
    )


@dataclass(frozen=True)
class Facts:
    """What F features are about. Features of one fact say nearly the same, and give one reason."""

    names: tuple[FeatureName, ...]
    """[F] the features, as people know them."""
    own: Integers
    """[F] the number of each one's fact."""
    silent: Integers
    """[F] the fact where nothing happened in the feature's window: how long ago the last event is."""
    counter: Integers
    """[F] the feature that counts the events of the window; -1 for none."""
    teller: Mapping[int, int]
    """Fact to the feature that tells it best, where there is such a one."""

    @classmethod
    def of(cls, features: Sequence[str]) -> Self:
        """Number the facts of a table's features.

        What holds for any event holds for views as a rule, or else for purchases: it is no fact of its own.
        """
        names = _as_known([FeatureName.parse(feature) for feature in features])
        places = {name: n for n, name in enumerate(names)}
        events = {name.event for name in names}
        usual = next((event for event in ("view", "purchase") if event in events), ANY)
        own = [(usual if name.event == ANY else name.event, name.meaning.family) for name in names]
        counter = [-1 if (by := _counter(name)) is None else places.get(by, -1) for name in names]
        silent = [
            key if count < 0 else (key[0], f"{_thing(name)}recency".replace("_", " "))
            for key, name, count in zip(own, names, counter, strict=True)
        ]
        numbers = {key: n for n, key in enumerate(dict.fromkeys([*own, *silent]))}
        teller = {
            numbers[key]: n
            for n, (key, name) in enumerate(zip(own, names, strict=True))
            if name.measure.endswith("recency_days") and name.event == key[0]
        }
        return cls(
            tuple(names),
            np.array([numbers[key] for key in own]),
            np.array([numbers[key] for key in silent]),
            np.array(counter),
            teller,
        )

    def of_rows(self, table: TableInput) -> Integers:
        """Return the fact of each feature in each row [N, F]."""
        fact = np.tile(self.own, (table.n_rows, 1))
        for counter in np.unique(self.counter[self.counter >= 0]).tolist():
            is_silent = (table.frame[table.features[counter]] == 0).to_numpy()
            counted = self.counter == counter
            fact[np.ix_(is_silent, counted)] = self.silent[counted]
        return fact


def _counter(name: FeatureName) -> FeatureName | None:
    """Return what counts the events of the feature's window; None where it is not about the user's own."""
    if name.window == ALL or name.meaning.family in _OF_SHOP:
        return None
    return FeatureName(f"{_thing(name)}count", name.event, name.window)


def _thing(name: FeatureName) -> str:
    """Return `item_` or `category_` for what is about a pair, and nothing for what is about the user."""
    return next(
        (f"{thing}_" for thing in ("item", "category") if name.meaning.family.startswith(f"{thing} ")), ""
    )


def _as_known(names: Sequence[FeatureName]) -> list[FeatureName]:
    """Name what is about any event after the only event, where the log has one alone."""
    events = {name.event for name in names if name.measure in ("recency_days", "days")}
    only = next(iter(events)) if len(events) == 1 else ANY
    return [replace(name, event=only) if name.event == ANY else name for name in names]


def strongest(by_feature: Floats, fact: Integers, n: int, teller: Mapping[int, int]) -> Drivers:
    """Return the facts with the largest sums of contributions, up or down.

    A fact is told by the feature that moves the score most in the direction of the sum, so that the two agree.

    Args:
        by_feature: [N, F] contributions.
        fact: [N, F] the fact of each feature.
        n: how many.
        teller: fact to the feature that is to tell it in any case.
    """
    rows = np.arange(fact.shape[0])
    sums = np.zeros((fact.shape[0], int(fact.max()) + 1))
    # Not a matrix product: that would round a row differently in other company.
    for column, values in zip(fact.T, by_feature.T, strict=True):
        sums[rows, column] += values
    top = np.argsort(-np.abs(sums), axis=1, kind="stable")[:, :n]
    total = np.take_along_axis(sums, top, axis=1)
    along = [
        np.where(fact == which[:, None], by_feature * np.sign(sign)[:, None], -np.inf).argmax(axis=1)
        for which, sign in zip(top.T, total.T, strict=True)
    ]
    feature = np.column_stack(along)
    for told, by in teller.items():
        feature[top == told] = by
    return Drivers(feature, total)


def _told(facts: Facts, chosen: TableInput, drivers: Drivers, task: Task) -> list[list[str | None]]:
    """Return the sentences [n][N]."""
    names, raised = facts.names, _raised(chosen, task)
    stored = dict(zip(names, chosen.features, strict=True))

    @cache
    def column(name: FeatureName) -> list[float | str | None]:
        return chosen.frame[stored[name]].to_list() if name in stored else [None] * chosen.n_rows

    def reason(row: int, feature: int, total: float) -> str | None:
        def beside(name: FeatureName) -> float | None:
            value = column(name)[row]
            return value if isinstance(value, float) else None

        if total == 0:
            return None
        text = sentence(names[feature], column(names[feature])[row], beside)
        return f"{text} ({'raises' if total > 0 else 'lowers'} {raised[row]})"

    return [
        [
            reason(row, feature, total)
            for row, (feature, total) in enumerate(zip(features, totals, strict=True))
        ]
        for features, totals in zip(drivers.feature.T.tolist(), drivers.total.T.tolist(), strict=True)
    ]


def _raised(chosen: TableInput, task: Task) -> list[str]:
    """Say for each row what is higher when its score is."""
    if task.target == "category":
        return [f"the chance to buy in {category}" for category in chosen.frame["category"]]
    what = "the churn risk" if task.name == "churn" else "the chance to buy"
    return [f"{what} this item" if task.target == "item_id" else what] * chosen.n_rows
