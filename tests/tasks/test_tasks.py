"""Who is asked and what is true, on a log with events at the very edges of the windows."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from ecbehave.config.task import Candidates, ChurnTask, ListedItems, PreferenceTask, PurchaseTask
from ecbehave.tasks import Task, make_task
from ecbehave.windows import future, history, shift

DAY, MICROSECOND = timedelta(days=1), timedelta(microseconds=1)
CUTOFF = datetime(2024, 4, 2, tzinfo=UTC)
#: What every task below has: 10 days of activity, 7 days of horizon.
ACTIVE, HORIZON = 10 * DAY, 7 * DAY
WINDOWS: dict[str, Any] = {"active_within": ACTIVE, "horizon": HORIZON}

CHURN = make_task(ChurnTask(kind="churn", **WINDOWS))
CHURN_ANY = make_task(ChurnTask(kind="churn", event="any", **WINDOWS))
CHURN_VIEW = make_task(ChurnTask(kind="churn", event="view", **WINDOWS))
PURCHASE = make_task(PurchaseTask(kind="purchase", **WINDOWS))
PURCHASE_ITEM = make_task(PurchaseTask(kind="purchase", target="item", **WINDOWS))
PURCHASE_CATEGORY = make_task(PurchaseTask(kind="purchase", target="category", **WINDOWS))
PREFERENCE = make_task(PreferenceTask(kind="preference", **WINDOWS))
PREFERENCE_ANY = make_task(PreferenceTask(kind="preference", event="any", **WINDOWS))
TASKS = [CHURN, CHURN_ANY, CHURN_VIEW, PURCHASE, PREFERENCE, PREFERENCE_ANY]

Row = tuple[str, timedelta, str] | tuple[str, timedelta, str, str | None]


def log(rows: Sequence[Row]) -> pl.LazyFrame:
    """Rows of user, time from the cutoff on, event type, and the item where it matters."""
    events = [
        {
            "user_hash": len(r[0]),
            "user_id": r[0],
            "ts": CUTOFF + r[1],
            "event_type": r[2],
            "item_id": r[3] if len(r) == 4 else "i",
        }
        for r in rows
    ]
    schema = {"user_hash": pl.UInt64(), "user_id": pl.String(), "ts": pl.Datetime("us", "UTC")}
    return pl.DataFrame(events, schema=schema | {"event_type": pl.String(), "item_id": pl.String()}).lazy()


def population(task: Task, rows: Sequence[Row]) -> pl.LazyFrame:
    since = shift(CUTOFF, -task.active_within, "UTC")
    return task.population(log(rows).filter(history(CUTOFF, since)))


def asked(task: Task, rows: Sequence[Row]) -> list[str]:
    frame = population(task, rows).collect()
    assert frame.schema == {"user_hash": pl.UInt64(), "user_id": pl.String()}
    return sorted(frame["user_id"])


def truth(task: Task, rows: Sequence[Row]) -> list[tuple[object, ...]]:
    end = shift(CUTOFF, task.horizon, "UTC")
    labels = task.labels(log(rows).filter(future(CUTOFF, end)), population(task, rows)).collect()
    if task.output == "binary":
        assert labels.schema == {"user_hash": pl.UInt64(), "user_id": pl.String(), "label": pl.Int8()}
        return sorted(labels.select("user_id", "label").rows())
    assert labels.schema == {"user_id": pl.String(), "item_id": pl.String()}
    return sorted(labels.rows())


EDGES: list[Row] = [
    ("too early", -ACTIVE - MICROSECOND, "purchase"),
    ("first moment", -ACTIVE, "purchase"),
    ("last moment", -MICROSECOND, "purchase"),
    ("too late", 0 * DAY, "purchase"),
    ("twice", -2 * DAY, "purchase"),
    ("twice", -2 * DAY, "purchase"),
    ("viewer", -2 * DAY, "view"),
    ("wisher", -2 * DAY, "wish"),
]
BUYERS = ["first moment", "last moment", "twice"]


@pytest.mark.parametrize(
    ("task", "users"),
    [
        (CHURN, BUYERS),
        (CHURN_VIEW, ["viewer"]),
        (CHURN_ANY, [*BUYERS, "viewer", "wisher"]),
        (PURCHASE, [*BUYERS, "viewer", "wisher"]),
        (PREFERENCE, [*BUYERS, "viewer", "wisher"]),
        (PREFERENCE_ANY, [*BUYERS, "viewer", "wisher"]),
    ],
)
def test_population_was_active_in_the_window_that_ends_before_the_cutoff(
    task: Task, users: list[str]
) -> None:
    assert asked(task, EDGES) == sorted(users)


def with_past(rows: Sequence[Row]) -> list[Row]:
    """Add a purchase and a view before the cutoff for all users but those called `new`."""
    users = sorted({r[0] for r in rows} - {"new"})
    return [*rows, *((u, -DAY, kind, "old") for u in users for kind in ("purchase", "view"))]


FUTURES = with_past(
    [
        ("just before", -MICROSECOND, "purchase"),
        ("at the cutoff", 0 * DAY, "purchase", "a"),
        ("last moment", HORIZON - MICROSECOND, "purchase", "b"),
        ("at the end", HORIZON, "purchase", "c"),
        ("views only", DAY, "view", "d"),
        ("often", DAY, "purchase", "a"),
        ("often", 2 * DAY, "purchase", "a"),
        ("often", 2 * DAY, "purchase", "old"),
        ("without item", DAY, "purchase", None),
        ("new", DAY, "purchase", "a"),
    ]
)


def binary(**labels: int) -> list[tuple[str, int]]:
    return sorted((user.replace("_", " "), label) for user, label in labels.items())


def test_churned_is_who_has_no_purchase_from_the_cutoff_to_before_the_end() -> None:
    assert truth(CHURN, FUTURES) == binary(
        just_before=1, at_the_cutoff=0, last_moment=0, at_the_end=1, views_only=1, often=0, without_item=0
    )


def test_churn_of_any_event_and_of_another_event() -> None:
    assert truth(CHURN_ANY, FUTURES) == binary(
        just_before=1, at_the_cutoff=0, last_moment=0, at_the_end=1, views_only=0, often=0, without_item=0
    )
    assert truth(CHURN_VIEW, FUTURES) == binary(
        just_before=1, at_the_cutoff=1, last_moment=1, at_the_end=1, views_only=0, often=1, without_item=1
    )


def test_buys_is_who_purchases_from_the_cutoff_to_before_the_end() -> None:
    assert truth(PURCHASE, FUTURES) == binary(
        just_before=0, at_the_cutoff=1, last_moment=1, at_the_end=0, views_only=0, often=1, without_item=1
    )


def test_true_items_are_those_purchased_once_each_repeats_included() -> None:
    bought = [("at the cutoff", "a"), ("last moment", "b"), ("often", "a"), ("often", "old")]
    assert truth(PREFERENCE, FUTURES) == bought
    assert truth(PREFERENCE_ANY, FUTURES) == [*bought, ("views only", "d")]


def test_true_pairs_are_those_purchased_once_each() -> None:
    events, people = log(FUTURES).filter(future(CUTOFF, CUTOFF + HORIZON)), population(PURCHASE_ITEM, FUTURES)
    found = PURCHASE_ITEM.labels(events, people).collect()
    assert found.schema == {"user_id": pl.String(), "item_id": pl.String()}
    assert sorted(found.rows()) == truth(PREFERENCE, FUTURES)
    in_categories = events.with_columns(category=pl.when(pl.col("item_id") != "old").then(pl.lit("c")))
    found = PURCHASE_CATEGORY.labels(in_categories, people).collect()
    assert found.schema == {"user_id": pl.String(), "category": pl.String()}
    assert sorted(found.rows()) == [(user, "c") for user in ("at the cutoff", "last moment", "often")]


def test_tasks_say_what_users_are_paired_with() -> None:
    assert [t.target for t in TASKS] == [None] * len(TASKS)
    assert [t.target for t in (PURCHASE_ITEM, PURCHASE_CATEGORY)] == ["item_id", "category"]


@pytest.mark.parametrize("task", TASKS)
def test_nobody_is_asked_where_nothing_happened(task: Task) -> None:
    assert asked(task, []) == []
    assert truth(task, [("new", DAY, "purchase")]) == []


def test_tasks_declare_themselves() -> None:
    assert [(t.name, t.output, t.headline) for t in (CHURN, PURCHASE, PREFERENCE)] == [
        ("churn", "binary", "auroc"),
        ("purchase", "binary", "auroc"),
        ("preference", "ranking", "ndcg"),
    ]
    assert {(t.active_within, t.horizon) for t in TASKS} == {(ACTIVE, HORIZON)}


@pytest.mark.parametrize(
    ("task", "who", "what"),
    [
        (
            CHURN,
            "every user with a purchase in the 10 days before the cutoff",
            "churned (1): no purchase within 7 days from the cutoff on; else stayed (0)",
        ),
        (
            CHURN_ANY,
            "every user with any event in the 10 days before the cutoff",
            "churned (1): no event within 7 days from the cutoff on; else stayed (0)",
        ),
        (
            make_task(
                ChurnTask(kind="churn", event="answer", active_within=timedelta(hours=12), horizon=DAY)
            ),
            "every user with an answer in the 12 hours before the cutoff",
            "churned (1): no answer within 1 day from the cutoff on; else stayed (0)",
        ),
        (
            PURCHASE,
            "every user with any event in the 10 days before the cutoff",
            "buys (1): at least one purchase within 7 days from the cutoff on; else 0",
        ),
        (
            PURCHASE_ITEM,
            "every user with any event in the 10 days before the cutoff, paired with every item that the user had any "
            "event with in the 91 days before the cutoff",
            "buys (1): at least one purchase of the item within 7 days from the cutoff on; else 0",
        ),
        (
            make_task(
                PurchaseTask(
                    kind="purchase",
                    target="category",
                    candidates=Candidates(recent=None, popular=5),
                    **WINDOWS,
                )
            ),
            "every user with any event in the 10 days before the cutoff, paired with every category that the user had "
            "any event with before the cutoff, and with the 5 bought by most users",
            "buys (1): at least one purchase of the category within 7 days from the cutoff on; else 0",
        ),
        (
            PREFERENCE,
            "every user with any event in the 10 days before the cutoff",
            "true items: those with a purchase by the user within 7 days from the cutoff on, out of the whole "
            "catalogue, repeats included; users without a true item are left out of the means",
        ),
        (
            PREFERENCE_ANY,
            "every user with any event in the 10 days before the cutoff",
            "true items: those with any event by the user within 7 days from the cutoff on, out of the whole "
            "catalogue, repeats included; users without a true item are left out of the means",
        ),
        (
            make_task(
                PreferenceTask(
                    kind="preference",
                    exclude=["purchase", "cart"],
                    items=ListedItems(categories=["home"]),
                    **WINDOWS,
                )
            ),
            "every user with any event in the 10 days before the cutoff",
            "true items: those with a purchase by the user within 7 days from the cutoff on, out of the items that may "
            "be listed, without what the user had a purchase or a cart with before; users without a true item are "
            "left out of the means",
        ),
    ],
)
def test_tasks_say_in_words_who_is_asked_and_what_is_true(task: Task, who: str, what: str) -> None:
    assert task.population_in_words == who
    assert task.label_in_words == what
