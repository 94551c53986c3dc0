"""Integrated gradients, where the answer is known."""

import numpy as np
import pytest
import torch
from torch import Tensor

from ecbehave.models.deep.attribution import integrated_gradients
from ecbehave.models.deep.encoders.attention import Attention
from ecbehave.models.deep.noise import generator

B, L, D = 3, 4, 5
ZERO = torch.zeros(D, dtype=torch.float64)


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def test_of_a_linear_score_each_event_gets_its_own_part_in_two_steps() -> None:
    """Each sequence has weights of its own, so rows must be told right."""
    weights, x, start = numbers(B, L, D), numbers(B, L, D, seed=1), numbers(L, D, seed=2)
    found = integrated_gradients(lambda e, row: (e * weights[row]).sum((1, 2)) + 3, x, start, steps=2)
    torch.testing.assert_close(found.by_event, (weights * (x - start)).sum(2))
    torch.testing.assert_close(found.difference, (weights * (x - start)).sum((1, 2)))
    torch.testing.assert_close(found.gap, torch.zeros(B, dtype=torch.float64), atol=1e-12, rtol=0.0)
    assert found.is_complete.all()


def test_two_events_that_count_together_share_alike() -> None:
    """The score is a product of two events; by the integral each has half of it, and the others nothing."""
    x = numbers(B, L, 1)
    found = integrated_gradients(lambda e, _: e[:, 0, 0] * e[:, 2, 0], x, ZERO[:1], steps=3)
    half = x[:, 0, 0] * x[:, 2, 0] / 2
    torch.testing.assert_close(found.by_event, torch.stack([half, 0 * half, half, 0 * half], 1))


def test_of_a_curved_score_it_is_the_integral() -> None:
    """Of s(sum w x) the gradients on the way all point to w: each event has its share of the change."""
    weights, x = numbers(L, D), numbers(B, L, D, seed=1)
    found = integrated_gradients(lambda e, _: torch.sigmoid((e * weights).sum((1, 2))), x, ZERO)
    sums = (weights * x).sum(2)
    change = torch.sigmoid(sums.sum(1)) - 0.5
    torch.testing.assert_close(found.by_event, sums / sums.sum(1, keepdim=True) * change[:, None])


def step_like(e: Tensor, row: Tensor) -> Tensor:
    """Rises all at once at a third of the way, in the second sequence only."""
    level = e[:, 0, 0]
    return torch.where(row == 1, torch.sigmoid(200 * (level - 1 / 3)), level)


def test_steps_are_doubled_for_the_sequences_that_need_it() -> None:
    asked: list[list[int]] = []

    def score(e: Tensor, row: Tensor) -> Tensor:
        if e.requires_grad:
            asked.append(np.bincount(row.numpy(), minlength=3).tolist())
        return step_like(e, row)

    x = torch.ones(3, 2, 1, dtype=torch.float64)
    found = integrated_gradients(score, x, ZERO[:1], steps=4, most_steps=256, tolerance=1e-3)
    assert asked[:2] == [[4, 4, 4], [0, 8, 0]]
    assert len(asked) > 4
    assert found.is_complete.all()
    torch.testing.assert_close(found.by_event[:, 0], torch.ones(3, dtype=torch.float64), atol=2e-3, rtol=0.0)


def test_the_gap_is_told_where_the_steps_do_not_suffice() -> None:
    x = torch.ones(3, 2, 1, dtype=torch.float64)
    found = integrated_gradients(step_like, x, ZERO[:1], steps=4, most_steps=8, tolerance=1e-3)
    assert found.is_complete.tolist() == [True, False, True]
    torch.testing.assert_close(found.gap, found.by_event.sum(1) - found.difference)
    u, shares = np.polynomial.legendre.leggauss(8)
    u = (u + 1) / 2
    rise = 1 / (1 + np.exp(-200 * (u**3 - 1 / 3)))
    assert found.by_event[1, 0].item() == pytest.approx((200 * rise * (1 - rise) * 3 * u**2) @ shares / 2)


@pytest.mark.parametrize("points_at_once", [1, 7, 1000])
def test_points_are_scored_in_parts(points_at_once: int) -> None:
    weights, x = numbers(L, D), numbers(B, L, D, seed=1)
    sizes = []

    def score(e: Tensor, row: Tensor) -> Tensor:
        sizes.append(len(row))
        return torch.tanh((e * weights).sum((1, 2)) + row)

    found = integrated_gradients(score, x, ZERO, points_at_once=points_at_once)
    assert max(sizes) == min(points_at_once, B * 16)
    whole = integrated_gradients(score, x, ZERO)
    torch.testing.assert_close(found.by_event, whole.by_event)


@pytest.mark.parametrize("baseline", [0.0, 0.3])
def test_an_encoders_score_is_explained_whole_and_only_by_what_it_read(baseline: float) -> None:
    """The score after the event at place 2; the rest of the sequence is padding. From zeros the first norm leaps."""
    net = Attention(8, 2, 2, 0.0, generator(1))
    x, when = numbers(B, L, 8, seed=3).float(), torch.linspace(9, 1, L).repeat(B, 1)
    start = torch.linspace(-baseline, baseline, 8)
    found = integrated_gradients(lambda e, row: net(e, when[row], None)[:, 2, 0], x, start)
    assert found.is_complete.all()
    assert (found.by_event[:, 3] == 0).all()
    assert (found.by_event[:, :3].abs() > 1e-4).all()
    torch.testing.assert_close(found.by_event.sum(1), found.difference, atol=0.03, rtol=0.0)
    assert all(weight.grad is None for weight in net.parameters())


def test_it_explains_also_where_gradients_are_off() -> None:
    with torch.no_grad():
        found = integrated_gradients(lambda e, _: e.sum((1, 2)), numbers(B, L, D), ZERO)
    torch.testing.assert_close(found.by_event, numbers(B, L, D).sum(2))


def test_what_it_found_has_no_gradients() -> None:
    x, start = numbers(B, L, D).requires_grad_(), ZERO.clone().requires_grad_()
    found = integrated_gradients(lambda e, _: e.square().sum((1, 2)), x, start)
    assert not any(part.requires_grad for part in vars(found).values())
