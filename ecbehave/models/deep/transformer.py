"""Attention over a user's events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from ecbehave.models.deep.sequence_config import SequenceConfig
from ecbehave.models.deep.sequence_kind import SequenceKind

if TYPE_CHECKING:
    from typing import Self

    import torch

    from ecbehave.models.deep.encoders import Encoder


class TransformerConfig(SequenceConfig):
    """Every event looks at those before it, and at how long ago they were; what a user does next follows from that."""

    kind: Literal["transformer"]
    heads: Annotated[int, Field(ge=1)] = 2
    """Ways in which an event looks at others at once; the width must divide into them."""

    @model_validator(mode="after")
    def _has_whole_heads(self) -> Self:
        if self.width % (2 * self.heads):
            raise ValueError(f"width {self.width} does not divide into {self.heads} heads of an even width")
        return self


class Transformer(SequenceKind):
    """Causal self-attention; see `encoders.attention` for its parts and their sources."""

    config_class: ClassVar[type[SequenceConfig]] = TransformerConfig
    config: TransformerConfig

    def encoder(self, rng: torch.Generator) -> Encoder:
        """Return the layers of attention."""
        from ecbehave.models.deep.encoders.attention import Attention

        config = self.config
        return Attention(config.width, config.layers, config.heads, config.dropout, rng)
