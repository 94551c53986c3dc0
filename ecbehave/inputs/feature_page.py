"""The page that documents every feature: generated from what the catalogue builds, so that it cannot go stale."""

from collections.abc import Sequence
from datetime import timedelta

from ecbehave.config.task import Candidates, RankedCandidates
from ecbehave.inputs.catalogue import ALWAYS, GROUPS, Group
from ecbehave.inputs.facts import ANY, LogFacts
from ecbehave.inputs.feature_names import ALL, FeatureName
from ecbehave.inputs.pairs import PairTable
from ecbehave.inputs.suggestions import Sources
from ecbehave.inputs.table import Catalogue
from ecbehave.schema import EVENT_COLUMNS, EVENT_TYPES

_WINDOW = timedelta(days=7)
#: A log that has everything.
_FULL = LogFacts(EVENT_TYPES, tuple(EVENT_COLUMNS), ("<attribute>",))

_HEAD = """\
# Features

One column per feature, named `<measure>_<event>_<window>`: Float32, or text for categories. `<event>` is each event
type of the log, and `any` for all events together. `<window>` is each of `features.windows`, such as `7d`, and `all`
for all history; trends and drifts have no `all`. Where the log has no purchases, `any` stands for `purchase` in
`prices`, `price_level`, `discounts`, `coupons`, `categories` and `brands`. All is as known at the cutoff: no event at
or after it counts.
"""

_PAIR_HEAD = """\
## Pairs, for `task.target: item` or `category`

The features of a user with one item; with `target: category` they begin with `category_`. Numbers of the shop come for
the longest of `features.windows` only. Beside them stand features of the user: counts, days, recency, tenure, items,
categories, repeats, orders and prices paid, named as above. `features.groups` says nothing of this table.
"""

_CANDIDATE_HEAD = """\
## Candidates, for `task.kind: preference`

What the sources of candidates say of a user and an item, besides the features of pairs; for models that learn from a
table. `purchase` stands for `task.event`; `any` is left out where the log has no other event.
"""


def feature_page() -> str:
    """Return the page in Markdown."""
    return "\n".join([_HEAD, *(_section(group) for group in GROUPS), _pairs(), _candidates()])


def _section(group: Group) -> str:
    always = _built() if group.name != ALWAYS else []
    names = [name for name in _built(group.name) if name not in always]
    head = [f"## `{group.name}`: {group.says}", "", _needs(group), ""]
    return "\n".join([*head, *_rows(names, set(_FULL.groups)), ""])


def _pairs() -> str:
    """Return what is built for pairs besides features of their users."""
    table = PairTable(_FULL, "item_id", Candidates(), (_WINDOW,), timedelta(), "UTC")
    names = [name for name in table.schema() if name.startswith("item_")]
    return "\n".join([_PAIR_HEAD, *_rows(names, set(_FULL.event_types)), ""])


def _candidates() -> str:
    """Return what sources tell of candidates."""
    names = Sources(RankedCandidates(), ("purchase", ANY), (_WINDOW,), "UTC").features
    return "\n".join([_CANDIDATE_HEAD, *_rows(names, set(_FULL.event_types)), ""])


def _rows(names: Sequence[str], every_event: set[str]) -> list[str]:
    lines = ["| feature | unit | formula | null |", "|---|---|---|---|"]
    for pattern, name in _patterns([FeatureName.parse(name) for name in names], every_event).items():
        meaning = name.meaning
        cells = (f"`{pattern}`", meaning.unit, meaning.formula, meaning.null or "never")
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return lines


def _needs(group: Group) -> str:
    needs = [f"`{event}` events" for event in group.events] + [f"`{column}`" for column in group.columns]
    notes = [f"Needs {' and '.join(needs)}."] if needs else []
    missing = group.otherwise(LogFacts(())) if group.otherwise else None
    if missing:
        notes.append(f"Left out where {missing.split(';')[0]}.")
    return " ".join(notes) or "Needs nothing but events."


def _patterns(names: Sequence[FeatureName], every_event: set[str]) -> dict[str, FeatureName]:
    """Return each measure once per event, or once for all of them."""
    patterns: dict[str, FeatureName] = {}
    for name in names:
        events = {n.event for n in names if n.measure == name.measure}
        windows = {n.window for n in names if n.measure == name.measure}
        event = "<event>" if every_event <= events else name.event
        window = ALL if windows == {ALL} else "<window>"
        patterns.setdefault(str(FeatureName(name.measure, event, window)), name)
    return patterns


def _built(*groups: str) -> list[str]:
    return list(Catalogue(_FULL, groups, (_WINDOW,), timedelta(minutes=30), "UTC").schema())
