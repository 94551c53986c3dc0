"""predict: a row for everybody who is asked, as of a day, by a model that has not seen beyond it."""

import json
import math
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
import polars as pl
import pytest
from planted_shops import ASKING, N_WEEKS, WEEK_0
from shops import PREFERENCE, data_files
from stage_runs import Runs, table

from ecbehave.artifacts import Artifact
from ecbehave.errors import DataError
from ecbehave.schema import BINARY_SCORES, RANKING_SCORES, TABLE_KEYS

END = WEEK_0 + timedelta(weeks=N_WEEKS)
LATEST = date(2024, 4, 21)
#: The last day of the validation window: what the judged model has learned from.
KNOWN = date(2024, 4, 14)
CopyOf = Callable[..., Runs]


def scores(runs: Runs, as_of: date) -> pl.DataFrame:
    artifact = runs.context().workspace.read(f"shop/predictions/as_of={as_of}")
    assert artifact is not None
    return table(artifact, "scores.parquet")


def events(runs: Runs) -> pl.DataFrame:
    artifact = runs.context().workspace.read("clean")
    assert artifact is not None
    return table(artifact, "events/*.parquet")


def meta(runs: Runs, part: str) -> dict[str, Any]:
    stored: dict[str, Any] = json.loads((runs.shop.workspace / "shop/model" / part / "meta.json").read_text())
    return stored


def asked(runs: Runs, cutoff: datetime, days: int, event: str | None) -> list[str]:
    """Who is in the population, from the clean log by hand."""
    found = set()
    for user, ts, kind in events(runs).select("user_id", "ts", "event_type").rows():
        if cutoff - timedelta(days=days) <= ts < cutoff and event in (None, kind):
            found.add(user)
    return sorted(found)


def test_everybody_who_is_asked_has_one_row(asking: Runs) -> None:
    found = scores(asking, LATEST)
    assert found.schema == pl.Schema(BINARY_SCORES)
    assert found["user_id"].sort().to_list() == asked(asking, END, 21, "purchase")
    assert found.height > 70
    assert set(found.select("as_of", "horizon_end", "model").rows()) == {
        (LATEST, date(2024, 4, 28), "boosting")
    }
    assert asking.said == []


def test_scores_separate_who_will_churn_from_who_will_not(asking: Runs) -> None:
    """Whoever asked in the last week buys nothing in the next."""
    found = scores(asking, LATEST)
    asking_now = set(
        events(asking).filter(
            (pl.col("event_type") == "question") & (pl.col("ts") >= END - timedelta(days=7))
        )["user_id"]
    )
    churners = found.filter(pl.col("user_id").is_in(asking_now))["probability"]
    stayers = found.filter(~pl.col("user_id").is_in(asking_now))["probability"]
    assert churners.min() > 0.8  # type: ignore[operator]
    assert stayers.max() < 0.2  # type: ignore[operator]


def test_deciles_are_tenths_of_the_rows_the_highest_scores_first(asking: Runs) -> None:
    found = scores(asking, LATEST).sort("score", descending=True, maintain_order=True)
    n = found.height
    assert found["decile"].to_list() == [place * 10 // n + 1 for place in range(n)]
    assert found["decile"].unique().sort().to_list() == list(range(1, 11))


def test_the_probability_is_the_calibrated_score(asking: Runs) -> None:
    found = scores(asking, LATEST)
    stored = meta(asking, "refit")["calibration"]
    expected = 1 / (1 + np.exp(-(stored["slope"] * found["score"].to_numpy() + stored["intercept"])))
    np.testing.assert_allclose(found["probability"].to_numpy(), expected, rtol=1e-12)
    assert stored["slope"] > 0
    # The refit keeps the calibration that the validation window has taught.
    assert stored == meta(asking, "fitted")["calibration"]


def test_who_has_a_single_day_of_history_is_cold(asking: Runs) -> None:
    days = events(asking).group_by("user_id").agg(n=pl.col("ts").dt.date().n_unique())
    found = scores(asking, LATEST).join(days, on="user_id")
    assert found["is_cold"].equals(found["n"] == 1, check_names=False)
    assert found.filter("is_cold")["user_id"].to_list() == ["fresh"]


EVERYBODY = {"decision": {"kind": "capacity", "top": 1000}}


@pytest.fixture
def everybody(asking: Runs, copy_of: CopyOf) -> Runs:
    """The same scores, but all rows are targeted."""
    runs = copy_of(asking, **ASKING, **EVERYBODY)
    runs.do("predict")
    return runs


def test_reasons_name_what_decides(everybody: Runs) -> None:
    """Questions alone decide, so each first reason is about them, and says in which direction."""
    found = scores(everybody, LATEST).sort("score", descending=True)
    top, bottom = found.head(10)["reason_1"].to_list(), found.tail(10)["reason_1"].to_list()
    for reason in top:
        assert "question" in reason
        assert reason.endswith(" (raises the churn risk)")
    for reason in bottom:
        assert "question" in reason
        assert reason.endswith(" (lowers the churn risk)")
    for reasons in found.select("reason_1", "reason_2", "reason_3").rows():
        assert len(set(reasons)) == 3


def test_a_reason_quotes_the_users_own_value(everybody: Runs) -> None:
    """Nobody asks more than once a week; whoever did not is told how long ago the last question was."""
    asked_at = events(everybody).filter(event_type="question").group_by("user_id").agg(pl.col("ts").max())
    since = {user: (END - ts) / timedelta(days=1) for user, ts in asked_at.rows()}
    lately = (
        "1 question in the last 7 days",
        "questions on 1 day in the last 7",
        "questions about 1 item in the last 7",
    )
    n_quoted = 0
    for user, reason in scores(everybody, LATEST).select("user_id", "reason_1").rows():
        days = since.get(user)
        asks = days is not None and days <= 7
        if days is None:
            expected = "no question so far"
        elif asks:
            expected = (
                lately if "in the last 7 days" in reason else ("no question for ", "last question less than")
            )
        else:
            expected = f"no question for {int(days)} day"
        assert reason.startswith(expected), reason
        assert reason.endswith(f" ({'raises' if asks else 'lowers'} the churn risk)")
        n_quoted += not asks or "in the last 7 days" in reason
    assert n_quoted > 40


def test_only_targeted_rows_have_reasons(asking: Runs) -> None:
    found = scores(asking, LATEST)
    assert 0 < found["is_targeted"].sum() < found.height
    assert found["reason_1"].is_not_null().equals(found["is_targeted"], check_names=False)


def test_who_is_left_alone_as_control_has_no_reasons(asking: Runs, copy_of: CopyOf) -> None:
    runs = copy_of(asking, **ASKING, decision={"kind": "capacity", "top": 40, "control_share": 0.3})
    runs.do("predict")
    found = scores(runs, LATEST)
    assert found["is_control"].sum() > 0
    assert found["reason_1"].is_not_null().equals(found["is_targeted"], check_names=False)


def test_reasons_are_given_for_the_highest_scores_only(everybody: Runs, copy_of: CopyOf) -> None:
    runs = copy_of(everybody, **ASKING, **EVERYBODY, predict={"explain_rows": 7, "reasons": 2})
    outcome = runs.do("predict")
    found = scores(runs, LATEST).sort("score", descending=True, maintain_order=True)
    is_given = found.select(pl.col("^reason_.$").is_not_null())
    assert is_given.rows() == [(True, True, False)] * 7 + [(False,) * 3] * (found.height - 7)
    assert outcome.artifact.counts["explained"] == 7
    whole = scores(everybody, LATEST).sort("score", descending=True, maintain_order=True)
    assert found.drop("^reason_.$").equals(whole.drop("^reason_.$"))
    assert found.head(7)["reason_1"].equals(whole.head(7)["reason_1"])


@pytest.mark.parametrize("setting", [{"explain_rows": 0}, {"reasons": 0}])
def test_no_reasons_where_none_are_wanted(asking: Runs, copy_of: CopyOf, setting: dict[str, int]) -> None:
    runs = copy_of(asking, **ASKING, predict=setting)
    runs.do("predict")
    assert scores(runs, LATEST).select(pl.col("^reason_.$").count()).row(0) == (0, 0, 0)


def test_a_kind_that_cannot_explain_gives_no_reasons(asking: Runs, copy_of: CopyOf) -> None:
    runs = copy_of(asking, **ASKING | {"model": {"kind": "rfm"}})
    runs.do("features", "train", "predict")
    found = scores(runs, LATEST)
    assert found.select(pl.col("^reason_.$").count()).row(0) == (0, 0, 0)
    assert set(found["model"]) == {"rfm"}


# As of which day, and by which model


def info(runs: Runs, as_of: date) -> Any:
    artifact = runs.context().workspace.read(f"shop/predictions/as_of={as_of}")
    assert artifact is not None
    return artifact.info


def test_the_latest_day_is_scored_by_the_refit(asking: Runs) -> None:
    assert info(asking, LATEST) == {
        "as_of": "2024-04-21",
        "model": "refit",
        "knows_until": "2024-04-22T00:00:00+00:00",
    }


@pytest.mark.parametrize("as_of", [KNOWN, date(2024, 4, 17), date(2024, 4, 20)])
def test_an_earlier_day_is_scored_by_the_model_that_was_judged(
    asking: Runs, copy_of: CopyOf, as_of: date
) -> None:
    runs = copy_of(asking, **ASKING, predict={"as_of": as_of.isoformat()})
    assert runs.do("predict").status == "done"
    assert info(runs, as_of) == {
        "as_of": as_of.isoformat(),
        "model": "fitted",
        "knows_until": "2024-04-15T00:00:00+00:00",
    }
    found = scores(runs, as_of)
    cutoff = datetime(as_of.year, as_of.month, as_of.day, tzinfo=UTC) + timedelta(days=1)
    assert found["user_id"].sort().to_list() == asked(runs, cutoff, 21, "purchase")
    assert set(found["horizon_end"]) == {as_of + timedelta(days=7)}
    # The scores of other days stay.
    assert scores(runs, LATEST).equals(scores(asking, LATEST))


def test_the_latest_day_by_name_or_by_date_is_the_same(asking: Runs, copy_of: CopyOf) -> None:
    runs = copy_of(asking, **ASKING, predict={"as_of": LATEST.isoformat()})
    assert runs.do("predict").status == "skipped"


def test_a_day_that_the_model_has_learned_from_is_refused(asking: Runs, copy_of: CopyOf) -> None:
    runs = copy_of(asking, **ASKING, predict={"as_of": "2024-04-13"})
    with pytest.raises(DataError) as error:
        runs.do("predict")
    assert str(error.value) == (
        "predict.as_of is 2024-04-13, but the model has learned from days up to 2024-04-14: its scores would look into "
        "their own future. Take 2024-04-14 or later, or train on a log that ends on 2024-04-13"
    )


def test_a_day_beyond_the_log_is_refused(asking: Runs, copy_of: CopyOf) -> None:
    runs = copy_of(asking, **ASKING, predict={"as_of": "2024-04-22"})
    with pytest.raises(DataError) as error:
        runs.do("predict")
    assert str(error.value) == (
        "predict.as_of is 2024-04-22, but the log's last complete day is 2024-04-21; bring newer data first"
    )


def test_without_a_refit_the_judged_model_scores(asking: Runs, copy_of: CopyOf) -> None:
    runs = copy_of(asking, **ASKING, predict={"refit": False})
    runs.do("train", "predict")
    assert info(runs, LATEST)["model"] == "fitted"
    assert not (runs.shop.workspace / "shop/model/refit").exists()
    found, refitted = scores(runs, LATEST), scores(asking, LATEST)
    assert found["user_id"].equals(refitted["user_id"])
    assert not found["score"].equals(refitted["score"])
    assert meta(runs, "fitted") == meta(asking, "fitted")


def test_the_horizon_ends_on_a_day_of_the_shops_calendar(asking: Runs, copy_of: CopyOf) -> None:
    """Clocks go forward on 31 March in Berlin: its day has 23 hours, and is a day of the horizon nonetheless."""
    runs = copy_of(asking)
    runs.shop.write(pl.read_csv(runs.shop.raw / "events.csv").filter(pl.col("time") < "2024-03-25"))
    dataset = {"timezone": "Europe/Berlin", "changed_files": "replace"}
    dataset["sources"] = asking.shop.settings["dataset"]["sources"]
    runs.shop.config(**ASKING | {"split": {"step": "7d", "train": 2}, "dataset": dataset})
    runs.do("ingest", "clean", "features", "train", "predict")
    assert set(scores(runs, date(2024, 3, 24))["horizon_end"]) == {date(2024, 3, 31)}


def test_a_horizon_of_hours_ends_on_its_own_day(asking: Runs, copy_of: CopyOf) -> None:
    task = {"kind": "purchase", "active_within": "21d", "horizon": "12h"}
    runs = copy_of(asking, **ASKING | {"task": task})
    runs.do("features", "train", "predict")
    as_of = LATEST
    assert set(scores(runs, as_of)["horizon_end"]) == {as_of + timedelta(days=1)}


# Repeats


@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_inputs_give_the_same_bytes(asking: Runs, copy_of: CopyOf, threads: int) -> None:
    runs = copy_of(asking, **ASKING)
    runs.do("evaluate", force=True)  # the report names the folder of the sources
    before = data_files(runs.shop.workspace / "shop")
    runs.threads = threads
    assert runs.do("features", "train", "evaluate", "predict", force=True).status == "done"
    assert runs.said[-1] == (
        f"predict: {scores(runs, LATEST).height} users scored as of 2024-04-21 for the days up to 2024-04-28; "
        f"{scores(runs, LATEST)['is_targeted'].sum()} targeted"
    )
    after = data_files(runs.shop.workspace / "shop")
    assert before.keys() == after.keys()
    assert [name for name in before if before[name] != after[name]] == []


def test_a_crowd_comes_in_many_parts_and_files(
    asking: Runs, copy_of: CopyOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scores, deciles, targets, control and reasons are the same bytes as from one part of one file."""
    runs = copy_of(asking, **ASKING, decision={"kind": "capacity", "top": 40, "control_share": 0.3})
    runs.do("predict")
    before, files = data_files(runs.shop.workspace / "shop/predictions"), []

    def remove(folder: Path) -> None:
        files.append(len(list((folder / "table").iterdir())))
        rmtree(folder)

    n_rows = scores(runs, LATEST).height
    stored = json.loads((runs.shop.workspace / "shop/model/manifest.json").read_text())
    n_columns = len(TABLE_KEYS) + len(stored["info"]["features"])
    monkeypatch.setattr("ecbehave.tables._VALUES", 10 * n_columns)
    monkeypatch.setattr("ecbehave.stages.predict.CHUNKS_PER_FILE", 2 * n_columns)
    monkeypatch.setattr("ecbehave.stages.predict.rmtree", remove)
    runs.do("predict", force=True)
    assert files == [math.ceil(n_rows / 20)]
    assert files[0] > 3
    assert data_files(runs.shop.workspace / "shop/predictions") == before


def test_nothing_of_the_input_is_left_beside_the_scores(asking: Runs) -> None:
    folder = asking.shop.workspace / f"shop/predictions/as_of={LATEST}"
    assert sorted(p.name for p in folder.iterdir()) == ["manifest.json", "scores.parquet"]


# Lists


def published(runs: Runs) -> Artifact:
    artifact = runs.context().workspace.read("shop/predictions/as_of=2024-04-29")
    assert artifact is not None
    return artifact


def test_everybody_who_is_asked_has_k_items(listing: Runs) -> None:
    found = table(published(listing), "scores.parquet")
    assert found.schema == pl.Schema(RANKING_SCORES)
    cutoff = datetime(2024, 4, 30, tzinfo=UTC)
    users = asked(listing, cutoff, 28, None)
    assert found["user_id"].unique().sort().to_list() == users
    assert len(users) > 40
    lists = found.group_by("user_id").agg(pl.col("rank"), pl.col("item_id").n_unique())
    assert set(lists["item_id"]) == {20}
    assert {tuple(ranks) for ranks in lists["rank"]} == {tuple(range(1, 21))}
    assert set(found.select("as_of", "model").rows()) == {(date(2024, 4, 29), "item_knn")}


def test_lists_of_another_length(listing: Runs, copy_of: CopyOf) -> None:
    runs = copy_of(listing, predict={"k": 3}, **PREFERENCE)
    runs.do("predict")
    short, whole = (table(published(r), "scores.parquet") for r in (runs, listing))
    assert short.equals(whole.filter(pl.col("rank") <= 3))
    runs = copy_of(listing, predict={"k": 100}, **PREFERENCE)
    runs.do("predict")
    longest = table(published(runs), "scores.parquet").group_by("user_id").len()
    assert set(longest["len"]) == {41}  # the whole catalogue


def popular_lately(runs: Runs) -> list[str]:
    """Items by the number of users who had them in the last 28 days, by hand."""
    had: dict[str, set[str]] = {}
    since, until = datetime(2024, 4, 2, tzinfo=UTC), datetime(2024, 4, 30, tzinfo=UTC)
    for user, item, ts in events(runs).select("user_id", "item_id", "ts").rows():
        if item is not None and since <= ts < until:
            had.setdefault(item, set()).add(user)
    return sorted(had, key=lambda item: (-len(had[item]), item))


def test_a_user_without_any_item_is_cold_and_gets_what_is_popular(listing: Runs) -> None:
    found = table(published(listing), "scores.parquet")
    seeker = found.filter(pl.col("user_id") == "seeker").sort("rank")
    assert seeker["item_id"].to_list() == popular_lately(listing)[:20]
    assert seeker["score"].null_count() == 20
    assert set(found.filter("is_cold")["user_id"]) == {"seeker"}
    assert published(listing).counts == {"users": found["user_id"].n_unique(), "cold": 1, "without_list": 0}


def test_a_list_is_filled_up_with_what_is_popular(listing: Runs) -> None:
    """Nobody else had the item of `odd`, so the model knows nothing but the item itself."""
    found = table(published(listing), "scores.parquet").filter(pl.col("user_id") == "odd").sort("rank")
    assert found["item_id"].to_list() == ["i99", *popular_lately(listing)[:19]]
    assert found["score"].is_not_null().to_list() == [True] + [False] * 19


def test_the_counts_of_a_binary_task_are_its_users(asking: Runs) -> None:
    artifact = asking.context().workspace.read(f"shop/predictions/as_of={LATEST}")
    assert artifact is not None
    found = scores(asking, LATEST)
    n_targeted = found["is_targeted"].sum()
    expected = {
        "users": found.height,
        "targeted": n_targeted,
        "control": 0,
        "cold": 1,
        "explained": n_targeted,
    }
    assert artifact.counts == expected
    assert re.fullmatch("[0-9a-f]{64}", artifact.fingerprint)
