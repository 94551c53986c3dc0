"""Preference as re-ranking: candidates that are chosen with all users in sight, and the table of them."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from planted import Pair, matrix, predict
from shops import PREFERENCE, Shop
from stage_runs import Runs, table

from ecbehave import memory
from ecbehave.config.task import RankedCandidates
from ecbehave.inputs.matrix import read_matrix
from ecbehave.inputs.suggestions import Sources
from ecbehave.inputs.types import MatrixInput
from ecbehave.models import model_class
from ecbehave.models.protocol import Options
from ecbehave.stages.candidates import CandidateLists, candidates
from ecbehave.stages.features import windows_of

RANKED: dict[str, Any] = PREFERENCE | {
    "task": PREFERENCE["task"] | {"candidates": {"recent": "14d", "similar": 3, "popular": 2}},
    "split": {"step": "7d", "train": 2},
    "model": {"kind": "boosting", "max_trees": 20, "min_rows_per_leaf": 5},
}
INPUTS = ("ingest", "clean", "features")
DAY = timedelta(days=1)


def sources(event: str = "purchase", **settings: Any) -> Sources:
    config = RankedCandidates(**{"popular": 0, "similar": 2} | settings)
    return Sources(config, (event,), (7 * DAY, 28 * DAY), "UTC")


def chosen(data: MatrixInput, found: Sources, threads: int = 1) -> pl.DataFrame:
    return pl.concat(candidates(found, data, threads))


def told(rows: pl.DataFrame, user: str, name: str) -> dict[str, float | None]:
    own = rows.filter(user_id=user)
    return dict(zip(own["item_id"], own[name], strict=True))


def crowd(*baskets: str, event: str = "purchase") -> list[Pair]:
    """Each basket is what three users had, once, just now; items are letters."""
    return [
        (3 * n + user, ord(item) - ord("a"), event, 1, 0.0)
        for n, basket in enumerate(baskets)
        for user in range(3)
        for item in basket
    ]


# The lists of one cutoff


def test_what_goes_with_the_users_items_is_a_candidate() -> None:
    """a goes with b, and c with d; the last user had a alone."""
    pairs = [*crowd("ab", "cd"), (6, 0, "purchase", 1, 0.0)]
    rows = chosen(matrix(pairs, 7, list("abcd")), sources())
    similar = told(rows, "u0006", "item_similar_score_any_all")
    assert set(similar) == {"a", "b"}
    assert similar["a"] == 0, "an item does not go with itself"
    assert similar["b"] > 0  # type: ignore[operator]
    assert told(rows, "u0006", "item_similar_rank_any_all") == {"a": 2, "b": 1}
    assert told(rows, "u0006", "item_affinity_rank_any_all") == {"a": 1, "b": 2}, "had before"


def test_scores_are_those_of_item_knn() -> None:
    """Among 40 users with random baskets, and half of them asked."""
    rng = np.random.default_rng(0)
    pairs: list[Pair] = [
        (user, item, event, int(rng.integers(1, 4)), float(rng.integers(0, 60)))
        for user in range(40)
        for item in range(12)
        for event in ("view", "purchase")
        if rng.random() < 0.3
    ]
    data = matrix(pairs, 40, [f"i{n:02d}" for n in range(12)], asked=range(0, 40, 2))
    rows = chosen(data, sources(similar=5))
    assert rows["user_id"].unique().sort().to_list() == [f"u{n:04d}" for n in range(0, 40, 2)]
    knn = model_class("item_knn")
    for name, settings in {"similar": {"repeat_weight": 0}, "affinity": {}}.items():
        model = knn(knn.config_class(kind="item_knn", **settings)).fit([data], [], Options(0, 1))
        expected = predict(model, data, 12).with_columns(pl.col("score").cast(pl.Float32))
        both = rows.join(expected, on=["user_id", "item_id"], how="left")
        score = both[f"item_{name}_score_any_all"]
        assert (score - both["score"].fill_null(0)).abs().max() < 1e-5  # type: ignore[operator]
    top = predict(
        knn(knn.config_class(kind="item_knn", repeat_weight=0)).fit([data], [], Options(0, 1)), data, 5
    )
    assert top.join(rows, on=["user_id", "item_id"], how="anti").height == 0


@pytest.mark.parametrize("event", ["wish", "any"])
def test_the_event_of_the_task_counts_for_what_goes_together(event: str) -> None:
    """item_knn by itself does not know wishes."""
    data = matrix([*crowd("ab", event="wish"), (6, 0, "wish", 1, 0.0)], 7, list("abc"))
    rows = chosen(data, sources(event))
    assert set(told(rows, "u0006", "item_similar_score_any_all")) == {"a", "b"}


def test_where_nothing_is_known_to_go_together_there_are_other_sources() -> None:
    data = matrix(crowd("ab", event="wish"), 6, list("abc"))
    rows = chosen(data, sources(popular=1))
    assert told(rows, "u0000", "item_similar_score_any_all") == {"a": 0, "b": 0}
    assert rows["user_id"].unique().sort().to_list() == ["u0000", "u0001", "u0002"]


def test_labels_are_not_looked_at() -> None:
    data = matrix(crowd("ab", "bc"), 6, list("abc"))
    labels = pl.DataFrame({"user_id": ["u0000"], "item_id": ["c"]})
    assert chosen(replace(data, labels=labels), sources()).equals(chosen(data, sources()))


def test_threads_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    from ecbehave.models.cf import item_knn, mutual

    monkeypatch.setattr(mutual, "_BLOCK", 3)
    monkeypatch.setattr(item_knn, "_BLOCK_USERS", 2)
    data = matrix(crowd("abd", "bc", "acd", "e"), 12, list("abcde"))
    one = chosen(data, sources(popular=1))
    assert one.equals(chosen(data, sources(popular=1), threads=3))
    assert one.select("user_id", "item_id").equals(
        one.select("user_id", "item_id").sort("user_id", "item_id")
    )


def test_stored_lists_are_read_by_bucket(tmp_path: Path) -> None:
    data = matrix(crowd("ab", "bc"), 6, list("abc"))
    lists = CandidateLists(tmp_path / "lists", sources(), 1)
    lists.make("train/2024-03-01", data)
    everything = chosen(data, sources())
    hashes = pl.Series([2, 3, 3], dtype=pl.UInt64)
    part = lists.of("train/2024-03-01", hashes)
    assert part.equals(everything.filter(pl.col("user_hash").is_in([2, 3])))
    assert part.height > 2
    nobody = lists.of("train/2024-03-01", hashes.clear())
    assert nobody.schema == everything.schema
    assert nobody.height == 0
    lists.remove()
    assert not (tmp_path / "lists").exists()


# The table


@pytest.fixture(scope="module")
def ranked(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Inputs of a ranking by the small shop's log; not to be changed."""
    from shops import shop_log

    shop = Shop(tmp_path_factory.mktemp("ranked") / "shop")
    shop.write(shop_log())
    shop.write_items()
    runs = Runs(shop, shop.config(**RANKED))
    runs.do(*INPUTS)
    return runs


def inputs_of(runs: Runs) -> Any:
    return runs.context().workspace.read("shop/inputs")


def matrix_of(runs: Runs, split: str) -> tuple[MatrixInput, pl.DataFrame]:
    """The matrix of the first cutoff of a split, and the table beside it."""
    inputs = inputs_of(runs)
    cutoff = windows_of(inputs, split)[0].cutoff
    part = f"{split}/{cutoff:%Y-%m-%d}"
    rows = pl.read_parquet(inputs.path / "table" / f"{part}.parquet")
    return read_matrix(inputs.path / "matrix" / part, cutoff, has_labels=True), rows


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_rows_are_what_the_sources_bring(ranked: Runs, split: str) -> None:
    """Own items of two weeks, three neighbours, and two bestsellers by purchases and by any event, of the models."""
    data, rows = matrix_of(ranked, split)
    asked = data.users.filter("is_asked").select("user_id")
    numbers = {"user": data.users.select("user_id"), "item": data.items}
    recent = data.pairs.filter(pl.col("days_since") <= 14)
    own = pl.DataFrame(
        {f"{name}_id": ids.to_series().gather(recent[name]) for name, ids in numbers.items()}
    ).join(asked, on="user_id", how="semi")
    knn, popular = model_class("item_knn"), model_class("popularity")
    fitted = knn(knn.config_class(kind="item_knn", repeat_weight=0)).fit([data], [], Options(0, 1))
    near = predict(fitted, data, 3).select("user_id", "item_id")
    bought = replace(data, pairs=data.pairs.filter(event_type="purchase"))
    often = [
        predict(popular(popular.config_class(kind="popularity", window=window)), known, 2)
        for known in (bought, data)
        for window in ("7d", "28d")
    ]
    parts = [own, near, *(o.select("user_id", "item_id") for o in often)]
    expected = pl.concat(parts).unique().join(data.users, on="user_id")
    keys = ["user_hash", "user_id", "item_id"]
    assert rows.select(keys).equals(expected.sort(keys).select(keys))
    true = {tuple(row) for row in data.labels.select("user_id", "item_id").rows()}  # type: ignore[union-attr]
    found = [tuple(row) in true for row in rows.select("user_id", "item_id").rows()]
    assert rows["label"].to_list() == [int(is_true) for is_true in found]
    assert 0 < sum(found) < len(true), "some true items are no candidates"


def test_true_items_that_are_no_candidates_are_counted(ranked: Runs) -> None:
    data, rows = matrix_of(ranked, "test")
    counts, part = inputs_of(ranked).counts, f"test/{data.cutoff:%Y-%m-%d}"
    assert counts[f"{part}.candidates"] == rows.height
    assert counts[f"{part}.true_candidates"] == rows["label"].sum()
    assert counts[f"{part}.true_pairs"] == data.labels.height  # type: ignore[union-attr]
    assert counts[f"{part}.rows"] == data.asked.size, "as of a matrix: users"


def test_the_report_says_what_share_of_the_true_items_was_ranked(
    ranked: Runs, copy_of: Callable[..., Runs]
) -> None:
    runs = copy_of(ranked, **RANKED)
    runs.do("train", "evaluate")
    counts = inputs_of(runs).counts
    (part,) = {name.partition(".")[0] for name in counts if name.startswith("test/")}
    n_true, n_asked = counts[f"{part}.true_pairs"], counts[f"{part}.true_candidates"]
    folder = runs.shop.workspace / "shop" / "evaluation"
    found = json.loads((folder / "metrics.json").read_text())["candidates"]
    assert found == {"n_true_pairs": n_true, "n_asked": n_asked, "recall": n_asked / n_true}
    said = f"{n_asked:,} of {n_true:,} ({100 * n_asked / n_true:.1f} %); the others were no candidates"
    assert said in (folder / "report.html").read_text(encoding="utf-8")


def test_features_of_sources_stand_beside_those_of_pairs_and_users(ranked: Runs) -> None:
    _, rows = matrix_of(ranked, "test")
    names = inputs_of(ranked).info["features"]
    assert rows.columns == ["user_hash", "user_id", "cutoff", "item_id", "label", *names]
    assert {"item_affinity_rank_any_all", "item_count_view_7d", "count_purchase_7d"} <= set(names)
    own = pl.col("item_count_view_all") + pl.col("item_count_purchase_all") + pl.col("item_count_cart_all")
    is_new = rows.filter(own == 0)
    assert is_new.height > 0
    assert is_new["item_recency_days_purchase_all"].null_count() == is_new.height
    assert rows["item_affinity_rank_any_all"].min() == 1


def test_nothing_is_left_of_the_lists(ranked: Runs) -> None:
    assert sorted(p.name for p in inputs_of(ranked).path.iterdir()) == ["manifest.json", "matrix", "table"]


def test_buckets_and_threads_do_not_matter(
    ranked: Runs, copy_of: Callable[..., Runs], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "FEWEST_ROWS", 1)
    monkeypatch.setattr(memory, "MOST_ROWS", 500)
    other = copy_of(ranked, **RANKED)
    other.threads = 2
    other.do("features", force=True)
    files = {
        name: [f.read_bytes() for f in inputs_of(runs).files("table/*/*.parquet")]
        for name, runs in (("one", ranked), ("other", other))
    }
    assert len(files["one"]) == 4
    assert files["one"] == files["other"]


def test_a_model_of_the_matrix_needs_no_candidates(ranked: Runs, copy_of: Callable[..., Runs]) -> None:
    runs = copy_of(ranked, **RANKED | {"model": {"kind": "item_knn"}})
    runs.do("features")
    assert not (inputs_of(runs).path / "table").exists()


# Through all stages


def test_the_last_night_is_ranked_like_the_test_windows(ranked: Runs, copy_of: Callable[..., Runs]) -> None:
    """Everybody gets a list; what the model has ranked are candidates, and popular items fill it up."""
    runs = copy_of(ranked, **RANKED | {"predict": {"k": 12}})
    scores = table(runs.do("train", "evaluate", "predict").artifact, "scores.parquet")
    assert (scores.group_by("user_id").len()["len"] == 12).all()
    assert scores["score"].null_count() > 0, "there are fewer candidates than that"
    assert not (runs.shop.workspace / f"shop/predictions/as_of={scores['as_of'][0]}/.input").exists()
