"""The weights of a net: how they begin, and how they are stored, as plain arrays."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ecbehave.models.storage import load_arrays, reading, save_arrays

Initialisation = Literal["normal", "xavier", "kaiming"]


def initialise(
    net: nn.Module, rng: torch.Generator, how: Initialisation = "xavier", std: float = 0.02
) -> None:
    """Draw every weight that a layer multiplies with, and set every bias to 0.

    Embeddings are normal with `std`, whatever `how` is, since none of their rows is summed with the others; a padding
    row stays 0. Weights with one dimension that are no biases, those of norms, are left as they were made.

    Args:
        net: on the CPU, so that a net begins the same on every device.
        rng: on the CPU.
        how: `normal` with `std`; `xavier` with variance 2 / (inputs + outputs); `kaiming` with variance 2 / inputs.
        std: standard deviation of what is `normal`.

    Source: Glorot and Bengio (2010), Understanding the difficulty of training deep feedforward neural networks,
    eq. 16; He et al. (2015), Delving deep into rectifiers, eq. 10.
    """
    with torch.no_grad():
        for module, name, weight in _own_parameters(net):
            if weight.ndim >= 2:
                _draw(weight, "normal" if isinstance(module, nn.Embedding) else how, std, rng)
                if isinstance(module, nn.Embedding) and module.padding_idx is not None:
                    weight[module.padding_idx].zero_()
            elif "bias" in name:
                weight.zero_()


def _own_parameters(net: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Parameter]]:
    for module in net.modules():
        for name, weight in module.named_parameters(recurse=False):
            yield module, name, weight


def _draw(weight: torch.Tensor, how: Initialisation, std: float, rng: torch.Generator) -> None:
    if how == "xavier":
        nn.init.xavier_uniform_(weight, generator=rng)
    elif how == "kaiming":
        # The gain of a rectifier: the square root of 2.
        nn.init.kaiming_normal_(weight, nonlinearity="relu", generator=rng)
    else:
        weight.normal_(0.0, std, generator=rng)


def count_weights(net: nn.Module) -> int:
    """Return how many numbers are learned."""
    return sum(math.prod(weight.shape) for weight in net.parameters())


def save_net(path: Path, net: nn.Module) -> None:
    """Write all weights and buffers to an `.npz` file, as float32.

    A buffer of another type is what a net can make again: it is to be registered as not persistent.
    """
    save_arrays(
        path, **{name: value.detach().float().cpu().numpy() for name, value in net.state_dict().items()}
    )


def load_net(path: Path, net: nn.Module) -> None:
    """Read what `save_net` wrote into a net of the same shape.

    Raises:
        ArtifactError: the file is missing or damaged, or does not hold the weights of such a net.
    """
    stored = load_weights(path)
    with reading(path):
        expected = net.state_dict()
        _check_names(set(stored), set(expected))
        for name, value in stored.items():
            _check_shape(name, value, expected[name])
        net.load_state_dict(stored)


def load_weights(path: Path) -> dict[str, torch.Tensor]:
    """Read what `save_net` wrote, by name.

    Raises:
        ArtifactError: the file is missing or damaged, or holds something else than finite numbers of 32 bits.
    """
    stored = load_arrays(path)
    with reading(path):
        for name, value in stored.items():
            _check_array(name, value)
        # Copied, since memory of numpy may begin anywhere, and sums can depend on where.
        return {name: torch.from_numpy(value).clone() for name, value in stored.items()}


def _check_names(found: set[str], expected: set[str]) -> None:
    for what, names in (("lacks", expected - found), ("has unknown", found - expected)):
        if names:
            raise ValueError(f"it {what} {len(names)} of the net's weights: {', '.join(sorted(names)[:3])}")


def _check_shape(name: str, value: torch.Tensor, expected: torch.Tensor) -> None:
    if value.shape != expected.shape:
        raise ValueError(f"{name} has shape {list(value.shape)}, not {list(expected.shape)}")


def _check_array(name: str, value: NDArray[Any]) -> None:
    if value.dtype != np.float32:
        raise TypeError(f"{name} is {value.dtype}, not float32")
    if not np.isfinite(value).all():
        raise ValueError(f"{name} holds what is no number")
