"""Limits of outliers that only look back: per calendar month, from all earlier months."""

from collections.abc import Mapping
from datetime import date, timedelta

import polars as pl

from ecbehave.config.clean import Outlier, OutlierColumn


def month_of(timezone: str) -> pl.Expr:
    """Return the calendar month of an event as a number that counts up."""
    local = pl.col("ts").dt.convert_time_zone(timezone)
    return (local.dt.year() * 12 + local.dt.month()).cast(pl.Int32).alias("month")


def value_counts(rows: pl.LazyFrame, column: str, timezone: str) -> pl.LazyFrame:
    """Count values per month, rounded up to three digits: a small table that parts of the log can be added up in."""
    value = pl.col(column)
    return (
        rows.filter(value > 0)
        .group_by(month_of(timezone), value=_rounded_up(value))
        .agg(n=pl.len().cast(pl.Int64))
    )


def _rounded_up(value: pl.Expr) -> pl.Expr:
    scale = 10.0 ** (value.log10().floor() - 2)
    # 0.29 / 0.001 is 290.00000000000006, which must not become 291.
    return (value / scale).round(6).ceil() * scale


def monthly_limits(counts: pl.DataFrame, quantile: float) -> pl.DataFrame:
    """Return for each month the quantile of all values of earlier months; the first month has no limit.

    Args:
        counts: `month`, `value`, `n`.
        quantile: share of the values at or below the limit.
    """
    per_month = counts.group_by("month", "value").agg(pl.col("n").sum())
    months = per_month.select(limit_month=pl.col("month").unique())
    earlier = (
        months.join_where(per_month, pl.col("month") < pl.col("limit_month"))
        .group_by("limit_month", "value")
        .agg(pl.col("n").sum())
        .sort("limit_month", "value")
        .with_columns(share=pl.col("n").cum_sum().over("limit_month") / pl.col("n").sum().over("limit_month"))
    )
    return (
        earlier.filter(pl.col("share") >= quantile)
        .group_by(month="limit_month")
        .agg(limit=pl.col("value").min())
        .sort("month")
    )


def limits_of_week(limits: pl.DataFrame, monday: date) -> dict[str, float]:
    """Return the limits that hold in a week, by month."""
    sunday = monday + timedelta(days=6)
    months = {day.year * 12 + day.month for day in (monday, sunday)}
    return {f"{month}": limit for month, limit in limits.rows() if month in months}


def cut_outliers(
    rows: pl.DataFrame,
    limits: Mapping[OutlierColumn, pl.DataFrame],
    outliers: Mapping[OutlierColumn, Outlier],
    timezone: str,
) -> pl.DataFrame:
    """Clip values above their limit, or give their rows the rule that refuses them.

    Args:
        rows: events with `rule`, which is null for those that have not been refused.
        limits: per column the limit of each month.
        outliers: per column what is to be done.
        timezone: the shop's calendar.
    """
    limited = rows.lazy().with_columns(month_of(timezone))
    for column, table in limits.items():
        limited = limited.join(table.lazy(), on="month", how="left", maintain_order="left")
        is_outlier = pl.col(column) > pl.col("limit")
        if outliers[column].action == "clip":
            limited = limited.with_columns(pl.when(is_outlier).then("limit").otherwise(column).alias(column))
        else:
            rule = pl.when(is_outlier).then(pl.lit(f"outlier_{column}"))
            limited = limited.with_columns(rule=pl.coalesce("rule", rule))
        limited = limited.drop("limit")
    return limited.drop("month").collect()
