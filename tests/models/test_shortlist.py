"""Voting and stacking over kinds that rank all items: candidates are the best items of each member."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from planted import CUTOFF, RANKING, lists, regulars, visitors

from ecbehave.errors import DataError
from ecbehave.inputs.types import Inputs
from ecbehave.models import making, model_class
from ecbehave.models.ensemble import shortlist

#: The first one is right of everybody: after any other item comes `i03`; the second one does not know what is wanted.
MEMBERS = [
    {
        "kind": "item_knn",
        "min_users": 1,
        "event_weights": {"view": 1.0},
        "directed_weight": 1.0,
        "repeat_weight": 0,
    },
    {"kind": "popularity"},
]
STEP = timedelta(days=28)


def made(kind: str, members: Any = None) -> Any:
    found = model_class(kind)
    return making.make(found.config_class(kind=kind, members=members or MEMBERS), "ranking")


def given(n: int) -> Inputs:
    """The nth cutoff, at which everybody buys what the users of `visitors` do."""
    cutoff = CUTOFF + n * STEP
    data = visitors(seed=n)
    labels = pl.DataFrame({"user_id": data.users["user_id"], "item_id": "i03"})
    return Inputs(cutoff, matrix=replace(data, cutoff=cutoff, labels=labels))


def fitted(kind: str = "voting", n_users: int | None = None) -> Any:
    ends = {CUTOFF + n * STEP: CUTOFF + (n + 1) * STEP for n in range(10)}
    train, valid = [given(n) for n in range(4)], [given(4)]
    options = replace(RANKING, ends=ends)
    return made(kind).fit([*train, valid[0].as_history()], valid, options)


def test_candidates_are_the_best_of_each_member_without_what_is_barred() -> None:
    model, data = fitted(), given(5)
    matrix = data.matrix
    assert matrix is not None
    pairs = pl.DataFrame({"user": [0, 1], "item": [3, 0]})
    barred = replace(data, matrix=replace(matrix, barred=matrix.csr(pairs, np.ones(2))))
    table = shortlist.shortlist(model.members_, barred, 1).table
    assert table is not None
    own = table.frame.group_by("user_id").agg(pl.col("item_id"))
    found = {user: set(items) for user, items in own.iter_rows()}
    for member in model.members_:
        for user, items in lists(member.lists(barred, shortlist.LENGTH)).items():
            assert set(items) <= found[user]
            found[user] -= set(items) if member is model.members_[-1] else set()
    names = matrix.items["item_id"]
    assert names[3] not in own.filter(user_id=matrix.users["user_id"][0])["item_id"][0]
    assert table.frame.filter(pl.col("label") == 1)["item_id"].unique().to_list() == ["i03"]
    assert table.frame.select("user_hash", "user_id", "item_id").equals(
        table.frame.select("user_hash", "user_id", "item_id").sort("user_hash", "user_id", "item_id")
    )


@pytest.mark.parametrize("kind", ["voting", "stacking"])
def test_who_is_right_has_the_say(kind: str) -> None:
    model = fitted(kind)
    alone = {
        member.lists(given(5), 1)["item_id"].eq("i03").mean(): n for n, member in enumerate(model.members_)
    }
    best = alone[max(alone)]
    assert model.shares_[best] == max(model.shares_) > 0.5
    assert model.lists(given(5), 1)["item_id"].eq("i03").mean() >= max(alone) - 0.05


def test_lists_do_not_depend_on_who_else_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = fitted(), given(5)
    whole, scores = model.lists(data, 5), list(model.item_scores(data))
    monkeypatch.setattr(shortlist, "USERS", 5)
    parts = list(model.list_blocks(data, 5))
    assert len(parts) == 5
    assert pl.concat(parts).equals(whole)
    blocks = list(model.item_scores(data))
    assert np.concatenate([users for users, _ in blocks]).tolist() == scores[0][0].tolist()
    found = np.vstack([block.toarray() for _, block in blocks])
    np.testing.assert_array_equal(found, scores[0][1].toarray())


def test_weights_are_learned_from_few_users(monkeypatch: pytest.MonkeyPatch) -> None:
    data = given(5)
    matrix = data.matrix
    assert matrix is not None
    assert matrix.labels is not None
    few = replace(data, matrix=replace(matrix, labels=matrix.labels.head(7)))
    monkeypatch.setattr(shortlist, "TAUGHT", 4)
    taught = shortlist.teaching(few).matrix
    assert taught is not None
    assert taught.users.filter("is_asked")["user_id"].to_list() == matrix.users["user_id"].head(4).to_list()


def test_a_stored_blend_makes_the_same_lists(tmp_path: Path) -> None:
    model = fitted()
    model.save(tmp_path)
    loaded = making.load(tmp_path, model.config, "ranking")
    assert loaded.lists(given(5), 5).equals(model.lists(given(5), 5))


def test_no_true_item_is_among_the_candidates() -> None:
    """Then nothing tells the members apart."""
    later = given(4)
    matrix = later.matrix
    assert matrix is not None
    assert matrix.labels is not None
    unknown = replace(later, matrix=replace(matrix, labels=matrix.labels.with_columns(item_id=pl.lit("new"))))
    model = made("voting").fit([given(0), later.as_history()], [unknown], RANKING)
    assert model.shares_.tolist() == [0.5, 0.5]


def test_nets_vote_too() -> None:
    """Sequences and the matrix are both handed to the members."""
    net = {"kind": "rnn", "width": 8, "layers": 1, "training": {"epochs": 1}}
    data = regulars()
    model = made("voting", [net, *MEMBERS]).fit([data.as_history()], [data], RANKING)
    assert model.lists(data, 3)["user_id"].n_unique() == 24


def test_stacking_needs_cutoffs_with_labels() -> None:
    with pytest.raises(DataError, match="stacking learns its weights from train cutoffs"):
        made("stacking").fit([given(0).as_history()], [given(1)], RANKING)
