"""What an autoencoder says of users: scores of all items, and the log-odds of a label.

Shapes: U users, I items of the catalogue, K items that the net knows, N inputs, D units, n rows.
"""

from collections.abc import Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array

from ecbehave.inputs.types import MatrixInput
from ecbehave.models.cf.dense import in_blocks, product, with_repeats
from ecbehave.models.cf.profiles import Weighing, by_rows
from ecbehave.models.cf.vocabulary import align
from ecbehave.models.deep.denoising import Autoencoder
from ecbehave.models.deep.fixed_blocks import exact, in_fixed_blocks
from ecbehave.models.protocol import Block

Floats = NDArray[np.float64]


def had(data: MatrixInput, weighing: Weighing, strength: pl.Expr | None = None) -> csr_array:
    """Return what each user had, weighted [U, I]; see `Weighing.pairs`."""
    pairs = weighing.pairs(data, strength)
    shape = (data.users.height, data.items.height)
    return by_rows(pairs["user"], pairs["item"], pairs["weight"].to_numpy(), shape)


def inputs_of(history: csr_array, items: pl.Series, known: pl.Series) -> csr_array:
    """Return the known items of each history [n, K], each row of length one.

    Args:
        history: [n, I], weighted.
        items: [I] ids.
        known: [K] ids.
    """
    found = csr_array(history @ align(known, items))
    found.sort_indices()
    norms = np.sqrt(np.asarray(found.power(2).sum(axis=1)).ravel())
    data = found.data / np.repeat(norms, np.diff(found.indptr))
    return csr_array((data, found.indices, found.indptr), shape=found.shape)


def list_scores(
    net: Autoencoder, known: pl.Series, data: MatrixInput, weighing: Weighing, repeat_weight: float
) -> Iterator[Block]:
    """Yield the scores of every item for some users of the population after the others, dense.

    Args:
        net: as it was learned.
        known: [K] ids of its items.
        data: who had what.
        weighing: what an event counts.
        repeat_weight: added for what was had before, times the number of events by weight.
    """
    users, items = data.asked, data.items["item_id"]
    history = csr_array(had(data, weighing, pl.col("n_events"))[users])
    inputs = inputs_of(csr_array(had(data, weighing)[users]), items, known)
    select = align(known, items).tocoo()
    net = exact(net)
    vectors, bias = net.items.detach().numpy(), net.items_bias.detach().numpy()

    def score(rows: slice) -> Block:
        own = csr_array(inputs[rows])
        logits = product(hidden_of(net, own), vectors, rows.stop - rows.start) + bias
        share = np.exp(logits - logits.max(axis=1, keepdims=True))
        scores = np.full((own.shape[0], len(items)), -np.inf)
        scores[:, select.row] = share[:, select.col]
        scores[np.diff(own.indptr) == 0] = -np.inf
        return users[rows], with_repeats(scores, csr_array(history[rows]), repeat_weight)

    yield from in_blocks(score, users.size, len(items))


def hidden_of(net: Autoencoder, inputs: csr_array) -> Floats:
    """Return what items and labels are told from [n, D], each row whatever the others are.

    Args:
        net: an exact one.
        inputs: [n, N].
    """
    vectors = net.input.detach().numpy()
    return in_fixed_blocks(net, (inputs @ vectors).astype(np.float32), vectors.shape[1])


def log_odds_of(net: Autoencoder, inputs: csr_array) -> Floats:
    """Return the log-odds of the label of each row of inputs [n, N], as [n]."""
    net = exact(net)
    return in_fixed_blocks(net.log_odds, hidden_of(net, inputs).astype(np.float32))
