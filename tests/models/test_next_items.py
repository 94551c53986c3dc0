"""What a net over sequences is asked while it learns, and what its loss is, against slow sums."""

from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from planted import Event, event_log, known_before

from ecbehave.models.deep import next_items
from ecbehave.models.deep.encoders import Encoder
from ecbehave.models.deep.losses import gbce, sampled_softmax
from ecbehave.models.deep.next_items import NextItems, weights_of
from ecbehave.models.deep.noise import Noise, generator
from ecbehave.models.deep.optimisers import Optimiser
from ecbehave.models.deep.rnn import RnnConfig
from ecbehave.models.deep.sequence_net import SequenceNet, Sizes
from ecbehave.models.deep.settings import Training
from ecbehave.models.deep.tokens import Reader, Span
from ecbehave.models.deep.vocabulary import Vocabulary


def config(**settings: Any) -> RnnConfig:
    chosen = {"kind": "rnn", "width": 8, "length": 5, "min_events": 1, "dropout": 0, "input_dropout": 0}
    return RnnConfig.model_validate(chosen | {"training": {"batch": 4}} | settings)


def log(n_users: int = 9, seed: int = 0) -> list[Event]:
    rng = np.random.default_rng(seed)
    made: list[Event] = []
    for user in range(n_users):
        for _ in range(int(rng.integers(1, 30))):
            kind = str(rng.choice(["view", "purchase", "search"]))
            item = None if kind == "search" else f"i{rng.integers(12)}"
            made.append((user, item, kind, float(rng.integers(1, 60))))
    return made


def objective(events: list[Event], settings: RnnConfig) -> NextItems:
    data = known_before(event_log(events))
    known = Vocabulary.of(data, settings.min_events, settings.shared_rows)
    return NextItems(Reader(known, [data]), settings, lambda _: 0.5)


class Sum(Encoder):
    """What is known after an event is the sum of what stands for the events so far."""

    def forward(self, x: torch.Tensor, when: torch.Tensor, noise: Noise | None) -> torch.Tensor:  # noqa: ARG002
        return x.cumsum(1)


class Scaled(Sum):
    """The same, of vectors that were scaled first."""

    reads_scaled = True


def test_instants_are_scaled_for_an_encoder_that_wants_it() -> None:
    asked = objective(log(), config())
    tokens = asked._reader.tokens(next(asked.batches(np.random.default_rng(0))))
    sizes = Sizes.of(asked._reader.vocabulary, 0)
    nets = [SequenceNet(sizes, encoder, 8, 0.0, generator(3)) for encoder in (Sum(), Scaled())]
    plain, scaled = (net.states(tokens).detach() for net in nets)
    instants = plain.diff(dim=1, prepend=torch.zeros_like(plain[:, :1]))
    expected = torch.nn.functional.layer_norm(instants, (8,)).cumsum(1)
    torch.testing.assert_close(scaled, expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(plain, expected, atol=0.1)


def net_for(asked: NextItems, settings: RnnConfig) -> SequenceNet:
    return SequenceNet(Sizes.of(asked._reader.vocabulary, 0), Sum(), settings.width, 0.0, generator(3))


def steps_of(first: int, last: int) -> set[tuple[int, int]]:
    return {(at, at + 1) for at in range(first, last)}


def test_pieces_are_parts_of_histories_and_leave_no_step_out():
    asked = objective(log(), config())
    read, data = asked._reader, asked._reader.parts[0]
    batches = list(asked.batches(np.random.default_rng(1)))
    assert len(batches) == asked.n_batches
    assert max(len(batch) for batch in batches) == 4
    steps: set[tuple[int, int]] = set()
    for batch in batches:
        oldest, newest = read.instant_of(0, batch.start), read.instant_of(0, batch.end - 1)
        assert (batch.n_instants == newest - oldest + 1).all()
        assert (batch.n_instants >= 2).all()
        assert (batch.n_instants <= 6).all()
        for first, start, end in zip(batch.first, batch.start, batch.end, strict=True):
            user = int(np.searchsorted(data.starts, first))
            assert data.starts[user] == first
            assert first <= start
            assert end <= data.ends[user]
        for one, other in zip(oldest, newest, strict=True):
            steps |= steps_of(int(one), int(other))
    ends = [read.instant_of(0, at) for at in (data.starts, data.ends - 1)]
    assert steps == set().union(*(steps_of(int(a), int(b)) for a, b in zip(*ends, strict=True)))


def test_pieces_are_cut_elsewhere_in_another_epoch():
    asked = objective(log(), config())
    first, again, other = (
        sorted(np.concatenate([b.start for b in asked.batches(np.random.default_rng(seed))]).tolist())
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_short_histories_are_whole():
    asked = objective(log(), config(length=40))
    batches = list(asked.batches(np.random.default_rng(0)))
    data, read = asked._reader.parts[0], asked._reader
    n_instants = read.instant_of(0, data.ends - 1) - read.instant_of(0, data.starts) + 1
    found = np.concatenate([b.n_instants for b in batches])
    assert sorted(found.tolist()) == sorted(n_instants[n_instants >= 2].tolist())


def test_shards_make_the_batch_together():
    asked = objective(log(), config())
    batch = next(asked.batches(np.random.default_rng(0)))
    shards = asked.split(batch, 3)
    assert [len(shard) for shard in shards] == [2, 1, 1]
    assert np.concatenate([shard.start for shard in shards]).tolist() == batch.start.tolist()
    assert len(asked.split(batch.take(np.array([0])), 3)) == 1


def slow_loss(asked: NextItems, net: SequenceNet, batch: Span, settings: RnnConfig) -> tuple[float, float]:
    """One instant after the other."""
    read, known = asked._reader, asked._reader.vocabulary
    found = read.follows(batch)
    states = net.states(read.tokens(batch)).flatten(0, 1)
    table = net.table(torch.from_numpy(known.item_rows), torch.from_numpy(known.item_categories))
    logs = (states @ table.T).log_softmax(1).detach()
    total, weights = 0.0, 0.0
    for position in np.unique(found.position):
        own = found.position == position
        named = known.event_types.gather(found.event_type[own] - 1).to_list()
        weight = [settings.event_weights.get(name, 0.0) for name in named]
        items = {int(i) for i, w in zip(found.item[own], weight, strict=True) if w > 0}
        if items:
            total -= max(weight) * sum(float(logs[position, i]) for i in items) / len(items)
            weights += max(weight)
    return total, weights


def test_the_loss_is_that_of_every_instant_that_something_follows():
    settings = config(event_weights={"view": 0.5, "purchase": 2.0})
    asked = objective(log(), settings)
    net = net_for(asked, settings)
    for batch in asked.batches(np.random.default_rng(0)):
        loss, weight = asked.loss(net, batch, Noise(generator(0)))
        expected, of = slow_loss(asked, net, batch, settings)
        assert loss.item() == pytest.approx(expected, rel=1e-5)
        assert weight == pytest.approx(of)
        assert of > 0


@pytest.mark.parametrize("loss", ["sampled", "gbce"])
def test_a_sampled_loss_comes_near_the_whole_with_the_steps(loss: str):
    settings = config(
        loss=loss, negatives=8, event_weights={"view": 1.0, "purchase": 1.0}, training={"batch": 99}
    )
    asked = objective(log(), settings)
    net = net_for(asked, settings)
    whole = objective(log(), config(event_weights={"view": 1.0, "purchase": 1.0}, training={"batch": 99}))
    [batch] = asked.batches(np.random.default_rng(0))
    optimiser = Optimiser(net, Training())
    before = whole.loss(net, batch, Noise(generator(0)))[0].item()
    for step in range(150):
        value, weight = asked.loss(net, batch, Noise(generator(0, step)))
        found = torch.autograd.grad(value / weight, optimiser.weights, allow_unused=True)
        optimiser.step(
            [
                torch.zeros_like(of) if part is None else part.to_dense()
                for of, part in zip(optimiser.weights, found, strict=True)
            ],
            0.03,
        )
    assert whole.loss(net, batch, Noise(generator(0)))[0].item() < 0.9 * before


@pytest.mark.parametrize("loss", ["sampled", "gbce"])
def test_items_that_are_neither_true_nor_drawn_need_not_be_read(loss: str):
    asked = objective(log(), config(loss=loss, negatives=4))
    net, known = net_for(asked, config()), asked._reader.vocabulary
    hidden, item, weight = torch.randn(3, 8, generator=generator(1)), torch.tensor([0, 7, 7]), torch.ones(3)
    sampler = asked._sampler
    assert sampler is not None
    found = asked._sampled(sampler, net, hidden, item, weight, Noise(generator(2)))
    table = net.table(torch.from_numpy(known.item_rows), torch.from_numpy(known.item_categories))
    drawn = sampler.draw(4, generator(2))
    expected = (
        gbce(hidden, table, None, item, drawn)
        if loss == "gbce"
        else sampled_softmax(hidden, table, None, item, drawn, sampler.log_q)
    )
    torch.testing.assert_close(found, expected)


def test_weights_follow_the_names_of_types():
    known = Vocabulary.of(known_before(event_log([(0, "i", "cart", 2.0), (0, "i", "odd", 1.0)])), 1, 0)
    assert known.event_types.to_list() == ["cart", "odd"]
    assert weights_of(known, config()).tolist() == [0.0, 0.5, 0.0]


def test_the_metric_is_the_judges():
    asked = objective(log(), config())
    assert asked.metric(net_for(asked, config())) == 0.5


def test_who_has_one_event_teaches_nothing():
    asked = objective([(0, "i1", "view", 1.0)], config())
    assert asked.n_batches == 0
    assert list(asked.batches(np.random.default_rng(0))) == []
    assert pl.Series(asked._users).len() == 0


def test_large_catalogues_are_sampled_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(next_items, "_MOST_ITEMS", 12)
    assert objective(log(), config())._loss == "softmax"
    monkeypatch.setattr(next_items, "_MOST_ITEMS", 11)
    assert objective(log(), config())._loss == "sampled"
    assert objective(log(), config(loss="softmax"))._loss == "softmax"


@pytest.mark.parametrize(
    ("events", "has_any"),
    [
        ([(0, "i1", "view", 2.0), (0, "i2", "view", 1.0)], True),
        ([(0, None, "search", 2.0), (0, "i2", "view", 1.0)], True),
        ([(0, "i1", "view", 2.0), (0, None, "view", 1.0)], False),
        ([(0, "i1", "view", 2.0), (0, "i2", "search", 1.0)], False),
        ([(0, "i1", "view", 2.0), (0, "i2", "view", 2.0)], False),
        ([(0, "i1", "view", 2.0), (0, "i2", "view", -1.0)], False),
        ([(0, "i1", "view", 2.0), (1, "i2", "view", 1.0)], False),
    ],
)
def test_whether_there_is_anything_to_foresee(events: list[Event], has_any: bool):
    assert objective(events, config()).has_targets == has_any
