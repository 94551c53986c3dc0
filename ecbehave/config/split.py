"""The section `split`: at which cutoffs."""

from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ecbehave.config.values import Duration, Section


class Split(Section):
    """Cutoffs, global in time; the latest complete horizon is the last test window."""

    kind: Literal["time", "leave_one_out"] = "time"
    """`leave_one_out` is for comparing with published tables only, since it leaks time: the test item is the last one
    that each user had `task.event` with, the validation item the second last, and a fit sees what others did later.
    It has no cutoffs, and takes of the keys below the last only. For preference, by kinds that rank all items."""
    step: Duration = timedelta(days=14)
    """Distance between the cutoffs of one split."""
    train: Annotated[int, Field(ge=1)] = 8
    """Number of train cutoffs."""
    validation: Annotated[int, Field(ge=1)] = 1
    """Number of validation cutoffs: early stopping, calibration, threshold. With several, no single one weighs as much
    where weeks differ from one another."""
    test: Annotated[int, Field(ge=1)] = 1
    """Number of test cutoffs."""
    rolling: bool = False
    """A fit for each test cutoff, with as many train and validation cutoffs before it: metrics with their spread over
    time, from the models as they would have been. Otherwise one fit is judged on all test cutoffs."""
    fit_on_validation: bool = False
    """With `leave_one_out`: judge a fit that has learned from the validation items too; published ones have not. Kinds
    that count when they score, such as `popularity`, know those of all users in any case."""

    @model_validator(mode="after")
    def _has_use_for_keys(self) -> Self:
        if self.kind == "time":
            if self.fit_on_validation:
                raise ValueError("fit_on_validation is for kind: leave_one_out; take it out, or set kind")
            return self
        cutoffs = ("step", "train", "validation", "test", "rolling")
        wrong = [key for key in cutoffs if getattr(self, key) != type(self).model_fields[key].default]
        if wrong:
            raise ValueError(f"{wrong[0]} is for kind: time, since leave_one_out has no cutoffs; take it out")
        return self
