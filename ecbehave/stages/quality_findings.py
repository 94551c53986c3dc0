"""What a person should look at in the data quality report, in words, with what to do about it.

Each function looks at one thing. It finds what exceeds a limit of `clean.quality`, and, without a limit, what is
out of the ordinary.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TypeVar

from ecbehave.config.clean import Quality as Limits
from ecbehave.config.values import format_duration
from ecbehave.report.quality_content import Change, Finding, Gap, Quality, SourceQuality, share_of
from ecbehave.stages.quality_days import Calendar, changes, thin_days
from ecbehave.stages.quality_profile import BOT, MOST_EVENT_TYPES, OTHER_TYPES
from ecbehave.stages.refused import REMEDIES

#: What is out of the ordinary where no limit says more.
_NOTICED_SHARE = 0.01
NOTICED_FACTOR = 3.0
_DAY = timedelta(days=1)
_NO_FILE = "if the shop was open then, bring the missing files, or find out why nothing was recorded"

Part = TypeVar("Part", Gap, Change)


def judge(report: Quality, settings: Limits, calendar: Calendar | None) -> Quality:
    """Return the report with its findings: failures first, then by the share that they are about."""
    found = [
        *_missing(report, settings),
        *_duplicates(report, settings),
        *_late(report, settings),
        *_bots(report, settings),
        *_refused(report),
        *_many_types(report),
    ]
    if calendar:
        found += [
            *_strays(report, calendar),
            *_gaps(report, settings, calendar),
            *_changes(report, settings, calendar),
            *_thin_days(report, settings, calendar),
        ]
    return replace(report, findings=sorted(found, key=lambda f: (not f.is_failure, -f.share, f.text)))


def _missing(report: Quality, settings: Limits) -> Iterator[Finding]:
    for source in report.sources:
        for column in source.columns:
            key = "event_type" if column.name == "event_type" else f"columns.{column.name}"
            remedy = f"check {source.key}.{key}, and ask whoever writes the files"
            limit = settings.max_null_share.get(column.name)
            share = column.nulls / source.rows if source.rows else 0.0
            if limit is not None and share > limit:
                text = (
                    f"{source.path}: {column.name} is missing or unreadable in "
                    f"{share_of(column.nulls, source.rows)} of {source.rows:,} rows"
                )
                yield Finding(text + _limit(f"max_null_share.{column.name}", limit), remedy, share, True)
            elif share == 1:
                text = f"{source.path}: {column.name} has no value in any of {source.rows:,} rows"
                yield Finding(text, remedy, share, False)
    known = {column.name for source in report.sources for column in source.columns}
    for name, limit in settings.max_null_share.items():
        if name not in known and limit < 1:
            text = f"{name} is missing in all rows of the files, since no source of events maps it"
            remedy = f"map it in dataset.sources[].columns, or drop clean.quality.max_null_share.{name}"
            yield Finding(text + _limit(f"max_null_share.{name}", limit), remedy, 1.0, True)


def _duplicates(report: Quality, settings: Limits) -> Iterator[Finding]:
    remedy = (
        "if a file came twice, nothing is lost; otherwise map what tells rows apart (order_id, session_id, "
        "finer times)"
    )
    for source in report.sources:
        what = "rows are exact duplicates of others and were dropped"
        yield from _share(
            source, source.duplicates, what, "max_duplicate_share", settings.max_duplicate_share, remedy
        )


def _late(report: Quality, settings: Limits) -> Iterator[Finding]:
    for source in report.sources:
        rule = (
            f"came more than {report.late_after} after their time"
            if source.has_received_at
            else f"lie more than {report.late_after} before the days that earlier files reach to"
        )
        remedy = "what was predicted before they came did not know them; deliver sooner, or score later"
        yield from _share(
            source, source.late, f"rows {rule}", "max_late_share", settings.max_late_share, remedy
        )


def _share(
    source: SourceQuality, n: int, what: str, name: str, limit: float | None, remedy: str
) -> Iterator[Finding]:
    share = n / source.rows if source.rows else 0.0
    text = f"{source.path}: {n:,} of {source.rows:,} {what} ({share_of(n, source.rows)})"
    if limit is not None and share > limit:
        yield Finding(text + _limit(name, limit), remedy, share, True)
    elif share >= _NOTICED_SHARE:
        yield Finding(text, remedy, share, False)


def _bots(report: Quality, settings: Limits) -> Iterator[Finding]:
    n = sum(r.rows for r in report.refused_rules if r.rule == BOT)
    if not n:
        return
    share, limit = n / report.rows, settings.max_bot_share
    who = "user is" if report.n_bots == 1 else "users are"
    text = f"{report.n_bots:,} {who} bot-like: {n:,} of their rows are refused ({share_of(n, report.rows)} of all)"
    is_failure = limit is not None and share > limit
    suffix = _limit("max_bot_share", limit) if limit is not None and is_failure else ""
    yield Finding(text + suffix, REMEDIES[BOT], share, is_failure)


def _refused(report: Quality) -> Iterator[Finding]:
    for found in report.refused_rules:
        share = found.rows / report.rows
        if found.rule != BOT and share >= _NOTICED_SHARE:
            text = (
                f"{found.rows:,} rows ({share_of(found.rows, report.rows)}) are refused as {found.rule}, "
                f"e.g. {found.examples[0]}"
            )
            yield Finding(text, found.remedy, share, False)


def _many_types(report: Quality) -> Iterator[Finding]:
    if any(v.event_type == OTHER_TYPES for v in report.volumes):
        yield Finding(
            f"the log has more than {MOST_EVENT_TYPES} event types",
            "check dataset.sources[].event_type: it may name another column",
            1.0,
            False,
        )


def _strays(report: Quality, calendar: Calendar) -> Iterator[Finding]:
    begins = calendar.position(calendar.begins)
    if begins:
        n = sum(sum(v.rows[:begins]) for v in report.volumes)
        yield Finding(
            f"{n:,} event{'s lie' if n > 1 else ' lies'} long before the rest, which begins on {calendar.begins}: "
            f"the first one is of {calendar.first}",
            "set clean.earliest to the day on which the shop's log really begins",
            n / report.clean,
            False,
        )


def _gaps(report: Quality, settings: Limits, calendar: Calendar) -> Iterator[Finding]:
    since, limit = calendar.day(calendar.since(settings.look_back)), settings.max_gap

    def words(gap: Gap) -> str:
        days = f"{gap.days} day{'s' * (gap.days > 1)}"
        if gap.is_open:
            return f"none since {gap.start} ({days}, to the end of the log)"
        return f"none from {gap.start} to {gap.end} ({days})" if gap.days > 1 else f"none on {gap.start}"

    for gaps in _by_type(report.gaps):
        failed = [g for g in gaps if limit and g.end >= since and g.days * _DAY > limit]
        worst = sorted(failed or gaps, key=lambda g: (not g.is_open, -g.days))
        text = f"{worst[0].event_type} events: {_with_others(words, worst)}"
        if failed and limit:
            text += _limit("max_gap", format_duration(limit))
        share = sum(g.days for g in worst) / calendar.n_days
        yield Finding(text, _NO_FILE, share, bool(failed))


def _changes(report: Quality, settings: Limits, calendar: Calendar) -> Iterator[Finding]:
    limit = settings.max_volume_change
    remedy = "look for files that are cut off or came twice, a change in tracking, or a campaign"

    def words(change: Change) -> str:
        more = "more" if change.rows > change.usual else "fewer"
        day = (
            f"{change.day}"
            if change.start == change.end
            else f"{change.day} (of {change.start} to {change.end})"
        )
        return f"{change.factor:,.1f} times {more} than usual on {day}: {change.rows:,} instead of {change.usual:,.0f}"

    for of_type in report.volumes:
        start = calendar.since(settings.look_back)
        failed = changes(of_type, calendar, start, limit) if limit else []
        noticed = changes(of_type, calendar, calendar.since(None), NOTICED_FACTOR)
        worst = sorted(failed or noticed, key=lambda c: (-c.factor, c.day))
        if worst:
            suffix = _limit("max_volume_change", limit) if failed and limit else ""
            share = sum((c.end - c.start).days + 1 for c in worst) / calendar.n_days
            text = f"{of_type.event_type} events: {_with_others(words, worst)}"
            yield Finding(text + suffix, remedy, share, bool(failed))


def _thin_days(report: Quality, settings: Limits, calendar: Calendar) -> Iterator[Finding]:
    fewest = settings.min_events_per_day
    if fewest is None:
        return
    thin = thin_days(report.volumes, calendar, calendar.since(settings.look_back), fewest)
    if thin:
        worst = sorted(thin, key=lambda entry: (entry[1], entry[0]))
        shown = ", ".join(f"{day} ({n:,})" for day, n in worst[:3])
        text = f"{len(thin):,} day{'s have' if len(thin) > 1 else ' has'} too few events, e.g. {shown}"
        limit = _limit("min_events_per_day", fewest)
        yield Finding(text + limit, _NO_FILE, len(thin) / calendar.n_days, True)


def _by_type(gaps: Sequence[Gap]) -> list[list[Gap]]:
    by_type: dict[str, list[Gap]] = {}
    for gap in gaps:
        by_type.setdefault(gap.event_type, []).append(gap)
    return list(by_type.values())


def _with_others(words: Callable[[Part], str], parts: Sequence[Part]) -> str:
    others = len(parts) - 1
    return words(parts[0]) + (f", and {others} more time{'s' * (others > 1)}" if others else "")


def _limit(name: str, limit: float | str) -> str:
    text = limit if isinstance(limit, str) else f"{limit:g}"
    return f"; the limit clean.quality.{name} is {text}"
