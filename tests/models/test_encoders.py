"""What all encoders promise, and each against a slow form of its paper's equations.

B sequences, L events, D width.
"""

import math
from collections.abc import Callable, Iterator
from typing import cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ecbehave.models.deep.devices import has_bfloat16
from ecbehave.models.deep.encoders import Encoder
from ecbehave.models.deep.encoders.attention import Attention
from ecbehave.models.deep.encoders.caser import Caser
from ecbehave.models.deep.encoders.dilated import Dilated
from ecbehave.models.deep.encoders.recurrent import Recurrent
from ecbehave.models.deep.noise import Noise, generator

Make = Callable[[int, float], nn.Module]
MAKERS: dict[str, Make] = {
    "attention": lambda width, p: Attention(width, 2, 2, p, generator(1)),
    "gru": lambda width, p: Recurrent(width, 2, "gru", p, generator(1)),
    "lstm": lambda width, p: Recurrent(width, 2, "lstm", p, generator(1)),
    "dilated": lambda width, p: Dilated(width, 3, 3, p, generator(1)),
    "caser": lambda width, p: Caser(width, 4, p, generator(1)),
}
every = pytest.mark.parametrize("name", list(MAKERS))


def sequences(n: int, length: int, width: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Vectors [n, length, width] and days before now [n, length], the oldest first."""
    rng = generator(seed, 7)
    x = torch.randn(n, length, width, generator=rng, dtype=torch.float64)
    days = torch.rand(n, length, generator=rng, dtype=torch.float64) ** 4 * 100
    return x, days.sort(1, descending=True).values


def made(name: str, width: int = 8, p: float = 0.0) -> nn.Module:
    """An encoder in 64 bits, with biases, and with an opinion about time."""
    net = MAKERS[name](width, p).double()
    for key, weight in net.named_parameters():
        if "bias" in key or "by_gap" in key:
            nn.init.normal_(weight, generator=generator(2))
    return net


@every
def test_later_events_leave_what_was_known_before(name: str) -> None:
    net = made(name)
    x, when = sequences(3, 10, 8)
    before = net(x, when, None)
    for at in (1, 4, 9):
        later, sooner = x.clone(), when.clone()
        later[:, at:] = 5.0
        sooner[:, at:] /= 3
        after = net(later, sooner, None)
        torch.testing.assert_close(after[:, :at], before[:, :at], rtol=0.0, atol=1e-12)
        assert not torch.allclose(after[:, at], before[:, at])


@every
@pytest.mark.parametrize("length", [1, 2, 12])
def test_the_last_event_alone_is_answered_as_among_all(name: str, length: int) -> None:
    net = cast("Encoder", made(name))
    x, when = sequences(4, length, 8)
    at = torch.tensor([length - 1, 0, length // 2, length // 4])
    found = net.last(x, when, at, None)
    torch.testing.assert_close(found, net(x, when, None)[torch.arange(4), at], rtol=0.0, atol=1e-12)


@every
def test_padding_and_neighbours_do_not_matter(name: str) -> None:
    net = made(name)
    x, when = sequences(4, 12, 8)
    together = net(x, when, None)
    alone = net(x[2:3, :5], when[2:3, :5], None)
    torch.testing.assert_close(alone, together[2:3, :5], rtol=0.0, atol=1e-12)


@every
def test_a_single_event_and_a_long_history_are_read(name: str) -> None:
    net = made(name)
    x, when = sequences(2, 300, 8)
    assert net(x, when, None).isfinite().all()
    torch.testing.assert_close(
        net(x[:, :1], when[:, :1], None), net(x, when, None)[:, :1], rtol=0.0, atol=1e-12
    )


@every
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    net = made(name, width=4)
    x, when = sequences(1, 3, 4)
    names = [n for n, _ in net.named_parameters()]
    weights = [w.detach().requires_grad_() for w in net.parameters()]

    def outcome(x: Tensor, *values: Tensor) -> Tensor:
        found: Tensor = torch.func.functional_call(
            net, dict(zip(names, values, strict=True)), (x, when, None)
        )
        return found

    assert torch.autograd.gradcheck(outcome, [x.requires_grad_(), *weights], fast_mode=True)


@every
def test_only_noise_drops(name: str) -> None:
    net = made(name, p=0.5)
    x, when = sequences(2, 5, 8)
    still = net(x, when, None)
    assert torch.equal(still, net(x, when, None))
    noisy = net(x, when, Noise(generator(3)))
    assert torch.equal(noisy, net(x, when, Noise(generator(3))))
    assert not torch.allclose(noisy, net(x, when, Noise(generator(4))))
    assert not torch.allclose(noisy, still)
    assert torch.equal(still, made(name, p=0.0)(x, when, Noise(generator(3))))


class Told(Noise):
    """Tells of what it was asked to drop from."""

    def __init__(self) -> None:
        super().__init__(generator(3))
        self.widths: list[int] = []

    def dropout(self, x: Tensor, p: float) -> Tensor:
        assert p == 0.5
        self.widths.append(x.shape[2])
        return super().dropout(x, p)


@pytest.mark.parametrize(
    ("name", "widths"),
    [("attention", [8, 16, 8] * 2), ("gru", [8, 8]), ("lstm", [8, 8]), ("dilated", [8] * 3), ("caser", [96])],
)
def test_everything_that_a_layer_adds_is_dropped_from(name: str, widths: list[int]) -> None:
    noise = Told()
    made(name, p=0.5)(*sequences(2, 5, 8), noise)
    assert noise.widths == widths
    net, noise = cast("Encoder", made(name, p=0.5)), Told()
    net.last(*sequences(2, 5, 8), torch.tensor([4, 2]), noise)
    assert noise.widths == widths


@every
def test_the_first_weights_come_from_the_generator(name: str) -> None:
    torch.manual_seed(0)
    first = MAKERS[name](8, 0.0).state_dict()
    torch.manual_seed(1)
    second = MAKERS[name](8, 0.0).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.fixture
def keep_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@every
@pytest.mark.usefixtures("keep_threads")
def test_threads_do_not_matter(name: str) -> None:
    net = made(name, width=16)
    x, when = sequences(16, 40, 16)
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(net(x, when, None))
    torch.testing.assert_close(found[0], found[1], rtol=0.0, atol=1e-12)


@every
def test_16_bits_come_near(name: str) -> None:
    if name == "lstm" and not has_bfloat16(torch.device("cpu")):
        pytest.skip("the CPU has no bfloat16, without which torch has no LSTM of 16 bits")
    net = made(name, width=16).float()
    x, when = (values.float() for values in sequences(4, 20, 16))
    exact = net(x, when, None)
    with torch.autocast("cpu", torch.bfloat16):
        found = net(x, when, None)
        found.sum().backward()
    assert 0 < (found - exact).norm() < 0.02 * exact.norm()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in net.parameters())


@every
def test_it_learns_that_the_item_two_back_returns(name: str) -> None:
    n_items, width = 6, 16
    rng = generator(5)
    net, items = MAKERS[name](width, 0.0), nn.Embedding(n_items, width)
    nn.init.normal_(items.weight, generator=rng)
    weights = [*net.parameters(), *items.parameters()]
    is_recurrent = name in {"gru", "lstm"}  # What carries everything from event to event learns it later.
    optimiser = torch.optim.Adam(weights, 0.03 if is_recurrent else 0.01)
    accuracy = 0.0
    for _ in range(150 if is_recurrent else 80):
        codes = torch.randint(n_items, (48, 12), generator=rng)
        found = net(items(codes), torch.zeros(48, 12), None)[:, 2:] @ items.weight.T
        accuracy = (found.argmax(2) == codes[:, :-2]).double().mean().item()
        loss = functional.cross_entropy(found.flatten(0, 1), codes[:, :-2].flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert accuracy > 0.95  # by chance: 0.17


def test_attention_learns_by_the_time_between_events() -> None:
    """The item that returns is the one of an hour before, in any place; where it stands cannot tell."""
    rng = generator(6)
    net, items = Attention(16, 1, 2, 0.0, rng), nn.Embedding(6, 16)
    nn.init.normal_(items.weight, generator=rng)
    optimiser = torch.optim.Adam([*net.parameters(), *items.parameters()], 0.01)
    accuracy = 0.0
    for _ in range(180):
        codes = torch.randint(6, (96, 8), generator=rng)
        at = torch.randint(7, (96,), generator=rng)
        days = torch.arange(40.0, 0.0, -5.0).repeat(96, 1)
        # All events lie days apart but for the asked ones, an hour before the last one.
        days[:, -1] = 0.0
        days[torch.arange(96), at] = 1 / 24
        found = net(items(codes), days, None)[:, -1] @ items.weight.T
        wanted = codes[torch.arange(96), at]
        accuracy = (found.argmax(1) == wanted).double().mean().item()
        optimiser.zero_grad()
        functional.cross_entropy(found, wanted).backward()
        optimiser.step()
    assert accuracy > 0.95


def slow_attention(net: Attention, x: Tensor, when: Tensor) -> Tensor:
    """One sequence [L, D] through one layer, pair by pair."""
    (layer,) = net.layers
    length, width = x.shape
    per_head = width // net.heads
    made = layer.queries_keys_values(layer.norm_attention(x)).view(length, 3, net.heads, per_head)
    seen = torch.zeros(length, net.heads, per_head, dtype=torch.float64)
    for head in range(net.heads):
        for i in range(length):
            scores = []
            for j in range(i + 1):
                score = torch.zeros((), dtype=torch.float64)
                for pair in range(per_head // 2):
                    q = torch.complex(made[i, 0, head, 2 * pair], made[i, 0, head, 2 * pair + 1])
                    k = torch.complex(made[j, 1, head, 2 * pair], made[j, 1, head, 2 * pair + 1])
                    angle = (i - j) * 10_000 ** (-2 * pair / per_head)
                    score = score + (q * k.conj() * complex(math.cos(angle), math.sin(angle))).real
                minutes = (when[j] - when[i]).item() * 1440
                level = min(int(math.log2(1 + minutes)), 20)
                scores.append(score / per_head**0.5 + net.by_gap[head, level])
            share = torch.softmax(torch.stack(scores), 0)
            seen[i, head] = share @ made[: i + 1, 2, head]
    x = x + layer.together(seen.flatten(1))
    gate, value = layer.gate_and_value(layer.norm_forward(x)).chunk(2, 1)
    found: Tensor = net.norm(x + layer.back(gate * torch.sigmoid(gate) * value))
    return found


def test_attention_is_its_papers_equations() -> None:
    net = Attention(8, 1, 2, 0.0, generator(1)).double()
    nn.init.normal_(net.by_gap, generator=generator(2))
    x, when = sequences(1, 7, 8)
    when[0, 0] = 2000.0  # longer ago than the last level
    torch.testing.assert_close(
        net(x, when, None)[0], slow_attention(net, x[0], when[0]), rtol=1e-9, atol=1e-9
    )


def test_time_does_not_matter_before_attention_has_learned() -> None:
    net = Attention(8, 2, 2, 0.0, generator(1)).double()
    x, when = sequences(2, 7, 8)
    assert torch.equal(net(x, when, None), net(x, when / 7, None))


def test_dilated_layers_are_convolutions_that_look_back_twice_as_far_each() -> None:
    net = Dilated(8, 3, 2, 0.0, generator(1)).double()
    x, when = sequences(2, 11, 8)
    expected = x
    for step, layer in zip((1, 2, 4), net.layers, strict=True):
        kernel = layer.filters.weight.view(16, 2, 8).transpose(1, 2)
        padded = functional.pad(layer.norm(expected).transpose(1, 2), (step, 0))
        a, b = (
            functional.conv1d(padded, kernel, layer.filters.bias, dilation=step).transpose(1, 2).chunk(2, 2)
        )
        expected = expected + layer.back(a * torch.sigmoid(b))
    torch.testing.assert_close(net(x, when, None), net.norm(expected))


def test_dilated_layers_begin_again_after_128() -> None:
    steps = [layer.step for layer in Dilated(2, 10, 2, 0.0, generator(1)).layers]
    assert steps == [1, 2, 4, 8, 16, 32, 64, 128, 1, 2]


@pytest.mark.parametrize("reach", [2, 5])
def test_caser_is_its_papers_equations_at_every_place(reach: int) -> None:
    net = Caser(8, reach, 0.0, generator(1)).double()
    for layer in net.across:
        nn.init.normal_(layer.bias, generator=generator(2))
    x, when = sequences(2, 7, 8)
    found = net(x, when, None)
    for sequence in range(2):
        for place in range(7):
            last = torch.cat([torch.zeros(reach, 8, dtype=torch.float64), x[sequence, : place + 1]])[-reach:]
            parts = []
            for height in range(reach, 0, -1):
                layer = net.across[height - 1]
                ends = [last[at : at + height].flatten() for at in range(reach - height + 1)]
                parts.append(torch.relu(torch.stack([layer(end) for end in ends])).amax(0))
            parts += [last.T @ net.along.weight[k] for k in range(4)]
            z = torch.relu(net.together(torch.cat([*parts[:reach], torch.stack(parts[reach:], 1).flatten()])))
            torch.testing.assert_close(found[sequence, place], net.norm(net.back(z)))


def test_recurrent_layers_add_to_the_one_before() -> None:
    net = Recurrent(8, 3, "gru", 0.0, generator(1)).double()
    x, when = sequences(2, 6, 8)
    first = net.layers[0](x)[0]
    second = first + net.layers[1](first)[0]
    torch.testing.assert_close(net(x, when, None), net.norm(second + net.layers[2](second)[0]))


def test_an_lstm_begins_by_keeping_what_it_knows() -> None:
    for layer in Recurrent(4, 2, "lstm", 0.0, generator(1)).layers:
        assert layer.bias_ih_l0.tolist() == [0.0] * 4 + [1.0] * 4 + [0.0] * 8
        assert not layer.bias_hh_l0.any()
