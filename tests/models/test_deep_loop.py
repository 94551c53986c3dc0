"""The loop that teaches nets: what is learned, when it ends, and that threads do not matter."""

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from taught import TRUE, Line, Rows, Seen, Small, weights
from torch import Tensor, nn

from ecbehave.errors import DataError
from ecbehave.models.deep import loop
from ecbehave.models.deep.devices import has_bfloat16
from ecbehave.models.deep.loop import Learned, Run, train
from ecbehave.models.deep.noise import Noise
from ecbehave.models.deep.settings import Training
from ecbehave.models.deep.watching import Curves, Plan


def taught(
    net: nn.Module, rows: Rows, seen: Seen | None = None, plan: Plan | None = None, seed: int = 0, **how: Any
) -> Learned:
    return train(net, rows, Training(**{"learning_rate": 0.03} | how), Run(seed, 1, "small", seen), plan)


@pytest.mark.parametrize("rule", ["sgd", "adam", "adamw", "adagrad"])
def test_the_planted_weights_are_found(rule: str) -> None:
    net, rate = Line(), 0.02 if rule == "sgd" else 0.3
    learned = taught(net, Rows(error=0.0), optimizer=rule, learning_rate=rate, epochs=25, patience=40)
    assert net.weight.flatten().tolist() == pytest.approx(TRUE.tolist(), abs=0.01)
    assert learned.curves.loss[0] > 1
    assert learned.curves.loss[-1] < 1e-3


def test_exactly_what_says_nothing_gets_no_weight() -> None:
    net = Line()
    taught(net, Rows(), optimizer="sgd", l1=0.3, epochs=40, patience=40)
    assert [value == 0 for value in net.weight.flatten().tolist()] == [False, False, False, True, True]


@pytest.mark.parametrize(("threads", "precision"), [(2, "float32"), (4, "float32"), (2, "bfloat16")])
def test_the_same_bytes_with_more_threads(threads: int, precision: str) -> None:
    if precision == "bfloat16" and not has_bfloat16(torch.device("cpu")):
        pytest.skip("the CPU has no bfloat16")
    nets = [Small(), Small()]
    how = Training(clip=0.5, l1=1e-4, weight_decay=0.01, warmup=0.2, epochs=3, precision=precision)  # type: ignore[arg-type]
    one, more = (train(net, Rows(), how, Run(5, n)) for net, n in zip(nets, (1, threads), strict=True))
    assert weights(nets[0]) == weights(nets[1])
    assert one.curves == more.curves
    assert one.plan == more.plan


def test_the_seed_decides() -> None:
    nets = [Small(), Small(), Small()]
    for net, seed in zip(nets, (0, 0, 1), strict=True):
        taught(net, Rows(), seed=seed, epochs=1)
    assert weights(nets[0]) == weights(nets[1]) != weights(nets[2])


def test_batches_that_make_one_step_are_one_large_batch() -> None:
    """Without noise, four batches of 8 are one of 32, also where the last ones are fewer."""
    nets = [Small(p=0.0), Small(p=0.0)]
    large = taught(nets[0], Rows(batch=32), epochs=2)
    small = taught(nets[1], Rows(batch=8), epochs=2, accumulate=4)
    assert small.curves.loss == pytest.approx(large.curves.loss, rel=1e-5)
    for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_the_gradient_is_that_of_the_mean_loss() -> None:
    net, rows = Line(), Rows(n=30, batch=30)
    before = net.weight.detach().clone()
    x, y = rows.x[:30], rows.y[:30]
    taught(net, rows, optimizer="sgd", momentum=0.0, learning_rate=0.1, epochs=1)
    expected = before - 0.1 * 2 * (x.T @ (x @ before[0] - y) / 30)
    torch.testing.assert_close(net.weight.detach(), expected)


class Twins(nn.Module):
    """Two weights that only their sum matters of, and one that does not matter."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.unused = (nn.Parameter(torch.zeros(3)) for _ in range(3))

    def forward(self) -> Tensor:
        return self.a + self.b


class Sums(Rows):
    """The gradient is 1, always."""

    def loss(self, net: nn.Module, shard: Tensor, noise: Noise) -> tuple[Tensor, Tensor | float]:
        del noise
        return (net() * len(shard)).sum(), torch.tensor(len(shard))


PLAIN = {"optimizer": "sgd", "momentum": 0.0, "learning_rate": 0.5}


def test_weights_that_share_a_gradient_keep_their_own() -> None:
    """Autograd hands out one tensor for both terms of a sum."""
    net = Twins()
    taught(net, Sums(n=8, batch=8, is_judged=False), epochs=1, **PLAIN)
    assert [value.tolist() for value in net.parameters()] == [[-0.5] * 3, [-0.5] * 3, [0.0] * 3]


def test_steps_are_smaller_right_after_a_cut() -> None:
    net, rows = Twins(), Sums(n=8, batch=8)
    # No better in epochs 2 and 3, so it is cut after both.
    rows.given = [1, 0, 0, 2]
    taught(net, rows, epochs=4, patience=3, schedule="plateau", **PLAIN)
    assert net.a[0].item() == pytest.approx(-0.5 * (1 + 1 + 0.3 + 0.09))


def test_the_weights_of_the_best_epoch_are_kept() -> None:
    rows = Rows()
    rows.given = [1, 3, 2, 2.9, 3]
    rows_until_two = Rows(is_judged=False)
    net, twin = Small(), Small()
    seen = Seen()
    learned = taught(net, rows, seen, epochs=20, patience=3)
    assert learned.curves.metric == (1, 3, 2, 2.9, 3)
    assert (learned.curves.best, learned.curves.ended, len(learned.curves.loss)) == (2, "patience", 5)
    assert learned.plan == Plan(2)
    assert seen.said == ["train: small: no better in 3 epochs; epoch 2 is kept"]
    assert seen.curves == [learned.curves]
    again = taught(twin, rows_until_two, plan=learned.plan, epochs=20, patience=3)
    assert weights(net) == weights(twin), "a refit goes on to the epoch that was best"
    assert again.curves.metric == ()
    assert again.plan == learned.plan


def test_without_a_validation_window_all_epochs_are_run() -> None:
    learned = taught(Small(), Rows(is_judged=False), epochs=6, patience=1)
    assert learned.curves == Curves("small", "rows", learned.curves.loss, (), "", 6, "epochs")
    assert len(learned.curves.loss) == 6


def test_the_plateau_cuts_after_half_of_the_patience() -> None:
    rows = Rows()
    rows.given = [5, 4, 4, 6, 4, 4, 4, 4]
    learned = taught(Small(), rows, schedule="plateau", epochs=20, patience=4)
    assert len(learned.curves.loss) == 8
    # Cut after epochs 3, 6 and 8; the refit ends after epoch 4, so it needs only the first one.
    assert learned.plan == Plan(4, (3,))


def test_a_refit_takes_the_steps_of_the_first_fit() -> None:
    net, twin, rows = Line(), Line(), Rows()
    rows.given = [5, 4, 6]
    first = taught(net, rows, schedule="plateau", optimizer="sgd", epochs=3, patience=2)
    assert first.plan == Plan(3, (2,))
    taught(twin, Rows(is_judged=False), plan=first.plan, schedule="plateau", optimizer="sgd", epochs=3)
    assert weights(net) == weights(twin)


class Full(Rows):
    """Has room for a few rows of a shard only."""

    def __init__(self, room: int, **more: Any) -> None:
        super().__init__(**more)
        self.room = room
        self.sizes: list[int] = []

    def loss(self, net: nn.Module, shard: Tensor, noise: Noise) -> tuple[Tensor, Tensor | float]:
        self.sizes.append(len(shard))
        if len(shard) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().loss(net, shard, noise)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_more_shards_where_memory_is_too_little(accumulate: int) -> None:
    nets, seen, full = [Small(p=0.0), Small(p=0.0)], Seen(), Full(3)
    roomy = taught(nets[0], Rows(), epochs=2, accumulate=accumulate)
    learned = taught(nets[1], full, seen, epochs=2, accumulate=accumulate)
    assert seen.said == ["train: small: too little memory for 4 shards of a batch; goes on with 16"]
    assert max(full.sizes[3:]) <= 4
    assert learned.curves.loss == pytest.approx(roomy.curves.loss, rel=1e-5)


def test_a_row_too_large_for_the_memory_is_said() -> None:
    with pytest.raises(DataError) as caught:
        taught(Small(), Full(0))
    assert str(caught.value) == (
        "train: the memory of the cpu device is too small for a single one of the rows; make the net or its "
        "sequences smaller, or set training.device: cpu"
    )


class Diverging(Rows):
    """Gives losses that are no numbers from some epoch on."""

    def __init__(self, epoch: int) -> None:
        super().__init__()
        self.last = 7 * epoch

    def loss(self, net: nn.Module, shard: Tensor, noise: Noise) -> tuple[Tensor, Tensor | float]:
        loss, weight = super().loss(net, shard, noise)
        return loss * (float("nan") if noise.step >= self.last else 1), weight


def test_no_number_in_the_first_epoch() -> None:
    with pytest.raises(DataError) as caught:
        taught(Small(), Diverging(0))
    assert str(caught.value) == (
        "train: the loss became nan in epoch 1 of small; set training.learning_rate (now 0.03) lower, or "
        "training.clip to 1"
    )


def test_no_number_later_on() -> None:
    net, twin, seen = Small(), Small(), Seen()
    rows = Diverging(2)
    rows.given = [1, 2]
    learned = taught(net, rows, seen, epochs=9)
    taught(twin, Rows(is_judged=False), epochs=2)
    assert (learned.curves.ended, learned.curves.best, len(learned.curves.loss)) == ("diverged", 2, 2)
    assert seen.said == ["train: small: the loss became nan in epoch 3; epoch 2 is kept"]
    assert weights(net) == weights(twin)


class Clock:
    """A clock that a step takes a second of."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(loop.time, "monotonic", lambda: self.now)


class Slow(Rows):
    """Seven steps an epoch, each of them a second long."""

    def __init__(self, clock: Clock, **more: Any) -> None:
        super().__init__(**more)
        self.clock = clock

    def split(self, batch: Tensor, n: int) -> Sequence[Tensor]:
        self.clock.now += 1
        return super().split(batch, n)


@pytest.mark.parametrize(
    ("seconds", "is_judged", "epoch", "n_epochs", "best", "kept"),
    [
        (3, True, 1, 0, 0, "the last weights are kept"),
        (10, True, 2, 1, 1, "epoch 1 is kept"),
        (16, False, 3, 2, 2, "the last weights are kept"),
    ],
)
def test_the_time_is_up(
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
    is_judged: bool,
    epoch: int,
    n_epochs: int,
    best: int,
    kept: str,
) -> None:
    seen, clock, net = Seen(), Clock(monkeypatch), Small()
    learned = taught(net, Slow(clock, is_judged=is_judged), seen, epochs=5, max_seconds=seconds)
    assert clock.now == seconds, "within a step"
    assert (learned.curves.ended, len(learned.curves.loss), learned.curves.best) == (
        "max_seconds",
        n_epochs,
        best,
    )
    assert seen.said == [f"train: small: the time was up in epoch {epoch} of 5; {kept}"]
    assert learned.plan.epochs == max(best, 1)
    assert all(bool(torch.isfinite(value).all()) for value in net.parameters())
    assert weights(net) != weights(Small()), "something was learned"


def test_what_is_seen_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, clock = Seen(), Clock(monkeypatch)
    learned = taught(Small(), Slow(clock), seen, epochs=2)
    assert [(m.epoch, m.is_epoch_end) for m in seen.moments] == (
        [(1, False)] * 7 + [(1, True)] + [(2, False)] * 7 + [(2, True)]
    )
    first, end = seen.moments[2], seen.moments[7]
    assert (first.name, first.epochs, first.unit, first.metric_name) == ("small", 2, "rows", "minus mse")
    assert (first.done, first.per_second, first.seconds_left) == (
        pytest.approx(3 / 14),
        pytest.approx(32),
        pytest.approx(11),
    )
    assert first.metric is None
    assert (end.metric, end.loss) == (learned.curves.metric[0], learned.curves.loss[0])
    assert end.per_second == pytest.approx(29), "203 rows in 7 seconds"
    assert seen.moments[-1].done == 1
    assert learned.seconds == 14


def test_time_left_is_no_longer_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, clock = Seen(), Clock(monkeypatch)
    taught(Small(), Slow(clock), seen, epochs=100, max_seconds=20)
    assert seen.moments[0].seconds_left == 19


def test_nothing_to_learn_from() -> None:
    class Nothing(Rows):
        def loss(self, net: nn.Module, shard: Tensor, noise: Noise) -> tuple[Tensor, Tensor | float]:
            return super().loss(net, shard, noise)[0] * 0, 0.0

    with pytest.raises(DataError) as caught:
        taught(Small(), Nothing())
    assert str(caught.value) == (
        "train: small finds no rows to learn from in its train data; lengthen the history, set split.train higher, or "
        "bring more data"
    )


@pytest.mark.skipif(not has_bfloat16(torch.device("cpu")), reason="the CPU has no bfloat16")
def test_bfloat16_learns_the_same_with_weights_of_float32() -> None:
    nets = [Small(p=0.0), Small(p=0.0)]
    exact, rough = (
        taught(net, Rows(error=0.0), precision=precision, epochs=5)
        for net, precision in zip(nets, ("float32", "bfloat16"), strict=True)
    )
    assert all(value.dtype == torch.float32 for value in nets[1].parameters())
    assert rough.curves.loss != exact.curves.loss
    assert rough.curves.loss == pytest.approx(exact.curves.loss, rel=0.05)


def test_shards_are_computed_at_the_same_time() -> None:
    class Meeting(Rows):
        barrier = threading.Barrier(2)

        def loss(self, net: nn.Module, shard: Tensor, noise: Noise) -> tuple[Tensor, Tensor | float]:
            self.barrier.wait(10)
            return super().loss(net, shard, noise)

    train(Small(), Meeting(n=64), Training(epochs=1), Run(0, 2))


def test_every_shard_has_noise_of_its_own() -> None:
    class Drawing(Rows):
        drawn: set[float]

        def loss(self, net: nn.Module, shard: Tensor, noise: Noise) -> tuple[Tensor, Tensor | float]:
            self.drawn.add(float(noise.uniform(1)))
            return super().loss(net, shard, noise)

    found = []
    for seed in (0, 0, 1):
        rows = Drawing(n=64, batch=16)
        rows.drawn = set()
        taught(Small(), rows, seed=seed, epochs=2, accumulate=2)
        found.append(rows.drawn)
    assert len(found[0]) == 2 * 4 * 4
    assert found[0] == found[1]
    assert not found[0] & found[2]


def test_batches_of_an_epoch_are_in_an_order_of_their_own() -> None:
    class Ordered(Rows):
        orders: list[list[int]]

        def batches(self, rng: np.random.Generator) -> Any:
            order = rng.permutation(4)
            self.orders.append(order.tolist())
            yield torch.from_numpy(order)

    rows = Ordered(n=4)
    rows.orders = []
    for _ in range(2):
        taught(Small(), rows, epochs=3, patience=9)
    assert rows.orders[:3] == rows.orders[3:]
    assert len({tuple(order) for order in rows.orders}) > 1
