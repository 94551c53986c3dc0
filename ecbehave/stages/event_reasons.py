"""Sentences for what drove the score of a model that reads events one after the other."""

import polars as pl

from ecbehave.inputs.telling import whole_days


def event_reasons(drivers: pl.DataFrame, raised: list[str], n_rows: int, n: int) -> list[list[str | None]]:
    """Return sentences [n][N]; None where there are fewer.

    Args:
        drivers: `DRIVERS`, rows of one score together, the strongest first.
        raised: [N] what is higher when the score is.
        n_rows: N.
        n: most reasons of a row.
    """
    found: list[list[str | None]] = [[None] * n_rows for _ in range(n)]
    told = drivers.filter(pl.col("effect") != 0).with_columns(rank=pl.int_range(pl.len()).over("row"))
    for driver in told.filter(pl.col("rank") < n).to_dicts():
        row = driver["row"]
        direction = "raises" if driver["effect"] > 0 else "lowers"
        found[driver["rank"]][row] = f"{_sentence(driver)} ({direction} {raised[row]})"
    return found


def _sentence(driver: dict[str, object]) -> str:
    n_events, ago = driver["n_events"], _ago(driver["days"])
    if driver["event_type"] is None:
        events = "1 event" if n_events == 1 else f"{n_events:,} events"
        return f"{events} since {_ago(driver['since_days'])}, the last {ago}"
    text = str(driver["event_type"])
    if driver["item_id"] is not None:
        text += f" of {driver['item_id']}"
    if driver["category"] is not None:
        text += f" ({driver['category']})"
    others = int(str(n_events)) - 1
    if others:
        text += f" and {others:,} more"
    return f"{text} {ago}"


def _ago(days: object) -> str:
    n_days = float(str(days))
    return "less than a day ago" if n_days < 1 else f"{whole_days(n_days)} ago"
