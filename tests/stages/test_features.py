"""features: which there are, what of the log they need, and that scoring sees what training saw."""

import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from shops import Shop, shop_items, shop_log
from stage_runs import Runs, table

from ecbehave.config.features import Features
from ecbehave.errors import ConfigError
from ecbehave.schema import TABLE_KEYS
from ecbehave.stages import clean

INPUTS = ("ingest", "clean", "features")


@pytest.fixture
def rich(shop: Shop) -> Shop:
    """A shop whose log has sessions, ratings and discounts, with a users table that changes in time."""
    log = shop_log().with_columns(
        session=pl.col("user") + pl.col("time").str.slice(0, 10),
        stars=pl.when(pl.col("kind") == "view").then(pl.col("item").str.len_chars() % 5),
        saved=pl.when(pl.col("kind") == "purchase").then(0.5),
    )
    shop.write(log)
    shop_items().write_csv(shop.raw / "items.csv")
    users = pl.DataFrame(
        {
            "user": ["u000", "u000", "u001", "u002"],
            "since": ["2024-01-01", "2024-04-10", "2024-05-01", "2024-01-01"],
            "town": ["Ulm", "Bonn", "Köln", None],
        }
    )
    users.write_csv(shop.raw / "people.csv")
    events, items = shop.settings["dataset"]["sources"]
    events["columns"] |= {"session_id": "session", "rating": "stars", "discount": "saved"}
    people = {
        "table": "users",
        "path": "raw/people.csv",
        "columns": {"user_id": "user", "known_from": "since", "town": "town"},
    }
    shop.settings["dataset"] = {"sources": [events, items, people]}
    return shop


def info_of(runs: Runs) -> dict[str, Any]:
    return dict(runs.do("features").artifact.info)


def test_the_manifest_says_what_the_log_has_and_what_is_left_out(shop: Shop) -> None:
    shop.write(shop_log())
    shop.write_items()
    runs = Runs(shop, shop.config())
    runs.do("ingest", "clean")
    info = info_of(runs)
    assert info["facts"]["event_types"] == ["cart", "purchase", "view"]
    assert {"item_id", "category", "brand", "price", "order_id"} <= set(info["facts"]["columns"])
    assert not {"rating", "session_id", "coupon"} & set(info["facts"]["columns"])
    assert info["left_out"] == {
        "discounts": "the log has no discount; map it in dataset.sources[].columns",
        "coupons": "the log has no coupon; map it in dataset.sources[].columns",
        "returns": "the log has no return event before the last train cutoff",
        "ratings": "the log has no rating; map it in dataset.sources[].columns",
        "attributes": "there is no users table; add a source with table: users",
    }
    stored = table(runs.do("features").artifact, "table/test/*.parquet")
    assert stored.columns == [*TABLE_KEYS, "label", *info["features"]]
    assert stored["sessions_any_all"].sum() > 0
    assert stored["market_count_any_28d"].drop_nulls().min() >= 1  # type: ignore[operator]


def test_what_the_log_has_is_built(rich: Shop) -> None:
    runs = Runs(rich, rich.config())
    runs.do("ingest", "clean")
    info = info_of(runs)
    assert set(info["left_out"]) == {"coupons", "returns"}
    assert info["facts"]["attributes"] == ["town"]
    stored = table(runs.do("features").artifact, "table/*/*.parquet")
    assert stored["rating_count_any_all"].sum() > 0
    assert set(stored["discount_use_purchase_all"].drop_nulls()) == {1.0}
    towns = stored.select("user_id", "cutoff", town="attribute_town_all").drop_nulls().sort("cutoff")
    assert set(towns["user_id"]) <= {"u000", "u001"}
    moved = towns.filter(user_id="u000").with_columns(pl.col("cutoff").dt.strftime("%Y-%m-%d"))
    assert moved.filter(pl.col("cutoff") <= "2024-04-10")["town"].unique().to_list() == ["Ulm"]
    assert set(moved.filter(pl.col("cutoff") > "2024-04-10")["town"]) <= {"Bonn"}
    assert stored.schema["top_brand_purchase_all"] == pl.String


def test_scoring_reads_the_same_features_as_training(rich: Shop) -> None:
    runs = Runs(rich, rich.config())
    outcome = runs.do(*INPUTS, "train", "predict")
    found = pl.read_parquet(outcome.artifact.path / "scores.parquet")
    assert found["reason_1"].is_not_null().equals(found["is_targeted"], check_names=False)


def test_groups_can_be_switched_off(rich: Shop) -> None:
    runs = Runs(rich, rich.config(features={"windows": ["7d"], "groups": ["rhythm"]}))
    runs.do("ingest", "clean")
    info = info_of(runs)
    assert info["left_out"]["sessions"] == "features.groups does not name it"
    assert "night_share_any_7d" in info["features"]
    assert not any(name.startswith(("sessions", "market", "top_")) for name in info["features"])
    assert "count_view_7d" in info["features"]


def test_the_session_gap_is_that_of_the_config(shop: Shop) -> None:
    shop.write(shop_log())
    shop.write_items()

    def n_sessions(gap: str) -> float:
        runs = Runs(shop, shop.config(features={"windows": ["7d"], "session_gap": gap}))
        stored = table(runs.do(*INPUTS).artifact, "table/test/*.parquet")
        return float(stored["sessions_any_all"].sum())

    assert n_sessions("30m") > n_sessions("8d")


def test_all_groups_are_the_default() -> None:
    assert "popularity" in Features().groups
    assert len(Features().groups) == 17


def test_only_groups_that_need_sums_over_all_users_cost_a_second_pass(shop: Shop) -> None:
    """Groups that need sums over all users cost a pass; without them there is none."""
    shop.write(shop_log())
    shop.write_items()
    runs = Runs(shop, shop.config(features={"groups": ["rhythm"]}))
    runs.do("ingest", "clean")
    read: list[tuple[str, ...]] = []
    original = clean.read_log

    def counted(log: Any, columns: Any, rows: int) -> Any:
        if list(columns) != ["user_hash"]:  # a glance at who there is
            read.append(tuple(columns))
        return original(log, columns, rows)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clean, "read_log", counted)
        runs.do("features")
        assert len(read) == 1
        Runs(shop, shop.config(features={"groups": ["popularity"]})).do("features")
    assert read[1:] == [("user_hash", "item_id", "ts"), read[2]]


def _memory_needed(folder: Path, log: pl.DataFrame) -> int:
    shop = Shop(folder)
    shop.write(log)
    shop.write_items()
    runs = Runs(shop, shop.config())
    runs.do("ingest", "clean")
    runs.memory_bytes = 1_000_000
    with pytest.raises(ConfigError) as caught:
        runs.do("features")
    found = re.search(r"it takes (\d+)MB", str(caught.value))
    assert found is not None
    return int(found[1])


def test_users_with_few_events_take_more_memory_for_as_many_events(tmp_path: Path) -> None:
    """As many events of many more users: each of them has features."""
    log = shop_log()
    a_day = pl.col("user") + pl.col("time").str.slice(0, 10)
    many = log.with_columns(user=a_day + pl.int_range(pl.len()).cast(pl.String).str.slice(-1))
    assert log.height > 40 * log["user"].n_unique()
    assert many.height < 3 * many["user"].n_unique()
    few_users, many_users = (
        _memory_needed(tmp_path / name, rows) for name, rows in (("few", log), ("many", many))
    )
    assert many_users > few_users + 5
