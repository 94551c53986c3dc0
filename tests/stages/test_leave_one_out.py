"""Leave-one-out: each life is cut at the user's own last items, and everything says that this leaks time."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError
from shops import Shop
from stage_runs import Runs

from ecbehave.config.split import Split
from ecbehave.errors import ConfigError
from ecbehave.stages import features
from ecbehave.windows import HeldOut, held_out, own_splits

END = datetime(2024, 2, 1, tzinfo=UTC)
#: A user's events: day of January, event type, item. `two` has too few purchases; `dup` has two at one instant.
LOG = {
    "ann": [
        (1, "purchase", "a"),
        (3, "view", "x"),
        (5, "purchase", "b"),
        (9, "purchase", "e"),
        (11, "view", "y"),
    ],
    "bob": [(2, "purchase", "b"), (4, "purchase", "e"), (6, "purchase", "b")],
    "two": [(20, "purchase", "a"), (21, "purchase", "c")],
    "dup": [(7, "purchase", "a"), (8, "purchase", "d"), (8, "purchase", "b")],
    "new": [(1, "search", None), (8, "purchase", "a"), (8, "purchase", "b"), (8, "purchase", "c")],
}
COLUMNS = {"user": str, "time": str, "kind": str, "item": str}


def log() -> pl.DataFrame:
    rows = [
        (user, f"2024-01-{day:02d} 10:00:00", kind, item)
        for user, events in LOG.items()
        for day, kind, item in events
    ]
    # Of the first of February, the day is not complete in the tests of `held_out`.
    last = [("end", "2024-01-31 10:00:00", "view", "z"), ("end", "2024-02-01 09:00:00", "purchase", "z")]
    return pl.DataFrame([*rows, *last], COLUMNS, orient="row")


def events() -> pl.DataFrame:
    names = sorted(log()["user"].unique())
    return log().select(
        user_hash=pl.col("user").replace_strict(names, range(len(names)), return_dtype=pl.UInt64),
        user_id="user",
        ts=pl.col("time").str.to_datetime(time_unit="us", time_zone="UTC"),
        event_type="kind",
        item_id="item",
    )


def cut(n_later: int, cutoff: datetime, rows: pl.DataFrame | None = None) -> HeldOut:
    is_item = pl.col("item_id").is_not_null() & (pl.col("event_type") == "purchase")
    return held_out((events() if rows is None else rows).lazy(), is_item, n_later, cutoff, END)


def labels(found: HeldOut) -> dict[str, str]:
    return dict(found.labels.collect().sort("user_id").rows())


def hours_before(found: HeldOut, cutoff: datetime) -> dict[str, list[tuple[int, str]]]:
    hours = (pl.lit(cutoff) - pl.col("ts")).dt.total_hours()
    rows = found.history.select("user_id", hours=hours, item="item_id").sort("user_id", "hours", "item")
    history: dict[str, list[tuple[int, str]]] = {}
    for user, hour, item in rows.collect().rows():
        history.setdefault(user, []).append((hour, item))
    return history


def test_the_test_item_is_the_last_and_all_before_it_is_history():
    found = cut(0, END)
    # Of equal times the item that is last by name; `new` has nothing but a search before his.
    assert labels(found) == {"ann": "e", "bob": "b", "dup": "d", "new": "c"}
    assert sorted(found.population.collect()["user_id"]) == ["ann", "bob", "dup", "new"]
    assert hours_before(found, END) == {
        # Hours before the own last purchase; what is at its instant, or after it, is not there.
        "ann": [(4 * 24, "b"), (6 * 24, "x"), (8 * 24, "a")],
        "bob": [(2 * 24, "e"), (4 * 24, "b")],
        "dup": [(24, "a")],
        "new": [(7 * 24, None)],
        # Too few items to be asked: hours before the end of the log, without the day that is not complete.
        "two": [(10 * 24 + 14, "c"), (11 * 24 + 14, "a")],
        "end": [(14, "z")],
    }


def test_the_validation_item_is_the_second_last():
    cutoff = END - timedelta(days=1)
    found = cut(1, cutoff)
    assert labels(found) == {"ann": "b", "bob": "e", "dup": "b", "new": "b"}
    history = hours_before(found, cutoff)
    assert history["ann"] == [(48, "x"), (96, "a")]
    assert history["bob"] == [(48, "b")]
    assert history["two"] == [(10 * 24 + 14, "c"), (11 * 24 + 14, "a")]


def test_who_has_nothing_before_is_not_asked():
    rows = events().filter(~((pl.col("user_id") == "new") & (pl.col("event_type") == "search")))
    found = cut(0, END, rows)
    assert "new" not in labels(found)
    assert "new" not in found.population.collect()["user_id"]


def test_the_order_of_rows_decides_nothing():
    for seed in range(3):
        mixed = cut(0, END, events().sample(fraction=1, shuffle=True, seed=seed))
        assert labels(mixed) == labels(cut(0, END))
        assert hours_before(mixed, END) == hours_before(cut(0, END), END)


def test_the_cutoffs_are_in_name_only():
    splits = own_splits(datetime(2024, 3, 31, 22, tzinfo=UTC), "Europe/Berlin")
    assert splits.train == ()
    assert [w.cutoff for w in (*splits.validation, *splits.test)] == [
        # A day of 23 hours lies between them.
        datetime(2024, 3, 30, 23, tzinfo=UTC),
        datetime(2024, 3, 31, 22, tzinfo=UTC),
    ]
    assert all(w.end > w.cutoff for w in (*splits.validation, *splits.test))


# The config


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"kind": "leave_one_out", "train": 3},
            "train is for kind: time, since leave_one_out has no cutoffs; take it out",
        ),
        ({"kind": "leave_one_out", "rolling": True}, "rolling is for kind: time"),
        (
            {"fit_on_validation": True},
            "fit_on_validation is for kind: leave_one_out; take it out, or set kind",
        ),
    ],
)
def test_keys_of_the_other_kind_are_refused(keys: dict[str, Any], message: str):
    with pytest.raises(ValidationError, match=re.escape(message)):
        Split.model_validate(keys)


# End to end


def shop(folder: Path, **settings: Any) -> Runs:
    made = Shop(folder)
    made.write(log())
    source = {
        "path": "raw/events*.csv",
        "columns": {"user_id": "user", "item_id": "item", "ts": "time"},
        "event_type": {"column": "kind"},
    }
    config = {
        "dataset": {"sources": [source]},
        "task": {"kind": "preference"},
        "split": {"kind": "leave_one_out"},
        "model": {"kind": "item_knn", "min_users": 1},
        "evaluate": {"bootstrap": 100, "k": [1, 3]},
    }
    return Runs(made, made.config(**config | settings))


@pytest.fixture(scope="module")
def left_out(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    runs = shop(tmp_path_factory.mktemp("left-out") / "shop")
    runs.do("ingest", "clean", "features", "train", "evaluate", "predict")
    return runs


def metrics(runs: Runs) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((runs.shop.workspace / "shop/evaluation/metrics.json").read_text())
    return found


def test_the_inputs_are_the_lives_that_were_cut(left_out: Runs):
    inputs = left_out.context().workspace.read("shop/inputs")
    assert inputs is not None
    (data,) = features.read_inputs(inputs, "matrix", "test", "UTC")
    assert dict(data.labels.rows()) == {"ann": "e", "bob": "b", "dup": "d", "new": "c"}
    pairs = data.pairs.select(
        user=data.users["user_id"].gather(data.pairs["user"]),
        item=data.items["item_id"].gather(data.pairs["item"]),
        days="days_since",
        place="place",
    )
    assert sorted(pairs.filter(user="ann").drop("user").rows()) == [("a", 8, 2), ("b", 4, 0), ("x", 6, 1)]
    assert sorted(pairs.filter(user="dup").drop("user").rows()) == [("a", 1, 0)]
    # `end` has an item, and is not asked.
    assert data.users.filter("is_asked")["user_id"].sort().to_list() == ["ann", "bob", "dup", "new"]
    (before,) = features.read_inputs(inputs, "matrix", "validation", "UTC")
    assert dict(before.labels.rows()) == {"ann": "b", "bob": "e", "dup": "b", "new": "b"}
    assert features.read_inputs(inputs, "matrix", "train", "UTC") == []


def test_it_is_judged_and_everything_says_that_it_leaks(left_out: Runs):
    found = metrics(left_out)
    assert (found["split"], found["leaks_time"], found["n_rows"]) == ("leave_one_out", True, 4)
    assert found["n_without_truth"] == 0
    warning = (
        "leave-one-out leaks time: the fit has seen what other users did later, so these figures are for comparing "
        "with published ones, and no shop will see them; the fit was made without the validation items"
    )
    assert found["warnings"] == [warning]
    page = (left_out.shop.workspace / "shop/evaluation/report.html").read_text(encoding="utf-8")
    page = page.replace("\N{NO-BREAK SPACE}", " ")
    assert f"L{warning[1:]}." in page
    assert "All splits are global in time" not in page
    assert "the second last item of each user" in page
    assert "the last one that each user had task.event with" in page
    left_out.do("features", "train", "evaluate", force=True)
    assert f"evaluate: {warning}" in left_out.said
    assert "features: leave-one-out, 4 users asked for their last item" in left_out.said
    assert "train: item_knn on all but the last two items of each user" in left_out.said


def test_predict_knows_everything(left_out: Runs):
    """The newest history is that of a split in time: every event counts, on its own day."""
    inputs = left_out.context().workspace.read("shop/inputs")
    model = left_out.context().workspace.read("shop/model")
    assert inputs is not None
    assert model is not None
    stored = pl.read_parquet(inputs.path / "matrix" / features.NEWEST / "pairs.parquet")
    own = stored.filter(pl.col("user_id") == "ann", pl.col("item_id") == "e")
    assert own["days_since"].item() == pytest.approx(23 + 14 / 24)
    assert {part: model.info[part]["knows_until"] for part in ("fitted", "refit")} == dict.fromkeys(
        ("fitted", "refit"), (END + timedelta(days=1)).isoformat()
    )
    (scores,) = (left_out.shop.workspace / "shop/predictions").rglob("*.parquet")
    assert pl.read_parquet(scores)["user_id"].n_unique() == 6


def test_a_fit_on_the_validation_items_knows_more(left_out: Runs, tmp_path: Path):
    runs = shop(tmp_path / "shop", split={"kind": "leave_one_out", "fit_on_validation": True})
    runs.do("ingest", "clean", "features", "train", "evaluate")
    assert "train: item_knn on all but the last item of each user" in runs.said
    assert metrics(runs)["warnings"][0].endswith("the fit was made with the validation items too")
    first, second = (r.shop.workspace / "shop/model/fitted" for r in (left_out, runs))
    files = [sorted(path.name for path in folder.iterdir()) for folder in (first, second)]
    assert files[0] == files[1]
    assert any((first / name).read_bytes() != (second / name).read_bytes() for name in files[0])
    # e is a validation item only, and d is nowhere else.
    assert metrics(left_out)["n_cold_items"] == 2
    assert metrics(runs)["n_cold_items"] == 1
    # What is stored of the inputs is the same: only the fit differs.
    context, other = left_out.context(), runs.context()
    assert features.settings(context) == features.settings(other)


def test_what_has_been_had_need_not_be_listed(tmp_path: Path):
    runs = shop(tmp_path / "shop", task={"kind": "preference", "exclude": ["any"]})
    runs.do("ingest", "clean", "features")
    inputs = runs.context().workspace.read("shop/inputs")
    assert inputs is not None
    (data,) = features.read_inputs(inputs, "matrix", "test", "UTC")
    # bob had b before: a repeat is not true.
    assert dict(data.labels.rows()) == {"ann": "e", "dup": "d", "new": "c"}
    assert data.barred is not None
    assert data.barred.sum() == 3 + 2 + 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"model": {"kind": "boosting"}},
            "split.kind: leave_one_out is for kinds that rank the whole catalogue, and model boosting or baseline "
            "popularity reads a table of features; choose another, or set split.kind to time",
        ),
        (
            {"task": {"kind": "churn"}, "model": {"kind": "rfm"}},
            "split.kind: leave_one_out is for the task preference with feedback: implicit; set kind to time",
        ),
        (
            {"task": {"kind": "preference", "feedback": "explicit"}},
            "split.kind: leave_one_out is for the task preference with feedback: implicit; set kind to time",
        ),
        (
            {"tune": {"trials": 2}},
            "tune looks for the best settings at cutoffs in time; take it out, or set split.kind",
        ),
    ],
)
def test_other_questions_and_kinds_are_refused(settings: dict[str, Any], message: str, tmp_path: Path):
    runs = shop(tmp_path / "shop", **settings)
    with pytest.raises(ConfigError, match=re.escape(message)):
        features.input_types(runs.context())
