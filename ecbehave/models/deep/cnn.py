"""Convolutions over a user's events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from ecbehave.models.deep.sequence_config import SequenceConfig
from ecbehave.models.deep.sequence_kind import SequenceKind

if TYPE_CHECKING:
    import torch

    from ecbehave.models.deep.encoders import Encoder


class CnnConfig(SequenceConfig):
    """Filters that find patterns in the last events of a user."""

    kind: Literal["cnn"]
    filters: Literal["dilated", "caser"] = "dilated"
    """`dilated`: layers that look back twice as far each; `caser`: across and along the last few events, once."""
    reach: Annotated[int, Field(ge=2, le=64)] = 3
    """Events that a filter looks at: of `dilated` in each layer, of `caser` at all."""


class Cnn(SequenceKind):
    """Causal convolutions; see `encoders.dilated` and `encoders.caser`."""

    config_class: ClassVar[type[SequenceConfig]] = CnnConfig
    config: CnnConfig

    def encoder(self, rng: torch.Generator) -> Encoder:
        """Return the filters."""
        config = self.config
        if config.filters == "caser":
            from ecbehave.models.deep.encoders.caser import Caser

            return Caser(config.width, config.reach, config.dropout, rng)
        from ecbehave.models.deep.encoders.dilated import Dilated

        return Dilated(config.width, config.layers, config.reach, config.dropout, rng)
