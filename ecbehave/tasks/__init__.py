"""The questions: who is asked, what is true, and how an answer is judged.

A task never sees the log. It is handed events that `windows.py` has cut already.
"""

from datetime import timedelta
from typing import Literal, Protocol

import polars as pl

from ecbehave.config.task import ChurnTask, PreferenceTask, PurchaseTask
from ecbehave.tasks.activity import Question
from ecbehave.tasks.churn import Churn
from ecbehave.tasks.preference import Preference, RatingPreference
from ecbehave.tasks.purchase import Purchase

Output = Literal["binary", "ranking", "rating"]


class Task(Protocol):
    """A declared question; every method takes and gives lazy frames and keeps the order of nothing."""

    @property
    def name(self) -> str:
        """`churn`, `purchase` or `preference`."""

    @property
    def output(self) -> Output:
        """`binary`: a probability per user; `ranking`: a list of items per user; `rating`: a rating of each pair."""

    @property
    def question(self) -> Question:
        """What models are asked: the output, but `pairs` for a probability per user and target."""

    @property
    def target(self) -> str | None:
        """Column of what a user is paired with (`item_id`, `category`); None where it is about users alone."""

    @property
    def headline(self) -> str:
        """The metric that decides whether a model beats its baseline."""

    @property
    def active_within(self) -> timedelta:
        """Length of the activity window before the cutoff."""

    @property
    def horizon(self) -> timedelta:
        """Length of the label window."""

    @property
    def population_in_words(self) -> str:
        """Who is asked."""

    @property
    def label_in_words(self) -> str:
        """What is true."""

    def population(self, recent: pl.LazyFrame) -> pl.LazyFrame:
        """Return who is asked: `user_hash`, `user_id`, each once.

        Args:
            recent: events of the activity window, `cutoff - active_within <= ts < cutoff`.
        """

    def labels(self, future: pl.LazyFrame, population: pl.LazyFrame) -> pl.LazyFrame:
        """Return what is true of the population.

        Args:
            future: events of the label window, `cutoff <= ts < cutoff + horizon`.
            population: what `population` returned.

        Returns:
            `binary`: the population with `label` (Int8, 0 or 1), one row each; with a `target`, the true pairs of
            `user_id` and that column, each once.
            `ranking`: `user_id`, `item_id` of the true items, each once; `rating`: these with `rating` (Float64).
        """


def make_task(config: ChurnTask | PurchaseTask | PreferenceTask) -> Task:
    """Return the task that the config asks for."""
    if isinstance(config, ChurnTask):
        return Churn(config)
    if isinstance(config, PurchaseTask):
        return Purchase(config)
    return RatingPreference(config) if config.feedback == "explicit" else Preference(config)
