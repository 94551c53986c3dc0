"""Metrics of recommended lists, on keyed tables and over the full catalogue.

`recommended` has user_id, cutoff, rank (1-based), item_id; `truth` has user_id, cutoff, item_id and is_repeat
(the user had the item before the cutoff). All joins are on keys, and no result depends on the order of rows.
"""

from collections.abc import Sequence

import polars as pl

from ecbehave.metrics.keyed import KEYS, reject_duplicates, reject_nulls


def per_user(recommended: pl.DataFrame, truth: pl.DataFrame, k: Sequence[int]) -> pl.DataFrame:
    """Judge every list at each length k; one row per (user_id, cutoff) with at least one true item.

    A user with true items and no list counts as zero. Users without a true item are left out, since recall is
    not defined for them; `n_without_truth` counts them. Sorted by key.

    Returns:
        user_id, cutoff and, Float64, for each k:
        hit_rate@k: 1 if a true item is among the first k, else 0.
        recall@k: hits / number of true items.
        precision@k: hits / k, also where the list is shorter.
        map@k: sum over hits of precision at the hit's rank / min(k, number of true items).
        ndcg@k: sum over hits of 1 / log2(rank + 1), over that of an ideal list, with min(k, number of true
            items) hits.
        mrr@k: 1 / rank of the first hit, or 0.
        repeat_recall@k, repeat_ndcg@k, new_recall@k, new_ndcg@k: of the same list, where only the repeats (or
            only the new items) are true; null for users without such an item.

    Raises:
        ValueError: a value is missing, an item or a rank appears twice in one list, a true item appears
            twice, or a rank is 0.

    Source: Manning, Raghavan and Schuetze (2008), section 8.4; Jarvelin and Kekalainen (2002) for NDCG.
    """
    _check_recommended(recommended)
    reject_nulls(truth, [*KEYS, "item_id", "is_repeat"], "truth")
    reject_duplicates(truth, [*KEYS, "item_id"], "truth")
    found = truth.join(recommended.select(*KEYS, "item_id", "rank"), on=[*KEYS, "item_id"], how="left")
    judged = _judge(found, k)
    for name, part in (("repeat", pl.col("is_repeat")), ("new", ~pl.col("is_repeat"))):
        restricted = _judge(found.filter(part), k).select(
            *KEYS, pl.col(r"^(recall|ndcg)@\d+$").name.prefix(f"{name}_")
        )
        judged = judged.join(restricted, on=KEYS, how="left")
    return judged.sort(KEYS)


def n_without_truth(recommended: pl.DataFrame, truth: pl.DataFrame) -> int:
    """Count the (user_id, cutoff) that got a list and have no true item: `per_user` leaves them out."""
    return recommended.select(KEYS).unique().join(truth, on=KEYS, how="anti").height


def coverage(recommended: pl.DataFrame, n_items: int, k: int) -> float:
    """Share of the catalogue of `n_items` that is among the first k of any list.

    Raises:
        ValueError: the lists hold more distinct items than the catalogue, or the catalogue is empty.
    """
    n_shown = recommended.filter(pl.col("rank") <= k)["item_id"].n_unique()
    if n_items < max(n_shown, 1):
        raise ValueError(f"the lists show {n_shown} distinct items, but the catalogue has {n_items}")
    return n_shown / n_items


def _check_recommended(recommended: pl.DataFrame) -> None:
    reject_nulls(recommended, [*KEYS, "rank", "item_id"], "recommended")
    reject_duplicates(recommended, [*KEYS, "item_id"], "recommended")
    reject_duplicates(recommended, [*KEYS, "rank"], "recommended")
    n_zero = recommended.filter(pl.col("rank") < 1).height
    if n_zero:
        raise ValueError(f"recommended: {n_zero} rank(s) below 1; ranks count from 1")


def _judge(found: pl.DataFrame, k: Sequence[int]) -> pl.DataFrame:
    """Judge lists by their true items: one row per true item in, `rank` null where it was not recommended."""
    # In this order the place of a hit among its user's true items is the number of hits up to its rank.
    ordered = found.sort(*KEYS, "rank", nulls_last=True).with_columns(
        place=pl.int_range(1, pl.len() + 1).over(KEYS)
    )
    metrics = [metric for length in k for metric in _at(length)]
    return ordered.group_by(KEYS, maintain_order=True).agg(metrics)


def _at(k: int) -> list[pl.Expr]:
    """Return the metrics at k of one user's true items, sorted by rank."""
    rank, place, n_true = pl.col("rank"), pl.col("place"), pl.len()
    is_hit = (rank <= k).fill_null(value=False)
    n_possible = pl.min_horizontal(n_true, pl.lit(k))
    ideal = _discount(place).filter(place <= k).sum()
    return [
        is_hit.any().cast(pl.Float64).alias(f"hit_rate@{k}"),
        (is_hit.sum() / n_true).alias(f"recall@{k}"),
        (is_hit.sum() / k).alias(f"precision@{k}"),
        ((place / rank).filter(is_hit).sum() / n_possible).alias(f"map@{k}"),
        (_discount(rank).filter(is_hit).sum() / ideal).alias(f"ndcg@{k}"),
        (1 / rank).filter(is_hit).max().fill_null(0.0).alias(f"mrr@{k}"),
    ]


def _discount(rank: pl.Expr) -> pl.Expr:
    return 1 / (rank + 1).log(2)
