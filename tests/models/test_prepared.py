"""Selection and transformation around a model: learned from train rows, kept in a refit, undone in explanations."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from ecbehave.config.features import Features
from ecbehave.config.model import ModelConfig
from ecbehave.errors import ArtifactError, DataError
from ecbehave.inputs.transform.selection import Reason
from ecbehave.inputs.types import TableInput, Transform
from ecbehave.models import model_class, prepared
from ecbehave.models.prepared import Prepared, transform_for
from ecbehave.models.protocol import Options
from ecbehave.schema import TABLE_KEYS

ONCE = Options(seed=0, threads=1)
STEP = timedelta(days=28)
CUTOFFS = [datetime(2024, 1, 1, tzinfo=UTC) + n * STEP for n in range(5)]
ENDS = {cutoff: cutoff + STEP for cutoff in CUTOFFS}
BOOSTING = model_class("boosting").config_class(
    kind="boosting", max_trees=40, patience=10, min_rows_per_leaf=5, learning_rate=0.1, feature_share=1.0
)


N_ROWS = 600


def table(n: int, n_rows: int = N_ROWS, **replaced: Sequence[Any]) -> TableInput:
    """Cutoff n: `loyal` decides the label in most rows, `income` in most of the others; the rest is noise."""
    rng = np.random.default_rng(n)
    loyal, rich = rng.integers(0, 2, n_rows), rng.integers(0, 2, n_rows)
    label = np.where(rng.random(n_rows) < 0.6, loyal, np.where(rng.random(n_rows) < 0.95, rich, 1 - rich))
    columns: dict[str, Any] = {
        "loyal": 10.0 * loyal + rng.random(n_rows),
        "income": np.where(rich == 1, "100K+", np.where(rng.random(n_rows) < 0.5, "50-74K", "")),
        "noise": rng.random(n_rows),
        "fixed": np.full(n_rows, 3.0),
        "echo": rng.random(n_rows),
    }
    columns |= {"thrice": columns["loyal"] * 3 + 1, "label": label} | replaced
    keys = {
        "user_hash": range(n_rows),
        "user_id": [f"u{i}" for i in range(n_rows)],
        "cutoff": [CUTOFFS[n]] * n_rows,
    }
    types = {"label": pl.Int8(), "income": pl.String()}
    frame = pl.DataFrame(keys, TABLE_KEYS).with_columns(
        pl.Series(name, values).cast(types.get(name, pl.Float32())) for name, values in columns.items()
    )
    frame = frame.with_columns(pl.col("income").replace("", None))
    return TableInput(frame, ("loyal", "income", "noise", "fixed", "echo", "thrice"))


TRAIN, VALID, TEST = [table(0), table(1), table(2)], [table(3)], table(4)


def features(select: dict[str, Any] | None = None, **settings: Any) -> Features:
    return Features.model_validate(settings | {"select": select or {}})


def fitted(
    select: dict[str, Any] | None = None,
    train: Sequence[TableInput] = TRAIN,
    valid: Sequence[TableInput] = VALID,
    **settings: Any,
) -> Prepared:
    return Prepared(BOOSTING).fit(train, valid, with_features(select, **{"encode": "one_hot"} | settings))


def with_features(select: dict[str, Any] | None = None, **settings: Any) -> Options:
    return replace(ONCE, features=features(select, **settings), ends=ENDS)


# ---- what is done to the table


def test_the_config_goes_before_what_suits_the_kind() -> None:
    boosting: Any = model_class("boosting")
    assert transform_for(boosting, features()) == boosting.transform
    said = {
        "encode": "target",
        "normalise": "robust",
        "log": True,
        "impute": "zero",
        "missing_flags": True,
        "max_categories": 3,
    }
    assert transform_for(boosting, features(**said)) == Transform(**said)  # type: ignore[arg-type]


def test_later_rows_teach_the_transformation_and_the_selection_nothing() -> None:
    """They have other numbers, other categories and other labels, and not even a constant stays one."""
    rng = np.random.default_rng(9)
    other = table(
        3,
        income=["new"] * N_ROWS,
        noise=np.arange(N_ROWS) * 1e6,
        fixed=rng.random(N_ROWS),
        label=[0, 1] * (N_ROWS // 2),
    )
    for encode in ("one_hot", "ordinal", "frequency", "target"):
        settings = {
            "encode": encode,
            "normalise": "standard",
            "impute": "median",
            "missing_flags": True,
            "log": True,
        }
        select = {"max_correlation": 0.999}
        one, two = fitted(select, **settings), fitted(select, valid=[other], **settings)
        assert one.transformer_ == two.transformer_
        assert one.dropped_ == two.dropped_


def test_a_category_that_comes_later_is_other() -> None:
    model = fitted({"drop_constant": False}, encode="one_hot")
    new, none = (table(4, income=[word] * N_ROWS) for word in ("new", "newer"))
    assert_frame_equal(model.predict(new), model.predict(none))
    assert 'income="new"' not in model.transformer_.source_of


def test_train_and_later_rows_of_the_same_content_are_the_same() -> None:
    model = fitted(normalise="standard", log=True, missing_flags=True, impute="median")
    later = TableInput(
        TRAIN[0].frame.with_columns(cutoff=pl.lit(CUTOFFS[4], TABLE_KEYS["cutoff"])), TRAIN[0].features
    )
    np.testing.assert_array_equal(
        model.transformer_.apply(TRAIN[0]).values, model.transformer_.apply(later).values
    )


# ---- what is left out


def test_constants_and_near_duplicates_are_left_out_with_the_reason() -> None:
    assert fitted().dropped_ == {"fixed": Reason("constant", "constant: 3 in all train rows")}
    assert fitted({"max_correlation": 0.999}).dropped_ == {
        "fixed": Reason("constant", "constant: 3 in all train rows"),
        "thrice": Reason("near-duplicate", "near-duplicate of loyal (r = 1.0000)"),
    }
    assert fitted({"drop_constant": False}).dropped_ == {}


@pytest.mark.parametrize(("by", "said"), [("gain", "gain"), ("mutual_information", "mutual information")])
def test_the_best_are_kept(by: str, said: str) -> None:
    model = fitted({"max_correlation": 0.999, "keep": 2, "by": by})
    ranked = {feature: reason.why for feature, reason in model.dropped_.items() if reason.rule == "rank"}
    assert set(ranked) == {"noise", "echo"}
    assert sorted(ranked.values()) == [f"rank 3 of 4 by {said}", f"rank 4 of 4 by {said}"]
    assert list(model.transformer_.source_of) == ["loyal", 'income="100K+"', 'income="50-74K"', "income=null"]


@pytest.mark.parametrize("by", ["gain", "mutual_information"])
def test_what_helps_on_the_train_rows_alone_is_ranked_low(by: str) -> None:
    """`echo` repeats the label there, and is noise in the validation window."""
    train = [table(n, echo=table(n).label + 0.0) for n in range(3)]
    model = fitted({"keep": 3, "by": by}, train=train)
    assert "echo" in model.dropped_
    assert {"loyal", "income"}.isdisjoint(model.dropped_)


def test_scores_too_bold_for_the_validation_window_do_not_turn_the_ranking_round() -> None:
    """`loyal` says the label in the train rows, and in three of four later ones: taken at its word it does harm."""
    rng = np.random.default_rng(5)
    sure = [table(n, label=(table(n).frame["loyal"] > 5).cast(pl.Int8)) for n in range(3)]
    is_turned = rng.random(N_ROWS) < 0.3
    later = [table(3, label=((VALID[0].frame["loyal"].to_numpy() > 5) ^ is_turned).astype(int))]
    bold = BOOSTING.model_copy(update={"learning_rate": 1.0, "l2": 0.0, "row_share": 1.0})
    model = Prepared(bold).fit(sure, later, with_features({"keep": 1, "max_correlation": 0.999}))
    assert list(model.transformer_.source_of) == ["loyal"]


def test_as_many_as_there_are_need_no_ranking() -> None:
    assert list(fitted({"keep": 5}).dropped_) == ["fixed"]


def test_many_rows_are_thinned_for_the_ranking(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fitted({"keep": 2, "max_correlation": 0.999})
    seen = []
    monkeypatch.setattr(prepared, "_MOST_RANKED_ROWS", 250)
    loss_without = prepared.loss_without
    monkeypatch.setattr(prepared, "loss_without", lambda c, y: seen.append(len(y)) or loss_without(c, y))
    assert set(fitted({"keep": 2, "max_correlation": 0.999}).dropped_) == set(whole.dropped_)
    assert seen == [200]


def test_nothing_but_constants_is_refused() -> None:
    def flat(n: int) -> TableInput:
        same = {name: np.full(N_ROWS, 1.0) for name in ("loyal", "noise", "echo", "thrice")}
        return table(n, income=["x"] * N_ROWS, **same)

    with pytest.raises(DataError) as caught:
        fitted(train=[flat(0), flat(1)], valid=[flat(3)])
    assert str(caught.value) == (
        "there is nothing to learn from: each of the 6 features has the same value in all 1,200 train rows; "
        "bring more data, or look at what clean has refused"
    )


def test_labels_of_one_class_are_spoken_of_before_features() -> None:
    flat = {name: np.full(N_ROWS, 1.0) for name in ("loyal", "noise", "echo", "thrice")}
    with pytest.raises(DataError, match="the train labels have one class only"):
        fitted(train=[table(0, income=["x"] * N_ROWS, label=[1] * N_ROWS, **flat)])


# ---- refit


def test_a_refit_keeps_the_selection_and_learns_the_scale_anew() -> None:
    model = fitted({"keep": 2, "max_correlation": 0.999}, normalise="standard")
    first, dropped = model.transformer_, dict(model.dropped_)
    shifted = [
        replace(t, frame=t.frame.with_columns(pl.col("loyal") + 100, fixed=pl.col("noise"))) for t in TRAIN
    ]
    model.fit(
        shifted,
        [],
        with_features({"keep": 2, "max_correlation": 0.999}, normalise="standard", encode="one_hot"),
    )
    assert model.dropped_ == dropped
    assert model.transformer_.source_of == first.source_of
    assert model.transformer_ != first


# ---- explanations speak of features


def test_contributions_are_by_feature_and_add_up_to_the_score() -> None:
    model = fitted({"keep": 2, "max_correlation": 0.999}, missing_flags=True)
    found = model.contributions(TEST)
    assert found.shape == (N_ROWS, 7)
    np.testing.assert_allclose(found.sum(axis=1), model.predict(TEST)["score"].to_numpy(), rtol=1e-9)
    moves = dict(zip(TEST.features, np.abs(found[:, :-1]).sum(axis=0) > 0, strict=True))
    assert moves == {
        "loyal": True,
        "income": True,
        "noise": False,
        "fixed": False,
        "echo": False,
        "thrice": False,
    }
    is_rich = (TEST.frame["income"] == "100K+").fill_null(value=False).to_numpy()
    assert found[is_rich, 1].min() > 0 > found[~is_rich, 1].max()


def test_importance_is_by_feature() -> None:
    model = fitted({"keep": 2, "max_correlation": 0.999})
    shares = model.importance()
    assert list(shares) == ["loyal", "income"]
    assert sum(shares.values()) == pytest.approx(1)
    assert min(shares.values()) > 0


class Plain:
    """A kind that reads a transformed table and cannot explain itself: one column decides."""

    config_class: ClassVar[type[ModelConfig]] = ModelConfig
    inputs: ClassVar[dict[str, str]] = {"binary": "table"}
    transform: ClassVar[Transform] = Transform(normalise="min_max", impute="median")

    def __init__(self, config: ModelConfig) -> None:
        self.config = config

    def fit(self, *_: object) -> Self:
        return self

    def predict(self, data: TableInput, _: int) -> pl.DataFrame:
        return data.keys.with_columns(score=pl.Series(data.values[:, 0].astype(np.float64)))


def test_for_a_kind_that_cannot_explain_itself_trees_rank_the_features(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(prepared, "model_class", lambda kind: Plain if kind == "plain" else model_class(kind))
    model = Prepared(ModelConfig(kind="plain"))
    model.fit(TRAIN, VALID, with_features({"keep": 2, "max_correlation": 0.999}))
    assert {f for f, r in model.dropped_.items() if r.rule == "rank"} == {"noise", "echo"}
    score = model.predict(TRAIN[0])["score"]
    assert score.min() >= -0.01  # type: ignore[operator]
    assert score.max() <= 1.01  # type: ignore[operator]


# ---- storage


@pytest.mark.parametrize("encode", ["one_hot", "ordinal", "frequency", "target"])
def test_a_stored_model_scores_and_explains_the_same(tmp_path: Path, encode: str) -> None:
    model = fitted(encode=encode, normalise="standard", impute="median", missing_flags=True)
    model.save(tmp_path)
    again = Prepared.load(tmp_path, BOOSTING)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "boosting.json",
        "transform.json",
        "trees.txt",
    ]
    assert_frame_equal(again.predict(TEST, 0), model.predict(TEST), check_exact=True)
    np.testing.assert_array_equal(again.contributions(TEST), model.contributions(TEST))


def _cut(path: Path) -> None:
    path.write_text(path.read_text()[:100])


def _empty(path: Path) -> None:
    path.write_text("{}")


def _wrong(path: Path) -> None:
    stored = json.loads(path.read_text())
    stored["parts"][0]["scale"]["width"] = "__import__('os')"
    path.write_text(json.dumps(stored))


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (_cut, "Expecting property name enclosed in double quotes"),
        (_empty, "parts: Field required"),
        (_wrong, "parts.0.numeric.scale.width: Input should be a valid number"),
        (Path.unlink, "No such file or directory"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, damage: Callable[[Path], None], why: str) -> None:
    fitted().save(tmp_path)
    path = tmp_path / "transform.json"
    damage(path)
    with pytest.raises(ArtifactError) as caught:
        Prepared.load(tmp_path, BOOSTING)
    message = str(caught.value)
    assert message.startswith(f"model file {path} was refused: ")
    assert why in message
    assert message.endswith("; train again, or take the folder from its source")
