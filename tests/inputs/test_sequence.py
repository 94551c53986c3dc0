"""Stored sequences: what is written is read, whatever the buckets, and only what is known at a cutoff."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from ecbehave.inputs.facts import LogFacts
from ecbehave.inputs.histories import microseconds
from ecbehave.inputs.sequence import read_log, read_sequence
from ecbehave.inputs.sequence_events import ARRAYS, COLUMNS, UserEvents, user_events
from ecbehave.inputs.sequence_writer import SequenceWriter, known_ends
from ecbehave.inputs.types import SequenceLog

FACTS = LogFacts((), tuple(COLUMNS))
START, CUTOFF = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 20, tzinfo=UTC)


def random_log(n_users: int = 30, n_events: int = 400, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    user, item = rng.integers(n_users, size=n_events), rng.integers(50, size=n_events)
    seconds = rng.integers(0, 30 * 86_400, n_events)
    rows = {
        "user_hash": user * 2,
        "user_id": [f"u{n}" for n in user],
        "ts": [START + timedelta(seconds=int(s)) for s in seconds],
        "event_type": rng.choice(["view", "cart", "purchase"], n_events),
        "item_id": [None if n == 0 else f"i{n}" for n in item],
        "category": [None if n % 5 == 0 else f"c{n % 7}" for n in item],
        "price": rng.uniform(1, 9, n_events),
        "amount": [None] * n_events,
        "quantity": [None] * n_events,
        "dwell_seconds": rng.uniform(0, 60, n_events),
    }
    return pl.DataFrame(rows, COLUMNS)


def in_buckets(rows: pl.DataFrame, n: int) -> list[UserEvents]:
    size = -(-60 // n)
    parts = [rows.filter(pl.col("user_hash") // size == bucket) for bucket in range(n)]
    return [user_events(part.lazy(), FACTS, "UTC") for part in parts]


def write(folder: Path, buckets: Sequence[UserEvents], cutoff: datetime = CUTOFF) -> Path:
    with SequenceWriter(folder) as writer:
        for events in buckets:
            writer.write(events, {"test/day": microseconds(cutoff)})
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {f.relative_to(folder).as_posix(): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def decoded(log: SequenceLog) -> pl.DataFrame:
    """Return the events as rows, with their names."""
    names = {"item": log.items, "category": log.categories, "event_type": log.event_types}
    user = np.repeat(np.arange(log.users.height), np.diff(log.offsets))
    columns = {name: pl.Series(getattr(log, name)) for name in ARRAYS}
    for name, known in names.items():
        columns[name] = known.gather(columns[name].replace(-1, None))
    return pl.DataFrame({"user_id": log.users["user_id"].gather(user), **columns})


def test_what_is_written_is_read(tmp_path: Path) -> None:
    rows = random_log()
    log = read_log(write(tmp_path / "log", in_buckets(rows, 1)))
    in_order = rows.sort("user_hash", "ts", "event_type", "item_id", "category", "price")
    expected = in_order.select(
        "user_id",
        ts=pl.col("ts").dt.timestamp("us"),
        item="item_id",
        category="category",
        event_type="event_type",
        price=(pl.col("price") * 10_000).round() / 10_000,
        dwell="dwell_seconds",
        hour=(pl.col("ts").dt.weekday().cast(pl.Int64) - 1) * 24 + pl.col("ts").dt.hour(),
    )
    found = decoded(log)
    assert found.select("user_id", "ts", "item", "category", "event_type").equals(
        expected.select("user_id", "ts", "item", "category", "event_type")
    )
    for name in ("price", "dwell", "hour"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-6)
    assert log.users.rows() == sorted({(row["user_hash"], row["user_id"]) for row in rows.to_dicts()})
    assert log.n_events == 400
    assert {name: getattr(log, name).dtype.type for name in ARRAYS} == ARRAYS
    assert log.offsets.dtype == np.int64


def test_the_bytes_are_the_same_whatever_the_buckets_and_the_order_of_rows(tmp_path: Path) -> None:
    rows = random_log()
    whole = content(write(tmp_path / "whole", in_buckets(rows, 1)))
    assert {f"{name}.npy" for name in ARRAYS} < whole.keys()
    for n in (2, 7, 20):
        shuffled = rows.sample(fraction=1, shuffle=True, seed=n)
        assert content(write(tmp_path / f"{n}", in_buckets(shuffled, n))) == whole


def test_in_memory_it_is_the_same_log(tmp_path: Path) -> None:
    rows = random_log()
    stored, made = read_log(write(tmp_path, in_buckets(rows, 3))), SequenceLog.of(rows)
    assert decoded(made).equals(decoded(stored), null_equal=True)
    assert made.items.equals(stored.items)
    assert made.offsets.tolist() == stored.offsets.tolist()


@pytest.mark.parametrize("own", [False, True])
def test_a_cutoff_knows_the_events_before_it_only(tmp_path: Path, *, own: bool) -> None:
    rows = random_log()
    exact = rows["ts"].sort()[200]
    buckets = in_buckets(rows, 4)
    # Every user's own instant is that of one of his events, or the common one.
    instants: list[int | NDArray[np.int64]] = [microseconds(exact)] * 4
    if own:
        instants = [e.arrays["ts"][e.offsets[:-1] + (np.diff(e.offsets) // 2)] for e in buckets]
    with SequenceWriter(tmp_path, "category") as writer:
        for events, instant in zip(buckets, instants, strict=True):
            writer.write(events, {"test/a": instant, "b": microseconds(START)})
    data = read_sequence(tmp_path, "test/a", exact)
    assert (data.cutoff, data.target) == (exact, "category")
    n_known = 0
    for user in range(data.log.users.height):
        first, end, now = data.starts[user], data.ends[user], data.now[user]
        stored = data.log.ts[first : data.log.offsets[user + 1]]
        assert data.log.ts[first:end].tolist() == [ts for ts in stored.tolist() if ts < now]
        assert own or now == microseconds(exact)
        n_known += end - first
    assert 0 < n_known < 400
    nothing = read_sequence(tmp_path, "b", START)
    assert nothing.ends.tolist() == nothing.starts.tolist()
    assert (nothing.now == microseconds(START)).all()


def test_a_user_without_events_before_the_cutoff_has_an_empty_slice() -> None:
    events = user_events(random_log(3, 20).lazy(), FACTS, "UTC")
    assert known_ends(events, microseconds(START)).tolist() == events.offsets[:-1].tolist()
    assert known_ends(events, microseconds(CUTOFF) * 2).tolist() == events.offsets[1:].tolist()


def test_events_are_mapped_and_cutoffs_share_them(tmp_path: Path) -> None:
    folder = write(tmp_path / "log", in_buckets(random_log(), 2))
    first, again = (read_sequence(folder, "test/day", CUTOFF) for _ in range(2))
    assert first.log is again.log
    assert isinstance(first.log.ts.base, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        first.log.ts[0] = 0
    other = write(tmp_path / "other", in_buckets(random_log(seed=1), 2))
    for file in folder.rglob("*.*"):
        file.unlink()
        (other / file.relative_to(folder)).rename(file)
    new = read_sequence(folder, "test/day", CUTOFF)
    assert new.log is not first.log
    assert new.log.ts.tolist() != first.log.ts.tolist()


def test_a_log_without_events_can_be_read(tmp_path: Path) -> None:
    data = read_sequence(write(tmp_path, in_buckets(random_log().head(0), 1)), "test/day", CUTOFF)
    assert (data.log.n_events, data.log.users.height, data.ends.size, data.now.size) == (0, 0, 0, 0)


def test_an_event_takes_at_most_40_bytes(tmp_path: Path) -> None:
    folder = write(tmp_path, in_buckets(random_log(30, 20_000), 1))
    assert sum(len(bytes_) for bytes_ in content(folder).values()) < 20_000 * 40


def test_what_fails_is_not_made_to_look_whole(tmp_path: Path) -> None:
    buckets = in_buckets(random_log(), 2)
    broken = replace(buckets[1], arrays={})
    with pytest.raises(KeyError, match="ts"):
        write(tmp_path, [buckets[0], broken])
    assert not (tmp_path / "item_names.parquet").exists()
    assert np.load(tmp_path / "ts.npy").size == 0
