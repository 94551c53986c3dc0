"""Who or what is most like each of many, in blocks: by the cosine of their factors, or by any other measure."""

from collections.abc import Callable, Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array

from ecbehave.models.best import best_per_row

#: Pairs that are measured at once.
_BLOCK_PAIRS = 4_000_000

Ints = NDArray[np.int64]
#: Row numbers [B] of some of many to how like all others [B, K] are to them; what is not above 0 is not alike.
Measure = Callable[[Ints], NDArray[np.floating]]


def most_alike(ids: pl.Series, measure: Measure, n: int, listed: pl.Series) -> Iterator[pl.DataFrame]:
    """Yield the items most like each item; see `protocol.SimilarItems`.

    Args:
        ids: [K] the items that are known.
        measure: of these items.
        n: most of each.
        listed: the items that may be named.
    """
    may_be = ids.is_in(listed.implode()).to_numpy()
    itself = np.arange(ids.len())
    for item, other, similarity in _nearest(
        lambda rows: np.where(may_be, measure(rows), 0), itself, ids.len(), n
    ):
        yield pl.DataFrame(
            {"item_id": ids.gather(item), "similar_item_id": ids.gather(other), "similarity": similarity}
        )


def items_alike(
    ids: pl.Series, factors: NDArray[np.floating], n: int, listed: pl.Series
) -> Iterator[pl.DataFrame]:
    """Yield the items whose factors point most nearly the same way; see `protocol.SimilarItems`.

    Args:
        ids: [K] the items that are known.
        factors: [K, F].
        n: most of each.
        listed: the items that may be named.
    """
    place = pl.DataFrame({"item_id": ids}).with_row_index("place")
    known = listed.to_frame("item_id").join(place, on="item_id", maintain_order="left")
    others, itself = known["place"].to_numpy().astype(np.int64), np.full(ids.len(), -1)
    itself[others] = np.arange(others.size)
    for item, other, similarity in alike(factors, factors[others], itself, n):
        named = {"item_id": ids.gather(item), "similar_item_id": known["item_id"].gather(other)}
        yield pl.DataFrame({**named, "similarity": similarity})


def alike(
    mine: NDArray[np.floating], theirs: NDArray[np.floating], itself: Ints, n: int
) -> Iterator[tuple[Ints, Ints, NDArray[np.float64]]]:
    """Yield the rows of one matrix with the highest cosine with each row of another, where that is above 0.

    BLAS is held to one thread, so that the number of threads changes no digit.

    Args:
        mine: [Q, F].
        theirs: [K, F].
        itself: [Q] the row of `theirs` that must not be named, since it is the same thing; -1 for none.
        n: most for each row.

    Yields:
        For some rows after the others: row of `mine`, row of `theirs` and cosine, the highest first, equal ones by row.
    """
    from threadpoolctl import threadpool_limits

    queries, base = _of_length_one(mine), _of_length_one(theirs)

    def cosine(rows: Ints) -> NDArray[np.floating]:
        with threadpool_limits(1, "blas"):
            product: NDArray[np.floating] = queries[rows] @ base.T
        return product

    return _nearest(cosine, itself, base.shape[0], n)


def _of_length_one(factors: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return each row divided by its length; a row of zeros stays."""
    # In double precision, so that vectors of one direction tie.
    wide = factors.astype(np.float64)
    length = np.linalg.norm(wide, axis=1, keepdims=True)
    found: NDArray[np.float64] = np.divide(wide, length, out=np.zeros_like(wide), where=length > 0)
    return found


def _nearest(
    measure: Measure, itself: Ints, n_others: int, n: int
) -> Iterator[tuple[Ints, Ints, NDArray[np.float64]]]:
    size = max(_BLOCK_PAIRS // max(n_others, 1), 1)
    for start in range(0, itself.size, size):
        rows = np.arange(start, min(start + size, itself.size))
        found = measure(rows)
        is_among = np.flatnonzero(itself[rows] >= 0)
        found[is_among, itself[rows][is_among]] = 0
        best = best_per_row(_highest(found, n), n).tocoo()
        order = np.lexsort((best.col, -best.data, best.row))
        yield rows[best.row[order]], best.col[order].astype(np.int64), best.data[order].astype(np.float64)


def _highest(values: NDArray[np.floating], n: int) -> csr_array:
    """Return the n highest values above 0 of each row, and what ties with the lowest of them."""
    lowest = np.partition(values, -n, axis=1)[:, -n, None] if n < values.shape[1] else 0
    row, col = np.nonzero((values >= lowest) & (values > 0))
    ends = np.append(0, np.cumsum(np.bincount(row, minlength=values.shape[0])))
    return csr_array((values[row, col], col, ends), shape=values.shape)
