"""How weights begin, and their file."""

from pathlib import Path

import numpy as np
import pytest
import torch
from taught import Small, weights
from torch import nn

from ecbehave.errors import ArtifactError
from ecbehave.models.deep.noise import generator
from ecbehave.models.deep.weights import count_weights, initialise, load_net, save_net


class Several(nn.Module):
    """A layer of each sort, which torch has filled with numbers of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(500, 40, padding_idx=3)
        self.wide = nn.Linear(600, 300)
        self.cell = nn.GRU(20, 20)
        self.norm = nn.LayerNorm(20)
        self.free = nn.Parameter(torch.full((5,), 7.0))


@pytest.mark.parametrize(
    ("how", "deviation"), [("normal", 0.05), ("xavier", (2 / 900) ** 0.5), ("kaiming", (2 / 600) ** 0.5)]
)
def test_the_spread_of_first_weights(how: str, deviation: float) -> None:
    net = Several()
    initialise(net, generator(0), how, std=0.05)  # type: ignore[arg-type]
    assert float(net.wide.weight.detach().std()) == pytest.approx(deviation, rel=0.02)
    assert float(net.table.weight.detach().std()) == pytest.approx(0.05, rel=0.02)
    assert not net.table.weight[3].any()
    assert not any(bias.any() for name, bias in net.named_parameters() if "bias" in name)
    assert net.norm.weight.tolist() == [1.0] * 20
    assert net.free.tolist() == [7.0] * 5


def test_first_weights_depend_on_the_seed_alone() -> None:
    made = []
    for state, seed in ((1, 0), (2, 0), (2, 1)):
        torch.manual_seed(state)
        net = Several()
        initialise(net, generator(seed))
        made.append(weights(net))
    assert made[0] == made[1]
    assert made[1] != made[2]


def test_the_file_gives_the_net_back(tmp_path: Path) -> None:
    one, other = Small(0), Small(1)
    save_net(tmp_path / "net.npz", one)
    load_net(tmp_path / "net.npz", other)
    assert weights(one) == weights(other)
    assert count_weights(one) == 5 * 16 + 16 + 2 * 16 + 16 + 1


NAN = np.full((1, 16), np.nan, np.float32)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"layers.3.weight": None}, "it lacks 1 of the net's weights: layers.3.weight"),
        (
            {f"x{n}": np.zeros(1, np.float32) for n in range(4)},
            "it has unknown 4 of the net's weights: x0, x1, x2",
        ),
        (
            {"layers.3.weight": np.zeros((1, 17), np.float32)},
            "layers.3.weight has shape [1, 17], not [1, 16]",
        ),
        ({"layers.3.weight": np.zeros((1, 16))}, "layers.3.weight is float64, not float32"),
        ({"layers.3.weight": NAN}, "layers.3.weight holds what is no number"),
    ],
)
def test_what_is_no_such_net_is_refused(
    tmp_path: Path, change: dict[str, np.ndarray | None], why: str
) -> None:
    net = Small()
    arrays = {name: value.numpy() for name, value in net.state_dict().items()} | change
    np.savez(tmp_path / "net.npz", **{name: value for name, value in arrays.items() if value is not None})
    before = weights(net)
    with pytest.raises(ArtifactError) as caught:
        load_net(tmp_path / "net.npz", net)
    file = tmp_path / "net.npz"
    assert str(caught.value) == (
        f"model file {file} was refused: {why}; train again, or take the folder from its source"
    )
    assert weights(net) == before
