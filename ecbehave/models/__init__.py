"""The model kinds: a new one is one file, and one line in `PLAIN`."""

from collections.abc import Iterable
from functools import cache, reduce
from importlib import import_module
from operator import or_
from typing import Annotated, Any

from pydantic import Field, create_model

from ecbehave.config import Config
from ecbehave.config.model import ModelConfig
from ecbehave.errors import ConfigError
from ecbehave.models.protocol import InputType, Model, Reads

#: Kind to module and class. The modules load torch, LightGBM and scikit-learn only when they fit or load.
PLAIN = {
    "base_rate": "baseline.base_rate:BaseRate",
    "rfm": "baseline.rfm:Rfm",
    "bgnbd": "baseline.bgnbd:Bgnbd",
    "popularity": "baseline.popularity:Popularity",
    "mean_rating": "baseline.mean_rating:MeanRating",
    "personal_frequency": "baseline.personal_frequency:PersonalFrequency",
    "logistic": "ensemble.logistic:Logistic",
    "random_forest": "ensemble.forest:RandomForest",
    "adaboost": "ensemble.adaboost:AdaBoost",
    "boosting": "ensemble.boosting:Boosting",
    "user_knn": "cf.user_knn:UserKnn",
    "item_knn": "cf.item_knn:ItemKnn",
    "als": "cf.als:Als",
    "ease": "cf.ease:Ease",
    "dnn": "deep.dnn:Dnn",
    "cnn": "deep.cnn:Cnn",
    "rnn": "deep.rnn:Rnn",
    "transformer": "deep.transformer:Transformer",
    "autoencoder": "deep.autoencoder:Autoencoder",
}

#: Kinds that are made of others.
COMPOSITE = {
    "bagging": "ensemble.bagging:Bagging",
    "voting": "ensemble.voting:Voting",
    "stacking": "ensemble.stacking:Stacking",
    "with_embeddings": "ensemble.with_embeddings:WithEmbeddings",
}

KINDS = PLAIN | COMPOSITE

#: What says, beside sequences, what is asked.
_BESIDE_SEQUENCES: dict[str, frozenset[InputType]] = {
    "binary": frozenset({"table"}),
    "pairs": frozenset({"table", "matrix"}),
    "ranking": frozenset({"matrix"}),
}


@cache
def model_class(kind: str) -> type[Model]:
    """Return the class of a kind that is in `KINDS`."""
    module, name = KINDS[kind].split(":")
    found: type[Model] = getattr(import_module(f"ecbehave.models.{module}"), name)
    return found


def tabular() -> list[str]:
    """Return the plain kinds that read the table."""
    return [kind for kind in PLAIN if "table" in model_class(kind).inputs.values()]


def learning_vectors() -> list[str]:
    """Return the plain kinds that learn a vector of each user without labels."""
    return [kind for kind in PLAIN if hasattr(model_class(kind), "fit_vectors")]


def one_of(kinds: Iterable[str]) -> Any:
    """Return the type of a model's config that may be of one of some kinds."""
    configs: list[Any] = [model_class(kind).config_class for kind in kinds]
    return Annotated[reduce(or_, configs), Field(discriminator="kind")]


@cache
def config_class() -> type[Config]:
    """Return the config whose `model` and `baseline` take every kind."""
    union = one_of(KINDS)
    fields: dict[str, Any] = {
        name: (union, Field(description=Config.model_fields[name].description))
        for name in ("model", "baseline")
    }
    return create_model("Config", __base__=Config, __doc__=Config.__doc__, **fields)


def reads(kind: type[Model], output: str) -> Reads | None:
    """Return what a kind is handed for what is asked; None where it has no answer."""
    found = kind.inputs.get(output)
    if found is None and output == "pairs" and kind.inputs.get("binary") == "table":
        return "table"
    return found


def input_types(config: ModelConfig, task: str, output: str, key: str) -> frozenset[InputType]:
    """Return what a model reads for a task; the rows of `binary` and `pairs` are in a table, whatever it reads.

    Raises:
        ConfigError: the kind does not serve the task; the message names those that do.
    """
    # Made of others are scores of rows, and of those there are none where ratings are asked.
    composite = () if output == "rating" else COMPOSITE
    if config.kind in composite:
        return frozenset().union(
            *(input_types(part, task, output, f"{key}.{name}") for name, part in config.parts().items())
        )
    found = reads(model_class(config.kind), output)
    if found is None:
        serving = [kind for kind in PLAIN if reads(model_class(kind), output)] + list(composite)
        raise ConfigError(
            f"{key}.kind: {config.kind} does not serve the task {task}; these do: {', '.join(serving)}"
        )
    if found == "sequence":
        return _BESIDE_SEQUENCES[output] | {"sequence"}
    return frozenset(["table", "matrix"] if found == "all" else [found])
