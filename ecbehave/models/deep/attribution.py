"""Which events of a sequence drove its score: integrated gradients.

B sequences, L events, D width, N points on the way from a baseline to a sequence.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Score = Callable[[Tensor, Tensor], Tensor]
"""Vectors in the place of the events' own [N, L, D], and which of the B sequences each is of [N]: scores [N]."""


@dataclass(frozen=True)
class Attribution:
    """How much each event added to a score."""

    by_event: Tensor
    """[B, L], in units of the score."""
    difference: Tensor
    """[B], the score less that of the baseline: what the events of a sequence sum to, but for the gap."""
    gap: Tensor
    """[B], the sum over the events less the difference."""
    is_complete: Tensor
    """[B] bool, whether the gap is within the tolerance."""


def integrated_gradients(
    score: Score,
    embeddings: Tensor,
    baseline: Tensor,
    steps: int = 16,
    most_steps: int = 256,
    tolerance: float = 0.01,
    points_at_once: int = 512,
) -> Attribution:
    """Return what each event added to the score, on the straight way from a baseline to the sequence.

    The integral is taken by Gauss and Legendre's rule, with more points near the baseline. Where the parts do not sum
    to the whole, the steps are doubled for the sequences that this is true of.

    Source: Sundararajan et al. (2017), Axiomatic attribution for deep networks, equation 1; the check is its
    proposition 1. Costs a forward and a backward pass for each step of each sequence.

    Args:
        score: what is explained. It must treat sequences independently, and leave out what is no event.
        embeddings: [B, L, D], the vectors of the events.
        baseline: what stands for "no event in particular", e.g. the mean event; of a shape that broadcasts to that of
            `embeddings`. From zeros a net that begins with a norm needs ten times the steps.
        steps: points on the way, at first.
        most_steps: steps are doubled while they are no more than this.
        tolerance: the gap may be this share of 1 + |difference|.
        points_at_once: most points that are scored at once.
    """
    embeddings = embeddings.detach()
    start = baseline.detach().expand_as(embeddings)
    with torch.no_grad():
        difference = _scored(score, embeddings, points_at_once) - _scored(score, start, points_at_once)
    by_event = torch.zeros_like(embeddings[..., 0])
    gap, open_rows = -difference, torch.arange(len(embeddings), device=embeddings.device)
    while steps <= most_steps and len(open_rows):
        way = embeddings[open_rows] - start[open_rows]
        gradients = _mean_gradients(score, start[open_rows], way, open_rows, steps, points_at_once)
        by_event[open_rows] = (way * gradients).sum(2)
        gap[open_rows] = by_event[open_rows].sum(1) - difference[open_rows]
        open_rows = open_rows[~_is_small(gap, difference, tolerance)[open_rows]]
        steps *= 2
    return Attribution(by_event, difference, gap, _is_small(gap, difference, tolerance))


def _is_small(gap: Tensor, difference: Tensor, tolerance: float) -> Tensor:
    return gap.abs() <= tolerance * (1 + difference.abs())


def _scored(score: Score, embeddings: Tensor, points_at_once: int) -> Tensor:
    rows = torch.arange(len(embeddings), device=embeddings.device)
    return torch.cat([score(embeddings[part], part) for part in torch.split(rows, points_at_once)])


def _points(steps: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Places on the way, from 0 to 1, and how much each counts [steps].

    With a = u^3 the integral over a is that of 3 u^2 over u. Even points in u lie close where a is small: near zeros as
    a baseline a net that begins with a norm changes all at once.
    """
    nodes, shares = np.polynomial.legendre.leggauss(steps)
    u = (nodes + 1) / 2
    return u**3, shares / 2 * 3 * u**2


def _mean_gradients(
    score: Score, start: Tensor, way: Tensor, rows: Tensor, steps: int, points_at_once: int
) -> Tensor:
    """The mean of the gradients on each way [B, L, D]; `rows` [B]: which sequences these are."""
    at, share = (torch.from_numpy(values).to(way)[:, None, None] for values in _points(steps))
    total = torch.zeros_like(way)
    points = torch.arange(len(rows) * steps, device=way.device)
    for part in torch.split(points, points_at_once):
        row, step = part // steps, part % steps
        with torch.enable_grad():
            place = (start[row] + at[step] * way[row]).requires_grad_()
            (gradient,) = torch.autograd.grad(score(place, rows[row]).sum(), [place])
        total.index_add_(0, row, share[step] * gradient)
    return total
