"""The model kinds: a new one is one file, and one line in `KINDS`."""

from functools import cache, reduce
from importlib import import_module
from operator import or_
from typing import Annotated, Any

from pydantic import Field, create_model

from ecbehave.config import Config, ModelConfig
from ecbehave.errors import ConfigError
from ecbehave.models.protocol import InputType, Model

#: Kind to module and class. The modules load torch, LightGBM and scikit-learn only when they fit or load.
KINDS = {
    "base_rate": "baseline.base_rate:BaseRate",
    "rfm": "baseline.rfm:Rfm",
    "popularity": "baseline.popularity:Popularity",
    "personal_frequency": "baseline.personal_frequency:PersonalFrequency",
    "boosting": "ensemble.boosting:Boosting",
    "item_knn": "cf.item_knn:ItemKnn",
}


@cache
def model_class(kind: str) -> type[Model]:
    """Return the class of a kind that is in `KINDS`."""
    module, name = KINDS[kind].split(":")
    found: type[Model] = getattr(import_module(f"ecbehave.models.{module}"), name)
    return found


@cache
def config_class() -> type[Config]:
    """Return the config whose `model` and `baseline` take every kind."""
    configs: list[Any] = [model_class(kind).config_class for kind in KINDS]
    union: Any = Annotated[reduce(or_, configs), Field(discriminator="kind")]
    fields: dict[str, Any] = {
        name: (union, Field(description=Config.model_fields[name].description))
        for name in ("model", "baseline")
    }
    return create_model("Config", __base__=Config, __doc__=Config.__doc__, **fields)


def input_type(config: ModelConfig, task: str, output: str, key: str) -> InputType:
    """Return what the kind reads for a task.

    Raises:
        ConfigError: the kind does not serve the task; the message names those that do.
    """
    found = model_class(config.kind).inputs.get(output)
    if found is None:
        serving = [kind for kind in KINDS if output in model_class(kind).inputs]
        raise ConfigError(
            f"{key}.kind: {config.kind} does not serve the task {task}; these do: {', '.join(serving)}"
        )
    return found
