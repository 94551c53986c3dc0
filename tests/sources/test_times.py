"""Written times: each form, against Python's own datetime, and what is never guessed."""

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecbehave.schema import TS
from ecbehave.sources.times import to_utc


def read(texts, time_format="auto", zone="UTC"):
    times = to_utc(pl.Series(texts, strict=False), time_format, zone)
    assert times.dtype == TS
    return times.to_list()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2019-10-01", "2019-10-01T00:00:00"),
        ("2019-10-01 12:34", "2019-10-01T12:34:00"),
        ("2019-10-01T12:34", "2019-10-01T12:34:00"),
        ("2019-10-01 12:34:56", "2019-10-01T12:34:56"),
        ("2019-10-01T12:34:56Z", "2019-10-01T12:34:56"),
        ("2019-10-01 12:34:56 UTC", "2019-10-01T12:34:56"),
        ("2019-10-01 12:34Z", "2019-10-01T12:34:00"),
        ("2019-10-01 12:34:56+02:00", "2019-10-01T10:34:56"),
        ("2019-10-01 12:34:56 +0200", "2019-10-01T10:34:56"),
        ("2019-10-01 12:34:56+00", "2019-10-01T12:34:56"),
        ("2019-10-01T12:34-09:30", "2019-10-01T22:04:00"),
        ("2019-10-01T12:34:56-00:30", "2019-10-01T13:04:56"),
        ("2019-10-01 12:34:56.5", "2019-10-01T12:34:56.500000"),
        ("2019-10-01 12:34:56.123456789Z", "2019-10-01T12:34:56.123456"),
        ("2019-10-01 12:34:56.000001+01:00", "2019-10-01T11:34:56.000001"),
        ("2020-02-29", "2020-02-29T00:00:00"),
        ("881250949", "1997-12-04T15:55:49"),
        ("1569888000", "2019-10-01T00:00:00"),
        ("1569888000.25", "2019-10-01T00:00:00.250000"),
        ("1569888000123", "2019-10-01T00:00:00.123000"),
        ("1569888000123456", "2019-10-01T00:00:00.123456"),
        ("1569888000123456789", "2019-10-01T00:00:00.123457"),
    ],
)
def test_auto(text, expected):
    assert read([text]) == [datetime.fromisoformat(expected).replace(tzinfo=UTC)]


@pytest.mark.parametrize(
    "text",
    [
        "01/02/2017",
        "2017/01/02",
        "02.01.2017",
        "2017-1-2",
        "20170102",
        "2017",
        "17-01-02",
        "yesterday",
        "-1569888000",
        "2017-02-29",
        "2017-13-01",
        "2017-01-01 24:00:00",
        "2017-01-01 12:60",
        "2017-01-01 12:00:60",
        "2017-01-01 12",
        "2017-01-01  12:00",
        "2017-01-01 12:00:00.",
        "2017-01-01 12:00:00.1234567890",
        "2017-01-01Z",
        "2017-01-01 1:00 PM",
        "2017-01-01 12:00:00+15:00",
        "2017-01-01 12:00:00 CET",
        "2017-01-01T12:00:00+02:00[Europe/Berlin]",
        "0000-01-01",
        "0001-01-01",
        "9999-12-31",
        "1.5698e9",
        "nan",
        "15698880001234567890",
        "٢٠١٧-٠١-٠١",
    ],
)
def test_auto_does_not_guess(text):
    assert read([text]) == [None]
    assert read([text], zone="Europe/Berlin") == [None]


def test_forms_may_mix():
    texts = [
        "2019-10-01",
        "2019-10-01 02:00:00+02:00",
        "1569888000",
        None,
        "x",
        "1569888000000",
        "2019-10-01T00:00Z",
    ]
    at = datetime(2019, 10, 1, tzinfo=UTC)
    assert read(texts) == [at, at, at, None, None, at, at]
    naive_first = read(texts, zone="Europe/Berlin")
    assert naive_first == [at - timedelta(hours=2), at, at, None, None, at, at]


def test_nothing_at_all():
    assert read(pl.Series([], dtype=pl.String)) == []
    assert read(pl.Series([None], dtype=pl.String)) == [None]


@pytest.mark.parametrize("time_format", ["auto", "%Y-%m-%d %H:%M"])
def test_clock_changes(time_format):
    texts = [
        "2017-03-26 01:59",
        "2017-03-26 02:30",
        "2017-03-26 03:00",
        "2017-10-29 02:30",
        "2017-10-29 03:00",
    ]
    assert read(texts, time_format, "Europe/Berlin") == [
        datetime(2017, 3, 26, 0, 59, tzinfo=UTC),
        None,
        datetime(2017, 3, 26, 1, 0, tzinfo=UTC),
        datetime(2017, 10, 29, 0, 30, tzinfo=UTC),
        datetime(2017, 10, 29, 2, 0, tzinfo=UTC),
    ]


def test_zoned_times_know_no_clock_change():
    texts = ["2017-03-26 02:30:00+01:00", "2017-10-29 02:30:00+01:00"]
    assert read(texts, zone="Europe/Berlin") == [
        datetime(2017, 3, 26, 1, 30, tzinfo=UTC),
        datetime(2017, 10, 29, 1, 30, tzinfo=UTC),
    ]


@pytest.mark.parametrize(
    ("time_format", "values", "expected"),
    [
        (
            "epoch_s",
            ["1569888000", "1569888000.5", "0", "x", "inf", "1e30"],
            [0, 0.5, -1569888000, None, None, None],
        ),
        ("epoch_ms", ["1569888000000", "1569888000000.25", "20170102"], [0, 0.00025, 20170.102 - 1569888000]),
        ("epoch_s", [1569888000, 2**62, None], [0, None, None]),
        ("epoch_ms", [1569888000000.5, float("nan")], [0.0005, None]),
        ("auto", [1569888000, 1569888000000, 1569888000000000, 20170102, -5], [0, 0, 0, None, None]),
        ("auto", [1569888000.25, float("nan"), float("inf"), 1e30], [0.25, None, None, None]),
        ("%Y%m%d", [20191001, 7], [0, None]),
        ("auto", [True], [None]),
    ],
)
def test_epochs_and_native_numbers(time_format, values, expected):
    start = datetime(2019, 10, 1, tzinfo=UTC)
    times = [None if e is None else start + timedelta(seconds=e) for e in expected]
    series = pl.Series(values)
    assert read(series.cast(pl.String) if series.dtype == pl.Boolean else series, time_format) == times


def test_patterns():
    assert read(["01.10.2019 14:05", "2019-10-01", None], "%d.%m.%Y %H:%M") == [
        datetime(2019, 10, 1, 14, 5, tzinfo=UTC),
        None,
        None,
    ]
    assert read(["01/10/2019"], "%d/%m/%Y", "Europe/Berlin") == [datetime(2019, 9, 30, 22, tzinfo=UTC)]
    assert read(["01/Oct/2019:13:55:36 -0700"], "%d/%b/%Y:%H:%M:%S %z", "Europe/Berlin") == [
        datetime(2019, 10, 1, 20, 55, 36, tzinfo=UTC)
    ]


def test_fractions_of_a_pattern_as_python_writes_them():
    assert read(["2019/10/01 00:00:00.25"], "%Y/%m/%d %H:%M:%S.%f") == [
        datetime(2019, 10, 1, 0, 0, 0, 250_000, tzinfo=UTC)
    ]


def test_impossible_native_times():
    extreme = pl.Series([2**62, -(2**62), 0]).cast(pl.Datetime("us"))
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    assert to_utc(extreme, "auto", "UTC").to_list() == [None, None, epoch]
    assert to_utc(extreme, "auto", "Europe/London").to_list() == [None, None, epoch - timedelta(hours=1)]
    assert to_utc(extreme.dt.replace_time_zone("UTC"), "auto", "Europe/London").to_list() == [
        None,
        None,
        epoch,
    ]


@given(
    time=st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)),
    separator=st.sampled_from(["T", " "]),
    offset=st.none() | st.integers(-14 * 60, 14 * 60),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Apia"]),
)
def test_auto_agrees_with_python(time, separator, offset, zone):
    if offset is not None:
        time = time.replace(tzinfo=timezone(timedelta(minutes=offset)))
        expected = time.astimezone(UTC)
    else:
        expected = time.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
        if expected.astimezone(ZoneInfo(zone)).replace(tzinfo=None) != time:
            expected = None  # the clocks skip it
    assert read([time.isoformat(separator)], zone=zone) == [expected]
