"""What is had after what: co-occurrence that knows the order."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack

from ecbehave.models.best import best_per_row
from ecbehave.parallel import in_order

Floats = NDArray[np.float64]
Ints = NDArray[np.integer]

#: Stored values of one block, at most: with what is computed from them, 60 bytes each.
_BLOCK = 500_000


class Visits:
    """Which items users had at which of their instants, one after the other: V visits."""

    def __init__(self, user: Ints, item: Ints, place: Ints, weight: Floats, n_items: int) -> None:
        """Take one row for each user and item [n].

        Args:
            user: row number.
            item: row number.
            place: how many later instants the user has.
            weight: how strongly it counts.
            n_items: I.
        """
        order = np.lexsort((item, -place.astype(np.int64), user))
        user, item, place, weight = user[order], item[order], place[order].astype(np.int64), weight[order]
        is_first = (np.diff(user, prepend=-1) != 0) | (np.diff(place, prepend=-1) != 0)
        visit = np.cumsum(is_first) - 1
        self.user, self.place = user[is_first], place[is_first]
        self.items = csr_array((weight, (visit, item)), shape=(self.user.size, n_items))
        """[V, I]."""

    def later(self, reach: int, power: float) -> csr_array:
        """Return how much each later visit of the same user counts [V, V]: 1 / (places between them) ^ power.

        Args:
            reach: how many of the next visits.
            power: of the distance.
        """
        n_visits = self.user.size
        row, col = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for ahead in range(1, min(reach, n_visits - 1) + 1):
            earlier = np.flatnonzero(self.user[:-ahead] == self.user[ahead:])
            row.append(earlier)
            col.append(earlier + ahead)
        earlier, later = np.concatenate(row), np.concatenate(col)
        distance = (self.place[earlier] - self.place[later]).astype(np.float64)
        return csr_array((distance**-power, (earlier, later)), shape=(n_visits, n_visits))


def followers(
    visits: Visits, reach: int, power: float, damping: float, neighbours: int, threads: int
) -> csr_array:
    """Return the items that most often come after each item, and soon: D_ij / (n_i n_j) ^ damping [I, I].

    D is the sum over users who had i before j of 1 / (places between them) ^ power, times both weights; n is how many
    users had an item. Costs a multiplication for each two items of a user that are close enough.

    Source: Garg et al. (2019), Sequence and time aware neighborhood for session-based recommendations, equation 4 (what
    is close counts more); Deshpande and Karypis (2004), Item-based top-N recommendation algorithms, equation 3 (the
    number of both over powers of the numbers of each).

    Args:
        visits: what users had, in order.
        reach: how many of the next visits count.
        power: of the distance.
        damping: of popularity.
        neighbours: most items that are kept of each.
        threads: blocks that are worked on at once.
    """
    ahead, per_item = visits.later(reach, power), csr_array(visits.items.T)
    popular = np.maximum(np.diff(per_item.indptr), 1) ** -damping

    def nearest(rows: tuple[int, int]) -> csr_array:
        found = csr_array((per_item[slice(*rows)] @ ahead) @ visits.items)
        own = np.repeat(popular[slice(*rows)], np.diff(found.indptr))
        values = (found.data * own * popular[found.indices]).astype(np.float32)
        made = csr_array((values, found.indices, found.indptr), shape=found.shape)
        return best_per_row(made, neighbours)

    nothing = csr_array((0, popular.size), dtype=np.float32)
    spans = _spans(per_item, ahead, np.diff(visits.items.indptr))
    return csr_array(vstack([nothing, *in_order(nearest, spans, threads)], format="csr"))


def _spans(per_item: csr_array, ahead: csr_array, n_items_of: Ints) -> Iterator[tuple[int, int]]:
    """Yield first items of blocks and the items after their last ones, about `_BLOCK` products each, or one item."""
    sizes = np.append(0, np.cumsum(n_items_of[ahead.indices]))
    products = np.append(0, np.cumsum(np.diff(sizes[ahead.indptr])[per_item.indices]))
    block = np.cumsum(np.diff(products[per_item.indptr])) // _BLOCK
    return pairwise([*np.flatnonzero(np.diff(block, prepend=-1)).tolist(), per_item.shape[0]])
