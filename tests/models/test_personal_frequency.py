"""A user's own items, the most frequent first."""

import pytest
from planted import ONCE, Pair, lists, make, matrix

from ecbehave.errors import DataError
from ecbehave.inputs.types import MatrixInput

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
    found = make("personal_frequency", events=["purchase"]).predict(shop(), 9)
    assert found.rows() == [
        ("u0000", "b", 3 + 1 / 91),
        ("u0000", "c", 2 + 1 / 11),
        ("u0000", "a", 2 + 1 / 51),
        ("u0002", "b", 1 + 1 / 4),
    ]


def test_several_event_types_count_together_with_the_latest_of_them():
    found = make("personal_frequency", events=["purchase", "view"]).predict(shop(), 1)
    assert found.rows() == [("u0000", "d", 9.5), ("u0001", "d", 4.5), ("u0002", "a", 4.2)]
    both = make("personal_frequency", events=["purchase", "view"]).predict(shop(), 2)
    assert both.filter(user_id="u0002").rows()[1] == ("u0002", "b", 3.5)


def test_recency_never_outweighs_a_count():
    pairs = [(0, 0, "purchase", 2, 3000.0), (0, 1, "purchase", 1, 1e-6)]
    assert lists(make("personal_frequency").predict(shop(pairs), 9)) == {"u0000": ["a", "b"]}


def test_equal_items_stand_in_the_order_of_the_catalogue():
    pairs = [(0, item, "purchase", 2, 5.0) for item in (3, 1, 2)]
    assert lists(make("personal_frequency").predict(shop(pairs), 2)) == {"u0000": ["b", "c"]}


def test_fitting_changes_nothing():
    model = make("personal_frequency")
    before = model.predict(shop(), 9)
    assert model.fit([shop()], [], ONCE).predict(shop(), 9).equals(before)


def test_a_log_without_its_events_is_refused():
    with pytest.raises(DataError) as error:
        make("personal_frequency", events=["rating", "review"]).fit([shop()], [], ONCE)
    assert str(error.value) == (
        "personal_frequency has no events to count: none of rating, review occurs with an item; "
        "set its events to the log's event types"
    )
