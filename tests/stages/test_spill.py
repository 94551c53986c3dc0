"""The first half of clean: batches in pieces, and their rows by week and bucket."""

from collections.abc import Iterable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from desks import GOOD, NEW_YORK
from polars.testing import assert_frame_equal

from ecbehave.buckets import bucket_of, user_hash
from ecbehave.config.clean import Clean, Outlier
from ecbehave.schema import EVENTS, EVENTS_RAW, ITEMS
from ecbehave.stages import spill
from ecbehave.stages.base import monday_of, weeks_of
from ecbehave.stages.spill import Piece, Spill, piece_rows
from ecbehave.tables import write_table

NO_ITEMS = pl.DataFrame(schema=ITEMS)
CLEAN = Clean(outliers={"price": Outlier()})


@pytest.fixture(autouse=True)
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "ROW_GROUP", 10)


def spill_in(
    folder: Path, n_buckets: int = 1, timezone: str = "UTC", items: pl.DataFrame = NO_ITEMS
) -> Spill:
    return Spill(folder, folder / "spill", items, CLEAN, timezone, n_buckets)


def batch(folder: Path, name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    stored = [GOOD | row | {"batch": name, "row": n} for n, row in enumerate(rows, 1)]
    write_table(folder / f"{name}.parquet", pl.DataFrame(stored, schema=EVENTS_RAW))
    return {"id": name, "rows": len(rows), "file": f"{name}.parquet", "columns": ["item_id"]}


def pieces(batches: Iterable[dict[str, Any]], rows: int) -> list[list[tuple[str, int, int]]]:
    numbered = list(spill_in(Path()).pieces(batches, rows))
    assert [number for number, _ in numbered] == list(range(len(numbered)))
    return [[(p.batch["id"], p.groups.start, p.groups.stop) for p in taken] for _, taken in numbered]


def test_large_batches_are_cut_and_small_ones_are_taken_together() -> None:
    sizes = {"a": 25, "b": 3, "c": 4, "d": 0, "e": 90, "f": 10}
    batches = [{"id": name, "rows": n} for name, n in sizes.items()]
    assert pieces(batches, 20) == [
        [("a", 0, 2)],
        [("a", 2, 3), ("b", 0, 1), ("c", 0, 1), ("d", 0, 1)],
        *([("e", start, start + 2)] for start in (0, 2, 4, 6)),
        [("e", 8, 9), ("f", 0, 1)],
    ]
    assert pieces(batches, 10**6) == [[(name, 0, max(-(-n // 10), 1)) for name, n in sizes.items()]]
    assert pieces([], 20) == []


@pytest.mark.parametrize("rows", [1, 9, 10, 11, 19, 20, 55, 1000])
def test_pieces_have_each_row_group_once_and_are_not_too_large(rows: int) -> None:
    sizes = [0, 1, 9, 10, 11, 35, 100, 0, 7]
    found = pieces([{"id": str(n), "rows": size} for n, size in enumerate(sizes)], rows)
    groups = [(name, g) for taken in found for name, start, stop in taken for g in range(start, stop)]
    assert groups == [(str(n), g) for n, size in enumerate(sizes) for g in range(max(-(-size // 10), 1))]
    for taken in found:
        n_rows = sum(min(10 * (stop - start), sizes[int(name)]) for name, start, stop in taken)
        assert n_rows <= max(rows, 10)


def test_rows_of_a_piece_are_counted_with_the_last_group_whole() -> None:
    assert piece_rows(Piece({"rows": 25}, range(2))) == 20
    assert piece_rows(Piece({"rows": 5}, range(1))) == 5


def test_numbers_go_on_where_only_some_weeks_are_wanted(tmp_path: Path) -> None:
    """Else files of the same week would replace each other."""
    whole = spill_in(tmp_path)
    batches = [{"id": "a", "rows": 15}]
    assert [n for n, _ in whole.pieces(batches, 10)] == [0, 1]
    assert [n for n, _ in whole.of_weeks([date(2024, 1, 1)]).pieces(batches, 10)] == [2, 3]
    assert [n for n, _ in whole.pieces(batches, 20)] == [4]


def test_a_piece_is_judged_counted_and_written_by_week_and_bucket(tmp_path: Path) -> None:
    at = [
        datetime(2024, 4, 7, 23, tzinfo=UTC),
        datetime(2024, 4, 8, 3, tzinfo=UTC),
        datetime(2024, 4, 8, 4, tzinfo=UTC),
    ]
    rows = [{"user_id": f"u{n}", "ts": at[n % 3], "price": float(n % 4), "item_id": "i1"} for n in range(24)]
    first = batch(tmp_path, "a", [*rows, {"user_id": None}])
    second = batch(
        tmp_path, "b", [{"event_type": "purchase", "quantity": -1.0, "ts": at[0], "user_id": "u0"}]
    )
    items = pl.DataFrame({"item_id": ["i1"], "category": ["c"]}, schema_overrides=ITEMS)
    items = pl.concat([NO_ITEMS, items], how="diagonal")
    spilling = spill_in(tmp_path, 4, NEW_YORK, items)
    all_pieces = [Piece(first, range(2)), Piece(first, range(2, 3)), Piece(second, range(1))]
    taken = spilling.take((7, all_pieces))
    assert taken.weeks == {date(2024, 4, 1), date(2024, 4, 8)}
    assert [(j.batch["id"], j.is_last) for j in taken.judged] == [
        ("a", False), ("a", True), ("b", True),
    ]  # fmt: skip
    assert [j.refused["rule"].to_list() for j in taken.judged] == [[], ["missing_user"], []]
    assert sum(j.values["price"]["n"].sum() for j in taken.judged) == 18
    found = []
    for monday in taken.weeks:
        for bucket in range(4):
            for file in spilling.files(monday, bucket):
                assert file.name == "000007.arrow"
                part = pl.read_ipc(file)
                assert dict(part.schema) == EVENTS
                assert part.select((bucket_of(4) == bucket).all()).item()
                is_first_week = part["ts"] < datetime(2024, 4, 8, 4, tzinfo=UTC)
                assert set(is_first_week) == {monday == date(2024, 4, 1)}
                found.append(part)
    whole = pl.concat(found).sort("batch", "row")
    assert whole["row"].to_list() == [*range(1, 25), 1]
    assert whole["user_hash"].equals(user_hash(whole["user_id"]))
    assert whole["event_type"].to_list()[-1] == "return"
    assert set(whole["category"]) == {"c"}
    only = spilling.of_weeks([date(2024, 4, 8)])
    assert only.take((8, all_pieces)).weeks == {date(2024, 4, 8)}
    names = [f.name for bucket in range(4) for f in spilling.files(date(2024, 4, 8), bucket)]
    assert set(names) == {"000007.arrow", "000008.arrow"}
    again = pl.concat([pl.read_ipc(f) for b in range(4) for f in spilling.files(date(2024, 4, 8), b)[1:]])
    assert_frame_equal(again.sort("row"), whole.filter(pl.col("ts") == at[2]).sort("row"))


def test_a_batch_without_rows_leaves_nothing(tmp_path: Path) -> None:
    spilling = spill_in(tmp_path, 4)
    taken = spilling.take((0, [Piece(batch(tmp_path, "a", []), range(1))]))
    assert (taken.weeks, taken.judged[0].is_last) == (set(), True)
    assert spilling.files(date(2024, 4, 1), 0) == []


def test_weeks_that_a_batch_may_have_rows_of() -> None:
    """Its days are those of UTC; the shop's calendar may be a day ahead or behind."""
    monday, week = date(2024, 4, 8), [date(2024, 4, 1), date(2024, 4, 8), date(2024, 4, 15)]
    assert weeks_of({"days": {"2024-04-08": 1}}) == set(week[:2])
    assert weeks_of({"days": {"2024-04-09": 1}}) == {monday}
    assert weeks_of({"days": {"2024-04-14": 5}}) == set(week[1:])
    assert weeks_of({"days": {"2024-04-08": 1, "2024-04-14": 1}}) == set(week)
    assert weeks_of({"days": {}}) == set()
    assert [monday_of(date(2024, 4, day)) for day in (7, 8, 14, 15)] == [week[0], monday, monday, week[2]]
