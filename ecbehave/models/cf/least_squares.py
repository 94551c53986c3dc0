"""Regularised least squares for many rows at once: half a step of alternating least squares.

Letters: R rows to solve, C columns of known factors, F factors, n observations of one row, B rows of a block.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from ecbehave.parallel import in_order

#: Numbers in the gathered factors of one block: 4 MB of float32, few enough for the processor's cache, and enough for
#: threads not to wait for Python's lock most of the time.
_BLOCK_NUMBERS = 1_000_000
#: Observations of a long row that are gathered at once.
_PIECE = 4096
#: With a start, rows of more observations than this are brought nearer in so many steps, instead of solved.
_FEW, _STEPS = 12, 2
#: Known factors that are multiplied at once.
_CHUNK = 65_536

#: Nothing, to divide by.
_TINY = 1e-30

#: Float32 for events, of which there are many; float64 for ratings. What comes out has the type of what goes in.
Floats = NDArray[Any]


@dataclass(frozen=True)
class Known:
    """Factors of the columns, turned so that the sum of their outer products is diagonal."""

    factors: Floats
    """[C, F]."""
    spectrum: NDArray[np.float64]
    """[F] the diagonal, times the weight of what was not observed."""


def turned(factors: Floats, unobserved_weight: float) -> tuple[Known, Floats]:
    """Turn factors into the basis in which what was not observed costs one number per factor.

    A rotation of both sides changes no product of the two. With it, the share of the unobserved in the normal
    equations is diagonal for every row, whatever the row's own regularisation. Call it with BLAS held to one thread,
    so that the number of threads changes no digit.

    Args:
        factors: [C, F].
        unobserved_weight: weight of each pair of a row and a column, observed or not.

    Returns:
        The factors, turned, and the basis [F, F] by which they were.
    """
    n_factors = factors.shape[1]
    gram = np.zeros((n_factors, n_factors))
    for start in range(0, factors.shape[0], _CHUNK):
        chunk = factors[start : start + _CHUNK].astype(np.float64)
        gram += chunk.T @ chunk
    spectrum, basis = np.linalg.eigh(gram)
    basis = basis.astype(factors.dtype)
    # Rounding can take an eigenvalue below zero.
    return Known(rotated(factors, basis), unobserved_weight * np.maximum(spectrum, 0)), basis


def rotated(factors: Floats, basis: Floats) -> Floats:
    """Return factors [N, F] in another basis [F, F]."""
    found = np.empty_like(factors)
    for start in range(0, factors.shape[0], _CHUNK):
        found[start : start + _CHUNK] = factors[start : start + _CHUNK] @ basis
    return found


def solve(
    known: Known,
    weights: csr_array,
    reg: NDArray[np.float64],
    targets: Floats | None = None,
    threads: int = 1,
    start: Floats | None = None,
) -> Floats:
    """Return the factors x [R, F] of each row that fit its observations best.

    Minimises for each row r: sum over its observations j of w_rj (t_rj - x . y_j)^2, plus the sum over factors f of
    (s_f + reg_r) x_f^2; y are the known factors, s their spectrum. A row without an observation is zero. The result
    is exact up to rounding, and that of a row does not depend on other rows, on blocks or threads; hold BLAS to one.

    With a start, rows of many observations are only brought nearer, by some steps of conjugate gradients in the scale
    of the diagonal, which is all that an iteration needs; Takacs, Pilaszy and Tikk (2011), Applications of the
    conjugate gradient method for implicit feedback collaborative filtering.

    With n < F, the equations are solved in n unknowns instead of F: with Z = W^1/2 Y D^-1/2,
    D^-1/2 Z' (I + Z Z')^-1 = (D + Y' W Y)^-1 Y' W^1/2. A row costs about min(n, F)^2 max(n, F) multiplications.

    Args:
        known: factors of the columns.
        weights: [R, C] w, above zero.
        reg: [R] above zero.
        targets: t, in the order of the stored weights; None is 1 everywhere.
        threads: blocks that are worked on at once; each takes some MB.
        start: [R, F] in the basis of the known factors.
    """
    roots = np.sqrt(weights.data, dtype=known.factors.dtype)
    work = _Work(known, weights, roots, targets, reg, start)
    solved = np.zeros((weights.shape[0], known.factors.shape[1]), known.factors.dtype)
    square = 0 if start is not None else known.factors.shape[1]
    blocks = _blocks(np.diff(weights.indptr), known.factors.shape[1], square)
    for rows, found in in_order(work.solve, blocks, threads):
        solved[rows] = found
    return solved


def _widths(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return counts rounded up by at most an eighth, so that few differ; those up to 16 stay as they are."""
    step = 2 ** np.maximum(np.frexp(counts - 1)[1].astype(np.int64) - 4, 0)
    widths: NDArray[np.int64] = -(-counts // step) * step
    return widths


def _blocks(
    counts: NDArray[np.int64], n_factors: int, square: int
) -> Iterator[tuple[NDArray[np.int64], int]]:
    """Yield rows of about equally many observations, and how many those are at most; the longest rows first.

    Args:
        counts: [R] observations.
        n_factors: F.
        square: F where rows of more observations take a square matrix each.
    """
    widths = _widths(counts.astype(np.int64))
    order = np.argsort(-widths, kind="stable")
    order = order[: np.count_nonzero(widths)]
    starts = np.flatnonzero(np.diff(widths[order], prepend=0))
    for start, end in pairwise([*starts.tolist(), order.size]):
        width = int(widths[order[start]])
        gathered = width if width < square else max(min(width, _PIECE), square)
        step = max(_BLOCK_NUMBERS // (gathered * n_factors), 1)
        for first in range(start, end, step):
            yield order[first : min(first + step, end)], width


@dataclass(frozen=True)
class _Work:
    known: Known
    weights: csr_array
    roots: Floats
    """Square roots of the stored weights."""
    targets: Floats | None
    reg: NDArray[np.float64]
    start: Floats | None

    def solve(self, block: tuple[NDArray[np.int64], int]) -> tuple[NDArray[np.int64], Floats]:
        """Return the rows of a block, and their factors [B, F]."""
        rows, width = block
        diagonal = self.known.spectrum + self.reg[rows, None]
        if self.start is not None and _FEW < width <= _PIECE:
            return rows, self._nearer(self.start[rows], rows, width, diagonal)
        if width < diagonal.shape[1]:
            return rows, self._in_observations(rows, width, diagonal)
        return rows, self._in_factors(rows, width, diagonal)

    def _in_observations(self, rows: NDArray[np.int64], width: int, diagonal: NDArray[np.float64]) -> Floats:
        factors, root, target = self._gather(rows, 0, width)
        scaled = factors * (1 / diagonal).astype(factors.dtype)[:, None, :]
        system = scaled @ factors.transpose(0, 2, 1)  # [B, n, n]
        system *= root[:, :, None]
        system *= root[:, None, :]
        at = np.arange(width)
        system[:, at, at] += 1
        dual = np.linalg.solve(system, (root * target)[:, :, None])[:, :, 0]
        found: Floats = np.matmul((dual * root)[:, None, :], scaled)[:, 0]
        return found

    def _in_factors(self, rows: NDArray[np.int64], width: int, diagonal: NDArray[np.float64]) -> Floats:
        n_factors, dtype = diagonal.shape[1], self.known.factors.dtype
        system = np.zeros((rows.size, n_factors, n_factors), dtype)
        right = np.zeros((rows.size, 1, n_factors), dtype)
        for start in range(0, width, _PIECE):
            factors, root, target = self._gather(rows, start, min(start + _PIECE, width))
            weighted = factors * (root * root)[:, :, None]
            system += weighted.transpose(0, 2, 1) @ factors
            right += target[:, None, :] @ weighted
        at = np.arange(n_factors)
        system[:, at, at] += diagonal
        found: Floats = np.linalg.solve(system, right.transpose(0, 2, 1))[:, :, 0]
        return found

    def _nearer(
        self, found: Floats, rows: NDArray[np.int64], width: int, diagonal: NDArray[np.float64]
    ) -> Floats:
        factors, root, target = self._gather(rows, 0, width)
        weight, scale = root * root, diagonal.astype(factors.dtype)

        def product(step: Floats) -> Floats:  # (D + Y' W Y) step
            found: Floats = _mixed(weight * _products(factors, step), factors) + scale * step
            return found

        left = _mixed(weight * target, factors) - product(found)
        step = scaled = left / scale
        size = np.einsum("bf,bf->b", left, scaled)
        for _ in range(_STEPS):
            moved = product(step)
            # Where nothing is left, the step is zero, too.
            share = size / np.maximum(np.einsum("bf,bf->b", step, moved), _TINY)
            found = found + share[:, None] * step
            left = left - share[:, None] * moved
            scaled = left / scale
            before, size = size, np.einsum("bf,bf->b", left, scaled)
            step = scaled + (size / np.maximum(before, _TINY))[:, None] * step
        return found

    def _gather(self, rows: NDArray[np.int64], start: int, end: int) -> tuple[Floats, Floats, Floats]:
        """Return factors [B, n, F], roots of weights and targets [B, n] of some observations of each row.

        Where a row has fewer, the weight is zero.
        """
        ends = self.weights.indptr[rows + 1, None]
        place = self.weights.indptr[rows, None] + np.arange(start, end)
        is_there = place < ends
        place = np.where(is_there, place, 0)
        factors = np.take(self.known.factors, self.weights.indices[place], axis=0)
        root = np.where(is_there, self.roots[place], self.roots.dtype.type(0))
        return factors, root, np.ones_like(root) if self.targets is None else self.targets[place]


def _products(factors: Floats, step: Floats) -> Floats:
    """Return the product of each observation's factors [B, n, F] with its row's vector [B, F]: [B, n]."""
    found: Floats = np.matmul(factors, step[:, :, None])[:, :, 0]
    return found


def _mixed(amounts: Floats, factors: Floats) -> Floats:
    """Return the sum of factors [B, n, F] times amounts [B, n]: [B, F]."""
    found: Floats = np.matmul(amounts[:, None, :], factors)[:, 0]
    return found
