"""Are probabilities right in every part of the population? Rows cut into segments, and each judged by itself."""

import math

import numpy as np
import polars as pl

N_BANDS = 4
MOST_CATEGORIES = 10
UNKNOWN, OTHER = "unknown", "other"


def segments(values: pl.Series) -> pl.Series:
    """Name the segment of each row: its category, or the quarter of all rows that its number falls into.

    Categories beyond the ten most frequent share one segment, and so do unknown values. Equal numbers share a
    quarter, so that there may be fewer than four.

    Args:
        values: [N] text or numbers; null (of numbers, also NaN) is unknown.

    Returns:
        [N] an enum whose order is that of the segments: numbers ascending, or categories by frequency; `other` and
        `unknown` last.
    """
    return (
        _categories(values) if values.dtype == pl.String else _bands(values.cast(pl.Float64).fill_nan(None))
    )


def _categories(values: pl.Series) -> pl.Series:
    counted = values.drop_nulls().value_counts().sort("count", values.name, descending=[True, False])
    named = counted[values.name].head(MOST_CATEGORIES).to_list()
    value = pl.col("value")
    segment = pl.when(value.is_in(named)).then(value).when(value.is_not_null()).then(pl.lit(OTHER))
    # A shop's own category of that name is at one with the rest.
    order = [name for name in named if name not in (OTHER, UNKNOWN)] + [OTHER, UNKNOWN]
    frame = pl.DataFrame({"value": values})
    return frame.select(
        segment.otherwise(pl.lit(UNKNOWN)).cast(pl.Enum(order)).alias(values.name)
    ).to_series()


def _bands(values: pl.Series) -> pl.Series:
    known = values.drop_nulls().to_numpy()
    if not known.size:
        return pl.Series(values.name, [UNKNOWN] * len(values), dtype=pl.Enum([UNKNOWN]))
    # Edges are values of the data, so that a band can be named by what is in it.
    edges = np.unique(np.quantile(known, np.arange(1, N_BANDS) / N_BANDS, method="higher"))
    edges = edges[edges > known.min()]
    band = np.searchsorted(edges, values.fill_null(0).to_numpy(), side="right")
    names = [
        _band_name(known[np.searchsorted(edges, known, side="right") == b]) for b in range(edges.size + 1)
    ]
    named = pl.Series(values.name, names, dtype=pl.String).gather(band)
    return named.set(values.is_null(), UNKNOWN).cast(pl.Enum([*dict.fromkeys(names), UNKNOWN]))


def _band_name(values: np.ndarray) -> str:
    """Name a band by its smallest and largest value, with three digits of the larger one."""
    bounds = float(values.min()), float(values.max())
    size = max(map(abs, bounds))
    decimals = (
        max(0, 2 - math.floor(math.log10(size))) if size and not (values == np.round(values)).all() else 0
    )
    low, high = (_without_zeros(f"{bound:,.{decimals}f}") for bound in bounds)
    return low if low == high else f"{low} to {high}"


def _without_zeros(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


def by_segment(label: pl.Series, probability: pl.Series, segment: pl.Series) -> pl.DataFrame:
    """Return mean probability and observed rate of each segment, in the segments' own order.

    Args:
        label: [N] 0 or 1.
        probability: [N] in [0, 1].
        segment: [N] what `segments` gave, or anything that sorts.

    Returns:
        segment (String), n, mean_probability, rate, error (mean probability minus rate), chance (what the size of the
        error stays under in 95 % of all cases where the probabilities are right). Empty segments are left out.
    """
    p = pl.col("p")
    return (
        pl.DataFrame({"segment": segment, "p": probability, "label": label})
        .group_by("segment")
        .agg(
            n=pl.len(),
            mean_probability=p.mean(),
            rate=pl.col("label").mean(),
            error=p.mean() - pl.col("label").mean(),
            # The sum of labels that are drawn with these probabilities has the variance sum(p (1 - p)).
            chance=1.96 * (p * (1 - p)).sum().sqrt() / pl.len(),
        )
        .sort("segment")
        .with_columns(pl.col("segment").cast(pl.String))
    )
