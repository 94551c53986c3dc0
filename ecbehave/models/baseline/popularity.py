"""The items that most users have had: lately, or ever."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal, Self

import polars as pl

from ecbehave.config import Duration, ModelConfig, parse_duration
from ecbehave.inputs.types import MatrixInput
from ecbehave.models.protocol import InputType, Options
from ecbehave.models.storage import load_json, save_json


class PopularityConfig(ModelConfig):
    """The same list for everybody: items by the number of users who had them."""

    kind: Literal["popularity"]
    window: Duration | Literal["all"] = parse_duration("28d")
    """Users whose last event with the item lies in this time before the cutoff count; `all` for ever."""


class Popularity:
    """Needs no fitting: the list is counted on the history that it is asked about."""

    config_class: ClassVar[type[ModelConfig]] = PopularityConfig
    inputs: ClassVar[Mapping[str, InputType]] = {"ranking": "matrix"}

    def __init__(self, config: PopularityConfig) -> None:
        self.config = config

    def fit(self, train: Sequence[MatrixInput], valid: Sequence[MatrixInput], options: Options) -> Self:
        """Learn nothing."""
        del train, valid, options
        return self

    def predict(self, data: MatrixInput, k: int) -> pl.DataFrame:
        """Return the same `k` items for every user; `score` is the number of users."""
        users = data.users.filter("is_asked").select("user_id")
        return users.join(most_popular(data, self.config.window, k), how="cross")

    def save(self, folder: Path) -> None:
        """Write that there is nothing to write."""
        save_json(folder / "popularity.json", {})

    @classmethod
    def load(cls, folder: Path, config: PopularityConfig) -> Self:
        """Read what `save` wrote."""
        load_json(folder / "popularity.json")
        return cls(config)


def most_popular(data: MatrixInput, window: object, n: int) -> pl.DataFrame:
    """Return `item_id`, `score` of the first n items by distinct users, then by id.

    Args:
        data: history of all users.
        window: a timedelta before the cutoff, or `all`.
        n: length of the list; it is shorter where the catalogue is.
    """
    recent = data.pairs
    if window != "all":
        days = parse_duration(window).total_seconds() / 86_400
        recent = recent.filter(pl.col("days_since") <= days)
    return (
        recent.group_by("item")
        .agg(score=pl.col("user").n_unique().cast(pl.Float64))
        .sort(["score", "item"], descending=[True, False])
        .head(n)
        .join(data.items.with_row_index("item"), on="item", maintain_order="left")
        .select("item_id", "score")
    )
