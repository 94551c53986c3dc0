"""Metrics of recommended lists, on keyed tables and over the full catalogue.

`recommended` has user_id, cutoff, rank (1-based), item_id; `truth` has user_id, cutoff, item_id and is_repeat
(the user had the item before the cutoff). All joins are on keys, and no result depends on the order of rows.
"""

from collections.abc import Mapping, Sequence

import polars as pl

from ecbehave.metrics.keyed import KEYS, reject_duplicates, reject_nulls
from ecbehave.metrics.ranking_ties import TieGroups, expected

#: Parts of the truth that are judged apart, of the same lists.
PARTS: Mapping[str, pl.Expr] = {"repeat": pl.col("is_repeat"), "new": ~pl.col("is_repeat")}


def per_user(recommended: pl.DataFrame, truth: pl.DataFrame, k: Sequence[int]) -> pl.DataFrame:
    """Judge every list at each length k, in the order of its ranks; see `expected_per_user`.

    Raises:
        ValueError: a value is missing, an item or a rank appears twice in one list, a true item appears
            twice, or a rank is 0.
    """
    _check_recommended(recommended)
    ranks = recommended.select(*KEYS, "item_id", n_higher=pl.col("rank").cast(pl.Int64) - 1)
    placed = truth.join(ranks, on=[*KEYS, "item_id"], how="left")
    tied = pl.when(pl.col("n_higher").is_not_null()).then(1)
    return expected_per_user(placed.with_columns(n_tied=tied), k)


def expected_per_user(
    placed: pl.DataFrame, k: Sequence[int], parts: Mapping[str, pl.Expr] = PARTS
) -> pl.DataFrame:
    """Judge every list at each length k; one row per (user_id, cutoff) with at least one true item.

    Items with equal scores stand in no order: every value is what is expected over all orders of them; see
    `ranking_ties`. A user with true items and no list counts as zero. Users without a true item are left out, since
    recall is not defined for them; `n_without_truth` counts them. Sorted by key.

    Args:
        placed: one row per true item: the keys, `item_id`, `n_higher` (items of the list with a higher score),
            `n_tied` (items with the same score, this one included); both null where the item is not in the list.
            And what `parts` reads.
        k: lengths of the list.
        parts: name of a part of the truth to what selects it.

    Returns:
        user_id, cutoff and, Float64, for each k:
        hit_rate@k: 1 if a true item is among the first k, else 0.
        recall@k: hits / number of true items.
        precision@k: hits / k, also where the list is shorter.
        map@k: sum over hits of precision at the hit's rank / min(k, number of true items).
        ndcg@k: sum over hits of 1 / log2(rank + 1), over that of an ideal list, with min(k, number of true
            items) hits.
        mrr@k: 1 / rank of the first hit, or 0.
        PART_recall@k, PART_ndcg@k: of the same list, where only the items of that part are true; null for users
            without such an item. By default repeat and new.

    Raises:
        ValueError: a value is missing, a true item appears twice, or `n_higher` and `n_tied` contradict one another.

    Source: Manning, Raghavan and Schuetze (2008), section 8.4; Jarvelin and Kekalainen (2002) for NDCG.
    """
    reject_nulls(placed, [name for name in placed.columns if name not in ("n_higher", "n_tied")], "truth")
    reject_duplicates(placed, [*KEYS, "item_id"], "truth")
    _check_ties(placed)
    judged = _judge(placed, k)
    for name, part in parts.items():
        restricted = _judge(placed.filter(part), k).select(
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


def _check_ties(placed: pl.DataFrame) -> None:
    """Refuse places that cannot be: half known, or with more true items at one score than items."""
    n_half = placed.filter(pl.col("n_higher").is_null() != pl.col("n_tied").is_null()).height
    groups = _groups(placed)
    start, end = pl.col("n_higher"), pl.col("n_higher") + pl.col("n_tied")
    is_wrong = (
        (start < 0)
        | (pl.col("n_true") > pl.col("n_tied"))
        | (pl.col("n_sizes") > 1)
        | (start < end.shift().over(KEYS)).fill_null(value=False)
    )
    n_wrong = n_half + groups.filter(is_wrong).height
    if n_wrong:
        raise ValueError(
            f"truth: {n_wrong} place(s) contradict themselves or one another; n_higher counts the items with a higher "
            f"score, n_tied those with the same one, the item itself included"
        )


def _groups(placed: pl.DataFrame) -> pl.DataFrame:
    """Return the groups of equal scores that hold true items, by key and then by place."""
    return (
        placed.drop_nulls(["n_higher", "n_tied"])
        .group_by(*KEYS, pl.col("n_higher").cast(pl.Int64))
        .agg(
            n_tied=pl.col("n_tied").first().cast(pl.Int64),
            n_true=pl.len().cast(pl.Int64),
            n_sizes=pl.col("n_tied").n_unique(),
        )
        .sort(*KEYS, "n_higher")
        .with_columns(n_before=pl.col("n_true").cum_sum().over(KEYS) - pl.col("n_true"))
    )


def _judge(placed: pl.DataFrame, k: Sequence[int]) -> pl.DataFrame:
    """Judge the lists of all keys that have a true item."""
    lists = placed.group_by(KEYS).agg(n_true=pl.len().cast(pl.Int64)).sort(KEYS)
    groups = _groups(placed).join(
        lists.select(KEYS).with_row_index("list_of"), on=KEYS, maintain_order="left"
    )
    places = TieGroups(
        *(
            groups[name].cast(pl.Int64).to_numpy()
            for name in ("list_of", "n_higher", "n_tied", "n_true", "n_before")
        )
    )
    return lists.select(KEYS).with_columns(
        pl.Series(name, values, pl.Float64)
        for name, values in expected(places, lists["n_true"].to_numpy(), k).items()
    )
