"""Numbers: logarithm, imputation, flags and scales, beside a slow oracle, learned from the train rows alone."""

import math
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecbehave.inputs.transform.numbers import Scale
from ecbehave.inputs.transform.transformer import Transformer
from ecbehave.inputs.types import TableInput, Transform
from ecbehave.schema import TABLE_KEYS

CUTOFF = datetime(2024, 3, 1, tzinfo=UTC)
Values = Sequence[float | None]


def numbers(cutoff: datetime = CUTOFF, **features: Values) -> TableInput:
    """A table of numbers; the label is 1 in every other row."""
    n = len(next(iter(features.values())))
    keys = {"user_hash": range(n), "user_id": [f"u{i}" for i in range(n)], "cutoff": [cutoff] * n}
    frame = pl.DataFrame(keys, TABLE_KEYS).with_columns(
        pl.Series("label", [i % 2 for i in range(n)], pl.Int8),
        *(pl.Series(name, values, pl.Float32) for name, values in features.items()),
    )
    return TableInput(frame, tuple(features))


def transformed(train: Sequence[TableInput], later: TableInput, **settings: Any) -> dict[str, list[Any]]:
    made = Transformer.fit(train, later.features, Transform(**settings), {}).apply(later)
    return {name: made.frame[name].to_list() for name in made.features}


def oracle(train: Values, later: Values, settings: Transform) -> list[float | None]:
    """The same, value by value, in plain Python."""
    known = [x for x in train if x is not None]
    fill = {"none": None, "zero": 0.0, "median": statistics.median(known) if known else 0.0}[settings.impute]

    def log(x: float) -> float:
        return math.copysign(math.log1p(abs(x)), x)

    if not (settings.log and skewness(known) > 1):
        log = float
    logged = [log(x) for x in known]
    centre, width = 0.0, 1.0
    if logged and settings.normalise == "standard":
        centre, width = statistics.fmean(logged), statistics.pstdev(logged)
    elif logged and settings.normalise == "min_max":
        centre, width = min(logged), max(logged) - min(logged)
    elif logged and settings.normalise == "robust":
        low, centre, high = quantiles(logged)
        width = high - low or statistics.pstdev(logged)
    if known and min(known) == max(known):
        width = 1.0
    filled = [fill if x is None else x for x in later]
    return [None if x is None else (log(x) - centre) / (width or 1.0) for x in filled]


def skewness(known: Sequence[float]) -> float:
    if len(set(known)) < 2:
        return 0.0
    mean = statistics.fmean(known)
    third = statistics.fmean((x - mean) ** 3 for x in known)
    return float(third / statistics.fmean((x - mean) ** 2 for x in known) ** 1.5)


def quantiles(values: Sequence[float]) -> tuple[float, float, float]:
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


number = st.one_of(st.none(), st.sampled_from([0.0, 1.0, 2.0]), st.floats(-1e3, 1e3, width=32))


@settings(deadline=None, max_examples=50)
@given(
    parts=st.lists(st.lists(number, max_size=12), min_size=1, max_size=3),
    later=st.lists(number, max_size=8),
    normalise=st.sampled_from(["none", "standard", "min_max", "robust"]),
    impute=st.sampled_from(["none", "median", "zero"]),
    log=st.booleans(),
)
def test_every_setting_equals_the_oracle(
    parts: list[Values], later: Values, normalise: Any, impute: Any, log: bool
) -> None:
    settings = Transform(normalise=normalise, impute=impute, log=log)
    train = [numbers(x=part) for part in parts]
    pooled = [x for part in parts for x in part]
    known = [x for x in pooled if x is not None]
    # A width of rounding errors, or a skewness just at the limit, is not the same in two computations.
    if (known and 0 < max(known) - min(known) < 1e-3) or abs(skewness(known) - 1) < 1e-6:
        return
    found = transformed(train, numbers(x=later), normalise=normalise, impute=impute, log=log)["x"]
    expected = oracle(pooled, later, settings)
    assert [x is None for x in found] == [x is None for x in expected]
    np.testing.assert_allclose(
        np.array(found, dtype=float), np.array(expected, dtype=float), rtol=1e-4, atol=1e-4
    )


def test_trees_get_their_numbers_as_they_are_stored() -> None:
    stored = numbers(x=[1.5, None, -3.25])
    made = Transformer.fit([numbers(x=[7, None, 2])], ("x",), Transform(), {}).apply(stored)
    assert made.frame.equals(stored.frame)
    assert made.features == ("x",)


@pytest.mark.parametrize(
    ("normalise", "expected"),
    [
        ("standard", [-1.0, 1.0, 3.0]),
        ("min_max", [0.0, 1.0, 2.0]),
        ("robust", [-1.0, 1.0, 3.0]),
    ],
)
def test_later_rows_may_lie_outside_of_what_was_learned(normalise: str, expected: list[float]) -> None:
    found = transformed([numbers(x=[10, 20])], numbers(x=[10, 20, 30]), normalise=normalise)
    assert found == {"x": expected}


def test_the_robust_scale_hardly_feels_one_wild_value() -> None:
    """Half of 1 to 101 lies between 26 and 76."""
    wild = [float(x) for x in range(1, 101)] + [1e9]
    assert transformed([numbers(x=wild)], numbers(x=[51, 76]), normalise="robust") == {"x": [0.0, 0.5]}


def test_where_half_of_the_values_are_equal_the_deviation_is_the_width() -> None:
    found = transformed([numbers(x=[0, 0, 0, 0, 0, 0, 0, 8])], numbers(x=[0, 8]), normalise="robust")["x"]
    assert found == pytest.approx([0, 8 / statistics.pstdev([0] * 7 + [8])])


@pytest.mark.parametrize("normalise", ["standard", "min_max", "robust"])
@pytest.mark.parametrize("value", [0.1, -7.0])
def test_a_constant_becomes_zero(normalise: str, value: float) -> None:
    found = transformed([numbers(x=[value] * 7)], numbers(x=[value, None]), normalise=normalise)
    assert found == {"x": [0.0, None]}


def test_the_deviation_of_equal_values_is_not_their_rounding() -> None:
    rates = np.full(7, 0.1)
    assert rates.std() > 0
    assert Scale.fit(rates, Transform(normalise="standard")).width == 1.0


def test_a_feature_that_was_never_known_is_left_alone_or_filled_with_zero() -> None:
    never, later = [numbers(x=[None, None])], numbers(x=[None, 4])
    assert transformed(never, later, normalise="standard") == {"x": [None, 4.0]}
    assert transformed(never, later, normalise="standard", impute="median") == {"x": [0.0, 4.0]}


def test_the_scale_is_that_of_the_known_values() -> None:
    """Filled-in values would make the spread look smaller than it is."""
    known, with_unknown = [numbers(x=[1, 2, 9])], [numbers(x=[1, 2, 9, None, None, None])]
    later = numbers(x=[1, 9])
    settings = {"normalise": "standard", "impute": "median"}
    assert transformed(known, later, **settings) == transformed(with_unknown, later, **settings)


def test_the_logarithm_is_of_long_tails_only_and_keeps_the_sign() -> None:
    tail, even = [1.0] * 30 + [500.0], [float(x) for x in range(31)]
    found = transformed([numbers(t=tail, e=even)], numbers(t=[-9, 0, 9], e=[-9, 0, 9]), log=True)
    assert found["t"] == pytest.approx([-math.log(10), 0, math.log(10)])
    assert found["e"] == [-9, 0, 9]


def test_a_flag_says_where_a_number_is_unknown() -> None:
    train = [numbers(x=[1, None, 3], y=[1, 2, 3])]
    found = transformed(train, numbers(x=[None, 5], y=[None, 5]), impute="median", missing_flags=True)
    assert found == {"x": [2.0, 5.0], "x=null": [1.0, 0.0], "y": [2.0, 5.0]}


def test_no_rows_at_all() -> None:
    later = numbers(x=[])
    made = Transformer.fit([numbers(x=[])], ("x",), Transform(normalise="standard", impute="median"), {})
    assert made.apply(later).values.shape == (0, 1)


def test_what_is_not_asked_for_is_left_out() -> None:
    made = Transformer.fit([numbers(x=[1], y=[2])], ("y",), Transform(), {})
    later = made.apply(numbers(x=[1], y=[2]))
    assert later.features == ("y",)
    assert later.frame.columns == [*TABLE_KEYS, "label", "y"]


def test_a_row_is_transformed_the_same_in_any_company() -> None:
    rng = np.random.default_rng(0)
    table = numbers(x=rng.lognormal(size=999).tolist(), y=rng.normal(size=999).tolist())
    settings = Transform(normalise="standard", log=True, impute="median")
    made = Transformer.fit([table], table.features, settings, {})
    whole = made.apply(table).frame
    alone = pl.concat(
        [made.apply(TableInput(table.frame[i : i + 1], table.features)).frame for i in range(999)]
    )
    assert alone.equals(whole)


def test_a_scale_without_width_is_refused() -> None:
    with pytest.raises(ValueError, match="a scale needs finite numbers and a width above 0"):
        Scale(width=0.0)
    with pytest.raises(ValueError, match="a scale needs finite numbers and a width above 0"):
        Scale(fill=math.inf)
