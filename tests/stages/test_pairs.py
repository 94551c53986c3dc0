"""Purchase of categories and items: a score for each pair of a user and a candidate, through all stages."""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from command_line import ecbehave
from shops import ROOT, Shop
from stage_runs import Runs, table

from ecbehave.errors import ConfigError, DataError
from ecbehave.inputs.feature_names import FeatureName
from ecbehave.schema import TARGETS, binary_scores

CopyOf = Callable[..., Runs]
ALL = ("ingest", "clean", "features", "train", "evaluate", "predict")
WEEK_0, N_WEEKS = datetime(2024, 1, 1, tzinfo=UTC), 14
END = WEEK_0 + timedelta(weeks=N_WEEKS)
LATEST = date(2024, 4, 7)
#: Eight items in four categories, as `write_items` has them: i00 is of c0, i01 of c1, and so on.
N_ITEMS = 8
PLANTED: dict[str, Any] = {
    "task": {
        "kind": "purchase",
        "target": "category",
        "candidates": {"recent": "14d"},
        "active_within": "14d",
        "horizon": "7d",
    },
    "split": {"step": "7d", "train": 4},
    "features": {"windows": ["7d", "28d"]},
    "model": {
        "kind": "boosting",
        "max_trees": 60,
        "min_rows_per_leaf": 5,
        "learning_rate": 0.1,
        "feature_share": 0.5,
    },
}


def carting_log(n_users: int = 50, seed: int = 0) -> pl.DataFrame:
    """Whoever carts an item in one week buys it in the next; views mean nothing, and of carts there are two a week."""
    rng = np.random.default_rng(seed)
    rows: list[tuple[str, int, str, datetime]] = []
    carted = np.array(
        [[rng.choice(N_ITEMS, 2, replace=False) for _ in range(N_WEEKS)] for _ in range(n_users)]
    )
    for user in range(n_users):
        for week in range(N_WEEKS):
            kinds = [("cart", item) for item in carted[user, week]]
            kinds += [("view", int(rng.integers(N_ITEMS))) for _ in range(3)]
            if week:
                kinds += [("purchase", item) for item in carted[user, week - 1]]
            for kind, item in kinds:
                second = int(rng.integers(0, 7 * 86_400))
                rows.append((f"u{user:02d}", int(item), kind, WEEK_0 + timedelta(weeks=week, seconds=second)))
    rows.append(("u00", 0, "view", END - timedelta(minutes=1)))
    log = pl.DataFrame(rows, schema=["user", "item", "kind", "time"], orient="row")
    return log.with_columns(
        pl.format("i{}", pl.col("item").cast(pl.String).str.zfill(2)).alias("item"),
        pl.col("time").dt.strftime("%Y-%m-%d %H:%M:%S"),
        price=9.5, quantity=1, order=pl.lit(None, pl.String),
    )  # fmt: skip


@pytest.fixture(scope="session")
def carting(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Purchase of categories by `carting_log`, all stages done; not to be changed."""
    return done(tmp_path_factory.mktemp("carting") / "shop", **PLANTED)


def done(folder: Any, **settings: Any) -> Runs:
    shop = Shop(folder)
    shop.write(carting_log())
    shop.write_items()
    runs = Runs(shop, shop.config(**settings))
    runs.do(*ALL)
    return runs


def events(runs: Runs) -> pl.DataFrame:
    artifact = runs.context().workspace.read("clean")
    assert artifact is not None
    return table(artifact, "events/*.parquet")


def rows_of(runs: Runs, split: str) -> pl.DataFrame:
    artifact = runs.context().workspace.read("shop/inputs")
    assert artifact is not None
    return table(artifact, f"table/{split}/*.parquet")


def counts_of(runs: Runs) -> dict[str, int]:
    artifact = runs.context().workspace.read("shop/inputs")
    assert artifact is not None
    return dict(artifact.counts)


def metrics(runs: Runs) -> dict[str, Any]:
    stored: dict[str, Any] = json.loads((runs.shop.workspace / "shop/evaluation/metrics.json").read_text())
    return stored


def scores(runs: Runs) -> pl.DataFrame:
    artifact = runs.context().workspace.read(f"shop/predictions/as_of={LATEST}")
    assert artifact is not None
    return table(artifact, "scores.parquet")


def between(log: pl.DataFrame, start: datetime, end: datetime, *types: str) -> set[tuple[str, str]]:
    """Users and categories of some events, by hand."""
    return {
        (user, category)
        for user, category, ts, kind in log.select("user_id", "category", "ts", "event_type").rows()
        if start <= ts < end and category is not None and (not types or kind in types)
    }


# Inputs


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_pairs_and_labels_are_those_of_the_log(carting: Runs, split: str) -> None:
    log, rows = events(carting), rows_of(carting, split)
    cutoffs = rows["cutoff"].unique().sort()
    assert len(cutoffs) == {"train": 4, "validation": 1, "test": 1}[split]
    for cutoff in cutoffs:
        asked = between(log, cutoff - timedelta(days=14), cutoff)
        bought = between(log, cutoff, cutoff + timedelta(days=7), "purchase")
        found = rows.filter(pl.col("cutoff") == cutoff).select("user_id", "category", "label").rows()
        assert sorted(found) == sorted((*pair, int(pair in bought)) for pair in asked)


def test_true_pairs_that_were_no_candidates_are_counted(carting: Runs, copy_of: CopyOf) -> None:
    """With one day of candidates, most of what is bought was not asked about."""
    runs = copy_of(carting, **PLANTED | {"task": PLANTED["task"] | {"candidates": {"recent": "1d"}}})
    runs.do("features", "train", "evaluate")
    log, rows, counts = events(runs), rows_of(runs, "test"), counts_of(runs)
    cutoff = rows["cutoff"][0]
    active = {user for user, _ in between(log, cutoff - timedelta(days=14), cutoff)}
    bought = between(log, cutoff, cutoff + timedelta(days=7), "purchase")
    true = {pair for pair in bought if pair[0] in active}
    asked = true & between(log, cutoff - timedelta(days=1), cutoff)
    name = f"test/{cutoff:%Y-%m-%d}"
    assert counts[f"{name}.true_pairs"] == len(true)
    assert counts[f"{name}.positives"] == len(asked) < len(true) / 2
    assert metrics(runs)["candidates"] == {
        "n_true_pairs": len(true),
        "n_asked": len(asked),
        "recall": pytest.approx(len(asked) / len(true)),
    }
    report = (runs.shop.workspace / "shop/evaluation/report.html").read_text()
    share = f"{100 * len(asked) / len(true):.1f} %"
    assert f"{len(asked):,} of {len(true):,} ({share}); the others were no candidates" in report


def test_popular_candidates_are_for_everybody(carting: Runs, copy_of: CopyOf) -> None:
    candidates = {"recent": "1d", "popular": 4}
    runs = copy_of(carting, **PLANTED | {"task": PLANTED["task"] | {"candidates": candidates}})
    runs.do("features")
    rows = rows_of(runs, "test")
    assert rows.height == 4 * rows["user_id"].n_unique() == 200
    assert counts_of(runs)[f"test/{rows['cutoff'][0]:%Y-%m-%d}.true_pairs"] == rows["label"].sum()


def test_a_log_without_categories_says_so(shop: Shop) -> None:
    shop.settings["dataset"]["sources"].pop()
    runs = Runs(shop, shop.config(**PLANTED))
    runs.do("ingest", "clean")
    with pytest.raises(DataError) as error:
        runs.do("features")
    assert str(error.value) == (
        "the log has no category, which task.target asks about; "
        "map it in dataset.sources[].columns, of the log or of a table: items"
    )


def test_candidates_without_a_target_have_no_use(shop: Shop) -> None:
    config = shop.config(task={"kind": "purchase", "candidates": {"popular": 5}})
    done = ecbehave("config", "show", "--config", config)
    assert done.code == 2
    assert "candidates are for target: item or category; take them out, or set target" in done.error


def test_many_popular_candidates_take_memory_of_their_own(carting: Runs, copy_of: CopyOf) -> None:
    """A run that cannot keep within its memory says so before it starts."""
    task = PLANTED["task"] | {"candidates": {"popular": 2_000}}
    runs = copy_of(carting, **PLANTED | {"task": task})
    runs.memory_bytes = 1_000_000_000
    with pytest.raises(
        ConfigError, match=r"--memory 1000MB is too little for features on this log with 1 thread"
    ):
        runs.do("features")


# Model and evaluation


def test_the_model_finds_what_was_planted(carting: Runs) -> None:
    found = metrics(carting)
    assert found["metrics"]["auroc"]["value"] > 0.97
    assert found["baseline_metrics"]["auroc"]["value"] < 0.8
    assert found["candidates"]["recall"] == 1
    assert found["headline"] == "auroc"
    assert found["metrics"]["auprc"]["value"] > 0.9


def test_each_test_row_is_a_pair_with_its_own_scores(carting: Runs) -> None:
    rows, asked = table(_evaluation(carting), "test_scores.parquet"), rows_of(carting, "test")
    keys = ["user_id", "cutoff", "category"]
    assert rows.columns[:4] == [*keys, "label"]
    assert rows.select(*keys, "label").equals(asked.select(*keys, "label"))
    by_user = rows.group_by("user_id").agg(pl.col("score").n_unique())
    assert by_user["score"].max() > 1, "scores differ within a user"  # type: ignore[operator]


def _evaluation(runs: Runs) -> Any:
    return runs.context().workspace.read("shop/evaluation")


def test_the_report_says_who_is_asked_about_what(carting: Runs) -> None:
    report = (carting.shop.workspace / "shop/evaluation/report.html").read_text()
    assert "at least one purchase of the category within 7 days from the cutoff on" in report
    asked = "paired with every category that the user had any event with in the 14 days before the cutoff"
    assert asked in report
    assert "pairs asked at 4 cutoffs" in report
    assert "bought pairs" in report


def test_the_baseline_reads_recency_frequency_and_money_of_the_pair(carting: Runs) -> None:
    stored = json.loads((carting.shop.workspace / "shop/model/baseline/rfm.json").read_text())
    measures = ("recency_days", "days", "amount")
    assert stored["columns"] == [f"category_{measure}_purchase_all" for measure in measures]


# Scores


def test_every_candidate_of_the_last_night_has_one_row(carting: Runs) -> None:
    found = scores(carting)
    assert found.schema == pl.Schema(binary_scores("category"))
    assert found.columns[:4] == ["user_id", "category", "as_of", "horizon_end"]
    asked = between(events(carting), END - timedelta(days=14), END)
    assert sorted(found.select("user_id", "category").rows()) == sorted(asked)
    assert set(found.select("as_of", "horizon_end", "model").rows()) == {
        (LATEST, date(2024, 4, 14), "boosting")
    }


def test_scores_are_high_for_what_was_carted_in_the_last_week(carting: Runs) -> None:
    carted = between(events(carting), END - timedelta(days=7), END, "cart")
    found = {(u, c): p for u, c, p in scores(carting).select("user_id", "category", "probability").rows()}
    assert (
        min(found[pair] for pair in carted) > 0.5 > max(p for pair, p in found.items() if pair not in carted)
    )


def test_reasons_speak_of_the_category(carting: Runs) -> None:
    top = scores(carting).sort("score", descending=True).head(10)
    for category, reason in top.select("category", "reason_1").rows():
        assert "in this category" in reason
        assert reason.endswith(f" (raises the chance to buy in {category})")


def test_deciles_and_counts_are_of_pairs(carting: Runs) -> None:
    found = scores(carting)
    artifact = carting.context().workspace.read(f"shop/predictions/as_of={LATEST}")
    assert artifact is not None
    n_targeted = found["is_targeted"].sum()
    expected = {
        "pairs": found.height,
        "targeted": n_targeted,
        "control": 0,
        "cold": 0,
        "explained": n_targeted,
    }
    assert artifact.counts == expected
    assert found["decile"].value_counts()["count"].max() - found.height // 10 <= 1  # type: ignore[operator]


def test_predict_says_how_many_pairs_it_has_scored(carting: Runs, copy_of: CopyOf) -> None:
    runs = copy_of(carting, **PLANTED)
    runs.do("predict", force=True)
    found = scores(carting)
    assert runs.said == [
        f"predict: {found.height:,} pairs scored as of {LATEST} for the days up to 2024-04-14; "
        f"{found['is_targeted'].sum():,} targeted"
    ]
    assert scores(runs).equals(scores(carting))


def test_items_go_the_same_way(carting: Runs, copy_of: CopyOf) -> None:
    runs = copy_of(carting, **PLANTED | {"task": PLANTED["task"] | {"target": "item"}})
    runs.do("features", "train", "evaluate", "predict")
    assert scores(runs).schema == pl.Schema(binary_scores("item_id"))
    assert metrics(runs)["metrics"]["auroc"]["value"] > 0.97
    assert rows_of(runs, "test").columns[3:5] == ["item_id", "label"]
    names = [n for n in rows_of(runs, "test").columns if n.startswith("item_") and n not in TARGETS]
    assert all(FeatureName.parse(name).measure.startswith("item_") for name in names)


def test_the_command_line_runs_it_end_to_end(carting: Runs, copy_of: CopyOf) -> None:
    config = copy_of(carting, **PLANTED).config
    found = ecbehave("run", "--config", config, "--force", "--quiet", "--json").json
    assert found["rows"] == scores(carting).height
    assert pl.read_parquet(found["path"]).equals(scores(carting))
    assert found["metrics"]["auprc"]["value"] == metrics(carting)["metrics"]["auprc"]["value"]


@pytest.mark.slow
def test_the_sample_shop_is_predicted_better_than_by_the_rule(tmp_path: Path) -> None:
    config = ROOT / "configs" / "purchase_category.yaml"
    found = ecbehave("run", "--config", config, "--workspace", tmp_path, "--quiet", "--json").json
    assert found["verdict"]["standing"] == "better"
    assert 0.75 < found["metrics"]["auroc"]["value"] < 0.82


@pytest.mark.parametrize("kind", ["base_rate", "rfm"])
def test_rules_score_pairs_too(carting: Runs, copy_of: CopyOf, kind: str) -> None:
    runs = copy_of(carting, **PLANTED | {"model": {"kind": kind}})
    runs.do("train", "evaluate", "predict")
    assert scores(runs).select("user_id", "category").equals(scores(carting).select("user_id", "category"))
    found = metrics(runs)
    expected = 0.5 if kind == "base_rate" else found["baseline_metrics"]["auroc"]["value"]
    assert found["metrics"]["auroc"]["value"] == expected


@pytest.mark.parametrize("target", ["category", "item"])
@pytest.mark.parametrize("kind", ["item_knn", "popularity"])
def test_kinds_that_score_items_score_pairs_too(
    carting: Runs, copy_of: CopyOf, kind: str, target: str
) -> None:
    task = {"task": PLANTED["task"] | {"target": target}}
    runs = copy_of(carting, **PLANTED | task | {"model": {"kind": kind}})
    runs.do("features", "train", "evaluate", "predict")
    ours, column = scores(runs), "item_id" if target == "item" else target
    assert ours["probability"].is_between(0, 1).all()
    n_scores = ours.group_by(column if kind == "popularity" else "user_id").agg(pl.col("score").n_unique())
    assert (n_scores["score"].max() == 1) is (kind == "popularity"), "the same for everybody, or a user's own"
    assert 0.5 <= metrics(runs)["metrics"]["auroc"]["value"] < 0.9, (
        "what is planted stands in the features alone"
    )


def test_kinds_that_score_items_have_no_answer_about_users_alone(carting: Runs, copy_of: CopyOf) -> None:
    runs = copy_of(carting, task={"kind": "purchase", "horizon": "14d"}, model={"kind": "item_knn"})
    with pytest.raises(ConfigError, match=r"model\.kind: item_knn does not serve the task purchase"):
        runs.do("features")


# Decisions


def test_pairs_are_targeted_and_all_pairs_of_a_user_are_left_alone_together(
    carting: Runs, copy_of: CopyOf
) -> None:
    decision = {"kind": "capacity", "top": 40, "control_share": 0.3}
    runs = copy_of(carting, **PLANTED, decision=decision)
    counts = runs.do("predict").artifact.counts
    found = scores(runs)
    would = found.filter(pl.col("is_targeted") | pl.col("is_control"))
    assert would.height == 40
    assert would["score"].min() >= found.filter(~pl.col("is_targeted") & ~pl.col("is_control"))["score"].max()  # type: ignore[operator]
    assert would.group_by("user_id").agg(pl.col("is_control").n_unique())["is_control"].max() == 1
    assert counts["targeted"] + counts["control"] == 40
    assert 0 < counts["control"] < 25


def test_segments_of_pairs_are_about_the_pair(carting: Runs) -> None:
    found = metrics(carting)
    assert [s["feature"] for s in found["segments"]] == [
        "category_recency_days_purchase_all",
        "category_days_purchase_all",
    ]
    assert all(sum(s["n"] for s in of["segments"]) == found["n_rows"] for of in found["segments"])
    assert found["calibration"]["model"]["chance"] > 0
