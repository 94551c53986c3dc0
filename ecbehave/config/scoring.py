"""The sections `evaluate` and `predict`: how a model is judged, and what it scores."""

from typing import Annotated, Literal

from pydantic import Field

from ecbehave.config.values import Day, Section


class Evaluate(Section):
    """How the test windows are judged."""

    bootstrap: Annotated[int, Field(ge=100)] = 1_000
    """Resamples of users behind each interval."""
    segments: list[str] | None = None
    """Features, or attributes of users, by whose values the probabilities are checked: each category, and quarters of
    a number. By default how long ago and on how many days the user had events."""
    k: Annotated[list[Annotated[int, Field(gt=0)]], Field(min_length=1)] = [5, 10, 20]
    """Lengths of the list at which a ranking is judged."""
    permutation_rows: Annotated[int, Field(ge=0)] = 10_000
    """About so many test rows, of users drawn at random, tell what each family of features is worth when it is
    shuffled; 0 leaves this out. For purchase and churn."""
    require_improvement: bool = False
    """Exit with code 5 when the model is not clearly better than the baseline."""
    truth: str | None = None
    """Folder `truth` of a log that `ecbehave simulate` wrote, relative to the YAML file's folder or absolute: what
    part of the reachable AUROC does the model reach? For purchase, and churn of purchases."""

    @property
    def deciding_k(self) -> int:
        """Length of the list at which rankings are compared."""
        return 10 if 10 in self.k else self.k[0]


class Predict(Section):
    """What is scored."""

    as_of: Literal["latest"] | Day = "latest"
    """Last day of history, included; `latest` is the last complete day of the log."""
    k: Annotated[int, Field(gt=0)] = 20
    """Items per user (preference)."""
    refit: bool = True
    """Fit once more, with the same settings, on the validation and test windows too, before scoring."""
    reasons: Annotated[int, Field(ge=0, le=3)] = 3
    """Reasons per targeted row, for kinds that can give them."""
    explain_rows: Annotated[int, Field(ge=0)] = 100_000
    """Reasons are computed for the targeted rows among this many with the highest scores."""
    similar_items: Annotated[int, Field(ge=0)] = 0
    """Items most like each item, in a table of their own: so many at most, by kinds that can tell (preference)."""
    similar_users: Annotated[int, Field(ge=0)] = 0
    """Users most like each user who is asked, likewise (preference)."""
    embeddings: bool = False
    """Write what a net over sequences knows of each user, as a vector, to `embeddings.parquet`."""
    sessions: str | None = None
    """File of anonymous sessions that get lists too: Parquet, CSV or JSON lines with `session_id` and `item_ids` (a
    list, the oldest first) or a row for each `session_id` and `item_id`; relative to the YAML file's folder or
    absolute (preference)."""
