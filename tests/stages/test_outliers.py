"""Outliers: limits that only look back, and what is done with a value above its limit."""

from datetime import UTC, date, datetime
from decimal import ROUND_CEILING, Decimal
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from desks import NEW_YORK, Desk, events, quarantine, raw

from ecbehave.config.clean import Outlier
from ecbehave.schema import EVENTS
from ecbehave.stages import outliers


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "shop")


def rounded_up(value: float) -> float:
    """The smallest number of three digits that is not below the value, by decimal arithmetic."""
    exact = Decimal(repr(value))
    unit = Decimal(1).scaleb(exact.adjusted() - 2)
    return float((exact / unit).to_integral_value(ROUND_CEILING) * unit)


def limits_by_hand(rows: list[tuple[int, float]], quantile: float) -> dict[int, float]:
    limits = {}
    for month in {m for m, _ in rows}:
        earlier = sorted(rounded_up(v) for m, v in rows if m < month)
        reached = [v for n, v in enumerate(earlier, 1) if n / len(earlier) >= quantile]
        if reached:
            limits[month] = reached[0]
    return limits


@pytest.mark.parametrize("quantile", [0.6, 0.9, 0.999])
def test_monthly_limits_are_quantiles_of_earlier_months(quantile: float) -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([np.round(rng.lognormal(2, 1.5, 500), 2), [0.29, 0.57, 1.15, 1000, 999.5, 0.01]])
    months = rng.choice([1, 2, 4, 5], values.size)
    days = rng.integers(1, 28, values.size)
    log = raw(
        *(
            {"price": float(v), "ts": datetime(2024, int(m), int(d), 12, tzinfo=UTC)}
            for v, m, d in zip(values, months, days, strict=True)
            if v > 0
        ),
        {"price": 0.0},
        {"price": None},
    )
    parts = [log[:100], log[100:101], log[101:]]
    counts = pl.concat(outliers.value_counts(p.lazy(), "price", "UTC").collect() for p in parts)
    limits = outliers.monthly_limits(counts, quantile)
    by_hand = limits_by_hand(
        [(int(m), float(v)) for m, v in zip(months, values, strict=True) if v > 0], quantile
    )
    assert [m - 2024 * 12 for m in limits["month"]] == [2, 4, 5]
    for month, limit in limits.rows():
        assert limit == pytest.approx(by_hand[month - 2024 * 12], rel=1e-12)


def test_a_log_of_one_month_has_no_limits() -> None:
    counts = outliers.value_counts(raw({"price": 1.0}, {"price": 5.0}).lazy(), "price", "UTC").collect()
    assert outliers.monthly_limits(counts, 0.9).is_empty()
    assert outliers.monthly_limits(counts.clear(), 0.9).is_empty()


def ten_prices_a_month(desk: Desk) -> None:
    """January 1 to 10 and an extreme; February and March 11 to 20."""
    january = [{"time": f"2024-01-{n:02d} 12:00", "price": str(n)} for n in range(1, 10)]
    # In New York this is still January, and no earlier month limits it.
    january.append({"time": "2024-02-01 03:00", "price": "1000"})
    later = [
        {"time": f"2024-{month:02d}-{n:02d} 12:00", "price": str(10 + n)}
        for month in (2, 3)
        for n in range(2, 12)
    ]
    desk.put(*january, *later)


def test_outliers_are_clipped_to_the_limit_of_earlier_months(desk: Desk) -> None:
    ten_prices_a_month(desk)
    artifact = desk.clean(NEW_YORK, outliers={"price": {"quantile": 0.8}}).artifact
    rows = events(artifact).sort("ts")
    assert (artifact.counts["clean"], artifact.counts["quarantined"]) == (30, 0)
    assert rows.columns == list(EVENTS)
    assert rows["price"].to_list() == [*range(1, 10), 1000, *[8] * 10, *range(12, 19), 18, 18, 18]


def test_outliers_are_refused_where_that_is_wanted(desk: Desk) -> None:
    ten_prices_a_month(desk)
    outliers = {"price": {"quantile": 0.8, "action": "quarantine"}, "quantity": {"quantile": 0.9}}
    artifact = desk.clean(NEW_YORK, outliers=outliers).artifact
    refused = quarantine(artifact).sort("ts")
    assert set(refused["rule"]) == {"outlier_price"}
    # Limits are of what came in: a refused value is a value of its month.
    assert refused["price"].to_list() == [*range(12, 22), 19, 20, 21]
    assert artifact.counts["quarantined.outlier_price"] == 13


def test_a_bot_stays_a_bot_where_its_price_is_an_outlier_too(desk: Desk) -> None:
    ten_prices_a_month(desk)
    desk.put(
        *({"user": "bot", "time": f"2024-03-05 10:00:{s:02d}", "price": "5000"} for s in range(5)),
        name="events-bot.csv",
    )
    outliers = {"price": {"quantile": 0.8, "action": "quarantine"}}
    counts = desk.clean(NEW_YORK, outliers=outliers, max_events_per_user_day=4).artifact.counts
    assert counts["quarantined.bot_like"] == 1
    assert counts["quarantined.outlier_price"] == 13 + 4


def test_outlier_settings_default_to_clipping_the_highest_thousandth() -> None:
    assert (Outlier().quantile, Outlier().action) == (0.999, "clip")


@pytest.mark.parametrize(
    ("monday", "months"),
    [
        (date(2024, 1, 1), [1]),
        (date(2024, 1, 29), [1, 2]),
        (date(2024, 2, 26), [2, 3]),
        (date(2023, 12, 25), [0]),
        (date(2024, 12, 30), [12, 13]),
    ],
)
def test_a_week_has_the_limits_of_its_months(monday: date, months: list[int]) -> None:
    """Months count on over the turn of the year: 2024-01 is 24289, and 2025-01 follows 2024-12."""
    known = range(24_287, 24_303)
    limits = pl.DataFrame(
        {"month": known, "limit": [float(month) for month in known]},
        schema={"month": pl.Int32, "limit": pl.Float64},
    )
    expected = {f"{24_288 + month}": 24_288.0 + month for month in months}
    assert outliers.limits_of_week(limits, monday) == expected
    assert outliers.limits_of_week(limits.clear(), monday) == {}


def test_month_numbers_are_those_of_the_calendar() -> None:
    rows = raw({"ts": datetime(2024, 1, 1, tzinfo=UTC)}, {"ts": datetime(2024, 12, 31, 23, tzinfo=UTC)})
    assert rows.select(outliers.month_of("UTC")).to_series().to_list() == [24_289, 24_300]
    assert rows.select(outliers.month_of(NEW_YORK)).to_series().to_list() == [24_288, 24_300]


def test_cutting_keeps_the_order_of_rows_and_columns() -> None:
    rows = raw(*({"price": float(n), "ts": datetime(2024, 1 + n % 3, 1, tzinfo=UTC)} for n in range(9)))
    rows = rows.with_columns(rule=pl.when(pl.col("price") == 8).then(pl.lit("bot_like")))
    limits = pl.DataFrame(
        {"month": [24_290], "limit": [3.5]}, schema={"month": pl.Int32, "limit": pl.Float64}
    )
    clip, refuse = Outlier(), Outlier(action="quarantine")
    clipped = outliers.cut_outliers(rows, {"price": limits}, {"price": clip}, "UTC")
    assert clipped.columns == rows.columns
    assert clipped["price"].to_list() == [0, 1, 2, 3, 3.5, 5, 6, 3.5, 8]
    refused = outliers.cut_outliers(rows, {"price": limits}, {"price": refuse}, "UTC")
    assert refused["price"].to_list() == rows["price"].to_list()
    named = [None] * 4 + ["outlier_price", None, None, "outlier_price", "bot_like"]
    assert refused["rule"].to_list() == named
