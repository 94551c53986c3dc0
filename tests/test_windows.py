"""Cutoffs by hand, at the days when clocks change; splits that never overlap; messages to the letter."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ecbehave.config.split import Split
from ecbehave.errors import DataError
from ecbehave.windows import (
    Span,
    Splits,
    Window,
    days_until,
    describe,
    future,
    history,
    label,
    last_day,
    local_day,
    log_end,
    make_splits,
    midnight,
    shift,
    spans,
)

BERLIN, NEW_YORK, CAIRO = "Europe/Berlin", "America/New_York", "Africa/Cairo"
DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
MICROSECOND = timedelta(microseconds=1)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type, misc]


@pytest.mark.parametrize(
    ("timezone", "day", "begins"),
    [
        ("UTC", date(2024, 3, 1), utc(2024, 3, 1)),
        (BERLIN, date(2024, 3, 30), utc(2024, 3, 29, 23)),
        (BERLIN, date(2024, 3, 31), utc(2024, 3, 30, 23)),
        (BERLIN, date(2024, 4, 1), utc(2024, 3, 31, 22)),
        (BERLIN, date(2024, 10, 27), utc(2024, 10, 26, 22)),
        (BERLIN, date(2024, 10, 28), utc(2024, 10, 27, 23)),
        (NEW_YORK, date(2024, 3, 10), utc(2024, 3, 10, 5)),
        (NEW_YORK, date(2024, 3, 11), utc(2024, 3, 11, 4)),
        (NEW_YORK, date(2024, 11, 3), utc(2024, 11, 3, 4)),
        (NEW_YORK, date(2024, 11, 4), utc(2024, 11, 4, 5)),
        ("Pacific/Kiritimati", date(2024, 6, 1), utc(2024, 5, 31, 10)),
        # The clock jumps from 00:00 to 01:00: the day begins at 01:00.
        (CAIRO, date(2024, 4, 26), utc(2024, 4, 25, 22)),
    ],
)
def test_a_day_begins_at_local_midnight(timezone: str, day: date, begins: datetime) -> None:
    assert midnight(day, timezone) == begins
    assert midnight(day, timezone).tzinfo is UTC
    assert local_day(begins, timezone) == day
    assert local_day(begins - MICROSECOND, timezone) == day - DAY


@pytest.mark.parametrize(
    ("timezone", "short", "long"),
    [
        (BERLIN, date(2024, 3, 31), date(2024, 10, 27)),
        (NEW_YORK, date(2024, 3, 10), date(2024, 11, 3)),
        (CAIRO, date(2024, 4, 26), date(2024, 10, 31)),
    ],
)
def test_whole_days_are_calendar_days_of_23_and_25_hours(timezone: str, short: date, long: date) -> None:
    for day, hours in ((short, 23), (long, 25)):
        begins, ends = midnight(day, timezone), midnight(day + DAY, timezone)
        assert ends - begins == hours * HOUR
        assert shift(begins, DAY, timezone) == ends
        assert last_day(ends, timezone) == last_day(begins + MICROSECOND, timezone) == day
        assert shift(ends, -DAY, timezone) == begins
        assert shift(midnight(day - 3 * DAY, timezone), 7 * DAY, timezone) == midnight(
            day + 4 * DAY, timezone
        )


def test_other_durations_are_elapsed_time() -> None:
    before = midnight(date(2024, 3, 31), BERLIN)
    assert shift(before, 12 * HOUR, BERLIN) == before + 12 * HOUR == utc(2024, 3, 31, 11)
    assert shift(before, 36 * HOUR, BERLIN) == before + 36 * HOUR
    assert shift(before, 24 * HOUR, BERLIN) == before + 23 * HOUR, "24h is a whole day, however it is written"
    assert shift(before, -30 * MINUTE, BERLIN) == before - 30 * MINUTE


def test_shift_by_days_keeps_the_time_of_day() -> None:
    noon = datetime(2024, 3, 30, 12, tzinfo=ZoneInfo(BERLIN)).astimezone(UTC)
    assert shift(noon, DAY, BERLIN) == noon + 23 * HOUR
    assert shift(noon, -DAY, BERLIN) == noon - DAY


def test_shift_from_a_day_that_begins_at_one_o_clock_leads_to_midnights() -> None:
    begins = midnight(date(2024, 4, 26), CAIRO)
    assert shift(begins, DAY, CAIRO) == midnight(date(2024, 4, 27), CAIRO)
    assert shift(begins, -7 * DAY, CAIRO) == midnight(date(2024, 4, 19), CAIRO)


@settings(derandomize=True)
@given(
    timezone=st.sampled_from(["UTC", BERLIN, NEW_YORK, CAIRO, "America/Santiago", "Pacific/Kiritimati"]),
    day=st.dates(date(2023, 1, 1), date(2026, 1, 1)),
    n=st.integers(-400, 400),
)
def test_whole_days_from_a_midnight_always_lead_to_a_midnight(timezone: str, day: date, n: int) -> None:
    assert shift(midnight(day, timezone), n * DAY, timezone) == midnight(day + n * DAY, timezone)


def _kept(select: pl.Expr, *instants: datetime) -> list[datetime]:
    events = pl.DataFrame({"ts": instants}, schema={"ts": pl.Datetime("us", "UTC")})
    return events.filter(select)["ts"].to_list()


def test_history_and_future_meet_at_the_cutoff_and_share_nothing() -> None:
    cutoff, end, since = utc(2024, 3, 2), utc(2024, 3, 9), utc(2024, 3, 1)
    instants = [t + d for t in (since, cutoff, end) for d in (-MICROSECOND, timedelta(), MICROSECOND)]
    assert _kept(history(cutoff), *instants) == instants[:4]
    assert _kept(history(cutoff, since), *instants) == instants[1:4]
    assert _kept(future(cutoff, end), *instants) == instants[4:7]


def test_spans_end_at_the_cutoff_and_have_one_of_their_length_before_them() -> None:
    cutoff = midnight(date(2024, 4, 2), BERLIN)
    assert spans(cutoff, [12 * HOUR, DAY, 7 * DAY], BERLIN) == (
        Span("12h", cutoff - 12 * HOUR, cutoff - DAY),
        Span("1d", utc(2024, 3, 31, 22), utc(2024, 3, 30, 23)),
        Span("7d", utc(2024, 3, 25, 23), utc(2024, 3, 18, 23)),
    )


def test_days_until_is_elapsed_time_whatever_the_clocks_did() -> None:
    cutoff = midnight(date(2024, 4, 1), BERLIN)
    events = pl.DataFrame({"ts": [midnight(date(2024, 3, 31), BERLIN), cutoff - 6 * HOUR, None]})
    events = events.cast(pl.Datetime("us", "UTC"))
    days = events.select(days_until(cutoff, pl.col("ts"))).to_series()
    assert days.dtype == pl.Float32
    assert days.to_list() == [pytest.approx(23 / 24), 0.25, None]


@pytest.mark.parametrize(
    ("received", "end"),
    [
        # Written days later: the day of the last event counts as complete.
        (utc(2024, 4, 9), utc(2024, 4, 1, 22)),
        # Written the moment the day was over.
        (utc(2024, 4, 1, 22), utc(2024, 4, 1, 22)),
        # Written a microsecond before that: the day was not over.
        (utc(2024, 4, 1, 22) - MICROSECOND, utc(2024, 3, 31, 22)),
        # Written on an earlier day than the last event, by a clock that was behind.
        (utc(2024, 3, 31, 12), utc(2024, 3, 30, 23)),
    ],
)
def test_log_ends_with_its_last_complete_day(received: datetime, end: datetime) -> None:
    assert log_end(utc(2024, 4, 1, 21, 59, 59), received, BERLIN) == end


def _days(*windows: tuple[date, date]) -> tuple[Window, ...]:
    return tuple(Window(midnight(a, BERLIN), midnight(b, BERLIN)) for a, b in windows)


def test_splits_are_laid_backwards_from_the_end_over_a_change_of_clocks() -> None:
    split = Split(step=7 * DAY, train=3, validation=1, test=2)
    end = midnight(date(2024, 5, 1), BERLIN)
    splits = make_splits(utc(2024, 1, 1), end, split, 14 * DAY, 28 * DAY, BERLIN)
    assert splits == Splits(
        train=_days(
            (date(2024, 2, 28), date(2024, 3, 13)),
            (date(2024, 3, 6), date(2024, 3, 20)),
            (date(2024, 3, 13), date(2024, 3, 27)),
        ),
        validation=_days((date(2024, 3, 27), date(2024, 4, 10))),
        test=_days((date(2024, 4, 10), date(2024, 4, 24)), (date(2024, 4, 17), date(2024, 5, 1))),
    )
    assert splits.named() == {"train": splits.train, "validation": splits.validation, "test": splits.test}


def test_splits_of_hours() -> None:
    end = midnight(date(2024, 4, 1), BERLIN)
    split = Split(step=6 * HOUR, train=2, validation=1, test=1)
    splits = make_splits(utc(2024, 3, 1), end, split, 12 * HOUR, DAY, BERLIN)
    test, validation = end - 12 * HOUR, end - 24 * HOUR
    assert splits.test == (Window(test, end),)
    assert splits.validation == (Window(validation, test),)
    assert [w.cutoff for w in splits.train] == [end - 42 * HOUR, end - 36 * HOUR]
    assert splits.train[-1].end == validation


def test_first_train_cutoff_may_have_exactly_the_history_that_it_needs() -> None:
    end, split = utc(2024, 3, 31), Split(step=7 * DAY, train=1)
    first = utc(2024, 3, 10)
    fits = make_splits(first - 28 * DAY, end, split, 7 * DAY, 28 * DAY, "UTC")
    assert fits.train[0].cutoff == first
    with pytest.raises(DataError):
        make_splits(first - 28 * DAY + MICROSECOND, end, split, 7 * DAY, 28 * DAY, "UTC")


def _too_short(start: datetime, end: datetime, split: Split) -> str:
    with pytest.raises(DataError) as error:
        make_splits(start, end, split, 14 * DAY, 28 * DAY, "UTC")
    return str(error.value)


def test_too_short_says_how_many_train_cutoffs_fit() -> None:
    start, end = utc(2024, 1, 3), utc(2024, 4, 10)
    split = Split(step=7 * DAY, train=8)
    assert _too_short(start, end, split) == (
        "no complete horizon for every cutoff: the log's complete days are 2024-01-03 to 2024-04-09 (98 days), "
        "but 8 train, 1 validation and 1 test cutoffs with horizon 14d, step 7d and 28d of history before the "
        "first one need 119 days; set split.train to 5, or shorten split.step"
    )
    assert len(make_splits(start, end, Split(step=7 * DAY, train=5), 14 * DAY, 28 * DAY, "UTC").train) == 5
    assert "set split.train to 5" in _too_short(start, end, Split(step=7 * DAY, train=6))


def test_too_short_for_any_train_cutoff() -> None:
    assert _too_short(utc(2024, 1, 1), utc(2024, 2, 10), Split(step=7 * DAY, train=2, test=2)) == (
        "no complete horizon for every cutoff: the log's complete days are 2024-01-01 to 2024-02-09 (40 days), "
        "but 2 train, 1 validation and 2 test cutoffs with horizon 14d, step 7d and 28d of history before the "
        "first one need 84 days; shorten task.horizon, task.active_within or split.step, or bring more data"
    )


def test_too_short_without_a_complete_day() -> None:
    text = _too_short(utc(2024, 1, 1, 9), utc(2024, 1, 1), Split(train=1))
    assert "the log has no complete day," in text
    assert text.endswith(
        "need 70 days; shorten task.horizon, task.active_within or split.step, or bring more data"
    )


_DURATIONS = st.one_of(
    st.integers(1, 40).map(lambda n: n * DAY), st.integers(1, 200).map(lambda n: n * 30 * MINUTE)
)


@settings(derandomize=True)
@given(
    timezone=st.sampled_from(["UTC", BERLIN, NEW_YORK, CAIRO, "Pacific/Kiritimati"]),
    day=st.dates(date(2024, 1, 1), date(2024, 12, 31)),
    step=_DURATIONS,
    horizon=_DURATIONS,
    counts=st.tuples(st.integers(1, 9), st.integers(1, 3), st.integers(1, 3)),
)
# The validation windows end at 03:00, when clocks have just jumped from 02:00: 02:30 does not exist.
@example(timezone=BERLIN, day=date(2024, 4, 2), step=30 * MINUTE, horizon=DAY, counts=(9, 2, 43))
def test_no_label_window_reaches_into_the_next_split(
    timezone: str, day: date, step: timedelta, horizon: timedelta, counts: tuple[int, int, int]
) -> None:
    end = midnight(day, timezone)
    n_train, n_validation, n_test = counts
    split = Split(step=step, train=n_train, validation=n_validation, test=n_test)
    splits = make_splits(utc(2010, 1, 1), end, split, horizon, 28 * DAY, timezone)
    assert [len(w) for w in splits.named().values()] == [n_train, n_validation, n_test]
    for windows, limit in zip(
        splits.named().values(), (splits.validation[0].cutoff, splits.test[0].cutoff, end), strict=True
    ):
        cutoffs = [w.cutoff for w in windows]
        assert cutoffs == sorted(set(cutoffs)), "ascending, each once"
        assert all(w.cutoff < w.end <= limit for w in windows)
        assert windows[-1].end == limit, "the latest horizon is used to its end"


@settings(derandomize=True)
@given(
    n_days=st.integers(0, 200),
    step=st.integers(1, 30),
    horizon=st.integers(1, 30),
    lead=st.integers(1, 60),
    counts=st.tuples(st.integers(1, 12), st.integers(1, 3), st.integers(1, 3)),
)
def test_splits_fit_or_the_suggested_number_does(
    n_days: int, step: int, horizon: int, lead: int, counts: tuple[int, int, int]
) -> None:
    start = utc(2024, 1, 1)
    n_train, n_validation, n_test = counts

    def lay(train: int) -> Splits:
        split = Split(step=step * DAY, train=train, validation=n_validation, test=n_test)
        return make_splits(start, start + n_days * DAY, split, horizon * DAY, lead * DAY, "UTC")

    needed = lead + 3 * horizon + (n_train + n_validation + n_test - 3) * step
    if n_days >= needed:
        assert lay(n_train).train[0].cutoff >= start + lead * DAY
        return
    with pytest.raises(DataError, match=f"need {needed} days") as error:
        lay(n_train)
    suggested = str(error.value).partition("set split.train to ")[2].partition(",")[0]
    fitting = [n for n in range(1, n_train) if needed - (n_train - n) * step <= n_days]
    assert suggested == (str(max(fitting)) if fitting else "")
    if fitting:
        assert len(lay(int(suggested)).train) == int(suggested)


def test_label_is_the_day_and_the_time_where_it_is_not_midnight() -> None:
    assert label(utc(2024, 3, 31, 22), BERLIN) == "2024-04-01"
    assert label(utc(2024, 4, 1), BERLIN) == "2024-04-01T000000Z"
    assert label(utc(2024, 4, 25, 22), CAIRO) == "2024-04-26", "the day that begins at one o'clock"


def test_labels_differ_in_the_hour_that_comes_twice() -> None:
    hours = [utc(2024, 10, 27) + n * HOUR for n in range(3)]
    assert {label(t, BERLIN) for t in hours} == {f"2024-10-27T0{n}0000Z" for n in range(3)}


def test_describe_names_cutoffs_and_the_last_day_of_labels() -> None:
    windows = _days((date(2024, 3, 27), date(2024, 4, 10)), (date(2024, 4, 3), date(2024, 4, 17)))
    assert describe(windows[:1], BERLIN) == "1 cutoff (2024-03-27), labels 2024-03-27 to 2024-04-09"
    assert (
        describe(windows, BERLIN) == "2 cutoffs (2024-03-27 to 2024-04-03), labels 2024-03-27 to 2024-04-16"
    )


def test_describe_labels_of_hours_end_on_the_day_they_end() -> None:
    windows = [Window(utc(2024, 3, 27, 6), utc(2024, 3, 27, 18))]
    assert describe(windows, "UTC") == "1 cutoff (2024-03-27), labels 2024-03-27 to 2024-03-27"
