"""Where items stand among all scores, against sorting by hand."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import matrix, table
from scipy.sparse import csr_array

from ecbehave.inputs.types import MatrixInput
from ecbehave.models.candidate_scores import candidate_scores
from ecbehave.models.places import lists_and_places
from ecbehave.models.protocol import Block
from ecbehave.models.top_k import lists_of

N_ITEMS = 9
ITEMS = [f"i{n}" for n in range(N_ITEMS)]
WANTED = {"user_id": pl.String, "item_id": pl.String, "mark": pl.Int64}


def asking(scores: np.ndarray, *, barred: np.ndarray | None, everywhere: np.ndarray | None) -> MatrixInput:
    data = matrix([], len(scores), ITEMS)
    return replace(data, barred=None if barred is None else csr_array(barred), barred_items=everywhere)


def blocks_of(scores: np.ndarray, is_sparse: bool, size: int) -> list[Block]:
    blocks: list[Block] = []
    for start in range(0, len(scores), size):
        users, part = np.arange(start, min(start + size, len(scores))), scores[start : start + size]
        if is_sparse:
            row, col = np.nonzero(part > -np.inf)
            ends = np.append(0, np.cumsum((part > -np.inf).sum(axis=1)))
            blocks.append((users, csr_array((part[row, col], col, ends), shape=part.shape)))
        else:
            blocks.append((users, part))
    return blocks


def wanted(pairs: list[tuple[int, int]]) -> pl.DataFrame:
    rows = [(f"u{user:04d}", f"i{item}", n) for n, (user, item) in enumerate(pairs)]
    return pl.DataFrame(rows, WANTED, orient="row")


@st.composite
def scored(draw: st.DrawFn) -> np.ndarray:
    """Return scores of four users, three values or none, so that most are tied; 0 is a score like any other."""
    value = st.sampled_from([-np.inf, -1.0, 0.0, 0.5])
    return np.array(
        draw(st.lists(st.lists(value, min_size=N_ITEMS, max_size=N_ITEMS), min_size=4, max_size=4))
    )


@settings(deadline=None, max_examples=60)
@given(
    scores=scored(),
    k=st.integers(1, 11),
    is_sparse=st.booleans(),
    size=st.integers(1, 4),
    bars=st.sampled_from(["nothing", "pairs", "items", "both"]),
    seed=st.integers(0, 999),
)
def test_places_are_those_of_sorted_scores(scores, k, is_sparse, size, bars, seed):
    rng = np.random.default_rng(seed)
    barred = rng.random(scores.shape) < 0.2 if bars in ("pairs", "both") else None
    everywhere = rng.random(N_ITEMS) < 0.2 if bars in ("items", "both") else None
    pairs = [(user, item) for user in range(4) for item in range(N_ITEMS + 1) if rng.random() < 0.4]
    rng.shuffle(pairs)
    data, blocks = asking(scores, barred=barred, everywhere=everywhere), blocks_of(scores, is_sparse, size)
    lists, placed = lists_and_places(data, blocks, wanted(pairs), k)
    assert lists.equals(lists_of(data, blocks, k))
    assert placed.columns == ["user_id", "item_id", "mark", "n_higher", "n_tied"]
    assert placed["mark"].to_list() == list(range(len(pairs)))
    for (user, item), higher, tied in zip(pairs, placed["n_higher"], placed["n_tied"], strict=True):
        own = {
            other: scores[user, other]
            for other in range(N_ITEMS)
            if scores[user, other] > -np.inf
            and not (barred is not None and barred[user, other])
            and not (everywhere is not None and everywhere[other])
        }
        n_higher = sum(score > own[item] for score in own.values()) if item in own else k
        if n_higher >= k:
            assert (higher, tied) == (None, None)
        else:
            assert (higher, tied) == (n_higher, sum(score == own[item] for score in own.values()))


def test_names_of_items_decide_nothing():
    scores = np.array([[2.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]])
    for order in ([0, 1, 2, 3, 4, 5, 6, 7, 8], [8, 3, 7, 5, 0, 1, 2, 6, 4]):
        data = asking(scores, barred=None, everywhere=None)
        mixed = np.empty_like(scores)
        mixed[:, order] = scores
        pairs = [(0, order[item]) for item in (0, 1, 4)]
        _, placed = lists_and_places(data, [(np.array([0]), mixed)], wanted(pairs), 2)
        assert placed.select("n_higher", "n_tied").rows() == [(0, 1), (1, 3), (None, None)]


def test_users_and_items_that_have_no_scores_are_in_no_list():
    data = matrix([], 3, ITEMS)
    block = (np.array([1]), csr_array(np.ones((1, N_ITEMS))))
    pairs = pl.concat(
        [
            wanted([(0, 1), (1, 2)]),
            pl.DataFrame([("nobody", "i1", 9), ("u0001", "new", 9)], WANTED, orient="row"),
        ]
    )
    lists, placed = lists_and_places(data, [block, (np.empty(0, np.int64), np.empty((0, N_ITEMS)))], pairs, 3)
    assert lists["user_id"].unique().to_list() == ["u0001"]
    assert placed["n_higher"].to_list() == [None, 0, None, None]
    assert placed["n_tied"].to_list() == [None, N_ITEMS, None, None]
    nothing, nowhere = lists_and_places(data, [], pairs, 3)
    assert nothing.is_empty()
    assert nowhere["n_tied"].null_count() == 4


def test_candidates_are_a_block_of_their_users():
    rows = table({"x": [1.0, 2.0, 3.0]})
    frame = rows.frame.with_columns(
        pl.Series("user_id", ["u0002", "u0000", "u0002"]), pl.Series("item_id", ["i3", "i1", "i0"])
    )
    users, block = candidate_scores(
        matrix([], 4, ITEMS), replace(rows, frame=frame), np.array([0.0, -2.0, 5.0])
    )
    assert users.tolist() == [0, 2]
    assert isinstance(block, csr_array)
    assert block.shape == (2, N_ITEMS)
    # A score of 0 is a score.
    assert block.nnz == 3
    assert (block.indices.tolist(), block.data.tolist()) == ([1, 0, 3], [-2.0, 5.0, 0.0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_of_any_width_are_compared_as_they_are(dtype: type):
    scores = np.array([[0.1, 0.1, 0.3, 0, 0, 0, 0, 0, 0]], dtype=dtype)
    block = (np.array([0]), csr_array(scores))
    _, placed = lists_and_places(matrix([], 1, ITEMS), [block], wanted([(0, 0), (0, 2)]), 1)
    assert placed["n_higher"].to_list() == [None, 0]
    _, placed = lists_and_places(matrix([], 1, ITEMS), [block], wanted([(0, 0), (0, 2)]), 2)
    assert placed.select("n_higher", "n_tied").rows() == [(1, 2), (0, 1)]
