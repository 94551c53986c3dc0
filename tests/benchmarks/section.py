"""A table of results with the facts that make it repeatable, as plain text or Markdown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Section:
    """One table of results."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    data: str
    """The data that was used."""
    commands: Sequence[str] = ()
    """What was run; each command once."""
    notes: Sequence[str] = ()

    def text(self, *, markdown: bool) -> str:
        """Return the section, to be printed."""
        about = [f"data: {self.data}", *self.notes]
        commands = list(dict.fromkeys(self.commands))
        if markdown:
            table = [_line(self.header), _line(["---"] * len(self.header)), *map(_line, self.rows)]
            ran = ["```", *commands, "```"] if commands else []
            return "\n".join([f"### {self.title}", "", *table, "", *(f"- {a}" for a in about), "", *ran])
        grid = [self.header, *self.rows]
        widths = [max(map(len, column)) for column in zip(*grid, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in grid]
        lines += [f"   {a}" for a in about] + [f"   $ {c}" for c in commands]
        return "\n".join([f"== {self.title}", *lines])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def interval(measured: Mapping[str, Any], sign: str = "") -> str:
    """Write a metric with its 95 % interval: `0.851 [0.826, 0.874]`."""
    value, low, high = (measured[key] for key in ("value", "low", "high"))
    return f"{value:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"


def gigabytes(n_bytes: float) -> str:
    """Write a size in GB (10^9 bytes)."""
    return f"{n_bytes / 1e9:.2f} GB"
