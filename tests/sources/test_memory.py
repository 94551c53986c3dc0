"""A file larger than memory is no problem: what a reader holds does not grow with the file."""

import subprocess
import sys

import pytest

#: The file has more than 220 MB; read whole, its bytes and columns would take twice that.
LIMIT_MB = 450
READ = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from ecbehave.artifacts import peak_memory_bytes
from ecbehave.config.dataset import FileSource
from ecbehave.sources import read_chunks

columns = {"user_id": "user", "ts": "time", "item_id": "item", "price": "price"}
source = FileSource(path=sys.argv[1], columns=columns, event_type="view")
received = datetime(2020, 1, 1, tzinfo=UTC)
n_rows = sum(rows.height for rows in read_chunks(Path(sys.argv[1]), source, "UTC", received, "b1"))
print(n_rows, peak_memory_bytes() // 2**20)
"""


@pytest.mark.slow
def test_memory_is_bounded(tmp_path):
    path = tmp_path / "log.csv"
    lines = "".join(
        f"user-{i:08},2019-10-01 00:{i // 60 % 60:02}:{i % 60:02} UTC,{'i' * 60},2.5\n" for i in range(50_000)
    )
    with path.open("w") as file:
        file.write("user,time,item,price\n")
        for _ in range(45):
            file.write(lines)
    assert path.stat().st_size > 220e6
    done = subprocess.run([sys.executable, "-c", READ, str(path)], capture_output=True, text=True, check=True)
    n_rows, peak_mb = map(int, done.stdout.split())
    assert n_rows == 45 * 50_000
    assert peak_mb < LIMIT_MB
