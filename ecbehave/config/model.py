"""What all kinds of model share, the search for better settings, and how scores become probabilities."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ecbehave.config.values import Section


class ModelConfig(Section):
    """What every kind of model shares: its name."""

    kind: str

    def parts(self) -> "dict[str, ModelConfig]":
        """Return the models that this one is made of, by their keys below it; for most kinds there are none."""
        return {}


class Searched(Section):
    """What is tried of a key of the model: a range, or a list of values."""

    low: float | None = None
    """Smallest value of a range."""
    high: float | None = None
    """Largest value of a range."""
    log: bool = False
    """Try a range evenly on a log scale: as many values from 0.01 to 0.1 as from 0.1 to 1."""
    values: Annotated[list[bool | int | float | str | None], Field(min_length=1)] | None = None
    """The values themselves, instead of a range."""

    @model_validator(mode="after")
    def _is_range_or_list(self) -> Self:
        ends = [end for end in (self.low, self.high) if end is not None]
        if self.values is not None and (ends or self.log):
            raise ValueError("give either values, or low and high")
        if self.values is None and len(ends) < 2:
            raise ValueError("give low and high, or values")
        if ends and ends[0] >= ends[1]:
            raise ValueError(f"low must be below high, but they are {ends[0]:g} and {ends[1]:g}")
        if self.log and ends[0] <= 0:
            raise ValueError(f"on a log scale low must be above 0, but it is {ends[0]:g}")
        return self


class Tune(Section):
    """Search for better settings of the model before it is fitted, on windows before the test windows."""

    trials: Annotated[int, Field(ge=1)] = 50
    """Number of settings to try; the model's own come first, so that the result is not worse on these windows."""
    max_seconds: Annotated[float, Field(gt=0)] | None = None
    """Time for the search, in seconds; null sets no limit. With a limit, the number of trials is up to the machine."""
    origins: Annotated[int, Field(ge=1)] = 3
    """Cutoffs at which each trial is judged, the latest ones of train and validation; each is predicted by a model
    of what was known at that time."""
    space: Annotated[dict[str, Searched], Field(min_length=1)] | None = None
    """Key of the model to what is tried of it (a part's key with a dot); by default what the kind names itself."""


class Calibration(Section):
    """How scores become probabilities, learned on the validation windows; the order of the scores stays."""

    method: Literal["auto", "platt", "beta", "isotonic"] = "auto"
    """`platt` fits a logistic curve over the score, `beta` one that may bend differently at its two ends, `isotonic`
    whatever rises. `auto` takes `beta`, or another one that does clearly better on validation users that it was not
    fitted on; with fewer than 50 rows of either label, `platt`."""
