"""Orders of rows, running sums, and visits, against plain Python."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ecbehave.inputs.ordering import (
    LONG_AGO,
    NEVER,
    changes,
    following,
    grouped_order,
    paired,
    running,
    visits,
)


def test_a_running_sum_at_a_position_is_that_of_the_rows_before_it() -> None:
    assert running(np.array([3, -1, 4])).tolist() == [0, 3, 2, 6]
    assert running(np.array([], np.int64)).tolist() == [0]
    flags = running(np.array([True, False, True]))
    assert (flags.tolist(), flags.dtype) == ([0, 1, 1, 2], np.int32)
    assert running(np.array([1], np.int32)).dtype == np.int64


def test_differences_of_running_sums_are_right_beyond_64_bits() -> None:
    sums = running(np.array([2**62, 2**62, 2**62, 5]))
    assert sums[4] - sums[3] == 5
    assert sums[3] - sums[2] == 2**62


def test_changes_and_pairs() -> None:
    assert changes(np.array([1, 1, 2, 2, 1])).tolist() == [True, False, True, False, True]
    assert changes(np.array([])).tolist() == []
    assert paired(np.array([0, 0, 1, 1]), np.array([-1, 1, -1, 0])).tolist() == [0, 2, 3, 4]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(-1, 2)), max_size=12))
def test_a_value_comes_again_when_the_next_row_of_the_pair_is(rows: list[tuple[int, int]]) -> None:
    user = np.array(sorted(u for u, _ in rows), np.int64)
    value, ts = np.array([v for _, v in rows], np.int64), np.arange(len(rows)) * 10
    key, has_value = paired(user, value), np.flatnonzero(value >= 0)
    order = has_value[grouped_order(key[has_value])]
    expected = []
    for i in range(len(rows)):
        again = [ts[j] for j in range(i + 1, len(rows)) if (user[j], value[j]) == (user[i], value[i])]
        expected.append(LONG_AGO if value[i] < 0 else again[0] if again else NEVER)
    assert following(order, key, ts).tolist() == expected


def test_visits_go_by_their_code_or_by_gaps() -> None:
    user = np.array([0, 0, 0, 0, 0, 0, 1, 1])
    ts = np.array([0, 5, 6, 10, 16, 30, 31, 31])
    code = np.array([-1, 7, -1, -1, 7, -1, -1, -1])
    found = visits(user, ts, code, 6)
    number = found.number.tolist()
    # 0 and 6 are 6 apart; 10 is 4 after 6, and 30 is 20 after that. The rows at 5 and 16 share a code.
    assert [number[0], number[2], number[3]] == [number[0]] * 3
    assert number[1] == number[4]
    assert number[6] == number[7]
    assert len(set(number)) == 4
    assert found.is_first.tolist() == [True, True, False, False, False, True, True, False]
    assert found.is_second.tolist() == [False, False, True, False, True, False, False, True]
    assert found.since_last(ts).tolist() == [0, 0, 6, 4, 11, 0, 0, 0]
    assert found.sum_before(np.array([1, 2, 4, 8, 16, 32, 64, 128])).tolist() == [0, 0, 1, 5, 2, 0, 0, 64]


def test_no_rows_are_no_visits() -> None:
    nothing = np.array([], np.int64)
    found = visits(nothing, nothing, nothing, 5)
    assert (
        found.number.tolist()
        == found.since_last(nothing).tolist()
        == found.sum_before(nothing).tolist()
        == []
    )
