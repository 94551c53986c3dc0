"""What is learned of the time ahead: which instants are asked about, what came of them, and what it is good for."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from planted import CUTOFF, ONCE, VIEWS, Event, event_log, known_before, make, returners

from ecbehave.inputs.types import Inputs, SequenceInput
from ecbehave.metrics.classification import auroc
from ecbehave.models.deep.ahead import Ahead, Asked, before
from ecbehave.models.deep.tokens import Reader
from ecbehave.models.deep.vocabulary import Vocabulary

DAY = 86_400_000_000
HORIZONS = [timedelta(days=3), timedelta(days=20)]


def history(*, later: bool = False) -> SequenceInput:
    """Users with events of two types at any time, some at the same instant; `later` ones are not known."""
    rng = np.random.default_rng(0)
    events: list[Event] = []
    for user in range(30):
        for days in np.sort(rng.uniform(0.01, 200, int(rng.integers(1, 25))))[::-1]:
            for kind in rng.choice(["view", "purchase"], int(rng.integers(1, 3)), replace=False):
                events.append((user, f"i{rng.integers(9)}", str(kind), float(days)))
        if later:
            events += [(user, "i3", kind, -0.5) for kind in ("view", "purchase")]
    return known_before(event_log(events))


def ahead_of(data: SequenceInput, batch: int = 16) -> Ahead:
    return Ahead(Reader(Vocabulary.of(data, 1, 4), [data]), HORIZONS, 5, batch)


def asked_of(data: SequenceInput, seed: int = 0) -> Asked:
    batches = list(ahead_of(data).batches(np.random.default_rng(seed)))
    return Asked(
        type(batches[0].span).concat([b.span for b in batches]), np.concatenate([b.happened for b in batches])
    )


def test_what_happened_is_what_a_loop_finds() -> None:
    data = history()
    log, asked = data.log, asked_of(data)
    now_all, cutoff = asked.span.now, int(CUTOFF.timestamp() * 1e6)
    types = Vocabulary.of(data, 1, 4).event_types.to_list()
    assert types == ["purchase", "view"]
    expected = np.full(asked.happened.shape, np.nan, np.float32)
    for row, (first, now) in enumerate(zip(asked.span.first, now_all, strict=True)):
        user = int(np.flatnonzero(log.offsets[:-1] == first)[-1])
        own = range(log.offsets[user], log.offsets[user + 1])
        known = [p for p in own if log.ts[p] < cutoff]
        assert asked.span.end[row] == first + sum(log.ts[p] < now for p in known)
        for h, horizon in enumerate(HORIZONS):
            end = now + int(horizon.total_seconds() * 1e6)
            for t, name in enumerate(types):
                is_any = any(
                    now <= log.ts[p] < end and log.event_types[int(log.event_type[p])] == name for p in known
                )
                if end <= cutoff:
                    expected[row, h * 2 + t] = is_any
    np.testing.assert_array_equal(asked.happened, expected)
    assert np.isnan(expected).any()
    assert set(np.unique(expected[~np.isnan(expected)])) == {0.0, 1.0}


def test_instants_lie_within_what_is_known_of_active_users() -> None:
    data = history()
    asked, log = asked_of(data), data.log
    cutoff = int(CUTOFF.timestamp() * 1e6)
    since = asked.span.now - log.ts[asked.span.end - 1]
    assert since.min() > 0
    assert since.max() <= 91 * DAY
    assert asked.span.now.max() <= cutoff - 3 * DAY
    assert asked.span.n_instants.max() == 5
    assert not np.isnan(asked.happened[:, :2]).any()
    # Another epoch has other instants, and the same one has the same.
    assert not np.array_equal(np.sort(asked.span.now), np.sort(asked_of(data, 1).span.now))
    np.testing.assert_array_equal(asked.span.now, asked_of(data).span.now)


def test_what_comes_after_the_cutoff_changes_nothing() -> None:
    one, other = asked_of(history()), asked_of(history(later=True))
    np.testing.assert_array_equal(one.span.now, other.span.now)
    np.testing.assert_array_equal(one.happened, other.happened)


def test_shards_make_a_batch_together() -> None:
    objective = ahead_of(history())
    batches = list(objective.batches(np.random.default_rng(0)))
    assert len(batches) == objective.n_batches
    parts = objective.split(batches[0], 3)
    np.testing.assert_array_equal(np.concatenate([p.happened for p in parts]), batches[0].happened)
    assert [len(p.span) for p in objective.split(batches[0].take(np.arange(2)), 4)] == [1, 1]


def test_histories_shorter_than_the_time_ahead_teach_nothing() -> None:
    assert ahead_of(history()).has_targets
    short = known_before(event_log([(user, "i1", "view", 2.0) for user in range(9)]))
    assert not ahead_of(short).has_targets


def test_where_nobody_is_active_everybody_is_asked_about() -> None:
    dormant = known_before(event_log([(user, "i1", "view", 9_000.0) for user in range(3)]))
    asked = asked_of(dormant, seed=1)
    since = asked.span.now - dormant.log.ts[asked.span.end - 1]
    assert since.size == 12
    assert since.min() > 91 * DAY
    assert (asked.happened[:, 0] == 0).all()


@pytest.mark.parametrize("seed", range(5))
def test_before_is_a_search_in_each_slice(seed: int) -> None:
    rng = np.random.default_rng(seed)
    offsets = np.append(0, np.cumsum(rng.integers(0, 9, 40)))
    ts = np.concatenate([np.sort(rng.integers(0, 20, n)) for n in np.diff(offsets)]).astype(np.int64)
    low, high, time = offsets[:-1], offsets[1:], rng.integers(-1, 22, 40)
    expected = [a + np.searchsorted(ts[a:b], t) for a, b, t in zip(low, high, time, strict=True)]
    np.testing.assert_array_equal(before(ts, low, high, time), expected)


def regular(seed: int, n_users: int = 120) -> list[Event]:
    """Half of the users have an event every four days; the others had as many, long ago or lately, with gaps."""
    rng = np.random.default_rng(seed)
    events: list[Event] = []
    for user in range(n_users):
        gap = 4.0 if user % 2 else 45.0
        first = rng.uniform(0.1, gap)
        events += [(user, f"i{rng.integers(5)}", "view", first + gap * n) for n in range(6)]
    return events


def net(**pretrain: Any) -> Any:
    settings = {"epochs": 1, "horizons": ["7d"], "horizon_epochs": 1} | pretrain
    return make("rnn", pretrain=settings, **VIEWS)


def foreseen(model: Any, data: SequenceInput) -> NDArray[np.floating]:
    """Return the log-odds of an event within a week, of everybody."""
    import torch

    reader = Reader(model.vocabulary_, [data])
    span, _ = reader.newest(0, data.log.users["user_id"], 8)
    with torch.no_grad():
        return model.net_.foreseen(reader.tokens(span)).numpy()[:, 0]


def test_the_net_foresees_events_before_it_is_shown_any_label() -> None:
    known = Inputs(CUTOFF, sequence=known_before(event_log(regular(0))))
    model = net(horizon_epochs=12).fit_vectors(known, ONCE)
    asked = known_before(event_log(regular(1)))
    is_regular = np.arange(120) % 2
    assert auroc(is_regular, foreseen(model, asked)) > 0.9


def test_it_is_stored_and_has_a_say(tmp_path: Path) -> None:
    model = net(horizons=["7d", "28d"]).fit([returners(0)], [returners(1)], ONCE)
    assert model.net_.ahead.direct.weight.shape == (2, model.usual_.size)
    assert model.net_.head.direct.weight.shape == (1, model.usual_.size + 2)
    (tmp_path / "model").mkdir()
    model.save(tmp_path / "model")
    loaded = type(model).load(tmp_path / "model", model.config)
    asked = returners(2)
    assert loaded.predict(asked, 0).equals(model.predict(asked, 0))
    assert auroc(asked.table.label, model.predict(asked, 0)["score"].to_numpy()) > 0.85


def test_where_no_history_is_long_enough_labels_are_learned_all_the_same() -> None:
    model = net(horizons=["400d"]).fit([returners(0)], [returners(1)], ONCE)
    asked: Any = returners(2)
    assert auroc(asked.table.label, model.predict(asked, 0)["score"].to_numpy()) > 0.85
