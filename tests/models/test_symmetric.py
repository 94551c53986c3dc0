"""A symmetric matrix in bands: inverted in place, the same for any number of threads."""

import tracemalloc
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_array, random_array

from ecbehave.models.cf import symmetric


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(symmetric, "_BLOCK", 5)
    monkeypatch.setattr(symmetric, "_CHUNK", 7)


def sparse(n_rows: int, n_columns: int, seed: int = 0) -> csr_array:
    rng = np.random.default_rng(seed)
    return csr_array(random_array((n_rows, n_columns), density=0.3, rng=rng))


def whole(bands: symmetric.Bands, n: int) -> NDArray[Any]:
    found = np.zeros((n, n))
    for band in bands:
        start, end = band.shape[1] - band.shape[0], band.shape[1]
        found[start:end, :end] = band
        found[:end, start:end] = band.T
    return found


@pytest.mark.parametrize("n", [0, 1, 4, 5, 6, 10, 23])
def test_like_numpy(n: int):
    matrix = sparse(2 * n + 1, n)
    bands = symmetric.gram(matrix, 0.5, 1)
    symmetric.check(bands, n)
    expected = (matrix.T @ matrix).toarray() + 0.5 * np.eye(n)
    np.testing.assert_allclose(whole(bands, n), expected, rtol=1e-14)
    symmetric.invert(bands, 1)
    np.testing.assert_allclose(whole(bands, n), -np.linalg.inv(expected), atol=1e-13)
    asked = sparse(4, n, seed=1)
    np.testing.assert_allclose(symmetric.product(asked, bands), asked @ whole(bands, n), atol=1e-13)


def test_an_ill_conditioned_matrix_is_inverted_to_more_than_single_precision():
    # Columns that are nearly the same, and of different size.
    alike = sparse(40, 6).toarray() @ np.ones((6, 17)) + 1e-3 * sparse(40, 17, 1).toarray()
    matrix = csr_array(alike * np.logspace(0, 2, 17))
    exact = (matrix.T @ matrix).toarray() + np.eye(17)
    assert np.linalg.cond(exact) > 1e6
    bands = symmetric.gram(matrix, 1.0, 1)
    symmetric.invert(bands, 1)
    expected = np.linalg.inv(exact)
    assert np.abs(whole(bands, 17) + expected).max() < 1e-8 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("n_rows", "n_columns"), [(0, 3), (1, 3), (5, 11), (9, 23), (11, 23), (12, 23), (60, 23)]
)
def test_the_inverse_of_a_product_like_numpy(n_rows: int, n_columns: int):
    matrix = sparse(n_rows, n_columns)
    bands = symmetric.gram_inverse(matrix, 0.5, 1)
    symmetric.check(bands, n_columns)
    expected = -np.linalg.inv((matrix.T @ matrix).toarray() + 0.5 * np.eye(n_columns))
    np.testing.assert_allclose(whole(bands, n_columns), expected, atol=1e-13)


@pytest.mark.parametrize("n_rows", [9, 60])
def test_the_number_of_threads_changes_no_digit(n_rows: int):
    found = []
    for threads in (1, 2, 3):
        bands = symmetric.gram_inverse(sparse(n_rows, 23), 0.5, threads)
        found.append(b"".join(band.tobytes() for band in bands))
    assert found[0] == found[1] == found[2]


def test_a_row_of_a_product_does_not_depend_on_the_others():
    bands = [band.astype(np.float32) for band in symmetric.gram(sparse(60, 23), 0.5, 1)]
    asked = sparse(9, 23, seed=1).astype(np.float32)
    together = symmetric.product(asked, bands)
    assert together.dtype == np.float32
    for row in range(9):
        alone = symmetric.product(csr_array(asked[[row]]), bands)
        assert alone.tobytes() == together[row].tobytes()


def test_the_diagonal_is_taken_out():
    bands = symmetric.gram(sparse(60, 13), 0.5, 1)
    before = whole(bands, 13)
    np.testing.assert_array_equal(symmetric.take_diagonal(bands), before.diagonal())
    np.testing.assert_array_equal(whole(bands, 13), before - np.diag(before.diagonal()))
    assert symmetric.take_diagonal([]).size == 0


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("n_rows", [150, 400])
def test_the_stated_memory_is_enough(n_rows: int, threads: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(symmetric, "_BLOCK", 64)
    monkeypatch.setattr(symmetric, "_CHUNK", 128)
    matrix = sparse(n_rows, 700)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    symmetric.gram_inverse(matrix, 0.5, threads)
    taken = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    stated = symmetric.n_bytes(n_rows, 700, threads)
    # The matrix is not sparse here: copies of it, and its sparse products, come on top.
    assert taken < stated + 6 * matrix.data.nbytes
    # Half of the matrix, and not much more.
    assert 4 * 700**2 < stated < 0.9 * 8 * 700**2


@pytest.mark.parametrize(
    ("shapes", "n", "message"),
    [
        ([(5, 5), (5, 9)], 9, "a band of shape (5, 9) does not begin at row 5"),
        ([(5, 5), (0, 5)], 5, "a band of shape (0, 5) does not begin at row 5"),
        ([(5, 5), (2, 7)], 8, "it has 7 rows for 8 items"),
        ([], 1, "it has 0 rows for 1 items"),
    ],
)
def test_bands_that_do_not_fit(shapes: list[tuple[int, int]], n: int, message: str):
    with pytest.raises(ValueError) as caught:
        symmetric.check([np.zeros(shape) for shape in shapes], n)
    assert str(caught.value) == message
