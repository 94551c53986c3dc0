"""Ranked lists judged by hand-made models: ties, filled-up items, cold users and items, and what lists are like."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from planted import CUTOFF, ONCE, Pair, make, matrix
from scipy.sparse import csr_array
from stage_runs import Runs

from ecbehave.inputs.types import Inputs, MatrixInput
from ecbehave.metrics.ranking import expected_per_user
from ecbehave.models.protocol import Block
from ecbehave.stages import features, train
from ecbehave.stages.judge_ranking import judge_ranking, list_and_place, true_items
from ecbehave.stages.judged import Fitted, Judged
from ecbehave.stages.list_character import character
from ecbehave.stages.ranking_report import list_facts, metric_rows
from ecbehave.stages.stored_models import BASELINE
from ecbehave.tasks import make_task

ITEMS = list("abcdef")
#: a had by all five users, b by three, c by two, d and e by one; nobody had f any more.
HAD = {0: "abcd", 1: "abc", 2: "ab", 3: "ae", 4: "a"}
PAIRS: list[Pair] = [
    (user, ITEMS.index(item), "purchase", 1, 5.0) for user, word in HAD.items() for item in word
]


class Knows:
    """A predictor that gives each item of a user the score of its group: `ab|c` is 2, 2 and 1."""

    def __init__(self, **groups: str) -> None:
        self.groups = groups

    def item_scores(self, data: Inputs) -> Iterator[Block]:
        assert data.matrix is not None
        names = data.matrix.users["user_id"].to_list()
        for user in data.matrix.asked:
            groups = self.groups.get(names[user], "").split("|")
            scored = [(ITEMS.index(i), float(-n)) for n, group in enumerate(groups) for i in group]
            items, scores = [i for i, _ in scored], [s for _, s in scored]
            yield np.array([user]), csr_array((scores, items, [0, len(items)]), shape=(1, len(ITEMS)))


def asked(n_users: int, **true: str) -> MatrixInput:
    """Ask the first users; `u0001="af"` wants a and f."""
    rows = [(user, item) for user, word in true.items() for item in word]
    labels = pl.DataFrame(rows, {"user_id": pl.String, "item_id": pl.String}, orient="row")
    return replace(matrix(PAIRS, max(5, n_users), ITEMS, range(n_users)), labels=labels)


def placed(model: Any, data: MatrixInput, k: int) -> dict[tuple[str, str], tuple[int | None, int | None]]:
    truth = true_items(data, pl.Series(ITEMS))
    found = list_and_place(model, Inputs(CUTOFF, matrix=data), truth, k).placed
    return {(u, i): (h, t) for u, i, h, t in found.select("user_id", "item_id", "n_higher", "n_tied").rows()}


def test_items_with_one_score_then_what_the_list_is_filled_up_with():
    data = asked(2, u0000="ef", u0001="cab")
    # u0000 is listed d, and of e and f one; u0001 is listed b, then what is popular: a, c, d.
    found = placed(Knows(u0000="d|ef", u0001="b"), data, k=2)
    assert found == {
        ("u0000", "e"): (1, 2),
        ("u0000", "f"): (1, 2),
        ("u0001", "b"): (0, 1),
        ("u0001", "a"): (1, 1),
        ("u0001", "c"): (None, None),
    }
    assert placed(Knows(u0001="b"), data, k=3)["u0001", "c"] == (2, 1)


def test_lists_are_those_that_are_written():
    data = asked(2, u0000="e")
    side = list_and_place(
        Knows(u0000="fe"), Inputs(CUTOFF, matrix=data), true_items(data, pl.Series(ITEMS)), 3
    )
    assert side.lists.select("user_id", "rank", "item_id", "score").rows() == [
        ("u0000", 1, "e", 0.0),
        ("u0000", 2, "f", 0.0),
        ("u0000", 3, "a", None),
        ("u0001", 1, "a", None),
        ("u0001", 2, "b", None),
        ("u0001", 3, "c", None),
    ]


@pytest.mark.parametrize("kind", ["popularity", "item_knn"])
def test_names_of_items_change_no_metric(kind: str):
    """The baseline and a kind with many equal scores: letters turned round move items in lists, and no value."""
    settings = {"min_users": 1} if kind == "item_knn" else {}
    turned = dict(zip(ITEMS, reversed(ITEMS), strict=True))
    tables = []
    for name in ({}, turned):
        pairs = [(u, ITEMS.index(name.get(ITEMS[i], ITEMS[i])), e, n, d) for u, i, e, n, d in PAIRS]
        labels = [(f"u000{u}", name.get(item, item)) for u in range(5) for item in "cde"]
        data = replace(
            matrix(sorted(pairs), 5, ITEMS),
            labels=pl.DataFrame(labels, {"user_id": pl.String, "item_id": pl.String}, orient="row"),
        )
        model = make(kind, **settings).fit([data], [], ONCE)
        truth = true_items(data, pl.Series(ITEMS))
        side = list_and_place(_Scoring(model), Inputs(CUTOFF, matrix=data), truth, 4)
        tables.append(expected_per_user(side.placed, [2, 4]))
    assert tables[0].drop("user_id", "cutoff").rows() == tables[1].drop("user_id", "cutoff").rows()
    assert 0 < tables[0]["recall@4"].sum() < 5


class _Scoring:
    def __init__(self, model: Any) -> None:
        self.model = model

    def item_scores(self, data: Inputs) -> Iterator[Block]:
        yield from self.model.scores(data.matrix)


def judged(listing: Runs, data: MatrixInput, known: str, model: Knows, baseline: Knows) -> Judged:
    context = listing.context()
    fit = Fitted([Inputs(CUTOFF, matrix=data)], [(model, {}), (baseline, {})], pl.Series(list(known)))  # type: ignore[list-item]
    return judge_ranking(context, make_task(context.config.task), [fit], np.random.default_rng(0))


def test_cold_users_and_items_are_judged_apart(listing: Runs):
    # u0005 had nothing; f came after the fit. u0000 wants a and f, and is listed a only; u0005 is listed f.
    data = asked(6, u0000="af", u0005="f", u0001="c")
    found = judged(listing, data, "abcde", Knows(u0000="a|bcde", u0005="f"), Knows(u0001="c"))
    values = {name: interval["value"] for name, interval in found.comparison["model"].items()}
    assert values["warm_item_recall@5"] == pytest.approx(1)
    assert values["cold_item_recall@5"] == pytest.approx(1 / 2)
    assert values["cold_user_ndcg@5"] == 1
    # u0000 finds one of two, and u0001 c among what is popular.
    assert values["warm_user_recall@5"] == pytest.approx((1 / 2 + 1) / 2)
    assert (found.facts["n_cold_users"], found.facts["n_cold_items"], found.facts["n_true"]) == (1, 2, 4)
    assert found.facts["n_without_truth"] == 3
    assert found.rows["user_id"].to_list() == ["u0000", "u0001", "u0005"]
    headings = {row.name: row.group for row in metric_rows(found)}
    assert headings["ndcg@10"] == ""
    assert headings["cold_item_recall@10"] == "Items that came after the fit"
    assert headings["warm_user_ndcg@10"] == "Users who had an item before the cutoff"
    labels = {row.name: row.label for row in metric_rows(found)}
    assert labels["cold_user_recall@10"] == "Recall for unknown users@10"
    facts = dict(list_facts(found))
    assert facts["True items that came after the fit"] == "2 of 4"
    assert facts["Users with a true item who had none before"] == "1"


def test_without_anything_cold_there_is_nothing_apart(listing: Runs):
    found = judged(listing, asked(2, u0000="ab"), "abcdef", Knows(u0000="ab"), Knows())
    assert not [name for name in found.comparison["model"] if name.startswith(("warm", "cold"))]
    assert (found.facts["n_cold_users"], found.facts["n_cold_items"]) == (0, 0)
    assert (found.facts["tied_share"], found.facts["baseline_tied_share"]) == (1, 0)
    nothing = judged(listing, asked(1, u0000="f"), "abcdef", Knows(u0000="f"), Knows())
    assert nothing.facts["baseline_tied_share"] is None


def test_what_lists_are_like_by_hand():
    data = asked(2, u0000="a")
    lists = pl.DataFrame(
        {"user_id": ["u0000", "u0000", "u0001"], "rank": [1, 2, 1], "item_id": ["a", "b", "d"]},
        {"user_id": pl.String, "rank": pl.UInt32, "item_id": pl.String},
    ).with_columns(cutoff=pl.lit(CUTOFF))
    found = character(lists, [data], 6, [1, 2])
    assert found["coverage"] == {"coverage@1": 2 / 6, "coverage@2": 3 / 6}
    of_b, of_d = -math.log2(3 / 5), -math.log2(1 / 5)
    assert found["novelty"] == pytest.approx({"novelty@1": of_d / 2, "novelty@2": (of_b / 2 + of_d) / 2})
    # a was had by five users, b by three of them; u0001 has no pair of items.
    assert found["diversity"]["diversity@1"] is None
    assert found["diversity"]["diversity@2"] == pytest.approx(1 - 3 / math.sqrt(15))


def test_only_some_users_tell_how_different_items_are(monkeypatch: pytest.MonkeyPatch):
    data = asked(2)
    rows = [("u0000", 1, "a"), ("u0000", 2, "b"), ("u0001", 1, "d"), ("u0001", 2, "e")]
    schema = {"user_id": pl.String, "rank": pl.UInt32, "item_id": pl.String}
    lists = pl.DataFrame(rows, schema, orient="row").with_columns(cutoff=pl.lit(CUTOFF))
    both = (1 - 3 / math.sqrt(15) + 1) / 2
    assert character(lists, [data], 6, [2])["diversity"]["diversity@2"] == pytest.approx(both)
    monkeypatch.setattr("ecbehave.stages.list_character.DIVERSITY_USERS", 1)
    first = character(lists, [data], 6, [2])["diversity"]["diversity@2"]
    assert first == pytest.approx(1 - 3 / math.sqrt(15))


def test_the_stored_metrics_of_the_baseline_are_expected_values(listing: Runs):
    """Recall of what is popular, from its scores and every user's true items, item by item."""
    context = listing.context()
    inputs, model = (context.workspace.read(f"shop/{name}") for name in ("inputs", "model"))
    assert inputs is not None
    assert model is not None
    (data,) = features.read_inputs(inputs, "matrix", "test", "UTC")
    fitted, _ = train.load(context, model, BASELINE)
    users, scores = next(fitted.item_scores(Inputs(data.cutoff, matrix=data)))
    first = scores[[0]].toarray()[0] if isinstance(scores, csr_array) else np.maximum(scores[0], 0)
    counted = dict(zip(data.items["item_id"], first, strict=True))
    shared = 0
    recall: dict[str, list[float]] = {}
    for user, item in data.labels.rows():
        own = counted.get(item, 0.0)
        n_higher = sum(score > own for score in counted.values())
        n_tied = sum(score == own for score in counted.values())
        # All 5 places are taken by items with a score.
        found = min(max(5 - n_higher, 0), n_tied) / n_tied if own > 0 else 0.0
        shared += 0 < found < 1
        recall.setdefault(user, []).append(found)
    stored = pl.read_parquet(listing.shop.workspace / "shop/evaluation/test_scores.parquet")
    expected = {user: float(np.mean(found)) for user, found in recall.items()}
    assert dict(stored.select("user_id", "baseline_recall@5").rows()) == pytest.approx(expected)
    assert shared > 0
    assert users.size > 0
