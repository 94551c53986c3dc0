"""Ranking metrics by hand, and against plain Python written out."""

import math
from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from ecbehave.metrics.ranking import coverage, n_without_truth, per_user
from ecbehave.schema import TS

DAY = datetime(2024, 3, 1, tzinfo=UTC)
LATER = datetime(2024, 4, 1, tzinfo=UTC)
KEYS = ["user_id", "cutoff"]

RECOMMENDED = {
    "user_id": pl.String,
    "cutoff": TS,
    "rank": pl.UInt32,
    "item_id": pl.String,
    "score": pl.Float64,
}
TRUTH = {"user_id": pl.String, "cutoff": TS, "item_id": pl.String, "is_repeat": pl.Boolean}


def lists(**items: str) -> pl.DataFrame:
    """Return lists at DAY; `ann="abc"` recommends a, b, c in that order."""
    rows = [
        (user, DAY, rank, item, 1 / rank) for user, word in items.items() for rank, item in enumerate(word, 1)
    ]
    return pl.DataFrame(rows, RECOMMENDED, orient="row")


def true_items(**items: str) -> pl.DataFrame:
    """Return truth at DAY; `ann="aB"` says that a is new to ann and b a repeat."""
    rows = [(user, DAY, item.lower(), item.isupper()) for user, word in items.items() for item in word]
    return pl.DataFrame(rows, TRUTH, orient="row")


def judge(recommended: str, truth: str, k: int) -> dict[str, float | None]:
    return per_user(lists(ann=recommended), true_items(ann=truth), [k]).drop(KEYS).row(0, named=True)


def test_by_hand():
    # Hits at ranks 2 and 4 of the first four; a third true item is at rank 5, a fourth nowhere.
    found = judge("xaybc", "abcd", k=4)
    assert found["hit_rate@4"] == 1
    assert found["recall@4"] == 2 / 4
    assert found["precision@4"] == 2 / 4
    assert found["map@4"] == pytest.approx((1 / 2 + 2 / 4) / 4)
    ideal = sum(1 / math.log2(rank + 1) for rank in (1, 2, 3, 4))
    assert found["ndcg@4"] == pytest.approx((1 / math.log2(3) + 1 / math.log2(5)) / ideal)
    assert found["mrr@4"] == 1 / 2


def test_columns_for_each_k_in_order():
    plain = ["hit_rate", "recall", "precision", "map", "ndcg", "mrr"]
    expected = [f"{name}@{k}" for k in (1, 10) for name in plain]
    expected += [
        f"{part}_{name}@{k}" for part in ("repeat", "new") for k in (1, 10) for name in ("recall", "ndcg")
    ]
    table = per_user(lists(ann="a"), true_items(ann="a"), [1, 10])
    assert table.columns == KEYS + expected
    assert set(table.drop(KEYS).dtypes) == {pl.Float64}


def test_fewer_items_than_k_still_divide_precision_by_k():
    found = judge("ab", "ab", k=10)
    assert found["precision@10"] == 2 / 10
    assert found["recall@10"] == found["map@10"] == found["ndcg@10"] == 1


def test_more_true_items_than_k_can_still_be_perfect_in_map_and_ndcg():
    found = judge("abc", "abcdef", k=3)
    assert found["map@3"] == found["ndcg@3"] == found["precision@3"] == 1
    assert found["recall@3"] == 3 / 6


def test_a_hit_beyond_k_does_not_count():
    found = judge("xyza", "a", k=3)
    assert {found[f"{name}@3"] for name in ("hit_rate", "recall", "precision", "map", "ndcg", "mrr")} == {0.0}
    assert judge("xyza", "a", k=4)["mrr@4"] == 1 / 4


def test_repeats_and_new_items_are_judged_on_the_same_list():
    # b at rank 1 is a repeat; a at rank 3 and c (missed) are new.
    found = judge("bxa", "aBc", k=3)
    assert found["repeat_recall@3"] == found["repeat_ndcg@3"] == 1
    assert found["new_recall@3"] == 1 / 2
    assert found["new_ndcg@3"] == pytest.approx((1 / math.log2(4)) / (1 + 1 / math.log2(3)))


def test_no_true_repeat_is_null_and_a_missed_one_is_zero():
    found = judge("ax", "aB", k=2)
    assert found["repeat_recall@2"] == found["repeat_ndcg@2"] == 0
    found = judge("ax", "a", k=2)
    assert found["repeat_recall@2"] is found["repeat_ndcg@2"] is None
    assert found["new_recall@2"] == 1


def test_a_user_without_a_list_counts_as_zero():
    table = per_user(lists(ann="a"), true_items(ann="a", bob="b"), [5])
    assert table["user_id"].to_list() == ["ann", "bob"]
    assert table["recall@5"].to_list() == [1, 0]
    assert table["ndcg@5"].to_list() == [1, 0]
    assert table["mrr@5"].to_list() == [1, 0]


def test_users_without_a_true_item_are_left_out_and_counted():
    recommended, truth = lists(ann="ab", bob="ab", cat="a"), true_items(ann="a")
    assert per_user(recommended, truth, [5])["user_id"].to_list() == ["ann"]
    assert n_without_truth(recommended, truth) == 2


def test_a_list_is_judged_by_the_truth_of_its_own_cutoff():
    recommended = lists(ann="a")
    truth = true_items(ann="b").vstack(true_items(ann="a").with_columns(cutoff=pl.lit(LATER, TS)))
    table = per_user(recommended, truth, [1])
    assert table["cutoff"].to_list() == [DAY, LATER]
    assert table["recall@1"].to_list() == [0, 0]
    assert n_without_truth(recommended.with_columns(cutoff=pl.lit(LATER, TS)), true_items(ann="a")) == 1


def test_the_cutoffs_of_a_user_do_not_add_up():
    recommended, truth = lists(ann="xab"), true_items(ann="ab")
    once = per_user(recommended, truth, [3])
    again = pl.lit(LATER, TS).alias("cutoff")
    both = per_user(
        recommended.vstack(recommended.with_columns(again)), truth.vstack(truth.with_columns(again)), [3]
    )
    assert_frame_equal(both, once.vstack(once.with_columns(again)))


def test_no_truth_at_all_is_an_empty_table_with_its_columns():
    table = per_user(lists(ann="a"), true_items(), [3])
    assert table.is_empty()
    assert "new_ndcg@3" in table.columns


def test_an_item_twice_in_a_list_is_refused():
    with pytest.raises(
        ValueError,
        match=r"recommended: 1 key\(s\) \(user_id, cutoff, item_id\) appear more than once, "
        r"e\.g\. ann, 2024-03-01 00:00:00\+00:00, a; keep one row per key",
    ):
        per_user(lists(ann="aba"), true_items(ann="a"), [3])


def test_a_rank_twice_in_a_list_is_refused():
    tied = lists(ann="ab").with_columns(rank=pl.lit(1, pl.UInt32))
    with pytest.raises(ValueError, match=r"recommended: 1 key\(s\) \(user_id, cutoff, rank\)"):
        per_user(tied, true_items(ann="a"), [3])


def test_a_true_item_twice_is_refused_with_at_most_three_examples():
    repeated = true_items(ann="aa", bob="bb", cat="cc", dan="dd", eve="e")
    with pytest.raises(ValueError, match=r"truth: 4 key\(s\)") as caught:
        per_user(lists(ann="a"), repeated, [3])
    assert "cat" in str(caught.value)
    assert "dan" not in str(caught.value)


def test_missing_values_are_refused():
    truth = true_items(ann="ab").with_columns(is_repeat=pl.lit(None, pl.Boolean))
    with pytest.raises(
        ValueError, match=r"truth: missing values \(2 in is_repeat\); every row needs user_id"
    ):
        per_user(lists(ann="a"), truth, [3])
    recommended = lists(ann="ab").with_columns(item_id=pl.lit(None, pl.String))
    with pytest.raises(ValueError, match=r"recommended: missing values \(2 in item_id\)"):
        per_user(recommended, true_items(ann="a"), [3])


def test_ranks_count_from_one():
    from_zero = lists(ann="ab").with_columns(pl.col("rank") - 1)
    with pytest.raises(ValueError, match=r"recommended: 1 rank\(s\) below 1; ranks count from 1"):
        per_user(from_zero, true_items(ann="a"), [3])


def test_coverage_by_hand():
    recommended = lists(ann="abc", bob="bad")
    assert coverage(recommended, n_items=8, k=1) == 2 / 8
    assert coverage(recommended, n_items=8, k=3) == 4 / 8
    assert coverage(lists(), n_items=8, k=3) == 0


@pytest.mark.parametrize(("items", "n_items"), [("abc", 2), ("", 0)])
def test_coverage_refuses_a_catalogue_smaller_than_the_lists(items, n_items):
    with pytest.raises(
        ValueError, match=f"show {len(items)} distinct items, but the catalogue has {n_items}"
    ):
        coverage(lists(ann=items), n_items=n_items, k=3)


def slow(recommended: list[str], truth: set[str], k: int) -> dict[str, float]:
    hits = [rank for rank, item in enumerate(recommended[:k], 1) if item in truth]
    n_possible = min(k, len(truth))
    return {
        "hit_rate": float(bool(hits)),
        "recall": len(hits) / len(truth),
        "precision": len(hits) / k,
        "map": sum(number / rank for number, rank in enumerate(hits, 1)) / n_possible,
        "ndcg": sum(1 / math.log2(rank + 1) for rank in hits)
        / sum(1 / math.log2(rank + 1) for rank in range(1, n_possible + 1)),
        "mrr": 1 / hits[0] if hits else 0.0,
    }


USERS = st.dictionaries(
    st.sampled_from(["ann", "bob", "cat", "dan"]),
    st.tuples(
        st.permutations("abcdefgh").flatmap(
            lambda items: st.integers(0, 8).map(lambda n: "".join(items[:n]))
        ),
        st.dictionaries(st.sampled_from("abcdefghij"), st.booleans()),
    ),
    min_size=1,
)


def as_tables(users: dict[str, tuple[str, dict[str, bool]]]) -> tuple[pl.DataFrame, pl.DataFrame]:
    recommended = lists(**{user: items for user, (items, _) in users.items()})
    words = {
        user: "".join(item.upper() if repeat else item for item, repeat in truth.items())
        for user, (_, truth) in users.items()
    }
    return recommended, true_items(**words)


@settings(deadline=None)
@given(users=USERS, k=st.integers(1, 9))
def test_agrees_with_plain_python(users, k):
    recommended, truth = as_tables(users)
    table = per_user(recommended, truth, [k])
    assert table["user_id"].to_list() == sorted(user for user, (_, true) in users.items() if true)
    assert n_without_truth(recommended, truth) == sum(
        bool(items) and not true for items, true in users.values()
    )
    for row in table.rows(named=True):
        items, true = users[row["user_id"]]
        for name, expected in slow(list(items), set(true), k).items():
            assert row[f"{name}@{k}"] == pytest.approx(expected)
        for part, wanted in (("repeat", True), ("new", False)):
            subset = {item for item, repeat in true.items() if repeat is wanted}
            restricted = slow(list(items), subset, k) if subset else {"recall": None, "ndcg": None}
            assert row[f"{part}_recall@{k}"] == pytest.approx(restricted["recall"])
            assert row[f"{part}_ndcg@{k}"] == pytest.approx(restricted["ndcg"])


@settings(deadline=None)
@given(users=USERS, seed=st.integers(0, 99))
def test_bounds_and_independence_of_row_order(users, seed):
    recommended, truth = as_tables(users)
    table = per_user(recommended, truth, [1, 3, 8])
    shuffled = per_user(
        recommended.sample(fraction=1, shuffle=True, seed=seed),
        truth.sample(fraction=1, shuffle=True, seed=seed),
        [1, 3, 8],
    )
    assert_frame_equal(table, shuffled, check_exact=True)
    for column in table.drop(KEYS):
        assert column.drop_nulls().is_between(0, 1).all()
