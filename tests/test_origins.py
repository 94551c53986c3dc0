"""Several fits over time: a rolling one per test cutoff, and the chain of windows before the test that tuning uses."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ecbehave.config.split import Split
from ecbehave.errors import DataError
from ecbehave.windows import Splits, Window, chain, make_origins, make_splits, midnight

BERLIN = "Europe/Berlin"
DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
LONG_AGO = datetime(2010, 1, 1, tzinfo=UTC)

_DURATIONS = st.one_of(
    st.integers(1, 40).map(lambda n: n * DAY), st.integers(1, 200).map(lambda n: n * 30 * MINUTE)
)
_LAYOUTS = {
    "timezone": st.sampled_from(["UTC", BERLIN, "America/New_York", "Africa/Cairo"]),
    "day": st.dates(date(2024, 1, 1), date(2024, 12, 31)),
    "step": _DURATIONS,
    "horizon": _DURATIONS,
    "counts": st.tuples(st.integers(1, 9), st.integers(1, 3), st.integers(1, 4)),
}


def laid(
    timezone: str, day: date, step: timedelta, horizon: timedelta, counts: tuple[int, int, int]
) -> tuple[Splits, tuple[Splits, ...]]:
    n_train, n_validation, n_test = counts
    split = Split(step=step, train=n_train, validation=n_validation, test=n_test)
    asked = (LONG_AGO, midnight(day, timezone), split, horizon, 28 * DAY, timezone)
    rolling = (*asked[:2], split.model_copy(update={"rolling": True}), *asked[3:])
    assert make_origins(*asked) == (make_splits(*asked),), "one fit, unless it is asked for more"
    return make_splits(*asked), make_origins(*rolling)


@settings(derandomize=True)
@given(**_LAYOUTS)
# The day before 1 April 02:30 is 31 March 02:30, which does not exist: its window is cut short where it validates,
# and not where it is the test window.
@example(timezone=BERLIN, day=date(2024, 4, 3), step=30 * MINUTE, horizon=DAY, counts=(1, 1, 100))
def test_each_fit_knows_only_what_had_happened_by_its_test_cutoff(
    timezone: str, day: date, step: timedelta, horizon: timedelta, counts: tuple[int, int, int]
) -> None:
    splits, origins = laid(timezone, day, step, horizon, counts)
    n_train, n_validation, n_test = counts
    assert len(origins) == n_test
    assert [o.test[0].cutoff for o in origins] == [w.cutoff for w in splits.test]
    for origin in origins:
        assert [len(w) for w in origin.named().values()] == [n_train, n_validation, 1]
        assert all(w.end <= origin.validation[0].cutoff for w in origin.train)
        assert all(w.end <= origin.test[0].cutoff for w in origin.validation)
    windows = {w for o in origins for part in o.named().values() for w in part}
    assert len({w.cutoff for w in windows}) == len(windows), (
        "a cutoff has one label window, whatever it serves"
    )


def _days(*windows: tuple[int, int]) -> tuple[Window, ...]:
    first = datetime(2024, 1, 1, tzinfo=UTC)
    return tuple(Window(first + a * DAY, first + b * DAY) for a, b in windows)


def test_rolling_fits_are_shifted_by_a_step_and_share_their_cutoffs() -> None:
    split = Split(step=7 * DAY, train=2, validation=1, test=3, rolling=True)
    end = datetime(2024, 1, 1, tzinfo=UTC) + 100 * DAY
    origins = make_origins(LONG_AGO, end, split, 14 * DAY, 28 * DAY, "UTC")
    assert origins == (
        Splits(_days((37, 51), (44, 58)), _days((58, 72)), _days((72, 86))),
        Splits(_days((44, 58), (51, 65)), _days((65, 79)), _days((79, 93))),
        Splits(_days((51, 65), (58, 72)), _days((72, 86)), _days((86, 100))),
    )
    cutoffs = {w.cutoff for o in origins for part in o.named().values() for w in part}
    assert len(cutoffs) == 8, "twelve windows at eight cutoffs: features are built once for each"


def test_rolling_needs_no_more_log_than_one_fit_does() -> None:
    end, one = datetime(2024, 3, 31, tzinfo=UTC), Split(step=7 * DAY, train=2, test=3)
    rolling = Split(step=7 * DAY, train=2, test=3, rolling=True)
    first = make_origins(LONG_AGO, end, one, 7 * DAY, 28 * DAY, "UTC")[0].train[0].cutoff
    start = first - 28 * DAY
    assert make_origins(start, end, rolling, 7 * DAY, 28 * DAY, "UTC")[0].train[0].cutoff == first
    messages = []
    for split in (one, rolling):
        with pytest.raises(DataError) as error:
            make_origins(start + MINUTE, end, split, 7 * DAY, 28 * DAY, "UTC")
        messages.append(str(error.value))
    assert messages[0] == messages[1]


@settings(derandomize=True)
@given(**_LAYOUTS)
def test_a_chain_predicts_from_what_was_known(
    timezone: str, day: date, step: timedelta, horizon: timedelta, counts: tuple[int, int, int]
) -> None:
    splits, _ = laid(timezone, day, step, horizon, counts)
    windows, n_validation = splits.train + splits.validation, counts[1]
    chained = chain(windows, n_validation)
    asked = [o.test[0] for o in chained]
    assert asked == sorted(asked, key=lambda w: w.cutoff, reverse=True)
    for origin in chained:
        assert len(origin.validation) <= n_validation
        assert all(w.end <= origin.validation[0].cutoff for w in origin.train)
        assert all(w.end <= origin.test[0].cutoff for w in origin.validation)
    # By hand: a window can be predicted if an earlier one validates, and one before that trains.
    for window in windows:
        known = [w for w in windows if w.end <= window.cutoff]
        validating = known[-n_validation:]
        trains = [w for w in known if validating and w.end <= validating[0].cutoff]
        assert (window in asked) == bool(trains)


def test_a_chain_by_hand() -> None:
    windows = _days((0, 14), (7, 21), (14, 28), (21, 35), (28, 42), (42, 56))
    assert chain(windows, 1) == (
        Splits(windows[:3], windows[4:5], windows[5:6]),
        Splits(windows[:1], windows[2:3], windows[4:5]),
    )
    assert chain(windows, 2) == (Splits(windows[:2], windows[3:5], windows[5:6]),)
    assert chain(windows[:4], 1) == ()
    assert chain((), 1) == ()


def test_a_chain_never_takes_what_ends_a_moment_too_late() -> None:
    windows = _days((0, 7), (7, 14), (14, 21))
    assert chain(windows, 1) == (Splits(windows[:1], windows[1:2], windows[2:]),)
    late = timedelta(microseconds=1)
    for n in (0, 1):
        moved = list(windows)
        moved[n] = replace(windows[n], end=windows[n].end + late)
        assert chain(moved, 1) == ()
