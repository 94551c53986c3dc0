"""What must not matter does not: the order of source rows, their files, rows at once, the threads."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from shops import PREFERENCE, Shop, data_files, shop_log
from stage_runs import Runs

from ecbehave import memory
from ecbehave.schema import ORIGIN
from ecbehave.stages import clean
from ecbehave.stages.log import read_buckets

STAGES = ("ingest", "clean", "features", "train", "evaluate", "predict")
BINARY: dict[str, Any] = {"task": {"kind": "churn", "active_within": "21d", "horizon": "14d"}}
RUNS: dict[str, dict[str, Any]] = {
    "churn with boosting": BINARY,
    "purchase with rfm": {
        "task": {"kind": "purchase", "active_within": "21d", "horizon": "14d"},
        "model": {"kind": "rfm"},
        "baseline": {"kind": "base_rate"},
    },
    "purchase of categories": {
        "task": {
            "kind": "purchase",
            "target": "category",
            "candidates": {"recent": "14d", "popular": 2},
            "active_within": "21d",
            "horizon": "14d",
        },
    },
    "preference with item_knn": PREFERENCE,
    "preference with personal_frequency": PREFERENCE | {"model": {"kind": "personal_frequency"}},
}
CLEAN = {"clean": {"max_events_per_user_day": 12, "outliers": {"price": {"quantile": 0.9}}}}


def results(run: Path) -> dict[str, bytes]:
    """Return every file of a run but those that name the raw files: the manifests and the report."""
    named = ("manifest.json", "report.html")
    found = {name: content for name, content in data_files(run).items() if not name.endswith(named)}
    parts = {name.split("/")[0] for name in found}
    assert parts == {"inputs", "model", "evaluation", "predictions"}
    return found


def events(shop: Shop) -> pl.DataFrame:
    """Return the clean log without where its rows came from."""
    return pl.read_parquet(shop.workspace / "clean" / "events" / "*.parquet").drop(*ORIGIN, "received_at")


def assert_same(a: Shop, b: Shop) -> None:
    one, other = (results(shop.workspace / "shop") for shop in (a, b))
    assert [name for name in sorted(one.keys() | other.keys()) if one.get(name) != other.get(name)] == []
    assert events(a).equals(events(b))


@pytest.fixture(scope="module", params=RUNS)
def settings(request: pytest.FixtureRequest) -> dict[str, Any]:
    return RUNS[request.param] | CLEAN


def shop_with(folder: Path, *files: pl.DataFrame) -> Shop:
    shop = Shop(folder)
    for number, rows in enumerate(files):
        shop.write(rows, f"events-{number}.csv")
    shop.write_items()
    for file in shop.raw.iterdir():
        os.utime(file, (1_717_200_000, 1_717_200_000))  # rows come in when their file is written
    return shop


def do(shop: Shop, settings: dict[str, Any], **how: Any) -> Shop:
    Runs(shop, shop.config(**settings), **how).do(*STAGES)
    return shop


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory, settings: dict[str, Any]) -> Shop:
    """The whole pipeline on the log as it is: one file, one bucket, one thread."""
    return do(shop_with(tmp_path_factory.mktemp("invariance") / "reference", shop_log()), settings)


def test_the_log_has_ties_on_time_within_a_user() -> None:
    """Otherwise the order of rows could not matter."""
    log = shop_log().unique()
    assert log.group_by("user", "time").len().filter(pl.col("len") > 2).height > 200


def test_order_of_source_rows_does_not_matter(
    tmp_path: Path, reference: Shop, settings: dict[str, Any]
) -> None:
    shuffled = shop_log().sample(fraction=1, shuffle=True, seed=1)
    assert_same(reference, do(shop_with(tmp_path / "shuffled", shuffled), settings))


def test_files_that_the_rows_lie_in_do_not_matter(
    tmp_path: Path, reference: Shop, settings: dict[str, Any]
) -> None:
    log = shop_log().sample(fraction=1, shuffle=True, seed=2)
    parts = [log.gather_every(3, offset) for offset in range(3)]
    shop = shop_with(tmp_path / "parts", *parts, log.head(100))
    assert_same(reference, do(shop, settings))


@pytest.fixture
def numbers_of_buckets(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Into how many buckets the log was cut whenever it was read."""
    found = []

    def note(files: Sequence[Path], columns: Sequence[str], n: int) -> Iterator[pl.DataFrame]:
        if list(columns) != ["user_hash"]:  # a glance at who there is
            found.append(n)
        return read_buckets(files, columns, n)

    monkeypatch.setattr(clean, "read_buckets", note)
    return found


def few_rows(patch: pytest.MonkeyPatch) -> None:
    """Make all stages work on 1,000 rows at once."""
    patch.setattr(memory, "FEWEST_ROWS", 1)
    patch.setattr(memory, "MOST_ROWS", 1_000)


def test_number_of_buckets_does_not_matter(
    tmp_path: Path,
    reference: Shop,
    settings: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    numbers_of_buckets: list[int],
) -> None:
    few_rows(monkeypatch)
    shop = do(shop_with(tmp_path / "buckets", shop_log()), settings, threads=2)
    assert set(numbers_of_buckets) == {4}
    assert len(numbers_of_buckets) > 1
    assert_same(reference, shop)
    assert data_files(shop.workspace / "clean") == data_files(reference.workspace / "clean")


def test_nights_do_not_matter(tmp_path: Path, reference: Shop, settings: dict[str, Any]) -> None:
    """Cut into files of a month each with every twentieth row late, and cleaned one after the other."""
    log = shop_log()
    late = pl.Series(np.random.default_rng(0).random(log.height) < 0.05)
    month = log["time"].str.slice(5, 2).cast(pl.Int64)
    shop = shop_with(tmp_path / "nights")
    for number in sorted(month.unique()):
        shop.write(log.filter(month + late.cast(int) == number), f"events-{number}.csv")
        Runs(shop, shop.config(**settings)).do("ingest", "clean")
    shop.write(log.filter(month + late.cast(int) > month.max()), "events-9.csv")
    assert_same(reference, do(shop, settings))


def test_a_file_of_refused_rows_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, numbers_of_buckets: list[int]
) -> None:
    """With several buckets, none of which gets a row of it."""
    nobody = shop_log().head(200).with_columns(user=pl.lit(None, pl.String))
    few_rows(monkeypatch)
    shops = [
        do(shop_with(tmp_path / name, *files, shop_log()), RUNS["purchase with rfm"])
        for name, files in (("without", ()), ("with", (nobody,)))
    ]
    assert set(numbers_of_buckets) == {4}
    assert_same(*shops)


def test_threads_of_the_models_do_not_matter(
    tmp_path: Path, reference: Shop, settings: dict[str, Any]
) -> None:
    assert_same(reference, do(shop_with(tmp_path / "threads", shop_log()), settings, threads=2))


def test_a_second_run_in_another_place_gives_the_same_bytes(
    tmp_path: Path, reference: Shop, settings: dict[str, Any]
) -> None:
    assert_same(reference, do(shop_with(tmp_path / "a longer name" / "of a folder", shop_log()), settings))


def test_another_seed_gives_another_model(tmp_path: Path) -> None:
    """The comparison above would see a difference, if there was one."""
    shops = [do(shop_with(tmp_path / f"seed{seed}", shop_log()), BINARY | {"seed": seed}) for seed in (0, 1)]
    one, other = (results(shop.workspace / "shop") for shop in shops)
    different = {name.split("/")[0] for name in one if one[name] != other[name]}
    assert different == {"model", "evaluation", "predictions"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["churn with boosting", "preference with item_knn"])
def test_threads_and_memory_do_not_matter_on_the_command_line(tmp_path: Path, name: str) -> None:
    """On a log that is large enough for several buckets as they are in earnest."""
    log, shops = shop_log(n_users=1_600), []
    assert log.height > 60_000
    for threads, size in (("1", "4GB"), ("2", "700MB")):
        shop = shop_with(tmp_path / threads, log)
        shop.json("run", "--threads", threads, "--memory", size, config=shop.config(**RUNS[name]))
        shops.append(shop)
    assert_same(*shops)
