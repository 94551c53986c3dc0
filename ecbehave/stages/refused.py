"""What clean has refused: counted by rule, with examples, and what to do about it."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

_EXAMPLES = 3
_LISTED_RULES = 5

#: What to look at when a rule refuses too much; `dataset.sources[].x` is a key of the source.
REMEDIES = {
    "unreadable_row": "give every row the fields of the header, and check dataset.sources[].delimiter",
    "missing_user": "check dataset.sources[].columns.user_id",
    "unparsable_time": (
        "set dataset.sources[].time_format to a pattern in quotes, such as '%d.%m.%Y %H:%M', or, where the times are "
        "in an hour that clocks skip, dataset.sources[].timezone to the zone that they are written in"
    ),
    "missing_time": "check dataset.sources[].columns.ts",
    "impossible_time": (
        "check dataset.sources[].time_format and timezone, and the time at which the files were written (or map "
        "received_at): what happens more than a day later is impossible"
    ),
    "missing_event_type": "check dataset.sources[].event_type",
    "missing_item": "check dataset.sources[].columns.item_id",
    "unparsable_value": "write numbers like 1234.56, and check dataset.sources[].columns",
    "negative_price": "map what is a return to the event return, and check dataset.sources[].columns",
    "absurd_price": "check dataset.sources[].columns and clean.max_price",
    "negative_quantity": "map what is a return to the event return, and check dataset.sources[].columns",
    "absurd_quantity": "check dataset.sources[].columns and clean.max_quantity",
    "bot_like": "check columns.user_id, clean.max_events_per_user_day and clean.max_events_per_user",
    "outlier_price": "check clean.outliers.price",
    "outlier_quantity": "check clean.outliers.quantity",
    "outlier_amount": "check clean.outliers.amount",
}


@dataclass
class Refused:
    """Refused rows by rule, with the first three of each as examples."""

    paths: Mapping[str, str]
    """Batch id to source file."""
    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[tuple[str, int, str]]] = field(default_factory=dict)
    """By rule: batch, row in its file, and what the row has (empty where the rule says it all)."""

    def add(self, rows: pl.DataFrame) -> None:
        """Count rows of the quarantine."""
        for (rule,), group in rows.group_by("rule", maintain_order=True):
            self.counts[str(rule)] += group.height
            examples = self.examples.setdefault(str(rule), [])
            what = pl.coalesce("unparsed", _what(str(rule)), pl.lit(""))
            examples += group.head(_EXAMPLES - len(examples)).select("batch", "row", what).rows()

    def shown(self, rule: str) -> list[str]:
        """Return the examples of a rule for people: `events.csv row 7 (price=a)`."""
        return [
            f"{Path(self.paths[batch]).name} row {row}{f' ({text})' if text else ''}"
            for batch, row, text in self.examples[rule]
        ]

    def to_info(self) -> dict[str, Any]:
        """Return what a manifest keeps."""
        return {"counts": dict(sorted(self.counts.items())), "examples": self.examples}

    @classmethod
    def merged(cls, paths: Mapping[str, str], parts: Iterable[Mapping[str, Any]]) -> "Refused":
        """Add up what manifests have kept of parts of the log."""
        whole = cls(paths)
        for part in parts:
            whole.counts.update(part["counts"])
            for rule, examples in part["examples"].items():
                listed = whole.examples.setdefault(rule, [])
                listed += examples[: _EXAMPLES - len(listed)]
        return whole

    def lines(self) -> list[str]:
        """Return a line per rule, the most frequent first."""
        return [
            f"{rule}: {n:,} row{'s' * (n > 1)}, e.g. {', '.join(self.shown(rule))}"
            for rule, n in self.counts.most_common()
        ]

    def complaint(self, what: str) -> str:
        """Return the message of a log that has too little left, beginning with `what`."""
        (rule, _), *_ = self.counts.most_common()
        return (
            f"{what}:\n  "
            + "\n  ".join(self.lines()[:_LISTED_RULES])
            + f"\nOf {rule}: {REMEDIES[rule]}. Or raise "
            f"clean.max_refused_share, and look into clean/quarantine/ of the workspace"
        )


def _what(rule: str) -> pl.Expr:
    """Say what a refused row has, where the rule's name leaves that open."""
    if rule != "impossible_time":
        return pl.lit(None, pl.String)
    minute = "%Y-%m-%d %H:%M UTC"
    ts, received = (pl.col(c).dt.strftime(minute) for c in ("ts", "received_at"))
    return pl.format("{}, received {}", ts, received)
