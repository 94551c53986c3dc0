"""Selection: constants, near-duplicates and all but the best, each with its reason."""

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecbehave.inputs.transform import selection
from ecbehave.inputs.transform.selection import Reason, all_but_best, constants, near_duplicates
from ecbehave.inputs.types import TableInput
from ecbehave.schema import TABLE_KEYS

CUTOFF = datetime(2024, 3, 1, tzinfo=UTC)


def table(**features: Sequence[float | str | None]) -> TableInput:
    n = len(next(iter(features.values())))
    keys = {"user_hash": range(n), "user_id": [f"u{i}" for i in range(n)], "cutoff": [CUTOFF] * n}
    frame = pl.DataFrame(keys, TABLE_KEYS)
    for name, values in features.items():
        is_text = any(isinstance(value, str) for value in values)
        frame = frame.with_columns(pl.Series(name, values, pl.String if is_text else pl.Float32))
    return TableInput(frame, tuple(features))


def split(whole: TableInput, *places: int) -> list[TableInput]:
    edges = [0, *places, whole.n_rows]
    return [TableInput(whole.frame[a:b], whole.features) for a, b in pairwise(edges)]


def test_constants_are_named_with_their_value() -> None:
    train = table(
        zero=[0, 0, 0],
        big=[1234567, 1234567, 1234567],
        never=[None, None, None],
        known_or_not=[4, None, 4],
        varies=[1, 1, 2],
        word=["a", "a", "a"],
        words=["a", "b", "a"],
    )
    assert constants(split(train, 1), train.features) == {
        "zero": Reason("constant", "constant: 0 in all train rows"),
        "big": Reason("constant", "constant: 1.23457e+06 in all train rows"),
        "never": Reason("constant", "constant: unknown in all train rows"),
        "word": Reason("constant", "constant: a in all train rows"),
    }


def test_what_is_constant_at_each_cutoff_may_differ_between_them() -> None:
    train = [table(x=[1, 1]), table(x=[2, 2])]
    assert constants(train, ("x",)) == {}


def test_without_rows_nothing_is_constant() -> None:
    assert constants([table(x=[]), table(x=[])], ("x",)) == {}


def test_a_near_duplicate_is_named_with_the_one_before_it() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 400))
    train = table(x=x, y=y, twice=2 * x + 7, turned=-x, near=x + 0.02 * y, far=x + y, word=["a", "b"] * 200)
    r = float(np.corrcoef(x, x + 0.02 * y)[0, 1])
    assert near_duplicates(split(train, 100, 250), train.features, 0.999) == {
        "twice": Reason("near-duplicate", "near-duplicate of x (r = 1.0000)"),
        "turned": Reason("near-duplicate", "near-duplicate of x (r = -1.0000)"),
        "near": Reason("near-duplicate", f"near-duplicate of x (r = {r:.4f})"),
    }
    assert list(near_duplicates([train], train.features, 1.0)) == ["twice", "turned"]


def test_only_features_that_are_asked_for_are_compared() -> None:
    train = table(x=[1, 2, 4], y=[1, 2, 4], z=[1, 2, 4])
    assert list(near_duplicates([train], ("y", "z"), 0.999)) == ["z"]


def test_being_unknown_elsewhere_is_a_difference() -> None:
    train = table(
        x=[1, 2, 4, 9, None], other=[1, 2, 4, None, 9], same=[2, 4, 8, 18, None], filled=[1, 2, 4, 9, 16]
    )
    assert list(near_duplicates([train], train.features, 0.999)) == ["same"]


def test_a_feature_follows_one_that_is_kept_not_one_that_is_dropped() -> None:
    """Each is near its neighbour; the third is near the second, which is gone, but not near the first."""
    rng = np.random.default_rng(1)
    a, b, c = np.linalg.qr(rng.normal(size=(500, 3)) - 0)[0].T
    second, third = a + 0.5 * b, a + b
    train = table(first=a, second=second, third=third, noise=c)
    assert list(near_duplicates([train], train.features, 0.88)) == ["second"]


def test_constants_are_nobodys_duplicates() -> None:
    train = table(x=[1, 1, 1], y=[1, 1, 1], z=[None, 1, 1], w=[None, 1, 1])
    assert near_duplicates([train], train.features, 0.5) == {}


@settings(deadline=None, max_examples=50)
@given(
    rows=st.lists(st.lists(st.integers(-3, 3), min_size=4, max_size=4), min_size=2, max_size=30),
    unknown=st.sets(st.integers(0, 29)),
    place=st.integers(0, 30),
)
def test_correlations_equal_numpys(rows: list[list[int]], unknown: set[int], place: int) -> None:
    """Columns a and b are unknown in some rows, c and d in none."""
    a, b, c, d = (list(column) for column in zip(*rows, strict=True))
    ab = [[None if n in unknown else x for n, x in enumerate(column)] for column in (a, b)]
    train = table(a=ab[0], b=ab[1], c=c, d=d)
    groups = {("a", "b"): [n for n in range(len(rows)) if n not in unknown], ("c", "d"): range(len(rows))}
    for names, known in groups.items():
        found = selection._correlations(split(train, min(place, len(rows))), names)
        first, second = ([rows[n]["abcd".index(name)] for n in known] for name in names)
        varies = len(set(first)) > 1 and len(set(second)) > 1
        expected = np.corrcoef(first, second)[0, 1] if varies else 0.0
        assert found[0, 1] == pytest.approx(expected, abs=1e-9)


def test_more_rows_than_fit_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "_BLOCK", 7)
    x, y = np.random.default_rng(2).normal(size=(2, 100)).astype(np.float32)
    found = selection._correlations(split(table(x=x, y=y), 3, 50), ("x", "y"))
    np.testing.assert_allclose(found, np.corrcoef(x, y), atol=1e-9)


def test_the_best_are_kept_and_the_others_told_their_rank() -> None:
    assert all_but_best(("a", "b", "c", "d"), [0.1, 0.5, -1.0, 0.5], 2, "gain") == {
        "a": Reason("rank", "rank 3 of 4 by gain"),
        "c": Reason("rank", "rank 4 of 4 by gain"),
    }


def test_of_equals_the_earlier_one_is_kept() -> None:
    assert list(all_but_best(("a", "b", "c"), [0.0, 0.0, 0.0], 1, "gain")) == ["b", "c"]
