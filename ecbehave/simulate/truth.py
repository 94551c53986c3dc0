"""What is true of a simulated shop, and what nobody can beat.

The probability is that of somebody who knows each user's rates, the season, and whether the user has dropped out by
the cutoff. A log shows none of that but in its traces, so no model reaches it, however much data there is; it is a
ceiling. It is not the future: who is going to drop out when, and the visits to come, stay open.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from ecbehave.errors import DataError
from ecbehave.schema import TS
from ecbehave.simulate.season import HOUR, Floats, Season
from ecbehave.simulate.users import Users, instants

USERS: dict[str, Any] = {
    "user_id": pl.String(),
    "purchase_rate": pl.Float64(),
    "drop_out_rate": pl.Float64(),
    "joined_at": TS,
    "dropped_at": TS,
}
SEASON: dict[str, Any] = {"starts_at": TS, "factor": pl.Float64()}
USERS_FILE, SEASON_FILE = "users.parquet", "season.parquet"
#: Users that are worked on at once; their numbers stay in the processor's cache.
_CHUNK = 8_192


@dataclass(frozen=True)
class Truth:
    """The truth of one simulated log."""

    folder: Path
    users: pl.DataFrame
    """Columns USERS: rates per day; `dropped_at` is null for who is still there at the end of the log."""
    season: Season


def write_truth(folder: Path, users: Users, user_ids: pl.Series, season: Season) -> None:
    """Write `users.parquet` and `season.parquet`; ids after those of `users` are bots, who never buy."""
    n, n_bots = len(users.visit_rate), len(user_ids) - len(users.visit_rate)
    known = pl.DataFrame(
        {
            "user_id": user_ids.head(n),
            "purchase_rate": users.visit_rate * users.conversion,
            "drop_out_rate": users.drop_out_rate,
            "joined_at": instants(users.present_from(season.start)),
            # Beyond any calendar for the smallest rates.
            "dropped_at": instants(np.minimum(users.dropped, season.end)),
        }
    ).with_columns(dropped_at=pl.when(pl.Series(users.dropped < season.end)).then("dropped_at"))
    start = instants(np.full(n_bots, season.start, np.float64))
    bots = pl.DataFrame({"user_id": user_ids.tail(n_bots), "joined_at": start}).with_columns(
        purchase_rate=0.0, drop_out_rate=0.0, dropped_at=pl.lit(None, TS)
    )
    table = pl.concat([known.select(USERS.keys()), bots.select(USERS.keys())])
    table.write_parquet(folder / USERS_FILE)
    hours = season.start + np.arange(len(season.factors), dtype=np.float64) * HOUR
    pl.DataFrame({"starts_at": instants(hours), "factor": season.factors}).write_parquet(folder / SEASON_FILE)


def read_truth(folder: Path) -> Truth:
    """Read what `write_truth` has written.

    Raises:
        DataError: a table is missing or has other columns.
    """
    users, season = _read(folder / USERS_FILE, USERS), _read(folder / SEASON_FILE, SEASON)
    start = int(season["starts_at"][0].timestamp())
    return Truth(folder, users, Season(start, season["factor"].to_numpy()))


def _read(path: Path, schema: dict[str, Any]) -> pl.DataFrame:
    try:
        table = pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(
            f"{path} cannot be read ({str(error).splitlines()[0]}); "
            f"the truth is the folder `truth` that `ecbehave simulate` has written"
        ) from error
    if dict(table.schema) != schema or table.height == 0:
        raise DataError(
            f"{path} is not the truth of a simulated log: it has {table.height} rows of {', '.join(table.columns)}, "
            f"not some of {', '.join(schema)}; take the folder `truth` that `ecbehave simulate` has written"
        )
    return table


def true_probability(
    truth: Truth, user_ids: pl.Series, cutoff: datetime, end: datetime, task: Literal["purchase", "churn"]
) -> Floats:
    """Return each user's probability of a purchase in `cutoff <= ts < end` [users], or of none for `churn`.

    With intensity q f(t) for the season's factor f, drop-out rate m, and F the integral of f from the cutoff on:

        P(purchase) = integral of q f(t) exp(-m t - q F(t)) dt over the window

    for who is there at the cutoff: the first purchase comes before dropping out. f is constant within an hour, so the
    integral is a sum over hours. It is 0 for who has dropped out before, and begins at the time of joining for who
    has not joined yet.

    Args:
        truth: of the log.
        user_ids: text [users], repeats allowed.
        cutoff: first instant of the window, in UTC.
        end: its end, exclusive.
        task: whose label is asked for.

    Raises:
        DataError: the truth lacks some of the users, or the log does not cover the window.

    Source: Schmittlein, Morrison and Colombo (1987), the Pareto/NBD with known rates.
    """
    first, last = truth.season.start, truth.season.end
    window = (cutoff.timestamp(), end.timestamp())
    if not first <= window[0] < window[1] <= last:
        covers = " to ".join(str(day.date()) for day in instants(np.array([first, last - 1], np.float64)))
        raise DataError(
            f"{truth.folder} covers {covers}, but the label window from {cutoff:%Y-%m-%d %H:%M} to "
            f"{end:%Y-%m-%d %H:%M} UTC lies outside; take the truth of the same simulated log"
        )
    asked = pl.DataFrame({"user_id": user_ids}).join(
        truth.users, on="user_id", how="left", maintain_order="left"
    )
    unknown = asked.filter(pl.col("purchase_rate").is_null())["user_id"].unique().sort()
    if len(unknown):
        raise DataError(
            f"{truth.folder} lacks {len(unknown):,} of {user_ids.n_unique():,} users, "
            f"such as {', '.join(unknown.head(3))}; take the truth of the same simulated log"
        )
    # Joining within the window: nothing can happen before it, and the same formula holds from there on.
    here = asked.select(
        "purchase_rate",
        "drop_out_rate",
        wait=(pl.col("joined_at").dt.epoch("us") / 1e6 - window[0]).clip(0) / 86_400,
        gone=(pl.col("dropped_at") <= cutoff).fill_null(value=False),
    )
    parts = [_purchase(part, truth.season.pieces(*window)) for part in here.iter_slices(_CHUNK)]
    buys = np.concatenate([np.empty(0), *parts])
    return 1 - buys if task == "churn" else buys


def _purchase(users: pl.DataFrame, pieces: list[tuple[float, float]]) -> Floats:
    """Return the probability of a purchase over stretches of (days, factor) [users]."""
    rate, hazard, wait = (users[c].to_numpy() for c in ("purchase_rate", "drop_out_rate", "wait"))
    is_undecided = (~users["gone"].to_numpy()).astype(np.float64)
    bought_first = np.zeros(users.height)
    passed = 0.0
    for length, factor in pieces:
        days = np.clip(passed + length - wait, 0, length)
        passed += length
        either = hazard + rate * factor
        decided = is_undecided * -np.expm1(-either * days)
        # Of what may happen first, the purchase has the share of its rate.
        bought_first += decided * np.divide(
            rate * factor, either, out=np.zeros_like(either), where=either > 0
        )
        is_undecided -= decided
    return bought_first
