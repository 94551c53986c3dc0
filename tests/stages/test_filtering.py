"""Filters of a preference task: the same for what is true, what is listed, and every kind of model."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from shops import PREFERENCE
from stage_runs import Runs, table

from ecbehave.artifacts import Artifact
from ecbehave.config.task import PreferenceTask, PurchaseTask
from ecbehave.errors import ArtifactError, DataError
from ecbehave.inputs.barred import Filters
from ecbehave.schema import MATRIX_RULES
from ecbehave.stages.filtering import (
    apply_filters,
    check_excluded,
    check_filters,
    filter_fingerprints,
    filters_of,
    without_places,
)

CopyOf = Callable[..., Runs]
KNOWN = ["cart", "purchase", "view"]


def task(**settings: Any) -> PreferenceTask:
    return PreferenceTask.model_validate({"kind": "preference"} | settings)


def items(**paths: str | None) -> pl.DataFrame:
    schema = {"item_id": pl.String, "category": pl.String}
    return pl.DataFrame(sorted(paths.items()), schema, orient="row")


def said_of(filters: Filters, known: pl.DataFrame) -> list[str]:
    said: list[str] = []
    check_filters(filters, known, said.append)
    return said


def test_filters_with_the_content_of_their_files(tmp_path: Path) -> None:
    (tmp_path / "allow.txt").write_text("b\na\n")
    (tmp_path / "deny.csv").write_text("item_id\n")
    settings = task(
        exclude=["cart"],
        items={
            "allow": str(tmp_path / "allow.txt"),
            "deny": str(tmp_path / "deny.csv"),
            "categories": ["x.y"],
        },
    )
    filters = filters_of(settings)
    assert filters.exclude == ("cart",)
    assert filters.categories == ("x.y",)
    assert filters.allow is not None
    assert filters.deny is not None
    assert (filters.allow.to_list(), filters.deny.to_list()) == (["a", "b"], [])
    assert list(filter_fingerprints(settings)) == ["task.items.allow", "task.items.deny"]


def test_other_tasks_and_plain_ones_have_no_filters() -> None:
    for plain in (task(), PurchaseTask(kind="purchase")):
        assert not filters_of(plain)
        assert filter_fingerprints(plain) == {}
        check_excluded(plain, KNOWN)


def test_where_a_file_lies_is_no_setting() -> None:
    public = {"kind": "preference", "items": {"allow": "/x/a.txt", "deny": None, "categories": ["c"]}}
    assert without_places(public) == {
        "kind": "preference",
        "items": {"allow": True, "deny": False, "categories": ["c"]},
    }
    assert without_places({"kind": "churn"}) == {"kind": "churn"}


def test_a_list_that_allows_nothing(tmp_path: Path) -> None:
    path = tmp_path / "allow.txt"
    path.write_text("\n")
    with pytest.raises(DataError) as error:
        filters_of(task(items={"allow": str(path)}))
    assert str(error.value) == (
        f"task.items.allow: {path} has no item, so nothing could be listed; write the items that may be, or take the "
        f"key out to allow all"
    )


def test_a_list_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "deny.txt"
    with pytest.raises(DataError) as error:
        filter_fingerprints(task(items={"deny": str(path)}))
    assert str(error.value) == (
        f"task.items.deny: there is no file {path}; correct the path, or bring the file"
    )


def test_an_event_that_the_log_has_not() -> None:
    check_excluded(task(exclude=["cart", "any", "view"]), KNOWN)
    with pytest.raises(DataError) as error:
        check_excluded(task(exclude=["cart", "purchse"]), KNOWN)
    assert str(error.value) == (
        "task.exclude: the log has no purchse event; did you mean purchase? It has cart, purchase, view. Take it out, "
        "or say in dataset.sources[].event_type.map which word of the shop means it"
    )
    with pytest.raises(DataError, match=r"no rating event\. It has a0, a1, .*, a9, \.\.\.\. Take it out"):
        check_excluded(task(exclude=["rating"]), [f"a{n}" for n in range(11)])


def test_items_of_a_list_that_nobody_had() -> None:
    known = items(a=None, b=None)
    filters = Filters(allow=pl.Series(["a", "v", "w", "x", "y"]), deny=pl.Series(["b", "z"]))
    assert said_of(filters, known) == [
        "task.items.allow: 4 of 5 items are not in the log (v, w, x, ...)",
        "task.items.deny: 1 of 2 items are not in the log (z)",
    ]
    assert said_of(Filters(allow=pl.Series(["a", "b"]), deny=pl.Series(["b"])), known) == []


def test_a_category_without_items() -> None:
    known = items(a="home.kitchen.pans", b="home.garden", c="toys", d=None)
    assert said_of(Filters(categories=("home", "home.kitchen", "toys")), known) == []
    with pytest.raises(DataError) as error:
        said_of(Filters(categories=("toys", "home.kitchn")), known)
    assert str(error.value) == (
        "task.items.categories: no item of the log is in home.kitchn or below it; did you mean home.kitchen? "
        "There are home, home.garden, home.kitchen, home.kitchen.pans, toys"
    )
    with pytest.raises(DataError) as error:
        said_of(Filters(categories=("zzz",)), items(**{f"i{n}": f"c{n}" for n in range(10, 22)}))
    assert str(error.value) == (
        "task.items.categories: no item of the log is in zzz or below it. There are c10, c11, c12, c13, c14, c15, c16, "
        "c17, c18, c19, ..."
    )


def test_a_log_without_categories() -> None:
    with pytest.raises(DataError) as error:
        said_of(Filters(categories=("toys",)), items(a=None))
    assert str(error.value) == (
        "task.items.categories has toys, but the log has no categories; map category in dataset.sources[].columns, "
        "of the log or of a table: items"
    )


@pytest.mark.parametrize(
    "filters",
    [
        Filters(deny=pl.Series(["a", "b"])),
        Filters(allow=pl.Series(["z"])),
        Filters(allow=pl.Series(["a"]), categories=("y",)),
    ],
)
def test_filters_that_leave_nothing(filters: Filters) -> None:
    with pytest.raises(DataError) as error:
        said_of(filters, items(a="x", b="y"))
    assert str(error.value) == (
        "task.items leaves nothing to list: all 2 items of the log are denied, not allowed, or in another category; "
        "loosen allow, deny or categories"
    )


def test_a_log_without_items_is_told_elsewhere() -> None:
    assert said_of(Filters(exclude=("cart",)), items()) == []


def stored_matrix(folder: Path, *, labels: bool) -> None:
    pairs = [("u", "a", "view"), ("u", "b", "cart"), ("v", "a", "cart")]
    pl.DataFrame(pairs, ["user_id", "item_id", "event_type"], orient="row").write_parquet(
        folder / "pairs.parquet"
    )
    if labels:
        true = [("v", "a"), ("v", "b"), ("u", "a"), ("u", "b"), ("u", "new"), ("w", "gone")]
        pl.DataFrame(true, ["user_id", "item_id"], orient="row").write_parquet(folder / "labels.parquet")


def test_what_is_stored_beside_a_matrix(tmp_path: Path) -> None:
    stored_matrix(tmp_path, labels=True)
    filters = Filters(exclude=("cart",), deny=pl.Series(["gone", "other"]))
    rules, n_users = apply_filters(tmp_path, items(a="x", b=None), filters)
    assert rules.schema == pl.Schema(MATRIX_RULES)
    assert rules.rows() == [("cart", None), (None, "gone")]
    assert pl.read_parquet(tmp_path / "barred.parquet").equals(rules)
    left = pl.read_parquet(tmp_path / "labels.parquet")
    assert left.rows() == [("v", "b"), ("u", "a"), ("u", "new")]
    assert n_users == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["barred.parquet", "labels.parquet", "pairs.parquet"]


def test_without_labels_only_the_rules_are_stored(tmp_path: Path) -> None:
    stored_matrix(tmp_path, labels=False)
    rules, n_users = apply_filters(tmp_path, items(a="x", b=None), Filters(categories=("x",)))
    assert rules.rows() == [(None, "b")]
    assert n_users is None
    assert sorted(p.name for p in tmp_path.iterdir()) == ["barred.parquet", "pairs.parquet"]


def test_a_new_item_is_in_no_category(tmp_path: Path) -> None:
    stored_matrix(tmp_path, labels=True)
    apply_filters(tmp_path, items(a="x", b="y"), Filters(categories=("x",)))
    assert pl.read_parquet(tmp_path / "labels.parquet").rows() == [("v", "a"), ("u", "a")]


# End to end

DENIED = {"i01", "i05", "i09", "i13"}
#: Of `shop_items`: i00, i01, i04, i05, ... are in c0 and c1.
LISTABLE = {f"i{n:02}" for n in range(40) if n % 4 in (0, 1)} - DENIED
TASK = PREFERENCE["task"] | {
    "exclude": ["purchase"],
    "items": {"deny": "deny.txt", "categories": ["c0", "c1"]},
    "candidates": {"popular": 3, "similar": 5},
}
MATRIX = PREFERENCE | {"task": TASK, "predict": {"k": 5}}
TREES = MATRIX | {
    "split": {"step": "7d", "train": 3},
    "model": {"kind": "boosting", "max_trees": 5, "min_rows_per_leaf": 5},
}


def artifact(runs: Runs, name: str) -> Artifact:
    found = runs.context().workspace.read(name)
    assert found is not None
    return found


def bought_before(runs: Runs, cutoff: datetime) -> set[tuple[str, str]]:
    """What users had purchased, from the clean log by hand."""
    log = table(artifact(runs, "clean"), "events/*.parquet")
    rows = log.select("user_id", "item_id", "event_type", "ts").rows()
    return {(user, item) for user, item, event, ts in rows if event == "purchase" and ts < cutoff}


@pytest.fixture(params=["item_knn", "boosting"])
def filtered(request: pytest.FixtureRequest, listing: Runs, copy_of: CopyOf) -> Runs:
    settings: Mapping[str, Any] = MATRIX if request.param == "item_knn" else TREES
    runs = copy_of(listing, **settings)
    (runs.shop.folder / "deny.txt").write_text("\n".join(sorted(DENIED)))
    runs.do("features", "train", "evaluate", "predict")
    return runs


def test_every_kind_lists_and_is_judged_on_what_may_be_listed(filtered: Runs) -> None:
    night = artifact(filtered, "shop/predictions/as_of=2024-04-29")
    lists = table(night, "scores.parquet")
    pairs = set(lists.select("user_id", "item_id").rows())
    assert lists.height > 200
    assert set(lists["item_id"]) <= LISTABLE
    assert not pairs & bought_before(filtered, datetime(2024, 4, 30, tzinfo=UTC))
    inputs = artifact(filtered, "shop/inputs")
    for place in ("validation/2024-04-02", "test/2024-04-16"):
        cutoff = datetime.fromisoformat(place[-10:] + "T00:00:00+00:00")
        true = table(inputs, f"matrix/{place}/labels.parquet")
        assert set(true["item_id"]) <= LISTABLE
        assert not set(true.select("user_id", "item_id").rows()) & bought_before(filtered, cutoff)
        assert inputs.counts[f"{place}.positives"] == true["user_id"].n_unique() > 3
        if "table" in inputs.manifest["config"]["inputs"]:
            assert inputs.counts[f"{place}.true_pairs"] == true.height
            asked = table(inputs, f"table/{place}.parquet")
            assert asked.height > 100
            assert set(asked["item_id"]) <= LISTABLE
            assert not set(asked.select("user_id", "item_id").rows()) & bought_before(filtered, cutoff)
            assert 0 < asked["label"].sum() <= true.height
    metrics = json.loads((artifact(filtered, "shop/evaluation").path / "metrics.json").read_text())
    assert metrics["n_rows"] == inputs.counts["test/2024-04-16.positives"]


def test_a_list_of_another_content_makes_everything_anew_and_another_place_nothing(
    listing: Runs, copy_of: CopyOf
) -> None:
    runs = copy_of(listing, **MATRIX)
    deny = runs.shop.folder / "deny.txt"
    deny.write_text("i01\n")
    assert runs.do("features", "train", "predict").status == "done"
    moved = copy_of(runs, **MATRIX | {"task": TASK | {"items": TASK["items"] | {"deny": "other.csv"}}})
    (moved.shop.folder / "other.csv").write_bytes(deny.read_bytes())
    assert moved.do("features").status == "skipped"
    assert moved.do("predict").status == "skipped"
    deny.write_text("i05\n")
    # A night's list takes effect at once, without training again.
    assert runs.do("predict").status == "done"
    assert (
        "i05" not in table(artifact(runs, "shop/predictions/as_of=2024-04-29"), "scores.parquet")["item_id"]
    )
    with pytest.raises(ArtifactError, match="is out of date: what it was made from has changed"):
        runs.do("train")
    assert runs.do("features").status == "done"


def test_other_filters_need_another_training(listing: Runs, copy_of: CopyOf) -> None:
    runs = copy_of(listing, **PREFERENCE | {"task": PREFERENCE["task"] | {"exclude": ["cart"]}})
    with pytest.raises(ArtifactError, match=r"trained with other settings: task\.exclude"):
        runs.do("predict")


def test_users_to_whom_all_is_barred(listing: Runs, copy_of: CopyOf) -> None:
    """Everybody but those who searched only had every item that may be listed."""
    runs = copy_of(listing, **PREFERENCE | {"task": PREFERENCE["task"] | {"exclude": ["any"]}})
    (runs.shop.folder / "allow.txt").write_text("i99\n")
    settings = PREFERENCE["task"] | {"exclude": ["purchase"], "items": {"allow": "allow.txt"}}
    runs = copy_of(runs, **PREFERENCE | {"task": settings})
    runs.do("features", "train", "predict")
    said = runs.said
    night = artifact(runs, "shop/predictions/as_of=2024-04-29")
    lists = table(night, "scores.parquet")
    assert set(lists["item_id"]) == {"i99"}
    assert "odd" not in lists["user_id"]
    assert night.counts["without_list"] == 1
    assert night.counts["users"] == lists["user_id"].n_unique() > 40
    assert said[-1].endswith("; 1 have no list, as all is barred")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"exclude": ["wish"]}, "task.exclude: the log has no wish event"),
        ({"items": {"categories": ["c9"]}}, "task.items.categories: no item of the log is in c9 or below it"),
        ({"items": {"allow": "none.txt"}}, "task.items.allow: there is no file"),
    ],
)
def test_bad_filters_stop_features(
    listing: Runs, copy_of: CopyOf, settings: dict[str, Any], message: str
) -> None:
    runs = copy_of(listing, **PREFERENCE | {"task": PREFERENCE["task"] | settings})
    with pytest.raises(DataError, match=message):
        runs.do("features")
