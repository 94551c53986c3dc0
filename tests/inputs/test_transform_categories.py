"""Categories: four encodings beside a slow oracle; rare, new and unknown ones; no label before its time."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecbehave.inputs.transform.transformer import Transformer
from ecbehave.inputs.types import TableInput, Transform
from ecbehave.schema import TABLE_KEYS

CUTOFF = datetime(2024, 3, 1, tzinfo=UTC)
STEP = timedelta(days=14)
Words = Sequence[str | None]
SMOOTHING = 20


def words(values: Words, label: Sequence[int] | None = None, cutoff: datetime = CUTOFF) -> TableInput:
    """A table with the one feature `c`."""
    n = len(values)
    keys = {"user_hash": range(n), "user_id": [f"u{i}" for i in range(n)], "cutoff": [cutoff] * n}
    frame = pl.DataFrame(keys, TABLE_KEYS).with_columns(pl.Series("c", values, pl.String))
    if label is not None:
        frame = frame.with_columns(pl.Series("label", label, pl.Int8))
    return TableInput(frame, ("c",))


def transformed(
    train: Sequence[TableInput],
    later: TableInput,
    ends: dict[datetime, datetime] | None = None,
    **settings: Any,
) -> dict[str, list[Any]]:
    made = Transformer.fit(train, ("c",), Transform(**settings), ends or {}).apply(later)
    return {name: made.frame[name].to_list() for name in made.features}


def group_of(value: str | None, kept: Sequence[str]) -> str:
    return "null" if value is None else f"={value}" if value in kept else "other"


def kept_of(pooled: Words, most: int) -> list[str]:
    n = Counter(value for value in pooled if value is not None)
    return sorted(sorted(n, key=lambda value: (-n[value], value))[:most])


word = st.one_of(st.none(), st.sampled_from(["a", "b", "c", "d", "", "other", "null", "ä"]))
some_parts = st.lists(st.lists(word, max_size=12), min_size=1, max_size=3)


@settings(deadline=None, max_examples=50)
@given(parts=some_parts, later=st.lists(word, max_size=8), most=st.integers(1, 4))
def test_one_hot_equals_the_oracle(parts: list[Words], later: Words, most: int) -> None:
    pooled = [value for part in parts for value in part]
    kept = kept_of(pooled, most)
    groups = {group_of(value, kept) for value in pooled}
    names = {f"={value}": f'c="{value}"' for value in kept} | {"other": "c=other", "null": "c=null"}
    expected = {
        name: [float(group_of(value, kept) == group) for value in later]
        for group, name in names.items()
        if group in groups
    }
    found = transformed([words(part) for part in parts], words(later), encode="one_hot", max_categories=most)
    assert found == expected


@settings(deadline=None, max_examples=50)
@given(parts=some_parts, later=st.lists(word, max_size=8), most=st.integers(1, 4))
def test_ordinal_equals_the_oracle(parts: list[Words], later: Words, most: int) -> None:
    kept = kept_of([value for part in parts for value in part], most)
    order = [*(f"={value}" for value in kept), "other", "null"]
    found = transformed([words(part) for part in parts], words(later), encode="ordinal", max_categories=most)
    assert found == {"c": [float(order.index(group_of(value, kept))) for value in later]}


@settings(deadline=None, max_examples=50)
@given(parts=some_parts, later=st.lists(word, max_size=8), most=st.integers(1, 4))
def test_frequency_equals_the_oracle(parts: list[Words], later: Words, most: int) -> None:
    pooled = [value for part in parts for value in part]
    kept = kept_of(pooled, most)
    n = Counter(group_of(value, kept) for value in pooled)
    expected = [n[group_of(value, kept)] / max(len(pooled), 1) for value in later]
    found = transformed(
        [words(part) for part in parts], words(later), encode="frequency", max_categories=most
    )
    assert found["c"] == pytest.approx(expected)


labelled = st.lists(st.tuples(word, st.integers(0, 1)), max_size=12)


@settings(deadline=None, max_examples=50)
@given(
    parts=st.lists(labelled, min_size=1, max_size=4),
    later=st.lists(word, max_size=8),
    horizon=st.sampled_from([7, 14, 28, 30]),
    most=st.integers(1, 4),
)
def test_target_equals_the_oracle(
    parts: list[list[tuple[str | None, int]]], later: Words, horizon: int, most: int
) -> None:
    """For each cutoff, train or later: only labels whose window had ended by then."""
    cutoffs = [CUTOFF + n * STEP for n in range(len(parts))]
    ends = {cutoff: cutoff + timedelta(days=horizon) for cutoff in cutoffs}
    train = [
        words([value for value, _ in part], [y for _, y in part], cutoff)
        for cutoff, part in zip(cutoffs, parts, strict=True)
    ]
    kept = kept_of([value for part in parts for value, _ in part], most)
    asked = [*((cutoff, [value for value, _ in p]) for cutoff, p in zip(cutoffs, parts, strict=True))]
    asked.append((CUTOFF + timedelta(days=200), list(later)))
    for cutoff, values in asked:
        known = [
            (group_of(value, kept), y)
            for n, part in enumerate(parts)
            if ends[cutoffs[n]] <= cutoff
            for value, y in part
        ]
        expected = []
        for value in values:
            mine = [y for group, y in known if group == group_of(value, kept)]
            base_rate = sum(y for _, y in known) / max(len(known), 1)
            rate = (sum(mine) + SMOOTHING * base_rate) / (len(mine) + SMOOTHING)
            expected.append(rate if known else None)
        found = transformed(train, words(values, cutoff=cutoff), ends, encode="target", max_categories=most)[
            "c"
        ]
        assert [x is None for x in found] == [x is None for x in expected]
        np.testing.assert_allclose(np.array(found, float), np.array(expected, float), rtol=1e-6)


def test_a_label_is_used_from_the_end_of_its_window_on_and_not_a_moment_before() -> None:
    end = CUTOFF + timedelta(days=28)
    train = [words(["a", "b"], [1, 0])]
    before, after = words(["a"], cutoff=end - timedelta(microseconds=1)), words(["a"], cutoff=end)
    assert transformed(train, before, {CUTOFF: end}, encode="target") == {"c": [None]}
    assert transformed(train, after, {CUTOFF: end}, encode="target")["c"] == pytest.approx(
        [(1 + SMOOTHING * 0.5) / (1 + SMOOTHING)]
    )


def test_changed_labels_of_a_cutoff_do_not_reach_rows_that_could_not_know_them() -> None:
    """Three cutoffs two weeks apart with four weeks of labels: the last one knows the first one's."""
    cutoffs = [CUTOFF + n * STEP for n in range(3)]
    ends = {cutoff: cutoff + timedelta(days=28) for cutoff in cutoffs}
    values = ["a", "a", "b", "b"]

    def encoded(labels: Sequence[Sequence[int]]) -> list[list[float | None]]:
        train = [words(values, y, cutoff) for cutoff, y in zip(cutoffs, labels, strict=True)]
        return [transformed(train, part, ends, encode="target")["c"] for part in train]

    truth = encoded([[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0]])
    later_turned = encoded([[1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]])
    first_turned = encoded([[0, 0, 1, 1], [1, 1, 0, 0], [1, 1, 0, 0]])
    assert later_turned == truth
    assert truth[:2] == first_turned[:2] == [[None] * 4] * 2
    assert truth[2] != first_turned[2]


def test_rows_of_several_cutoffs_in_one_table_each_get_what_is_known_at_theirs() -> None:
    ends = {CUTOFF: CUTOFF + STEP, CUTOFF + STEP: CUTOFF + 2 * STEP}
    train = [words(["a", "b"], [1, 0]), words(["a", "b"], [0, 1], CUTOFF + STEP)]
    later = TableInput.concat([words(["a"], [1], CUTOFF + n * STEP) for n in range(4)])
    first = (1 + SMOOTHING * 0.5) / (1 + SMOOTHING)
    found = transformed(train, later, ends, encode="target")["c"]
    assert found[0] is None
    assert found[1:] == pytest.approx([first, 0.5, 0.5])


@pytest.mark.parametrize("encode", ["ordinal", "frequency", "target"])
def test_a_number_of_a_category_is_scaled_like_any_other(encode: str) -> None:
    ends = {CUTOFF: CUTOFF + STEP, CUTOFF + STEP: CUTOFF + 2 * STEP}
    train = [words(["a", "a", "b"], [1, 1, 0]), words(["a", "a", "b"], [1, 0, 0], CUTOFF + STEP)]
    plain = {"encode": encode, "impute": "median"}
    raw = [transformed(train, part, ends, encode=encode)["c"] for part in train]
    known = [x for part in raw for x in part if x is not None]
    found = transformed(train, train[1], ends, **plain, normalise="standard")["c"]
    assert found == pytest.approx([(x - np.mean(known)) / np.std(known) for x in raw[1]], abs=1e-5)
    # The first train cutoff knows no labels yet: there, the median stands in.
    expected = [np.median(known) if x is None else x for x in raw[0]]
    assert transformed(train, train[0], ends, **plain)["c"] == pytest.approx(expected)


def test_no_logarithm_is_taken_of_a_code() -> None:
    skewed = [words(["a"] * 50 + ["b", "c", "d", "e"])]
    assert transformed(skewed, words(["c", "e"]), encode="ordinal", log=True) == {"c": [2.0, 4.0]}


@pytest.mark.parametrize("encode", ["one_hot", "ordinal", "frequency", "target"])
def test_a_new_category_is_other_and_unknown_is_its_own(encode: str) -> None:
    train = [words(["a"] * 5 + ["b"] * 4 + ["rare", None, None], [1] * 5 + [0] * 7)]
    later = words(["rare", "new", None, "a"], cutoff=CUTOFF + STEP)
    made = Transformer.fit(train, ("c",), Transform(encode=encode, max_categories=2), {CUTOFF: CUTOFF + STEP})  # type: ignore[arg-type]
    rare, new, unknown, known = made.apply(later).values.tolist()
    assert rare == new
    assert len({tuple(row) for row in (rare, unknown, known)}) == 3


def test_a_new_category_without_rare_ones_before_has_no_column() -> None:
    assert transformed([words(["a", "b"])], words(["new"]), encode="one_hot") == {
        'c="a"': [0.0],
        'c="b"': [0.0],
    }


def test_all_unknown() -> None:
    never = [words([None, None])]
    assert transformed(never, words([None, "a"]), encode="one_hot") == {"c=null": [1.0, 0.0]}
    assert transformed(never, words([None, "a"]), encode="ordinal") == {"c": [1.0, 0.0]}
    assert transformed(never, words([None, "a"]), encode="frequency") == {"c": [1.0, 0.0]}


@pytest.mark.parametrize("encode", ["one_hot", "ordinal", "frequency", "target"])
def test_no_rows_at_all(encode: str) -> None:
    settings = Transform(encode=encode, normalise="standard")  # type: ignore[arg-type]
    made = Transformer.fit([words([], [])], ("c",), settings, {CUTOFF: CUTOFF + STEP})
    assert made.apply(words([])).n_rows == 0
    assert made.apply(words(["a"])).n_rows == 1


def test_a_tie_in_frequency_keeps_the_first_in_the_alphabet() -> None:
    found = transformed([words(["b", "c", "a"])], words(["a", "b", "c"]), encode="ordinal", max_categories=2)
    assert found == {"c": [0.0, 1.0, 2.0]}


def test_no_category_can_pass_for_another_column() -> None:
    tricky = ['x"', "null", "other", 'b"=c']
    found = transformed(
        [words([*tricky, *tricky, "rare", None])], words(["null"]), encode="one_hot", max_categories=4
    )
    assert list(found) == ['c="b\\"=c"', 'c="null"', 'c="other"', 'c="x\\""', "c=other", "c=null"]
    assert [name for name, [is_it] in found.items() if is_it] == ['c="null"']


def test_contributions_of_columns_add_up_to_those_of_their_feature() -> None:
    both = words(["a", "b", None], [0, 1, 0])
    table = TableInput(both.frame.with_columns(n=pl.Series([1, None, 3], dtype=pl.Float32)), ("n", "c"))
    made = Transformer.fit([table], ("n", "c"), Transform(encode="one_hot", missing_flags=True), {})
    assert made.source_of == {"n": "n", "n=null": "n", 'c="a"': "c", 'c="b"': "c", "c=null": "c"}
    by_column = np.array([[1, 2, 4, 8, 16, 0.5]])
    assert made.by_feature(by_column, ("c", "dropped", "n")).tolist() == [[28, 0, 3, 0.5]]
