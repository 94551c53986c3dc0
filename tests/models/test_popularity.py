"""Popular items: distinct users, lately or ever, and by the categories that a user knows."""

from collections import defaultdict
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from planted import ONCE, Pair, lists, make, matrix, predict

from ecbehave.config.values import parse_duration
from ecbehave.inputs.types import MatrixInput
from ecbehave.models.baseline import popularity
from ecbehave.models.baseline.popularity import Popular
from ecbehave.models.top_k import top_k

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
    found = predict(make("popularity", window="28d"), shop(), 9)
    assert found.rows() == [
        ("u0001", "new", 2.0),
        ("u0001", "loud", 1.0),
        ("u0003", "new", 2.0),
        ("u0003", "loud", 1.0),
    ]


def test_ever():
    found = predict(make("popularity", window="all"), shop(), 2)
    assert found.filter(user_id="u0003").rows() == [("u0003", "old", 3.0), ("u0003", "new", 2.0)]


@pytest.mark.parametrize(("window", "expected"), [("2d", ["loud"]), ("27d", ["new", "loud"])])
def test_only_the_last_event_with_the_item_has_to_lie_in_the_window(window: str, expected: list[str]):
    # By item id where it is equal: `new` is the first of the catalogue.
    assert lists(predict(make("popularity", window=window), shop(), 9))["u0001"] == expected


def test_equal_items_stand_in_the_order_of_the_catalogue():
    pairs = [(user, item, "view", 1, 1.0) for user, item in ((0, 2), (1, 1), (2, 0), (3, 1), (2, 2))]
    found = predict(make("popularity"), shop(pairs), 9)
    assert lists(found)["u0001"] == ["old", "loud", "new"]


def test_fitting_changes_nothing():
    model = make("popularity", window="all")
    before = predict(model, shop(), 9)
    assert predict(model.fit([matrix([], 0, [])], [], ONCE), shop(), 9).equals(before)


def test_everybody_shares_one_row():
    [(users, scores)] = make("popularity").scores(shop())
    assert users.tolist() == [1, 3]
    assert scores.strides[0] == 0


# ---- within categories


def in_categories(data: MatrixInput, *names: str | None) -> MatrixInput:
    return replace(data, items=data.items.with_columns(category=pl.Series(names, dtype=pl.String)))


def random_shop(seed: int = 0) -> MatrixInput:
    """User 30 has no events, and user 31 none in a category."""
    rng = np.random.default_rng(seed)
    cells = {
        (int(u), int(40 * i**2)) for u, i in zip(rng.integers(30, size=400), rng.random(400), strict=True)
    }
    pairs = [
        (user, item, "purchase", int(rng.integers(1, 4)), float(rng.uniform(0, 60)))
        for user, item in sorted({*cells, (31, 6)})
    ]
    names = [f"{chr(97 + n % 7)}" if n % 7 != 6 else None for n in range(40)]
    return in_categories(matrix(pairs, 32, [f"i{n:02d}" for n in range(40)]), *names)


def slow_scores(data: MatrixInput, days: float) -> dict[tuple[int, int], float]:
    """Return (n_uc + m p_c) / (n_u + m) n_i / n_c, times what all items of a user have in common."""
    category = dict(enumerate(data.items["category"]))
    users = defaultdict(set)
    own: dict[int, dict[str, int]] = {user: defaultdict(int) for user in range(data.users.height)}
    for user, item, n, since in data.pairs.select("user", "item", "n_events", "days_since").iter_rows():
        if since <= days:
            users[item].add(user)
        if category[item] is not None:
            own[user][category[item]] += n
    n_users = {item: len(who) for item, who in users.items()}
    total = sum(n_users.values())
    found = {}
    for item, n in n_users.items():
        n_category = sum(m for i, m in n_users.items() if category[i] == category[item])
        for user in range(data.users.height):
            p = n_category / total
            smoothed = own[user].get(category[item], 0) / popularity._PRIOR_EVENTS + p
            found[user, item] = smoothed * n / n_category * total
    return found


def test_smoothed_by_what_everybody_had():
    data = random_shop()
    found = {}
    for users, scores in make("popularity", within="category", window="28d").scores(data):
        for user, row in zip(users, scores, strict=True):
            found |= {(int(user), int(item)): row[item] for item in np.flatnonzero(row > -np.inf)}
    assert found == pytest.approx(slow_scores(data, 28), rel=1e-12)


def test_who_had_nothing_gets_what_most_users_had():
    data = replace(random_shop(), users=random_shop().users.with_columns(is_asked=pl.int_range(32) >= 30))
    everybody, own = (lists(predict(make("popularity", within=w), data, 40)) for w in ("all", "category"))
    assert own == everybody
    assert len(own) == 2


def test_categories_that_a_user_knows_come_first():
    # Two users had a and three had b lately; c, of the same category as a, had one.
    pairs = [
        *((user, 0, "purchase", 1, 1.0) for user in (0, 1)),
        *((user, 1, "purchase", 1, 1.0) for user in (2, 3, 4)),
        (5, 2, "purchase", 1, 1.0),
        (6, 0, "view", 300, 90.0),
        (7, 3, "view", 300, 90.0),
    ]
    data = in_categories(matrix(pairs, 9, ["a", "b", "c", "old"]), "x", "y", "x", "z")
    found = lists(predict(make("popularity", within="category"), data, 9))
    assert found["u0006"] == ["a", "c", "b"]
    # Nobody had anything of z lately.
    assert found["u0007"] == found["u0008"] == ["b", "a", "c"]


def test_the_more_was_had_in_a_category_the_more_it_counts():
    # Four users had a, one had b; each in a category of its own.
    others = [(user, 0, "purchase", 1, 1.0) for user in (0, 1, 2, 3)] + [(4, 1, "purchase", 1, 1.0)]
    for n, expected in ((1, ["a", "b"]), (900, ["b", "a"])):
        own = [(5, 0, "purchase", 2, 60.0), (5, 1, "purchase", n, 60.0)]
        data = in_categories(matrix([*others, *own], 6, ["a", "b"]), "x", "y")
        assert lists(predict(make("popularity", within="category"), data, 2))["u0005"] == expected


@pytest.mark.parametrize("n", [1, 2, 5, 100])
def test_the_best_are_those_of_all_scores(n: int):
    data = random_shop()
    popular, everybody = Popular.of(data, parse_duration("28d")), np.arange(32)
    best, scores = popular.best(everybody, n), popular.scores(everybody)
    assert top_k(data, everybody, best, n).equals(top_k(data, everybody, scores, n))
    stored = best.tocoo()
    assert stored.data.tolist() == scores[stored.row, stored.col].tolist()


def test_only_who_is_asked_has_categories_of_his_own():
    data = random_shop()
    some = replace(data, users=data.users.with_columns(is_asked=pl.int_range(32) % 2 == 0))
    everybody, asked = (Popular.of(d, "all").lift.toarray() for d in (data, some))
    assert everybody[1].any()
    np.testing.assert_array_equal(asked, everybody * (np.arange(32) % 2 == 0)[:, None])


def test_what_is_taken_out_is_nowhere():
    popular = Popular.of(random_shop(), "all")
    out = np.arange(40) % 3 == 0
    for found in (
        popular.without(out).scores(np.arange(32)),
        popular.without(out).best(np.arange(32), 40).toarray(),
    ):
        assert (found[:, out] <= 0).all()
    assert popular.without(None) is popular


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch):
    data = random_shop()
    model = make("popularity", within="category")
    whole = predict(model, data, 9)
    monkeypatch.setattr(popularity, "_BLOCK_SCORES", 100)
    assert len(list(model.scores(data))) == 13
    assert predict(model, data, 9).equals(whole)
