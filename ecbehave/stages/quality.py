"""The data quality report of `clean`: profiles of batches and periods added up, judged and written."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import polars as pl

from ecbehave.config.clean import Quality as Limits
from ecbehave.config.values import duration_in_words, format_duration
from ecbehave.errors import DataError
from ecbehave.report.quality_content import (
    Bot,
    Change,
    ColumnKind,
    ColumnQuality,
    Outliers,
    Quality,
    RefusedRule,
    SourceQuality,
    Volume,
)
from ecbehave.report.quality_page import render
from ecbehave.schema import EVENT_COLUMNS, TS
from ecbehave.stages.quality_days import Calendar, begin_of, changes, gaps, reach_of, volume
from ecbehave.stages.quality_findings import NOTICED_FACTOR, judge
from ecbehave.stages.quality_profile import ColumnProfile, merge_columns, merge_types
from ecbehave.stages.refused import REMEDIES, Refused
from ecbehave.windows import last_day, log_end, midnight

_MOST_LISTED = 20
#: Files that come in within this time are one delivery: their order says nothing.
_ONE_DELIVERY = timedelta(hours=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_KINDS: dict[Any, ColumnKind] = {pl.String(): "text", TS: "time", pl.Float64(): "number"}

Key = TypeVar("Key", str, date)

Batches = Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]
"""What ingest says of each batch of events, and its profile."""


def quality(
    batches: Batches,
    periods: Sequence[Mapping[str, Any]],
    refused: Refused,
    sources: Sequence[tuple[str, str]],
    settings: Limits,
    timezone: str,
) -> Quality:
    """Return the report on the whole log.

    Args:
        batches: every batch of events with `BatchProfile.to_facts`.
        periods: every period's `PeriodProfile.to_facts`.
        refused: all refused rows.
        sources: of every source of the config, in its order: hash of its settings (`settings` of its batches) and
            its glob.
        settings: limits.
        timezone: the shop's calendar.
    """
    days = {name: of_type for name, of_type in _days_by_type(periods).items() if of_type}
    calendar = _calendar(days, batches, timezone)
    by_size = sorted(days, key=lambda name: (-days[name].total(), name))
    volumes = [volume(name, days[name], calendar) for name in by_size] if calendar else []
    found_gaps = [g for v in volumes for g in gaps(v, calendar)] if calendar else []
    found_changes = _worst_changes(volumes, calendar, settings) if calendar else []
    bots = _total(p["bots"] for p in periods)
    n_rows = sum(profile["rows"] for _, profile in batches)
    counts = {
        "rows": n_rows,
        "refused": refused.counts.total(),
        "duplicates": sum(sum(p["duplicates"].values()) for p in periods),
        "clean": sum(p["rows"] for p in periods),
    }
    report = Quality(
        **counts,
        files=len(batches),
        late_after=duration_in_words(settings.late_after),
        first_day=calendar.first if calendar else None,
        begins=calendar.begins if calendar else None,
        last_day=calendar.last if calendar else None,
        findings=[],
        sources=_sources(batches, periods, sources, settings),
        volumes=volumes,
        gaps=found_gaps,
        changes=found_changes,
        refused_rules=_rules(refused),
        n_bots=len(bots),
        bots=[Bot(user, n) for user, n in _largest(bots)[:_MOST_LISTED]],
        outliers=_outliers(periods, refused),
        limits=_limits(settings),
    )
    return judge(report, settings, calendar)


def write_quality(folder: Path, report: Quality) -> Path:
    """Write `quality.json` and `quality.html` into the folder; returns the path of the page."""
    folder.mkdir(parents=True, exist_ok=True)
    content = asdict(report) | {"failures": report.failures}
    text = json.dumps(content, indent=1, ensure_ascii=False, default=date.isoformat)
    (folder / "quality.json").write_text(f"{text}\n", encoding="utf-8")
    page = folder / "quality.html"
    page.write_text(render(report), encoding="utf-8")
    return page


def check_quality(report: Quality, page: Path) -> None:
    """Check the limits of `clean.quality`.

    Args:
        report: what is judged.
        page: where a person finds all of it.

    Raises:
        DataError: a limit is exceeded.
    """
    failures = report.failures
    if failures:
        several = len(failures) > 1
        raise DataError(
            f"{f'{len(failures)} things exceed' if several else '1 thing exceeds'} the limits of clean.quality:\n  "
            + "\n  ".join(failures)
            + f"\nNothing was published. Look into {page}, then correct the files, or raise the "
            f"limit{'s' * several}"
        )


def _days_by_type(periods: Sequence[Mapping[str, Any]]) -> dict[str, Counter[date]]:
    return merge_types(
        [{name: _dates(of_type) for name, of_type in period["days"].items()} for period in periods]
    )


def _dates(days: Mapping[str, int]) -> dict[date, int]:
    return {date.fromisoformat(day): n for day, n in days.items()}


def _calendar(days: Mapping[str, Counter[date]], batches: Batches, timezone: str) -> Calendar | None:
    total = _total(days.values())
    if not total:
        return None
    last = max(total)
    received = max(profile["columns"]["received_at"]["high"] for _, profile in batches if profile["accepted"])
    end = log_end(midnight(last, timezone), _instant(received), timezone)
    return Calendar(min(total), last, begins=begin_of(total), last_whole=last_day(end, timezone))


def _instant(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)


def _worst_changes(volumes: Sequence[Volume], calendar: Calendar, settings: Limits) -> list[Change]:
    factor = min(NOTICED_FACTOR, settings.max_volume_change or NOTICED_FACTOR)
    found = [c for v in volumes for c in changes(v, calendar, calendar.since(None), factor)]
    return sorted(found, key=lambda c: (-c.factor, c.day, c.event_type))[:_MOST_LISTED]


def _rules(refused: Refused) -> list[RefusedRule]:
    return [RefusedRule(rule, n, refused.shown(rule), REMEDIES[rule]) for rule, n in _largest(refused.counts)]


def _outliers(periods: Sequence[Mapping[str, Any]], refused: Refused) -> list[Outliers]:
    clipped = _total(p["clipped"] for p in periods)
    prefix = "outlier_"
    columns = {*clipped, *(r.removeprefix(prefix) for r in refused.counts if r.startswith(prefix))}
    return [Outliers(c, clipped[c], refused.counts[f"{prefix}{c}"]) for c in sorted(columns)]


def _total(parts: Iterable[Mapping[Key, int]]) -> Counter[Key]:
    total: Counter[Key] = Counter()
    for part in parts:
        total.update(part)
    return total


def _largest(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))


def _limits(settings: Limits) -> dict[str, str]:
    shares = {f"max_null_share.{column}": f"{share:g}" for column, share in settings.max_null_share.items()}
    others = {
        name: format_duration(value) if isinstance(value, timedelta) else f"{value:g}"
        for name, value in settings
        if name not in ("max_null_share", "late_after") and value is not None
    }
    return {f"clean.quality.{name}": text for name, text in (shares | others).items()}


def _sources(
    batches: Batches,
    periods: Sequence[Mapping[str, Any]],
    sources: Sequence[tuple[str, str]],
    settings: Limits,
) -> list[SourceQuality]:
    duplicates = _total(p["duplicates"] for p in periods)
    refused = _total(p["refused"] for p in periods)
    found = []
    for hashed in dict.fromkeys(settings_hash for settings_hash, _ in sources):
        ours = [b for b in batches if b[0]["settings"] == hashed]
        if not ours:
            continue
        # Sources that are read in the same way cannot be told apart by their batches.
        at = [i for i, (settings_hash, _) in enumerate(sources) if settings_hash == hashed]
        n_rows = sum(p["rows"] for _, p in ours)
        found.append(
            SourceQuality(
                key=f"dataset.sources[{at[0]}]",
                path=", ".join("/".join(Path(sources[i][1]).parts[-2:]) for i in at),
                files=len(ours),
                rows=n_rows,
                refused=sum(p["rows"] - p["accepted"] + refused[b["id"]] for b, p in ours),
                duplicates=sum(duplicates[b["id"]] for b, _ in ours),
                late=_late(ours, settings.late_after),
                has_received_at=ours[0][1]["late"] is not None,
                columns=_columns(merge_columns([(p["rows"], p["columns"]) for _, p in ours])),
            )
        )
    return found


def _late(batches: Batches, late_after: timedelta) -> int:
    """Count rows that come late: by `received_at` of the row, or else behind what earlier files reach to."""
    n_late = 0
    deliveries = []
    for batch, profile in batches:
        if profile["late"] is not None:
            n_late += profile["late"]
        elif profile["days"]:
            days = _dates(profile["days"])
            deliveries.append((datetime.fromisoformat(batch["received_at"]), reach_of(days)[1], days))
    deliveries.sort(key=lambda delivery: delivery[0])
    known: date | None = None
    n_known = 0
    for received, _, days in deliveries:
        while deliveries[n_known][0] <= received - _ONE_DELIVERY:
            known = max(known or date.min, deliveries[n_known][1])
            n_known += 1
        if known is not None:
            n_late += sum(n for day, n in days.items() if known - day > late_after)
    return n_late


def _columns(profiles: Mapping[str, ColumnProfile]) -> list[ColumnQuality]:
    def shown(kind: ColumnKind, bound: float | None) -> float | str | None:
        return bound if bound is None or kind != "time" else _instant(int(bound)).isoformat()

    kinds = {name: _KINDS[EVENT_COLUMNS[name]] for name in profiles}
    return [
        ColumnQuality(
            name,
            kinds[name],
            p.nulls,
            p.unparsed,
            shown(kinds[name], p.low),
            shown(kinds[name], p.high),
            p.values if kinds[name] == "text" else None,
        )
        for name, p in profiles.items()
    ]
