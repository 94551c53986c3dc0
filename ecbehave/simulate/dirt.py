"""What goes wrong with a log, planted on purpose and counted.

Values are spoiled in views only, and bots only look: every purchase stays as the process made it. Rows are named by
the rule of `clean` that refuses them, besides `duplicate`, `late` (the row stands in a later file, ten days after its
time or more) and `bot` (rows of a user who looks at thousands of items in hours).
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from ecbehave.schema import EVENT_TYPES
from ecbehave.simulate.catalogue import Catalogue, unit_price
from ecbehave.simulate.sessions import NUMBERS
from ecbehave.simulate.settings import DAY, Settings
from ecbehave.simulate.users import Ints
from ecbehave.simulate.visits import Stretch

#: Codes of `flaw`; 0 is a clean row.
FLAWS = (
    "clean",
    "duplicate",
    "late",
    "bot",
    "missing_user",
    "missing_item",
    "missing_event_type",
    "missing_time",
    "negative_price",
    "unparsable_value",
    "unparsable_time",
)
_DUPLICATE, _LATE, _BOT, _FIRST_VALUE = 1, 2, 3, 4
#: Parquet has types: what is no number or no time cannot be written there.
_TEXT_ONLY = 2
_DUPLICATE_SHARE, _LATE_SHARE, _VALUE_SHARE, _BOT_SHARE = 0.3, 0.25, 0.3, 0.15
_VIEW = EVENT_TYPES.index("view")
_LATE_BY = 10 * DAY
_BOT_ROWS, _BOT_STEP = 3_000, 5


def draw_bots(settings: Settings) -> Ints:
    """Return the instants at which bots begin, one each; a bot's whole visit lies within a day."""
    rng = np.random.default_rng([settings.seed, 4])
    n = int(settings.dirt * _BOT_SHARE * settings.users * settings.events_per_user / _BOT_ROWS)
    day = rng.integers(0, settings.days, n)
    return settings.start + day * DAY + rng.integers(0, DAY - _BOT_ROWS * _BOT_STEP, n)


def spoil(
    settings: Settings,
    catalogue: Catalogue,
    bots: Ints,
    block: Stretch,
    rows: pl.DataFrame,
    file_starts: Sequence[int],
) -> pl.DataFrame:
    """Plant the dirt of one block: columns NUMBERS, `flaw` and `at` changed, rows added.

    Args:
        settings: `dirt` is the share of rows, about.
        catalogue: the shop's items.
        bots: what `draw_bots` gave.
        block: the block.
        rows: the block's clean rows, NUMBERS.
        file_starts: first instants of the files, ascending; a late row moves to the top of a later one.
    """
    if settings.dirt == 0:
        return rows
    rng = np.random.default_rng([settings.seed, 5, block.number])
    chance = rng.random(rows.height)
    edges = np.cumsum([_DUPLICATE_SHARE, _LATE_SHARE, _VALUE_SHARE]) * settings.dirt
    flaw = np.zeros(rows.height, np.uint8)
    at, later = _later_file(rows["at"].to_numpy(), file_starts, (edges[0] <= chance) & (chance < edges[1]))
    flaw[later] = _LATE
    n_kinds = len(FLAWS) - _FIRST_VALUE - (_TEXT_ONLY if settings.format == "parquet" else 0)
    is_spoilt = (edges[1] <= chance) & (chance < edges[2]) & (rows["type"] == _VIEW).to_numpy()
    flaw[is_spoilt] = _FIRST_VALUE + rng.integers(0, n_kinds, int(is_spoilt.sum()))
    copies = rows.filter(pl.Series(chance < edges[0])).with_columns(flaw=pl.lit(_DUPLICATE, pl.UInt8))
    spoilt = rows.with_columns(at=pl.Series(at), flaw=pl.Series(flaw))
    ours = np.flatnonzero((bots >= block.start) & (bots < block.end))
    return pl.concat(
        [spoilt, copies, *(_bot_rows(settings, catalogue, int(bots[i]), int(i), rng) for i in ours)]
    )


def _later_file(at: Ints, file_starts: Sequence[int], chosen: np.ndarray) -> tuple[Ints, np.ndarray]:
    """Move chosen rows to the first file that begins late enough, where there is one; returns who was moved."""
    starts = np.asarray(file_starts)
    place = np.searchsorted(starts, at + _LATE_BY)
    moved = chosen & (place < len(starts))
    return np.where(moved, starts[np.minimum(place, len(starts) - 1)], at), moved


def _bot_rows(
    settings: Settings, catalogue: Catalogue, start: int, number: int, rng: np.random.Generator
) -> pl.DataFrame:
    ts = start + np.arange(_BOT_ROWS) * _BOT_STEP
    item = rng.integers(0, settings.items, _BOT_ROWS)
    columns = {"at": ts, "ts": ts, "item": item, "price": unit_price(catalogue, item, ts)}
    return (
        pl.DataFrame(columns)
        .select(
            pl.lit(settings.users + number).alias("user"),
            pl.lit(_VIEW).alias("type"),
            pl.lit(f"b{number}").alias("session_id"),
            pl.lit(1).alias("dwell_seconds"),
            pl.lit(_BOT).alias("flaw"),
            *columns,
            *(
                pl.lit(None).alias(c)
                for c in ("order_id", "quantity", "amount", "discount", "coupon", "rating")
            ),
        )
        .select(pl.col(name).cast(dtype) for name, dtype in NUMBERS.items())
    )


def show_flaws(rows: pl.DataFrame) -> pl.DataFrame:
    """Spoil the values of a written table, which has `flaw` beside the log's columns."""
    present = set(rows["flaw"].unique().to_list())

    def has(flaw: str) -> pl.Expr:
        return pl.col("flaw") == FLAWS.index(flaw)

    changes: dict[str, tuple[str, pl.Expr]] = {
        "missing_user": ("user_id", pl.lit(None)),
        "missing_item": ("item_id", pl.lit(None)),
        "missing_event_type": ("event_type", pl.lit(None)),
        "missing_time": ("ts", pl.lit(None)),
        "negative_price": ("price", -pl.col("price")),
        "unparsable_value": ("price", pl.lit("n/a")),
        "unparsable_time": ("ts", pl.lit("soon")),
    }
    for flaw, (column, value) in changes.items():
        if FLAWS.index(flaw) in present:
            text = {"unparsable_value": pl.col("price").cast(pl.String), "unparsable_time": _time_as_text()}
            kept = text.get(flaw, pl.col(column))
            rows = rows.with_columns(pl.when(has(flaw)).then(value).otherwise(kept).alias(column))
    return rows


#: How a CSV file tells the time.
TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"


def _time_as_text() -> pl.Expr:
    return pl.col("ts").dt.strftime(TIME_FORMAT)
