"""What must not be listed: an item to anybody, or to one user what he had already.

It is decided once for each cutoff, from what is known there, and stored beside the matrix as rules: a row with an
event type bars to each user the items that he had it with, a row with an item bars that to everybody.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from scipy.sparse import csr_array

from ecbehave.inputs.facts import ANY
from ecbehave.inputs.types import MatrixInput
from ecbehave.schema import MATRIX_RULES


@dataclass(frozen=True)
class Filters:
    """The filters of a task, with the files that they name."""

    exclude: tuple[str, ...] = ()
    """Event types; `any` is every one."""
    allow: pl.Series | None = None
    """The only items that may be listed; None allows all."""
    deny: pl.Series | None = None
    categories: tuple[str, ...] = ()
    """Paths; only what is in one of them, or below it, may be listed. None of them allows all."""

    @property
    def bars_items(self) -> bool:
        """Whether there is anything that may bar an item to everybody."""
        return self.allow is not None or self.deny is not None or bool(self.categories)

    def __bool__(self) -> bool:
        return self.bars_items or bool(self.exclude)

    def rules(self, items: pl.DataFrame) -> pl.DataFrame:
        """Return the rules of one cutoff.

        Args:
            items: `item_id`, each once, and `category` as known at the cutoff; an unknown one is in no category.

        Returns:
            `event_type` or `item_id`, the other one is null.
        """
        barred = items.filter(self._is_barred()).select("item_id").sort("item_id")
        types = pl.DataFrame({"event_type": self.exclude}, {"event_type": pl.String})
        return pl.concat([pl.DataFrame(schema=MATRIX_RULES), types, barred], how="diagonal")

    def _is_barred(self) -> pl.Expr:
        checks = [pl.lit(value=False)]
        if self.allow is not None:
            checks.append(~pl.col("item_id").is_in(self.allow.implode()))
        if self.deny is not None:
            checks.append(pl.col("item_id").is_in(self.deny.implode()))
        if self.categories:
            checks.append(~in_categories(self.categories))
        return pl.any_horizontal(checks)


def in_categories(paths: Sequence[str]) -> pl.Expr:
    """Tell whether `category` is one of some paths, or below one: `a.b` covers `a.b.c`, but not `a.bc`."""
    category = pl.col("category")
    found = [(category == path) | category.str.starts_with(f"{path}.") for path in paths]
    return pl.any_horizontal(found).fill_null(value=False)


def _is_excluded(rules: pl.DataFrame) -> pl.Expr:
    types = rules["event_type"].drop_nulls().to_list()
    return pl.lit(value=True) if ANY in types else pl.col("event_type").is_in(types)


def bar(data: MatrixInput, rules: pl.DataFrame) -> MatrixInput:
    """Return a matrix that says what is barred: to the users of the population, and to everybody."""
    by_item, has_types = rules["item_id"].drop_nulls(), rules["event_type"].count() > 0
    items = data.items["item_id"].is_in(by_item.implode()).to_numpy() if by_item.len() else None
    return replace(data, barred=_had(data, rules) if has_types else None, barred_items=items)


def _had(data: MatrixInput, rules: pl.DataFrame) -> csr_array:
    """Mark what users of the population had an excluded event with [U, I]; the rows of others are empty."""
    had = data.pairs.filter(_is_excluded(rules)).select("user", "item").unique().sort("user", "item")
    had = had.filter(data.users["is_asked"].gather(had["user"]))
    ends = np.append(0, np.cumsum(np.bincount(had["user"].to_numpy(), minlength=data.users.height)))
    items = had["item"].to_numpy().astype(np.int32)
    shape = (data.users.height, data.items.height)
    return csr_array((np.ones(had.height, np.bool_), items, ends), shape=shape)


def may_be_listed(labels: pl.LazyFrame, pairs: pl.LazyFrame, rules: pl.DataFrame) -> pl.LazyFrame:
    """Keep the true items that may be listed, in their order.

    Args:
        labels: `user_id`, `item_id`.
        pairs: `user_id`, `item_id`, `event_type` of what was had before the cutoff.
        rules: of an item that nobody had before the cutoff, too.
    """
    barred = rules.lazy().filter(pl.col("item_id").is_not_null()).select("item_id")
    kept = labels.join(barred, on="item_id", how="anti", maintain_order="left")
    if rules["event_type"].count() == 0:
        return kept
    had = pairs.filter(_is_excluded(rules)).select("user_id", "item_id")
    return kept.join(had, on=["user_id", "item_id"], how="anti", maintain_order="left")
