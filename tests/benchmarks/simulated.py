"""Simulated shops: logs of any size, for the parts that ask about size."""

import json
import os
import shlex
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from measure import measure

N_ITEMS = 200_000
EVENTS_PER_USER = 50
SEED = 0
THREE_TYPES = ("view", "cart", "purchase")
#: One row in so many comes a second time.
REPEATED = 100


@dataclass(frozen=True)
class Shop:
    """A log on disk."""

    folder: Path
    n_events: int
    n_users: int
    command: str

    @property
    def events(self) -> list[Path]:
        """The files of events, in the order of time."""
        return sorted((self.folder / "events").glob("*.parquet"))


def simulate(
    folder: Path, n_events: int, *options: str, days: int = 365, events_per_user: float = EVENTS_PER_USER
) -> Shop:
    """Write about `n_events` events, by `ecbehave simulate`; configs find them by `ECBEHAVE_SHOP`."""
    n_users = max(int(n_events / events_per_user), 1)
    shown = ["ecbehave", "simulate", f"--users={n_users}", f"--items={N_ITEMS}", f"--days={days}"]
    shown += [f"--events-per-user={events_per_user:g}", f"--seed={SEED}", *options]
    command = shlex.join(shown)
    print(f"  {command}", file=sys.stderr, flush=True)
    done = measure([sys.executable, "-m", *shown, "--json", "--quiet", "--out", str(folder)])
    os.environ["ECBEHAVE_SHOP"] = str(folder)
    return Shop(folder, json.loads(done.stdout)["rows"], n_users, command)


def keep_three_types(shop: Shop) -> Shop:
    """Rewrite a shop's log: views, carts and purchases only, and one row in 100 once more, in a file of its own."""
    n_events, repeated = 0, []
    for file in shop.events:
        rows = pl.read_parquet(file).filter(pl.col("event_type").is_in(THREE_TYPES))
        replace(file, rows)
        n_events += rows.height
        repeated.append(rows.gather_every(REPEATED))
    again = pl.concat(repeated)
    again.write_parquet(shop.folder / "events" / "repeated.parquet")
    return Shop(shop.folder, n_events + again.height, shop.n_users, shop.command)


def replace(file: Path, rows: pl.DataFrame) -> None:
    """Write a file anew; its time stays, since that is when its rows came in."""
    stat = file.stat()
    rows.write_parquet(file)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def in_words(n_events: int) -> str:
    """Write a number of events: `10M`."""
    return f"{n_events / 1e6:.1f}M" if n_events < 10_000_000 else f"{n_events / 1e6:.0f}M"


def parse_sizes(text: str) -> tuple[int, ...]:
    """Read `5M,20M`.

    Raises:
        ValueError: a size is no number of events.
    """
    units = {"K": 1_000, "M": 1_000_000}
    sizes: Iterable[str] = (s.strip().upper() for s in text.split(","))
    return tuple(sorted(int(float(s.rstrip("KM")) * units.get(s[-1:], 1)) for s in sizes))
