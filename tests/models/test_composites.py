"""Kinds that blend others: their members, their weights, and what they keep of the promises of plain kinds."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from planted import CUTOFF, ONCE, candidates, customers, lists, visitors
from pydantic import ValidationError
from scipy.special import expit

from ecbehave.errors import ArtifactError, ConfigError, DataError
from ecbehave.inputs.types import Inputs, TableInput
from ecbehave.models import COMPOSITE, input_types, making, model_class
from ecbehave.models.ensemble import blend, stacking, voting
from ecbehave.models.ensemble.blend import Blend
from ecbehave.models.protocol import Options, Output, Predictor
from ecbehave.models.storage import check_folder, load_json, save_json

STEP = timedelta(days=28)
SMALL = {"kind": "boosting", "max_trees": 30, "patience": 10, "min_rows_per_leaf": 5, "learning_rate": 0.1}
#: Settings under which each learns from a few hundred rows; `binary` and `ranking` share them.
SETTINGS: dict[str, dict[str, Any]] = {
    "bagging": {"base": SMALL, "n_models": 3},
    "voting": {"members": [SMALL, {"kind": "logistic"}]},
    "stacking": {"members": [SMALL, {"kind": "logistic"}], "origins": 2},
}
OUTPUTS: tuple[Output, ...] = ("binary", "ranking")

every_composite = pytest.mark.parametrize("kind", SETTINGS)
every_case = pytest.mark.parametrize(("kind", "output"), [(k, o) for k in SETTINGS for o in OUTPUTS])


def config(kind: str, **settings: Any) -> Any:
    return model_class(kind).config_class(kind=kind, **SETTINGS[kind] | settings)


def at(n: int, table: TableInput, **more: Any) -> Inputs:
    """The nth cutoff, with these rows."""
    cutoff = CUTOFF + n * STEP
    frame = table.frame.with_columns(cutoff=pl.lit(cutoff, table.frame.schema["cutoff"]))
    return Inputs(cutoff, TableInput(frame, table.features), **more)


def given(n: int, output: Output) -> Inputs:
    return at(n, customers(seed=n) if output == "binary" else candidates(seed=n), matrix=visitors(seed=n))


def options(output: Output, **changes: Any) -> Options:
    ends = {CUTOFF + n * STEP: CUTOFF + (n + 1) * STEP for n in range(10)}
    return replace(ONCE, output=output, ends=ends, **changes)


def fitted(kind: str, output: Output, run: Options | None = None, **settings: Any) -> Predictor:
    model = making.make(config(kind, **settings), output)
    train, valid = [given(n, output) for n in range(4)], [given(4, output)]
    return model.fit([*train, valid[0].as_history()], valid, run or options(output))


def saved(model: Predictor, folder: Path) -> dict[str, bytes]:
    folder.mkdir()
    model.save(folder)
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_every_blend_is_tried_here() -> None:
    assert {kind for kind in COMPOSITE if issubclass(model_class(kind), Blend)} == set(SETTINGS)


# ---- what all of them promise


@every_case
def test_one_score_per_row_the_same_in_any_company(kind: str, output: Output) -> None:
    model, asked = fitted(kind, output), given(5, output)
    assert asked.table is not None
    score = model.score(asked)
    assert score.shape == (asked.table.n_rows,)
    assert np.isfinite(score).all()
    users = asked.table.frame.filter(pl.col("user_hash") < 7)
    alone = replace(asked, table=TableInput(users, asked.table.features))
    np.testing.assert_array_equal(model.score(alone), score[: users.height])


@every_composite
def test_likelier_rows_score_higher(kind: str) -> None:
    score = fitted(kind, "binary").score(given(5, "binary"))
    n_loyal = int(score.size * 0.6)
    assert np.median(score[:n_loyal]) > np.median(score[n_loyal:])


@every_composite
def test_the_best_candidate_comes_first(kind: str) -> None:
    found = fitted(kind, "ranking").lists(given(5, "ranking"), 2)
    assert {own[0] for own in lists(found).values()} == {"i03"}
    assert found.group_by("user_id").len()["len"].unique().to_list() == [2]


@every_case
def test_a_stored_model_is_the_same(kind: str, output: Output, tmp_path: Path) -> None:
    model, asked = fitted(kind, output), given(5, output)
    files = saved(model, tmp_path / "model")
    check_folder(tmp_path / "model")
    loaded = making.load(tmp_path / "model", config(kind), output)
    np.testing.assert_array_equal(loaded.score(asked), model.score(asked))
    assert saved(loaded, tmp_path / "again") == files


@every_case
def test_same_seed_same_bytes_with_any_number_of_threads(kind: str, output: Output, tmp_path: Path) -> None:
    one, two = (fitted(kind, output, options(output, threads=threads)) for threads in (1, 2))
    assert saved(one, tmp_path / "one") == saved(two, tmp_path / "two")


@every_composite
def test_a_refit_keeps_the_weights(kind: str, tmp_path: Path) -> None:
    model: Any = fitted(kind, "binary")
    saved(model, tmp_path / "first")
    loaded: Any = making.load(tmp_path / "first", config(kind), "binary")
    weights, more = model.weights_.tolist(), [given(n, "binary") for n in range(5)]
    refits = [found.fit(more, [], options("binary")) for found in (model, loaded)]
    assert refits[0].weights_.tolist() == refits[1].weights_.tolist() == weights
    assert saved(refits[0], tmp_path / "refit") == saved(refits[1], tmp_path / "loaded")
    assert saved(refits[0], tmp_path / "x") != saved(fitted(kind, "binary"), tmp_path / "y")


@every_composite
def test_an_explanation_adds_up_to_the_score(kind: str) -> None:
    model, asked = fitted(kind, "binary"), given(5, "binary")
    assert asked.table is not None
    assert model.explains
    parts = model.contributions(asked)
    assert parts.shape == (asked.table.n_rows, len(asked.table.features) + 1)
    assert np.ptp(parts[:, -1]) == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(parts.sum(axis=1), model.score(asked), rtol=0, atol=1e-6)
    importance = model.importance()
    assert set(importance) <= set(asked.table.features)
    assert sum(importance.values()) == pytest.approx(1)


@every_composite
def test_a_ranking_is_not_explained(kind: str) -> None:
    assert not fitted(kind, "ranking").explains


@pytest.mark.parametrize("kind", ["voting", "stacking"])
def test_a_member_without_reasons_leaves_the_whole_without(kind: str) -> None:
    model = fitted(kind, "binary", members=[SMALL, {"kind": "rfm"}])
    assert not model.explains


@every_composite
def test_a_damaged_folder_is_named(kind: str, tmp_path: Path) -> None:
    saved(fitted(kind, "binary"), tmp_path / "model")
    path = tmp_path / "model" / "blend.json"
    whole = load_json(path)
    short = whole | {"weights": whole["weights"][1:]}
    for content in (short, {k: v for k, v in whole.items() if k != "intercept"}, whole | {"shares": None}):
        save_json(path, content)
        with pytest.raises(ArtifactError, match=f"^model file {path} was refused: "):
            making.load(tmp_path / "model", config(kind), "binary")
    save_json(path, whole)
    (tmp_path / "model" / "member-01" / "transform.json").unlink()
    with pytest.raises(ArtifactError, match=r"member-01/transform\.json was refused"):
        making.load(tmp_path / "model", config(kind), "binary")


def test_left_out_is_what_no_member_was_given() -> None:
    flat = [
        replace(
            part, table=replace(part.table, frame=part.table.frame.with_columns(count_view_7d=pl.lit(1.0)))
        )
        for part in (given(n, "binary") for n in range(5))
        if part.table is not None
    ]
    model = making.make(config("voting"), "binary").fit(flat[:4], flat[4:], options("binary"))
    assert list(model.left_out()) == ["count_view_7d"]
    assert model.left_out()["count_view_7d"]["rule"] == "constant"
    other = making.make(config("voting", members=[SMALL, {"kind": "rfm"}]), "binary")
    assert other.fit(flat[:4], flat[4:], options("binary")).left_out() == {}


# ---- what they are made of


def test_what_is_read_is_what_the_members_read() -> None:
    knn = config("voting", members=[SMALL, {"kind": "item_knn"}])
    assert input_types(knn, "preference", "ranking", "model") == {"table", "matrix"}
    assert input_types(config("bagging"), "churn", "binary", "model") == {"table"}
    with pytest.raises(ConfigError) as caught:
        input_types(knn, "churn", "binary", "model")
    assert str(caught.value).startswith(
        "model.members.1.kind: item_knn does not serve the task churn; these do: "
    )


def test_members_are_checked_as_models_are() -> None:
    with pytest.raises(ValidationError) as caught:
        config("stacking", members=[SMALL, {"kind": "boosting", "leafs": 3}])
    assert caught.value.errors()[0]["loc"] == ("members", 1, "boosting", "leafs")
    with pytest.raises(ValidationError) as caught:
        config("voting", members=[SMALL])
    assert caught.value.errors()[0]["type"] == "too_short"
    with pytest.raises(ValidationError) as caught:
        config("bagging", base={"kind": "item_knn"})
    assert caught.value.errors()[0]["type"] == "union_tag_invalid"


def test_a_list_maker_in_a_ranking_puts_what_it_does_not_know_last() -> None:
    model: Any = fitted("voting", "ranking", members=[{"kind": "item_knn", "min_users": 1}, SMALL])
    asked = given(5, "ranking")
    assert asked.table is not None
    strange = asked.table.frame.with_columns(
        item_id=pl.when(item_id="i09").then(pl.lit("new")).otherwise("item_id")
    )
    signals = model.signals(replace(asked, table=TableInput(strange, asked.table.features)))
    placed = strange.select("user_id", "item_id").with_columns(signal=pl.Series(signals[:, 0]))
    last = placed.with_columns(last=pl.col("signal").min().over("user_id")).filter(item_id="new")
    assert last["signal"].equals(last["last"])
    known = placed.filter(pl.col("item_id") == "i03", pl.col("user_id") < "u0024")
    assert set(known["signal"]) == {0.0}


# ---- places


def test_places_are_within_user_and_cutoff_and_ties_share_one() -> None:
    table = candidates(n_users=2)
    score = np.array([3.0, 9.0, 3.0, -np.inf, 5.0, 1.0, 1.0, 1.0, 1.0, 2.0])
    found = np.exp(-blend._places(table, score))
    np.testing.assert_allclose(found, [3.5, 1, 3.5, 5, 2, 3.5, 3.5, 3.5, 3.5, 1])


# ---- bagging


def test_each_bag_has_its_share_of_the_users_with_all_their_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[set[int]]] = []
    boosting: Any = model_class("boosting")
    fit = boosting.fit

    def spying(model: Any, train: Sequence[TableInput], valid: Any, run: Options) -> Any:
        seen.append([set(part.frame["user_hash"]) for part in train])
        return fit(model, train, valid, run)

    monkeypatch.setattr(boosting, "fit", spying)
    fitted("bagging", "binary", user_share=0.5)
    assert [len(set.union(*bag)) for bag in seen] == [150, 150, 150]
    # Everybody stands in every cutoff here, so each cutoff shows the same users.
    assert all(part == bag[0] for bag in seen for part in bag)
    assert len({frozenset(bag[0]) for bag in seen}) == 3


def test_a_bag_is_the_mean_of_its_models() -> None:
    model: Any = fitted("bagging", "binary")
    asked = given(5, "binary")
    alone = [member.score(asked) for member in model.members_]
    np.testing.assert_allclose(model.score(asked), np.mean(alone, axis=0), rtol=1e-12)
    assert np.ptp(alone, axis=0).max() > 0


# ---- voting


def test_votes_go_to_who_is_right() -> None:
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 4000).astype(np.int8)
    truth = np.where(label == 1, 1.0, -1.0)
    good, same, noise = truth + rng.normal(0, 1, 4000), truth + rng.normal(0, 1, 4000), rng.normal(0, 1, 4000)
    votes = voting._votes(np.column_stack([good, same, noise]), label)
    assert votes.sum() == pytest.approx(1)
    assert abs(votes[0] - votes[1]) < 0.15
    assert votes[2] == pytest.approx(1 / 6, abs=1e-9), "its share of the first half"


def test_votes_are_those_of_a_slow_search() -> None:
    rng = np.random.default_rng(1)
    label = rng.integers(0, 2, 50).astype(np.int8)
    log_odds = rng.normal(0, 1, (50, 3)) + label[:, None] * [1.0, 0.5, 0.2]
    chosen: list[int] = []
    for _ in range(50):
        losses = []
        for m in range(3):
            # As many votes as will be given are shared by the three before the first one.
            given = [*[log_odds.mean(axis=1)] * 50, *(log_odds[:, c] for c in [*chosen, m])]
            mean = np.mean(given, axis=0)
            p = expit(mean)
            losses.append(-np.mean(np.log(np.where(label == 1, p, 1 - p))))
        chosen.append(int(np.argmin(losses)))
    expected = (50 / 3 + np.bincount(chosen, minlength=3)) / 100
    np.testing.assert_allclose(voting._votes(log_odds, label), expected)
    assert len(set(chosen)) > 1


# ---- stacking


def test_members_teach_the_weights_only_with_what_was_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """At each origin the members see cutoffs whose labels were known by then, and are asked about the origin."""
    seen: list[tuple[list[datetime], list[datetime]]] = []
    fit = blend.Blend.fit_members

    def spying(model: Any, train: Sequence[Inputs], valid: Sequence[Inputs], run: Options) -> None:
        rows = [part.cutoff for part in train if part.table is not None]
        histories = [part.cutoff for part in train if part.table is None]
        seen.append((rows, [*histories, *(part.cutoff for part in valid)]))
        fit(model, train, valid, run)

    monkeypatch.setattr(blend.Blend, "fit_members", spying)
    # Labels are known two cutoffs later, not one.
    ends = {CUTOFF + n * STEP: CUTOFF + (n + 2) * STEP for n in range(9)}
    train, valid = [given(n, "binary") for n in range(6)], [given(7, "binary")]
    model = making.make(config("stacking"), "binary")
    model.fit(train, valid, replace(options("binary"), ends=ends))
    cutoffs = [CUTOFF + n * STEP for n in range(8)]
    assert seen == [
        ([cutoffs[0], cutoffs[1]], [cutoffs[2], cutoffs[2]]),
        ([cutoffs[0], cutoffs[1], cutoffs[2]], [cutoffs[3], cutoffs[3]]),
        (cutoffs[:6], [cutoffs[7]]),
    ]


def test_too_few_cutoffs_for_any_origin() -> None:
    train, valid = [given(n, "binary") for n in range(2)], [given(3, "binary")]
    with pytest.raises(DataError) as caught:
        making.make(config("stacking"), "binary").fit(train, valid, options("binary"))
    assert str(caught.value) == (
        "stacking learns its weights from train cutoffs at which the labels of two earlier ones are known, and of "
        "the 2 there is none; set split.train higher, or choose the kind voting"
    )


def test_weights_follow_what_helps_and_are_never_negative() -> None:
    rng = np.random.default_rng(2)
    group = np.repeat([0, 1], 3000)
    good, noise = rng.normal(0, 1, 6000), rng.normal(0, 1, 6000)
    # The second group has a higher rate altogether, which is not the members' merit.
    label = (rng.random(6000) < expit(1.5 * good + 2.0 * group)).astype(np.int8)
    weights = stacking._weights(np.column_stack([good, noise, -good]), label, group, 1.0)
    assert weights[0] == pytest.approx(1.5, abs=0.15)
    assert weights[1] == pytest.approx(0, abs=0.1)
    assert weights[2] == pytest.approx(0, abs=0.02)
    assert weights.min() >= 0


def test_a_penalty_draws_weights_together() -> None:
    rng = np.random.default_rng(3)
    twice = rng.normal(0, 1, 2000)
    label = (rng.random(2000) < expit(twice)).astype(np.int8)
    signals, group = np.column_stack([twice, twice]), np.zeros(2000, dtype=np.int64)
    weights = stacking._weights(signals, label, group, 1.0)
    assert weights[0] == pytest.approx(weights[1], abs=1e-3)
    assert stacking._weights(signals, label, group, 1e6).sum() < 0.1
