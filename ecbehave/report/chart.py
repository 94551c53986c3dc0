"""The one chart under all plots: a frame with axes, ticks and a legend, written as inline SVG.

Colours come from the classes of `page.css` (a palette that colour-blind readers can tell apart, with a
different dash or lightness for each role, so that a print in grey stays readable).
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

WIDTH, HEIGHT = 420, 320
_CHARACTER = 7.0  # px of an average character at the font size of `page.css`
_LEGEND_LINE = 20
_PLOT_TOP = 14

Role = Literal["model", "baseline", "reference", "perfect", "positives", "negatives"]
"""What a mark stands for; the class that colours it."""


Value = TypeVar("Value", float, NDArray[np.float64])


def nice_step(span: float, n_steps: int = 5) -> float:
    """Return 1, 2 or 5 times a power of ten that cuts `span` into about `n_steps`."""
    rough = span / n_steps
    power = 10.0 ** math.floor(math.log10(rough))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9))


def nice_ceiling(value: float) -> float:
    """Return the end of an axis from zero that holds `value`: a whole number of ticks."""
    if value <= 0:
        return 1.0
    step = nice_step(value)
    return math.ceil(value / step - 1e-9) * step


@dataclass(frozen=True)
class Axis:
    """A scale from `low` to `high`; `names` replaces numbered ticks by names at 0.5, 1.5, ..."""

    label: str
    text: Callable[[float], str]
    low: float = 0.0
    high: float = 1.0
    names: Sequence[str] = ()
    n_steps: int = 5

    def ticks(self) -> list[tuple[float, str]]:
        """Return position and text of every tick."""
        if self.names:
            return [(i + 0.5, name) for i, name in enumerate(self.names)]
        step = nice_step(self.high - self.low, self.n_steps)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [(i * step, self.text(i * step)) for i in range(first, last + 1)]


@dataclass(frozen=True)
class Chart:
    """A plot area inside its SVG: from values to pixels, and from marks to the finished text."""

    title: str
    """Read out by screen readers, with `description`; not drawn."""
    description: str
    x: Axis
    y: Axis
    legend: Sequence[tuple[str, Role]] = ()
    swatch: Literal["line", "bar"] = "line"
    """Shape of the legend's keys."""
    left: float = 64
    right: float = 20
    bottom: float = 50
    height: float = HEIGHT
    width: float = WIDTH

    @cached_property
    def legend_lines(self) -> list[list[tuple[float, str, Role]]]:
        """Entries of the legend line by line, each with its x in pixels."""
        lines: list[list[tuple[float, str, Role]]] = [[]]
        at = 0.0
        for name, role in self.legend:
            width = 40 + _CHARACTER * len(name)
            if lines[-1] and at + width > self.width:
                lines.append([])
                at = 0.0
            lines[-1].append((at, name, role))
            at += width
        return lines if self.legend else []

    @cached_property
    def top(self) -> float:
        """Pixels above the plot area."""
        return _PLOT_TOP + _LEGEND_LINE * len(self.legend_lines)

    def at_x(self, value: Value) -> Value:
        """Return the pixel column of a value, or of an array of values."""
        share = (value - self.x.low) / (self.x.high - self.x.low)
        return self.left + share * (self.width - self.left - self.right)

    def at_y(self, value: Value) -> Value:
        """Return the pixel row of a value, or of an array of values; rows count downwards."""
        share = (value - self.y.low) / (self.y.high - self.y.low)
        return self.height - self.bottom - share * (self.height - self.bottom - self.top)

    def line(self, x: ArrayLike, y: ArrayLike, role: Role) -> str:
        """Draw a line through the points; of a dense one, what pixels can show."""
        px, py = _thinned(
            self.at_x(np.asarray(x, np.float64)), self.at_y(np.asarray(y, np.float64)), self.width
        )
        points = " ".join(f"{_px(a)},{_px(b)}" for a, b in zip(px.tolist(), py.tolist(), strict=True))
        return f'<polyline class="line {role}" points="{points}"/>'

    def area(self, x: ArrayLike, y: ArrayLike, role: Role) -> str:
        """Draw an area between the points and the zero of the y axis."""
        px, py = self.at_x(np.asarray(x, np.float64)), self.at_y(np.asarray(y, np.float64))
        points = [f"{_px(a)},{_px(b)}" for a, b in zip(px.tolist(), py.tolist(), strict=True)]
        base = _px(self.at_y(0))
        closed = " ".join([f"{_px(px[0])},{base}", *points, f"{_px(px[-1])},{base}"])
        return f'<polygon class="area {role}" points="{closed}"/>'

    def point(self, x: float, y: float, role: Role, hint: str) -> str:
        """Draw a dot; `hint` appears under the mouse."""
        return (
            f'<circle class="dot {role}" cx="{_px(self.at_x(x))}" cy="{_px(self.at_y(y))}" r="4">'
            f"<title>{escape(hint)}</title></circle>"
        )

    def whisker(self, x: float, low: float, high: float) -> str:
        """Draw a vertical error bar with its caps."""
        at, bottom, top = self.at_x(x), self.at_y(low), self.at_y(high)
        return (
            f'<path class="whisker" d="M{_px(at)} {_px(bottom)}V{_px(top)}'
            f"M{_px(at - 4)} {_px(top)}h8M{_px(at - 4)} {_px(bottom)}h8"
            '"/>'
        )

    def bar(self, x: tuple[float, float], y: tuple[float, float], role: Role, hint: str) -> str:
        """Draw a rectangle between two values on each axis; `hint` appears under the mouse."""
        left, right = sorted(self.at_x(v) for v in x)
        top, bottom = sorted(self.at_y(v) for v in y)
        return (
            f'<rect class="bar {role}" x="{_px(left)}" y="{_px(top)}" width="{_px(right - left)}" '
            f'height="{_px(bottom - top)}"><title>{escape(hint)}</title></rect>'
        )

    def note(self, x: float, y: float, text: str) -> str:
        """Write a text that starts beside a point."""
        return _text("note", self.at_x(x) + 5, self.at_y(y) + 4, text)

    def svg(self, marks: Iterable[str]) -> str:
        """Return the whole SVG: grid and axes below the marks, the legend above the plot area."""
        parts = [*self._x_axis(), *self._y_axis(), *marks, *self._legend()]
        spoken = escape(f"{self.title}. {self.description}")
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" viewBox="0 0 {_px(self.width)} {_px(self.height)}" '
            f'role="img" aria-label="{spoken}"><title>{escape(self.title)}</title>{"".join(parts)}</svg>'
        )

    def _x_axis(self) -> list[str]:
        bottom, middle = self.height - self.bottom, (self.left + self.width - self.right) / 2
        parts = [f'<path class="axis" d="M{_px(self.left)} {_px(bottom)}H{_px(self.width - self.right)}"/>']
        for value, text in self.x.ticks():
            at = _px(self.at_x(value))
            if not self.x.names:
                parts.append(f'<path class="grid" d="M{at} {_px(bottom)}V{_px(self.top)}"/>')
            parts.append(_text("tick", self.at_x(value), bottom + 18, text, "middle"))
        parts.append(_text("label", middle, self.height - 8, self.x.label, "middle"))
        return parts

    def _y_axis(self) -> list[str]:
        parts = []
        for value, text in self.y.ticks():
            at = self.at_y(value)
            if not self.y.names:
                parts.append(
                    f'<path class="grid" d="M{_px(self.left)} {_px(at)}H{_px(self.width - self.right)}"/>'
                )
            parts.append(_text("tick", self.left - 7, at + 4, text, "end"))
        if self.y.label:
            middle = _px((self.top + self.height - self.bottom) / 2)
            parts.append(
                f'<text class="label" transform="translate(14 {middle}) rotate(-90)" text-anchor="middle">'
                f"{escape(self.y.label)}</text>"
            )
        return parts

    def _legend(self) -> list[str]:
        parts = []
        for i, entries in enumerate(self.legend_lines):
            y = 14 + _LEGEND_LINE * i
            for x, name, role in entries:
                parts += [self._key(x, y, role), _text("tick", x + 30, y + 4, name)]
        return parts

    def _key(self, x: float, y: float, role: Role) -> str:
        if self.swatch == "bar":
            return f'<rect class="bar {role}" x="{_px(x + 10)}" y="{y - 6}" width="14" height="12"/>'
        return f'<path class="line {role}" d="M{_px(x)} {y}h24"/>'


def _text(css: str, x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text class="{css}" x="{_px(x)}" y="{_px(y)}" text-anchor="{anchor}">{escape(text)}</text>'


def _px(value: float) -> str:
    """Write a pixel position to a tenth."""
    return f"{value:.1f}".removesuffix(".0")


def _thinned(
    px: NDArray[np.float64], py: NDArray[np.float64], width: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Keep the first, last, lowest and highest point of each pixel column: the same picture, bounded size."""
    if len(px) < 4 * width:
        return px, py
    rounded = np.round(px)
    column = np.cumsum(np.diff(rounded, prepend=rounded[0]) != 0)
    first = np.flatnonzero(np.diff(column, prepend=-1))
    last = np.append(first[1:], len(px)) - 1
    by_height = np.lexsort((py, column))
    kept = np.unique(np.concatenate([first, last, by_height[first], by_height[last]]))
    return px[kept], py[kept]
