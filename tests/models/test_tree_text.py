"""Trees that are kept as text: what LightGBM reads of a table, and what of the trees is stored."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import polars as pl
import pytest
from planted import ONCE, customers, make, table

from ecbehave.errors import ArtifactError
from ecbehave.inputs.types import TableInput
from ecbehave.models.ensemble import tree_text
from ecbehave.models.ensemble.tree_text import Trees, binned, run_parameters
from ecbehave.models.protocol import Options

PARAMETERS: dict[str, Any] = {
    "objective": "binary",
    "min_data_in_leaf": 5,
    "num_leaves": 8,
    "learning_rate": 0.1,
}


def holes(n_rows: int = 400, seed: int = 0) -> TableInput:
    """Customers of whom a tenth of the numbers are unknown, told by null or by NaN; in two chunks."""
    data, rng = customers(n_rows, seed), np.random.default_rng(seed)
    unknown = {feature: pl.Series(rng.random(n_rows) < 0.1) for feature in data.features}
    as_nan = pl.lit(np.nan, pl.Float32)
    frame = data.frame.with_columns(
        pl.when(~hidden).then(name).otherwise(as_nan if n % 2 else None)
        for n, (name, hidden) in enumerate(unknown.items())
    )
    frame = pl.concat([frame[:150], frame[150:]])
    assert frame.n_chunks() == 2
    assert frame.null_count().transpose().sum().item() > 0
    return replace(data, frame=frame)


def grown(data: Any, n_trees: int = 12, threads: int = 1) -> lgb.Booster:
    return lgb.train(run_parameters(Options(0, threads), 10**9) | PARAMETERS, data, n_trees)


def text(booster: lgb.Booster) -> str:
    return str(booster.model_to_string())


def test_columns_are_read_where_they_lie_as_a_matrix_would_be():
    data = holes()
    weight = np.linspace(1, 2, data.n_rows)
    assert text(grown(binned(data))) == text(grown(lgb.Dataset(data.values, data.label)))
    assert text(grown(binned(data, weight))) == text(
        grown(lgb.Dataset(data.values, data.label, weight=weight))
    )
    assert text(grown(binned(data, weight))) != text(grown(binned(data)))


def test_a_later_table_is_binned_like_the_first():
    data, later = holes(), holes(seed=1)
    first = binned(data)
    losses: list[dict[str, Any]] = []
    for own, other in [
        (first, binned(later, like=first)),
        (whole := lgb.Dataset(data.values, data.label), whole.create_valid(later.values, later.label)),
    ]:
        found: dict[str, Any] = {}
        lgb.train(PARAMETERS | {"verbosity": -1}, own, 5, [other], callbacks=[lgb.record_evaluation(found)])
        losses.append(found)
    assert losses[0] == losses[1]


def test_a_feature_may_have_any_name():
    plain = table({"a": [1.0, 2.0] * 20}, [0, 1] * 20)
    odd = table({'is "a", {b}: [c] ü': [1.0, 2.0] * 20}, [0, 1] * 20)
    trees = [Trees(grown(binned(data), 2), data.features, 2) for data in (plain, odd)]
    assert trees[0].booster.model_to_string() == trees[1].booster.model_to_string()
    assert list(trees[1].importance()) == ['is "a", {b}: [c] ü']


@pytest.mark.parametrize(
    ("n_rows", "given", "used"),
    [(100, 8, 1), (199_999, 8, 1), (200_000, 8, 2), (900_000, 8, 8), (900_000, 2, 2), (0, 2, 1)],
)
def test_few_rows_do_not_wait_for_threads(n_rows: int, given: int, used: int):
    assert run_parameters(Options(7, given), n_rows) == {
        "seed": 7,
        "num_threads": used,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("boosting", {"max_trees": 30}),
        ("random_forest", {"trees": 30}),
        ("random_forest", {"trees": 30, "splits": "random"}),
        ("adaboost", {"max_trees": 30}),
    ],
)
def test_threads_that_share_the_work_change_nothing(
    kind: str, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(tree_text, "_ROWS_PER_THREAD", 1_000)
    files, scores = [], []
    for threads in (1, 2, 3):
        model = make(kind, **settings).fit([holes(6_000)], [holes(3_000, 1)], Options(0, threads))
        folder = tmp_path / str(threads)
        folder.mkdir()
        model.save(folder)
        files.append({f.name: f.read_bytes() for f in folder.iterdir()})
        scores.append(model.predict(holes(3_000, 2), 0)["score"].to_list())
    assert files[0] == files[1] == files[2]
    assert scores[0] == scores[1] == scores[2]


def test_only_the_trees_that_count_are_stored_and_not_what_the_run_was_given(tmp_path: Path):
    data = holes()
    trees = Trees(grown(binned(data), 12, threads=2), data.features, 5)
    assert "[num_threads: 2]" in trees.booster.model_to_string()
    trees.save(tmp_path, "some")
    stored = (tmp_path / "trees.txt").read_text(encoding="utf-8")
    assert stored.count("\nTree=") == 5
    assert "[learning_rate: 0.1]" in stored
    assert "num_threads" not in stored
    content = json.loads((tmp_path / "some.json").read_text(encoding="utf-8"))
    assert content == {"features": list(data.features), "n_trees": 5}
    assert sorted(file.name for file in tmp_path.iterdir()) == ["some.json", "trees.txt"]


def test_stored_trees_say_the_same(tmp_path: Path):
    data = holes()
    trees = Trees(grown(binned(data), 12), data.features, 5)
    trees.save(tmp_path, "some")
    loaded = Trees.load(tmp_path, "some")
    np.testing.assert_array_equal(loaded.predict(data), trees.predict(data))
    np.testing.assert_array_equal(loaded.contributions(data), trees.contributions(data))
    assert loaded.importance() == pytest.approx(
        trees.importance(), rel=1e-5
    )  # gains are stored with six digits


def test_trees_after_those_that_count_say_nothing():
    data = holes()
    booster = grown(binned(data), 12)
    all_of_them, first = Trees(booster, data.features, 12), Trees(booster, data.features, 5)
    expected = booster.predict(data.values, raw_score=True, num_iteration=5)
    np.testing.assert_array_equal(first.predict(data), expected)
    np.testing.assert_allclose(first.contributions(data).sum(axis=1), expected, rtol=0, atol=1e-9)
    gain = booster.feature_importance("gain", iteration=5)
    assert list(first.importance().values()) == (gain / gain.sum()).tolist()
    assert not np.array_equal(all_of_them.predict(data), expected)


def test_nobody_has_no_contributions():
    data = holes()
    trees = Trees(grown(binned(data)), data.features, 5)
    nobody = replace(data, frame=data.frame.clear())
    assert trees.predict(nobody).shape == (0,)
    assert trees.contributions(nobody).shape == (0, len(data.features) + 1)


def test_text_that_holds_no_trees(tmp_path: Path):
    make("boosting").fit([customers()], [], ONCE).save(tmp_path)
    (tmp_path / "trees.txt").write_text("tree\nversion=v4\n", encoding="utf-8")
    with pytest.raises(
        ArtifactError, match=rf"^model file {tmp_path}/trees\.txt was refused: .*; train again"
    ):
        Trees.load(tmp_path, "boosting")
