"""The page of all features."""

import re

from command_line import ecbehave
from feature_logs import WINDOWS, make_catalogue

from ecbehave.inputs.catalogue import GROUPS
from ecbehave.inputs.facts import LogFacts
from ecbehave.inputs.feature_names import FeatureName
from ecbehave.inputs.feature_page import feature_page
from ecbehave.schema import EVENT_COLUMNS, EVENT_TYPES

PAGE = feature_page()


def test_every_group_and_measure_is_on_the_page() -> None:
    assert re.findall(r"^## `(\w+)`", PAGE, re.MULTILINE) == [g.name for g in GROUPS]
    facts = LogFacts(EVENT_TYPES, tuple(EVENT_COLUMNS), ("age",))
    for name in make_catalogue(facts, "UTC").schema():
        assert f"| `{FeatureName.parse(name).measure}_" in PAGE


def test_every_feature_is_described_by_exactly_one_row() -> None:
    patterns = re.findall(r"^\| `([^`]+)`", PAGE, re.MULTILINE)
    as_text = [
        re.escape(p).replace("<event>", "(?:" + "|".join([*EVENT_TYPES, "any"]) + ")")
        .replace("<window>", "(?:" + "|".join([*WINDOWS, "all"]) + ")").replace("<attribute>", "age")
        for p in patterns
    ]  # fmt: skip
    facts = LogFacts(EVENT_TYPES, tuple(EVENT_COLUMNS), ("age",))
    for name in make_catalogue(facts, "UTC").schema():
        assert sum(re.fullmatch(pattern, name) is not None for pattern in as_text) == 1, name


def test_rows_say_unit_formula_and_null() -> None:
    assert "| `sessions_any_<window>` | sessions | sessions that start | never |" in PAGE
    assert "| `per_cart_purchase_<window>` | ratio | events / carts | no cart in the window |" in PAGE
    assert "half the sum of \\|p - q\\| over categories" in PAGE, "a bar would end the cell"


def test_a_group_says_what_it_needs() -> None:
    def note(group: str) -> str:
        return PAGE.split(f"## `{group}`")[1].split("\n")[2]

    assert note("calendar") == "Needs nothing but events."
    assert note("depth") == "Needs `purchase` events and `view` events."
    assert (
        note("price_level")
        == "Needs `category`. Left out where the log has neither price nor amount with quantity."
    )


def test_what_sources_say_of_candidates_is_on_the_page() -> None:
    measures = ("similar_score", "similar_rank", "affinity_score", "affinity_rank", "popular_rank")
    for measure in measures:
        assert PAGE.count(f"| `item_{measure}_") == 1 + (measure == "popular_rank")
    for event in ("purchase", "any"):
        assert f"| `item_popular_rank_{event}_<window>` | 1 or more |" in PAGE


def test_the_command_line_prints_it() -> None:
    done = ecbehave("config", "features")
    assert (done.code, done.out, done.err) == (0, PAGE, "")
