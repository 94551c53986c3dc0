"""One random table reads the same from CSV, JSON lines and Parquet."""

import csv
import io
import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from ecbehave.config.dataset import FileSource
from ecbehave.sources import read_chunks

COLUMNS = {"user_id": "user", "ts": "time", "item_id": "item", "price": "price", "quantity": "n"}
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8) | st.sampled_from(
    ["a,b", '"', "\n"]
)
TIME = (
    st.datetimes(datetime(1990, 1, 1), datetime(2040, 1, 1)).map(str)
    | st.sampled_from(["x", "1569888000"])
    | TEXT
)
ROW = st.tuples(
    st.none() | st.integers(0, 10**12),
    st.none() | TIME,
    st.none() | TEXT,
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
    st.none() | st.integers(-5, 5),
)


def read(path):
    source = FileSource(path=str(path), columns=COLUMNS, event_type="purchase")
    return pl.concat(read_chunks(path, source, "Europe/Berlin", datetime(2020, 1, 1, tzinfo=UTC), "b1"))


def write_csv(path, rows):
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS.values())
    writer.writerows(rows)
    path.write_text(text.getvalue(), encoding="utf-8", newline="")


@settings(deadline=None)
@given(rows=st.lists(ROW, min_size=1, max_size=20))
def test_the_format_does_not_matter(rows):
    names = list(COLUMNS.values())
    with tempfile.TemporaryDirectory() as folder:
        write_csv(Path(folder) / "log.csv", rows)
        (Path(folder) / "log.jsonl").write_text(
            "".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows)
        )
        types = [pl.Int64, pl.String, pl.String, pl.Float64, pl.Int8]
        frame = pl.DataFrame(rows, schema=dict(zip(names, types, strict=True)), orient="row")
        frame.write_parquet(Path(folder) / "log.parquet")
        from_csv, from_jsonl, from_parquet = (
            read(Path(folder) / f"log.{suffix}") for suffix in ("csv", "jsonl", "parquet")
        )
    assert from_csv.height == len(rows)
    assert from_csv.equals(from_jsonl)
    assert from_csv.equals(from_parquet)
