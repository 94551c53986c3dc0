"""How a net is trained: the part of the config that every deep kind shares. Imports no torch."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ecbehave.config.values import Section

Share = Annotated[float, Field(ge=0, lt=1)]


class Training(Section):
    """How a net is trained."""

    optimizer: Literal["sgd", "adam", "adamw", "adagrad"] = "adamw"
    """Rule that turns gradients into steps."""
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 1e-3
    """Size of the steps, at the height of the schedule."""
    momentum: Share | None = None
    """Share of the last step that goes on into the next; for `optimizer: sgd`, where it is 0.9 by default."""
    weight_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """L2 penalty on weights, not on biases and norms; with `adamw` weights shrink by this share of the learning rate
    at each step, whatever their gradients are."""
    l1: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """L1 penalty on weights, not on biases and norms: those that matter little become exactly 0."""
    schedule: Literal["constant", "cosine", "plateau"] = "constant"
    """How the learning rate goes on after the warm-up: as it is, down to 0 along a cosine over all epochs, or down to
    0.3 of it whenever half of the patience has passed without a better validation metric."""
    warmup: Share = 0.0
    """Share of all steps over which the learning rate rises from 0."""
    epochs: Annotated[int, Field(ge=1)] = 20
    """Most passes over the train data."""
    patience: Annotated[int, Field(ge=1)] = 4
    """Epochs without a better validation metric before training stops; the weights of the best epoch are kept."""
    batch: Annotated[int, Field(ge=1)] = 256
    """Sequences, or rows of a table or matrix, that are read at once."""
    accumulate: Annotated[int, Field(ge=1)] = 1
    """Batches whose gradients make one step together: steps as of a larger batch, with the memory of a smaller one."""
    clip: Annotated[float, Field(gt=0)] | None = None
    """Greatest length of the gradient of all weights together; a longer one is shortened to it."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Numbers to multiply matrices in; weights are float32 all the same. `auto` is bfloat16 on a GPU that has it, and
    float32 on a CPU, where `bfloat16` is only faster for wide nets: of width 256 by half, of width 64 not at all."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; `auto` takes a GPU where there is one. Only a CPU gives the same bytes again."""
    max_seconds: Annotated[float, Field(gt=0)] | None = None
    """Longest time of one fit, in seconds; what was learned by then is the model. It then depends on the machine."""

    @model_validator(mode="after")
    def _has_use_for_momentum(self) -> Self:
        if self.momentum is not None and self.optimizer != "sgd":
            raise ValueError("momentum is for optimizer: sgd; take it out, or set optimizer")
        return self
