"""Planted dirt: counted right, found by `clean` under its own name, and without a mark on what is true."""

import filecmp
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from shops import Shop
from stage_runs import Runs, table

from ecbehave.simulate.dirt import FLAWS
from ecbehave.simulate.settings import Settings
from ecbehave.simulate.writer import simulate

Simulate = Callable[..., Path]

START = datetime(2024, 1, 1, tzinfo=UTC)
ASKED: dict[str, Any] = {
    "users": 2_000,
    "items": 200,
    "days": 60,
    "events_per_user": 40.0,
    "days_per_file": 5,
}
SHARE = 0.3
N_BOTS = 1
COLUMNS = [
    "user_id",
    "item_id",
    "ts",
    "session_id",
    "order_id",
    "price",
    "quantity",
    "amount",
    "discount",
    "coupon",
]
COLUMNS += ["rating", "dwell_seconds"]


def planted(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "truth" / "dirt.json").read_text())
    return found


def log(folder: Path) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(path) for path in sorted((folder / "events").iterdir())])


@pytest.fixture(scope="module")
def dirty(log_of: Simulate) -> Path:
    return log_of(**ASKED, dirt=SHARE)


@pytest.fixture(scope="module")
def tidy(log_of: Simulate) -> Path:
    return log_of(**ASKED)


@pytest.fixture(scope="module")
def cleaned(log_of: Simulate, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """The dirty log as CSV, through ingest and clean."""
    shop = Shop(tmp_path_factory.mktemp("dirty") / "shop")
    source = {
        "path": str(log_of(**ASKED, dirt=SHARE, format="csv") / "events" / "*.csv"),
        "columns": {c: c for c in COLUMNS},
        "event_type": {"column": "event_type"},
    }
    config = shop.config(dataset={"sources": [source]}, clean={"max_events_per_user_day": 1_200})
    runs = Runs(shop, config)
    runs.do("ingest", "clean")
    return runs


def test_clean_refuses_what_was_planted(cleaned: Runs, log_of: Simulate) -> None:
    artifact = cleaned.context().workspace.read("clean")
    assert artifact is not None
    found = planted(log_of(**ASKED, dirt=SHARE, format="csv"))
    rows = found["rows"]
    assert len(found["bots"]) == N_BOTS
    refused = {
        k.removeprefix("quarantined."): n for k, n in artifact.counts.items() if k.startswith("quarantined.")
    }
    expected = {rule: n for rule, n in rows.items() if rule not in ("duplicate", "late", "bot")}
    assert {r: n for r, n in refused.items() if n} == expected | {"bot_like": rows["bot"] - 1_200 * N_BOTS}
    assert artifact.counts["duplicates"] == rows["duplicate"]
    assert set(rows) == set(FLAWS[1:])
    assert min(rows.values()) > 300


def test_what_is_left_is_the_tidy_log(cleaned: Runs, tidy: Path, dirty: Path) -> None:
    """Nothing but spoilt views is missing from it, and nothing but bots has come to it."""
    artifact = cleaned.context().workspace.read("clean")
    assert artifact is not None
    # clean works out the amount of a cart.
    columns = [*(c for c in COLUMNS if c != "amount"), "event_type"]
    kept = table(artifact, "events/*.parquet").select(columns)
    (bot,) = planted(dirty)["bots"]
    assert kept.filter(pl.col("user_id") == bot).height == 1_200
    kept = kept.filter(pl.col("user_id") != bot)
    expected = log(tidy).select(columns).cast(dict(kept.schema))
    assert kept.join(expected, on=kept.columns, how="anti", nulls_equal=True).height == 0
    missing = expected.join(kept, on=kept.columns, how="anti", nulls_equal=True)
    assert set(missing["event_type"]) == {"view"}
    assert kept.height + missing.height == expected.height


def test_rows_are_spoilt_by_the_share_that_is_asked_for(dirty: Path, tidy: Path, log_of: Simulate) -> None:
    assert planted(tidy) == {"share": 0.0, "rows": dict.fromkeys(FLAWS[1:], 0), "bots": []}
    n = log(tidy).height
    for folder in (dirty, log_of(**ASKED, dirt=SHARE, format="csv")):
        rows = planted(folder)["rows"]
        assert sum(rows.values()) == pytest.approx(SHARE * n, rel=0.25)
        assert rows["duplicate"] == pytest.approx(0.3 * SHARE * n, rel=0.05)
    assert log(dirty).height == n + planted(dirty)["rows"]["duplicate"] + planted(dirty)["rows"]["bot"]


def test_parquet_has_no_values_that_it_cannot_hold(dirty: Path) -> None:
    rows, found = planted(dirty)["rows"], log(dirty)
    assert rows["unparsable_value"] == rows["unparsable_time"] == 0
    assert found["user_id"].null_count() == rows["missing_user"] > 0
    assert found["event_type"].null_count() == rows["missing_event_type"] > 0
    assert found["ts"].null_count() == rows["missing_time"] > 0
    assert (found["price"] < 0).sum() == rows["negative_price"] > 0
    no_item = found.filter(pl.col("item_id").is_null() & (pl.col("event_type") != "search"))
    assert no_item.height == rows["missing_item"] > 0


def test_late_rows_stand_at_the_top_of_a_later_file(dirty: Path) -> None:
    n_late = 0
    for path in sorted((dirty / "events").iterdir()):
        first = datetime.fromisoformat(path.stem.removeprefix("events-")).replace(tzinfo=UTC)
        is_late = (pl.read_parquet(path)["ts"] < first).fill_null(value=False)
        assert not is_late[int(is_late.sum()) :].any()
        late = pl.read_parquet(path)["ts"].filter(is_late)
        assert late.is_empty() or late.max() <= first - timedelta(days=10)
        rest = pl.read_parquet(path)["ts"].filter(~is_late).drop_nulls()
        assert rest.is_sorted()
        n_late += late.len()
    assert n_late == planted(dirty)["rows"]["late"] > 300


def test_bots_look_at_thousands_of_items_on_one_day(dirty: Path) -> None:
    (bot,) = planted(dirty)["bots"]
    rows = log(dirty).filter(pl.col("user_id") == bot)
    assert rows.height == planted(dirty)["rows"]["bot"] == 3_000
    assert rows["event_type"].unique().to_list() == ["view"]
    assert rows["ts"].dt.date().n_unique() == 1
    assert bot not in pl.read_parquet(dirty / "users.parquet")["user_id"]
    truth = pl.read_parquet(dirty / "truth" / "users.parquet").filter(pl.col("user_id") == bot)
    assert truth.rows() == [(bot, 0.0, 0.0, START, None)]


def test_the_truth_and_the_purchases_are_those_of_the_tidy_log(dirty: Path, tidy: Path) -> None:
    users = pl.read_parquet(dirty / "truth" / "users.parquet")
    assert users.head(2_000).equals(pl.read_parquet(tidy / "truth" / "users.parquet"))
    assert filecmp.cmp(dirty / "truth/season.parquet", tidy / "truth/season.parquet", shallow=False)
    bought = [log(folder).filter(pl.col("event_type") == "purchase").unique() for folder in (dirty, tidy)]
    assert bought[0].sort(pl.all()).equals(bought[1].sort(pl.all()))


def test_a_log_in_one_file_has_no_late_rows(tmp_path: Path) -> None:
    written = simulate(Settings(users=300, days=40, dirt=0.5), tmp_path / "log")
    assert written.files == 1
    assert written.dirt["rows"]["late"] == 0
    assert written.dirt["rows"]["duplicate"] > 1_000
