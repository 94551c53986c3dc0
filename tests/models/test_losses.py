"""Each loss against a slow, obvious one in 64 bits, and its gradients against autograd's or finite differences."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ecbehave.models.deep import losses
from ecbehave.models.deep.losses import Sampler, binary, full_softmax, gbce, sampled_softmax, several_targets

N, V, D = 70, 11, 6
TARGET = torch.arange(N) * 7 % V


def numbers(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale


def parts(scale: float = 1.0) -> list[Tensor]:
    """Hidden, table and bias, of which gradients are wanted."""
    shapes: list[tuple[int, ...]] = [(N, D), (V, D), (V,)]
    return [numbers(*shape, seed=k, scale=scale).requires_grad_() for k, shape in enumerate(shapes)]


def check_same(mine: Tensor, theirs: Tensor, tensors: list[Tensor], tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(mine, theirs, rtol=tolerance, atol=tolerance)
    pairs = zip(torch.autograd.grad(mine, tensors), torch.autograd.grad(theirs, tensors), strict=True)
    for a, b in pairs:
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def against_labels(logits: Tensor, labels: Tensor, weight: Tensor) -> Tensor:
    """The weighted sum of the cross-entropies, written out: logits and labels [N, V]."""
    chances = logits.exp() / logits.exp().sum(1, keepdim=True)
    return -(weight[:, None] * labels * chances.log()).sum()


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("is_weighted", [False, True])
@pytest.mark.parametrize("has_bias", [False, True])
def test_full_softmax_is_the_cross_entropy_over_the_catalogue(
    smoothing: float, is_weighted: bool, has_bias: bool
) -> None:
    hidden, table, bias = parts()
    weight = numbers(N, seed=5).abs() if is_weighted else None
    labels = torch.nn.functional.one_hot(TARGET, V).double() * (1 - smoothing) + smoothing / V
    logits = hidden @ table.T + (bias if has_bias else 0)
    mine = full_softmax(hidden, table, bias if has_bias else None, TARGET, smoothing, weight)
    theirs = against_labels(logits, labels, torch.ones(N) if weight is None else weight)
    check_same(mine, theirs, [hidden, table, bias] if has_bias else [hidden, table])


def test_full_softmax_takes_blocks_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden, table, bias = parts()
    whole = full_softmax(hidden, table, bias, TARGET)
    monkeypatch.setattr(losses, "_MIN_ROWS", 8)
    monkeypatch.setattr(losses, "_LOGITS", 9 * V)  # 70 rows: seven blocks of 9 and one of 7
    check_same(full_softmax(hidden, table, bias, TARGET), whole, [hidden, table, bias])


def test_blocks_fit_the_cache_of_a_cpu_and_fill_a_gpu() -> None:
    assert losses.rows_at_once(12_101, "cpu", torch.float32) == 43
    assert losses.rows_at_once(12_101, "cpu", torch.bfloat16) == 172
    assert losses.rows_at_once(12_101, "cuda", torch.float32) == 5545
    assert losses.rows_at_once(100_000, "cpu", torch.float32) == 32


def test_full_softmax_has_the_gradients_of_finite_differences() -> None:
    hidden, table, bias = numbers(3, 2), numbers(4, 2, seed=1), numbers(4, seed=2)
    assert torch.autograd.gradcheck(
        lambda h, t, b: 3 * full_softmax(h, t, b, torch.tensor([0, 3, 3]), 0.1),
        [x.requires_grad_() for x in (hidden, table, bias)],
    )


def test_full_softmax_gives_only_the_gradients_that_are_asked_for() -> None:
    hidden, table, bias = parts()
    theirs = torch.nn.functional.cross_entropy(hidden @ table.T + bias, TARGET, reduction="sum")
    for wanted in (hidden, table, bias):
        held = [x if x is wanted else x.detach() for x in (hidden, table, bias)]
        mine = full_softmax(held[0], held[1], held[2], TARGET)
        (gradient,) = torch.autograd.grad(mine, [wanted])
        torch.testing.assert_close(gradient, *torch.autograd.grad(theirs, [wanted], retain_graph=True))


class Products(TorchDispatchMode):
    """Counts the products of two matrices."""

    def __init__(self) -> None:
        super().__init__()
        self.n = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.n += func.overloadpacket in {torch.ops.aten.mm, torch.ops.aten.addmm, torch.ops.aten.addmm_}
        return func(*args, **(kwargs or {}))


def test_full_softmax_makes_no_gradients_where_they_are_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "_LOGITS", 35 * V)
    hidden, table, bias = parts()
    weight = numbers(N, seed=5).abs()
    with Products() as all_three:
        theirs = full_softmax(hidden, table, bias, TARGET, 0.0, weight)
    with torch.no_grad(), Products() as one:
        mine = full_softmax(hidden, table, bias, TARGET, 0.0, weight)
    assert (all_three.n, one.n) == (6, 2)  # two blocks of rows
    torch.testing.assert_close(mine, theirs.detach())
    assert not mine.requires_grad


def test_full_softmax_is_exact_where_the_true_item_has_no_chance() -> None:
    table = torch.tensor([[1.0], [-1.0]], requires_grad=True)
    hidden = torch.tensor([[300.0], [-300.0]], requires_grad=True)
    loss = full_softmax(hidden, table, None, torch.tensor([1, 0]))
    assert loss.item() == 1200.0
    of_hidden, of_table = torch.autograd.grad(loss, [hidden, table])
    assert of_hidden.tolist() == [[2.0], [-2.0]]
    assert of_table.tolist() == [[600.0], [-600.0]]


def test_under_autocast_the_products_are_of_16_bits_and_the_sums_of_32() -> None:
    """The gradients and the loss come near those of the whole calculation in 64 bits."""
    exact = parts(scale=0.7)
    mine = [x.detach().float().requires_grad_() for x in exact]
    theirs = full_softmax(exact[0], exact[1], exact[2], TARGET)
    with torch.autocast("cpu", torch.bfloat16):
        loss = full_softmax(mine[0], mine[1], mine[2], TARGET)
        half = full_softmax(mine[0].bfloat16(), mine[1], mine[2], TARGET)
    assert loss.dtype == half.dtype == torch.float32
    assert 0 < abs(loss.item() / theirs.item() - 1) < 1e-3
    torch.testing.assert_close(half, loss, rtol=1e-3, atol=0.0)
    got = torch.autograd.grad(loss, mine)
    for a, b in zip(got, torch.autograd.grad(theirs, exact), strict=True):
        assert a.dtype == torch.float32
        assert (a - b).norm() < 0.01 * b.norm()


SETS = {0: [1, 4], 1: [2], 3: [0, 5, 10], 69: [10]}


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_several_targets_is_the_mean_over_the_true_items(smoothing: float) -> None:
    hidden, table, bias = parts()
    weight = numbers(N, seed=5).abs()
    labels = torch.zeros(N, V, dtype=torch.float64)
    for row, items in SETS.items():
        labels[row, items] = (1 - smoothing) / len(items)
        labels[row] += smoothing / V
    row = torch.tensor([0, 69, 3, 1, 3, 0, 3])
    item = torch.tensor([4, 10, 10, 2, 0, 1, 5])
    mine = several_targets(hidden, table, bias, row, item, smoothing, weight)
    theirs = against_labels(hidden @ table.T + bias, labels, weight)
    has_items = torch.isin(torch.arange(N), torch.tensor(list(SETS)))
    # A row without true items has no smoothed label either.
    theirs = theirs.sum() if smoothing == 0 else against_labels(
        (hidden @ table.T + bias)[has_items], labels[has_items], weight[has_items]
    )  # fmt: skip
    check_same(mine, theirs, [hidden, table, bias])


def test_several_targets_without_any_are_nothing() -> None:
    hidden, table, bias = parts()
    none = torch.zeros(0, dtype=torch.int64)
    loss = several_targets(hidden, table, bias, none, none, 0.1)
    assert loss.item() == 0
    assert not any(gradient.any() for gradient in torch.autograd.grad(loss, [hidden, table, bias]))


def test_several_targets_sums_in_32_bits_under_autocast() -> None:
    exact = parts(scale=0.7)
    held = [x.detach().float().requires_grad_() for x in exact]
    row, item = torch.tensor([0, 0, 3]), torch.tensor([1, 4, 2])
    with torch.autocast("cpu", torch.bfloat16):
        loss = several_targets(held[0].bfloat16(), held[1], held[2], row, item, 0.1)
    assert loss.dtype == torch.float32
    theirs = several_targets(exact[0], exact[1], exact[2], row, item, 0.1)
    assert 0 < abs(loss.item() / theirs.item() - 1) < 5e-3
    for a, b in zip(torch.autograd.grad(loss, held), torch.autograd.grad(theirs, exact), strict=True):
        assert (a - b).norm() < 0.01 * b.norm()


def test_several_targets_of_one_item_each_is_full_softmax() -> None:
    hidden, table, bias = parts()
    mine = several_targets(hidden, table, bias, torch.arange(N), TARGET)
    check_same(mine, full_softmax(hidden, table, bias, TARGET), [hidden, table, bias])


def test_sampled_softmax_of_the_whole_catalogue_is_full_softmax() -> None:
    """Drawing each item once with a chance of 1 / V, a sampled item counts once and the true one not twice."""
    hidden, table, bias = parts()
    weight = numbers(N, seed=5).abs()
    log_q = torch.full((V,), -math.log(V))
    mine = sampled_softmax(hidden, table, bias, TARGET, torch.arange(V), log_q, 0.0, weight)
    check_same(mine, full_softmax(hidden, table, bias, TARGET, 0.0, weight), [hidden, table, bias], 1e-6)


def slow_sampled(
    hidden: Tensor, table: Tensor, negatives: list[int], q: Tensor | None, smoothing: float
) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for row in range(N):
        true = hidden[row] @ table[TARGET[row]]
        others = [hidden[row] @ table[j] for j in negatives if j != TARGET[row]]
        if q is not None:
            kept = [j for j in negatives if j != TARGET[row]]
            others = [z - torch.log(len(negatives) * q[j]) for z, j in zip(others, kept, strict=True)]
        wanted = (1 - smoothing) * true + smoothing * sum(others) / len(others)
        total = total - wanted + torch.log(true.exp() + sum(z.exp() for z in others))
    return total


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("is_corrected", [False, True])
def test_sampled_softmax_leaves_out_the_true_item(smoothing: float, is_corrected: bool) -> None:
    hidden, table, _ = parts()
    negatives = [3, 3, 7, 0, 7, 1]
    q = torch.linspace(1, 2, V, dtype=torch.float64) / 16.5
    mine = sampled_softmax(
        hidden, table, None, TARGET, torch.tensor(negatives), q.log() if is_corrected else None, smoothing
    )
    theirs = slow_sampled(hidden, table, negatives, q if is_corrected else None, smoothing)
    check_same(mine, theirs, [hidden, table])


def test_the_correction_undoes_uneven_sampling() -> None:
    """Over many items drawn by popularity the corrected loss comes near the full one, the plain one does not."""
    hidden, table, bias = (x.detach() for x in parts())
    sampler = Sampler.of(torch.arange(1, V + 1), 3.0)
    drawn = sampler.draw(50_000, torch.Generator().manual_seed(3))
    exact = full_softmax(hidden, table, bias, TARGET)
    corrected = sampled_softmax(hidden, table, bias, TARGET, drawn, sampler.log_q)
    assert abs(corrected / exact - 1) < 0.005
    even = torch.full((V,), -math.log(V))
    assert abs(sampled_softmax(hidden, table, bias, TARGET, drawn, even) / exact - 1) > 0.02


@pytest.mark.parametrize("calibration", [0.0, 0.75, 1.0])
def test_gbce_is_the_papers_equation(calibration: float) -> None:
    hidden, table, bias = parts()
    negatives = [3, 3, 7]
    rate = len(negatives) / (V - 1)
    beta = rate * (calibration * (1 - 1 / rate) + 1 / rate)
    theirs = torch.zeros((), dtype=torch.float64)
    for row in range(N):
        logits = table @ hidden[row] + bias
        theirs = theirs - torch.log(torch.sigmoid(logits[TARGET[row]]) ** beta) / 4
        for j in negatives:
            if j != TARGET[row]:
                theirs = theirs - torch.log(1 - torch.sigmoid(logits[j])) / 4
    mine = gbce(hidden, table, bias, TARGET, torch.tensor(negatives), calibration)
    check_same(mine, theirs, [hidden, table, bias])
    doubled = gbce(hidden, table, bias, TARGET, torch.tensor(negatives), calibration, torch.full((N,), 2.0))
    torch.testing.assert_close(doubled, 2 * mine)


def test_gbce_of_as_many_items_as_there_are_is_plain() -> None:
    hidden, table, _ = parts()
    for drawn, items in ((torch.arange(V), table), (torch.tensor([0]), table[:1])):
        target = TARGET % len(items)
        found = [gbce(hidden, items, None, target, drawn, calibration) for calibration in (0.0, 1.0)]
        torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize("make", [sampled_softmax, gbce])
def test_losses_over_a_sample_sum_in_32_bits_under_autocast(make: Callable[..., Tensor]) -> None:
    exact = parts()[:2]
    held = [x.detach().float().requires_grad_() for x in exact]
    negatives = torch.tensor([3, 3, 7, 0, 7, 1])
    with torch.autocast("cpu", torch.bfloat16):
        loss = make(held[0].bfloat16(), held[1], None, TARGET, negatives)
    assert loss.dtype == torch.float32
    assert 0 < abs(loss / make(exact[0], exact[1], None, TARGET, negatives) - 1) < 5e-3


def test_gbce_takes_logarithms_in_32_bits_under_autocast() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        loss = gbce(torch.ones(1, 2), torch.zeros(2000, 2), None, torch.tensor([0]), torch.arange(1, 2000))
    assert loss.item() == pytest.approx(math.log(2), rel=1e-5)


def test_binary_is_torchs_with_its_class_weight() -> None:
    logits = numbers(N, 2).requires_grad_()
    labels = (numbers(N, 2, seed=1) > 0).double()
    heavy = torch.tensor([3.0, 0.5], dtype=torch.float64)
    theirs = torch.nn.functional.binary_cross_entropy_with_logits(
        logits, labels, pos_weight=heavy, reduction="sum"
    )
    check_same(binary(logits, labels, positive_weight=heavy), theirs, [logits])


def test_binary_leaves_out_unknown_labels_and_weighs_rows() -> None:
    logits = torch.tensor([[1.0, 2.0], [-1.0, 0.5]], dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([[1.0, math.nan], [0.0, 1.0]])
    known = torch.tensor([[True, False], [True, True]])
    mine = binary(logits, labels, known, label_smoothing=0.2, weight=torch.tensor([1.0, 10.0]))
    one = torch.sigmoid(logits)
    theirs = -(0.9 * one[0, 0].log() + 0.1 * (1 - one[0, 0]).log())
    theirs = theirs - 10 * (0.1 * one[1, 0].log() + 0.9 * (1 - one[1, 0]).log())
    theirs = theirs - 10 * (0.9 * one[1, 1].log() + 0.1 * (1 - one[1, 1]).log())
    check_same(mine, theirs, [logits], 1e-7)


def test_binary_is_of_32_bits_whatever_the_logits() -> None:
    loss = binary(torch.full((1000, 1), 0.5).bfloat16(), torch.ones(1000, 1))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(1000 * math.log1p(math.exp(-0.5)))


def test_a_sampler_draws_by_a_power_of_the_counts() -> None:
    counts = torch.tensor([0, 16, 1, 0, 81, 0])
    sampler = Sampler.of(counts, 0.5)
    chances = torch.tensor([0, 4, 1, 0, 9, 0]) / 14
    torch.testing.assert_close(sampler.log_q, chances.log())
    drawn = sampler.draw(20_000, torch.Generator().manual_seed(1))
    shares = torch.bincount(drawn, minlength=6) / 20_000
    assert shares[[0, 3, 5]].tolist() == [0, 0, 0]
    torch.testing.assert_close(shares, chances, atol=0.01, rtol=0.0)
    assert torch.equal(drawn, sampler.draw(20_000, torch.Generator().manual_seed(1)))
    assert Sampler.of(counts, 0.0).log_q.tolist() == pytest.approx([-math.log(6)] * 6)
