"""The best k of a row against a plain sort, with many ties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import matrix
from scipy.sparse import csr_array

from ecbehave.models.top_k import best_per_row, top_k

N_ITEMS = 7
#: A row holds values for some items, in any order of storage; few different values make many ties.
stored_rows = st.lists(
    st.permutations(range(N_ITEMS)).flatmap(
        lambda order: st.lists(st.sampled_from([-1.0, 0.0, 0.5, 2.0]), max_size=N_ITEMS).map(
            lambda values: list(zip(order, values, strict=False))
        )
    ),
    max_size=5,
)
Row = list[tuple[int, float]]


def sparse(rows: list[Row]) -> csr_array:
    """Store the rows as they are: unsorted columns, and zeros too."""
    data = np.array([value for row in rows for _, value in row], dtype=np.float64)
    indices = np.array([item for row in rows for item, _ in row], dtype=np.int64)
    indptr = np.cumsum([0, *(len(row) for row in rows)])
    return csr_array((data, indices, indptr), shape=(len(rows), N_ITEMS))


def best(row: Row, k: int) -> Row:
    return sorted(row, key=lambda entry: (-entry[1], entry[0]))[:k]


@settings(deadline=None, max_examples=200)
@given(rows=stored_rows, k=st.integers(1, N_ITEMS + 1))
def test_lists_like_a_plain_sort(rows: list[Row], k: int):
    items = [f"i{n}" for n in range(N_ITEMS)]
    # The rows belong to every other user, the last first.
    users = np.arange(2 * len(rows) - 1, 0, -2, dtype=np.int64)
    found = top_k(matrix([], 2 * len(rows), items), users, sparse(rows), k)
    assert found.rows() == [
        (f"u{user:04d}", items[item], value)
        for user, row in zip(users, rows, strict=True)
        for item, value in best(row, k)
    ]


@settings(deadline=None, max_examples=200)
@given(rows=stored_rows, n=st.integers(1, N_ITEMS + 1))
def test_rows_keep_the_best_of_what_they_store(rows: list[Row], n: int):
    kept = best_per_row(sparse(rows), n)
    assert kept.shape == (len(rows), N_ITEMS)
    assert kept.has_sorted_indices
    for number, row in enumerate(rows):
        part = slice(kept.indptr[number], kept.indptr[number + 1])
        assert list(zip(kept.indices[part], kept.data[part], strict=True)) == sorted(best(row, n))


@pytest.mark.parametrize("n", [1, 3, 40, 49, 50, 51, 400])
@pytest.mark.parametrize("n_different", [2, 30, 10_000])
def test_long_rows_keep_their_best(n: int, n_different: int):
    """Of 400 values a part is looked at first; few different values make many ties."""
    rng = np.random.default_rng(n + n_different)
    row = [(int(item), float(rng.integers(n_different))) for item in rng.permutation(400)]
    matrix_of_one = csr_array(([v for _, v in row], [i for i, _ in row], [0, len(row)]), shape=(1, 400))
    kept = best_per_row(matrix_of_one, n)
    assert list(zip(kept.indices, kept.data, strict=True)) == sorted(best(row, n))


@pytest.mark.parametrize("n_users", [0, 2])
def test_nothing_to_choose_from(n_users: int):
    found = top_k(matrix([], n_users, []), np.arange(n_users), csr_array((n_users, 0)), 3)
    assert found.columns == ["user_id", "item_id", "score"]
    assert found.height == 0
