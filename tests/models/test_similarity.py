"""Similar rows against plain Python, and one planted effect per setting."""

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_array, random_array

from ecbehave.models.best import best_per_row
from ecbehave.models.cf import mutual, similarity
from ecbehave.models.cf.products import narrow, product
from ecbehave.models.cf.similarity import Similarity, similar_rows, similar_to

KINDS = ["cosine", "pearson", "adjusted_cosine", "shared_cosine", "euclidean", "jaccard"]
Row = dict[int, float]


def rows_of(matrix: csr_array) -> list[Row]:
    return [
        dict(
            zip(
                matrix.indices[a:b].tolist(),
                matrix.data[a:b].tolist(),
                strict=True,
            )
        )
        for a, b in zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True)
    ]


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def over_shared(a: Row, b: Row, how: Similarity) -> float:
    shared = a.keys() & b.keys()
    if how.kind == "euclidean":
        return 1 / (1 + math.sqrt(sum((a[c] - b[c]) ** 2 for c in shared) / len(shared)))
    bottom = math.sqrt(sum(a[c] ** 2 for c in shared) * sum(b[c] ** 2 for c in shared))
    return sum(a[c] * b[c] for c in shared) / bottom if bottom > 1e-9 else 0.0


def slow_value(a: Row, b: Row, how: Similarity, column_means: Row) -> float:
    n = len(a.keys() & b.keys())
    if how.kind == "cosine":
        norms = math.sqrt(sum(x * x for x in a.values()) * sum(x * x for x in b.values()))
        value = sum(a[c] * b[c] for c in a.keys() & b.keys()) / (norms + how.shrink)
    elif how.kind == "jaccard":
        value = n / (len(a.keys() | b.keys()) + how.shrink)
    else:
        if how.kind == "pearson":
            a, b = ({c: x - mean(list(row.values())) for c, x in row.items()} for row in (a, b))
        if how.kind == "adjusted_cosine":
            a, b = ({c: x - column_means.get(c, 0) for c, x in row.items()} for row in (a, b))
        value = over_shared(a, b, how) * n / (n + how.shrink)
    return value * min(n, how.significance) / how.significance if how.significance else value


def slow(
    queries: csr_array, base: csr_array, how: Similarity, *, others: bool
) -> dict[tuple[int, int], float]:
    rows, found = rows_of(base), {}
    columns = {c: [row[c] for row in rows if c in row] for c in range(base.shape[1])}
    means = {c: mean(values) for c, values in columns.items() if values}
    for i, a in enumerate(rows_of(queries)):
        near = []
        for j, b in enumerate(rows):
            if a.keys() & b.keys() and not (others and i == j):
                value = np.float32(slow_value(a, b, how, means))
                if value > 1e-9 and value >= np.float32(how.threshold):
                    near.append((-value, j))
        found |= {(i, j): float(-minus) for minus, j in sorted(near)[: how.neighbours]}
    return found


def cells(found: csr_array) -> dict[tuple[int, int], float]:
    stored = found.tocoo()
    return dict(
        zip(zip(stored.row.tolist(), stored.col.tolist(), strict=True), stored.data.tolist(), strict=True)
    )


def check_like_slow(found: csr_array, expected: dict[tuple[int, int], float]) -> None:
    """Compare; of rows that are equally similar but for the last digit, either may be kept."""
    assert found.dtype == np.float32
    assert found.has_sorted_indices
    own = cells(found)
    lowest = {i: min(v for (r, _), v in expected.items() if r == i) for i, _ in expected}
    for cell in own.keys() ^ expected.keys():
        assert own.get(cell, expected.get(cell)) == pytest.approx(lowest.get(cell[0], 0), abs=2e-7)
    assert len(own) == pytest.approx(len(expected), abs=1)
    assert {c: own[c] for c in own.keys() & expected.keys()} == pytest.approx(
        {c: expected[c] for c in own.keys() & expected.keys()}, rel=2e-6, abs=1e-8
    )


def some(
    rng: np.random.Generator, n_rows: int, n_columns: int, density: float, *, whole: bool = False
) -> csr_array:
    made = csr_array(random_array((n_rows, n_columns), density=density, rng=rng))
    made.data = np.ceil(made.data * 5) if whole else made.data + 0.1
    return made


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"neighbours": 3},
        {"shrink": 2.5},
        {"threshold": 0.3},
        {"significance": 4},
        {"neighbours": 4, "shrink": 1.0, "threshold": 0.1, "significance": 2},
    ],
    ids=str,
)
def test_like_plain_python(kind: Any, settings: dict[str, Any]):
    rng = np.random.default_rng(0)
    how = Similarity(kind, **settings)
    for whole in (False, True):
        base, queries = some(rng, 23, 11, 0.4, whole=whole), some(rng, 9, 11, 0.5, whole=whole)
        check_like_slow(similar_rows(base, how), slow(base, base, how, others=True))
        check_like_slow(similar_to(queries, base, how), slow(queries, base, how, others=False))


@pytest.mark.parametrize("kind", ["cosine", "jaccard"])
@pytest.mark.parametrize("settings", [{"neighbours": 1}, {"neighbours": 3, "shrink": 2.0}], ids=str)
def test_of_many_rows_those_that_a_few_of_them_do_not_rule_out(kind: Any, settings: dict[str, Any]):
    """So many that some are looked at first, to see what the others have to beat."""
    rng = np.random.default_rng(3)
    how = Similarity(kind, **settings)
    for whole in (False, True):
        base, queries = some(rng, 150, 11, 0.6, whole=whole), some(rng, 9, 11, 0.6, whole=whole)
        check_like_slow(similar_to(queries, base, how), slow(queries, base, how, others=False))
        few = similarity._Whole(queries, base, how).similarities(0, 9)
        assert few.nnz < (queries @ base.T).nnz


def test_values_below_zero():
    rng = np.random.default_rng(1)
    base = some(rng, 20, 9, 0.5)
    base.data -= 0.6
    for kind in ("cosine", "shared_cosine", "euclidean", "pearson"):
        how = Similarity(kind, neighbours=5)  # type: ignore[arg-type]
        check_like_slow(similar_rows(base, how), slow(base, base, how, others=True))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("whole", [False, True])
def test_neither_blocks_nor_threads_nor_order_change_anything(
    kind: Any, whole: bool, monkeypatch: pytest.MonkeyPatch
):
    rng = np.random.default_rng(2)
    matrix = some(rng, 70, 25, 0.25, whole=whole)
    how = Similarity(kind, neighbours=6, shrink=0.5)
    expected, asked = similar_rows(matrix, how), similar_to(matrix[:20], matrix, how)
    order = rng.permutation(70)
    for block, waiting, threads in ((1, 1, 1), (7, 50, 2), (300, 10, 3), (300, 2000, 2)):
        monkeypatch.setattr(mutual, "_BLOCK", block)
        monkeypatch.setattr(mutual, "_WAITING", waiting)
        monkeypatch.setattr(similarity, "_BLOCK", block)
        monkeypatch.setattr(similarity, "_SHARED_BLOCK", block)
        found = similar_rows(matrix, how, threads)
        for part in ("data", "indices", "indptr"):
            np.testing.assert_array_equal(getattr(found, part), getattr(expected, part))
        assert (similar_to(matrix[:20], matrix, how, threads) != asked).nnz == 0
    # Values of rows in another order; where similarities tie, others may be kept.
    everything = Similarity(kind, neighbours=70, shrink=0.5)
    turned = similar_rows(csr_array(matrix[order]), everything)
    assert (turned != similar_rows(matrix, everything)[order][:, order]).nnz == 0


def test_ties_go_to_the_lowest_rows():
    # Six equal rows, and the first ones have more entries, so that they are compared first.
    matrix = csr_array(np.array([[1.0, 1.0, 1.0], [1.0, 1.0, 1.0], *[[1.0, 0.0, 0.0]] * 6]))
    found = similar_rows(matrix, Similarity("jaccard", neighbours=2))
    assert [sorted(row) for row in rows_of(found)] == [
        [1, 2],
        [0, 2],
        [3, 4],
        [2, 4],
        [2, 3],
        [2, 3],
        [2, 3],
        [2, 3],
    ]
    assert sorted(rows_of(similar_to(matrix[5:6], matrix, Similarity("jaccard", neighbours=3)))[0]) == [
        2,
        3,
        4,
    ]


def test_by_hand():
    matrix = csr_array(np.array([[3.0, 4.0, 0.0, 1.0], [4.0, 3.0, 5.0, 0.0]]))
    norm = math.sqrt(26 * 50)
    for how, value in (
        (Similarity("cosine"), 24 / norm),
        (Similarity("cosine", shrink=2.0), 24 / (norm + 2)),
        (Similarity("cosine", significance=8), 24 / norm * 2 / 8),
        (Similarity("jaccard"), 2 / 4),
        (Similarity("jaccard", shrink=6.0, significance=4), 2 / 10 / 2),
        (Similarity("shared_cosine"), 24 / 25),
        (Similarity("shared_cosine", shrink=3.0), 24 / 25 * 2 / 5),
        (Similarity("euclidean"), 1 / 2),
        (Similarity("euclidean", shrink=2.0, significance=1), 1 / 4),
    ):
        assert cells(similar_rows(matrix, how)) == pytest.approx({(0, 1): value, (1, 0): value}), how
    # Less the means 8/3 and 4, 1/3 and 4/3 go with 0 and -1.
    assert cells(similar_rows(matrix, Similarity("pearson"))) == {}
    assert cells(similar_rows(csr_array(5 - matrix.toarray()), Similarity("pearson"))) != {}


def test_means_of_columns_are_those_of_the_base():
    base = csr_array(np.array([[1.0, 5.0], [3.0, 1.0]]))
    queries = csr_array(np.array([[4.0, 4.0]]))
    # Less the means 2 and 3: (2, 1) beside (-1, 2) and (1, -2).
    assert cells(similar_to(queries, base, Similarity("adjusted_cosine"))) == {}
    queries = csr_array(np.array([[4.0, 3.0]]))
    assert cells(similar_to(queries, base, Similarity("adjusted_cosine"))) == pytest.approx(
        {(0, 1): 1 / math.sqrt(5)}
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(0, 4), (3, 0), (3, 4), (1, 1)])
def test_nothing_in_common(kind: Any, shape: tuple[int, int]):
    empty = csr_array(shape)
    assert similar_rows(empty, Similarity(kind)).shape == (shape[0], shape[0])
    assert similar_rows(empty, Similarity(kind)).nnz == 0
    assert similar_to(csr_array((2, shape[1])), empty, Similarity(kind)).shape == (2, shape[0])


def test_whole_numbers_are_summed_in_32_bits_only_where_that_is_exact():
    def width(value: float, n: int) -> Any:
        return narrow(csr_array(np.full((1, n), value))).dtype

    assert width(1.0, 1000) == np.float32
    assert width(0.5, 1000) == np.float64
    # 4095^2 fits into 24 bits once.
    assert width(4095.0, 1) == np.float32
    assert width(4095.0, 2) == np.float64


@pytest.mark.parametrize(("left_type", "right_type"), [(np.float32, np.float64), (np.float64, np.complex128)])
@pytest.mark.parametrize("width", [np.int32, np.int64])
def test_products_like_those_of_dense_matrices(left_type: Any, right_type: Any, width: Any):
    rng = np.random.default_rng(5)
    left, right = some(rng, 30, 20, 0.3, whole=True), some(rng, 20, 9, 0.3, whole=True)
    # Sums that are 0 are not stored.
    left.data *= rng.choice([-1, 1], left.nnz)
    left, right = left.astype(left_type), right.astype(right_type)
    left.indices, left.indptr = left.indices.astype(width), left.indptr.astype(width)
    found, expected = product(left, right), left.toarray() @ right.toarray()
    assert found.dtype == right_type
    np.testing.assert_array_equal(found.toarray(), expected)
    assert found.nnz == found.data.size == np.count_nonzero(expected) < (abs(left) @ abs(right)).nnz
    assert product(left[:0], right).shape == (0, 9)
    assert product(csr_array((2, 20)), right).nnz == 0


# ---- the best of each row


def slow_best(matrix: csr_array, n: int) -> list[Row]:
    return [dict(sorted(row.items(), key=lambda cell: (-cell[1], cell[0]))[:n]) for row in rows_of(matrix)]


@pytest.mark.parametrize("n", [1, 2, 3, 50])
@pytest.mark.parametrize("density", [0.0, 0.05, 0.5, 1.0])
@pytest.mark.parametrize("ties", [False, True])
def test_the_best_of_each_row_like_plain_python(
    n: int, density: float, ties: bool, monkeypatch: pytest.MonkeyPatch
):
    rng = np.random.default_rng(3)
    matrix = some(rng, 40, 130, density, whole=ties)
    matrix.data *= rng.choice([-1, 1], matrix.nnz)
    for chunk in (1, 100, 10**6):
        monkeypatch.setattr("ecbehave.models.best._CHUNK", chunk)
        kept = best_per_row(matrix, n)
        assert kept.has_sorted_indices
        assert rows_of(kept) == slow_best(matrix, n)


def test_the_best_of_rows_of_very_different_lengths():
    rng = np.random.default_rng(4)
    lengths = [0, 1, 2, 3, 4, 5, 900, 0, 17, 300, 33]
    columns: list[NDArray[np.int64]] = [rng.permutation(1000)[:n] for n in lengths]
    data = np.round(rng.random(sum(lengths)), 2).astype(np.float32)
    matrix = csr_array((data, np.concatenate(columns), np.append(0, np.cumsum(lengths))), shape=(11, 1000))
    for n in (1, 3, 4, 5, 17, 18):
        assert rows_of(best_per_row(matrix, n)) == slow_best(matrix, n)
