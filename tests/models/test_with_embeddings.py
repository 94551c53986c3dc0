"""A kind on the table, with what a net knows of users: what the net is shown, what it adds, and what is told of it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
import pytest
from planted import CUTOFF, ONCE, RANKING, SETTINGS, VIEWS, candidates, regulars, sequences, table, walkers
from pydantic import ValidationError

from ecbehave.errors import ArtifactError, ConfigError, DataError
from ecbehave.inputs.types import Inputs, MatrixInput, TableInput
from ecbehave.metrics.classification import auroc
from ecbehave.models import input_types, making, model_class
from ecbehave.models.protocol import Options
from ecbehave.models.storage import check_folder

NET = SETTINGS["rnn"] | VIEWS | {"kind": "rnn", "pretrain": {"epochs": 12, "horizon_epochs": 1}}
BASE = SETTINGS["boosting"] | {"kind": "boosting"}
NOISE = "count_view_7d"


def config(**changes: Any) -> Any:
    settings = {"kind": "with_embeddings", "base": BASE, "net": NET} | changes
    return model_class("with_embeddings").config_class.model_validate(settings)


def given(seed: int) -> Inputs:
    """Walkers; who comes to one of the first five items next has label 1, and nothing of that is in the table."""
    data = walkers(200, seed=seed)
    true_items = cast("pl.DataFrame", cast("MatrixInput", data.matrix).labels)["item_id"]
    label = (true_items < "i05").cast(pl.Int8).to_list()
    noise = np.random.default_rng(seed).integers(0, 9, len(label)).tolist()
    return replace(data, table=table({NOISE: noise}, label))


def rows(data: Inputs) -> TableInput:
    return cast("TableInput", data.table)


def fitted(train: Sequence[Inputs] = (), options: Options = ONCE, **changes: Any) -> Any:
    known, valid = train or [given(0), given(1)], [given(2)]
    return making.make(config(**changes), "binary").fit([*known, valid[0].as_history()], valid, options)


def saved(model: Any, folder: Path) -> dict[str, bytes]:
    folder.mkdir()
    model.save(folder)
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


def of_net(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: content for name, content in files.items() if name.startswith("net/")}


@pytest.fixture(scope="module")
def model() -> Any:
    return fitted()


def test_what_the_net_knows_is_added_to_the_table(model: Any) -> None:
    asked = given(3)
    label = rows(asked).label
    plain = making.make(config().base, "binary").fit([given(0), given(1)], [given(2)], ONCE)
    assert auroc(label, plain.score(asked)) < 0.6
    assert auroc(label, model.score(asked)) > 0.9


def test_a_score_is_the_same_in_any_company(model: Any) -> None:
    asked = given(3)
    few = replace(asked, table=TableInput(rows(asked).frame[5:9], rows(asked).features))
    np.testing.assert_array_equal(model.score(few), model.score(asked)[5:9])


def test_a_score_follows_what_is_known_now(model: Any) -> None:
    asked = given(3)
    before = model.score(asked)
    later = replace(asked, sequence=given(4).sequence)
    assert not np.array_equal(model.score(later), before)
    np.testing.assert_array_equal(model.score(asked), before)


def test_the_net_is_shown_no_label_and_nothing_after_the_first_cutoff(model: Any, tmp_path: Path) -> None:
    frame = rows(given(0)).frame
    others = replace(given(0), table=TableInput(frame.with_columns(label=1 - pl.col("label")), (NOISE,)))
    first = saved(model, tmp_path / "first")
    second = saved(fitted([others, given(5)]), tmp_path / "second")
    assert of_net(first) == of_net(second)
    assert first != second


def test_same_seed_same_bytes_with_any_number_of_threads(model: Any, tmp_path: Path) -> None:
    again = fitted(options=replace(ONCE, threads=3 - ONCE.threads))
    assert saved(again, tmp_path / "again") == saved(model, tmp_path / "model")


def test_a_stored_model_is_the_same_and_a_refit_keeps_its_net(model: Any, tmp_path: Path) -> None:
    files, asked = saved(model, tmp_path / "model"), given(3)
    check_folder(tmp_path / "model")
    loaded: Any = making.load(tmp_path / "model", config(), "binary")
    np.testing.assert_array_equal(loaded.score(asked), model.score(asked))
    assert saved(loaded, tmp_path / "again") == files
    refitted = saved(loaded.fit([given(0), given(1), given(2)], [], ONCE), tmp_path / "refitted")
    assert of_net(refitted) == of_net(files)
    assert refitted != files


@pytest.mark.parametrize("part", ["base/transform.json", "net/sequence.json"])
def test_a_damaged_folder_is_named(model: Any, tmp_path: Path, part: str) -> None:
    saved(model, tmp_path / "model")
    (tmp_path / "model" / part).unlink()
    with pytest.raises(ArtifactError, match=rf"{part} was refused"):
        making.load(tmp_path / "model", config(), "binary")


def test_an_explanation_adds_up_to_the_score(model: Any) -> None:
    asked = given(3)
    assert model.explains
    assert model.reads_table
    parts = model.contributions(asked)
    assert parts.shape == (rows(asked).n_rows, 2)
    np.testing.assert_allclose(parts.sum(axis=1), model.score(asked), rtol=0, atol=1e-6)
    # Whom the net tells apart, it does by what is told as one.
    assert np.ptp(parts[:, 1]) > np.ptp(parts[:, 0])
    importance = model.importance()
    assert set(importance) <= {NOISE, "embedding"}
    assert sum(importance.values()) == pytest.approx(1)
    assert importance["embedding"] > 0.8
    assert model.event_drivers(asked, np.arange(3), 2).height == 0


def test_left_out_is_of_the_table() -> None:
    flat = [
        replace(p, table=table({NOISE: [1.0] * 200}, rows(p).label.tolist())) for p in map(given, range(2))
    ]
    valid = replace(given(2), table=table({NOISE: [1.0] * 200}, rows(given(2)).label.tolist()))
    model = making.make(config(net=NET | {"width": 16}), "binary").fit(flat, [valid], ONCE)
    assert list(model.left_out()) == [NOISE]


def test_candidates_are_ranked() -> None:
    users = pl.Series([f"u{n:04d}" for n in range(24)])

    def asked(seed: int) -> Inputs:
        return replace(regulars(seed), table=candidates(24, seed))

    model = making.make(config(), "ranking").fit([asked(0), asked(1)], [asked(2)], RANKING)
    found = model.lists(asked(3), 2)
    assert found["user_id"].unique(maintain_order=True).equals(users.alias("user_id"))
    assert set(found.group_by("user_id", maintain_order=True).first()["item_id"]) == {"i03"}
    assert pl.concat(model.list_blocks(asked(3), 2)).equals(found)
    row, scores = next(iter(model.item_scores(asked(3))))
    assert scores.shape == (row.size, 10)


def test_what_is_read() -> None:
    assert input_types(config(), "churn", "binary", "model") == {"table", "sequence"}
    assert input_types(config(), "preference", "ranking", "model") == {"table", "matrix", "sequence"}
    with pytest.raises(ConfigError, match=r"^model\.base\.kind: rfm does not serve the task preference"):
        input_types(config(base={"kind": "rfm"}), "preference", "ranking", "model")


def test_a_net_that_would_learn_nothing_is_refused() -> None:
    with pytest.raises(
        ValidationError,
        match=r"net\.pretrain\.epochs: 0 and horizons: \[\] leave a net that has learned nothing",
    ):
        config(net=NET | {"pretrain": {"epochs": 0, "horizons": []}})
    assert config(net=NET | {"pretrain": {"epochs": 0, "horizons": ["7d"]}}).net.pretrain.horizons
    with pytest.raises(ValidationError) as caught:
        config(net={"kind": "dnn"})
    assert caught.value.errors()[0]["type"] == "union_tag_invalid"


def test_a_net_may_begin_with_another_and_learn_no_more(model: Any, tmp_path: Path) -> None:
    saved(model, tmp_path / "model")
    asked_for: list[Any] = []

    def stored(source: str, until: Any) -> Path:
        asked_for.append((source, until))
        return tmp_path / "model" / "net"

    net = NET | {"pretrain": {"epochs": 0, "source": "there"}}
    again = fitted(options=replace(ONCE, stored=stored), net=net)
    assert asked_for == [("there", CUTOFF)]
    assert auroc(rows(given(3)).label, again.score(given(3))) > 0.9


def test_histories_without_a_next_item_teach_nothing() -> None:
    lonely = sequences([(user, "i01", "view", 2.0) for user in range(200)], 200, ["i01"])
    data = replace(given(0), sequence=lonely.sequence)
    with pytest.raises(DataError, match=r"^rnn has nothing to learn from: nobody has an event"):
        fitted([data, given(1)])
