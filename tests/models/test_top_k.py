"""The best k of a row against a plain sort, with many ties."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import CUTOFF, matrix
from scipy.sparse import csr_array

from ecbehave.inputs.types import MatrixInput, TableInput
from ecbehave.models.best import best_per_row
from ecbehave.models.top_k import lists_of, pair_scores, top_k

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


# ---- dense blocks, and what is barred


def dense(rows: list[Row]) -> np.ndarray:
    """The same scores in a dense block."""
    scores = np.full((len(rows), N_ITEMS), -np.inf)
    for number, row in enumerate(rows):
        for item, value in row:
            scores[number, item] = value
    return scores


def asked_of(n_users: int, barred: set[tuple[int, int]] = frozenset()) -> MatrixInput:  # type: ignore[assignment]
    data = matrix([], n_users, [f"i{n}" for n in range(N_ITEMS)])
    if not barred:
        return data
    user, item = np.array(sorted(barred)).T
    marks = csr_array((np.ones(user.size), (user, item)), shape=(n_users, N_ITEMS))
    return replace(data, barred=marks)


bars = st.sets(st.tuples(st.integers(0, 4), st.integers(0, N_ITEMS - 1)), max_size=12)


@settings(deadline=None, max_examples=200)
@given(rows=stored_rows, k=st.integers(1, N_ITEMS + 1), barred=bars)
def test_dense_and_sparse_blocks_list_the_best_of_what_is_not_barred(
    rows: list[Row], k: int, barred: set[tuple[int, int]]
):
    data, users = asked_of(5, barred), np.arange(len(rows))
    expected = [
        (f"u{user:04d}", f"i{item}", value)
        for user, row in enumerate(rows)
        for item, value in best([entry for entry in row if (user, entry[0]) not in barred], k)
    ]
    assert top_k(data, users, sparse(rows), k).rows() == expected
    scores = dense(rows)
    before = scores.copy()
    assert top_k(data, users, scores, k).rows() == expected
    np.testing.assert_array_equal(scores, before, err_msg="a model may hand out what it keeps")


def test_lists_of_several_blocks_stand_below_one_another():
    data, rows = asked_of(3), [[(1, 2.0)], [], [(0, 1.0), (4, 3.0)]]
    blocks = [(np.array([0, 1]), sparse(rows[:2])), (np.array([2]), dense(rows[2:]))]
    assert lists_of(data, blocks, 1).rows() == [("u0000", "i1", 2.0), ("u0002", "i4", 3.0)]
    assert lists_of(data, [], 1).schema == lists_of(data, blocks, 1).schema


# ---- scores of given pairs


@settings(deadline=None, max_examples=100)
@given(
    rows=stored_rows,
    pairs=st.lists(st.tuples(st.integers(0, 5), st.integers(0, N_ITEMS)), max_size=20),
    cut=st.integers(0, 5),
)
def test_each_pair_has_its_own_score_in_the_order_of_the_table(
    rows: list[Row], pairs: list[tuple[int, int]], cut: int
):
    """Users who are not in any block, such as `u0005`, and items nobody knows, such as `i7`, have none."""
    frame = pl.DataFrame(
        {"user_id": [f"u{u:04d}" for u, _ in pairs], "thing": [f"i{i}" for _, i in pairs]},
        {"user_id": pl.String, "thing": pl.String},
    ).with_columns(user_hash=pl.lit(0, pl.UInt64), cutoff=pl.lit(CUTOFF))
    known = {(user, item): value for user, row in enumerate(rows) for item, value in row}
    expected = [known.get(pair, -np.inf) for pair in pairs]
    first, second = np.arange(len(rows))[:cut], np.arange(len(rows))[cut:]
    blocks = [(first, sparse(rows[:cut])), (second, dense(rows[cut:]))]
    found = pair_scores(asked_of(6), blocks, TableInput(frame, ()), "thing")
    assert found.tolist() == expected


@pytest.mark.parametrize("k", [1, 5, 8, 9, 40, 64, 70])
@pytest.mark.parametrize("n_different", [2, 20, 10_000])
def test_long_dense_rows_list_their_best(k: int, n_different: int):
    """Of 64 scores a part is looked at first, where it holds k of them."""
    rng = np.random.default_rng(k + n_different)
    scores = rng.integers(n_different, size=(3, 64)).astype(float)
    scores[1, 5:] = -np.inf
    data = matrix([], 3, [f"i{n:02d}" for n in range(64)])
    # The best are barred, as much in what is looked at first as elsewhere.
    own = np.argsort(-scores, axis=1, kind="stable")[:, ::5]
    marks = csr_array((np.ones(own.size), (np.repeat(np.arange(3), own.shape[1]), own.ravel())), (3, 64))
    data = replace(data, barred=marks, barred_items=np.arange(64) % 7 == 0)
    is_out = (marks.toarray() > 0) | (np.arange(64) % 7 == 0)
    expected = [
        (f"u{user:04d}", f"i{item:02d}", value)
        for user, row in enumerate(scores.tolist())
        for item, value in best([(i, v) for i, v in enumerate(row) if v > -np.inf and not is_out[user, i]], k)
    ]
    assert top_k(data, np.arange(3), scores, k).rows() == expected
    assert top_k(data, np.arange(3), scores.astype(np.float32), k).rows() == expected
