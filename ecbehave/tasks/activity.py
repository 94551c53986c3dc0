"""What tasks share: users who did something."""

import polars as pl

ANY = "any"


def of_type(events: pl.LazyFrame, event: str) -> pl.LazyFrame:
    """Keep events of one type; `any` keeps all."""
    return events if event == ANY else events.filter(pl.col("event_type") == event)


def users(events: pl.LazyFrame) -> pl.LazyFrame:
    """Return the users of some events, each once."""
    return events.select("user_hash", "user_id").unique()


def with_label(population: pl.LazyFrame, positive: pl.LazyFrame, *, when_found: int) -> pl.LazyFrame:
    """Label the population by whether a user is among `positive`."""
    found = positive.select("user_id", label=pl.lit(when_found, pl.Int8))
    return population.join(found, on="user_id", how="left").with_columns(
        pl.col("label").fill_null(1 - when_found).cast(pl.Int8)
    )


def in_words(event: str) -> str:
    """Name an event with its article."""
    if event == ANY:
        return "any event"
    return f"a{'n' if event[0] in 'aeiou' else ''} {event}"
