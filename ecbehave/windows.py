"""Cutoffs, horizons and splits: the only place for time rules.

`history` is `ts < cutoff`; the `future` of a label is `cutoff <= ts < cutoff + horizon`. Durations of whole
days move by calendar days in the shop's zone (a day may have 23 or 25 hours), others by elapsed time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import polars as pl

from ecbehave.config.split import Split
from ecbehave.config.values import format_duration
from ecbehave.errors import DataError

_DAY = timedelta(days=1)
_INSTANT = timedelta(microseconds=1)


def midnight(day: date, timezone: str) -> datetime:
    """Return the instant (UTC) at which `day` begins in the shop's zone."""
    return datetime.combine(day, time(), ZoneInfo(timezone)).astimezone(UTC)


def local_day(instant: datetime, timezone: str) -> date:
    """Return the calendar day of `instant` in the shop's zone."""
    return instant.astimezone(ZoneInfo(timezone)).date()


def last_day(end: datetime, timezone: str) -> date:
    """Return the last calendar day of a stretch of time that ends, exclusive, at `end`."""
    return local_day(end - _INSTANT, timezone)


def shift(instant: datetime, by: timedelta, timezone: str) -> datetime:
    """Move an instant: whole days by the calendar of `timezone`, anything else by elapsed time."""
    if by % _DAY:
        return instant + by
    local = instant.astimezone(ZoneInfo(timezone))
    if instant == midnight(local.date(), timezone):
        # Where clocks change at midnight, a day may begin at 01:00; the days around it do not.
        return midnight(local.date() + by, timezone)
    return (local.replace(tzinfo=None) + by).replace(tzinfo=ZoneInfo(timezone)).astimezone(UTC)


def week(timezone: str) -> pl.Expr:
    """Return the calendar week of an event in the shop's zone: the day (Date) of its Monday."""
    local = pl.col("ts") if timezone == "UTC" else pl.col("ts").dt.convert_time_zone(timezone)
    return local.dt.date().dt.truncate("1w").alias("week")


def history(cutoff: datetime, since: datetime | None = None) -> pl.Expr:
    """Select events before the cutoff, from `since` on where it is given."""
    before = pl.col("ts") < cutoff
    return before if since is None else before & (pl.col("ts") >= since)


def future(cutoff: datetime, end: datetime) -> pl.Expr:
    """Select events of the label window: `cutoff <= ts < end`."""
    return (pl.col("ts") >= cutoff) & (pl.col("ts") < end)


@dataclass(frozen=True)
class Window:
    """One cutoff with its label window; `end` is exclusive, and both are instants in UTC."""

    cutoff: datetime
    end: datetime


@dataclass(frozen=True)
class Splits:
    """The windows of each split, ascending; every label window ends before the next split's first cutoff."""

    train: tuple[Window, ...]
    validation: tuple[Window, ...]
    test: tuple[Window, ...]

    def named(self) -> dict[str, tuple[Window, ...]]:
        """Return the splits by name, in time order."""
        return {"train": self.train, "validation": self.validation, "test": self.test}


@dataclass(frozen=True)
class Span:
    """A stretch of history before a cutoff, for features: `start <= ts < cutoff`."""

    name: str
    start: datetime
    before: datetime
    """Start of the stretch of the same length that ends where this one starts."""


def spans(cutoff: datetime, lengths: Sequence[timedelta], timezone: str) -> tuple[Span, ...]:
    """Return the feature windows of a cutoff, named as in the config: `28d`."""
    return tuple(
        Span(format_duration(w), shift(cutoff, -w, timezone), shift(cutoff, -2 * w, timezone))
        for w in lengths
    )


def days_until(cutoff: datetime, ts: pl.Expr) -> pl.Expr:
    """Return elapsed days (Float32, 24 hours each) from `ts` to the cutoff."""
    return ((pl.lit(cutoff) - ts).dt.total_microseconds() / 86_400_000_000).cast(pl.Float32)


def log_end(last_ts: datetime, last_received: datetime, timezone: str) -> datetime:
    """Return the end (exclusive) of the last complete day of the log.

    The day of the last event is complete if the newest file was written after that day was over.
    """
    after_last_event = midnight(local_day(last_ts, timezone) + _DAY, timezone)
    received = midnight(local_day(last_received, timezone), timezone)
    return min(after_last_event, received)


def make_splits(
    start: datetime, end: datetime, split: Split, horizon: timedelta, lead: timedelta, timezone: str
) -> Splits:
    """Lay the cutoffs of all splits backwards from the end of the log.

    Args:
        start: the first event of the log.
        end: the end (exclusive) of the last complete day.
        split: number of cutoffs per split, and the step between them.
        horizon: length of a label window.
        lead: history that the first train cutoff needs.
        timezone: the shop's calendar.

    Raises:
        DataError: the log is too short; the message names the number of train cutoffs that would fit.
    """
    test = _backwards(end, split.test, split, horizon, timezone)
    splits = _before(test, split, horizon, timezone)
    earliest = start + lead
    if splits.train[0].cutoff >= earliest:
        return splits
    fitting = sum(w.cutoff >= earliest for w in splits.train)
    raise DataError(_too_short(start, end, split, horizon, lead, fitting, timezone))


def make_origins(
    start: datetime, end: datetime, split: Split, horizon: timedelta, lead: timedelta, timezone: str
) -> tuple[Splits, ...]:
    """Lay the cutoffs of each fit that is judged, ascending: one, or with `split.rolling` one per test cutoff.

    Rolling, each test cutoff has the validation and train cutoffs that it would have had if the log had ended
    with its label window. A cutoff may so serve several fits; it has the same label window in all of them.

    Raises:
        DataError: the log is too short; see `make_splits`, which takes the same.
    """
    splits = make_splits(start, end, split, horizon, lead, timezone)
    if not split.rolling:
        return (splits,)
    origins = [_before((w,), split, horizon, timezone) for w in splits.test]
    ends: dict[datetime, datetime] = {}
    for window in (w for o in origins for windows in o.named().values() for w in windows):
        # They differ only where clocks change within a window that is shorter than a day.
        ends[window.cutoff] = min(window.end, ends.get(window.cutoff, window.end))
    return tuple(
        Splits(*(tuple(Window(w.cutoff, ends[w.cutoff]) for w in part) for part in o.named().values()))
        for o in origins
    )


#: Leave-one-out takes a user's last item for the test, and the second last for validation; who has no third one before
#: them is history for the others. Source: Kang and McAuley (2018), Self-attentive sequential recommendation, section
#: IV-A, and its code.
_FEWEST_ITEMS = 3
_USER = ("user_hash", "user_id")


def own_splits(end: datetime, timezone: str) -> Splits:
    """Return the windows of leave-one-out, where each user is asked at an instant of his own.

    The cutoffs are in name only: `held_out` moves every user's life so that the item in question falls on them.

    Args:
        end: the end (exclusive) of the log's last complete day.
        timezone: the shop's calendar.
    """
    cutoffs = (shift(end, -_DAY, timezone), end)
    validation, test = ((Window(cutoff, cutoff + _INSTANT),) for cutoff in cutoffs)
    return Splits((), validation, test)


@dataclass(frozen=True)
class HeldOut:
    """Lives of users, moved in time so that the item that each is asked about falls on the cutoff."""

    history: pl.LazyFrame
    """Events before the cutoff; of users who are not asked, all of the log's complete days."""
    population: pl.LazyFrame
    """`user_hash`, `user_id` of who is asked: the users with enough items, and an event before the one in question."""
    labels: pl.LazyFrame
    """`user_id`, `item_id`, one for each of them."""


def last_items(events: pl.LazyFrame, is_item: pl.Expr, n_later: int, end: datetime) -> pl.LazyFrame:
    """Return the item that each user is asked about in leave-one-out; see `held_out`, which takes the same.

    Returns:
        `user_hash`, `user_id`, `own_end` (the instant of the item, which is no history any more), `item_id`; of users
        with enough items, in any order.
    """
    return (
        events.filter(is_item & (pl.col("ts") < end))
        .sort(*_USER, "ts", "event_type", "item_id")
        .group_by(_USER)
        .agg(
            own_end=pl.col("ts").gather(-1 - n_later, null_on_oob=True).first(),
            item_id=pl.col("item_id").gather(-1 - n_later, null_on_oob=True).first(),
            n=pl.len(),
        )
        .filter(pl.col("n") >= _FEWEST_ITEMS)
        .drop("n")
    )


def held_out(
    events: pl.LazyFrame, is_item: pl.Expr, n_later: int, cutoff: datetime, end: datetime
) -> HeldOut:
    """Cut every user's life at one of his own last items: leave-one-out.

    Items of one instant stand in the order of event type and name. What lies at the same instant as the item in
    question is no history.

    Args:
        events: of whole users; `user_hash`, `user_id`, `ts`, `event_type`, `item_id` and any other columns.
        is_item: selects the events whose items are in question.
        n_later: how many items of the user are later than the one in question: 0 for the test.
        cutoff: where each of them is moved to.
        end: the end (exclusive) of the log's last complete day; nothing after it counts.
    """
    user, complete = list(_USER), events.filter(pl.col("ts") < end)
    asked = last_items(events, is_item, n_later, end)
    instant = pl.col("own_end").fill_null(pl.lit(end, pl.Datetime("us", "UTC")))
    moved = complete.join(asked.select(*user, "own_end"), on=user, how="left", maintain_order="left")
    known = (
        moved.with_columns(ts=pl.col("ts") + (pl.lit(cutoff) - instant))
        .filter(history(cutoff))
        .drop("own_end")
    )
    with_history = asked.join(known.select(user).unique(), on=user, how="semi")
    return HeldOut(known, with_history.select(user), with_history.select("user_id", "item_id"))


def _before(test: tuple[Window, ...], split: Split, horizon: timedelta, timezone: str) -> Splits:
    """Lay validation and train cutoffs before test cutoffs."""
    validation = _backwards(test[0].cutoff, split.validation, split, horizon, timezone)
    train = _backwards(validation[0].cutoff, split.train, split, horizon, timezone)
    return Splits(train, validation, test)


def _backwards(
    last_end: datetime, n: int, split: Split, horizon: timedelta, timezone: str
) -> tuple[Window, ...]:
    last = shift(last_end, -horizon, timezone)
    cutoffs = [shift(last, -i * split.step, timezone) for i in reversed(range(n))]
    # A time of day that does not exist when clocks change is moved on, perhaps past the limit.
    return tuple(Window(c, min(shift(c, horizon, timezone), last_end)) for c in cutoffs)


def chain(windows: Sequence[Window], n_validation: int) -> tuple[Splits, ...]:
    """Return the windows that can be predicted from earlier ones, each with what was known at its cutoff.

    Args:
        windows: ascending.
        n_validation: of the windows whose labels are known at an origin, the latest ones that validate; the others
            that ended before those train.

    Returns:
        For each origin, the latest first: train, validation, and the origin's own window as the test window.
    """
    chained = (_known_before(origin, windows, n_validation) for origin in reversed(windows))
    return tuple(splits for splits in chained if splits.train)


def _known_before(origin: Window, windows: Sequence[Window], n_validation: int) -> Splits:
    known = tuple(w for w in windows if w.end <= origin.cutoff)
    validation = known[-n_validation:]
    train = tuple(w for w in known if validation and w.end <= validation[0].cutoff)
    return Splits(train, validation, (origin,))


def _too_short(
    start: datetime,
    end: datetime,
    split: Split,
    horizon: timedelta,
    lead: timedelta,
    fitting: int,
    timezone: str,
) -> str:
    n_windows = {"train": split.train, "validation": split.validation, "test": split.test}
    needed = lead + sum((horizon + (n - 1) * split.step for n in n_windows.values()), timedelta())
    complete = f"the log's complete days are {local_day(start, timezone)} to {last_day(end, timezone)}"
    n_days = (last_day(end, timezone) - local_day(start, timezone)).days + 1
    days = f"{complete} ({n_days} day{'s' * (n_days != 1)})" if end > start else "the log has no complete day"
    remedy = (
        f"set split.train to {fitting}, or shorten split.step"
        if fitting
        else "shorten task.horizon, task.active_within or split.step, or bring more data"
    )
    return (
        f"no complete horizon for every cutoff: {days}, "
        f"but {split.train} train, {split.validation} validation and {split.test} test cutoffs with horizon "
        f"{format_duration(horizon)}, step {format_duration(split.step)} and {format_duration(lead)} of history "
        f"before the first one need {-(-needed // _DAY)} days; {remedy}"
    )


def label(cutoff: datetime, timezone: str) -> str:
    """Name a cutoff, for files: the day that it begins in the shop's zone, or else its time in UTC."""
    day = local_day(cutoff, timezone)
    # Not the local time: it comes twice in the night when clocks are set back.
    return f"{day}" if cutoff == midnight(day, timezone) else f"{cutoff:%Y-%m-%dT%H%M%SZ}"


def describe(windows: Sequence[Window], timezone: str) -> str:
    """Return the cutoffs and label days of one split in words, for reports and logs."""
    first, last = windows[0], windows[-1]
    cutoffs = f"{local_day(first.cutoff, timezone)}"
    if len(windows) > 1:
        cutoffs += f" to {local_day(last.cutoff, timezone)}"
    return (
        f"{len(windows)} cutoff{'s' * (len(windows) > 1)} ({cutoffs}), "
        f"labels {local_day(first.cutoff, timezone)} to {last_day(last.end, timezone)}"
    )
