"""The typed configuration: each key once, with its type, default, unit and a sentence.

A module for each section; `file.py` reads YAML into these classes, `ecbehave/models/__init__.py` adds the model kinds.
"""

from typing import Annotated, Any, Self

from pydantic import Field, SerializeAsAny, field_validator, model_validator

from ecbehave.config.clean import Clean
from ecbehave.config.dataset import Dataset
from ecbehave.config.decision import DecisionConfig, F1Decision
from ecbehave.config.features import Features
from ecbehave.config.model import Calibration, ModelConfig, Tune
from ecbehave.config.scoring import Evaluate, Predict
from ecbehave.config.split import Split
from ecbehave.config.task import ChurnTask, PreferenceTask, PurchaseTask, TaskConfig
from ecbehave.config.values import Section


class Config(Section):
    """One run: dataset, task and model."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    """Folder of this run in the workspace; by default the name of the YAML file."""
    workspace: str
    """Folder of all artifacts, relative to the YAML file's folder or absolute."""
    dataset: Dataset
    clean: Clean = Clean()
    task: TaskConfig
    """The question, chosen by `kind`."""
    split: Split = Split()
    features: Features = Features()
    model: SerializeAsAny[ModelConfig]
    """The model, chosen by `kind`."""
    baseline: SerializeAsAny[ModelConfig]
    """The rule to beat; by default `rfm` for purchase and churn, `popularity` for preference, and for
    ratings `mean_rating`."""
    tune: Tune | None = None
    calibration: Calibration = Calibration()
    decision: DecisionConfig = F1Decision()
    """Who is targeted, chosen by `kind`; by default by `f1`."""
    evaluate: Evaluate = Evaluate()
    predict: Predict = Predict()
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of everything random."""

    @field_validator("name")
    @classmethod
    def _is_free(cls, name: str) -> str:
        if name in ("events_raw", "clean", "quality-failed"):
            raise ValueError(f"the folder {name} is about the log of all runs; set name to another one")
        return name

    @model_validator(mode="after")
    def _has_truth_for_task(self) -> Self:
        if self.evaluate.truth is None:
            return self
        if isinstance(self.task, PreferenceTask):
            raise ValueError("evaluate.truth is for the tasks purchase and churn; take it out for preference")
        if isinstance(self.task, PurchaseTask) and self.task.target != "any":
            raise ValueError(
                "evaluate.truth knows who purchases anything; take it out, or set task.target to any"
            )
        if isinstance(self.task, ChurnTask) and self.task.event != "purchase":
            raise ValueError(
                f"evaluate.truth knows who purchases; with task.event: {self.task.event}, take it out"
            )
        return self

    @model_validator(mode="after")
    def _has_probabilities_to_use(self) -> Self:
        if not isinstance(self.task, PreferenceTask):
            lists = ("similar_items", "similar_users", "sessions")
            wrong = [f"predict.{key}" for key in lists if getattr(self.predict, key)]
            if wrong:
                raise ValueError(f"{wrong[0]} is for the task preference; take it out for {self.task.kind}")
            return self
        used = {
            "calibration": self.calibration != Calibration(),
            "decision": self.decision != F1Decision(),
            "evaluate.segments": self.evaluate.segments is not None,
        }
        wrong = [key for key, is_used in used.items() if is_used]
        if wrong:
            raise ValueError(f"{wrong[0]} is for the tasks purchase and churn; take it out for preference")
        if self.task.feedback == "explicit" and self.predict.sessions is not None:
            raise ValueError(
                "predict.sessions is for feedback: implicit, since sessions have no ratings; take it out"
            )
        return self

    @model_validator(mode="after")
    def _can_leave_one_out(self) -> Self:
        if self.split.kind == "time":
            return self
        if not isinstance(self.task, PreferenceTask) or self.task.feedback == "explicit":
            raise ValueError(
                "split.kind: leave_one_out is for the task preference with feedback: implicit; set kind to time"
            )
        if self.tune is not None:
            raise ValueError(
                "tune looks for the best settings at cutoffs in time; take it out, or set split.kind"
            )
        return self

    @model_validator(mode="before")
    @classmethod
    def _default_baseline(cls, data: Any) -> Any:
        if isinstance(data, dict) and "baseline" not in data:
            task = data.get("task")
            asked = task if isinstance(task, dict) else {}
            rule = "rfm" if asked.get("kind") != "preference" else "popularity"
            if rule == "popularity" and asked.get("feedback") == "explicit":
                rule = "mean_rating"
            return data | {"baseline": {"kind": rule}}
        return data
