"""Metrics of lists with equal scores: by hand, by all orders written out, and by scikit-learn."""

import itertools
import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from sklearn.metrics import ndcg_score

from ecbehave.metrics.ranking import expected_per_user, per_user
from ecbehave.schema import TS

DAY = datetime(2024, 3, 1, tzinfo=UTC)
KEYS = ["user_id", "cutoff"]
SCHEMA = {
    "user_id": pl.String,
    "cutoff": TS,
    "item_id": pl.String,
    "n_higher": pl.Int64,
    "n_tied": pl.Int64,
    "is_repeat": pl.Boolean,
}
NAMES = ("hit_rate", "recall", "precision", "map", "ndcg", "mrr")


def placed(user: str, groups: Sequence[str], true: Iterable[str]) -> pl.DataFrame:
    """Return where true items stand among groups of equal scores, best first; upper case is a repeat."""
    rows, n_higher = [], 0
    at = {}
    for group in groups:
        at |= dict.fromkeys(group, (n_higher, len(group)))
        n_higher += len(group)
    for item in true:
        higher, tied = at.get(item.lower(), (None, None))
        rows.append((user, DAY, item.lower(), higher, tied, item.isupper()))
    return pl.DataFrame(rows, SCHEMA, orient="row")


def judge(groups: str, true: str, k: int) -> dict[str, float]:
    """Judge one list; `ab|c` is a list whose first two items share a score."""
    found = expected_per_user(placed("ann", groups.split("|"), true), [k]).row(0, named=True)
    return {name: found[f"{name}@{k}"] for name in NAMES}


def of_one_order(listed: Sequence[str], true: set[str], k: int) -> dict[str, float]:
    hits = [rank for rank, item in enumerate(listed[:k], 1) if item in true]
    n_possible = min(k, len(true))
    ideal = sum(1 / math.log2(rank + 1) for rank in range(1, n_possible + 1))
    return {
        "hit_rate": float(bool(hits)),
        "recall": len(hits) / len(true),
        "precision": len(hits) / k,
        "map": sum(number / rank for number, rank in enumerate(hits, 1)) / n_possible,
        "ndcg": sum(1 / math.log2(rank + 1) for rank in hits) / ideal,
        "mrr": 1 / hits[0] if hits else 0.0,
    }


def over_all_orders(groups: Sequence[str], true: set[str], k: int) -> dict[str, float]:
    """Return the mean of each metric over every order of the items within their groups."""
    orders = [
        of_one_order([item for group in order for item in group], true, k)
        for order in itertools.product(*(itertools.permutations(group) for group in groups))
    ]
    return {name: sum(order[name] for order in orders) / len(orders) for name in NAMES}


def test_one_true_item_among_four_equals():
    # At each of the four ranks with probability 1/4; the first two count.
    assert judge("abcd", "c", k=2) == pytest.approx(
        {
            "hit_rate": 1 / 2,
            "recall": 1 / 2,
            "precision": 1 / 4,
            "map": (1 + 1 / 2) / 4,
            "ndcg": (1 + 1 / math.log2(3)) / 4,
            "mrr": (1 + 1 / 2) / 4,
        }
    )


def test_two_true_items_in_a_group_across_the_last_place():
    # x is first; of a, b, c in a random order the first takes rank 2, and a and b are true: 2 of 3 times.
    assert judge("x|abc", "ab", k=2) == pytest.approx(
        {
            "hit_rate": 2 / 3,
            "recall": 1 / 3,
            "precision": 1 / 3,
            "map": 2 / 3 * (1 / 2) / 2,
            "ndcg": 2 / 3 / math.log2(3) / (1 + 1 / math.log2(3)),
            "mrr": 2 / 3 / 2,
        }
    )


def test_true_items_of_one_group_are_joint():
    # Both are first and second, whatever their order; taken apart, each would have precision (1 + 1/2) / 2.
    found = judge("ab", "ab", k=2)
    assert found["map"] == found["recall"] == found["hit_rate"] == found["ndcg"] == 1
    # Of three, two true: 1/3 each for ranks 1 2, 1 3 and 2 3.
    assert judge("abc", "ab", k=3)["map"] == pytest.approx((1 + (1 + 2 / 3) / 2 + (1 / 2 + 2 / 3) / 2) / 3)


@st.composite
def grouped(draw: st.DrawFn) -> tuple[list[str], str]:
    """Return groups of 1 to 4 items, 7 in all, and true items, some of which are in no group; repeats in upper case."""
    items, groups = list("abcdefg"), []
    while items:
        size = draw(st.integers(1, min(4, len(items))))
        groups.append("".join(items[:size]))
        items = items[size:]
    true = draw(st.dictionaries(st.sampled_from("abcdefgxy"), st.booleans(), min_size=1))
    return groups, "".join(item.upper() if is_repeat else item for item, is_repeat in true.items())


@settings(deadline=None, max_examples=60)
@given(case=grouped(), k=st.integers(1, 8))
def test_is_the_mean_over_all_orders(case, k):
    groups, true = case
    table = expected_per_user(placed("ann", groups, true), [k]).row(0, named=True)
    expected = over_all_orders(groups, set(true.lower()), k)
    assert {name: table[f"{name}@{k}"] for name in NAMES} == pytest.approx(expected, abs=1e-12)
    for part, own in (("repeat", filter(str.isupper, true)), ("new", filter(str.islower, true))):
        items = {item.lower() for item in own}
        apart = over_all_orders(groups, items, k) if items else {"recall": None, "ndcg": None}
        for name in ("recall", "ndcg"):
            assert table[f"{part}_{name}@{k}"] == pytest.approx(apart[name], abs=1e-12)


@settings(deadline=None, max_examples=30)
@given(case=grouped(), seed=st.integers(0, 99))
def test_bounds_and_independence_of_row_order(case, seed):
    groups, true = case
    both = pl.concat([placed("ann", groups, true), placed("bob", groups[::-1], true)])
    table = expected_per_user(both, [1, 3, 7])
    assert_frame_equal(
        table,
        expected_per_user(both.sample(fraction=1, shuffle=True, seed=seed), [1, 3, 7]),
        check_exact=True,
    )
    for column in table.drop(KEYS):
        assert column.drop_nulls().is_between(0, 1).all()


@settings(deadline=None, max_examples=30)
@given(listed=st.permutations("abcdefg"), true=st.sets(st.sampled_from("abcdefgxy"), min_size=1))
def test_without_ties_it_is_the_metric_of_the_one_order(listed, true):
    table = expected_per_user(placed("ann", listed, true), [2, 5])
    ranked = pl.DataFrame(
        {"user_id": "ann", "item_id": listed, "rank": range(1, 8)},
        {"user_id": pl.String, "item_id": pl.String, "rank": pl.UInt32},
    ).with_columns(cutoff=pl.lit(DAY, TS))
    truth = placed("ann", listed, true).drop("n_higher", "n_tied")
    assert_frame_equal(table, per_user(ranked, truth, [2, 5]), check_exact=True)


@pytest.mark.parametrize("n_scores", [3, 40])
def test_ndcg_is_that_of_scikit_learn_which_knows_ties(n_scores: int):
    rng = np.random.default_rng(n_scores)
    scores = rng.integers(0, n_scores, (25, 60)).astype(float)
    is_true = rng.random((25, 60)) < 0.1
    is_true[:, 0] = True
    rows = [
        (f"u{user:02d}", DAY, f"{item}", int((own > own[item]).sum()), int((own == own[item]).sum()), False)
        for user, own in enumerate(scores)
        for item in np.flatnonzero(is_true[user])
    ]
    table = expected_per_user(pl.DataFrame(rows, SCHEMA, orient="row"), [1, 5, 20])
    for k in (1, 5, 20):
        expected = [ndcg_score([y], [own], k=k) for y, own in zip(is_true, scores, strict=True)]
        assert table[f"ndcg@{k}"].to_list() == pytest.approx(expected, abs=1e-12)


def test_a_whole_catalogue_with_one_score():
    n_items, n_true, k = 100_000, 3, 20
    rows = [("ann", DAY, f"{n}", 0, n_items, False) for n in range(n_true)]
    found = expected_per_user(pl.DataFrame(rows, SCHEMA, orient="row"), [k]).row(0, named=True)
    assert found[f"recall@{k}"] == pytest.approx(k / n_items)
    assert found[f"precision@{k}"] == pytest.approx(n_true / n_items)
    missed = math.comb(n_items - n_true, k) / math.comb(n_items, k)
    assert found[f"hit_rate@{k}"] == pytest.approx(1 - missed, rel=1e-9)


def test_only_places_that_can_be_are_taken():
    good = placed("ann", ["ab", "cd"], "abc")
    expected_per_user(good, [2])
    is_a, is_c = pl.col("item_id") == "a", pl.col("item_id") == "c"
    # Half known; two sizes of one group; more true than tied; a group that begins within another; before the first.
    for wrong in (
        good.with_columns(n_tied=pl.when(~is_c).then("n_tied")),
        good.filter(~is_c).with_columns(n_tied=pl.when(is_a).then(3).otherwise("n_tied")),
        good.with_columns(n_tied=pl.lit(1, pl.Int64)),
        good.with_columns(n_higher=pl.when(is_c).then(1).otherwise("n_higher")),
        good.with_columns(pl.col("n_higher") - pl.when(is_c).then(0).otherwise(1)),
    ):
        with pytest.raises(
            ValueError,
            match=r"truth: 1 place\(s\) contradict themselves or one another; n_higher counts the items with a higher "
            r"score, n_tied those with the same one, the item itself included",
        ):
            expected_per_user(wrong, [2])


def test_parts_are_those_that_are_asked_for():
    both = placed("ann", ["ab", "c"], "ac").with_columns(is_late=pl.col("item_id") == "c")
    table = expected_per_user(both, [2], {"late": pl.col("is_late")})
    assert table.columns[2:] == [*(f"{name}@2" for name in NAMES), "late_recall@2", "late_ndcg@2"]
    assert table["late_recall@2"].item() == 0
    assert table["recall@2"].item() == 1 / 2
