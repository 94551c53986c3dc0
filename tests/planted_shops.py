"""A log with a planted reason to churn."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

WEEK_0 = datetime(2024, 1, 1, tzinfo=UTC)
N_WEEKS = 16


def asking_log(n_users: int = 80, n_weeks: int = N_WEEKS, seed: int = 0) -> pl.DataFrame:
    """Who asks a question in one week buys nothing in the next; everybody else buys. Views mean nothing."""
    rng = np.random.default_rng(seed)
    rows: list[tuple[str, str, str, datetime]] = []
    asks = rng.random((n_users, n_weeks)) < 0.35
    for user in range(n_users):
        for week in range(n_weeks):
            kinds = ["view"] * int(rng.integers(0, 3))
            kinds += ["purchase"] * (week == 0 or not asks[user, week - 1]) + ["question"] * bool(
                asks[user, week]
            )
            for kind in kinds:
                second = int(rng.integers(0, 7 * 86_400))
                rows.append(
                    (f"u{user:03d}", f"i{second % 7}", kind, WEEK_0 + timedelta(weeks=week, seconds=second))
                )
    end = WEEK_0 + timedelta(weeks=n_weeks)
    rows.append(("u000", "i0", "view", end - timedelta(minutes=1)))
    rows.append(("fresh", "i0", "purchase", end - timedelta(hours=30)))
    rows.append(("fresh", "i0", "view", end - timedelta(hours=29)))
    log = pl.DataFrame(rows, schema=["user", "item", "kind", "time"], orient="row")
    return log.with_columns(
        pl.col("time").dt.strftime("%Y-%m-%d %H:%M:%S"), price=9.5, quantity=1, order=pl.lit(None, pl.String)
    )


ASKING: dict[str, Any] = {
    "task": {"kind": "churn", "active_within": "21d", "horizon": "7d"},
    "split": {"step": "7d", "train": 5},
    "features": {"windows": ["7d", "28d"]},
    "model": {"kind": "boosting", "max_trees": 60, "min_rows_per_leaf": 5, "learning_rate": 0.1},
}
