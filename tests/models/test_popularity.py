"""Popular items: distinct users, lately or ever."""

import pytest
from planted import ONCE, Pair, lists, make, matrix

from ecbehave.inputs.types import MatrixInput
from ecbehave.models.baseline.popularity import most_popular

#: `old` was had by three users long ago, `new` by two lately, `loud` by one user often.
PAIRS: list[Pair] = [
    (0, 1, "purchase", 1, 200.0),
    (1, 1, "view", 1, 200.0),
    (2, 1, "view", 1, 90.0),
    (0, 0, "view", 1, 3.0),
    (1, 0, "purchase", 1, 28.0),
    (2, 2, "view", 50, 1.0),
    (2, 2, "purchase", 50, 1.0),
]


def shop(pairs: list[Pair] = PAIRS) -> MatrixInput:
    return matrix(pairs, 4, ["new", "old", "loud"], asked=[1, 3])


def test_lately():
    found = make("popularity", window="28d").predict(shop(), 9)
    assert found.rows() == [
        ("u0001", "new", 2.0),
        ("u0001", "loud", 1.0),
        ("u0003", "new", 2.0),
        ("u0003", "loud", 1.0),
    ]


def test_ever():
    found = make("popularity", window="all").predict(shop(), 2)
    assert found.filter(user_id="u0003").rows() == [("u0003", "old", 3.0), ("u0003", "new", 2.0)]


@pytest.mark.parametrize(("window", "expected"), [("2d", ["loud"]), ("27d", ["new", "loud"])])
def test_only_the_last_event_with_the_item_has_to_lie_in_the_window(window: str, expected: list[str]):
    # By item id where it is equal: `new` is the first of the catalogue.
    assert lists(make("popularity", window=window).predict(shop(), 9))["u0001"] == expected


def test_equal_items_stand_in_the_order_of_the_catalogue():
    pairs = [(user, item, "view", 1, 1.0) for user, item in ((0, 2), (1, 1), (2, 0), (3, 1), (2, 2))]
    found = make("popularity").predict(shop(pairs), 9)
    assert lists(found)["u0001"] == ["old", "loud", "new"]


def test_fitting_changes_nothing():
    model = make("popularity", window="all")
    before = model.predict(shop(), 9)
    assert model.fit([matrix([], 0, [])], [], ONCE).predict(shop(), 9).equals(before)


def test_n_bounds_the_list_of_popular_items():
    assert most_popular(shop(), "all", 1).rows() == [("old", 3.0)]
    assert most_popular(shop([]), "all", 5).rows() == []
