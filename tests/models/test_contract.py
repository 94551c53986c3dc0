"""What every plain kind must do, for every task output that it serves; test_composites.py has those made of others."""

import inspect
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Literal, Self

import numpy as np
import polars as pl
import pytest
from planted import (
    CUTOFF,
    ONCE,
    RFM,
    TENURE,
    candidates,
    customers,
    lists,
    make,
    matrix,
    predict,
    raters,
    regulars,
    returners,
    shoppers,
    table,
    visitors,
)
from polars.testing import assert_frame_equal
from pydantic import ValidationError

from ecbehave.config.model import ModelConfig
from ecbehave.errors import ArtifactError, ConfigError, DataError
from ecbehave.inputs.types import Inputs, MatrixInput, TableInput
from ecbehave.models import COMPOSITE, KINDS, PLAIN, config_class, input_types, model_class, reads
from ecbehave.models.protocol import Block, Explains, Model, Options
from ecbehave.models.single import Single
from ecbehave.models.storage import check_folder, load_json, save_json

CASES = [(kind, output) for kind in PLAIN for output in model_class(kind).inputs]
#: Those that answer from the table alone.
BINARY = [kind for kind in PLAIN if model_class(kind).inputs.get("binary") == "table"]
RANKING = [kind for kind, output in CASES if output == "ranking"]
CHURN = [kind for kind, output in CASES if output == "binary"]
#: Those that make lists themselves; the others score candidates, and `Single` makes the lists.
LISTS = [kind for kind in RANKING if model_class(kind).inputs["ranking"] == "matrix"]
K = 4

every_case = pytest.mark.parametrize(("kind", "output"), CASES)
every_binary = pytest.mark.parametrize("kind", BINARY)
every_ranking = pytest.mark.parametrize("kind", LISTS)
every_ranker = pytest.mark.parametrize("kind", RANKING)
every_kind = pytest.mark.parametrize("kind", PLAIN)


def planted(kind: str, output: str, seed: int = 0) -> Any:
    read = model_class(kind).inputs[output]
    if read == "sequence":
        return returners(seed) if output == "binary" else regulars(seed)
    if read == "all":
        return Inputs(CUTOFF, customers(seed=seed), shoppers(seed=seed))
    if output == "rating":
        return raters(seed=seed)
    if read == "matrix":
        return visitors(seed=seed)
    return customers(seed=seed) if output == "binary" else candidates(seed=seed)


@cache
def fitted(kind: str, output: str) -> Model:
    """A fitted model, the same for all tests, which leave it as it is."""
    return refittable(kind, output)


def refittable(kind: str, output: str, options: Options = ONCE) -> Model:
    options = replace(options, output=output)
    return make(kind).fit([planted(kind, output)], [planted(kind, output, seed=1)], options)


def saved(model: Model, folder: Path) -> dict[str, bytes]:
    folder.mkdir()
    model.save(folder)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


# ---- declaration


@every_kind
def test_describes_itself(kind: str):
    found = model_class(kind)
    assert inspect.getdoc(found)
    assert inspect.getdoc(found.config_class) != inspect.getdoc(ModelConfig)
    assert found.config_class.model_fields["kind"].annotation == Literal[kind]
    assert all(field.description for name, field in found.config_class.model_fields.items() if name != "kind")
    assert set(found.inputs) <= {"binary", "pairs", "ranking", "rating"}
    assert set(found.inputs.values()) <= {"table", "matrix", "sequence", "all"}


@every_kind
def test_takes_its_own_config_and_nothing_else(kind: str):
    found = model_class(kind)
    config = found.config_class(kind=kind)
    assert list(inspect.signature(found).parameters) == ["config"]
    assert found(config).config is config


def run_config(**changes: Any) -> dict[str, Any]:
    source = {"path": "log.csv", "columns": {"user_id": "u", "ts": "t"}, "event_type": "purchase"}
    sections = {
        "name": "run",
        "workspace": "work",
        "dataset": {"sources": [source]},
        "task": {"kind": "churn"},
    }
    return sections | changes


@every_kind
@pytest.mark.parametrize("key", ["model", "baseline"])
def test_config_takes_every_kind_by_name(kind: str, key: str):
    sections = run_config(model={"kind": "base_rate"}) | {key: {"kind": kind}}
    config = config_class().model_validate(sections)
    assert getattr(config, key) == model_class(kind).config_class(kind=kind)


@every_kind
def test_config_refuses_a_key_of_no_meaning(kind: str):
    with pytest.raises(ValidationError) as caught:
        config_class().model_validate(run_config(model={"kind": kind, "n_layers": 3}))
    [error] = caught.value.errors()
    assert (error["type"], error["loc"]) == ("extra_forbidden", ("model", kind, "n_layers"))


def test_config_refuses_an_unknown_kind():
    with pytest.raises(ValidationError) as caught:
        config_class().model_validate(run_config(model={"kind": "oracle"}))
    [error] = caught.value.errors()
    assert (error["type"], error["loc"]) == ("union_tag_invalid", ("model",))


@every_case
def test_input_type_is_what_the_kind_declares(kind: str, output: str):
    config = model_class(kind).config_class(kind=kind)
    read = model_class(kind).inputs[output]
    beside = {"binary": {"table"}, "pairs": {"table", "matrix"}, "ranking": {"matrix"}}
    expected = {"all": {"table", "matrix"}, "sequence": {"sequence"} | beside.get(output, set())}.get(
        read, {read}
    )
    assert input_types(config, "some task", output, "model") == expected


@every_binary
def test_who_answers_for_users_from_the_table_answers_for_pairs_too(kind: str):
    assert reads(model_class(kind), "pairs") == "table"


@pytest.mark.parametrize(
    ("kind", "task", "output", "serving"),
    [
        ("rfm", "preference", "ranking", RANKING),
        ("item_knn", "churn", "binary", CHURN),
    ],
)
def test_a_task_that_the_kind_does_not_serve(kind: str, task: str, output: str, serving: list[str]):
    config = model_class(kind).config_class(kind=kind)
    with pytest.raises(ConfigError) as caught:
        input_types(config, task, output, "baseline")
    assert str(caught.value) == (
        f"baseline.kind: {kind} does not serve the task {task}; these do: {', '.join([*serving, *COMPOSITE])}"
    )


# ---- scores


def of_pairs(data: TableInput) -> TableInput:
    """Every user with two items, and the features of the user as those of the pair."""
    names = {feature: f"item_{feature}" for feature in (*RFM, TENURE)}
    frame = (
        data.frame.rename(names)
        .with_columns(item_id=pl.Series([["i1", "i2"]] * data.n_rows))
        .explode("item_id")
    )
    return TableInput(frame, tuple(names.get(f, f) for f in data.features))


@every_binary
def test_scores_of_pairs_carry_their_keys(kind: str):
    train, asked = of_pairs(customers()), of_pairs(customers(seed=2))
    scored = predict(make(kind).fit([train], [of_pairs(customers(seed=1))], ONCE), asked, 0)
    assert_frame_equal(scored.drop("score"), asked.keys)
    assert asked.keys.columns == ["user_hash", "user_id", "cutoff", "item_id"]
    assert scored["score"].dtype == pl.Float64


@every_binary
def test_one_score_per_row_in_the_order_of_the_keys(kind: str):
    asked = customers(seed=2)
    scored = predict(fitted(kind, "binary"), asked, 0)
    assert scored.schema == asked.keys.schema | {"score": pl.Float64}
    assert_frame_equal(scored.drop("score"), asked.keys)
    assert scored["score"].is_finite().all()


@every_ranking
@pytest.mark.parametrize("k", [1, K, 10, 1000])
def test_at_most_k_distinct_items_for_those_who_are_asked(kind: str, k: int):
    asked = visitors(seed=2)
    asked = replace(asked, users=asked.users.with_columns(is_asked=pl.int_range(pl.len()) % 3 == 0))
    scored = predict(fitted(kind, "ranking"), asked, k)
    assert scored.schema == {"user_id": pl.String, "item_id": pl.String, "score": pl.Float64}
    assert scored["score"].is_finite().all()
    assert not scored.select("user_id", "item_id").is_duplicated().any()
    assert set(scored["item_id"]) <= set(asked.items["item_id"])
    assert list(lists(scored)) == asked.users.filter("is_asked")["user_id"].to_list()
    for own in scored.partition_by("user_id"):
        assert 0 < own.height <= k
        assert own["score"].is_sorted(descending=True)
    # Rows of one user stand together.
    assert (scored["user_id"] != scored["user_id"].shift(1)).sum() == scored["user_id"].n_unique() - 1


@every_ranking
def test_a_shorter_list_is_the_beginning_of_a_longer_one(kind: str):
    model, asked = fitted(kind, "ranking"), visitors(seed=2)
    longest = predict(model, asked, 1000)
    assert_frame_equal(
        predict(model, asked, 2), longest.group_by("user_id", maintain_order=True).head(2), check_exact=True
    )


@every_binary
def test_likelier_rows_score_higher(kind: str):
    train, later, asked = customers(), customers(seed=1), customers(seed=2)
    n_loyal = int(asked.n_rows * 0.6)
    score = predict(make(kind).fit([train], [later], ONCE), asked, 0)["score"].to_numpy()
    assert np.median(score[:n_loyal]) >= np.median(score[n_loyal:])
    # Trained on the opposite, every loyal row scores lower, also where a kind gives all rows the same score.
    flipped = [
        replace(data, frame=data.frame.with_columns(label=1 - pl.col("label"))) for data in (train, later)
    ]
    opposite = predict(make(kind).fit(flipped[:1], flipped[1:], ONCE), asked, 0)["score"].to_numpy()
    assert score[:n_loyal].min() > opposite[:n_loyal].max()


@every_ranking
def test_the_likeliest_item_comes_first(kind: str):
    scored = predict(fitted(kind, "ranking"), visitors(seed=2), K)
    assert {own[0] for own in lists(scored).values()} == {"i03"}


@every_ranker
def test_the_best_candidate_of_a_user_comes_first(kind: str):
    config = make(kind).config
    given = [replace(regulars(seed), table=candidates(seed=seed)) for seed in range(3)]
    model = Single(config, "ranking").fit(given[:1], given[1:2], replace(ONCE, output="ranking"))
    scored = model.lists(given[2], 2)
    assert scored.schema == {"user_id": pl.String, "item_id": pl.String, "score": pl.Float64}
    assert {own[0] for own in lists(scored).values()} == {"i03"}
    assert scored.group_by("user_id").len()["len"].max() <= 2  # type: ignore[operator]
    score = model.score(given[2])
    assert score.shape == (given[2].table.n_rows,)  # type: ignore[union-attr]


@every_binary
def test_a_row_scores_the_same_in_any_company(kind: str):
    model, asked = fitted(kind, "binary"), customers(seed=2)
    together = predict(model, asked, 0)
    backwards = predict(model, replace(asked, frame=asked.frame.reverse()), 0)
    assert_frame_equal(backwards.reverse(), together, check_exact=True)
    alone = [predict(model, replace(asked, frame=asked.frame[n : n + 1]), 0) for n in (0, 7, 299)]
    assert_frame_equal(pl.concat(alone), together[[0, 7, 299]], check_exact=True)


@every_binary
def test_a_user_without_a_purchase_has_a_score(kind: str):
    never = table({name: [None] for name in customers().features} | {RFM[1]: [0.0], RFM[2]: [0.0]})
    assert predict(fitted(kind, "binary"), never, 0)["score"].is_finite().all()


@every_ranking
def test_order_of_pairs_does_not_matter(kind: str, tmp_path: Path):
    data = visitors()
    shuffled = replace(data, pairs=data.pairs.sample(fraction=1, shuffle=True, seed=1))
    assert not shuffled.pairs.equals(data.pairs)
    first, second = make(kind).fit([data], [], ONCE), make(kind).fit([shuffled], [], ONCE)
    assert saved(first, tmp_path / "first") == saved(second, tmp_path / "second")
    assert_frame_equal(predict(first, data, K), predict(second, shuffled, K), check_exact=True)


@every_ranking
def test_order_of_users_does_not_matter(kind: str):
    data = visitors()
    n_users = data.users.height
    # Not backwards: to find back from that is to turn it once more, which hides a mistake.
    turned = replace(
        data,
        users=pl.concat([data.users.tail(7), data.users.head(n_users - 7)]),
        pairs=data.pairs.with_columns(user=(pl.col("user") + 7) % n_users),
    )
    both = [
        predict(make(kind).fit([d], [], ONCE), d, 1000).sort("user_id", "item_id") for d in (data, turned)
    ]
    assert_frame_equal(*both, rel_tol=1e-12)


@every_ranking
def test_users_and_items_never_seen_before(kind: str):
    pairs = [(0, 0, "purchase", 2, 1.0), (1, 0, "purchase", 2, 3.0), (1, 2, "purchase", 1, 2.0)]
    new = matrix(pairs, n_users=3, items=["brand new", "i03", "x"])
    scored = predict(fitted(kind, "ranking"), new, K)
    assert scored["score"].is_finite().all()
    found = lists(scored)
    assert found["u0000"][0] == found["u0001"][0] == "brand new"
    assert set(found["u0001"]) >= {"brand new", "x"}


@every_case
def test_nobody_is_asked(kind: str, output: str):
    model, data = fitted(kind, output), planted(kind, output)
    if isinstance(data, Inputs) and data.table is None:
        users = data.matrix.users.with_columns(is_asked=pl.lit(value=False))  # type: ignore[union-attr]
        nobody: Any = replace(data, matrix=replace(data.matrix, users=users))  # type: ignore[type-var]
    elif isinstance(data, Inputs):
        nobody = replace(data, table=replace(data.table, frame=data.table.frame.clear()))  # type: ignore[type-var, union-attr]
    elif isinstance(data, TableInput):
        nobody = replace(data, frame=data.frame.clear())
    else:
        nobody = replace(data, users=data.users.with_columns(is_asked=pl.lit(value=False)))
    scored = predict(model, nobody, K)
    assert scored.schema == predict(model, data, K).schema
    assert scored.height == 0


@every_ranking
def test_history_without_any_item(kind: str):
    scored = predict(fitted(kind, "ranking"), matrix([], n_users=2, items=[]), K)
    assert scored.height == 0
    assert scored.schema == {"user_id": pl.String, "item_id": pl.String, "score": pl.Float64}


# ---- what cannot be learned


@every_binary
@pytest.mark.parametrize("same", [0, 1])
def test_one_class_only(kind: str, same: int):
    train = customers()
    train = replace(train, frame=train.frame.with_columns(label=pl.lit(same, pl.Int8)))
    with pytest.raises(DataError) as caught:
        make(kind).fit([train, train], [customers()], ONCE)
    assert str(caught.value) == (
        f"the train labels have one class only: all 600 rows are {same}; "
        f"change task.horizon or task.active_within so that both classes occur"
    )


@every_binary
def test_one_class_in_one_of_the_cutoffs_is_enough(kind: str):
    train = customers()
    ones = replace(train, frame=train.frame.with_columns(label=pl.lit(1, pl.Int8)))
    scored = predict(make(kind).fit([ones, train], [customers(seed=1)], ONCE), train, 0)
    assert scored["score"].is_finite().all()


@every_binary
def test_nobody_to_learn_from(kind: str):
    train = customers()
    with pytest.raises(DataError) as caught:
        make(kind).fit([replace(train, frame=train.frame.clear())], [train], ONCE)
    assert str(caught.value) == (
        "the train population is empty: no user was active before any train cutoff; "
        "lengthen task.active_within or bring more data"
    )


# ---- the same again


@every_case
def test_a_loaded_model_gives_the_same_scores(kind: str, output: str, tmp_path: Path):
    model, asked = fitted(kind, output), planted(kind, output, seed=2)
    saved(model, tmp_path / "model")
    check_folder(tmp_path / "model")
    loaded = type(model).load(tmp_path / "model", make(kind).config)
    assert_frame_equal(predict(loaded, asked, K), predict(model, asked, K), check_exact=True)
    assert saved(loaded, tmp_path / "again") == saved(model, tmp_path / "first")


@every_case
@pytest.mark.parametrize("threads", [1, 2])
def test_same_seed_gives_the_same_bytes(kind: str, output: str, threads: int, tmp_path: Path):
    first, second = fitted(kind, output), refittable(kind, output, replace(ONCE, threads=threads))
    assert saved(first, tmp_path / "first") == saved(second, tmp_path / "second")
    asked = planted(kind, output, seed=2)
    assert_frame_equal(predict(first, asked, K), predict(second, asked, K), check_exact=True)


@every_case
def test_refit_keeps_the_settings_of_the_first_fit(kind: str, output: str, tmp_path: Path):
    model, more = refittable(kind, output), [planted(kind, output, seed) for seed in (0, 1)]
    saved(model, tmp_path / "first")
    loaded = type(model).load(tmp_path / "first", make(kind).config)
    options = replace(ONCE, output=output)
    refits = [found.fit(more, [], options) for found in (model, loaded)]
    assert refits[0] is model
    assert saved(refits[0], tmp_path / "refit") == saved(refits[1], tmp_path / "loaded")
    assert predict(model, more[0], K)["score"].is_finite().all()
    assert model.config == make(kind).config


# ---- foreign folders


@every_case
def test_an_empty_folder_is_no_model(kind: str, output: str, tmp_path: Path):
    with pytest.raises(ArtifactError, match=rf"^model file {tmp_path}/\w+\.\w+ was refused: .*; train again"):
        model_class(kind).load(tmp_path, make(kind).config)


@every_case
@pytest.mark.parametrize("content", [b"", b"garbage", b"[1, 2]", b"PK\x03\x04", b"\xff\xfe"])
def test_a_damaged_file_is_named(kind: str, output: str, content: bytes, tmp_path: Path):
    files = saved(fitted(kind, output), tmp_path / "model")
    for name, whole in files.items():
        path = tmp_path / "model" / name
        path.write_bytes(content)
        with pytest.raises(ArtifactError) as caught:
            model_class(kind).load(tmp_path / "model", make(kind).config)
        assert str(caught.value).startswith(f"model file {path} was refused: ")
        assert str(caught.value).endswith("; train again, or take the folder from its source")
        path.write_bytes(whole)


@every_case
def test_each_stored_value_is_needed_and_of_its_type(kind: str, output: str, tmp_path: Path):
    files = saved(fitted(kind, output), tmp_path / "model")
    for path in (tmp_path / "model" / name for name in files if name.endswith(".json")):
        content = load_json(path)
        for key in content:
            save_json(path, {name: value for name, value in content.items() if name != key})
            with pytest.raises(ArtifactError) as caught:
                model_class(kind).load(tmp_path / "model", make(kind).config)
            assert str(caught.value) == (
                f"model file {path} was refused: it lacks '{key}'; "
                f"train again, or take the folder from its source"
            )
            path.write_text(json.dumps(content | {key: None}), encoding="utf-8")
            with pytest.raises(ArtifactError):
                model_class(kind).load(tmp_path / "model", make(kind).config)
        save_json(path, content)


# ---- explanations


@pytest.mark.parametrize("kind", [k for k in BINARY if issubclass(model_class(k), Explains)])
def test_an_explanation_adds_up_to_the_score(kind: str):
    model, asked = fitted(kind, "binary"), customers(seed=2)
    assert isinstance(model, Explains)
    parts = model.contributions(asked)
    assert parts.shape == (asked.n_rows, len(asked.features) + 1)
    assert np.ptp(parts[:, -1]) == 0
    np.testing.assert_allclose(parts.sum(axis=1), predict(model, asked, 0)["score"], rtol=0, atol=1e-6)
    importance = model.importance()
    assert tuple(importance) == asked.features
    assert min(importance.values()) >= 0
    assert sum(importance.values()) == pytest.approx(1)


# ---- a new kind is one file and one line


class WordyConfig(ModelConfig):
    """Items with the longest names."""

    kind: Literal["wordy"]
    letters: int = 1
    """Score of a letter."""


class Wordy:
    """Learns nothing."""

    config_class: ClassVar[type[ModelConfig]] = WordyConfig
    inputs: ClassVar[Mapping[str, str]] = {"ranking": "matrix"}

    def __init__(self, config: WordyConfig) -> None:
        self.config = config

    def fit(self, *_: object) -> Self:
        return self

    def scores(self, data: MatrixInput) -> Iterator[Block]:
        letters = data.items["item_id"].str.len_chars().to_numpy() * float(self.config.letters)
        yield data.asked, np.tile(letters, (data.asked.size, 1))

    def save(self, folder: Path) -> None:
        save_json(folder / "wordy.json", {})

    @classmethod
    def load(cls, folder: Path, config: WordyConfig) -> Self:
        load_json(folder / "wordy.json")
        return cls(config)


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Register `wordy` by one line, next to a module of its own."""
    module = ModuleType("ecbehave.models.wordy")
    module.Wordy = Wordy  # type: ignore[attr-defined]
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, module.__name__, module)
        patch.setitem(PLAIN, "wordy", "wordy:Wordy")
        patch.setitem(KINDS, "wordy", "wordy:Wordy")
        config_class.cache_clear()
        yield
    config_class.cache_clear()
    model_class.cache_clear()


@pytest.mark.usefixtures("registered")
def test_a_new_kind_is_one_line(tmp_path: Path):
    config = config_class().model_validate(run_config(model={"kind": "wordy", "letters": 2}))
    found = model_class("wordy")
    assert input_types(config.model, "preference", "ranking", "model") == {"matrix"}
    model = found(config.model).fit([visitors()], [], ONCE)
    saved(model, tmp_path / "model")
    loaded = found.load(tmp_path / "model", config.model)
    asked = matrix([], n_users=1, items=["cat", "elephant", "mouse"])
    assert predict(loaded, asked, 2).rows() == [("u0000", "elephant", 16.0), ("u0000", "mouse", 10.0)]
    with pytest.raises(ConfigError, match=f"these do: {', '.join([*RANKING, 'wordy', *COMPOSITE])}$"):
        input_types(make("rfm").config, "preference", "ranking", "model")


def test_a_kind_that_is_taken_back_is_unknown_again():
    with pytest.raises(ValidationError):
        config_class().model_validate(run_config(model={"kind": "wordy"}))
