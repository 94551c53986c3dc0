"""What an analyst can get wrong, through the command line, and what they read then."""

import fcntl
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from command_line import Done, ecbehave
from shops import PREFERENCE, Shop, shop_log

from ecbehave.schema import QUARANTINE

STAGES_OF_DATA = ("ingest", "clean", "features")


def run(shop: Shop, *options: str, config: Path | None = None, command: str = "run") -> Done:
    return ecbehave(command, "--config", config or shop.config(), "--quiet", *options)


def clean(shop: Shop, *options: str) -> Done:
    """Take the log in and clean it: what is refused depends on no task."""
    done = run(shop, *options, command="ingest")
    return done if done.code else run(shop, *options, command="clean")


def log_file(shop: Shop) -> Path:
    return shop.raw / "events.csv"


def refused(shop: Shop) -> pl.DataFrame:
    files = (shop.workspace / "clean" / "quarantine").glob("*.parquet")
    return pl.concat([pl.DataFrame(schema=QUARANTINE), *map(pl.read_parquet, sorted(files))])


# Files


def test_a_missing_file(shop: Shop) -> None:
    log_file(shop).unlink()
    done = run(shop)
    assert done.code == 3
    assert done.error == (
        f"dataset.sources[0].path: no file matches {shop.raw}/events*.csv; the nearest folder that exists is "
        f"{shop.raw}; correct the path, or bring the files"
    )


def test_an_empty_file(shop: Shop) -> None:
    log_file(shop).write_bytes(b"")
    done = run(shop)
    assert done.code == 3
    assert done.error == f"{log_file(shop)}: the file is empty; expected a header and rows"


def test_a_file_with_only_a_header(shop: Shop) -> None:
    shop.write(shop_log().clear())
    done = run(shop)
    assert done.code == 3
    assert done.error == (
        f"the log has no event: no row follows the header in {log_file(shop)}; bring files with events"
    )


def test_a_parquet_file_cut_off_in_the_middle(shop: Shop) -> None:
    path = shop.raw / "events.parquet"
    shop_log().write_parquet(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    done = run(shop, "--set", f"dataset.sources.0.path={path}")
    assert done.code == 3
    assert done.error == (
        f"{path}: the file is cut off, damaged or not Parquet (Parquet magic bytes not found in footer. Either the "
        f"file is corrupted or this is not a parquet file.); bring it again from where it came from, or set "
        f"dataset.sources[0].format"
    )
    assert not (shop.workspace / "events_raw").exists()


# Columns and values


def test_a_missing_column(shop: Shop) -> None:
    shop.write(shop_log().drop("price").rename({"time": "Time"}))
    done = run(shop)
    assert done.code == 3
    assert done.error == (
        f"{log_file(shop)}: 2 columns are missing: 'time' (dataset.sources[0].columns.ts: did you mean 'Time'?), "
        f"'price' (dataset.sources[0].columns.price); the file has user, item, kind, Time, quantity, order"
    )


def test_a_wrong_separator(shop: Shop) -> None:
    shop_log().write_csv(log_file(shop), separator=";")
    done = run(shop)
    assert done.code == 3
    assert done.error.endswith("; the header looks separated by ';': set dataset.sources[0].delimiter")
    assert clean(shop, "--set", "dataset.sources.0.delimiter=;").code == 0


def test_text_where_a_number_belongs_is_quarantined(shop: Shop) -> None:
    text = pl.when(pl.int_range(pl.len()) < 7).then(pl.lit("free")).otherwise(pl.lit("2.50"))
    shop.write(shop_log().with_columns(price=text))
    assert clean(shop).code == 0
    assert refused(shop).select("row", "rule", "unparsed").rows() == [
        (n, "unparsable_value", "price=free") for n in range(1, 8)
    ]


def test_text_in_every_number_is_an_error(shop: Shop) -> None:
    shop.write(shop_log().with_columns(price=pl.lit("2,50 EUR")))
    done = run(shop)
    assert done.code == 3
    assert done.error == (
        "3,475 of 3,475 rows are refused, more than clean.max_refused_share (0.5):\n"
        "  unparsable_value: 3,475 rows, e.g. events.csv row 1 (price=2,50 EUR), events.csv row 2 (price=2,50 EUR), "
        "events.csv row 3 (price=2,50 EUR)\n"
        "Of unparsable_value: write numbers like 1234.56, and check dataset.sources[].columns. Or raise "
        "clean.max_refused_share, and look into clean/quarantine/ of the workspace"
    )


def test_mixed_time_formats_are_read_or_quarantined_one_by_one(shop: Shop) -> None:
    times = [
        "2024-03-01 10:00:00",
        "2024-03-01T11:00:00+01:00",
        "1709287200",
        "01.03.2024 10:00",
        "2024-03-01T10:00Z",
    ]
    rows = pl.DataFrame({"time": times, "item": [f"i0{n}" for n in range(5)]})
    shop.write(
        rows.with_columns(user=pl.lit("u"), kind=pl.lit("view"), price=1.0, quantity=1, order=pl.lit("o"))
    )
    assert clean(shop).code == 0
    events = pl.read_parquet(shop.workspace / "clean/events/*.parquet")
    assert events["ts"].to_list() == [datetime(2024, 3, 1, 10, tzinfo=UTC)] * 4
    assert refused(shop).select("row", "rule", "unparsed").rows() == [
        (4, "unparsable_time", "ts=01.03.2024 10:00")
    ]


def test_times_of_another_format_are_an_error_that_names_the_setting(shop: Shop) -> None:
    shop.write(shop_log().with_columns(time=pl.lit("01/02/2024 10:00")))
    done = run(shop)
    assert done.code == 3
    lines = done.error.splitlines()
    assert lines[1].startswith("  unparsable_time: 3,475 rows, e.g. events.csv row 1 (ts=01/02/2024 10:00), ")
    assert lines[2] == (
        "Of unparsable_time: set dataset.sources[].time_format to a pattern in quotes, such as '%d.%m.%Y %H:%M', or, "
        "where the times are in an hour that clocks skip, dataset.sources[].timezone to the zone that they are written "
        "in. Or raise clean.max_refused_share, and look into clean/quarantine/ of the workspace"
    )
    assert clean(shop, "--set", "dataset.sources.0.time_format='%d/%m/%Y %H:%M'").code == 0


def test_files_older_than_their_events(shop: Shop) -> None:
    """As an archive unpacks them that stores no times."""
    os.utime(log_file(shop), (0, 0))
    done = run(shop)
    assert done.code == 3
    lines = done.error.splitlines()
    assert lines[1].startswith(
        "  impossible_time: 3,475 rows, e.g. events.csv row 1 (2024-01-01 07:49 UTC, received 1970-01-01 00:00 UTC), "
    )
    assert lines[2].startswith(
        "Of impossible_time: check dataset.sources[].time_format and timezone, and the time at which the files were "
        "written (or map received_at): what happens more than a day later is impossible. Or raise "
    )


def test_a_byte_order_mark_is_no_harm(shop: Shop) -> None:
    log_file(shop).write_bytes(b"\xef\xbb\xbf" + shop_log().write_csv().encode())
    assert clean(shop).code == 0
    assert refused(shop).is_empty()


def test_latin_1_that_nobody_declared(shop: Shop) -> None:
    text = shop_log().with_columns(pl.col("user").str.replace("u", "ü")).write_csv()
    log_file(shop).write_bytes(text.encode("latin-1"))
    done = run(shop)
    assert done.code == 3
    assert done.error == (
        f"{log_file(shop)}: byte 0xfc in line 2 is not utf-8; set dataset.sources[0].encoding to latin-1, or to the "
        f"right one"
    )


def test_latin_1_as_declared(shop: Shop) -> None:
    text = shop_log().with_columns(pl.col("user").str.replace("u", "ü")).write_csv()
    log_file(shop).write_bytes(text.encode("latin-1"))
    assert clean(shop, "--set", "dataset.sources.0.encoding=latin-1").code == 0
    events = pl.read_parquet(shop.workspace / "clean/events/*.parquet")
    assert events["user_id"].str.starts_with("ü").all()


def test_an_encoding_that_does_not_exist(shop: Shop) -> None:
    done = run(shop, "--set", "dataset.sources.0.encoding=latin-99")
    assert done.code == 2
    assert done.error == (
        "dataset.sources[0].encoding: unknown encoding 'latin-99'; use a name such as utf-8, latin-1 or cp1252"
    )


def test_ragged_rows_are_quarantined_as_they_stand(shop: Shop) -> None:
    with log_file(shop).open("a") as file:
        file.write("u1,i1\nu1,i1,view,2024-04-01,1,1,o,one too many\n")
    assert clean(shop).code == 0
    assert refused(shop).select("row", "rule", "unparsed").rows() == [
        (3476, "unreadable_row", "row=u1,i1"),
        (3477, "unreadable_row", "row=u1,i1,view,2024-04-01,1,1,o,one too many"),
    ]


def test_all_rows_refused(shop: Shop) -> None:
    shop.write(shop_log().with_columns(user=pl.lit("")))
    done = run(shop)
    assert done.code == 3
    rows = (
        "  missing_user: 3,475 rows, e.g. events.csv row 1, events.csv row 2, events.csv row 3\n"
        "Of missing_user: check dataset.sources[].columns.user_id. Or raise clean.max_refused_share, and look into "
        "clean/quarantine/ of the workspace"
    )
    assert done.error == f"3,475 of 3,475 rows are refused, more than clean.max_refused_share (0.5):\n{rows}"
    done = run(shop, "--set", "clean.max_refused_share=1")
    assert done.code == 3
    assert done.error == f"no event is left: all 3,475 rows are refused:\n{rows}"


@pytest.mark.slow
def test_a_user_with_a_million_events(shop: Shop) -> None:
    n = pl.int_range(1_000_000, eager=True).alias("n")
    bot = n.to_frame().select(
        user=pl.lit("bot"), item=pl.format("i{}", n % 97), kind=pl.lit("view"),
        time=1_712_000_000 + n % 20_000, price=n % 50, quantity=pl.lit(None), order=n,
    )  # fmt: skip
    bot.write_csv(shop.raw / "events-2.csv")
    done = run(shop)
    assert done.code == 3
    lines = done.error.splitlines()
    assert lines[0] == "998,000 of 1,003,475 rows are refused, more than clean.max_refused_share (0.5):"
    assert lines[1].startswith("  bot_like: 998,000 rows, e.g. events-2.csv row ")
    assert lines[2].startswith(
        "Of bot_like: check columns.user_id, clean.max_events_per_user_day and clean.max_events_per_user. Or raise "
    )
    assert clean(shop, "--set", "clean.max_refused_share=1").code == 0


# What the log cannot answer


def test_no_complete_horizon(shop: Shop) -> None:
    done = run(shop, "--set", "split.train=40")
    assert done.code == 3
    assert done.error.startswith(
        "no complete horizon for every cutoff: the log's complete days are 2024-01-01 to "
    )
    assert done.error.endswith(" need 336 days; set split.train to 9, or shorten split.step")
    done = run(shop, "--set", "task.horizon=300d")
    assert done.error.endswith("; shorten task.horizon, task.active_within or split.step, or bring more data")


def test_one_class_only(shop: Shop) -> None:
    """Everybody buys in every week."""
    log = (
        shop_log()
        .filter(pl.col("kind") == "purchase")
        .with_columns(user=pl.format("u{}", pl.int_range(pl.len()) % 5))
    )
    shop.write(log)
    done = run(shop)
    assert done.code == 3
    assert done.error == (
        "the validation labels have one class only: 0 of 5 rows are 1; change task.horizon or task.active_within, or "
        "set split.validation higher"
    )


@pytest.mark.parametrize(
    ("task", "event"),
    [
        ({"kind": "churn"}, "purchase"),
        ({"kind": "purchase"}, "purchase"),
        ({"kind": "churn", "event": "wishlist"}, "wishlist"),
    ],
)
def test_a_log_without_the_event_that_is_asked_about(shop: Shop, task: dict[str, Any], event: str) -> None:
    shop.write(shop_log().with_columns(pl.col("kind").replace("purchase", "buy")))
    config = shop.config(task=task)
    done = run(shop, config=config)
    remedy = "" if task["kind"] == "purchase" else ", or set task.event"
    assert done.code == 3
    assert done.error == (
        f"the log has no {event} event, which the task {task['kind']} asks about; it has buy, cart, view. Say which "
        f"word of the shop means {event} in dataset.sources[].event_type.map{remedy}"
    )


def test_any_event_is_always_there(shop: Shop) -> None:
    shop.write(shop_log().filter(pl.col("kind") == "view"))
    config = shop.config(task={"kind": "churn", "event": "any", "active_within": "21d", "horizon": "14d"})
    for stage in STAGES_OF_DATA:
        assert run(shop, config=config, command=stage).code == 0


def test_no_items_to_rank(shop: Shop) -> None:
    del shop.settings["dataset"]["sources"][0]["columns"]["item_id"]
    done = run(shop, config=shop.config(**PREFERENCE))
    assert done.code == 3
    assert done.error == (
        "the log has no items, so there is nothing to rank; map item_id in dataset.sources[].columns"
    )


# The config


def test_a_typo_in_the_config(shop: Shop) -> None:
    config = shop.config()
    config.write_text(config.read_text().replace("active_within:", "activ_within:"))
    line = 1 + config.read_text().splitlines().index("  activ_within: 21d")
    done = run(shop, config=config)
    assert done.code == 2
    assert (
        done.error == f"{config}, line {line}: task.activ_within: unknown key; did you mean 'active_within'?"
    )


def test_no_config(shop: Shop) -> None:
    done = run(shop, config=shop.folder / "shpo.yaml")
    assert done.code == 2
    assert done.error == f"{shop.folder}/shpo.yaml: there is no such file; give the path of a YAML file"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            PREFERENCE | {"model": {"kind": "rfm"}},
            "model.kind: rfm does not serve the task preference; these do: popularity, personal_frequency, "
            "logistic, random_forest, adaboost, boosting, user_knn, item_knn, als, ease, dnn, cnn, rnn, transformer, "
            "autoencoder, bagging, voting, stacking, with_embeddings",
        ),
        (
            {"model": {"kind": "item_knn"}},
            "model.kind: item_knn does not serve the task churn; these do: base_rate, rfm, bgnbd, "
            "logistic, random_forest, adaboost, boosting, user_knn, dnn, cnn, rnn, transformer, autoencoder, "
            "bagging, voting, stacking, with_embeddings",
        ),
        (
            {"baseline": {"kind": "popularity"}},
            "baseline.kind: popularity does not serve the task churn; these do: base_rate, rfm, bgnbd, "
            "logistic, random_forest, adaboost, boosting, user_knn, dnn, cnn, rnn, transformer, autoencoder, "
            "bagging, voting, stacking, with_embeddings",
        ),
    ],
)
def test_a_kind_that_does_not_serve_the_task(shop: Shop, settings: dict[str, Any], message: str) -> None:
    done = run(shop, config=shop.config(**settings))
    assert done.code == 2
    assert done.error == message
    assert not shop.workspace.exists(), "it is known before anything is done"


# The workspace


def test_a_second_run_at_the_same_time(shop: Shop) -> None:
    shop.workspace.mkdir()
    with (shop.workspace / ".lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("ecbehave run (process 4711)")
        lock.flush()
        done = run(shop, "--wait", "0")
    assert done.code == 4
    assert done.error == (
        f"workspace {shop.workspace} is in use by ecbehave run (process 4711); run again when it has ended, or wait "
        f"longer with --wait"
    )
    assert run(shop, command="ingest").code == 0


def test_a_workspace_that_is_a_file(shop: Shop) -> None:
    shop.workspace.write_text("not a folder")
    done = run(shop)
    assert done.code == 4
    assert done.error == (
        f"workspace {shop.workspace} cannot be written (File exists); set workspace to a folder that this "
        f"user can write"
    )


def test_what_databases_write_for_nothing_is_no_user(shop: Shop) -> None:
    log = shop_log()
    guests = log.head(4).with_columns(user=pl.Series(["NULL", "null", r"\N", "None"]))
    shop.write(pl.concat([log, guests]))
    run(shop, command="ingest")
    done = run(shop, "--json", command="clean")
    counts = json.loads(done.out)["counts"]
    assert counts["quarantined.missing_user"] == 4


def test_a_handful_of_users_cannot_tell(make_shop: Callable[..., Shop]) -> None:
    shop = make_shop(log=shop_log(n_users=16))
    done = run(shop, "--json")
    verdict = json.loads(done.out)["verdict"]
    assert verdict["standing"] == "unclear"
    assert re.fullmatch(
        r"Too few users to say whether the model beats the baseline rfm: \d+ could be judged, and it takes 30\.",
        verdict["text"],
    )


def test_a_byte_changed_in_the_raw_log_is_noticed(shop: Shop) -> None:
    assert run(shop, command="ingest").code == 0
    (path, *_) = sorted((shop.workspace / "events_raw" / "events").glob("*.parquet"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    done = run(shop, command="clean")
    assert done.code == 4
    assert done.error == (
        f"{shop.workspace}/events_raw is not what the ingest stage published: events/{path.name} is changed. "
        f"Nothing of it was used; make it again with --force"
    )


def test_metrics_that_cannot_be_read(shop: Shop) -> None:
    assert run(shop).code == 0
    path = shop.workspace / "shop" / "evaluation" / "metrics.json"
    path.write_bytes(b"x" * path.stat().st_size)
    done = run(shop, command="evaluate")
    assert done.code == 4
    assert done.error == (
        f"{path} cannot be read (Expecting value: line 1 column 1 (char 0)); make it again with --force"
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_result_that_cannot_be_written(shop: Shop) -> None:
    command = [sys.executable, "-m", "ecbehave", "ingest", "--config", str(shop.config()), "--quiet"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 4
    assert done.stderr == "error: the result cannot be written to stdout (No space left on device)\n"
