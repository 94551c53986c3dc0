"""What stands for items before a net learns: items that the same users had point the same way. No torch."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from ecbehave.inputs.types import SequenceInput
from ecbehave.models.deep.vocabulary import Ints, Vocabulary, known_events

Floats = NDArray[np.float64]
#: Pulls what few users have had towards nothing, as in a shrunk cosine.
_SHRINK = 10.0
#: Directions that are followed beyond those that are wanted, and how often: Halko et al. recommend as many.
_MORE, _TURNS = 10, 4
#: How much more the leading directions count: as factors they would have 0.5. Measured on Amazon Beauty (NDCG@10 of the
#: validation items after one epoch of a small transformer): 0.5 .0499, 0.25 .0513, 0 .0513.
_POWER = 0.25
#: What rounding may leave of an eigenvalue of 0.
_NOTHING = 1e-9
#: Pairs of users and items that are multiplied at once.
_CHUNK = 250_000


def item_vectors(known: Vocabulary, data: SequenceInput, width: int, seed: int) -> NDArray[np.float32]:
    """Return a vector for each row of embeddings [R, D], all of mean square 1; that of no item is 0.

    The product of two tells how alike the items are. With Y of 1 / sqrt(m (n + s)) for each user and item he had, if he
    had m items and n users had this one, these are the leading eigenvectors of Y'Y without its diagonal, each times a
    power of its eigenvalue. They are found by subspace iteration, and turned at random, so that no number stands for
    what is popular.

    Costs 10 products with Y of D + 10 vectors; holds as many numbers for each item, and for some users at a time.

    Source: Halko, Martinsson and Tropp (2011), Finding structure with randomness, algorithm 4.4; that embeddings may
    begin as factors of what occurs together: Levy and Goldberg (2014), Neural word embedding as implicit matrix
    factorization, section 5.

    Args:
        known: names, and which share a row.
        data: histories.
        width: D.
        seed: of the directions.
    """
    from threadpoolctl import threadpool_limits

    rng = np.random.default_rng(seed)
    had = _had(known, data)
    found = np.zeros((known.n_rows, width), np.float32)
    if not had.nnz:
        return found
    n_wanted = min(width, had.shape[1])
    basis = rng.standard_normal((had.shape[1], min(width + _MORE, had.shape[1])))
    # The last digit of a sum over many rows depends on the number of threads that add it up.
    with threadpool_limits(1, "blas"):
        for _ in range(_TURNS):
            basis = np.linalg.qr(_gram(had, basis))[0]
        values, own = np.linalg.eigh(basis.T @ _gram(had, basis))
        values = np.where(values > _NOTHING, values, 0)
        factors = basis @ (own[:, -n_wanted:] * values[-n_wanted:] ** _POWER)
        turned = np.linalg.qr(rng.standard_normal((width, width)))[0]
        vectors = factors @ turned[:n_wanted]
    if values.any():
        found[1:] = vectors / np.sqrt((vectors**2).mean())
    return found


def _had(known: Vocabulary, data: SequenceInput) -> csr_array:
    """Return Y, of the users who had anything [U, R - 1]."""
    log = data.log
    codes, names = (log.item, log.items) if data.target == "item" else (log.category, log.categories)
    is_counted = known_events(data) & (codes >= 0)
    row = known.rows_of(names)[codes[is_counted]] - 1
    user: Ints = np.repeat(np.arange(data.ends.size), np.diff(log.offsets))[is_counted]
    shape = (data.ends.size, known.n_rows - 1)
    had = csr_array((np.ones(row.size), (user, row)), shape=shape)
    had = csr_array(had[np.diff(had.indptr) > 0])
    n_items, n_users = np.diff(had.indptr), np.bincount(had.indices, minlength=shape[1])
    had.data = 1 / np.sqrt(np.repeat(n_items, n_items) * (n_users + _SHRINK)[had.indices])
    return had


def _gram(had: csr_array, vectors: Floats) -> Floats:
    """Return Y'Y, without its diagonal, times vectors [R - 1, K]."""
    total = -np.bincount(had.indices, had.data**2, had.shape[1])[:, None] * vectors
    cuts = np.flatnonzero(np.diff(had.indptr[:-1] // _CHUNK, prepend=-1)).tolist()
    for first, last in pairwise([*cuts, had.shape[0]]):
        some = csr_array(had[first:last])
        total += some.T @ (some @ vectors)
    return total
