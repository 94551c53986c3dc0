"""What must not be listed is in no list, of whichever form the scores are."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from planted import matrix
from scipy.sparse import csr_array

from ecbehave.inputs.types import MatrixInput
from ecbehave.models.top_k import listable, top_k

N_USERS, N_ITEMS = 4, 6
ITEMS = [f"i{n}" for n in range(N_ITEMS)]
values = st.lists(
    st.sampled_from([-np.inf, -1.0, 0.0, 0.5, 2.0]), min_size=N_USERS * N_ITEMS, max_size=N_USERS * N_ITEMS
)
flags = st.lists(st.booleans(), min_size=N_USERS * N_ITEMS, max_size=N_USERS * N_ITEMS)


def filtered(barred: NDArray[np.bool_] | None, everywhere: NDArray[np.bool_] | None) -> MatrixInput:
    data = matrix([], N_USERS, ITEMS)
    return MatrixInput(
        data.cutoff,
        data.users,
        data.items,
        data.pairs,
        barred=None if barred is None else csr_array(barred),
        barred_items=everywhere,
    )


def sparse(scores: NDArray[np.float64]) -> csr_array:
    """Store everything but minus infinity, the last column first: zeros too."""
    row, col = np.nonzero(scores[:, ::-1] > -np.inf)
    col = scores.shape[1] - 1 - col
    ends = np.append(0, np.cumsum(np.bincount(row, minlength=scores.shape[0])))
    return csr_array((scores[row, col], col, ends), shape=scores.shape)


@settings(deadline=None)
@given(
    values=values,
    barred=st.none() | flags,
    everywhere=st.none() | st.lists(st.booleans(), min_size=N_ITEMS, max_size=N_ITEMS),
    k=st.integers(1, N_ITEMS + 1),
)
def test_lists_by_hand(
    values: list[float], barred: list[bool] | None, everywhere: list[bool] | None, k: int
) -> None:
    scores = np.array(values).reshape(N_USERS, N_ITEMS)
    of_user = None if barred is None else np.array(barred).reshape(N_USERS, N_ITEMS)
    of_all = None if everywhere is None else np.array(everywhere)
    data = filtered(of_user, of_all)
    users = np.array([0, 2, 3])
    expected = []
    for user in users:
        rest = [
            (-scores[user, item], item)
            for item in range(N_ITEMS)
            if scores[user, item] > -np.inf
            and not (of_user is not None and of_user[user, item])
            and not (of_all is not None and of_all[item])
        ]
        expected += [(f"u{user:04d}", ITEMS[item], -minus) for minus, item in sorted(rest)[:k]]
    before = scores.copy()
    assert top_k(data, users, scores[users], k).rows() == expected
    assert top_k(data, users, sparse(scores[users]), k).rows() == expected
    np.testing.assert_array_equal(scores, before)


@pytest.mark.parametrize("form", [sparse, np.asarray])
def test_scores_of_a_block_stay_as_they_are(form: object) -> None:
    """A model may hand out the same block twice."""
    scores = form(np.arange(N_USERS * N_ITEMS, dtype=np.float64).reshape(N_USERS, N_ITEMS))  # type: ignore[operator]
    before = scores.copy()
    data = filtered(np.eye(N_USERS, N_ITEMS, dtype=np.bool_), np.arange(N_ITEMS) == 5)
    found = listable(data, np.arange(N_USERS), scores, N_ITEMS)
    assert found.nnz == N_USERS * N_ITEMS - N_USERS - 4
    assert (abs(before - scores)).sum() == 0
