"""The rules of steps, against the formulas they come from, and what is done to gradients and weights around them."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ecbehave.models.deep.optimisers import Optimiser, clip
from ecbehave.models.deep.settings import Training

RULES = ("sgd", "adam", "adamw", "adagrad")


def net() -> nn.Module:
    made = nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3), nn.Linear(3, 2))
    for n, weight in enumerate(made.parameters()):
        nn.init.normal_(weight, generator=torch.Generator().manual_seed(n))
    return made


def gradients(of: nn.Module, step: int) -> list[Tensor]:
    rng = torch.Generator().manual_seed(100 + step)
    return [torch.randn(weight.shape, generator=rng) for weight in of.parameters()]


class Oracle:
    """The formulas of the papers, for one weight, in double precision."""

    def __init__(self, rule: str, weight: Tensor, decay: float, momentum: float) -> None:
        self.rule, self.momentum = rule, momentum
        self.w = weight.detach().double().numpy().copy()
        self.decay = decay if weight.ndim == 2 else 0.0
        self.m, self.v, self.t = np.zeros_like(self.w), np.zeros_like(self.w), 0

    def step(self, gradient: Tensor, rate: float) -> None:
        g = gradient.double().numpy()
        self.t += 1
        if self.rule == "adamw":
            self.w *= 1 - rate * self.decay
        else:
            g = g + self.decay * self.w
        if self.rule == "sgd":
            self.m = self.momentum * self.m + g
            self.w -= rate * self.m
        elif self.rule == "adagrad":
            self.v += g**2
            self.w -= rate * g / (np.sqrt(self.v) + 1e-10)
        else:
            self.m, self.v = 0.9 * self.m + 0.1 * g, 0.999 * self.v + 0.001 * g**2
            m, v = self.m / (1 - 0.9**self.t), self.v / (1 - 0.999**self.t)
            self.w -= rate * m / (np.sqrt(v) + 1e-8)


@pytest.mark.parametrize(
    ("rule", "momentum"),
    [("sgd", None), ("sgd", 0.0), ("sgd", 0.5), ("adam", None), ("adamw", None), ("adagrad", None)],
)
def test_steps_are_those_of_the_papers(rule: str, momentum: float | None) -> None:
    made = net()
    optimiser = Optimiser(made, Training(optimizer=rule, weight_decay=0.1, momentum=momentum))  # type: ignore[arg-type]
    oracles = [
        Oracle(rule, weight, 0.1, 0.9 if momentum is None else momentum) for weight in made.parameters()
    ]
    for step, rate in enumerate([0.1, 0.01, 0.03]):
        optimiser.step(gradients(made, step), rate)
        for oracle, gradient in zip(oracles, gradients(made, step), strict=True):
            oracle.step(gradient, rate)
    for weight, oracle in zip(made.parameters(), oracles, strict=True):
        np.testing.assert_allclose(weight.detach().numpy(), oracle.w, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("rule", RULES)
def test_another_one_goes_on_from_the_state(rule: str) -> None:
    one, other = net(), net()
    how = Training(optimizer=rule)
    optimiser = Optimiser(one, how)
    optimiser.step(gradients(one, 0), 0.1)
    other.load_state_dict(one.state_dict())
    second = Optimiser(other, how)
    second.restore({name: value.clone() for name, value in optimiser.state().items()})
    for who, rule_of in ((one, optimiser), (other, second)):
        rule_of.step(gradients(who, 1), 0.1)
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


def test_only_a_longer_gradient_is_shortened() -> None:
    for length, factor in ((10.0, 0.2), (2.0, 1.0), (1.0, 1.0)):
        parts = [torch.tensor([0.6 * length]), torch.tensor([[0.0], [0.8 * length]])]
        clip(parts, 2.0)
        assert parts[0].tolist() == pytest.approx([0.6 * length * factor])
        assert parts[1].flatten().tolist() == pytest.approx([0, 0.8 * length * factor])


def test_clipping_comes_before_the_step() -> None:
    weight = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(weight.weight)
    Optimiser(weight, Training(optimizer="sgd", clip=0.5)).step([torch.tensor([[-8.0]])], 1.0)
    assert weight.weight.tolist() == [[0.5]]


def test_l1_moves_weights_towards_zero_and_no_further() -> None:
    layer = nn.Linear(3, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, -0.5, 0.01]]))
        layer.bias.fill_(0.01)
    optimiser = Optimiser(layer, Training(optimizer="sgd", l1=0.2))
    optimiser.step([torch.zeros(1, 3), torch.zeros(1)], 0.1)
    assert layer.weight.flatten().tolist() == pytest.approx([0.98, -0.48, 0])
    assert layer.weight[0, 2] == 0
    assert layer.bias.item() == pytest.approx(0.01), "biases are free"


def test_what_is_frozen_stays() -> None:
    made = net()
    frozen = made[0].weight.requires_grad_(requires_grad=False)  # type: ignore[union-attr,operator]
    before = frozen.clone()
    optimiser = Optimiser(made, Training(weight_decay=0.5))
    assert len(optimiser.weights) == 5
    optimiser.step([torch.ones_like(weight) for weight in optimiser.weights], 0.1)
    assert torch.equal(frozen, before)
