"""Makes and loads models of any kind: the one way for stages, and for kinds that are made of others."""

from pathlib import Path
from typing import Any

from ecbehave.config.model import ModelConfig
from ecbehave.models import COMPOSITE, model_class
from ecbehave.models.protocol import Output, Predictor
from ecbehave.models.single import Single


def make(config: ModelConfig, output: Output) -> Predictor:
    """Return an unfitted model."""
    predictor: Predictor = _class_of(config)(config, output)
    return predictor


def load(folder: Path, config: ModelConfig, output: Output) -> Predictor:
    """Return a stored model.

    Raises:
        ArtifactError: the folder does not hold a model of this kind.
    """
    predictor: Predictor = _class_of(config).load(folder, config, output)
    return predictor


def _class_of(config: ModelConfig) -> Any:
    return model_class(config.kind) if config.kind in COMPOSITE else Single
