"""Expected values of ranking metrics where items share a score, over all orders of those that do.

A list is made of groups of equal scores. Take a group of t items, m of them true, with a items and b true items in
front of it. In a random order of the group, at its j-th place (rank r = a + j):

- the item is true with probability m / t; so an expected DCG adds up m / t / log2(r + 1).
- if it is, b + 1 true items are there for sure at the ranks up to r, and each of the j - 1 other places of the group
  holds one of the m - 1 others with probability (m - 1) / (t - 1): precision at r is expected to be
  (b + 1 + (j - 1) (m - 1) / (t - 1)) / r. Average precision adds up m / t of that, and this is joint: two true items
  in one group are never taken to be independent.
- it is the first true one of the group if the places before are not, which happens with probability
  (t - m) / t x (t - m - 1) / (t - 1) x ...; then m of the t - j + 1 items that are left are true. Where b = 0, that is
  the first hit of the list; so a hit rate and a reciprocal rank.
- min(t, max(0, k - a)) of its places lie among the first k, and each of the m true items is there with a t-th of that.

A group that lies across rank k adds up its first places only. With t = 1 all of this is the usual metric.

Source: McSherry and Najork (2008), Computing information retrieval performance measures efficiently in the presence of
tied scores, sections 2.1 to 2.6. Theirs are closed forms; adding up place by place is the same number, and exact where
nothing is tied.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class TieGroups:
    """The groups of equal scores that hold a true item [G], by list and then by place; an item alone is a group."""

    list_of: Ints
    """[G] number of the list, from 0 on."""
    n_higher: Ints
    """[G] items with a higher score: a."""
    n_tied: Ints
    """[G] items that share the score, true or not: t."""
    n_true: Ints
    """[G] true items among them: m."""
    n_before: Ints
    """[G] true items of the list with a higher score: b."""


def expected(groups: TieGroups, n_true: Ints, k: Sequence[int]) -> dict[str, Floats]:
    """Return each metric at each k, one value per list [L]: hit_rate, recall, precision, map, ndcg, mrr.

    Takes O(max(k) x G) time at most, and O(G) memory.

    Args:
        groups: where the true items stand; those that are not ranked at all are in no group.
        n_true: [L] all true items of each list.
        k: lengths of the list.
    """
    sums = _Sums(groups)
    values: dict[int, dict[str, Floats]] = {}
    for rank in range(1, max(k) + 1):
        sums.take_in(rank)
        if rank in k:
            values[rank] = _at(rank, sums, n_true)
    return {f"{name}@{length}": value for length in k for name, value in values[length].items()}


class _Sums:
    """What groups add up to, rank by rank."""

    def __init__(self, groups: TieGroups) -> None:
        self.groups = groups
        n_groups = groups.list_of.size
        self.gain, self.precision, self.reciprocal = (np.zeros(n_groups) for _ in range(3))
        #: Probability that no true item of the group is at a rank taken in.
        self.unseen = np.ones(n_groups)

    def take_in(self, rank: int) -> None:
        """Add what is expected at a rank."""
        groups = self.groups
        at = np.flatnonzero((groups.n_higher < rank) & (rank <= groups.n_higher + groups.n_tied))
        tied, n_true, place = groups.n_tied[at], groups.n_true[at], rank - groups.n_higher[at]
        share = n_true / tied
        others = (place - 1) * (n_true - 1) / np.maximum(tied - 1, 1)
        self.gain[at] += share / np.log2(rank + 1)
        self.precision[at] += share * (groups.n_before[at] + 1 + others) / rank
        n_left = tied - place + 1
        self.reciprocal[at] += self.unseen[at] * n_true / n_left / rank
        self.unseen[at] *= np.maximum(n_left - n_true, 0) / n_left


def _at(k: int, sums: _Sums, n_true: Ints) -> dict[str, Floats]:
    groups, n_lists = sums.groups, n_true.size

    def total(value: Floats) -> Floats:
        added: Floats = np.bincount(groups.list_of, value, minlength=n_lists).astype(np.float64)
        return added

    hits = total(groups.n_true * np.clip(k - groups.n_higher, 0, groups.n_tied) / groups.n_tied)
    n_possible = np.minimum(n_true, k)
    ideal = np.cumsum(1 / np.log2(np.arange(k) + 2))[n_possible - 1]
    is_first = groups.n_before == 0
    return {
        "hit_rate": total(is_first * (1 - sums.unseen)),
        "recall": hits / n_true,
        "precision": hits / k,
        # A perfect list adds up to 1 but for the last digit, which may be above.
        "map": np.minimum(total(sums.precision) / n_possible, 1),
        "ndcg": np.minimum(total(sums.gain) / ideal, 1),
        "mrr": total(is_first * sums.reciprocal),
    }
