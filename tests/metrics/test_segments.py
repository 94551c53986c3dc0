"""Segments of rows, and how probabilities do in each."""

import numpy as np
import polars as pl
import pytest

from ecbehave.metrics.segments import MOST_CATEGORIES, by_segment, segments


def names(values: pl.Series) -> list[str]:
    return segments(values).cast(pl.String).to_list()


def test_a_number_is_cut_into_quarters_named_by_what_is_in_them() -> None:
    found = segments(pl.Series("days", np.arange(1, 101, dtype=np.float32)))
    counted = found.value_counts().sort("days")
    assert counted["days"].cast(pl.String).to_list() == ["1 to 25", "26 to 50", "51 to 75", "76 to 100"]
    assert counted["count"].to_list() == [25] * 4


def test_equal_numbers_share_a_band() -> None:
    assert names(pl.Series([1.0, 1, 1, 1, 1, 1, 2, 9])) == ["1"] * 6 + ["2 to 9"] * 2
    assert names(pl.Series([3.0, 3, 3])) == ["3"] * 3


def test_unknown_numbers_stand_last() -> None:
    found = segments(pl.Series([None, 5.0, 1.0, float("nan")]))
    assert found.cast(pl.String).to_list() == ["unknown", "5", "1", "unknown"]
    assert found.sort().cast(pl.String).to_list() == ["1", "5", "unknown", "unknown"]
    assert names(pl.Series([None, None], dtype=pl.Float32)) == ["unknown"] * 2


def test_every_number_is_in_the_band_that_names_it() -> None:
    values = pl.Series(np.random.default_rng(0).gamma(2, 10, 999).round(1))
    for value, name in zip(values, names(values), strict=True):
        low, _, high = name.partition(" to ")
        assert float(low) <= value <= float(high or low)


def test_categories_are_ordered_by_frequency_and_the_rare_ones_share_one() -> None:
    common = [f"c{i:02d}" for i in range(MOST_CATEGORIES)]
    rows = [name for i, name in enumerate(common) for _ in range(20 - i)] + ["rare1", "rare2", None]
    found = segments(pl.Series(rows, dtype=pl.String))
    assert found.unique().sort().cast(pl.String).to_list() == [*common, "other", "unknown"]
    assert found.cast(pl.String).to_list()[-3:] == ["other", "other", "unknown"]


def test_equally_frequent_categories_stand_by_name() -> None:
    assert segments(pl.Series(["b", "a"])).sort().cast(pl.String).to_list() == ["a", "b"]


def test_a_category_that_is_called_other() -> None:
    assert names(pl.Series(["other", "other", "x", "unknown"])) == ["other", "other", "x", "unknown"]


def test_rates_by_hand() -> None:
    label, p = pl.Series([1, 0, 0, 1, 1]), pl.Series([0.5, 0.5, 0.2, 0.9, 0.8])
    found = by_segment(label, p, pl.Series(["b", "b", "b", "a", "a"]))
    assert found.columns == ["segment", "n", "mean_probability", "rate", "error", "chance"]
    assert found["segment"].to_list() == ["a", "b"]
    assert found["n"].to_list() == [2, 3]
    assert found["mean_probability"].to_list() == pytest.approx([0.85, 0.4])
    assert found["rate"].to_list() == pytest.approx([1, 1 / 3])
    assert found["error"].to_list() == pytest.approx([-0.15, 0.4 - 1 / 3])
    variance = [(0.9 * 0.1 + 0.8 * 0.2), (0.5 * 0.5 * 2 + 0.2 * 0.8)]
    assert found["chance"].to_list() == pytest.approx(
        [1.96 * v**0.5 / n for v, n in zip(variance, (2, 3), strict=True)]
    )


def test_right_probabilities_are_within_chance_in_about_nineteen_of_twenty_segments() -> None:
    rng = np.random.default_rng(1)
    p = rng.beta(2, 5, 60_000)
    found = by_segment(
        pl.Series((rng.random(p.size) < p).astype(np.int8)),
        pl.Series(p),
        pl.Series(rng.integers(0, 300, p.size)),
    )
    within = (found["error"].abs() <= found["chance"]).mean()
    assert 0.91 < within < 0.99
