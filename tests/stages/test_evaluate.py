"""evaluate: the numbers are those of an independent computation, and say what they must say."""

import json
import math
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from planted_shops import ASKING, N_WEEKS, WEEK_0, asking_log
from shops import PREFERENCE, Shop, data_files
from sklearn import metrics as reference
from stage_runs import Runs

from ecbehave.errors import DataError, GateError
from ecbehave.inputs.types import Inputs, MatrixInput
from ecbehave.metrics.bootstrap import BINARY_METRICS
from ecbehave.stages import features, train
from ecbehave.stages.lists import complete_lists
from ecbehave.stages.stored_models import FITTED

CopyOf = Callable[..., Runs]
UNCLEAR = {"model": {"kind": "rfm"}}


def stored(runs: Runs) -> dict[str, Any]:
    text = (runs.shop.workspace / "shop/evaluation/metrics.json").read_text()
    found: dict[str, Any] = json.loads(text)
    assert "NaN" not in text
    return found


def rows(runs: Runs) -> pl.DataFrame:
    return pl.read_parquet(runs.shop.workspace / "shop/evaluation/test_scores.parquet")


def report(runs: Runs) -> str:
    page = (runs.shop.workspace / "shop/evaluation/report.html").read_text(encoding="utf-8")
    return page.replace("\N{NO-BREAK SPACE}", " ")


def by_scikit_learn(table: pl.DataFrame, prefix: str, threshold: float) -> dict[str, float]:
    y, score, p = (table[c].to_numpy() for c in ("label", f"{prefix}score", f"{prefix}probability"))
    called = p >= threshold
    return {
        "auroc": reference.roc_auc_score(y, score),
        "auprc": reference.average_precision_score(y, score),
        "log_loss": reference.log_loss(y, p),
        "brier": reference.brier_score_loss(y, p),
        "accuracy": reference.accuracy_score(y, called),
        "precision": reference.precision_score(y, called),
        "recall": reference.recall_score(y, called),
        "f1": reference.f1_score(y, called),
    }


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Churn that can only be guessed in part, with two test cutoffs."""
    folder = tmp_path_factory.mktemp("mixed")
    shop = Shop(folder / "shop")
    shop.write(_noisy())
    shop.write_items()
    split = {"step": "7d", "train": 4, "test": 2}
    runs = Runs(shop, shop.config(**ASKING | {"split": split}))
    runs.do("ingest", "clean", "features", "train", "evaluate")
    return runs


def _noisy() -> pl.DataFrame:
    """The planted log with a third of the purchases and questions forgotten."""
    log = asking_log(n_users=150)
    forgotten = np.random.default_rng(1).random(log.height) < 1 / 3
    forgotten[-3:] = False
    return log.filter(pl.Series((log["kind"] == "view").to_numpy() | ~forgotten))


def test_the_metrics_are_those_of_scikit_learn(mixed: Runs) -> None:
    found, table = stored(mixed), rows(mixed)
    for name, prefix, threshold in (
        ("metrics", "", found["threshold"]),
        ("baseline_metrics", "baseline_", found["baseline_threshold"]),
    ):
        expected = by_scikit_learn(table, prefix, threshold)
        for metric, value in expected.items():
            assert found[name][metric]["value"] == pytest.approx(value, rel=1e-12), (name, metric)
    assert set(found["metrics"]) == set(BINARY_METRICS)
    assert 0.6 < found["metrics"]["auroc"]["value"] < 0.99


def test_the_difference_is_model_minus_baseline_inside_its_interval(mixed: Runs) -> None:
    found = stored(mixed)
    for metric, difference in found["difference"].items():
        model, rule = found["metrics"][metric]["value"], found["baseline_metrics"][metric]["value"]
        assert difference["value"] == pytest.approx(model - rule, abs=1e-12)
        for part in ("metrics", "baseline_metrics", "difference"):
            interval = found[part][metric]
            assert interval["low"] <= interval["high"]
    auroc = found["metrics"]["auroc"]
    assert auroc["low"] < auroc["value"] < auroc["high"]


def test_confusion_and_counts_are_those_of_the_rows(mixed: Runs) -> None:
    found, table = stored(mixed), rows(mixed)
    called = table["probability"] >= found["threshold"]
    tn, fp, fn, tp = reference.confusion_matrix(table["label"], called).ravel().tolist()
    assert found["confusion"] == {"tp": tp, "fp": fp, "fn": fn, "tn": tn}
    assert (found["n_rows"], found["n_positive"]) == (table.height, table["label"].sum())
    assert (found["task"], found["model"], found["baseline"]) == ("churn", "boosting", "rfm")
    assert (found["headline"], found["n_resamples"]) == ("auroc", 100)


def test_each_test_cutoff_is_judged_and_also_apart(mixed: Runs) -> None:
    found, table = stored(mixed), rows(mixed)
    end = WEEK_0 + timedelta(weeks=N_WEEKS)
    cutoffs = [end - timedelta(weeks=2), end - timedelta(weeks=1)]
    assert table["cutoff"].unique().sort().to_list() == cutoffs
    assert table.select("user_id", "cutoff").is_unique().all()
    assert [p["cutoff"] for p in found["per_cutoff"]] == [c.isoformat() for c in cutoffs]
    for part, cutoff in zip(found["per_cutoff"], cutoffs, strict=True):
        own = table.filter(pl.col("cutoff") == cutoff)
        assert part["n_rows"] == own.height
        assert part["model"] == pytest.approx(reference.roc_auc_score(own["label"], own["score"]))
        assert part["baseline"] == pytest.approx(reference.roc_auc_score(own["label"], own["baseline_score"]))
        assert f"{cutoff:%Y-%m-%d}" in report(mixed)


def test_labels_are_true_of_the_log(mixed: Runs) -> None:
    """Whoever was active in the 21 days before, and whether they purchased in the 7 days after, by hand."""
    log = pl.read_csv(mixed.shop.raw / "events.csv").filter(pl.col("kind") == "purchase")
    bought: dict[str, list[datetime]] = {}
    for user, time in log.select("user", "time").rows():
        bought.setdefault(user, []).append(datetime.fromisoformat(time).replace(tzinfo=UTC))
    expected = {}
    for cutoff in rows(mixed)["cutoff"].unique():
        for user, times in bought.items():
            if any(cutoff - timedelta(days=21) <= t < cutoff for t in times):
                is_back = any(cutoff <= t < cutoff + timedelta(days=7) for t in times)
                expected[user, cutoff] = 0 if is_back else 1
    assert {(u, c): y for u, c, y in rows(mixed).select("user_id", "cutoff", "label").rows()} == expected


def test_the_verdict_speaks_of_the_headline(mixed: Runs, asking: Runs, listing: Runs) -> None:
    for runs, label in ((mixed, "AUROC"), (asking, "AUROC"), (listing, "NDCG@10")):
        found = stored(runs)
        name = found["headline"]
        model, rule, gain = (found[part][name] for part in ("metrics", "baseline_metrics", "difference"))
        assert gain["low"] > 0
        assert found["verdict"] == {
            "standing": "better",
            "text": f"The model beats the baseline {found['baseline']}: {label} {model['value']:.3f} against "
            f"{rule['value']:.3f}, better by {gain['value']:.3f} (95 % interval {gain['low']:.3f} to "
            f"{gain['high']:.3f}).",
        }
        assert found["verdict"]["text"] in report(runs)


def test_a_model_that_is_no_better_is_told_so(mixed: Runs, copy_of: CopyOf) -> None:
    """The model is the baseline itself: not a hair between them."""
    runs = copy_of(mixed, **ASKING | UNCLEAR | {"split": {"step": "7d", "train": 4, "test": 2}})
    runs.do("features", "train")
    runs.do("evaluate")
    found = stored(runs)
    assert found["verdict"]["standing"] == "unclear"
    value = f"{found['metrics']['auroc']['value']:.3f}"
    assert found["verdict"]["text"] == (
        f"The model does NOT clearly beat the baseline rfm: AUROC {value} against {value}, no difference "
        f"(95 % interval 0.000 to 0.000, which contains zero)."
    )
    assert found["verdict"]["text"] in report(runs)
    assert runs.said == [f"evaluate: {found['n_rows']} test rows judged beside rfm"]


def test_a_model_that_is_worse_is_told_so(mixed: Runs, copy_of: CopyOf) -> None:
    changes = {"model": {"kind": "base_rate"}, "baseline": {"kind": "boosting", "max_trees": 60}}
    runs = copy_of(mixed, **ASKING | changes | {"split": {"step": "7d", "train": 4, "test": 2}})
    runs.do("features", "train", "evaluate")
    verdict = stored(runs)["verdict"]
    assert verdict["standing"] == "worse"
    assert verdict["text"].startswith("The model is worse than the baseline boosting: AUROC 0.500 against ")


def test_a_threshold_of_ones_own_is_used(asking: Runs, copy_of: CopyOf) -> None:
    decision = {"kind": "probability", "threshold": 0.123}
    runs = copy_of(asking, **ASKING, decision=decision)
    runs.do("evaluate")
    found = stored(runs)
    assert (found["threshold"], found["baseline_threshold"]) == (0.123, 0.123)
    expected = by_scikit_learn(rows(runs), "", 0.123)
    assert found["metrics"]["recall"]["value"] == pytest.approx(expected["recall"])


# Rankings


def test_rankings_are_means_over_users_with_a_true_item(listing: Runs) -> None:
    found, table = stored(listing), rows(listing)
    assert found["n_rows"] == table.height == table["user_id"].n_unique()
    for metric in found["metrics"]:
        assert found["metrics"][metric]["value"] == pytest.approx(table[metric].mean())
        assert found["baseline_metrics"][metric]["value"] == pytest.approx(table[f"baseline_{metric}"].mean())
    assert {m.split("@")[1] for m in found["metrics"]} == {"5", "10"}


def test_rankings_are_those_of_a_slow_computation(listing: Runs) -> None:
    context = listing.context()
    inputs, model = (context.workspace.read(f"shop/{name}") for name in ("inputs", "model"))
    assert inputs is not None
    assert model is not None
    (data,) = features.read_inputs(inputs, "matrix", "test", "UTC")
    assert isinstance(data, MatrixInput)
    assert data.labels is not None
    truth: dict[str, set[str]] = {}
    for user, item in data.labels.rows():
        truth.setdefault(user, set()).add(item)
    fitted, _ = train.load(context, model, FITTED)
    lists: dict[str, list[str]] = {}
    for user, item in (
        complete_lists(fitted.lists(Inputs(data.cutoff, matrix=data), 10), data, 10)
        .sort("user_id", "rank")
        .select("user_id", "item_id")
        .rows()
    ):
        lists.setdefault(user, []).append(item)
    ndcg, hits = {}, {}
    for user, items in truth.items():
        gain = sum(1 / math.log2(n + 2) for n, item in enumerate(lists[user]) if item in items)
        ndcg[user] = gain / sum(1 / math.log2(n + 2) for n in range(min(10, len(items))))
        hits[user] = float(any(item in items for item in lists[user][:5]))
    found = rows(listing)
    assert dict(found.select("user_id", "ndcg@10").rows()) == pytest.approx(ndcg)
    assert dict(found.select("user_id", "hit_rate@5").rows()) == hits
    facts = stored(listing)
    assert facts["n_without_truth"] == len(lists) - len(truth)
    shown = {item for items in lists.values() for item in items}
    assert facts["coverage"]["coverage@10"] == pytest.approx(len(shown) / facts["n_items"])


def test_the_headline_is_at_10_or_at_the_first_k(listing: Runs, copy_of: CopyOf) -> None:
    assert stored(listing)["headline"] == "ndcg@10"
    runs = copy_of(listing, **PREFERENCE, evaluate={"k": [3, 7], "bootstrap": 100})
    runs.do("evaluate")
    assert stored(runs)["headline"] == "ndcg@3"
    assert "NDCG@3 " in stored(runs)["verdict"]["text"]


def test_two_test_cutoffs_of_a_ranking(listing: Runs, copy_of: CopyOf) -> None:
    runs = copy_of(listing, **PREFERENCE | {"split": {"step": "7d", "train": 1, "test": 2}})
    runs.do("features", "train", "evaluate")
    found, table = stored(runs), rows(runs)
    assert table["cutoff"].unique().sort().to_list() == [
        datetime(2024, 4, 9, tzinfo=UTC),
        datetime(2024, 4, 16, tzinfo=UTC),
    ]
    assert sum(p["n_rows"] for p in found["per_cutoff"]) == table.height
    for part in found["per_cutoff"]:
        own = table.filter(pl.col("cutoff") == datetime.fromisoformat(part["cutoff"]))
        assert part["model"] == pytest.approx(own["ndcg@10"].mean())


# The gate


def gated(settings: dict[str, Any]) -> dict[str, Any]:
    return settings | {"evaluate": {"bootstrap": 100, "require_improvement": True}}


def test_the_gate_opens_for_a_better_model(asking: Runs, copy_of: CopyOf) -> None:
    runs = copy_of(asking, **gated(ASKING))
    assert runs.do("evaluate").status == "done"


def test_the_gate_speaks_after_everything_is_published_and_again_when_nothing_is_new(
    asking: Runs, copy_of: CopyOf
) -> None:
    runs = copy_of(asking, **gated(ASKING | UNCLEAR))
    runs.do("features", "train")
    messages = []
    for _ in range(2):
        with pytest.raises(GateError) as error:
            runs.do("evaluate")
        messages.append(str(error.value))
    assert runs.said == []
    found = stored(runs)
    assert found["verdict"]["standing"] == "unclear"
    path = runs.shop.workspace / "shop/evaluation/report.html"
    message = (
        f"quality gate: {found['verdict']['text']} evaluate.require_improvement demands a clear improvement; "
        f"see {path}"
    )
    assert messages == [message, message]
    assert path.exists()


# Logs that cannot be learned from, or judged


def churn_in(
    weeks: set[int], days: Sequence[int] = (0,), without: Sequence[tuple[int, int]] = ()
) -> pl.DataFrame:
    """20 users who buy on some days of all ten weeks, but half of them not in the given weeks.

    `without` are single days (week, day) on which nobody buys.
    """
    found = [
        (f"u{user:02d}", WEEK_0 + timedelta(weeks=week, days=day, hours=user))
        for week in range(10)
        for day in days
        for user in range(20)
        if not (week in weeks and user % 2) and (week, day) not in without
    ]
    found.append(("u00", WEEK_0 + timedelta(weeks=10, hours=-1)))
    log = pl.DataFrame(found, schema=["user", "time"], orient="row")
    return log.with_columns(
        pl.col("time").dt.strftime("%Y-%m-%d %H:%M:%S"),
        item=pl.lit("i1"), kind=pl.lit("purchase"), price=1.0, quantity=1, order=pl.lit(None, pl.String),
    )  # fmt: skip


SHORT: dict[str, Any] = {
    "task": {"kind": "churn", "active_within": "28d", "horizon": "7d"},
    "split": {"step": "7d", "train": 2},
    "features": {"windows": ["7d"]},
    "model": {"kind": "boosting", "max_trees": 5, "min_rows_per_leaf": 1},
    "evaluate": {"bootstrap": 100},
}
#: Weeks of the label windows.
TRAIN, VALIDATION, TEST = {6, 7}, {8}, {9}


def short(shop: Shop, log: pl.DataFrame, **changes: Any) -> Runs:
    shop.write(log)
    del shop.settings["dataset"]["sources"][1]
    return Runs(shop, shop.config(**SHORT | changes))


def test_train_labels_of_one_class(shop: Shop) -> None:
    runs = short(shop, churn_in(VALIDATION | TEST))
    with pytest.raises(DataError) as error:
        runs.do("ingest", "clean", "features", "train")
    assert str(error.value) == (
        "the train labels have one class only: all 40 rows are 0; change task.horizon or task.active_within so that "
        "both classes occur"
    )


def test_nobody_to_train_on(shop: Shop) -> None:
    log = churn_in({8}, days=(1, 5), without=[(5, 5), (6, 5)])
    runs = short(shop, log, task={"kind": "churn", "active_within": "3d", "horizon": "7d"})
    with pytest.raises(DataError) as error:
        runs.do("ingest", "clean", "features", "train")
    assert str(error.value) == (
        "the train population is empty: no user was active before any train cutoff; lengthen task.active_within or "
        "bring more data"
    )


def test_validation_labels_of_one_class(shop: Shop) -> None:
    runs = short(shop, churn_in(TRAIN | TEST))
    with pytest.raises(DataError) as error:
        runs.do("ingest", "clean", "features", "train")
    assert str(error.value) == (
        "the validation labels have one class only: 0 of 20 rows are 1; change task.horizon or task.active_within, or "
        "set split.validation higher"
    )


def test_test_labels_of_one_class_are_judged_by_what_is_defined(shop: Shop) -> None:
    runs = short(shop, churn_in(TRAIN | VALIDATION))
    runs.do("ingest", "clean", "features", "train", "evaluate")
    found = stored(runs)
    assert found["verdict"] == {
        "standing": "undefined",
        "text": "The model cannot be compared with the baseline rfm: AUROC is not defined, because the test rows hold "
        "one class only.",
    }
    assert found["metrics"]["auroc"] == {"value": None, "low": None, "high": None}
    assert found["metrics"]["brier"]["value"] is not None
    assert found["per_cutoff"][0]["model"] is None
    assert found["n_positive"] == 0
    assert found["verdict"]["text"] in report(runs)


def test_the_gate_stays_shut_where_nothing_can_be_compared(shop: Shop) -> None:
    evaluate = {"bootstrap": 100, "require_improvement": True}
    runs = short(shop, churn_in(TRAIN | VALIDATION), evaluate=evaluate)
    with pytest.raises(GateError, match="AUROC is not defined"):
        runs.do("ingest", "clean", "features", "train", "evaluate")


@pytest.mark.parametrize(("split", "week_before"), [("validation", 7), ("test", 8)])
def test_nobody_to_calibrate_on_or_to_judge(shop: Shop, split: str, week_before: int) -> None:
    """Who is asked has bought in the three days before, but on the Saturday before the split nobody has."""
    log = churn_in({6, 8}, days=(1, 5), without=[(week_before, 5)])
    runs = short(shop, log, task={"kind": "churn", "active_within": "3d", "horizon": "7d"})
    with pytest.raises(DataError) as error:
        runs.do("ingest", "clean", "features", "train", "evaluate")
    assert str(error.value) == (
        f"the {split} population is empty: no user was active before any {split} cutoff; lengthen task.active_within, "
        f"set split.{split} higher, or bring more data"
    )


def test_nobody_wants_anything(shop: Shop) -> None:
    rated = churn_in(set()).head(1).with_columns(kind=pl.lit("rating"))
    runs = short(
        shop,
        pl.concat([churn_in(set()), rated]),
        task={"kind": "preference", "event": "rating", "active_within": "28d", "horizon": "7d"},
        split={"step": "7d", "train": 1},
        model={"kind": "personal_frequency"},
    )
    with pytest.raises(DataError) as error:
        runs.do("ingest", "clean", "features", "train", "evaluate")
    assert str(error.value) == (
        "no user of the test population has a true item in the test window, so nothing can be judged; check "
        "task.event, lengthen task.horizon, or bring more data"
    )


# The page


@pytest.mark.parametrize("name", ["mixed", "listing"])
def test_the_report_is_one_page_that_needs_nothing_else(name: str, request: pytest.FixtureRequest) -> None:
    page = report(request.getfixturevalue(name))
    assert page.startswith("<!DOCTYPE html>")
    assert len(page.encode()) < 2_000_000
    outside = re.findall(
        r"""(?:src|href)\s*=\s*["'](?!#|data:)[^"']+|url\((?!#|data:)[^)]+|@import|<script[^>]*src""", page
    )
    assert outside == []
    assert page.count("<svg") >= 2


def test_nothing_new_is_nothing_done(asking: Runs, copy_of: CopyOf) -> None:
    runs = copy_of(asking, **ASKING)
    before = data_files(runs.shop.workspace)
    assert runs.do("evaluate").status == "skipped"
    assert data_files(runs.shop.workspace) == before
