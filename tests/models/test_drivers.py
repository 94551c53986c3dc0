"""What drove a score: parts that sum to the whole, told with what happened."""

import numpy as np
import polars as pl
import pytest
import torch
from planted import CUTOFF, ONCE, Event, event_log, known_before, make, predict, returners

from ecbehave.models.deep.drivers import drivers
from ecbehave.models.deep.encoders import Encoder
from ecbehave.models.deep.noise import Noise, generator
from ecbehave.models.deep.sequence_net import SequenceNet, Sizes
from ecbehave.models.deep.tokens import Reader, Tokens, n_query
from ecbehave.models.deep.vocabulary import Vocabulary
from ecbehave.models.protocol import DRIVERS

KINDS = ["cnn", "rnn", "transformer"]
CATEGORIES = {"i1": "tea", "i2": "ink", "i3": "ink"}
EVENTS: list[Event] = [
    (0, "i2", "view", 9.0),
    (0, "i3", "view", 4.0),
    (0, "i1", "cart", 4.0),
    (0, None, "search", 2.0),
    (1, "i3", "view", 3.0),
]


class Sum(Encoder):
    """What is known after an instant is the sum of the instants so far."""

    def forward(self, x: torch.Tensor, when: torch.Tensor, noise: Noise | None) -> torch.Tensor:  # noqa: ARG002
        return x.cumsum(1)


class First(torch.nn.Module):
    """The first number of what is known after the last instant, and twice the first one of the query."""

    def forward(self, state: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
        return (state[:, 0] + 2 * query[:, 0])[:, None]


def planted() -> tuple[SequenceNet, Reader]:
    """A net whose logit is the sum over instants of the mean of 3 for `i1`, -1 for `i3`, and twice the first of the
    query."""
    data = known_before(event_log(EVENTS, CATEGORIES))
    known = Vocabulary.of(data, 1, 0)
    net = SequenceNet(Sizes(known.n_rows, 0, 0, 0, 0, n_query(known), 0), Sum(), 8, 0.0, generator(0))
    with torch.no_grad():
        for weight in net.parameters():
            weight.zero_()
        net.item.weight[known.rows_of(pl.Series(["i1"]))[0], 0] = 3.0
        net.item.weight[known.rows_of(pl.Series(["i3"]))[0], 0] = -1.0
    net.head = First()  # type: ignore[assignment]
    return net, Reader(known, [data])


def test_each_instant_counts_what_its_events_add():
    net, reader = planted()
    span = reader.histories(0, np.array([0, 1]), 9)
    usual = np.array([1.0, *[7.0] * (n_query(reader.vocabulary) - 1)], np.float32)
    found = pl.concat(drivers(net, reader, span, usual, 9))
    assert found.schema == DRIVERS
    # The mean event is worth (3 - 1) / 3.
    mean = 2 / 3
    days = [np.log1p(2.0), np.log1p(3.0)]
    expected = [
        (0, 2 * (days[0] - 1), None, None, None, 4, 2.0, 9.0),
        (0, (3 - 1) / 2 - mean, "cart", "i1", "tea", 2, 4.0, None),
        (0, 0 - mean, "view", "i2", "ink", 1, 9.0, None),
        (0, 0 - mean, "search", None, None, 1, 2.0, None),
        (1, -1 - mean, "view", "i3", "ink", 1, 3.0, None),
        (1, 2 * (days[1] - 1), None, None, None, 1, 3.0, 3.0),
    ]
    order = pl.Series([abs(row[1]) for row in expected])
    assert found["row"].to_list() == [row[0] for row in expected]
    assert sorted(found["effect"].abs().to_list()) == pytest.approx(sorted(order.to_list()), abs=1e-5)
    for got in found.rows():
        match = [row for row in expected if row[0] == got[0] and row[2:4] == got[2:4]]
        assert got[1] == pytest.approx(match[0][1], abs=1e-5)
        assert got[2:] == match[0][2:]
    for own in found.partition_by("row"):
        assert own["effect"].abs().is_sorted(descending=True)


def test_the_strongest_come_first_and_no_more_than_asked():
    net, reader = planted()
    span = reader.histories(0, np.array([0, 1]), 9)
    usual = np.array([1.0, *[7.0] * (n_query(reader.vocabulary) - 1)], np.float32)
    whole = pl.concat(drivers(net, reader, span, usual, 9))
    two = pl.concat(drivers(net, reader, span, usual, 2))
    assert two.equals(whole.group_by("row", maintain_order=True).head(2))


@pytest.mark.parametrize("kind", KINDS)
def test_parts_sum_to_the_score_less_that_of_a_usual_user(kind: str):
    model = make(kind).fit([returners()], [], ONCE)
    asked, rows = returners(2), np.array([0, 3, 150, 299])
    found = model.event_drivers(asked, rows, 999)
    reader = Reader(model.vocabulary_, [asked.sequence])  # type: ignore[list-item]
    span = reader.histories(0, rows, model.config.length)
    read = reader.tokens(span)
    usual = Tokens(
        **vars(read) | {"query": torch.from_numpy(model.usual_).expand(4, n_query(model.vocabulary_))}
    )
    mean = model.net_.mean_event().expand(*read.item.shape, -1)
    with torch.no_grad():
        base = model.net_.logits(usual, None, mean).double().numpy()
    score = predict(model, asked, 0)["score"].to_numpy()[rows]
    summed = found.group_by("row").agg(pl.col("effect").sum()).sort("row")["effect"].to_numpy()
    assert summed == pytest.approx(score - base, abs=0.01 * (1 + np.abs(score - base).max()))


def test_many_sequences_are_explained_a_part_after_the_other():
    model, asked = make("rnn").fit([returners()], [], ONCE), returners(2)
    together = model.event_drivers(asked, np.arange(100), 1)
    assert together["row"].to_list() == list(range(100))
    alone = model.event_drivers(asked, np.arange(90, 100), 1)
    assert alone["effect"].to_numpy() == pytest.approx(together["effect"].to_numpy()[90:], rel=1e-3)


def test_who_has_no_events_has_no_drivers():
    model, asked = make("rnn").fit([returners()], [], ONCE), returners(2)
    log = event_log([(1, "i1", "purchase", 1.0), (0, "i1", "purchase", -1.0)])
    hidden = type(asked)(CUTOFF, asked.table, sequence=known_before(log))
    assert model.event_drivers(hidden, np.array([0, 1, 2]), 3)["row"].unique().to_list() == [1]
    assert model.event_drivers(hidden, np.array([0]), 3).schema == DRIVERS


def test_the_mean_of_events_where_no_item_is_known():
    net = SequenceNet(Sizes(1, 0, 3, 0, 0, 6, 0), Sum(), 8, 0.0, generator(0))
    expected = net.of_events["event_type"].weight[1:].mean(0)
    assert torch.allclose(net.mean_event(), expected)
