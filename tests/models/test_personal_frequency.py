"""A user's own items, the most frequent first."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from planted import ONCE, Pair, lists, make, matrix, predict

from ecbehave.errors import DataError
from ecbehave.inputs.types import MatrixInput
from ecbehave.models.baseline import personal_frequency

PAIRS: list[Pair] = [
    (0, 0, "purchase", 2, 50.0),
    (0, 1, "purchase", 3, 90.0),
    (0, 2, "purchase", 2, 10.0),
    (0, 3, "view", 9, 1.0),
    (1, 3, "view", 4, 1.0),
    (2, 1, "purchase", 1, 3.0),
    (2, 1, "view", 2, 1.0),
    (2, 0, "view", 4, 4.0),
]


def shop(pairs: list[Pair] = PAIRS) -> MatrixInput:
    return matrix(pairs, 4, ["a", "b", "c", "d"])


def test_by_count_and_then_by_recency():
    found = predict(make("personal_frequency", events=["purchase"], decay=1), shop(), 9)
    assert found.rows() == [
        ("u0000", "b", 3 + 1 / 91),
        ("u0000", "c", 2 + 1 / 11),
        ("u0000", "a", 2 + 1 / 51),
        ("u0002", "b", 1 + 1 / 4),
    ]


def test_several_event_types_count_together_with_the_latest_of_them():
    found = predict(make("personal_frequency", events=["purchase", "view"], decay=1), shop(), 1)
    assert found.rows() == [("u0000", "d", 9.5), ("u0001", "d", 4.5), ("u0002", "a", 4.2)]
    both = predict(make("personal_frequency", events=["purchase", "view"], decay=1), shop(), 2)
    assert both.filter(user_id="u0002").rows()[1] == ("u0002", "b", 3.5)


def test_without_decay_recency_never_outweighs_a_count():
    pairs = [(0, 0, "purchase", 2, 3000.0), (0, 1, "purchase", 1, 1e-6)]
    assert lists(predict(make("personal_frequency", decay=1), shop(pairs), 9)) == {"u0000": ["a", "b"]}


def test_equal_items_stand_in_the_order_of_the_catalogue():
    pairs = [(0, item, "purchase", 2, 5.0) for item in (3, 1, 2)]
    assert lists(predict(make("personal_frequency"), shop(pairs), 2)) == {"u0000": ["b", "c"]}


def test_each_later_basket_makes_a_count_less():
    # The baskets, from the newest to the oldest: a look at d, then c, then a, then b.
    found = predict(make("personal_frequency", decay=0.5), shop(), 9).filter(user_id="u0000")
    assert found.rows() == [
        ("u0000", "c", (2 + 1 / 11) / 2),
        ("u0000", "a", (2 + 1 / 51) / 4),
        ("u0000", "b", (3 + 1 / 91) / 8),
    ]


def test_the_last_event_of_any_type_that_counts_dates_an_item():
    pairs = [(0, 0, "purchase", 1, 9.0), (0, 1, "purchase", 1, 5.0), (0, 0, "view", 1, 1.0)]
    found = predict(make("personal_frequency", events=["purchase", "view"], decay=0.5), shop(pairs), 9)
    assert found.rows() == [("u0000", "a", 2.5), ("u0000", "b", (1 + 1 / 6) / 2)]


# ---- neighbours


def random_shop(seed: int = 0) -> MatrixInput:
    """User 19 has had nothing."""
    rng = np.random.default_rng(seed)
    cells = [(u, i) for u in range(19) for i in range(15) if rng.random() < 3 / (3 + i)]
    pairs = [(u, i, "purchase", int(rng.integers(1, 6)), float(rng.integers(0, 30))) for u, i in cells]
    return matrix(pairs, 20, [f"i{n:02d}" for n in range(15)], asked=range(0, 20, 2))


def own_frequency(data: MatrixInput, decay: float) -> NDArray[np.float64]:
    found = np.zeros((data.users.height, data.items.height))
    for user, item, n, days, place in data.pairs.select(
        "user", "item", "n_events", "days_since", "place"
    ).iter_rows():
        found[user, item] = (n + 1 / (1 + days)) * decay**place
    return found


def slow_scores(data: MatrixInput, decay: float, neighbours: int, share: float) -> NDArray[np.float64]:
    own = own_frequency(data, decay)
    found = []
    for user in data.asked:
        alike = {}
        for other, had in enumerate(own):
            dot = sum(a * b for a, b in zip(own[user], had, strict=True))
            if other != user and dot > 0:
                alike[other] = dot / math.sqrt(sum(own[user] ** 2) * sum(had**2))
        near = sorted(alike, key=lambda other: -alike[other])[:neighbours]
        mean = own[near].mean(axis=0) if near else np.zeros(data.items.height)
        found.append((1 - share) * own[user] + share * mean)
    return np.array(found)


@pytest.mark.parametrize(("neighbours", "share", "decay"), [(1, 0.5, 1.0), (4, 0.3, 0.9), (100, 0.7, 0.8)])
def test_neighbours_like_plain_python(
    neighbours: int, share: float, decay: float, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(personal_frequency, "_BLOCK_USERS", 3)
    data = random_shop()
    settings = {"neighbours": neighbours, "neighbour_share": share, "decay": decay}
    users, blocks = zip(*make("personal_frequency", **settings).scores(data), strict=True)
    assert np.concatenate(users).tolist() == data.asked.tolist()
    found = np.concatenate([block.toarray() for block in blocks])
    np.testing.assert_allclose(found, slow_scores(data, decay, neighbours, share), rtol=1e-12)


def test_a_user_is_no_neighbour_of_himself():
    # The other two have c in common with the first one, who alone has a.
    pairs = [
        (0, 0, "purchase", 9, 1.0),
        (0, 2, "purchase", 1, 1.0),
        (1, 2, "purchase", 1, 1.0),
        (2, 2, "purchase", 1, 1.0),
    ]
    near: dict[str, Any] = {"neighbours": 1, "neighbour_share": 0.5, "decay": 1}
    found = predict(make("personal_frequency", **near), shop(pairs), 9).filter(user_id="u0000")
    assert found.rows() == [("u0000", "a", 4.75), ("u0000", "c", 1.5)]


def test_a_user_without_events_has_no_neighbours():
    data = replace(random_shop(), users=random_shop().users.with_columns(is_asked=pl.lit(value=True)))
    found = lists(predict(make("personal_frequency", neighbours=3), data, 3))
    assert len(found) == 19
    assert "u0019" not in found


def test_fitting_changes_nothing():
    model = make("personal_frequency")
    before = predict(model, shop(), 9)
    assert predict(model.fit([shop()], [], ONCE), shop(), 9).equals(before)


def test_a_log_without_its_events_is_refused():
    with pytest.raises(DataError) as error:
        make("personal_frequency", events=["rating", "review"]).fit([shop()], [], ONCE)
    assert str(error.value) == (
        "personal_frequency has no events to count: none of rating, review occurs with an item; "
        "set its events to the log's event types"
    )
