"""Lists of k items for everybody: the model's first, then what is popular."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl
import pytest
from planted import ONCE, Pair, lists, make, matrix, predict
from scipy.sparse import csr_array

from ecbehave.config.model import ModelConfig
from ecbehave.inputs.types import MatrixInput
from ecbehave.models.baseline.popularity import Popular
from ecbehave.models.protocol import InputType
from ecbehave.models.top_k import LIST
from ecbehave.stages.lists import complete_lists

ITEMS = ["a", "b", "c", "d", "e", "f"]
#: In the last 28 days c had three users and d two; before, f had five and e four; a and b have one each, lately.
PAIRS: list[Pair] = [
    *((user, 2, "view", 1, 5.0) for user in (10, 11, 12)),
    *((user, 3, "view", 1, 28.0) for user in (10, 11)),
    *((user, 5, "purchase", 1, 60.0) for user in (10, 11, 12, 13, 14)),
    *((user, 4, "purchase", 1, 29.0) for user in (10, 11, 12, 13)),
    (14, 0, "view", 1, 1.0),
    (13, 1, "view", 1, 1.0),
]
POPULAR = ["c", "d", "a", "b", "f", "e"]
N_USERS = 15
SCHEMA = {
    "user_id": pl.String,
    "rank": pl.UInt32,
    "item_id": pl.String,
    "score": pl.Float64,
    "is_cold": pl.Boolean,
}


class Fixed:
    """Knows the list of each user by heart; the first item scores 9, the next 8, and so on."""

    config_class: ClassVar[type[ModelConfig]] = ModelConfig
    inputs: ClassVar[Mapping[str, InputType]] = {"ranking": "matrix"}

    def __init__(self, config: Mapping[str, str]) -> None:
        self.config = config

    def fit(self, train: Sequence[Any], valid: Sequence[Any], options: Any) -> Self:
        raise NotImplementedError

    def predict(self, data: MatrixInput, k: int) -> pl.DataFrame:
        del data
        rows = [
            (user, item, 9.0 - n) for user, word in self.config.items() for n, item in enumerate(word[:k])
        ]
        return pl.DataFrame(
            rows, {"user_id": pl.String, "item_id": pl.String, "score": pl.Float64}, orient="row"
        )

    def save(self, folder: Path) -> None:
        raise NotImplementedError

    @classmethod
    def load(cls, folder: Path, config: Any) -> Self:
        raise NotImplementedError


def complete(
    known: Mapping[str, str], k: int, asked: Sequence[int], pairs: Sequence[Pair] = PAIRS
) -> pl.DataFrame:
    data = matrix(pairs, N_USERS, ITEMS, asked)
    return complete_lists(Fixed(known).predict(data, k), data, k)


def test_the_model_first_then_lately_popular_then_ever():
    found = complete({"u0001": "ec", "u0002": "fedcba"}, 4, asked=[0, 1, 2])
    assert found.schema == SCHEMA
    assert found.rows() == [
        ("u0000", 1, "c", None, True),
        ("u0000", 2, "d", None, True),
        ("u0000", 3, "a", None, True),
        ("u0000", 4, "b", None, True),
        ("u0001", 1, "e", 9.0, False),
        ("u0001", 2, "c", 8.0, False),
        ("u0001", 3, "d", None, False),
        ("u0001", 4, "a", None, False),
        ("u0002", 1, "f", 9.0, False),
        ("u0002", 2, "e", 8.0, False),
        ("u0002", 3, "d", 7.0, False),
        ("u0002", 4, "c", 6.0, False),
    ]


@pytest.mark.parametrize("k", [6, 7, 100])
def test_the_whole_catalogue_where_k_is_larger(k: int):
    found = lists(complete({"u0001": "e"}, k, asked=[0, 1]))
    assert found == {"u0000": POPULAR, "u0001": ["e", *(item for item in POPULAR if item != "e")]}


def test_many_users_with_short_lists_keep_their_own_items():
    # A single item each, always one that is popular too.
    known = {f"u{user:04d}": ITEMS[user % 6] for user in range(N_USERS)}
    found = complete(known, 3, asked=range(N_USERS))
    for (user,), own in found.group_by("user_id", maintain_order=True):
        first = known[str(user)]
        rest = [item for item in POPULAR if item != first][:2]
        assert own["item_id"].to_list() == [first, *rest]
        assert own["score"].to_list() == [9.0, None, None]
        assert own["rank"].to_list() == [1, 2, 3]
        assert not own["is_cold"].any()


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_exactly_k_distinct_items_for_everybody_who_is_asked(k: int):
    rng = np.random.default_rng(k)
    known = {
        f"u{user:04d}": "".join(rng.permutation(ITEMS)[: rng.integers(1, 6)]) for user in range(0, N_USERS, 2)
    }
    asked = [0, 1, 2, 5, 6, 7, 12, 14]
    users = [f"u{user:04d}" for user in asked]
    found = complete({user: known[user] for user in users if user in known}, k, asked)
    assert list(lists(found)) == users
    for user, own in lists(found).items():
        assert len(own) == len(set(own)) == k
        assert "".join(own).startswith(known.get(user, "")[:k])
    assert found["rank"].to_list() == list(range(1, k + 1)) * len(asked)
    cold = found.group_by("user_id", maintain_order=True).agg(pl.col("is_cold").unique())
    assert cold["is_cold"].to_list() == [[user not in known] for user in users]


def test_order_of_the_model_is_kept_where_scores_are_equal():
    class Flat(Fixed):
        def predict(self, data: MatrixInput, k: int) -> pl.DataFrame:
            return super().predict(data, k).with_columns(score=pl.lit(1.0))

    data = matrix(PAIRS, N_USERS, ITEMS, [1])
    found = complete_lists(Flat({"u0001": "fbd"}).predict(data, 4), data, 4)
    assert lists(found) == {"u0001": ["f", "b", "d", "c"]}


def test_users_come_in_the_order_of_the_population_not_of_the_model():
    data = matrix(PAIRS[:3], N_USERS, ITEMS, asked=[3, 5, 9])
    names = pl.Series("user_id", [f"u{N_USERS - user:04d}" for user in range(N_USERS)])
    data = replace(data, users=data.users.with_columns(names))
    found = complete_lists(Fixed({"u0006": "ab", "u0012": "ab"}).predict(data, 2), data, 2)
    assert found.select("user_id", "item_id").rows() == [
        ("u0012", "a"),
        ("u0012", "b"),
        ("u0010", "c"),
        ("u0006", "a"),
        ("u0006", "b"),
    ]


def test_nobody_is_asked():
    found = complete({}, 3, asked=[])
    assert found.height == 0
    assert found.schema == SCHEMA


def test_a_log_without_items_gives_no_lists():
    data = matrix([], 2, [])
    found = complete_lists(Fixed({}).predict(data, 3), data, 3)
    assert found.height == 0
    assert found.schema == SCHEMA


def test_users_without_items_get_popular_ones_from_a_real_model():
    data = matrix(PAIRS, N_USERS, ITEMS, asked=[0, 13])
    model = make("item_knn", min_users=1, event_weights={"purchase": 1.0}).fit([data], [], ONCE)
    found = complete_lists(predict(model, data, 3), data, 3)
    assert found.filter(user_id="u0000")["item_id"].to_list() == POPULAR[:3]
    assert found["is_cold"].to_list() == [True] * 3 + [False] * 3
    # User 13 has bought e and f; b was only looked at, which does not count here.
    assert set(found.filter(user_id="u0013")["item_id"][:2]) == {"e", "f"}
    assert found.row(-1) == ("u0013", 3, "c", None, False)


# ---- categories, and what is barred


def barring(data: MatrixInput, *cells: tuple[int, int]) -> MatrixInput:
    rows, columns = zip(*cells, strict=True)
    marks = csr_array((np.ones(len(cells), np.bool_), (rows, columns)), shape=(N_USERS, len(ITEMS)))
    return replace(data, barred=marks)


def test_what_is_barred_is_not_filled_in():
    data = matrix(PAIRS, N_USERS, ITEMS, asked=[0, 1, 2])
    data = barring(data, (0, 2), (0, 0), (1, 5), (1, 2), (1, 4), (2, 3))
    found = lists(complete_lists(Fixed({"u0001": "a", "u0002": "c"}).predict(data, 4), data, 4))
    assert found == {
        "u0000": ["d", "b", "f", "e"],
        "u0001": ["a", "d", "b"],
        "u0002": ["c", "a", "b", "f"],
    }


def test_what_is_barred_to_everybody_is_not_filled_in():
    data = matrix(PAIRS, N_USERS, ITEMS, asked=[0])
    data = replace(data, barred_items=np.array([True, False, True, False, False, False]))
    for k, expected in ((1, ["d"]), (3, ["d", "b", "f"]), (9, ["d", "b", "f", "e"])):
        assert lists(complete_lists(Fixed({}).predict(data, k), data, k)) == {"u0000": expected}


def test_everything_is_barred():
    data = matrix(PAIRS, N_USERS, ITEMS, asked=[0, 1])
    data = barring(data, *((0, item) for item in range(6)))
    assert list(lists(complete_lists(Fixed({}).predict(data, 3), data, 3))) == ["u0001"]


def test_categories_that_the_user_knows_come_first():
    # User 0 has seen `old`, a cheese that nobody buys any more; among cheeses, more users had brie than feta.
    items = ["brie", "feta", "milk", "old"]
    pairs = [
        (0, 3, "view", 300, 90.0),
        *((user, 2, "purchase", 1, 2.0) for user in range(5, 11)),
        *((user, 0, "purchase", 1, 2.0) for user in (5, 6)),
        (7, 1, "purchase", 1, 2.0),
    ]
    data = matrix(pairs, N_USERS, items, asked=[0, 1])
    data = replace(
        data, items=data.items.with_columns(category=pl.Series(["cheese", "cheese", "dairy", "cheese"]))
    )
    found = lists(complete_lists(Fixed({}).predict(data, 4), data, 4))
    assert found == {"u0000": ["brie", "feta", "milk", "old"], "u0001": ["milk", "brie", "feta", "old"]}


@pytest.mark.parametrize("block", [10, 10**9])
def test_like_a_slow_version(block: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("ecbehave.stages.lists._BLOCK_SCORES", block)
    rng = np.random.default_rng(3)
    n_users, n_items, k = 40, 60, 12
    cells = sorted(
        {
            (int(u), int(i))
            for u, i in zip(rng.integers(n_users, size=300), rng.integers(50, size=300), strict=True)
        }
    )
    pairs = [(u, i, "view", int(rng.integers(1, 5)), float(rng.uniform(0, 80))) for u, i in cells]
    names = [f"i{n:02d}" for n in range(n_items)]
    data = matrix(pairs, n_users, names, range(0, n_users, 2))
    kinds = pl.Series([None if n % 9 == 0 else f"c{n % 5}" for n in range(n_items)])
    marks = csr_array(rng.random((n_users, n_items)) < rng.random((n_users, 1)) ** 3)
    data = replace(
        data,
        items=data.items.with_columns(category=kinds),
        barred=marks,
        barred_items=np.arange(n_items) % 11 == 0,
    )
    known = {
        f"u{u:04d}": rng.permutation(names)[: rng.integers(0, k + 1)].tolist() for u in range(0, n_users, 2)
    }
    rows = [(user, item, 1.0) for user, own in known.items() for item in own]
    found = lists(complete_lists(pl.DataFrame(rows, LIST, orient="row"), data, k))
    for user, own in known.items():
        expected, number = list(own), int(user[1:])
        for window in ("28d", "all"):
            popular = Popular.of(data, window).without(data.barred_items)
            score = popular.scores(np.array([number]))[0]
            for item in sorted(range(n_items), key=lambda i: (-score[i], i)):
                if score[item] > 0 and not marks[number, item] and names[item] not in expected:
                    expected.append(names[item])
        assert found.get(user, []) == expected[:k]
