"""evaluate on a simulated log: which share of what can be known at all does the model reach?"""

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from command_line import ecbehave
from polars.testing import assert_frame_equal
from shops import ROOT, Shop
from sklearn import metrics as reference
from stage_runs import Runs

from ecbehave.errors import DataError
from ecbehave.simulate.settings import Settings
from ecbehave.simulate.truth import read_truth, true_probability
from ecbehave.simulate.writer import simulate

STAGES = ("ingest", "clean", "features", "train", "evaluate")
PURCHASE = {"kind": "purchase", "active_within": "28d", "horizon": "14d"}
CHURN = {"kind": "churn", "active_within": "28d", "horizon": "21d"}
RFM = {"model": {"kind": "rfm"}, "baseline": {"kind": "base_rate"}}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A simulated shop with bots among its users, in a zone that is not the log's."""
    shop = Shop(tmp_path_factory.mktemp("simulated") / "shop")
    shop.folder.joinpath("log").mkdir()
    asked = Settings(users=700, items=100, days=126, events_per_user=70.0, dirt=0.45, seed=5)
    simulate(asked, shop.folder / "log")
    columns = ("user_id", "item_id", "ts", "session_id", "order_id", "price", "quantity", "amount")
    source = {
        "path": "log/events/*.parquet",
        "columns": {c: c for c in columns},
        "event_type": {"column": "event_type"},
    }
    shop.settings["dataset"] = {"sources": [source], "timezone": "Asia/Kolkata"}
    shop.settings |= {"task": PURCHASE, "split": {"step": "7d", "train": 3, "test": 2}} | RFM
    shop.settings["evaluate"] = {"bootstrap": 100, "truth": "log/truth"}
    return shop


@pytest.fixture(scope="module")
def purchase(shop: Shop) -> Runs:
    runs = Runs(shop, shop.config("purchase"))
    runs.do(*STAGES)
    return runs


@pytest.fixture(scope="module")
def churn(shop: Shop, purchase: Runs) -> Runs:
    runs = Runs(shop, shop.config("churn", task=CHURN))
    runs.do(*STAGES)
    return runs


def stored(runs: Runs) -> dict[str, Any]:
    name = runs.context().config.name
    found: dict[str, Any] = json.loads((runs.shop.workspace / name / "evaluation/metrics.json").read_text())
    return found


def by_hand(runs: Runs, horizon: timedelta) -> tuple[float, float, float]:
    """The AUROC of truth, model and baseline, by scikit-learn; the truth user by user, by name."""
    config = runs.context().config
    rows = pl.read_parquet(runs.shop.workspace / config.name / "evaluation/test_scores.parquet")
    truth = read_truth(runs.shop.folder / "log" / "truth")
    everybody = truth.users["user_id"]
    true = {
        (user, cutoff): p
        for cutoff in rows["cutoff"].unique()
        for user, p in zip(
            everybody,
            true_probability(truth, everybody, cutoff, cutoff + horizon, config.task.kind).tolist(),
            strict=True,
        )
    }
    known = [true[key] for key in rows.select("user_id", "cutoff").rows()]
    scores = (known, rows["score"], rows["baseline_score"])
    truth_auroc, model, rule = (reference.roc_auc_score(rows["label"], s) for s in scores)
    return float(truth_auroc), float(model), float(rule)


@pytest.mark.parametrize(("task", "days"), [("purchase", 14), ("churn", 21)])
def test_the_share_is_that_of_the_true_probabilities(
    request: pytest.FixtureRequest, task: str, days: int
) -> None:
    runs: Runs = request.getfixturevalue(task)
    best, model, rule = by_hand(runs, timedelta(days=days))
    found = stored(runs)["truth"]
    assert found["auroc"] == pytest.approx(best, rel=1e-9)
    assert found["share_reached"] == pytest.approx((model - 0.5) / (best - 0.5), rel=1e-9)
    # A constant knows nothing.
    assert found["baseline_share_reached"] == pytest.approx((rule - 0.5) / (best - 0.5)) == 0
    assert 0.65 < best < 0.95
    assert 0.3 < found["share_reached"] < 1.05


def test_bots_are_asked_about_and_never_buy(purchase: Runs) -> None:
    log = purchase.shop.folder / "log"
    bots = json.loads((log / "truth" / "dirt.json").read_text())["bots"]
    assert bots
    start = datetime(2024, 3, 1, tzinfo=UTC)
    known = true_probability(
        read_truth(log / "truth"), pl.Series(bots), start, start + timedelta(days=14), "churn"
    )
    assert known.tolist() == [1.0] * len(bots)


def test_it_is_said_in_the_verdict_and_in_the_report(purchase: Runs) -> None:
    found = stored(purchase)
    truth = found["truth"]
    assert found["verdict"]["text"].endswith(
        f" It gets {100 * truth['share_reached']:.0f} % of the way from chance to the true probabilities, "
        f"whose AUROC is {truth['auroc']:.3f}."
    )
    page = (purchase.shop.workspace / "purchase/evaluation/report.html").read_text(encoding="utf-8")
    page = page.replace("\N{NO-BREAK SPACE}", " ")
    assert found["verdict"]["text"] in page
    assert (
        f"<dt>AUROC of the true probabilities</dt><dd>{truth['auroc']:.3f}; the model gets "
        f"{100 * truth['share_reached']:.1f} % of the way there from chance, the baseline 0.0 %</dd>"
    ) in page
    assert "truth: truth\n" in page
    assert str(purchase.shop.folder) not in page


def test_without_truth_nothing_is_said_of_it(shop: Shop, purchase: Runs) -> None:
    runs = Runs(shop, shop.config("purchase", evaluate={"bootstrap": 100}))
    with_truth = stored(purchase)
    assert runs.do("evaluate").status == "done"
    found = stored(runs)
    assert "truth" not in found
    assert with_truth["verdict"]["text"].startswith(f"{found['verdict']['text']} It gets ")
    assert "true probabilities" not in (shop.workspace / "purchase/evaluation/report.html").read_text()
    # As it was, for the tests that follow.
    assert Runs(shop, shop.config("purchase")).do("evaluate").status == "done"


def test_the_evaluation_follows_the_truth_and_not_its_folder(shop: Shop, purchase: Runs) -> None:
    def evaluate(folder: str) -> str:
        return Runs(shop, purchase.config, (f"evaluate.truth={shop.folder / folder}",)).do("evaluate").status

    shutil.copytree(shop.folder / "log" / "truth", shop.folder / "moved")
    assert evaluate("moved") == "skipped"
    users = pl.read_parquet(shop.folder / "moved" / "users.parquet")
    doubled = users.with_columns(pl.col("purchase_rate").shuffle(seed=1))
    doubled.write_parquet(shop.folder / "moved" / "users.parquet")
    assert evaluate("moved") == "done"
    assert evaluate("log/truth") == "done"


def test_users_without_truth_are_named(shop: Shop, purchase: Runs) -> None:
    (shop.folder / "part").mkdir()
    rows = pl.read_parquet(shop.workspace / "purchase/evaluation/test_scores.parquet")
    first = rows.filter(pl.col("cutoff") == rows["cutoff"].min())["user_id"].unique().sort()
    users = pl.read_parquet(shop.folder / "log/truth/users.parquet")
    users.filter(~pl.col("user_id").is_in(first[:4].implode())).write_parquet(
        shop.folder / "part/users.parquet"
    )
    shutil.copy(shop.folder / "log/truth/season.parquet", shop.folder / "part")
    with pytest.raises(DataError) as refused:
        Runs(shop, purchase.config, (f"evaluate.truth={shop.folder / 'part'}",)).do("evaluate")
    assert str(refused.value) == (
        f"{shop.folder / 'part'} lacks 4 of {len(first)} users, such as {', '.join(first[:3])}; "
        "take the truth of the same simulated log"
    )


def test_a_truth_that_knows_nothing_has_no_share(shop: Shop, purchase: Runs) -> None:
    shutil.copytree(shop.folder / "log" / "truth", shop.folder / "blank")
    users = pl.read_parquet(shop.folder / "blank" / "users.parquet")
    users.with_columns(purchase_rate=0.0).write_parquet(shop.folder / "blank" / "users.parquet")
    runs = Runs(shop, purchase.config, (f"evaluate.truth={shop.folder / 'blank'}",))
    runs.do("evaluate")
    found = stored(runs)
    assert found["truth"] == {"auroc": 0.5, "share_reached": None, "baseline_share_reached": None}
    assert "true probabilities" not in found["verdict"]["text"]
    page = (shop.workspace / "purchase/evaluation/report.html").read_text(encoding="utf-8")
    assert "not defined, or no better than chance" in page
    Runs(shop, purchase.config).do("evaluate")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            ("task.kind=preference", "model.kind=item_knn", "baseline.kind=popularity"),
            "evaluate.truth is for the tasks purchase and churn; take it out for preference",
        ),
        (
            ("task.kind=churn", "task.event=view"),
            "evaluate.truth knows who purchases; with task.event: view, take it out",
        ),
        (
            ("task.target=category",),
            "evaluate.truth knows who purchases anything; take it out, or set task.target to any",
        ),
    ],
)
def test_other_questions_have_no_truth(shop: Shop, changes: tuple[str, ...], message: str) -> None:
    config = shop.config("purchase")
    settings = [part for change in changes for part in ("--set", change)]
    done = ecbehave("run", "--config", config, *settings)
    assert (done.code, done.error) == (2, f"{config}: {message}")


@pytest.mark.slow
def test_the_browsing_sample_runs(tmp_path: Path) -> None:
    done = ecbehave(
        "run", "--config", ROOT / "configs/browsing.yaml", "--workspace", tmp_path, "--json", "--quiet"
    )
    assert 0.6 < done.json["metrics"]["auroc"]["value"] < 0.85
    assert "of the way from chance to the true probabilities" in done.json["verdict"]["text"]


def test_the_browsing_sample_is_what_the_command_makes(tmp_path: Path) -> None:
    folder = ROOT / "data-samples" / "browsing"
    log = json.loads((folder / "truth" / "log.json").read_text())["settings"]
    options = [part for key, value in log.items() for part in (f"--{key.replace('_', '-')}", value)]
    options[options.index("--first-day")] = "--start"
    ecbehave("simulate", "--out", tmp_path / "browsing", *options, "--quiet")
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        made = tmp_path / "browsing" / path.relative_to(folder)
        if path.suffix == ".parquet":
            # Its bytes differ between versions of polars, and the last digits of rates between processors.
            assert_frame_equal(pl.read_parquet(made), pl.read_parquet(path), rel_tol=1e-12)
        elif path.suffix == ".gz":
            assert pl.read_csv(made).equals(pl.read_csv(path)), path
        else:
            assert made.read_text() == path.read_text()
    assert sum(p.stat().st_size for p in folder.rglob("*")) < 1_100_000
