"""What stands for items before a net learns: against a slow computation, and by what users had in common."""

from typing import Any

import numpy as np
import pytest
from planted import Event, event_log, known_before

from ecbehave.inputs.types import SequenceInput
from ecbehave.models.deep import item_vectors as module
from ecbehave.models.deep.item_vectors import item_vectors
from ecbehave.models.deep.vocabulary import Vocabulary

N_ITEMS = 30


def data_of(events: list[Event], **how: Any) -> SequenceInput:
    return known_before(event_log(events), **how)


def shoppers(n: int = 200, seed: int = 0) -> list[Event]:
    """Everybody has items of one of three tastes, item i being of taste i % 3, some of them twice."""
    rng = np.random.default_rng(seed)
    return [
        (user, f"i{3 * rng.integers(N_ITEMS // 3) + user % 3:02d}", "view", float(rng.integers(1, 300)))
        for user in range(n)
        for _ in range(int(rng.integers(1, 12)))
    ]


def slowly(data: SequenceInput, known: Vocabulary) -> np.ndarray:
    """Y'Y without its diagonal, from the users one by one."""
    log, had = data.log, []
    rows = dict(zip(known.item_ids.to_list(), known.item_rows.tolist(), strict=True))
    for start, end in zip(data.starts.tolist(), data.ends.tolist(), strict=True):
        had.append({rows[log.items[int(code)]] - 1 for code in log.item[start:end] if code >= 0})
    n_users = np.zeros(known.n_rows - 1)
    for own in had:
        n_users[list(own)] += 1
    total = np.zeros((known.n_rows - 1, known.n_rows - 1))
    for own in had:
        for one in own:
            for other in own - {one}:
                total[one, other] += 1 / (len(own) * np.sqrt((n_users[one] + 10) * (n_users[other] + 10)))
    return total


@pytest.mark.parametrize("chunk", [7, 250_000])
def test_products_are_those_of_the_leading_eigenvectors(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(module, "_CHUNK", chunk)
    data = data_of(shoppers())
    known = Vocabulary.of(data, 8, 4)
    expected = slowly(data, known)
    values, vectors = np.linalg.eigh(expected)
    # Three tastes stand out, and every other one comes after these.
    leading = (vectors[:, -3:] * values[-3:] ** 0.5) @ vectors[:, -3:].T
    found = item_vectors(known, data, 3, 0).astype(np.float64)
    assert not found[0].any()
    assert (found[1:] ** 2).mean() == pytest.approx(1, rel=1e-5)
    products = found[1:] @ found[1:].T
    np.testing.assert_allclose(products / np.trace(products), leading / np.trace(leading), atol=2e-4)


def test_items_of_one_taste_point_the_same_way() -> None:
    data = data_of(shoppers())
    known = Vocabulary.of(data, 1, 0)
    found = item_vectors(known, data, 8, 0)[known.item_rows]
    cosine = (found @ found.T) / np.outer(*2 * [np.linalg.norm(found, axis=1)])
    is_same = np.equal.outer(*2 * [np.arange(N_ITEMS) % 3])
    assert cosine[is_same].min() > 0.5 > cosine[~is_same].max()


def test_only_histories_count() -> None:
    events = shoppers()
    later: list[Event] = [(user, "i00", "view", -5.0) for user in range(200)]
    data, more = data_of(events), data_of([*events, *later])
    known = Vocabulary.of(data, 1, 0)
    np.testing.assert_array_equal(item_vectors(known, data, 8, 0), item_vectors(known, more, 8, 0))


def test_another_seed_turns_it() -> None:
    data = data_of(shoppers())
    known = Vocabulary.of(data, 1, 0)
    first, again, other = (item_vectors(known, data, 3, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other, atol=0.1)
    np.testing.assert_allclose(first @ first.T, other @ other.T, atol=0.01)


def test_fewer_items_than_numbers_and_none() -> None:
    data = data_of([(0, "a", "view", 2.0), (0, "b", "view", 1.0), (1, "a", "view", 1.0)])
    found = item_vectors(Vocabulary.of(data, 1, 0), data, 8, 0)
    assert found.shape == (3, 8)
    assert np.isfinite(found).all()
    assert found[1] @ found[2] > 0
    alone = data_of([(0, None, "view", 2.0)])
    assert not item_vectors(Vocabulary.of(alone, 1, 2), alone, 8, 0).any()


def test_one_item_has_nothing_beside_it() -> None:
    data = data_of([(0, "a", "view", 2.0), (1, "a", "view", 1.0)])
    assert not item_vectors(Vocabulary.of(data, 1, 0), data, 8, 0).any()
