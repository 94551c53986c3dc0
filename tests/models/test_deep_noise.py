"""Randomness inside of nets: what is dropped, and that it depends on the place alone."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ecbehave.models.deep.noise import Noise, dropout, generator


def noise(*place: int) -> Noise:
    return Noise(generator(0, *place), 7)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.93])
def test_dropout_drops_that_share_and_keeps_the_mean(p: float) -> None:
    n = 400_003
    found = noise().dropout(torch.full((n,), 2.0), p)
    n_dropped = int((found == 0).sum())
    assert abs(n_dropped - n * p) < 4 * math.sqrt(n * p * (1 - p))
    assert found[found != 0].unique().tolist() == [pytest.approx(2 / (1 - p), rel=1e-3)]
    assert float(found.mean()) == pytest.approx(2, abs=0.05)


@given(shape=st.lists(st.integers(0, 5), min_size=1, max_size=4), p=st.floats(0, 0.99))
def test_dropout_has_two_values_in_any_shape(shape: list[int], p: float) -> None:
    found = noise().dropout(torch.ones(shape), p)
    assert list(found.shape) == shape
    assert len(found.unique()) <= 2


def test_values_are_dropped_independently() -> None:
    is_kept = (noise().dropout(torch.ones(4, 100_000), 0.5) != 0).double()
    # Four neighbours come from one draw; so do values that are 100,000 apart from different ones.
    for shift in (1, 2, 3, 4):
        together = float((is_kept[:, shift:] * is_kept[:, :-shift]).mean())
        assert abs(together - 0.25) < 4 * math.sqrt(0.25 * 0.75 / 400_000)


def test_gradients_go_through_what_is_kept() -> None:
    x = torch.ones(1000, requires_grad=True)
    found = noise().dropout(x, 0.25)
    (gradient,) = torch.autograd.grad(found.sum(), x)
    assert torch.equal(gradient, found)


def test_nothing_is_dropped_without_noise_or_share() -> None:
    x = torch.ones(3)
    assert dropout(x, 0.5, None) is x
    assert noise().dropout(x, 0.0) is x


def test_a_place_has_its_own_numbers_and_the_same_again() -> None:
    drawn = [
        float(noise(*place).normal(torch.empty(1))) for place in [(0, 0), (0, 1), (1, 0), (0, 0, 0), (0, 0)]
    ]
    assert drawn[0] == drawn[4]
    assert len(set(drawn)) == 4
    assert float(Noise(generator(1, 0, 0)).normal(torch.empty(1))) not in drawn


def test_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    one = noise()
    one.dropout(torch.ones(10), 0.5)
    one.normal(torch.ones(10))
    assert torch.equal(torch.get_rng_state(), before)
    assert one.step == 7


def test_uniform_numbers_and_whole_ones() -> None:
    numbers = noise().uniform(1000, 3)
    assert numbers.shape == (1000, 3)
    assert 0 <= float(numbers.min()) < 0.01
    assert 0.99 < float(numbers.max()) < 1
    assert noise().integers(3, 500).unique().tolist() == [0, 1, 2]
