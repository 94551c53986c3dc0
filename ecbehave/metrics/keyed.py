"""The key of a judged row, and the refusal of tables in which a key appears twice."""

from collections.abc import Sequence

import polars as pl

#: One member of the population at one cutoff.
KEYS = ("user_id", "cutoff")


def reject_duplicates(frame: pl.DataFrame, key: Sequence[str], table: str) -> None:
    """Refuse a table with two rows of one key: a join on it would count the same row twice.

    Raises:
        ValueError: a key appears more than once; the message counts them and shows up to three.
    """
    repeated = frame.group_by(key).len().filter(pl.col("len") > 1).sort(key)
    if repeated.is_empty():
        return
    examples = "; ".join(", ".join(map(str, row)) for row in repeated.head(3).select(key).rows())
    raise ValueError(
        f"{table}: {repeated.height} key(s) ({', '.join(key)}) appear more than once, e.g. {examples}; "
        f"keep one row per key"
    )


def reject_nulls(frame: pl.DataFrame, columns: Sequence[str], table: str) -> None:
    """Refuse a table with a missing value in one of the columns.

    Raises:
        ValueError: a value is null; the message counts them by column.
    """
    counts = {name: frame[name].null_count() for name in columns if frame[name].null_count()}
    if counts:
        found = ", ".join(f"{n} in {name}" for name, n in counts.items())
        raise ValueError(f"{table}: missing values ({found}); every row needs {', '.join(columns)}")
