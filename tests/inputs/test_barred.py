"""What must not be listed: by item to everybody, by what a user had to that user."""

from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted import Pair, matrix

from ecbehave.inputs.barred import Filters, bar, in_categories, may_be_listed
from ecbehave.inputs.types import MatrixInput
from ecbehave.schema import MATRIX_RULES

ITEMS = ["a", "b", "c", "d"]
PAIRS: list[Pair] = [
    (0, 0, "purchase", 2, 3.0),
    (0, 0, "view", 1, 1.0),
    (0, 1, "view", 1, 1.0),
    (1, 2, "cart", 1, 5.0),
    (1, 3, "purchase", 1, 5.0),
    (2, 1, "purchase", 1, 9.0),
]


def categories(paths: Sequence[str | None]) -> pl.DataFrame:
    items = [f"i{n}" for n in range(len(paths))]
    return pl.DataFrame({"item_id": items, "category": paths}, {"item_id": pl.String, "category": pl.String})


def rules(types: Sequence[str] = (), items: Sequence[str] = ()) -> pl.DataFrame:
    rows = [(t, None) for t in types] + [(None, i) for i in items]
    return pl.DataFrame(rows, MATRIX_RULES, orient="row")


def barred_of(data: MatrixInput) -> set[tuple[int, str]]:
    assert data.barred is not None
    found = data.barred.tocoo()
    return {(int(user), ITEMS[int(item)]) for user, item in zip(found.row, found.col, strict=True)}


def test_a_category_covers_what_is_below_it_and_nothing_beside_it() -> None:
    items = categories(["a", "a.b", "a.b.c", "a.bc", "b.a.b", "A.b", None, ""])
    found = items.select(in_categories(["a.b"])).to_series().to_list()
    assert found == [False, True, True, False, False, False, False, False]
    assert items.select(in_categories(["a"])).to_series().to_list() == [True] * 4 + [False] * 4
    several = items.select(in_categories(["a.bc", "b"])).to_series().to_list()
    assert several == [False, False, False, True, True, False, False, False]


@pytest.mark.parametrize(
    ("filters", "barred"),
    [
        (Filters(), ""),
        (Filters(exclude=("purchase",)), ""),
        (Filters(allow=pl.Series(["i0", "i2", "new"])), "134"),
        (Filters(deny=pl.Series(["i3", "i1", "new"])), "13"),
        (Filters(categories=("x", "z")), "34"),
        (Filters(allow=pl.Series(["i0", "i1"]), deny=pl.Series(["i1"]), categories=("x.y",)), "01234"),
        (Filters(deny=pl.Series([], dtype=pl.String)), ""),
    ],
)
def test_items_that_are_barred(filters: Filters, barred: str) -> None:
    items = categories(["x", "x.y", "z", None, "w"])
    found = filters.rules(items)
    assert found.schema == pl.Schema(MATRIX_RULES)
    assert found["item_id"].drop_nulls().to_list() == [f"i{n}" for n in barred]
    assert found["event_type"].drop_nulls().to_list() == list(filters.exclude)


def test_filters_are_something_only_where_they_can_bar() -> None:
    assert not Filters()
    for some in (
        Filters(exclude=("view",)),
        Filters(allow=pl.Series(["a"])),
        Filters(deny=pl.Series(["a"])),
        Filters(categories=("a",)),
    ):
        assert some


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        (["purchase"], {(0, "a"), (1, "d"), (2, "b")}),
        (["purchase", "cart"], {(0, "a"), (1, "c"), (1, "d"), (2, "b")}),
        (["any"], {(0, "a"), (0, "b"), (1, "c"), (1, "d"), (2, "b")}),
        (["return"], set()),
    ],
)
def test_a_user_is_barred_from_what_he_had(types: list[str], expected: set[tuple[int, str]]) -> None:
    data = bar(matrix(PAIRS, 3, ITEMS), rules(types))
    assert barred_of(data) == expected
    assert data.barred_items is None
    assert data.n_listable == 4


def test_nothing_is_kept_for_users_who_are_not_asked() -> None:
    data = bar(matrix(PAIRS, 3, ITEMS, asked=[1]), rules(["any"]))
    assert barred_of(data) == {(1, "c"), (1, "d")}


def test_an_item_is_barred_to_everybody() -> None:
    data = bar(matrix(PAIRS, 3, ITEMS), rules(items=["b", "d", "gone"]))
    assert data.barred is None
    assert data.barred_items is not None
    assert data.barred_items.tolist() == [False, True, False, True]
    assert data.n_listable == 2


rows = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 5), st.sampled_from(["view", "cart", "purchase"])),
    max_size=20,
)


@given(
    had=rows,
    true=st.sets(st.tuples(st.integers(0, 3), st.integers(0, 5))),
    types=st.lists(st.sampled_from(["view", "cart", "purchase", "any"]), unique=True),
    items=st.sets(st.integers(0, 5)),
)
def test_what_is_true_is_what_may_be_listed_by_hand(
    had: list[tuple[int, int, str]], true: set[tuple[int, int]], types: list[str], items: set[int]
) -> None:
    schema = {"user_id": pl.String, "item_id": pl.String}
    pairs = [(f"u{user}", f"i{item}", event) for user, item, event in had]
    events = pl.DataFrame(pairs, schema | {"event_type": pl.String}, orient="row").lazy()
    labels = pl.DataFrame([(f"u{user}", f"i{item}") for user, item in sorted(true)], schema, orient="row")
    found = may_be_listed(labels.lazy(), events, rules(types, [f"i{item}" for item in items])).collect()
    expected = [
        (f"u{user}", f"i{item}")
        for user, item in sorted(true)
        if item not in items
        and not any((u, i) == (user, item) and (e in types or "any" in types) for u, i, e in had)
    ]
    assert found.rows() == expected


def test_labels_keep_their_other_columns() -> None:
    labels = pl.LazyFrame({"user_id": ["u", "v"], "item_id": ["a", "b"], "rating": [4.0, 2.0]})
    pairs = pl.LazyFrame({"user_id": ["v"], "item_id": ["b"], "event_type": ["view"]})
    assert may_be_listed(labels, pairs, rules(["view"])).collect().rows() == [("u", "a", 4.0)]


def test_barred_columns_ascend() -> None:
    """`top_k` and others look places up in them."""
    rng = np.random.default_rng(0)
    pairs: list[Pair] = [(int(u), int(i), "view", 1, 1.0) for u, i in rng.integers(0, 40, (300, 2))]
    data = bar(matrix(pairs[::-1], 40, [f"i{n:02}" for n in range(40)]), rules(["view"]))
    assert data.barred is not None
    assert data.barred.has_canonical_format
    assert set(zip(*data.barred.nonzero(), strict=True)) == {(u, i) for u, i, *_ in pairs}
