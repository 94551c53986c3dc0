"""From blocks of rows to files in time order, a folder that appears when it is whole."""

import fcntl
import gzip
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ecbehave.errors import ArtifactError
from ecbehave.parallel import in_order
from ecbehave.schema import EVENT_TYPES, TS
from ecbehave.simulate.catalogue import draw_catalogue, items_table, n_categories
from ecbehave.simulate.dirt import FLAWS, TIME_FORMAT, draw_bots, show_flaws, spoil
from ecbehave.simulate.season import Floats, Season
from ecbehave.simulate.sessions import LONGEST_VISIT, draw_rows, rows_of_visit
from ecbehave.simulate.settings import DAY, Format, Settings
from ecbehave.simulate.truth import write_truth
from ecbehave.simulate.users import draw_users, ids, users_table
from ecbehave.simulate.visits import Stretch, cut, draw_visits, expected_visits, make_blocks
from ecbehave.tables import ROW_GROUP

#: Rows that a file has at least, where it has whole days, and at most, where the days of a file are not asked for.
_ENOUGH, _MOST = 500_000, 1_000_000
_ANY = float("inf")


@dataclass(frozen=True)
class Simulated:
    """What was written."""

    folder: Path
    rows: int
    files: int
    event_types: dict[str, int]
    dirt: dict[str, Any]


def simulate(
    settings: Settings, folder: Path, threads: int = 1, advance: Callable[[int], None] = lambda _rows: None
) -> Simulated:
    """Write a shop's log: `events/`, `items`, `users` and `truth/`; the same bytes whatever the threads.

    Memory grows with the users and with what a file holds, not with the days or the size of the log.

    Args:
        settings: the shop.
        folder: a new or an empty folder; it appears when everything is written.
        threads: blocks that are drawn, and files that are written, at once.
        advance: told of rows that are written.

    Raises:
        ArtifactError: the folder holds something, or cannot be written.
    """
    with _whole(folder) as unfinished:
        shop = _Shop(settings)
        (unfinished / "truth").mkdir()
        (unfinished / "events").mkdir()
        write_truth(unfinished / "truth", shop.users, shop.user_ids, shop.season)
        for name, table in (
            ("items", items_table(shop.catalogue, shop.item_ids)),
            ("users", users_table(shop.users, shop.user_ids.head(settings.users))),
        ):
            _write(table, unfinished / f"{name}.{settings.format}", settings.format)
        done = _write_log(shop, unfinished / "events", threads, advance)
        types, dirt = _counts(done, shop)
        for name, facts in (
            ("dirt", dirt),
            ("log", {"settings": asdict(settings), "rows": sum(types.values()), "event_types": types}),
        ):
            text = json.dumps(facts, indent=1, default=str) + "\n"
            (unfinished / "truth" / f"{name}.json").write_text(text, encoding="utf-8")
    return Simulated(folder, sum(types.values()), len(shop.files), types, dirt)


class _Shop:
    """Everything that is drawn once."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.season = Season.of(settings.start, settings.days)
        self.catalogue = draw_catalogue(settings)
        self.users = draw_users(settings, self.season, n_categories(settings.items), rows_of_visit)
        self.bots = draw_bots(settings)
        self.user_ids = ids("u", settings.users + len(self.bots)).rename("user_id")
        self.item_ids = ids("i", settings.items).rename("item_id")
        visits = expected_visits(settings, self.season, self.users)
        self.blocks = make_blocks(settings, self.season, visits)
        rows = visits * float(rows_of_visit(self.users.conversion).mean())
        self.files = make_files(settings, self.season, rows)

    def rows(self, block: Stretch) -> pl.DataFrame:
        """Return a block's rows, dirt included."""
        visits = draw_visits(self.settings, self.season, self.users, block)
        rows = draw_rows(self.settings, self.users, self.catalogue, block, visits)
        return spoil(
            self.settings, self.catalogue, self.bots, block, rows, [file.start for file in self.files]
        )

    def table(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return rows as the log shows them, and `flaw`."""
        money = ("price", "amount", "discount", "coupon")
        shown = (*money, "quantity", "rating", "dwell_seconds", "flaw")
        return rows.select(
            self.user_ids.gather(rows["user"]),
            self.item_ids.gather(rows["item"]),
            pl.Series(EVENT_TYPES).gather(rows["type"]).alias("event_type"),
            (pl.col("ts") * 1_000_000).cast(TS),
            "session_id",
            "order_id",
            # Rounded, since polars divides by multiplying with 0.01.
            *((pl.col(c) / 100).round(2) if c in money else pl.col(c) for c in rows.columns if c in shown),
        )


def make_files(settings: Settings, season: Season, rows: Floats) -> list[Stretch]:
    """Cut the log's time into files; `rows` are those to expect on each day."""
    if settings.days_per_file is None:
        return cut(settings.start, season, rows, enough=_ENOUGH, most=_MOST, longest=settings.days)
    return cut(settings.start, season, rows, enough=_ANY, most=_ANY, longest=settings.days_per_file)


def _file_name(file: Stretch, output_format: Format) -> str:
    pattern = "%Y-%m-%d" if file.start % DAY == 0 else "%Y-%m-%dT%H%M%S"
    return f"events-{datetime.fromtimestamp(file.start, UTC).strftime(pattern)}.{output_format}"


def _write_log(
    shop: _Shop, folder: Path, threads: int, advance: Callable[[int], None]
) -> Counter[tuple[str, str]]:
    """Write the files of events; returns rows by event type and flaw."""

    def write(item: tuple[Stretch, pl.DataFrame]) -> Counter[tuple[str, str]]:
        file, rows = item
        path = folder / _file_name(file, shop.settings.format)
        counts = rows.group_by("type", "flaw").len().rows()
        _write(show_flaws(shop.table(rows)).drop("flaw"), path, shop.settings.format)
        # A file comes in when its last day is over.
        os.utime(path, (file.end, file.end))
        return Counter({(EVENT_TYPES[kind], FLAWS[flaw]): n for kind, flaw, n in counts})

    total = Counter[tuple[str, str]]()
    for counts in in_order(write, _by_file(shop, threads), threads):
        total += counts
        advance(counts.total())
    return total


def _by_file(shop: _Shop, threads: int) -> Iterator[tuple[Stretch, pl.DataFrame]]:
    """Yield the rows of each file in the order of `at`, while later blocks are being drawn.

    A block's rows lie from a visit's length before its start on: all that lies before that is complete.
    """
    files = iter(shop.files)
    file = next(files)
    pending: list[pl.DataFrame] = []
    drawn = in_order(shop.rows, shop.blocks, threads)
    for block, rows in zip(shop.blocks, drawn, strict=True):
        pending.append(rows)
        complete = shop.settings.end if block is shop.blocks[-1] else block.end - LONGEST_VISIT
        while file.end <= complete:
            ordered = pl.concat(pending).sort("at", maintain_order=True)
            first, after = np.searchsorted(ordered["at"].to_numpy(), [file.start, file.end]).tolist()
            yield file, ordered[first:after]
            pending = [ordered[after:]]
            following = next(files, None)
            if following is None:
                return
            file = following


def _counts(done: Counter[tuple[str, str]], shop: _Shop) -> tuple[dict[str, int], dict[str, Any]]:
    types = {kind: sum(n for (k, _), n in done.items() if k == kind) for kind in EVENT_TYPES}
    flaws = {flaw: sum(n for (_, f), n in done.items() if f == flaw) for flaw in FLAWS[1:]}
    bots = shop.user_ids.slice(shop.settings.users).to_list()
    return types, {"share": shop.settings.dirt, "rows": flaws, "bots": bots}


def _write(table: pl.DataFrame, path: Path, output_format: Format) -> None:
    if output_format == "parquet":
        table.write_parquet(path, row_group_size=ROW_GROUP)
    elif output_format == "csv":
        table.write_csv(path, datetime_format=TIME_FORMAT)
    else:
        text = table.write_csv(datetime_format=TIME_FORMAT)
        with path.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as file:
            file.write(text.encode())


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """Give a hidden folder beside `folder`, which takes its place when the block ends without an error."""
    unfinished = folder.parent / f".{folder.name}.unfinished"
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ArtifactError(
                f"{folder} is not an empty folder; name a new one with --out, or empty it first"
            )
        unfinished.mkdir(parents=True, exist_ok=True)
        with _held(unfinished):
            for left in unfinished.iterdir():
                shutil.rmtree(left) if left.is_dir() else left.unlink()
            try:
                yield unfinished
                unfinished.replace(folder)
            except BaseException:
                shutil.rmtree(unfinished, ignore_errors=True)
                raise
    except (OSError, pl.exceptions.ComputeError) as error:
        reason = _reason(error)
        if reason is None:
            raise
        raise ArtifactError(
            f"{folder} cannot be written ({reason}); nothing is left of it. "
            f"Free some space, or name another folder with --out"
        ) from error


def _reason(error: Exception) -> str | None:
    """Return what the system says is wrong; polars has its number in the text only."""
    number = error.errno if isinstance(error, OSError) else None
    found = re.search(r"os error (\d+)", str(error))
    if number is None and found:
        number = int(found[1])
    return None if number is None else os.strerror(number)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold a folder against another process, until the block or this process ends."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise ArtifactError(
            f"another process is writing {folder}; wait for it, or name another --out"
        ) from None
    finally:
        os.close(descriptor)
