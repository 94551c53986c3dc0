"""Sentences about events."""

from typing import Any

import polars as pl
import pytest

from ecbehave.models.protocol import DRIVERS
from ecbehave.stages.event_reasons import event_reasons


def driver(row: int = 0, effect: float = 1.0, **values: Any) -> dict[str, Any]:
    return dict.fromkeys(DRIVERS) | {"row": row, "effect": effect, "n_events": 1, "days": 3.9} | values


def told(*drivers: dict[str, Any], n_rows: int = 1, n: int = 3) -> list[list[str | None]]:
    raised = ["the churn risk"] * n_rows
    return event_reasons(pl.DataFrame(list(drivers), DRIVERS), raised, n_rows, n)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"event_type": "purchase", "item_id": "i7", "category": "tea"}, "purchase of i7 (tea) 3 days ago"),
        ({"event_type": "view", "item_id": "i7", "n_events": 12}, "view of i7 and 11 more 3 days ago"),
        ({"event_type": "search", "days": 0.4}, "search less than a day ago"),
        ({"event_type": "visit", "days": 1.2, "n_events": 2}, "visit and 1 more 1 day ago"),
        ({"n_events": 1200, "since_days": 90.5}, "1,200 events since 90 days ago, the last 3 days ago"),
        ({"n_events": 1, "since_days": 3.9}, "1 event since 3 days ago, the last 3 days ago"),
    ],
)
def test_one_driver(values: dict[str, Any], text: str):
    assert told(driver(**values))[0] == [f"{text} (raises the churn risk)"]
    assert told(driver(effect=-0.1, **values))[0] == [f"{text} (lowers the churn risk)"]


def test_reasons_stand_in_the_order_of_drivers():
    view = {"event_type": "view"}
    drivers = [driver(1, 3.0, **view, days=1.0), driver(1, -2.0, **view, days=2.0), driver(1, 1.0, **view)]
    assert told(*drivers, n_rows=3, n=2) == [
        [None, "view 1 day ago (raises the churn risk)", None],
        [None, "view 2 days ago (lowers the churn risk)", None],
    ]


def test_what_adds_nothing_is_no_reason():
    view = {"event_type": "view"}
    assert told(driver(0, 0.0, **view), driver(0, 0.5, **view), n=1) == [
        ["view 3 days ago (raises the churn risk)"]
    ]
    assert told(n_rows=2, n=1) == [[None, None]]
