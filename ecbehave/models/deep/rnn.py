"""Recurrent nets over a user's events."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from ecbehave.models.deep.sequence_config import SequenceConfig
from ecbehave.models.deep.sequence_kind import SequenceKind

if TYPE_CHECKING:
    import torch

    from ecbehave.models.deep.encoders import Encoder


class RnnConfig(SequenceConfig):
    """A memory of a user's events that each new one changes."""

    kind: Literal["rnn"]
    cell: Literal["gru", "lstm"] = "gru"
    """How the memory is changed."""


class Rnn(SequenceKind):
    """GRU or LSTM; see `encoders.recurrent`."""

    config_class: ClassVar[type[SequenceConfig]] = RnnConfig
    config: RnnConfig

    def encoder(self, rng: torch.Generator) -> Encoder:
        """Return the recurrent layers."""
        from ecbehave.models.deep.encoders.recurrent import Recurrent

        config = self.config
        return Recurrent(config.width, config.layers, config.cell, config.dropout, rng)
