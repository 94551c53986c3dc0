"""Ratings through all stages: what is true, what is predicted, how it is judged, and what is listed."""

import json
import re
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from planted import ONCE, make, raters
from shops import Shop
from stage_runs import Runs, table

from ecbehave.artifacts import Artifact
from ecbehave.config.file import load
from ecbehave.config.task import PreferenceTask
from ecbehave.errors import ConfigError, DataError, GateError
from ecbehave.inputs.types import Inputs
from ecbehave.metrics.rating import errors_of
from ecbehave.models import config_class, making
from ecbehave.models.cf.biases import Biases
from ecbehave.schema import RATING_LABELS
from ecbehave.stages import evaluate, features, predict, train, tuning_judge
from ecbehave.stages.compare import compare, entry_of
from ecbehave.stages.judge_rating import JudgedRatings, RatingFit, judge_ratings
from ecbehave.tasks import make_task

START = datetime(2024, 1, 1, tzinfo=UTC)
EXPLICIT = {"kind": "preference", "feedback": "explicit", "active_within": "28d", "horizon": "14d"}
DATASET = {
    "sources": [
        {
            "path": "raw/events*.csv",
            "columns": {"user_id": "user", "item_id": "item", "ts": "time", "rating": "stars"},
            "event_type": {"column": "kind"},
        }
    ]
}
SETTINGS: dict[str, Any] = {
    "dataset": DATASET,
    "task": EXPLICIT,
    "split": {"step": "7d", "train": 3},
    "model": {"kind": "mean_rating"},
    "baseline": {"kind": "mean_rating"},
    "predict": {"k": 4},
}


def rated_log(n_users: int = 45, n_items: int = 25, n_days: int = 100, seed: int = 0) -> pl.DataFrame:
    """Users buy, and rate most of it in whole stars a day later: generous users, good items, and two tastes.

    Some ratings are given again later, some come as reviews, and `i90` is new in the last days.
    """
    rng = np.random.default_rng(seed)
    generous, good = rng.normal(0, 0.6, n_users), rng.normal(0, 0.5, n_items)
    rows = []
    for day in range(n_days):
        for user in rng.choice(n_users, 12, replace=False).tolist():
            item = int(rng.integers(n_items))
            time = START + timedelta(days=day, seconds=int(rng.integers(80_000)))
            stars = (
                3 + generous[user] + good[item] + (0.9 if user % 2 == item % 2 else -0.9) + rng.normal(0, 0.4)
            )
            base = {"user": f"u{user:02d}", "item": f"i{item:02d}"}
            rows.append(base | {"kind": "purchase", "time": time, "stars": None})
            if rng.random() < 0.8:
                kind = "rating" if rng.random() < 0.8 else "review"
                rows.append(
                    base
                    | {
                        "kind": kind,
                        "time": time + timedelta(days=1),
                        "stars": int(np.clip(round(stars), 1, 5)),
                    }
                )
    late = START + timedelta(days=n_days - 3)
    rows += [
        {"user": f"u{u:02d}", "item": "i90", "kind": "rating", "time": late, "stars": 5} for u in range(4)
    ]
    # Who has only bought so far rates one item at the end.
    rows.append(
        {
            "user": "newcomer",
            "item": "i01",
            "kind": "purchase",
            "time": late - timedelta(days=20),
            "stars": None,
        }
    )
    rows.append({"user": "newcomer", "item": "i01", "kind": "rating", "time": late, "stars": 2})
    log = pl.DataFrame(rows).sort("time", "user", "item", "kind")
    return log.with_columns(pl.col("time").dt.strftime("%Y-%m-%d %H:%M:%S"))


@pytest.fixture(scope="module")
def rating(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """All stages done; not to be changed."""
    shop = Shop(tmp_path_factory.mktemp("rating") / "shop")
    shop.write(rated_log())
    runs = Runs(shop, shop.config(**SETTINGS))
    runs.do("ingest", "clean", "features", "train", "evaluate", "predict")
    return runs


def published(runs: Runs, stage: str) -> Artifact:
    context = runs.context()
    name = f"{context.config.name}/{stage}"
    found = context.workspace.read(name)
    assert found is not None
    return found


def metrics(runs: Runs) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((published(runs, "evaluation").path / "metrics.json").read_text())
    return found


def scores(runs: Runs) -> pl.DataFrame:
    return pl.read_parquet(published(runs, "evaluation").path / "test_scores.parquet")


def window(runs: Runs) -> tuple[datetime, datetime]:
    """The test window: its cutoff and its end."""
    (found,) = features.windows_of(published(runs, "inputs"), "test")
    return found.cutoff, found.end


@cache
def events() -> list[tuple[str, str, str, datetime, float | None]]:
    """User, item, kind, time, stars of each row of the raw log, by time."""
    log = rated_log().with_columns(pl.col("time").str.to_datetime(time_zone="UTC"))
    return log.select("user", "item", "kind", "time", "stars").sort("time").rows()


def last_ratings(before: datetime, since: datetime | None = None) -> dict[tuple[str, str], float]:
    """The last rating of each user for each item, event by event."""
    return {
        (user, item): float(stars)
        for user, item, _, time, stars in events()
        if stars is not None and time < before and (since is None or time >= since)
    }


def expected_at(cutoff: datetime) -> dict[str, Any]:
    """Means of users and items before a cutoff, from the raw log."""
    known = sorted((user, item, stars) for (user, item), stars in last_ratings(cutoff).items())
    users = {u: n for n, u in enumerate(sorted({u for u, *_ in known}))}
    items = {i: n for n, i in enumerate(sorted({i for _, i, _ in known}))}
    fitted = Biases.fit(
        [users[u] for u, *_ in known],
        [items[i] for _, i, _ in known],
        [r for *_, r in known],
        len(users),
        len(items),
    )
    by_user = defaultdict(float, {u: float(fitted.user[n]) for u, n in users.items()})
    by_item = defaultdict(float, {i: float(fitted.item[n]) for i, n in items.items()})
    return {"mean": fitted.mean, "user": by_user, "item": by_item, "known": {(u, i) for u, i, _ in known}}


def test_labels_are_the_last_ratings_of_the_window(rating: Runs):
    cutoff, end = window(rating)
    active = {user for user, _, _, time, _ in events() if cutoff - timedelta(days=28) <= time < cutoff}
    expected = {pair: stars for pair, stars in last_ratings(end, cutoff).items() if pair[0] in active}
    stored = table(published(rating, "inputs"), "matrix/test/*/labels.parquet")
    assert stored.columns == ["user_id", "item_id", "rating"]
    assert {(user, item): stars for user, item, stars in stored.rows()} == expected
    in_window = [e for e in events() if cutoff <= e[3] < end and e[4] is not None and e[0] in active]
    assert {kind for _, _, kind, _, _ in in_window} == {"rating", "review"}
    assert len(in_window) > len(expected)  # some users rate an item twice


def test_every_label_of_a_known_item_is_predicted_and_judged(rating: Runs):
    cutoff, end = window(rating)
    expected, true = expected_at(cutoff), last_ratings(end, cutoff)
    had = {item for _, item, _, time, _ in events() if time < cutoff}
    found = scores(rating)
    assert found.columns == ["user_id", "cutoff", "item_id", "rating", "predicted", "baseline_predicted"]
    for user, item, stars, predicted in found.select("user_id", "item_id", "rating", "predicted").rows():
        assert stars == true[user, item]
        usual = expected["mean"] + expected["user"][user] + expected["item"][item]
        assert predicted == pytest.approx(min(max(usual, 1), 5))
    stored = table(published(rating, "inputs"), "matrix/test/*/labels.parquet")
    of_known = stored.filter(pl.col("item_id").is_in(sorted(had)))
    assert found.height == of_known.height
    facts = metrics(rating)
    assert facts["n_ratings"] == found.height
    assert facts["n_of_new_items"] == stored.height - of_known.height == 4
    assert facts["n_of_new_raters"] == 1
    assert facts["n_items"] == len(had)


def test_metrics_are_errors_beside_those_of_the_baseline(rating: Runs):
    found, said = scores(rating), metrics(rating)
    assert said["headline"] == "rmse"
    assert {name: i["value"] for name, i in said["metrics"].items()} == pytest.approx(errors_of(found))
    assert said["metrics"]["rmse"]["low"] < said["metrics"]["rmse"]["value"] < said["metrics"]["rmse"]["high"]
    assert said["baseline_metrics"] == said["metrics"]
    assert said["difference"]["mae"] == {"value": 0, "low": 0, "high": 0}
    assert said["verdict"]["standing"] == "unclear"
    by_rating = said["by_rating"]
    assert [row["rating"] for row in by_rating] == sorted(set(found["rating"]))
    assert sum(row["n"] for row in by_rating) == found.height
    fives = found.filter(rating=5)
    assert by_rating[-1]["predicted_mean"] == pytest.approx(fives["predicted"].mean())
    assert by_rating[-1]["baseline_predicted_rmse"] == pytest.approx(errors_of(fives)["rmse"])


def test_the_page_says_it_in_plain_words(rating: Runs):
    page = (published(rating, "evaluation").path / evaluate.REPORT).read_text(encoding="utf-8")
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
    assert "The model does NOT clearly beat the baseline mean_rating: RMSE" in text
    assert text.count("lower is better") == 2
    for said in (
        "true ratings: the last one that the user gives an item within 14 days from the cutoff on; items that nobody "
        "had an event with before are left out",
        "Ratings of new items 4, left out",
        "Ratings by users without one before 1, judged like all others",
        "What was predicted, by true rating",
    ):
        assert said in text
    assert "No plot is defined" not in text
    assert "NDCG" not in text


def test_lists_are_of_unrated_items_by_predicted_rating(rating: Runs):
    log_end = START + timedelta(days=101)
    (folder,) = (published(rating, "evaluation").path.parent / "predictions").glob("as_of=*")
    found = pl.read_parquet(folder / predict.SCORES)
    cutoff = datetime.fromisoformat(folder.name.removeprefix("as_of=")).replace(tzinfo=UTC) + timedelta(
        days=1
    )
    assert cutoff <= log_end
    expected = expected_at(cutoff)
    items = sorted({item for _, item, _, time, _ in events() if time < cutoff})
    active = {user for user, _, _, time, _ in events() if cutoff - timedelta(days=28) <= time < cutoff}
    assert set(found["user_id"]) == active
    for user in sorted(active):
        usual = {
            item: expected["mean"] + expected["user"][user] + expected["item"][item]
            for item in items
            if (user, item) not in expected["known"]
        }
        best = sorted(usual, key=lambda item: (-usual[item], item))[:4]
        own = found.filter(user_id=user).sort("rank")
        assert own["item_id"].to_list() == best
        assert own["score"].to_list() == pytest.approx([min(max(usual[item], 1), 5) for item in best])


def test_nothing_after_the_cutoff_is_known_before_it(rating: Runs, tmp_path):
    cutoff, _ = window(rating)
    changed = rated_log().with_columns(
        stars=pl.when(pl.col("time") >= f"{cutoff:%Y-%m-%d %H:%M:%S}")
        .then(6 - pl.col("stars"))
        .otherwise("stars")
    )
    shop = Shop(tmp_path / "changed")
    shop.write(changed)
    other = Runs(shop, shop.config(**SETTINGS))
    other.do("ingest", "clean", "features", "train", "evaluate")
    for name in ("users", "pairs"):
        pattern = f"matrix/test/*/{name}.parquet"
        assert table(published(other, "inputs"), pattern).equals(table(published(rating, "inputs"), pattern))
    before, after = scores(rating), scores(other)
    assert after["predicted"].to_list() == before["predicted"].to_list()
    assert (after["rating"] == 6 - before["rating"]).all()


def test_a_model_that_knows_tastes_beats_the_means(rating: Runs, copy_of):
    runs = copy_of(
        rating,
        **SETTINGS | {"model": {"kind": "als"}, "evaluate": {"bootstrap": 100, "require_improvement": True}},
    )
    runs.do("features", "train", "evaluate")
    said = metrics(runs)
    assert said["verdict"]["standing"] == "better"
    assert said["difference"]["rmse"]["high"] < 0
    assert said["metrics"]["rmse"]["value"] < 0.9 * said["baseline_metrics"]["rmse"]["value"]
    assert_table_is_on_the_page(runs)
    contexts = [rating.context(), runs.context()]
    entries = [entry_of(context, run=False) for context in contexts]
    for order in (entries, entries[::-1]):
        result = compare(order, 100, 0.001)
        assert result["models"][0]["kind"] == "als"
        assert result["models"][0]["standing"] == "winner"
        assert result["models"][0]["metric"]["value"] == pytest.approx(said["metrics"]["rmse"]["value"])
        assert result["models"][1]["to_best"]["value"] > result["models"][1]["to_best"]["low"] > 0
        assert result["verdict"].startswith(
            f"The winner is {runs.context().config.name}: its RMSE is really below that of every other model."
        )


def assert_table_is_on_the_page(runs: Runs) -> None:
    page = (published(runs, "evaluation").path / evaluate.REPORT).read_text(encoding="utf-8")
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
    for row in metrics(runs)["by_rating"]:
        means = f"{row['predicted_mean']:.2f} {row['baseline_predicted_mean']:.2f}"
        errors = f"{row['predicted_rmse']:.3f} {row['baseline_predicted_rmse']:.3f}"
        assert f"% {means} {errors}" in text


def test_the_gate_stops_what_is_no_better(rating: Runs, copy_of):
    runs = copy_of(rating, **SETTINGS | {"evaluate": {"bootstrap": 100, "require_improvement": True}})
    with pytest.raises(
        GateError, match=r"^quality gate: The model does NOT clearly beat the baseline mean_rating: RMSE"
    ):
        runs.do("evaluate")


def test_a_fit_for_each_cutoff(rating: Runs, copy_of):
    runs = copy_of(rating, **SETTINGS | {"split": {"step": "7d", "train": 1, "test": 2, "rolling": True}})
    runs.do("features", "train", "evaluate")
    said, found = metrics(runs), scores(runs)
    assert found["cutoff"].n_unique() == len(said["per_cutoff"]) == said["n_fits"] == 2
    for at in said["per_cutoff"]:
        part = found.filter(pl.col("cutoff") == datetime.fromisoformat(at["cutoff"]))
        assert (at["n_rows"], at["model"]) == (part.height, errors_of(part)["rmse"])
    assert said["metrics"]["rmse"]["value"] == pytest.approx(errors_of(found)["rmse"])
    page = (published(runs, "evaluation").path / evaluate.REPORT).read_text(encoding="utf-8")
    assert "Cutoff by cutoff" in page
    assert "metrics are means over the test cutoffs" not in page


def test_tuning_goes_by_the_error(rating: Runs):
    context, inputs = rating.context(), published(rating, "inputs")
    tune = (
        config_class()
        .model_validate(
            yaml.safe_load(rating.config.read_text()) | {"name": "shop", "tune": {"trials": 1, "origins": 1}}
        )
        .tune
    )
    assert tune is not None
    options = train.Options(0, 1, "rating")
    judge = tuning_judge.Judge.read(context, tune, inputs, options)
    assert judge.metric == "minus rmse"
    (origin,) = judge.origins
    cutoff, end = origin.test[0].cutoff, origin.test[0].end
    expected = expected_at(cutoff)
    had = {item for _, item, _, time, _ in events() if time < cutoff}
    active = {user for user, _, _, time, _ in events() if cutoff - timedelta(days=28) <= time < cutoff}
    true = {p: r for p, r in last_ratings(end, cutoff).items() if p[0] in active and p[1] in had}
    predicted = [np.clip(expected["mean"] + expected["user"][u] + expected["item"][i], 1, 5) for u, i in true]
    rmse = np.sqrt(np.mean((np.array(predicted) - np.array(list(true.values()))) ** 2))
    assert judge(context.config.model, origin) == pytest.approx(-rmse)


def resolved(rating: Runs, **changes: Any):
    path = rating.shop.config("other", **{k: v for k, v in SETTINGS.items() if k != "baseline"} | changes)
    return load(path, config_class()).config


def test_what_the_config_says_by_default(rating: Runs):
    config = resolved(rating)
    assert (config.task.event, config.baseline.kind) == ("any", "mean_rating")
    implicit = resolved(rating, task={"kind": "preference"}, model={"kind": "item_knn"})
    assert (implicit.task.feedback, implicit.task.event, implicit.baseline.kind) == (
        "implicit",
        "purchase",
        "popularity",
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"task": EXPLICIT | {"candidates": {"popular": 3}}},
            "candidates are for feedback: implicit; take them out",
        ),
        (
            {"predict": {"sessions": "raw/sessions.csv"}},
            "predict.sessions is for feedback: implicit, since sessions have no ratings; take it out",
        ),
    ],
    ids=["candidates", "sessions"],
)
def test_what_has_no_use_where_ratings_are_predicted(rating: Runs, changes: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=re.escape(message)):
        resolved(rating, **changes)


@pytest.mark.parametrize(
    ("model", "baseline", "message"),
    [
        (
            {"kind": "boosting"},
            {"kind": "mean_rating"},
            "model.kind: boosting does not serve the task preference with ",
        ),
        (
            {"kind": "mean_rating"},
            {"kind": "popularity"},
            "baseline.kind: popularity does not serve the task preference with ",
        ),
    ],
)
def test_a_kind_that_predicts_no_ratings(rating: Runs, copy_of, model: Any, baseline: Any, message: str):
    runs = copy_of(rating, **SETTINGS | {"model": model, "baseline": baseline})
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}feedback: explicit; these do: mean_rating"):
        runs.do("features")


def test_a_log_without_ratings(tmp_path):
    shop = Shop(tmp_path / "shop")
    shop.write(rated_log().drop("stars"))
    dataset = {
        "sources": [DATASET["sources"][0] | {"columns": {"user_id": "user", "item_id": "item", "ts": "time"}}]
    }
    runs = Runs(shop, shop.config(**SETTINGS | {"dataset": dataset}))
    with pytest.raises(DataError) as refused:
        runs.do("ingest", "clean", "features")
    assert str(refused.value) == (
        "the log has no rating, which task.feedback: explicit asks about; map it in dataset.sources[].columns, or set "
        "task.feedback to implicit"
    )


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            [],
            "no user of the test population rates an item in the test window, so nothing can be judged; check "
            "task.event, lengthen task.horizon, or bring more data",
        ),
        (
            [("u0001", "new", 3.0), ("u0002", "new", 5.0)],
            "no user of the test population rates an item that was known before, so nothing can be judged: the test "
            "windows have 2 ratings, all of new items; lengthen task.horizon, or bring more data",
        ),
    ],
    ids=["none", "new items only"],
)
def test_nothing_to_judge_by(labels: list[tuple[str, str, float]], message: str):
    with pytest.raises(DataError) as refused:
        judged(labels)
    assert str(refused.value) == message


def test_a_fine_scale_is_cut_to_tenths():
    stars = np.linspace(0, 99, 24).tolist()
    found = judged([(f"u{n:04d}", "i03", rating) for n, rating in enumerate(stars)])
    tenths = found.facts["by_rating"]
    assert [row["rating"] for row in tenths] == pytest.approx(np.linspace(0, 99, 11))
    assert sum(row["n"] for row in tenths) == 24
    # The error is that of the ratings themselves.
    first = found.rows.filter(pl.col("rating") < 99 / 20)
    assert tenths[0]["n"] == first.height == 2
    assert tenths[0]["predicted_rmse"] == pytest.approx(errors_of(first)["rmse"])


def judged(labels: list[tuple[str, str, float]]) -> JudgedRatings:
    """What the means of `raters` come to on some true ratings."""
    data = replace(raters(), labels=pl.DataFrame(labels, RATING_LABELS, orient="row"))
    inputs = Inputs(data.cutoff, matrix=data)
    model = making.make(make("mean_rating").config, "rating").fit([inputs], [], ONCE)
    return judge_ratings([RatingFit([inputs], [model, model])], 100, np.random.default_rng(0))


def test_only_the_event_in_question_has_true_ratings():
    config = PreferenceTask.model_validate({"kind": "preference", "feedback": "explicit", "event": "review"})
    task = make_task(config)
    assert (task.output, task.question, task.headline, task.target) == ("rating", "rating", "rmse", None)
    assert task.label_in_words == (
        "true ratings: the last one that the user gives an item within 14 days from the cutoff on, with a review; "
        "items that nobody had an event with before are left out"
    )
    rows = [
        ("ann", "i1", "review", 5, 3.0),
        ("ann", "i1", "rating", 6, 1.0),
        ("ann", "i2", "review", 7, 2.0),
        ("ann", "i2", "review", 7, 4.0),  # at one instant: the highest
        ("ann", "i2", "review", 6, 5.0),
        ("ann", "i3", "review", 5, None),
        ("ann", None, "review", 5, 4.0),
        ("bob", "i1", "review", 5, 3.0),
    ]
    columns = ["user_id", "item_id", "event_type", "ts", "rating"]
    future = pl.DataFrame(rows, columns, orient="row").with_columns(user_hash=0)
    population = pl.DataFrame({"user_hash": [0], "user_id": ["ann"]})
    for log in (future, future.reverse()):
        found = task.labels(log.lazy(), population.lazy()).collect()
        assert sorted(found.rows()) == [("ann", "i1", 3.0), ("ann", "i2", 4.0)]
