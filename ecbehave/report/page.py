"""The frame of every HTML page, and the few pieces they are made of; all text is escaped here."""

from collections.abc import Iterable, Sequence
from html import escape
from importlib import resources

# No script, no network, no font: a browser refuses whatever would slip in.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def page(title: str, body: str) -> str:
    """Return a complete page that opens offline; `body` is HTML, `title` is text."""
    css = resources.files(__package__).joinpath("page.css").read_text(encoding="utf-8")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{css}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def section(name: str, heading: str, *parts: str) -> str:
    """Return a section with an anchor; `parts` are HTML."""
    return f'<section id="{name}">\n<h2>{escape(heading)}</h2>\n{"".join(parts)}\n</section>'


def prose(text: str) -> str:
    """Return text of a sentence as HTML; a percent sign stays on the line of its number."""
    return escape(text).replace(" %", "\u00a0%")


def paragraph(text: str, css: str = "") -> str:
    """Return a paragraph of plain text."""
    return f"<p{_class(css)}>{prose(text)}</p>"


def cell(*lines: str, css: str = "") -> str:
    """Return a table cell: the first line as it is, further ones small below it; empty lines are left out."""
    first, *rest = lines
    small = "".join(f"<small>{escape(line)}</small>" for line in rest if line)
    return f"<td{_class(css)}>{escape(first)}{small}</td>"


def table(head: Sequence[str], groups: Iterable[tuple[str, Sequence[Sequence[str]]]], css: str = "") -> str:
    """Return a table that scrolls sideways on a narrow screen.

    Args:
        head: column names; one that starts with `#` stands over numbers, and is set to the right.
        groups: heading (empty for none) and rows; a row is a sequence of `cell` results.
        css: `narrow` for a table of few columns.
    """
    names = "".join(_column_name(name) for name in head)
    bodies = []
    for heading, rows in groups:
        group = f'<tr><th class="group" scope="rowgroup" colspan="{len(head)}">{escape(heading)}</th></tr>'
        lines = "\n".join(f"<tr>{''.join(row)}</tr>" for row in rows)
        bodies.append(f"<tbody>\n{group if heading else ''}{lines}\n</tbody>")
    top = f"<thead><tr>{names}</tr></thead>"
    return f'<div class="scroll"><table{_class(css)}>\n{top}\n{"".join(bodies)}\n</table></div>'


def _column_name(name: str) -> str:
    css = "number" if name.startswith("#") else ""
    return f'<th scope="col"{_class(css)}>{escape(name.removeprefix("#"))}</th>'


def figure(heading: str, svg: str, guide: str) -> str:
    """Return a plot with its heading and one sentence on how to read it."""
    return f"<figure>\n<h3>{escape(heading)}</h3>\n{svg}\n<figcaption>{prose(guide)}</figcaption>\n</figure>"


def key_figures(figures: Iterable[tuple[str, str, str]]) -> str:
    """Return a row of large numbers: name, value, and what to compare it with."""
    tiles = "".join(
        f"<div><dt>{escape(name)}</dt><dd><b>{escape(value)}</b><small>{prose(note)}</small></dd></div>"
        for name, value, note in figures
    )
    return f'<dl class="tiles">{tiles}</dl>'


def definitions(pairs: Iterable[tuple[str, str]], css: str = "") -> str:
    """Return a list of terms with what they mean; `wide` takes a line for each."""
    rows = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in pairs)
    return f"<dl{_class(f'facts {css}'.strip())}>{rows}</dl>"


def items(texts: Iterable[str]) -> str:
    """Return a bullet list."""
    return f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in texts)}</ul>"


def folded(summary: str, text: str) -> str:
    """Return preformatted text that opens at a click."""
    return f"<details>\n<summary>{escape(summary)}</summary>\n<pre>{escape(text)}</pre>\n</details>"


def _class(css: str) -> str:
    return f' class="{css}"' if css else ""
