"""Lists come in blocks, and are written so that nobody sees the blocks."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted import matrix
from shops import PREFERENCE, data_files
from stage_runs import Runs, table

from ecbehave.artifacts import Artifact
from ecbehave.models.cf import item_knn
from ecbehave.stages import predict_lists
from ecbehave.stages.predict_lists import by_users, narrowed

CopyOf = Callable[..., Runs]
LIST = {"user_id": pl.String, "item_id": pl.String, "score": pl.Float64}


def in_frames(rows: pl.DataFrame, cuts: list[int]) -> Iterator[pl.DataFrame]:
    """Cut rows after whole users."""
    ids = rows["user_id"].unique(maintain_order=True)
    ends = sorted({0, ids.len(), *(cut for cut in cuts if cut <= ids.len())})
    for start, end in itertools.pairwise(ends):
        yield rows.filter(pl.col("user_id").is_in(ids[start:end].implode())).select(
            "score", "item_id", "user_id"
        )
    yield rows.clear()


@given(
    n_items=st.lists(st.integers(0, 3), min_size=1, max_size=12),
    cuts=st.lists(st.integers(0, 12)),
    at_once=st.integers(1, 13),
)
def test_every_user_comes_once_with_all_of_his_rows(
    n_items: list[int], cuts: list[int], at_once: int
) -> None:
    # Every other user is asked; some of them have no rows.
    n_users = 2 * len(n_items)
    data = matrix([], n_users, [], asked=range(0, n_users, 2))
    rows = pl.DataFrame(
        [(f"u{2 * n:04d}", f"i{i}", -float(i)) for n, count in enumerate(n_items) for i in range(count)],
        LIST,
        orient="row",
    )
    parts = list(by_users(in_frames(rows, cuts), data, at_once))
    assert np.concatenate([users for users, _ in parts]).tolist() == list(range(0, n_users, 2))
    assert pl.concat([part for _, part in parts]).equals(rows)
    for users, part in parts:
        assert 1 <= users.size <= at_once
        assert set(part["user_id"]) <= {f"u{user:04d}" for user in users}


def test_nobody_is_asked() -> None:
    assert list(by_users([], matrix([], 3, [], asked=[]), 5)) == []


def test_a_matrix_that_asks_about_some() -> None:
    data = matrix([(0, 0, "view", 1, 1.0)], 4, ["a"])
    some = narrowed(data, np.array([1, 3]))
    assert some.asked.tolist() == [1, 3]
    assert some.pairs.equals(data.pairs)
    assert data.asked.tolist() == [0, 1, 2, 3]


def published(runs: Runs) -> Artifact:
    found = runs.context().workspace.read("shop/predictions/as_of=2024-04-29")
    assert found is not None
    return found


@pytest.mark.parametrize("rows", [20, 100])
def test_blocks_change_no_byte(
    rows: int, listing: Runs, copy_of: CopyOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = (published(listing).path / "scores.parquet").read_bytes()
    monkeypatch.setattr(predict_lists, "_ROWS", rows)
    monkeypatch.setattr(item_knn, "_BLOCK_USERS", 7)
    runs = copy_of(listing, **PREFERENCE)
    runs.do("predict", force=True)
    assert (published(runs).path / "scores.parquet").read_bytes() == whole
    assert published(runs).counts == published(listing).counts


def test_a_model_of_the_matrix_beside_a_baseline_of_the_table(listing: Runs, copy_of: CopyOf) -> None:
    """What the baseline reads is no matter of the model's lists."""
    settings = PREFERENCE | {
        "split": {"step": "7d", "train": 2},
        "baseline": {"kind": "logistic"},
        "task": PREFERENCE["task"] | {"candidates": {"similar": 5, "popular": 5}},
    }
    runs = copy_of(listing, **settings)
    runs.do("features", "train", "predict")
    own = table(published(runs), "scores.parquet")
    assert own["score"].null_count() < own.height
    assert own.equals(table(published(listing), "scores.parquet"))


def test_the_seed_and_the_threads_change_no_byte(listing: Runs, copy_of: CopyOf, tmp_path: Path) -> None:
    del tmp_path
    runs = copy_of(listing, **PREFERENCE)
    runs.threads = 2
    runs.do("predict", force=True)
    before, after = (data_files(r.shop.workspace / "shop/predictions") for r in (listing, runs))
    assert before == after
