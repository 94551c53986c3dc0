"""The losses of the deep family: each takes a batch and returns the sum of its losses, one number.

N rows, V items of the catalogue, D width, S sampled items, P pairs of a row and an item.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.nn import functional

#: Logits that are held at once: on a CPU 2 MB stay in a core's cache (measured best for 12 and 43 thousand items),
#: while a GPU wants much to do at a time: 256 MB.
_LOGITS, _LOGITS_ON_GPU = 1 << 19, 1 << 26
#: Fewer rows at once would leave a matrix product waiting for memory.
_MIN_ROWS = 32


def full_softmax(
    hidden: Tensor,
    table: Tensor,
    bias: Tensor | None,
    target: Tensor,
    label_smoothing: float = 0.0,
    weight: Tensor | None = None,
) -> Tensor:
    """Return the sum of the cross-entropies of each row's true item against the whole catalogue.

    Exact, and never holds the [N, V] logits: gradients are computed with the loss, a few rows at a time. Costs 6 N V D
    operations with gradients, which have none of their own, and a third without. Under autocast the products are of
    16 bits and the sums of 32. The smoothed label is 1 - e on the true item and e / V on every item: Szegedy et al.
    (2016), Rethinking the Inception architecture, section 7.

    Args:
        hidden: [N, D].
        table: [V, D], one row per item.
        bias: [V].
        target: [N] int64, the true item.
        label_smoothing: e, from 0 to below 1.
        weight: [N], by which each row's loss is multiplied.
    """
    weight = _ones(hidden, weight)
    scores = _dots(hidden, table, bias, target)
    return _sum_of_losses(hidden, table, bias, weight, (weight * scores).sum(), label_smoothing)


def several_targets(
    hidden: Tensor,
    table: Tensor,
    bias: Tensor | None,
    row: Tensor,
    item: Tensor,
    label_smoothing: float = 0.0,
    weight: Tensor | None = None,
) -> Tensor:
    """Return the sum of the cross-entropies of each row against the mean of its true items; see `full_softmax`.

    The multinomial likelihood over the number of true items: Liang et al. (2018), Variational autoencoders for
    collaborative filtering, equation 2. A row without true items adds nothing.

    Args:
        hidden: [N, D].
        table: [V, D], one row per item.
        bias: [V].
        row: [P] int64, in any order.
        item: [P] int64; no pair of a row and an item stands twice.
        label_smoothing: see `full_softmax`.
        weight: [N], by which each row's loss is multiplied.
    """
    n_true = torch.bincount(row, minlength=len(hidden))
    weight = _ones(hidden, weight) * (n_true > 0)
    order = row.argsort(stable=True)
    row, item = row[order], item[order]
    share = (weight / n_true.clamp(min=1)).to(table.dtype)[row]
    # The sum of scores is the score of the summed items, which are fewer than the pairs.
    items = functional.embedding_bag(
        item, table, n_true.cumsum(0) - n_true, mode="sum", per_sample_weights=share
    )
    true = (hidden * items).sum()
    if bias is not None:
        true = true + (share * bias[item]).sum()
    return _sum_of_losses(hidden, table, bias, weight, true, label_smoothing)


def sampled_softmax(
    hidden: Tensor,
    table: Tensor,
    bias: Tensor | None,
    target: Tensor,
    negatives: Tensor,
    log_q: Tensor | None = None,
    label_smoothing: float = 0.0,
    weight: Tensor | None = None,
) -> Tensor:
    """Return the sum of the cross-entropies of each row's true item against a sample of the catalogue.

    With `log_q`, e^z of a sampled item counts 1 / (S q) times, so that the sum over the sample estimates the sum over
    the catalogue without bias: Bengio and Senecal (2008), Adaptive importance sampling to accelerate training of a
    neural probabilistic language model; Yi et al. (2019), Sampling-bias-corrected neural modeling for large corpus
    item recommendations. The true item was not sampled and counts once. Costs 6 N S D operations and holds [N, S].

    Args:
        hidden: [N, D].
        table: [V, D].
        bias: [V].
        target: [N] int64.
        negatives: [S] int64, drawn with replacement for the whole batch; a row's own true item is left out.
        log_q: [V], the log of each item's chance in one draw, see `Sampler`; None leaves out the correction.
        label_smoothing: e; 1 - e is on the true item, the rest on the sampled ones.
        weight: [N].
    """
    weight = _ones(hidden, weight)
    true, others = _sampled_scores(hidden, table, bias, target, negatives)
    if log_q is not None:
        others = others - (log_q[negatives] + math.log(len(negatives))).to(others.dtype)
    own = negatives == target[:, None]  # [N, S]
    log_sums = torch.logsumexp(torch.cat([true[:, None], others.masked_fill(own, -math.inf)], 1), 1)
    expected = true
    if label_smoothing:
        mean = others.masked_fill(own, 0.0).sum(1) / (~own).sum(1).clamp(min=1)
        expected = (1 - label_smoothing) * true + label_smoothing * mean
    return (weight * (log_sums - expected)).sum()


def gbce(
    hidden: Tensor,
    table: Tensor,
    bias: Tensor | None,
    target: Tensor,
    negatives: Tensor,
    calibration: float = 0.75,
    weight: Tensor | None = None,
    n_items: int | None = None,
) -> Tensor:
    """Return the sum of the generalised binary cross-entropies: -(b log s(z+) + sum of log(1 - s(z-))) / (S + 1).

    b undoes the overconfidence of sampling: with the sampling rate a = S / (V - 1), at most 1, it is
    a (t (1 - 1 / a) + 1 / a). Petrov and Macdonald (2023), gSASRec: reducing overconfidence in sequential
    recommendation trained with negative sampling, section 5.

    Args:
        hidden: [N, D].
        table: [V, D].
        bias: [V].
        target: [N] int64.
        negatives: [S] int64, drawn evenly for the whole batch; a row's own true item is left out.
        calibration: t, from 0 (plain binary cross-entropy) to 1 (the scores of the full softmax).
        weight: [N].
        n_items: V, where the table holds only what stands in `target` and `negatives`.
    """
    weight = _ones(hidden, weight)
    true, others = _sampled_scores(hidden, table, bias, target, negatives)
    n_others = (len(table) if n_items is None else n_items) - 1
    rate = min(len(negatives) / max(n_others, 1), 1.0)
    power = calibration * (rate - 1) + 1
    below = functional.softplus(others).masked_fill(negatives == target[:, None], 0.0).sum(1)
    losses = (power * functional.softplus(-true) + below) / (len(negatives) + 1)
    return (weight * losses).sum()


def binary(
    logits: Tensor,
    labels: Tensor,
    known: Tensor | None = None,
    positive_weight: Tensor | float = 1.0,
    label_smoothing: float = 0.0,
    weight: Tensor | None = None,
) -> Tensor:
    """Return the sum of the binary cross-entropies of all known labels, of several targets at once.

    Args:
        logits: [N, K].
        labels: [N, K], 0 or 1 where known, and anything else, even NaN, where not.
        known: [N, K] bool; None: all are. The sum is over `known.sum()` labels.
        positive_weight: by which the loss of a label of 1 is multiplied: a number, or [K].
        label_smoothing: e; labels become 1 - e / 2 and e / 2.
        weight: [N], by which each row's losses are multiplied.
    """
    logits = logits.float() if logits.dtype in {torch.bfloat16, torch.float16} else logits
    labels = labels.to(logits.dtype)
    if known is not None:
        labels = torch.where(known, labels, 0.0)
    labels = labels * (1 - label_smoothing) + label_smoothing / 2
    losses = positive_weight * labels * functional.softplus(-logits) + (1 - labels) * functional.softplus(
        logits
    )
    if known is not None:
        losses = losses.masked_fill(~known, 0.0)
    return losses.sum() if weight is None else (weight[:, None] * losses).sum()


@dataclass(frozen=True)
class Sampler:
    """Draws items with replacement, each by a power of its count."""

    cumulative: Tensor
    """[V] float64, the chance of an item or one before it."""
    log_q: Tensor
    """[V] float32, the log of each item's chance in one draw; minus infinity if it is never drawn."""

    @classmethod
    def of(cls, counts: Tensor, power: float) -> Sampler:
        """Return the sampler for counts [V], at least one of them above 0; a power of 0 draws evenly."""
        chances = counts.double() ** power
        chances = chances / chances.sum()
        return cls(chances.cumsum(0), chances.log().float())

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Return [n] int64 items, on the generator's device."""
        cumulative = self.cumulative.to(generator.device)
        at = torch.rand(n, generator=generator, dtype=torch.float64, device=generator.device)
        return torch.searchsorted(cumulative, at * cumulative[-1], right=True)


def _ones(hidden: Tensor, weight: Tensor | None) -> Tensor:
    dtype = torch.float64 if hidden.dtype == torch.float64 else torch.float32
    return hidden.new_ones(len(hidden), dtype=dtype) if weight is None else weight.to(dtype)


def _dots(hidden: Tensor, table: Tensor, bias: Tensor | None, item: Tensor) -> Tensor:
    """The score of one item per row, [N]."""
    scores = (hidden * functional.embedding(item, table)).sum(1)
    return scores if bias is None else scores + bias[item]


def _sampled_scores(
    hidden: Tensor, table: Tensor, bias: Tensor | None, target: Tensor, negatives: Tensor
) -> tuple[Tensor, Tensor]:
    """The scores of the true items [N] and of the sampled ones [N, S], of 32 bits also under autocast."""
    true = _dots(hidden, table, bias, target)
    sampled = functional.embedding(negatives, table)
    others = functional.linear(hidden, sampled, None if bias is None else bias[negatives]).to(true.dtype)
    return true, others


def _sum_of_losses(
    hidden: Tensor, table: Tensor, bias: Tensor | None, weight: Tensor, true: Tensor, label_smoothing: float
) -> Tensor:
    """The weighted sum of log sum e^z less the expected score under the labels; `true`: of unsmoothed ones."""
    wanted = torch.is_grad_enabled()
    log_sums: Tensor = _LogSums.apply(hidden, table, bias, weight, wanted)  # type: ignore[no-untyped-call]
    if not label_smoothing:
        return log_sums - true
    # The mean score over the catalogue is the score of the mean item.
    even = ((weight[:, None] * hidden).sum(0) * table.mean(0)).sum()
    if bias is not None:
        even = even + weight.sum() * bias.mean()
    return log_sums - (1 - label_smoothing) * true - label_smoothing * even


def rows_at_once(n_items: int, device: str, products: torch.dtype) -> int:
    """Return how many rows the full softmax takes at once; more where products of 16 bits are added in 32 later."""
    n_logits = _LOGITS if device == "cpu" else _LOGITS_ON_GPU
    return max(n_logits // n_items, _MIN_ROWS) * (4 if products.itemsize == 2 else 1)


class _LogSums(torch.autograd.Function):
    """The weighted sum over rows of the log of the sum of e^z over the catalogue, and its gradients in one pass."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        hidden: Tensor,
        table: Tensor,
        bias: Tensor | None,
        weight: Tensor,
        wanted: bool,
    ) -> Tensor:
        needs = [wanted and need for need in ctx.needs_input_grad[:3]]  # type: ignore[attr-defined]
        sums = _Sums(hidden, table, bias, needs)
        n_rows = rows_at_once(len(table), hidden.device.type, sums.products)
        total = weight.new_zeros(())
        # The sums must not be cast; the products have been.
        with torch.autocast(hidden.device.type, enabled=False):
            for start in range(0, len(hidden), n_rows):
                total += sums.add(slice(start, start + n_rows), weight[start : start + n_rows])
        ctx.save_for_backward(sums.of_hidden, sums.of_table, sums.of_bias)  # type: ignore[arg-type]
        ctx.dtypes = hidden.dtype, table.dtype  # type: ignore[attr-defined]
        return total

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        of_hidden, of_table, of_bias = ctx.saved_tensors  # type: ignore[attr-defined]
        hidden_dtype, table_dtype = ctx.dtypes  # type: ignore[attr-defined]
        return (
            None if of_hidden is None else (grad * of_hidden).to(hidden_dtype),
            None if of_table is None else (grad * of_table).to(table_dtype),
            None if of_bias is None else grad * of_bias,
            None,
            None,
        )


class _Sums:
    """What `_LogSums` adds up over blocks of rows."""

    def __init__(self, hidden: Tensor, table: Tensor, bias: Tensor | None, needs: list[bool]) -> None:
        kind = hidden.device.type
        self.dtype = torch.float64 if hidden.dtype == torch.float64 else torch.float32
        is_cast = torch.is_autocast_enabled(kind) and self.dtype == torch.float32
        self.products = torch.get_autocast_dtype(kind) if is_cast else self.dtype
        self.hidden, self.table = hidden.to(self.products), table.to(self.products)
        self.bias = None if bias is None else bias.to(self.products)
        self.of_hidden = hidden.new_empty(hidden.shape, dtype=self.dtype) if needs[0] else None
        self.of_table = table.new_zeros(table.shape, dtype=self.dtype) if needs[1] else None
        self.of_bias = table.new_zeros(len(table), dtype=self.dtype) if needs[2] else None

    def add(self, rows: slice, weight: Tensor) -> Tensor:
        """Take in the gradients of some rows; return the weighted sum of their log sums."""
        hidden = self.hidden[rows]
        products = (
            hidden @ self.table.T if self.bias is None else torch.addmm(self.bias, hidden, self.table.T)
        )
        logits = products.to(self.dtype)  # [rows, V]
        if self.of_hidden is self.of_table is self.of_bias is None:
            return weight @ torch.logsumexp(logits, 1)
        highest = logits.amax(1)
        chances = torch.softmax(logits, 1, out=logits)
        log_sums = highest - chances.amax(1).log()
        if self.of_bias is not None:
            self.of_bias.addmv_(chances.T, weight)
        chances = chances.to(self.products)
        if self.of_hidden is not None:
            torch.mul(chances @ self.table, weight[:, None], out=self.of_hidden[rows])
        if self.of_table is not None:
            weighted = (weight[:, None] * hidden).to(self.products)
            if self.products == self.dtype:
                self.of_table.addmm_(chances.T, weighted)
            else:
                self.of_table += chances.T @ weighted
        return weight @ log_sums
